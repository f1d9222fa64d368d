#!/usr/bin/env python3
"""Results and gradients of PyTorch for moved, resized and sampled tensors: writes layout.json beside
this script; and arithmetic.json: joined and divided tensors, extremes, functions of one element. Inputs are multiples of 1/64, so that f32 and f64 read the same numbers; PyTorch computes
in float64. Images are NCHW in PyTorch and NHWC in the file.
"""
import json
import pathlib

import torch
import torch.nn.functional as F

torch.manual_seed(7)


def tensor(*shape, bound=2.0):
    q = torch.randint(-int(bound * 64), int(bound * 64) + 1, shape)
    return (q.double() / 64).requires_grad_()


def flat(t):
    return t.detach().reshape(-1).tolist()


def record(kind, inputs, y, **arguments):
    dy = tensor(*y.shape).detach()
    grads = torch.autograd.grad(y, inputs, dy)
    return dict(kind=kind, inputs=[dict(shape=list(x.shape), q=flat(x)) for x in inputs],
                y=dict(shape=list(y.shape), q=flat(y)), dy=flat(dy), gradients=[flat(g) for g in grads], **arguments)


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


cases = []
for size, out in (((3, 4), (5, 7)), ((5, 6), (3, 2)), ((2, 3), (4, 6)), ((1, 4), (3, 1))):
    x = tensor(2, *size, 3)
    for mode, coordinates, arguments in (("bilinear", "HalfPixel", dict(align_corners=False)), ("bilinear", "AlignCorners", dict(align_corners=True)),
                                         ("nearest", "Asymmetric", {}), ("nearest-exact", "HalfPixel", {})):
        y = nhwc(F.interpolate(nchw(x), size=out, mode=mode, **arguments))
        cases.append(record("resize", [x], y, mode=mode.split("-")[0], coordinates=coordinates, out=list(out)))
for outside in ("zeros", "border"):
    x = tensor(2, 4, 5, 3)
    p = (torch.rand(2, 9, 2, dtype=torch.float64) * torch.tensor([6.0, 7.0]) - 1.5)
    p = ((p * 64).round() / 64 + 1 / 128).requires_grad_()       # off the pixels' centres, where slopes jump
    row, column = p[..., 0], p[..., 1]
    grid = torch.stack([2 * column / 4 - 1, 2 * row / 3 - 1], dim=-1)[:, :, None]
    y = F.grid_sample(nchw(x), grid, mode="bilinear", padding_mode=outside, align_corners=True)[..., 0].permute(0, 2, 1)
    cases.append(record("sample", [x, p], y, outside=outside))
x = tensor(2, 4, 5)
cases.append(record("pad", [x], F.pad(x, (2, 3, 1, 2), mode="reflect"), mode="reflect", sides=[[0, 0], [1, 2], [2, 3]]))
cases.append(record("pad", [x], F.pad(x, (2, 1, 3, 0), mode="replicate"), mode="edge", sides=[[0, 0], [3, 0], [2, 1]]))
cases.append(record("pad", [x], F.pad(x, (1, 0, 0, 2, 1, 1), value=0.5), mode="constant", sides=[[1, 1], [0, 2], [1, 0]]))
x = tensor(2, 3, 4, 5)
cases.append(record("permute", [x], x.permute(2, 0, 3, 1), order=[2, 0, 3, 1]))
indices = [2, 0, 0, 3, 2]
cases.append(record("gather", [x], x.index_select(2, torch.tensor(indices)), axis=2, indices=indices))
values, found = x.topk(3, dim=2)
cases.append(record("top_k", [x], values, axis=2, k=3, indices=flat(found)))
cases.append(record("slice", [x], x[:, 1:].flip(2)[:, :, 1:4:2], ranges=[[None, None, 1], [1, None, 1], [-2, None, -2], [None, None, 1]]))
a, b = tensor(3, 1, 4), tensor(2, 1)
b = (b.detach().abs() + 0.5).requires_grad_()
for name, y in (("Add", a + b), ("Sub", a - b), ("Mul", a * b), ("Div", a / b), ("Min", torch.minimum(a, b)), ("Max", torch.maximum(a, b))):
    cases.append(record("elementwise", [a, b], y, operation=name))
x = tensor(3, 4, 5)
cases.append(record("mean", [x], x.mean(dim=(0, 2)), axes=[0, 2]))
cases.append(record("sum", [x], x.sum(dim=1), axes=[1]))


def write(name, cases):
    path = pathlib.Path(__file__).resolve().parent / name
    path.write_text(json.dumps(dict(torch=torch.__version__, cases=cases), separators=(",", ":")))


write("layout.json", cases)

torch.manual_seed(8)
cases = []
for axis in (0, 1, 2, 3):
    parts = [tensor(*(extent if at == axis else n for at, n in enumerate((2, 3, 2, 2)))) for extent in (3, 1, 2)]
    cases.append(record("concat", parts, torch.cat(parts, dim=axis), axis=axis))
    x = tensor(*(6 if at == axis else n for at, n in enumerate((2, 3, 2, 2))))
    parts = x.split([2, 3, 1], dim=axis)
    cases.append(record("split", [x], torch.cat([part.reshape(-1) for part in parts]), axis=axis, sizes=[2, 3, 1]))
# No two numbers are equal: PyTorch shares an error among equal extremes, where ours has the first.
x = ((torch.randperm(48).double() - 24) / 16).reshape(2, 3, 4, 2).requires_grad_()
for axes in ([0], [2], [3], [1, 3], [0, 1, 2], [0, 1, 2, 3]):
    cases.append(record("max", [x], x.amax(dim=axes), axes=axes))
    cases.append(record("min", [x], x.amin(dim=axes), axes=axes))
for axis in (0, 1, 2, 3):
    for kind, indices in (("argmax", x.argmax(dim=axis)), ("argmin", x.argmin(dim=axis))):
        y = dict(shape=list(indices.shape), q=flat(indices))
        cases.append(dict(kind=kind, inputs=[dict(shape=list(x.shape), q=flat(x))], y=y, dy=[0] * indices.numel(), gradients=[], axis=axis))
x = tensor(4, 9)
x.data[1, 3:6] = 0
for kind, y in (("abs", x.abs()), ("square", x.square()), ("negate", -x)):
    cases.append(record(kind, [x], y))
write("arithmetic.json", cases)
