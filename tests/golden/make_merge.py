#!/usr/bin/env python3
"""Golden runs of branches that the reference program can make but does not come with.

    python3 make_merge.py           writes the files named below beside this script
    python3 make_merge.py check     replays them and compares

product-{i8,i16,i32}.json: the unmodified reference; a product of two branches, with a residual sum of
three branches behind it. merge-i64.json, product-i64.json: by big integers, as make_wide.py tells.

Needs numpy (written with 2.4.6 on Python 3.11).
"""
import json
import pathlib
import sys

import make_wide

HERE = pathlib.Path(__file__).resolve().parent
conv, dense = make_wide.reference.conv, make_wide.reference.dense


def configurations():
    merge = {c["name"]: c for c in make_wide.reference.golden_configs()}["merge-i16"]
    gate = dict(layer="parallel", combine="mul", branches=[[conv(3, 2, 3, pad=1, act=None)], [conv(3, 2, 1)]])
    three = dict(layer="parallel", combine="add", branches=[[conv(2, 2, 1, act=None)], [], [conv(2, 2, 3, pad=1, act=None)]])
    product = dict(merge, net=[conv(1, 3, 3, pad=1), gate, three, dict(layer="flatten"), dense(72, 4)])
    out = [dict(product, name="product-" + t, type=t) for t in ("i8", "i16", "i32", "i64")]
    out.append(dict(merge, name="merge-i64", type="i64"))
    return [dict(c, seed=950 + i, data_seed=850 + i) for i, c in enumerate(out)]


def run(config):
    exact, plain = config["type"] == "i64", make_wide.layers.fits
    if exact:                               # a product of two elements of 53 bits needs the i128
        make_wide.layers.fits = lambda x, bits: plain(x, max(bits, 128))
    try:
        return make_wide.run(config, exact)
    finally:
        make_wide.layers.fits = plain


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        same = [json.loads((HERE / (c["name"] + ".json")).read_text()) == run(c) for c in configurations()]
        print(dict(zip((c["name"] for c in configurations()), same)))
        sys.exit(0 if all(same) else 1)
    for config in configurations():
        (HERE / (config["name"] + ".json")).write_text(json.dumps(run(config), separators=(",", ":")))
