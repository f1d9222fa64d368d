"""Compares depthwise.c with the reference program: weights after some epochs, and accuracies.

    python3 check.py PROGRAM DIGITS [EPOCHS]
"""
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden"))
import numpy as np  # noqa: E402

import integer_training_depthwise as lifting  # noqa: E402
import integer_training_layers as layers  # noqa: E402
from integer_training_reference import (  # noqa: E402
    I64, AvgPool, Dense, Net, bit_len, make, mix32, pixels_to_input, shuffle)


def exact_mm(a, b):             # by way of doubles: sums stay below 2^53 here
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(I64)


layers.mm = exact_mm


def stages(n, act="relu"):
    net, c = [lifting.Conv2d(1, 16, 3, 1, act, stride=2)], 16
    for _ in range(n):
        net += [lifting.Conv2d(c, c, 3, 1, act, groups=c), lifting.Conv2d(c, 24, 1, 0, act)]
        c = 24
    return net + [AvgPool(), Dense(24, 10)]


def digits(path):
    raw = np.frombuffer(pathlib.Path(path).read_bytes(), np.uint8).reshape(-1, 65).astype(I64)
    px, y = np.minimum(raw[:, 1:] * 16, 255), raw[:, 0]
    return px[:1347], y[:1347], px[1347:], y[1347:]


def train(net, kind, data, epochs, shape=(8, 8, 1), lr=(128, -9), bs=32):
    """As integer_training_measure.fit; returns the accuracies of the last three epochs, averaged."""
    xt, yt, xv, yv = data
    (xt, ex), (xv, _) = pixels_to_input(xt, kind), pixels_to_input(xv, kind)
    if shape:
        xt, xv = xt.reshape((-1,) + shape), xv.reshape((-1,) + shape)
    lr_m, lr_e = lr
    acc = []
    for ep in range(epochs):
        lr_e -= (ep == epochs * 2 // 3) + (ep == epochs * 5 // 6)
        p = shuffle(len(xt), net.seed, ep)
        for i in range(0, len(xt) - bs + 1, bs):
            j = p[i:i + bs]
            net.train_step(xt[j], ex, yt[j], lr_m, lr_e - (bit_len(bs) - 1))
        if ep >= epochs - 3:
            acc.append((net.forward(xv, ex)[0].argmax(-1) == yv).mean())
    return 100 * sum(acc) / len(acc)


def digest(net):
    h = 0
    for layer in net.flat:
        for name, p in layer.named:
            for v in p.m.ravel().tolist():
                h = int(mix32(h ^ (v & 0xFFFFFFFF)))
            if name == "b":
                h = int(mix32(h ^ (int(np.ravel(layer.W.e)[0]) & 0xFFFFFFFF)))
    return h


if __name__ == "__main__":
    program, data, epochs = sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "3"
    for name, layers_of, shape, option in (
            ("dw2", lambda: stages(2), (8, 8, 1), []), ("dw2", lambda: stages(2, "lifted"), (8, 8, 1), ["mask=2"]),
            ("dw2", lambda: stages(2, "masked"), (8, 8, 1), ["mask=1"]),
            ("dw4", lambda: stages(4), (8, 8, 1), []), ("mlp", lambda: make("mlp"), None, []), ("cnn", lambda: make("cnn"), (8, 8, 1), [])):
        for kind in ("i8", "i16"):
            net = Net(layers_of(), kind, 1)
            acc = train(net, kind, digits(data), int(epochs), shape)
            want = "%08x %.2f" % (digest(net), acc)
            got = subprocess.run([program, data, name, kind, "1", "epochs=" + epochs, "hash=1"] + option, capture_output=True, text=True).stdout.strip()
            print(name, kind, *option, want, "|", got, "ok" if want == got else "DIFFERS", flush=True)
