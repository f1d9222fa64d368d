#!/usr/bin/env python3
"""deformable.json: multi-scale deformable attention with its gradients, in f64, composed of PyTorch's grid_sample.

    python3 make_deformable.py          writes deformable.json beside this script
    python3 make_deformable.py check    computes it again and compares

Each case: levels [[height, width], ..]; values [batch, cells of all levels, heads, size], positions
[batch, queries, heads, levels, points, 2] (column and row, 0 to 1), weights [batch, queries, heads, levels, points],
dy [batch, queries, heads * size]; out, dvalues, dpositions, dweights. Zeros beyond the map, align_corners=False.

The composition is that of the reference implementation which its authors publish beside the CUDA operator.
"""
import json
import pathlib
import sys

import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).resolve().parent
torch.set_default_dtype(torch.float64)


def flat(t):
    return [float(v) for v in t.detach().reshape(-1)]


def attend(values, levels, positions, weights):
    batch, _, heads, size = values.shape
    _, queries, _, count, points, _ = positions.shape
    grids, sampled = 2 * positions - 1, []
    for level, part in enumerate(values.split([h * w for h, w in levels], dim=1)):
        image = part.permute(0, 2, 3, 1).reshape(batch * heads, size, *levels[level])
        grid = grids[:, :, :, level].transpose(1, 2).flatten(0, 1)
        sampled.append(F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
    weights = weights.transpose(1, 2).reshape(batch * heads, 1, queries, count * points)
    out = (torch.stack(sampled, dim=-2).flatten(-2) * weights).sum(-1)
    return out.view(batch, heads * size, queries).transpose(1, 2)


def case(seed, batch, queries, levels, heads, size, points):
    g = torch.Generator().manual_seed(seed)
    # multiples of 1/64, and of 1/1024: exact in f32; positions lie inside, on edges and beyond them
    draw = lambda *shape: torch.round(torch.randn(*shape, generator=g) * 64).clamp(-250, 250) / 64
    cells = sum(h * w for h, w in levels)
    values, dy = draw(batch, cells, heads, size), draw(batch, queries, heads * size)
    positions = torch.rand(batch, queries, heads, len(levels), points, 2, generator=g) * 1.5 - 0.25
    positions = torch.round(positions * 1024) / 1024
    positions[0, 0, 0, 0, 0] = torch.tensor([0.0, 1.0])
    weights = torch.round(torch.rand(batch, queries, heads, len(levels), points, generator=g) * 256) / 256
    for t in (values, positions, weights):
        t.requires_grad_()
    y = attend(values, levels, positions, weights)
    y.backward(dy)
    return dict(batch=batch, queries=queries, levels=levels, heads=heads, size=size, points=points,
                values=flat(values), positions=flat(positions), weights=flat(weights), dy=flat(dy), out=flat(y),
                dvalues=flat(values.grad), dpositions=flat(positions.grad), dweights=flat(weights.grad))


def everything():
    cases = [case(0, 1, 2, [[3, 5]], 1, 4, 3), case(1, 2, 3, [[4, 4], [2, 2]], 2, 3, 2),
             case(2, 1, 5, [[7, 3], [3, 2], [1, 1]], 1, 9, 1), case(3, 3, 2, [[1, 6]], 3, 2, 4),
             case(4, 1, 4, [[5, 5]], 2, 17, 4)]
    return dict(torch=torch.__version__, cases=cases)


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit(0 if json.loads((HERE / "deformable.json").read_text()) == everything() else 1)
    (HERE / "deformable.json").write_text(json.dumps(everything(), separators=(",", ":")))
