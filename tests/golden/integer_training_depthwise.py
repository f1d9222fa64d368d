#!/usr/bin/env python3
"""The lifted ReLU: what is positive stays positive when it is rounded (docs/numerics.md, section 5).

    python3 integer_training_depthwise.py           writes depthwise/*.json
    python3 integer_training_depthwise.py check     replays them and compares

    y = requant(max(acc, 0));  y = max(y, 1) where acc > 0;  backward: d = y > 0 ? d : 0, as for ReLU

A ReLU's backward pass asks `y > 0` of the rounded value. A channel so small that it rounds to 0 gets no
error and never grows back: in 8 bits, depthwise outputs without normalisation lose a fifth of their
channels so. Here `y > 0` says the same as `acc > 0`, and no bit is kept for it. The reference program is used
unchanged; its layers get one more name of an activation, "lifted". Needs numpy.
"""
import json
import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import integer_training_layers as layers  # noqa: E402
import integer_training_reference as reference  # noqa: E402

FOLDER = HERE / "depthwise"


class Lifts:
    """Mixed into a layer with an activation: "lifted" is a ReLU, then the rule above; "masked" is a ReLU whose
    backward pass asks the accumulator, not the rounded output."""

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.lifts, self.masks = self.act == "lifted", self.act == "masked"
        if self.lifts or self.masks:
            self.act = "relu"           # initialisation, exponents and backward pass are a ReLU's

    def activate(self, acc, ea, M, train):
        y, e = super().activate(acc, ea, M, train)
        if self.lifts:
            self.lifted = (acc > 0) & (y == 0)
            self.y = y = y + self.lifted
        if self.masks:
            self.flag = acc > 0
        return y, e

    def local_grad(self, d):
        return d * self.flag.reshape(d.shape) if self.masks else super().local_grad(d)


class Dense(Lifts, layers.Dense):
    pass


class Conv2d(Lifts, layers.Conv2d):
    pass


def run(config):
    """As reference.golden_run, with the layers of this file."""
    plain = reference.LAYERS
    reference.LAYERS = {**plain, "dense": Dense, "conv2d": Conv2d}
    try:
        return json.loads(json.dumps(reference.golden_run(config)))
    finally:
        reference.LAYERS = plain


def configs():
    conv, dense = reference.conv, reference.dense
    net = [conv(1, 4, 3, 1, "lifted", stride=2), conv(4, 4, 3, 1, "lifted", groups=4), conv(4, 5, 1, 0, "lifted"),
           conv(5, 5, [3, 2], [1, 1, 0, 1], "lifted", groups=5), conv(5, 6, 1, 0, "relu"), dict(layer="flatten"), dense(54, 7, "lifted"), dense(7, 4)]
    base = dict(input="pixels", classes=4, samples=32, batch=8, steps=60, snapshots=[1, 2, 10, 60], loss="ce", beta=0, nesterov=False, decay=None,
                lr=[192, -12], seed=31, data_seed=25, net=net, shape=[6, 6, 1])
    return [{**base, "name": "depthwise-" + name, "type": name.split("-")[0], **kw}
            for name, kw in (("i8", {}), ("u8", {}), ("i16", {}), ("i8-momentum", dict(beta=230, lr=[160, -15])))]


def lifted_elements(config):
    """How many elements the rule changes in the run: a file in which it changes none proves nothing."""
    count = [0]
    plain = Lifts.activate

    def counting(self, *args):
        out = plain(self, *args)
        count[0] += int(self.lifted.sum()) if self.lifts else 0
        return out
    Lifts.activate = counting
    try:
        run(config)
    finally:
        Lifts.activate = plain
    return count[0]


def main():
    same = True
    for config in configs():
        path, got = FOLDER / (config["name"] + ".json"), run(config)
        print(config["name"], "loss", got["loss_sum_q16"][0], "->", got["loss_sum_q16"][-1], "lifted elements", lifted_elements(config))
        if sys.argv[1:] == ["check"]:
            ok = json.loads(path.read_text()) == got
            print(path.name, "ok" if ok else "DIFFERS")
            same = same and ok
        else:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(json.dumps(got, separators=(",", ":")))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
