#!/usr/bin/env python3
"""norm.json: LayerNorm, RMSNorm and BatchNorm of PyTorch on small inputs, in f64.

    python3 make_norm.py          writes norm.json beside this script
    python3 make_norm.py check    computes it again and compares

Each case: x [rows, features], gamma, beta, dy; y, dx, dgamma, dbeta. BatchNorm besides: the running
statistics after two batches (x, then 2 x + 1) with momentum 1/4, and what evaluation then gives for x.
"""
import json
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
torch.set_default_dtype(torch.float64)


def flat(t):
    return [float(v) for v in t.detach().reshape(-1)]


def case(kind, rows, features, seed):
    g = torch.Generator().manual_seed(seed)
    # multiples of 1/64: exact in every float type
    draw = lambda *shape: torch.round(torch.randn(*shape, generator=g) * 64).clamp(-250, 250) / 64
    x, dy = draw(rows, features).requires_grad_(), draw(rows, features)
    layer = {"layer": lambda: torch.nn.LayerNorm(features), "rms": lambda: torch.nn.RMSNorm(features, eps=1e-6),
             "batch": lambda: torch.nn.BatchNorm1d(features, momentum=0.25)}[kind]()
    with torch.no_grad():
        layer.weight.copy_(draw(features))
        if kind != "rms":
            layer.bias.copy_(draw(features))
    y = layer(x)
    y.backward(dy)
    out = dict(kind=kind, rows=rows, features=features, x=flat(x), dy=flat(dy), gamma=flat(layer.weight),
               y=flat(y), dx=flat(x.grad), dgamma=flat(layer.weight.grad))
    if kind != "rms":
        out.update(beta=flat(layer.bias), dbeta=flat(layer.bias.grad))
    if kind == "batch":
        layer(2 * x + 1)
        layer.eval()
        out.update(running_mean=flat(layer.running_mean), running_var=flat(layer.running_var), infer=flat(layer(x)))
    return out


def everything():
    shapes = [("layer", 3, 5), ("layer", 1, 1), ("layer", 2, 19), ("rms", 3, 5), ("rms", 4, 1), ("rms", 2, 19),
              ("batch", 5, 3), ("batch", 2, 1), ("batch", 7, 11)]
    return dict(torch=torch.__version__, cases=[case(*s, seed) for seed, s in enumerate(shapes)])


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit(0 if json.loads((HERE / "norm.json").read_text()) == everything() else 1)
    (HERE / "norm.json").write_text(json.dumps(everything(), separators=(",", ":")))
