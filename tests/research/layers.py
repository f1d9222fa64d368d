"""Averages depthwise.c's per-layer statistics (diag=2) over epochs and seeds.

    python3 layers.py PROGRAM DIGITS NET SEEDS [option=value ...]
"""
import re
import subprocess
import sys

import numpy as np

program, data, net, seeds, *options = sys.argv[1:]
rows, cosines = {}, []
for seed in range(1, int(seeds) + 1):
    out = subprocess.run([program, data, net, "i8", str(seed), "diag=2"] + options, capture_output=True, text=True).stdout
    for line in out.splitlines():
        if m := re.match(r"    L(\d+)\s+(dw)? .* dead (\d+) flushed (\d+) of (\d+), range of maxima 2\^(\S+)\.\.2\^(\S+) \| y>0 flushed (\S+)% .* d zeroed (\S+)%", line):
            g = m.groups()
            rows.setdefault((int(g[0]), g[1] or ""), []).append([float(v) for v in g[2:]])
        elif "cosine" in line:
            cosines.append([[float(v) for v in p.split("/")] for p in line.split(":")[1].split()])
c = np.array(cosines)
print("layer          dead  flushed channels  of   range of maxima (bits)   positive outputs stored as 0   errors stored as 0   cosine median, worst tenth   norm ratio")
for k, ((layer, dw), v) in enumerate(sorted(rows.items())):
    v = np.array(v)
    print("%2d %-9s  %5.2f  %5.2f           %3d   %5.1f                   %5.1f %%                        %5.1f %%              %.3f  %.3f                %.2f" % (
        layer, "depthwise" if dw else "", *v[:, :3].mean(0), (v[:, 4] - v[:, 3]).mean(), *v[:, 5:].mean(0), np.median(c[:, k, 0]), np.quantile(c[:, k, 0], 0.1), np.median(c[:, k, 1])))
