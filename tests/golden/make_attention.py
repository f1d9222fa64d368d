#!/usr/bin/env python3
"""Golden runs of attention that the reference program can make but does not come with: causal, several heads
that share keys and values, sizes that are no power of two, all widths.

    python3 make_attention.py           writes the files named below beside this script
    python3 make_attention.py check     replays them and compares; also the i32 run by big integers

attention-shared-{i8,i16}.json, attention-i32.json: the unmodified reference. attention-i64.json: by big integers, as
make_wide.py tells; the logits of its heads fit 64 bits.

Needs numpy (written with 2.4.6 on Python 3.11).
"""
import contextlib
import json
import pathlib
import sys

import numpy as np

import make_wide

HERE = pathlib.Path(__file__).resolve().parent
dense, layers = make_wide.reference.dense, make_wide.layers


def configurations():
    base = {c["name"]: c for c in make_wide.reference.golden_configs()}["attention-i16"]
    net = [dense(4, 6), dict(layer="attention", d=6, heads=4, kv_heads=2, size=3, causal=True), dict(layer="avgpool"),
           dense(6, 4)]
    small = dict(base, samples=16, batch=4, steps=24, snapshots=[2, 24], net=net)
    names = [("attention-shared-i8", "i8"), ("attention-shared-i16", "i16"), ("attention-i32", "i32"), ("attention-i64", "i64")]
    out = [dict(small, name=name, type=kind) for name, kind in names]
    return [dict(c, seed=990 + i, data_seed=890 + i) for i, c in enumerate(out)]


@contextlib.contextmanager
def narrow_rows():
    """Inside, rows of logits, which have 16 bits, are computed in int64 where all else is not."""
    plain = layers.softmax_rows_q15

    def rows(z, e, mask=None):
        kind = layers.I64
        layers.I64 = np.int64
        try:
            num, _, total = layers.softmax_nums(z.astype(np.int64), int(e), mask)
        finally:
            layers.I64 = kind
        num, total = num.astype(object), total.astype(object)
        return layers.shift_rne(num * (((1 << 47) + (total >> 1)) // total), 32)
    layers.softmax_rows_q15 = rows
    try:
        yield
    finally:
        layers.softmax_rows_q15 = plain


def run(config, exact=False):
    with narrow_rows() if exact else contextlib.nullcontext():
        return make_wide.run(config, exact)


def check():
    same = True
    for config in configurations():
        for exact in {"i64": (True,), "i32": (False, True)}.get(config["type"], (False,)):
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
