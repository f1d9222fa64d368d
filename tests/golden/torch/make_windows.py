#!/usr/bin/env python3
"""Results and gradients of PyTorch for convolutions and pooling: writes windows.json and padding.json beside
this script; the latter has the padding "same", ceil_mode, and volumes in batches. Numbers are multiples of 1/4, so that f32 and f64 read the same ones; PyTorch computes in float64. The file
has Selvedge's layouts: channels last, filters [O, kernel, I / groups], [I, kernel, O / groups] transposed.
"""
import json
import pathlib

import torch
import torch.nn.functional as F

torch.manual_seed(11)


def tensor(*shape):
    return (torch.randint(-9, 10, shape).double() / 4).requires_grad_()


def different(*shape):
    """No two numbers are equal: no maximum is shared."""
    n = torch.Size(shape).numel()
    return (torch.randperm(n).double().reshape(shape) / 4 - n // 8).requires_grad_()


def last(t):                                 # channels last; filters alike
    return t.detach().movedim(1, -1).reshape(-1).tolist()


def record(kind, x, y, parameters=(), **arguments):
    dy = torch.randint(-9, 10, y.shape).double() / 4
    inputs = [x, *parameters]
    gradients = torch.autograd.grad(y, inputs, dy)
    flat = lambda t: last(t) if t.dim() > 1 else t.detach().tolist()
    names = ("x", "weight", "bias")
    case = dict(kind=kind, axes=x.dim() - 2, batch=x.shape[0], channels=x.shape[1], input=list(x.shape[2:]),
                filters=y.shape[1], output=list(y.shape[2:]), y=flat(y), dy=flat(dy), **arguments)
    for name, value, gradient in zip(names, inputs, gradients):
        case[name], case["d" + name] = flat(value), flat(gradient)
    return case


SIZES = {1: [7], 2: [5, 4], 3: [3, 2, 3]}
cases = []
for axes in (1, 2, 3):
    size, batch, each = SIZES[axes], 1 if axes == 3 else 2, lambda *values: list(values[:axes])
    conv = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    transposed = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[axes - 1]
    for kernel, stride, padding, dilation, groups in (
            (each(3, 2, 2), each(1, 1, 1), each(0, 0, 0), each(1, 1, 1), 1),
            (each(3, 2, 3), each(2, 1, 2), each(1, 1, 0), each(1, 2, 1), 2),
            (each(2, 3, 2), each(1, 2, 1), each(2, 1, 1), each(3, 1, 2), 4)):       # the last: depthwise
        x, w, b = tensor(batch, 4, *size), tensor(4, 4 // groups, *kernel), tensor(4)
        window = dict(kernel=kernel, stride=stride, padding=padding, dilation=dilation)
        y = conv(x, w, b, stride, padding, dilation, groups)
        cases.append(record("conv", x, y, (w, b), groups=groups, **window))
    for kernel, stride, padding, more, dilation, groups in (
            (each(3, 2, 2), each(2, 1, 2), each(1, 0, 1), each(0, 0, 0), each(1, 1, 1), 1),
            (each(2, 3, 2), each(3, 2, 2), each(0, 1, 0), each(2, 1, 1), each(1, 2, 1), 2)):
        x, w, b = tensor(batch, 4, *(n - 1 for n in size)), tensor(4, 4 // groups, *kernel), tensor(4)
        window = dict(kernel=kernel, stride=stride, padding=padding, dilation=dilation)
        y = transposed(x, w, b, stride, padding, more, groups, dilation)
        cases.append(record("transpose", x, y, (w, b), groups=groups, **window))
    average = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1]
    largest = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes - 1]
    for kernel, stride, padding in ((each(2, 2, 2), each(2, 2, 2), each(0, 0, 0)), (each(3, 2, 3), each(1, 2, 2), each(1, 1, 1))):
        window = dict(kernel=kernel, stride=stride, padding=padding)
        for counted in (True, False):
            x = tensor(batch, 3, *size)
            y = average(x, kernel, stride, padding, count_include_pad=counted)
            cases.append(record("average", x, y, is_counted=counted, dilation=[1] * axes, **window))
        x, dilation = different(batch, 3, *size), each(2, 1, 1)
        if kernel[0] == 3:
            y = largest(x, kernel, stride, padding, dilation)
            cases.append(record("max", x, y, dilation=dilation, **window))
        else:
            cases.append(record("max", x, largest(x, kernel, stride, padding), dilation=[1] * axes, **window))
    for output in ([1] * axes, each(3, 3, 2), each(9, 2, 3)):
        x = tensor(batch, 3, *size)
        adaptive = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[axes - 1]
        cases.append(record("adaptive_average", x, adaptive(x, output)))
        x = different(batch, 3, *size)
        adaptive = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[axes - 1]
        cases.append(record("adaptive_max", x, adaptive(x, output)))


def write(name, cases):
    path = pathlib.Path(__file__).resolve().parent / name
    path.write_text(json.dumps(dict(torch=torch.__version__, cases=cases), separators=(",", ":")))


write("windows.json", cases)

torch.manual_seed(12)
SIZES = {1: [7], 2: [5, 4], 3: [4, 3, 3]}
cases = []


def sides(x, y, kernel, stride, padding):
    """Cells before and after each axis: after, those that the last window of ceil_mode lacks as well."""
    return [[p, max(p, (o - 1) * s + k - n - p)] for n, o, k, s, p in zip(x.shape[2:], y.shape[2:], kernel, stride, padding)]


for axes in (1, 2, 3):
    size, batch, each = SIZES[axes], 2, lambda *values: list(values[:axes])
    conv = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    for kernel, dilation, groups in ((each(2, 3, 2), each(1, 1, 1), 1), (each(4, 2, 3), each(1, 3, 2), 2)):
        x, w, b = tensor(batch, 2, *size), tensor(2, 2 // groups, *kernel), tensor(2)
        y = conv(x, w, b, padding="same", dilation=dilation, groups=groups)
        cases.append(record("conv", x, y, (w, b), groups=groups, kernel=kernel, stride=[1] * axes, dilation=dilation, is_same=True))
    average = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1]
    largest = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes - 1]
    # A last window that lacks cells; one that would begin in the padding, and is left out.
    for kernel, stride, padding in ((each(2, 3, 2), each(2, 2, 2), each(0, 1, 0)), (each(2, 2, 2), each(3, 3, 3), each(1, 1, 1))):
        window = dict(kernel=kernel, stride=stride, dilation=[1] * axes)
        x = tensor(batch, 2, *size)
        y = average(x, kernel, stride, padding, ceil_mode=True, count_include_pad=False)
        cases.append(record("average", x, y, is_counted=False, sides=sides(x, y, kernel, stride, padding), **window))
        x = different(batch, 2, *size)
        y = largest(x, kernel, stride, padding, ceil_mode=True)
        cases.append(record("max", x, y, sides=sides(x, y, kernel, stride, padding), **window))

