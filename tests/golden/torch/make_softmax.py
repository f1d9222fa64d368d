"""Writes softmax.json: the softmax family and the losses with their gradients, by PyTorch in f64.

Gradients are autograd's, through each definition as it is written down here. The thresholds of entmax
come from a bisection in f64 (100 halvings); its gradient is autograd's through the closed form on the
support that the bisection found. The Gumbel softmax gets the noise of words that the reference program draws;
the loss of the adaptive softmax is torch.nn.AdaptiveLogSoftmaxWithLoss, its projections made to pick logits.

    python make_softmax.py        # torch 2.x and numpy; writes the file beside this script
"""

import json
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from integer_training_layers import rand_u32, stream_key  # noqa: E402

torch.manual_seed(3)
DOUBLE = torch.float64


def numbers(tensor):
    return [float(f"{x:.17g}") for x in tensor.detach().reshape(-1).tolist()]


def entmax(z, alpha):
    """One row. The threshold by bisection, then made differentiable on its support."""
    u = (alpha - 1) * z
    with torch.no_grad():
        low, high = u.max() - 1, u.max() - len(z) ** (1 - alpha)
        for _ in range(100):
            middle = (low + high) / 2
            total = (u - middle).clamp(min=0).pow(1 / (alpha - 1)).sum()
            low, high = (middle, high) if total >= 1 else (low, middle)
        tau = (low + high) / 2
        support = u > tau
        weight = torch.where(support, (u - tau).clamp(min=0).pow(1 / (alpha - 1) - 1), torch.zeros_like(u))
    # Implicit differentiation: d tau / d u = weight / sum(weight).
    tau = tau + (weight / weight.sum() * (u - u.detach())).sum()
    return torch.where(support, (u - tau).clamp(min=0).pow(1 / (alpha - 1)), torch.zeros_like(u))


def tree(z, levels):
    leaves, start, width = torch.ones(1, dtype=DOUBLE), 0, 1
    for children in levels:
        given = z[start : start + width * children].reshape(width, children).softmax(-1)
        leaves = (leaves[:, None] * given).reshape(-1)
        start, width = start + width * children, width * children
    return leaves


def adaptive(z, clusters):
    items = sum(map(len, clusters))
    head = z[clusters[0] + list(range(items, len(z)))].softmax(-1)
    out = torch.zeros(items, dtype=DOUBLE)
    out[clusters[0]] = head[: len(clusters[0])]
    for c, ids in enumerate(clusters[1:]):
        out[ids] = head[len(clusters[0]) + c] * z[ids].softmax(-1)
    return out


def mixture(z, components, gate):
    pi = gate.softmax(-1)
    return (pi[:, None] * z.reshape(components, -1).softmax(-1)).sum(0)


def variant(name, width, temperature, function, **more):
    """Three rows of `function` at a temperature."""
    x = (torch.randn(3, width, dtype=DOUBLE) * 1.5).requires_grad_()
    y = torch.stack([function(row / temperature) for row in x])
    dy = torch.randn(y.shape, dtype=DOUBLE)
    y.backward(dy)
    return dict(name=name, temperature=temperature, width=width, x=numbers(x), y=numbers(y), dy=numbers(dy),
                dx=numbers(x.grad), **more)


allowed = [True, False, True, True, False, True, True]
mask = torch.tensor(allowed)
clusters = [[4, 0], [1, 6, 3], [2, 5]]
gate = torch.tensor([0.3, -0.2, 1.1], dtype=DOUBLE)
variants = [
    variant("softmax", 7, 1.0, lambda z: z.softmax(-1)),
    variant("softmax", 7, 0.5, lambda z: z.softmax(-1)),
    variant("masked", 7, 0.5, lambda z: z.masked_fill(~mask, -torch.inf).softmax(-1), allowed=allowed),
    variant("entmax", 7, 1.0, lambda z: entmax(z, 2.0), alpha=2.0),
    variant("entmax", 7, 2.0, lambda z: entmax(z, 1.5), alpha=1.5),
    variant("entmax", 7, 1.0, lambda z: entmax(z, 1.25), alpha=1.25),
    variant("tree", 2 + 2 * 3, 2.0, lambda z: tree(z, [2, 3]), levels=[2, 3]),
    variant("adaptive", 9, 0.5, lambda z: adaptive(z, clusters), ids=sum(clusters, []), sizes=[2, 3, 2]),
    variant("mixture", 12, 2.0, lambda z: mixture(z, 3, gate), gate=numbers(gate)),
]


def loss(name, shape, function, **more):
    x = (torch.randn(*shape, dtype=DOUBLE) * 2).requires_grad_()
    value = function(x)
    value.backward()
    return dict(name=name, shape=list(shape), x=numbers(x), loss=value.item(), dx=numbers(x.grad), **more)


labels = [2, 0, 4]
shares = torch.rand(3, 5, dtype=DOUBLE)
shares = shares / shares.sum(-1, keepdim=True)
weights = torch.tensor([0.5, 2.0, 1.25], dtype=DOUBLE)
target = torch.randn(3, 5, dtype=DOUBLE)
truth = torch.rand(3, 5, dtype=DOUBLE)
index = torch.tensor(labels)
w = numbers(weights)


