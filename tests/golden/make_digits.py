#!/usr/bin/env python3
"""Fingerprints of typed networks on the digits, as the reference program trains them.

    python3 make_digits.py           writes digits.json beside this script
    python3 make_digits.py check     compares instead

The networks, data and setting are those of the crate selvedge-digits: batch 8, a rate of 1/8 divided
by the batch, seed 1; halved after 8 and 10 of 12 epochs. "odd" has what the demo lacks: overlapping
pooling, stride, groups, a ReLU of its own, momentum, decay; its rate is an eighth of that. A fingerprint is SHA-256 over the
parameters in layer order (docs/numerics.md, section 11). Needs numpy (written with 2.4.6 on
Python 3.11).
"""
import hashlib
import json
import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import integer_training_layers as layers  # noqa: E402
import integer_training_reference as reference  # noqa: E402

RECORDS = np.fromfile(HERE / "../../digits/data/digits.bin", np.uint8).reshape(-1, 65).astype(np.int64)[:1437]
BATCH, SEED, EPOCHS = 8, 1, 12
# Momentum in 1/256, Nesterov's, decay: as the network "odd" is trained.
SGD = {"beta": 230, "nesterov": True, "decay": (10, 16)}
RUNS = [("odd", kind, 1) for kind in ("i8", "i16", "u8")] + [("cnn", kind, 1) for kind in ("i8", "u8", "i16", "u16", "i32")] + [
    ("cnn", "i8", EPOCHS), ("mlp", "i8", EPOCHS), ("cnn", "i16", 2), ("mlp", "i16", EPOCHS)]


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


def run(arch, kind, epochs):
    # Our networks flatten the image themselves, and every layer has a number.
    net = {
        "cnn": lambda: reference.Net(reference.make("cnn"), kind, SEED),
        "mlp": lambda: reference.Net([layers.Flatten()] + reference.make("mlp"), kind, SEED),
        "odd": lambda: reference.Net([
            layers.Conv2d(1, 4, 3, 1, "relu"), layers.MaxPool(3, 2, 1),
            layers.Conv2d(4, 8, 3, 1, None, stride=2, groups=2), layers.Activation("relu"),
            layers.Flatten(), layers.Dense(32, 10)], kind, SEED, **SGD),
    }[arch]()
    x, ex = reference.pixels_to_input(np.minimum(RECORDS[:, 1:] * 16, 255), kind)
    x, y = x.reshape(-1, 8, 8, 1), RECORDS[:, 0]
    exponent = -3 - 3 if arch != "odd" else -3 - 6
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
