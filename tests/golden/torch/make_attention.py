#!/usr/bin/env python3
"""attention.json: PyTorch's scaled dot-product attention with its gradients, in f64.

    python3 make_attention.py          writes attention.json beside this script
    python3 make_attention.py check    computes it again and compares

Each case: q [batch, queries, heads * size], k and v [batch, keys, kv_heads * size], dy as q; out, dq, dk, dv.
Key j is allowed for query i where `j <= offset + i` if causal, `offset + i - j < window` if there is one, and
`j < lengths[sample]`. Every query of these cases sees a key: PyTorch gives NaN where none is.
"""
import json
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
torch.set_default_dtype(torch.float64)


def flat(t):
    return [float(v) for v in t.detach().reshape(-1)]


def case(seed, batch, queries, keys, heads, kv_heads, size, causal=False, offset=0, window=None, lengths=()):
    g = torch.Generator().manual_seed(seed)
    # multiples of 1/64: exact in every float type
    draw = lambda *shape: torch.round(torch.randn(*shape, generator=g) * 64).clamp(-250, 250) / 64
    q, dy = draw(batch, queries, heads * size), draw(batch, queries, heads * size)
    k, v = draw(batch, keys, kv_heads * size), draw(batch, keys, kv_heads * size)
    for t in (q, k, v):
        t.requires_grad_()
    split = lambda t, n: t.reshape(batch, -1, n, size).transpose(1, 2)
    i, j = torch.arange(queries)[:, None] + offset, torch.arange(keys)[None]
    allowed = torch.ones(batch, 1, queries, keys, dtype=torch.bool)
    if causal:
        allowed = allowed & (j <= i)
    if window is not None:
        allowed = allowed & (i - j < window)
    if lengths:
        allowed = allowed & (j < torch.tensor(lengths)[:, None, None, None])
    assert bool(allowed.any(-1).all())
    y = torch.nn.functional.scaled_dot_product_attention(
        split(q, heads), split(k, kv_heads), split(v, kv_heads), attn_mask=allowed, enable_gqa=True)
    y = y.transpose(1, 2).reshape(batch, queries, heads * size)
    y.backward(dy)
    return dict(batch=batch, queries=queries, keys=keys, heads=heads, kv_heads=kv_heads, size=size, causal=causal,
                offset=offset, window=window, lengths=list(lengths), q=flat(q), k=flat(k), v=flat(v), dy=flat(dy),
                out=flat(y), dq=flat(q.grad), dk=flat(k.grad), dv=flat(v.grad))


def everything():
    cases = [case(0, 2, 3, 3, 1, 1, 4), case(1, 1, 5, 5, 2, 2, 3, causal=True), case(2, 2, 4, 7, 4, 2, 3),
             case(3, 1, 3, 8, 4, 1, 5, causal=True, offset=5, window=3),
             case(4, 3, 4, 6, 2, 1, 2, lengths=(6, 1, 4)), case(5, 1, 14, 14, 2, 1, 9, causal=True)]
    return dict(torch=torch.__version__, cases=cases)


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit(0 if json.loads((HERE / "attention.json").read_text()) == everything() else 1)
    (HERE / "attention.json").write_text(json.dumps(everything(), separators=(",", ":")))
