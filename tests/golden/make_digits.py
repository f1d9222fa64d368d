#!/usr/bin/env python3
"""Fingerprints of typed networks on the digits, as the reference program trains them.

    python3 make_digits.py           writes digits.json beside this script
    python3 make_digits.py check     compares instead

The networks, data and setting are those of the crate selvedge-digits: batch 8, a rate of 1/8 divided
by the batch, seed 1; halved after 8 and 10 of 12 epochs. A fingerprint is SHA-256 over the parameters in
layer order (docs/numerics.md, section 11). Needs numpy (written with 2.4.6 on Python 3.11).

The other networks have what the demo lacks, and are those of tests/tests/digits.rs line by line. "odd":
overlapping pooling, stride, groups, a ReLU of its own. "norms": both kinds, over pixels and over a row.
"merges": branches beside and within one another. "curves": each activation that the reference has, within a
layer and alone. "averages": overlapping with padding, rectangular, of the whole. "signal": windows over one axis.
"lifted": the ReLU of integer_training_depthwise.py. "odd" and "norms" are trained with momentum, Nesterov's
and decay, at an eighth of the rate.
"""
import hashlib
import json
import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import integer_training_depthwise as depthwise  # noqa: E402
import integer_training_layers as layers  # noqa: E402
import integer_training_reference as reference  # noqa: E402

RECORDS = np.fromfile(HERE / "../../digits/data/digits.bin", np.uint8).reshape(-1, 65).astype(np.int64)[:1437]
BATCH, SEED, EPOCHS = 8, 1, 12
# Momentum in 1/256, Nesterov's, decay: as the networks of SLOW are trained.
SGD = {"beta": 230, "nesterov": True, "decay": (10, 16)}
SLOW = ("odd", "norms")
KINDS = ("i8", "u8", "i16", "u16", "i32")
RUNS = [("odd", kind, 1) for kind in ("i8", "i16", "u8")] + [("cnn", kind, 1) for kind in KINDS] + [
    ("cnn", "i8", EPOCHS), ("mlp", "i8", EPOCHS), ("cnn", "i16", 2), ("mlp", "i16", EPOCHS)] + [
    (arch, kind, 1) for arch in ("norms", "merges", "curves", "averages", "signal", "lifted") for kind in KINDS]


def fingerprint(net):
    digest, t = hashlib.sha256(), net.t
    for layer in net.flat:
        for _, p in layer.named:
            is_bias = p.bits is None and p.R == 0 and p.M == t["MB"] and p.m.ndim == 1
            bits = {15: 16, 24: 32}[t["MB"]] if is_bias else {7: 8, 15: 16, 24: 32}[t["M"]]
            q = p.q
            stored = q + (1 << (bits - 1)) if t.get("U") and not is_bias else q
            digest.update((stored & ((1 << bits) - 1)).astype(f"<u{bits // 8}").tobytes())
            if p.R:
                digest.update((p.m - (q << p.R)).astype(np.int8).tobytes())
            digest.update(int(p.e).to_bytes(2, "little", signed=True))
    return digest.hexdigest()


def network(arch):
    # Our networks flatten the image themselves, and every layer has a number.
    conv, pool, dense, flat, act = layers.Conv2d, layers.MaxPool, layers.Dense, layers.Flatten, layers.Activation
    fork, average = (lambda combine, a, b: layers.Parallel([a, b], combine)), layers.AvgPool
    return {
        "cnn": lambda: reference.make("cnn"),
        "mlp": lambda: [flat()] + reference.make("mlp"),
        "odd": lambda: [
            conv(1, 4, 3, 1, "relu"), pool(3, 2, 1), conv(4, 8, 3, 1, None, stride=2, groups=2), act("relu"), flat(),
            dense(32, 10)],
        "norms": lambda: [
            conv(1, 6, 3, 1, stride=2), layers.LayerNorm(6), act("relu"), conv(6, 8, 3), layers.RmsNorm(8), flat(),
            layers.LayerNorm(32), dense(32, 12, "relu"), layers.RmsNorm(12), dense(12, 10)],
        "merges": lambda: [
            fork("concat", [conv(1, 3, 3, 1, "relu", stride=2)], [conv(1, 1, 1, stride=2)]),
            fork("add", [conv(4, 4, 3, 1, "relu"), conv(4, 4, 3, 1)], []), act("relu"),
            fork("mul", [], [conv(4, 4, 1, act="sigmoid")]),
            fork("add",
                 [fork("mul", [conv(4, 6, 1)], [conv(4, 6, 3, 1, "tanh")]), conv(6, 5, 2, stride=2)],
                 [fork("concat", [conv(4, 3, 2, stride=2)], [pool()]), conv(7, 5, 1)]),
            flat(), dense(20, 10)],
        "curves": lambda: [
            conv(1, 4, 3, 1, "gelu", stride=2), act("sigmoid"), conv(4, 6, 3, 0, "silu"), act("tanh"), flat(),
            dense(24, 20, "tanh"), act("leaky"), dense(20, 18, "softplus"), act("gelu"), dense(18, 16, "leaky"),
            act("silu"), dense(16, 14, "sigmoid"), act("softplus"), dense(14, 10)],
        "averages": lambda: [
            conv(1, 6, 3, 1, "relu"), average(3, 2, 1), conv(6, 8, 3, 1), average([1, 2]), act("relu"),
            conv(8, 10, 1, act="relu"), average(), dense(10, 10)],
        "signal": lambda: [
            conv(8, 10, [1, 3], [0, 0, 1, 1], "relu"), pool([1, 3], [1, 2], [0, 0, 1, 1]),
            conv(10, 10, [1, 2], act="relu", groups=10), average([1, 2], [1, 1]), flat(), dense(20, 10)],
        "lifted": lambda: [
            depthwise.Conv2d(1, 4, 3, 1, "lifted", stride=2), depthwise.Conv2d(4, 4, 3, 1, "lifted", groups=4),
            depthwise.Conv2d(4, 6, 1, 0, "lifted"), flat(), depthwise.Dense(96, 12, "lifted"), dense(12, 10)],
    }[arch]()


def run(arch, kind, epochs):
    net = reference.Net(network(arch), kind, SEED, **(SGD if arch in SLOW else {}))
    x, ex = reference.pixels_to_input(np.minimum(RECORDS[:, 1:] * 16, 255), kind)
    x, y = x.reshape((-1, 1, 8, 8) if arch == "signal" else (-1, 8, 8, 1)), RECORDS[:, 0]
    exponent = -3 - 6 if arch in SLOW else -3 - 3
    for epoch in range(epochs):
        if epoch in (8, 10):
            exponent -= 1
        order = reference.shuffle(len(x), SEED, epoch)
        for i in range(0, len(x) - BATCH + 1, BATCH):
            j = order[i:i + BATCH]
            net.train_step(x[j], ex, y[j], 1, exponent)
    return fingerprint(net)


def main():
    made = [{"network": a, "dtype": k, "epochs": e, "fingerprint": run(a, k, e)} for a, k, e in RUNS]
    path = HERE / "digits.json"
    if sys.argv[1:] == ["check"]:
        sys.exit(json.loads(path.read_text()) != made)
    path.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
