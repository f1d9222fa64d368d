#!/usr/bin/env python3
"""cluster.json: soft assignment to centres, its outputs and gradients, by PyTorch's autograd in f64.

    python3 make_cluster.py          writes cluster.json beside this script
    python3 make_cluster.py check    computes it again and compares
"""
import json
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
torch.set_default_dtype(torch.float64)
N, D, K = 3, 5, 4


def flat(t):
    return [float(v) for v in t.detach().reshape(-1)]


def case(metric, mode, mantissa, exponent, seed):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.round(torch.randn(*shape, generator=g) * 32).clamp(-120, 120) / 64
    x, c = draw(N, D).requires_grad_(), draw(K, D).requires_grad_()
    dy = draw(N, K if mode == "probabilities" else D)
    if metric == "cosine":
        distance = 1 - torch.nn.functional.cosine_similarity(x[:, None], c[None], dim=-1)
    else:
        distance = torch.cdist(x, c, p={"euclidean": 2, "manhattan": 1}[metric])
    p = torch.softmax(-distance ** 2 / (2 * (mantissa * 2.0 ** exponent) ** 2), dim=1)
    y = p if mode == "probabilities" else p @ c
    y.backward(dy)
    return dict(metric=metric, mode=mode, mantissa=mantissa, exponent=exponent, x=flat(x), centres=flat(c), dy=flat(dy),
                y=flat(y), dx=flat(x.grad), dcentres=flat(c.grad))


def everything():
    taus = {"euclidean": (3, -1), "manhattan": (5, -1), "cosine": (3, -3)}
    cases = [case(metric, mode, *tau, seed) for seed, (metric, tau) in enumerate(taus.items())
             for mode in ("probabilities", "features")]
    return dict(torch=torch.__version__, rows=N, features=D, clusters=K, cases=cases)


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit(0 if json.loads((HERE / "cluster.json").read_text()) == everything() else 1)
    (HERE / "cluster.json").write_text(json.dumps(everything(), separators=(",", ":")))