def weighted(per_element):
    return (weights * per_element.reshape(3, -1).sum(-1)).sum()


losses = [
    loss("labels", (3, 5), lambda x: F.cross_entropy(x, index, reduction="sum"), smoothing=0.0, labels=labels),
    loss("labels", (3, 5), lambda x: weighted(F.cross_entropy(x, index, reduction="none", label_smoothing=0.25)),
         smoothing=0.25, labels=labels, weights=w),
    loss("shares", (3, 5), lambda x: F.cross_entropy(x, shares, reduction="sum", label_smoothing=0.125),
         smoothing=0.125, target=numbers(shares)),
    loss("shares", (3, 5), lambda x: weighted(F.cross_entropy(x, shares, reduction="none")),
         smoothing=0.0, target=numbers(shares), weights=w),
    loss("squared", (3, 5), lambda x: weighted(0.5 * F.mse_loss(x, target, reduction="none")),
         target=numbers(target), weights=w),
    loss("absolute", (3, 5), lambda x: weighted(F.l1_loss(x, target, reduction="none")),
         target=numbers(target), weights=w),
    loss("huber", (3, 5), lambda x: weighted(F.huber_loss(x, target, reduction="none", delta=0.75)),
         target=numbers(target), weights=w, delta=0.75),
    loss("binary", (3, 5), lambda x: weighted(F.binary_cross_entropy_with_logits(x, truth, reduction="none")),
         target=numbers(truth), weights=w),
]


def gumbel(width, temperature, *address):
    """With the noise of the words of (seed, stream, step)."""
    word = torch.tensor(rand_u32(stream_key(*address), 3 * width), dtype=DOUBLE)
    noise = -(-((word + 0.5) / 2**32).log()).log()
    of_row = iter(noise.reshape(3, width) / temperature)
    return variant("gumbel", width, temperature, lambda z: (z + next(of_row)).softmax(-1), words=list(address))


def weighed(temperature, given=None, gate=None, gate_temperature=1.0):
    """A mixture with the gradient of its weights: of normalised ones that are given, or of logits."""
    x = (torch.randn(5, 3, 4, dtype=DOUBLE) * 1.5).requires_grad_()
    weights = torch.tensor(given or gate, dtype=DOUBLE)
    leaf = (weights / weights.sum() if given else weights).requires_grad_()
    pi = leaf if given else (leaf / gate_temperature).softmax(-1)
    y = (pi[:, None] * (x / temperature).softmax(-1)).sum(1)
    dy = torch.randn(y.shape, dtype=DOUBLE)
    y.backward(dy)
    return dict(is_given=given is not None, weights=numbers(weights), weights_temperature=gate_temperature, temperature=temperature,
                x=numbers(x), y=numbers(y), dy=numbers(dy), dx=numbers(x.grad), dweights=numbers(leaf.grad))


def adaptive_loss(temperature, clusters, targets):
    """PyTorch numbers items by cluster: its item i is our ids[i]. Its projections pick logits."""
    ids, items = sum(clusters, []), sum(map(len, clusters))
    width = items + len(clusters) - 1
    cutoffs = [sum(map(len, clusters[: i + 1])) for i in range(len(clusters) - 1)]
    layer = torch.nn.AdaptiveLogSoftmaxWithLoss(width, items, cutoffs, div_value=1.0, dtype=DOUBLE)
    pick = torch.eye(width, dtype=DOUBLE)
    with torch.no_grad():
        layer.head.weight.copy_(pick[clusters[0] + list(range(items, width))])
        for tail, cluster in zip(layer.tail, clusters[1:]):
            tail[0].weight.copy_(pick)
            tail[1].weight.copy_(pick[cluster])
    x = (torch.randn(len(targets), width, dtype=DOUBLE) * 1.5).requires_grad_()
    log_prob, _ = layer(x / temperature, torch.tensor([ids.index(t) for t in targets]))
    loss = -log_prob.sum()
    loss.backward()
    return dict(ids=ids, sizes=list(map(len, clusters)), temperature=temperature, targets=targets, x=numbers(x),
                log_prob=numbers(log_prob), loss=loss.item(), dx=numbers(x.grad))


variants += [gumbel(7, 0.5, 3, 28, 11), gumbel(5, 2.0, 901, 44, 0)]
mixtures = [weighed(1.0, gate=[0.3, -0.2, 1.1]), weighed(0.5, gate=[1.5, 0.25, -0.75], gate_temperature=2.0),
            weighed(2.0, given=[3.0, 1.0, 2.0])]
adaptive_losses = [adaptive_loss(1.0, clusters, [4, 1, 5, 2, 0]), adaptive_loss(0.5, [[2], [0, 3], [5, 1, 4]], [4, 2, 0, 1])]
path = pathlib.Path(__file__).with_suffix("").with_name("softmax.json")
path.write_text(json.dumps(dict(torch=torch.__version__, variants=variants, losses=losses, mixtures=mixtures,
                                adaptive_losses=adaptive_losses)) + "\n")