size, kernel, stride, padding, dilation = [3, 2, 4], [2, 2, 2], [1, 2, 2], [1, 1, 0], [1, 1, 2]
window = dict(kernel=kernel, stride=stride, padding=padding, dilation=dilation)
for groups in (1, 2):
    x, w, b = tensor(2, 2, *size), tensor(4, 2 // groups, *kernel), tensor(4)
    cases.append(record("conv", x, F.conv3d(x, w, b, stride, padding, dilation, groups), (w, b), groups=groups, **window))
    x, w, b = tensor(2, 4, *size), tensor(4, 2 // groups, *kernel), tensor(2)
    y = F.conv_transpose3d(x, w, b, stride, padding, 0, groups, dilation)
    cases.append(record("transpose", x, y, (w, b), groups=groups, **window))
window["dilation"] = [1, 1, 1]
for counted in (True, False):
    x = tensor(2, 2, *size)
    y = F.avg_pool3d(x, kernel, stride, padding, count_include_pad=counted)
    cases.append(record("average", x, y, is_counted=counted, **window))
x = different(2, 2, *size)
cases.append(record("max", x, F.max_pool3d(x, kernel, stride, padding), **window))
cases.append(record("adaptive_average", x, F.adaptive_avg_pool3d(x, [2, 3, 3])))
cases.append(record("adaptive_max", x, F.adaptive_max_pool3d(x, [2, 3, 3])))
write("padding.json", cases)
