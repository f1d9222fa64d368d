#!/usr/bin/env python3
"""Golden runs that the reference program can make but does not come with.

    python3 make_wide.py           writes the files named below beside this script
    python3 make_wide.py check     replays them and compares; also the i32 runs by big integers

*-i32.json: the unmodified reference with other configurations.
*-i64.json: the reference's networks and layers on exact big integers (numpy object arrays), with the
rules of the i32 type carried over to 53 magnitude bits:

| | i32 | i64 |
| magnitude of elements, biases, velocities | 24 | 53 |
| accumulator | i64 | i128 |
| saturation of left shifts | 62 | 126 |
| clamp of the bias in the accumulator | 61 | 125 |
| logits before softmax | shift_rne by 24 - 15 = 9 | 53 - 15 = 38 |
| gradient before the update | shift_rne by 16 | 16 |
| longest shift of a velocity's update | 38 | 38 |

Needs numpy (written with 2.4.6 on Python 3.11).
"""
import contextlib
import json
import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import integer_training_layers as layers  # noqa: E402
import integer_training_reference as reference  # noqa: E402

WIDTHS = {"i64": (53, 125, 126), "i32": (24, 61, 62)}   # bits, clamp of a bias, saturation
BITS, CLAMP, SATURATION = WIDTHS["i64"]


# ---------------------------------------------------------------- primitives without a width
def shl_sat(x, k):
    k = min(k, SATURATION)
    limit = ((1 << SATURATION) - 1) >> k
    return np.clip(x, -limit, limit) << k


def shift_rne(x, s):
    if s <= 0:
        return shl_sat(x, -s)
    floor = x >> s
    rest, half = x - (floor << s), 1 << (s - 1)
    return floor + ((rest > half) | ((rest == half) & ((floor & 1) == 1)))


def shift_sr(x, s, u):
    if s <= 0:
        return shl_sat(x, -s)
    if s > 32:
        x, s = x >> (s - 32), 32
    return (x + (u >> (32 - s))) >> s


def sat(x, bits):
    bits = CLAMP if bits == 61 else bits    # 61: the clamp of a bias beside a 64-bit accumulator
    return np.clip(x, -(1 << bits) + 1, (1 << bits) - 1)


class Param(layers.Param):
    """The update written out once more, for 53 bits."""

    def update(self, g, e_g, lr, step, rows=None):
        net, (lr_m, lr_e) = self.net, lr
        g, e_g = shift_rne(g, 16), e_g + 16
        u = layers.rand_u32(layers.stream_key(net.seed, self.stream, step + 1), g.size).reshape(g.shape)
        again = lambda word: layers.mix32(u ^ word).astype(object)
        m, v, big = self.m, self.v, g * lr_m
        if net.decay and self.decays:
            m = m - shift_sr(m * net.decay[0], net.decay[1], again(0x5BD1E995))
        s = self.e - (e_g + lr_e)
        if not net.beta:
            m = m - shift_sr(big, s, u)
        else:
            if s > 38:
                big, s = big >> (s - 38), 38

            def decayed(v, u):
                if s >= 8:
                    return shift_sr((v * net.beta << (s - 8)) - big, s, u)
                return shift_sr(v * net.beta - shl_sat(big, 8 - s), 8, u)
            v = sat(decayed(v, u), BITS)
            m = m + (decayed(v, again(0x2545F491)) if net.nesterov else v)
        limit = (1 << BITS) - 1
        grow = bool((np.abs(m) > limit).any())
        m = np.clip(m, -limit, limit)
        if grow:
            m, v, self.e = shift_rne(m, 1), shift_rne(v, 1), self.e + 1
        self.m, self.v = m, v


@contextlib.contextmanager
def big_integers(kind):
    """Inside, the reference computes type `kind` with Python's integers."""
    global BITS, CLAMP, SATURATION
    BITS, CLAMP, SATURATION = WIDTHS[kind]
    plain_types = dict(layers.TYPES)
    saved = [(module, vars(module).copy()) for module in (layers, reference)]
    plain_softmax, plain_loss, plain_synth = layers.softmax_q15, layers.ce_loss_q16, reference.synth

    def narrow(function):       # 16-bit logits and what follows from them fit int64
        def call(*args):
            layers.I64 = np.int64
            try:
                return function(*args)
            finally:
                layers.I64 = object
        return call

    def softmax(z, e):
        p, t, total = narrow(plain_softmax)(z.astype(np.int64), int(e))
        return p.astype(object), t, total

    def synth(*args):
        x, y = narrow(plain_synth)(*args)
        return x.astype(object), y

    new = dict(shl_sat=shl_sat, shift_rne=shift_rne, shift_sr=shift_sr, sat=sat, Param=Param, I64=object,
               softmax_q15=softmax, ce_loss_q16=narrow(plain_loss), synth=synth,
               pixels_to_input=lambda px, kind: (px << (BITS - 8), -BITS))
    try:
        layers.TYPES[kind] = dict(M=BITS, R=0, MB=BITS, ACC=CLAMP + 3, G=16, N=64)
        for module, names in saved:
            for name in new.keys() & names.keys():
                setattr(module, name, new[name])
        yield
    finally:
        layers.TYPES.clear()
        layers.TYPES.update(plain_types)
        for module, names in saved:
            vars(module).update(names)


# ---------------------------------------------------------------- configurations
def configurations():
    shared = {c["name"]: c for c in reference.golden_configs()}
    mlp, cnn, conv = shared["mlp-i32"], shared["cnn-i16"], shared["conv-i16"]
    momentum = dict(beta=230, lr=[160, -14])
    both = dict(momentum, nesterov=True, decay=[5, 10])
    nets = [("mlp-%s-momentum", dict(mlp, **momentum)), ("mlp-%s-nesterov-decay", dict(mlp, **both)),
            ("mlp-%s-mse", dict(mlp, loss="mse", lr=[255, -12])), ("mlp-%s-growth", dict(mlp, lr=[255, -5])),
            ("cnn-%s", cnn), ("conv-%s", conv),
            # a rate so small that gradients are shifted out beside the velocity
            ("mlp-%s-slow", dict(mlp, beta=230, lr=[160, -90], steps=4, snapshots=[4]))]
    out = [dict(config, name=name % "i32", type="i32") for name, config in nets]
    out += [dict(config, name=name % "i64", type="i64") for name, config in nets + [("mlp-%s", mlp)]]
    out += [dict(shared["norm-i16"], name="norm-" + kind, type=kind) for kind in ("i32", "i64")]
    return [dict(c, seed=900 + i, data_seed=800 + i) for i, c in enumerate(out)]


def run(config, exact=False):
    with big_integers(config["type"]) if exact else contextlib.nullcontext():
        result = reference.golden_run(config)
    return json.loads(json.dumps(result, default=int))


def check():
    same = True
    for config in configurations():
        for exact in (True,) if config["type"] == "i64" else (False, True):
            ok = json.loads((HERE / (config["name"] + ".json")).read_text()) == run(config, exact)
            print(config["name"], "by big integers" if exact else "by the reference", "ok" if ok else "DIFFERS")
            same = same and ok
    return same


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit(0 if check() else 1)
    for config in configurations():
        text = json.dumps(run(config, config["type"] == "i64"), separators=(",", ":"))
        (HERE / (config["name"] + ".json")).write_text(text)
