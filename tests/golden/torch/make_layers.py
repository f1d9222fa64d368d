#!/usr/bin/env python3
"""Results and gradients of PyTorch for small networks of typed layers: writes layers.json beside this script.
Numbers are multiples of 1/8, so that f32 and f64 read the same ones; PyTorch computes in float64. Parameters
stand in the order of the layers, weights before bias. Images have channels last in the file, filters alike.
"""
import json
import pathlib

import torch
import torch.nn.functional as F

torch.manual_seed(21)


def tensor(*shape):
    return (torch.randint(-9, 10, shape).double() / 8).requires_grad_()


def different(*shape):
    """No two numbers are equal: no maximum is shared."""
    n = torch.Size(shape).numel()
    return (torch.randperm(n).double().reshape(shape) / 8 - n // 16).requires_grad_()


def flat(t):
    return t.detach().reshape(-1).tolist()


def record(name, x, parameters, y):
    dy = tensor(*y.shape).detach()
    dx, *gradients = torch.autograd.grad(y, [x, *parameters], dy)
    return dict(name=name, x=flat(x), y=flat(y), dy=flat(dy), dx=flat(dx),
                parameters=sum(map(flat, parameters), []), gradients=sum(map(flat, gradients), []))


def first(x):                   # channels last to channels first
    return x.movedim(-1, 1)


def last(x):
    return x.movedim(1, -1)


cases = []
x, w, b = tensor(3, 7), tensor(5, 7), tensor(5)
cases.append(record("dense", x, [w, b], F.linear(x, w, b)))
x, w, b = tensor(3, 20), tensor(9, 20), tensor(9)       # more than a block of eight
cases.append(record("wide", x, [w, b], F.linear(x, w, b)))

# Two branches side by side, stitched.
x, w1, b1, w2, b2, w, b = tensor(3, 6), tensor(4, 6), tensor(4), tensor(3, 6), tensor(3), tensor(5, 7), tensor(5)
y = F.linear(torch.cat([F.relu(F.linear(x, w1, b1)), F.linear(x, w2, b2)], dim=1), w, b)
cases.append(record("stitch", x, [w1, b1, w2, b2, w, b], y))

x, w1, b1, w2, b2 = tensor(3, 6), tensor(8, 6), tensor(8), tensor(6, 8), tensor(6)
y = F.linear(F.relu(F.linear(x, w1, b1)), w2, b2) + x
cases.append(record("residual", x, [w1, b1, w2, b2], y))
x, w1, b1, w2, b2 = tensor(3, 6), tensor(5, 6), tensor(5), tensor(5, 6), tensor(5)
cases.append(record("shortcut", x, [w1, b1, w2, b2], torch.tanh(F.linear(x, w1, b1)) + F.linear(x, w2, b2)))
x, w1, b1 = tensor(3, 6), tensor(6, 6), tensor(6)
cases.append(record("gate", x, [w1, b1], x * torch.sigmoid(F.linear(x, w1, b1))))

# Branches with unequal channels, over images.
x, w1, b1 = tensor(3, 4, 3, 2), tensor(3, 3, 3, 2), tensor(3)
y = torch.cat([last(F.conv2d(first(x), first(w1), b1, padding=1)), x], dim=-1)
cases.append(record("concat", x, [w1, b1], y))

# Padding "same" with an even kernel, and ceil_mode: a last window that lacks a cell; one that is left out.
x, w, b = tensor(3, 5, 4, 2), tensor(3, 2, 3, 2), tensor(3)
cases.append(record("same", x, [w, b], last(F.conv2d(first(x), first(w), b, padding="same"))))
x = different(3, 7, 2)
cases.append(record("ceil_max", x, [], last(F.max_pool1d(first(x), 2, 2, ceil_mode=True))))
x = different(3, 7, 2)
cases.append(record("ceil_left_out", x, [], last(F.max_pool1d(first(x), 2, 3, 1, ceil_mode=True))))
x = tensor(3, 5, 4, 2)
cases.append(record("ceil_average", x, [], last(F.avg_pool2d(first(x), 3, 2, 1, ceil_mode=True, count_include_pad=False))))
path = pathlib.Path(__file__).resolve().parent / "layers.json"
path.write_text(json.dumps(dict(torch=torch.__version__, cases=cases), separators=(",", ":")))
