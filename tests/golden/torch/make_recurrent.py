#!/usr/bin/env python3
"""recurrent.json: RNN (tanh), LSTM and GRU of PyTorch on short sequences, both directions, in f64.

    python3 make_recurrent.py          writes recurrent.json beside this script
    python3 make_recurrent.py check    computes it again and compares

Each case is one direction of a bidirectional layer with an initial state: x [batch, steps, inputs], the weights W,
U and biases b (PyTorch's two added, but for a GRU), c (a GRU's second), h0, c0 [batch, units]; y and dy of all
steps, the last h (and c), and the gradients of y's part under dy: dx, dW, dU, db, dc.
"""
import json
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
torch.set_default_dtype(torch.float64)


def flat(t):
    return [float(v) for v in t.detach().reshape(-1)]


def cases(cell, batch, steps, inputs, units, seed):
    g = torch.Generator().manual_seed(seed)
    # multiples of 1/64: exact in every float type
    draw = lambda *shape: torch.round(torch.randn(*shape, generator=g) * 64).clamp(-250, 250) / 64
    layer = getattr(torch.nn, cell.upper())(inputs, units, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(draw(*parameter.shape) / 2)
    x, dy = draw(batch, steps, inputs).requires_grad_(), draw(batch, steps, 2 * units)
    h0, c0 = torch.tanh(draw(2, batch, units)).to(torch.float32).to(torch.float64), draw(2, batch, units)
    y, last = layer(x, (h0, c0) if cell == "lstm" else h0)
    h, c = last if cell == "lstm" else (last, None)
    for way, name in enumerate(("", "_reverse")):
        part = slice(way * units, (way + 1) * units)
        W, U, b, b2 = (getattr(layer, kind + "_l0" + name) for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        dx, dW, dU, db, dc = torch.autograd.grad((y[..., part] * dy[..., part]).sum(), (x, W, U, b, b2), retain_graph=True)
        out = dict(cell=cell, reversed=bool(way), batch=batch, steps=steps, inputs=inputs, units=units, x=flat(x),
                   dy=flat(dy[..., part]), W=flat(W), U=flat(U), h0=flat(h0[way]), y=flat(y[..., part]), h=flat(h[way]),
                   dx=flat(dx), dW=flat(dW), dU=flat(dU), db=flat(db))
        if cell == "gru":
            out.update(b=flat(b), c=flat(b2), dc=flat(dc))
        else:
            out.update(b=flat(b + b2))
        if cell == "lstm":
            out.update(c0=flat(c0[way]), c_last=flat(c[way]))
        yield out


def everything():
    shapes = [("rnn", 2, 4, 3, 5), ("lstm", 1, 1, 1, 1), ("lstm", 3, 5, 2, 4), ("gru", 2, 4, 3, 5), ("gru", 1, 3, 1, 1)]
    return dict(torch=torch.__version__, cases=[case for seed, s in enumerate(shapes) for case in cases(*s, seed)])


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit(0 if json.loads((HERE / "recurrent.json").read_text()) == everything() else 1)
    (HERE / "recurrent.json").write_text(json.dumps(everything(), separators=(",", ":")))
