#!/usr/bin/env python3
"""Golden runs of three branches and more on one input, of which some hold branches themselves.

    python3 make_parallel.py           writes the files named below beside this script
    python3 make_parallel.py check     replays them and compares

total-{i8,u8,i16,i32}.json: sums, in a residual connection too; line-{i8,u8,i16,i32}.json: side by side. The
unmodified reference.

Needs numpy (written with 2.4.6 on Python 3.11).
"""
import json
import pathlib
import sys

import make_wide

HERE = pathlib.Path(__file__).resolve().parent
dense = make_wide.reference.dense


def parallel(combine, *branches):
    return dict(layer="parallel", combine=combine, branches=[list(branch) for branch in branches])


def configurations():
    merge = {c["name"]: c for c in make_wide.reference.golden_configs()}["merge-i16"]
    merge = dict(merge, shape=[9])
    inner = parallel("add", [dense(8, 8, "tanh")], [dense(8, 3, "relu"), dense(3, 8)], [dense(8, 8)])
    total = [dense(9, 8, "relu"), parallel("add", [inner], []),
             parallel("add", [dense(8, 5)], [dense(8, 4, "relu"), dense(4, 5)], [dense(8, 5)], [dense(8, 5)]),
             dense(5, 4)]
    line = [dense(9, 8, "relu"),
            parallel("concat", [dense(8, 3, "relu")], [], [parallel("concat", [dense(8, 2)], [dense(8, 1)], [dense(8, 4, "tanh")])]),
            dense(18, 4)]
    nets = [("total", total), ("line", line)]
    out = [dict(merge, name=name + "-" + t, type=t, net=net) for name, net in nets for t in ("i8", "u8", "i16", "i32")]
    return [dict(c, seed=970 + i, data_seed=870 + i) for i, c in enumerate(out)]


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        same = [json.loads((HERE / (c["name"] + ".json")).read_text()) == make_wide.run(c, False) for c in configurations()]
        print(dict(zip((c["name"] for c in configurations()), same)))
        sys.exit(0 if all(same) else 1)
    for config in configurations():
        (HERE / (config["name"] + ".json")).write_text(json.dumps(make_wide.run(config, False), separators=(",", ":")))
