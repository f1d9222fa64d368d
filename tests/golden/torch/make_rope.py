#!/usr/bin/env python3
"""rope.json: rotary positions by complex products of PyTorch, with their gradients, in f64.

    python3 make_rope.py          writes rope.json beside this script
    python3 make_rope.py check    computes it again and compares

Each case: x and dy [batch, steps, heads, size]; y, dx. The scaling "llama3" is that of Llama 3.1's configuration
(factor 8, low 1, high 4, context 8192), "linear" divides by 4.
"""
import json
import math
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
torch.set_default_dtype(torch.float64)


def flat(t):
    return [float(v) for v in t.detach().reshape(-1)]


def scaled(f, scaling):
    if scaling == "linear":
        return f / 4
    if scaling == "llama3":
        wavelength = 2 * math.pi / f
        smooth = ((8192 / wavelength - 1) / (4 - 1)).clamp(0, 1)
        return (1 - smooth) * f / 8 + smooth * f
    return f


def case(seed, batch, steps, heads, size, base=10000, offset=0, interleaved=False, scaling="none"):
    g = torch.Generator().manual_seed(seed)
    # multiples of 1/64: exact in every float type
    draw = lambda: torch.round(torch.randn(batch, steps, heads, size, generator=g) * 64).clamp(-250, 250) / 64
    x, dy = draw().requires_grad_(), draw()
    f = scaled(base ** (-torch.arange(0, size, 2) / size), scaling)
    angle = (torch.arange(steps) + offset)[:, None] * f
    turn = torch.polar(torch.ones_like(angle), angle)[None, :, None, :]
    if interleaved:
        y = torch.view_as_real(torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2)) * turn).flatten(-2)
    else:
        a, b = x.chunk(2, -1)
        z = torch.complex(a, b) * turn
        y = torch.cat([z.real, z.imag], -1)
    y.backward(dy)
    return dict(batch=batch, steps=steps, heads=heads, size=size, base=base, offset=offset, interleaved=interleaved,
                scaling=scaling, x=flat(x), dy=flat(dy), y=flat(y), dx=flat(x.grad))


def everything():
    cases = [case(0, 2, 3, 2, 6), case(1, 1, 5, 1, 8, offset=40, interleaved=True),
             case(2, 1, 3, 2, 10, base=500000, scaling="llama3", offset=9000), case(3, 1, 4, 1, 4, scaling="linear")]
    return dict(torch=torch.__version__, cases=cases)


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit(0 if json.loads((HERE / "rope.json").read_text()) == everything() else 1)
    (HERE / "rope.json").write_text(json.dumps(everything(), separators=(",", ":")))
