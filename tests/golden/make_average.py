#!/usr/bin/env python3
"""Golden runs of average pooling that the reference program can make but does not come with: windows
that overlap, with padding and different strides, and a global average behind them.

    python3 make_average.py           writes the files named below beside this script
    python3 make_average.py check     replays them and compares

average-{i8,i16,i32}.json: the unmodified reference. average-i64.json: by big integers, as make_wide.py
tells. average-large-i8.json: windows of more than 256 cells, which 8 bits sum in more than 32.

Needs numpy (written with 2.4.6 on Python 3.11).
"""
import json
import pathlib
import sys

import make_wide

HERE = pathlib.Path(__file__).resolve().parent
conv, dense = make_wide.reference.conv, make_wide.reference.dense


def configurations():
    base = {c["name"]: c for c in make_wide.reference.golden_configs()}["merge-i16"]
    small = dict(base, samples=16, batch=4, steps=24, snapshots=[2, 24], shape=[6, 6, 1])
    net = [conv(1, 3, 3, pad=1), dict(layer="avgpool", k=[3, 2], stride=[2, 1], pad=[1, 0, 1, 1]),
           conv(3, 4, 2, act=None), dict(layer="avgpool"), dense(4, 4)]
    large = dict(small, samples=8, batch=2, steps=4, snapshots=[4], shape=[18, 18, 1],
                 net=[conv(1, 2, 2), dict(layer="avgpool", k=17), dict(layer="flatten"), dense(2, 4)])
    out = [dict(small, net=net, name="average-" + t, type=t) for t in ("i8", "i16", "i32", "i64")]
    out.append(dict(large, name="average-large-i8", type="i8"))
    return [dict(c, seed=970 + i, data_seed=870 + i) for i, c in enumerate(out)]


def run(config):
    return make_wide.run(config, config["type"] == "i64")


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        same = [json.loads((HERE / (c["name"] + ".json")).read_text()) == run(c) for c in configurations()]
        print(dict(zip((c["name"] for c in configurations()), same)))
        sys.exit(0 if all(same) else 1)
    for config in configurations():
        (HERE / (config["name"] + ".json")).write_text(json.dumps(run(config), separators=(",", ":")))
