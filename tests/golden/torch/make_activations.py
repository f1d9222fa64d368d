#!/usr/bin/env python3
"""activations.json: activations of PyTorch and their gradients, in f64, and the same by mpmath with 50 digits.

    python3 make_activations.py          writes activations.json beside this script
    python3 make_activations.py check    computes it again and compares

torch: for each activation y = f(x) and dx = f'(x) · dy. Scaled ReLU is 1.1 · relu(x).
decimal: value and slope at points that f32 holds exactly; softplus beyond 20 is linear in PyTorch, not here.
"""
import json
import pathlib
import struct
import sys

import mpmath
import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).resolve().parent
torch.set_default_dtype(torch.float64)
mpmath.mp.dps = 50

TORCH = {
    "relu": F.relu,
    "scaled_relu": lambda x: 1.1 * F.relu(x),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": lambda x: F.softplus(x, threshold=1000),
    "gelu": F.gelu,
    "silu": F.silu,
    "hard_swish": F.hardswish,
}


def by_torch():
    g = torch.Generator().manual_seed(3)
    # multiples of 1/256 within ±8: exact in f32; none on a kink
    x = torch.round(torch.randn(48, generator=g) * 3 * 256).clamp(-2047, 2047) / 256
    x = torch.where((x == 0) | (x.abs() == 3) | (x.abs() == 6), x + 1 / 256, x)
    dy = torch.round(torch.randn(48, generator=g) * 256) / 256
    out = {"version": torch.__version__, "x": x.tolist(), "dy": dy.tolist()}
    for name, f in TORCH.items():
        leaf = x.clone().requires_grad_()
        y = f(leaf)
        y.backward(dy)
        out[name] = {"y": y.tolist(), "dx": leaf.grad.tolist()}
    return out


def by_mpmath():
    m = mpmath
    one = m.mpf(1)
    sigmoid = lambda x: one / (one + m.exp(-x))
    normal = lambda x: m.erfc(-x / m.sqrt(2)) / 2
    density = lambda x: m.exp(-x * x / 2) / m.sqrt(2 * m.pi)
    values = {
        "sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
        "tanh": (m.tanh, lambda x: m.sech(x) ** 2),
        "softplus": (lambda x: m.log1p(m.exp(x)), sigmoid),
        "gelu": (lambda x: x * normal(x), lambda x: normal(x) + x * density(x)),
        "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) + x * sigmoid(x) * sigmoid(-x)),
    }
    f32 = lambda x: struct.unpack("f", struct.pack("f", x))[0]
    points = [-1000.0, -1.0, 0.0, f32(1e-8), 1.0, 1000.0, -20.0, -8.0, -3.5, -2.0, -0.75, f32(-1e-3), 0.125, 0.5, 1.5, 3.0, 7.0, 12.0, 40.0]
    out = {"digits": m.mp.dps, "x": points}
    for name, (value, slope) in values.items():
        out[name] = {"y": [float(value(m.mpf(x))) for x in points], "slope": [float(slope(m.mpf(x))) for x in points]}
    return out


if __name__ == "__main__":
    computed = {"torch": by_torch(), "decimal": by_mpmath()}
    path = HERE / "activations.json"
    if sys.argv[1:] == ["check"]:
        print("ok" if json.loads(path.read_text()) == json.loads(json.dumps(computed)) else "DIFFERS")
    else:
        path.write_text(json.dumps(computed) + "\n")
