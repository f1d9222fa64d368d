"""Golden data for affine layers, in exact integers, from the published formulas of TensorFlow Lite:
`tensorflow/lite/kernels/internal/common.h` (MultiplyByQuantizedMultiplier), gemmlowp's
`fixedpoint.h` (SaturatingRoundingDoublingHighMul, RoundingDivideByPOT) and the reference kernels
FULLY_CONNECTED, CONV_2D and DEPTHWISE_CONV_2D. Standard library only.

    python3 make_affine.py > affine.json
"""

import json
import math
import random

I32_MIN, I32_MAX = -(1 << 31), (1 << 31) - 1


def quantize_multiplier(real):
    if real == 0.0:
        return 0, 0
    q, shift = math.frexp(real)
    fixed = math.floor(q * (1 << 31) + 0.5)  # half away from zero; q > 0
    if fixed == 1 << 31:
        fixed //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        return I32_MAX, 30
    return fixed, shift


def truncated(a, b):
    q = abs(a) // abs(b)
    return q if (a < 0) == (b < 0) else -q


def high_mul(a, b):
    if a == b == I32_MIN:
        return I32_MAX
    ab = a * b
    nudge = (1 << 30) if ab >= 0 else 1 - (1 << 30)
    return truncated(ab + nudge, 1 << 31)


def divide_by_pot(x, e):
    mask = (1 << e) - 1
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> e) + (1 if (x & mask) > threshold else 0)


def multiply_double(x, m, shift):
    left, right = max(shift, 0), max(-shift, 0)
    return divide_by_pot(high_mul(x << left, m), right)


def multiply_single(x, m, shift):
    total = 31 - shift
    return (x * m + (1 << (total - 1))) >> total


def multiply_wide(x, m, shift):
    reduced = (m + (1 << 15)) >> 16 if m < 0x7FFF0000 else 0x7FFF
    total = 15 - shift
    return (x * reduced + (1 << (total - 1))) >> total


def defined(x, m, shift):
    """Whether the C code overflows nowhere."""
    fits = I32_MIN <= x << max(shift, 0) <= I32_MAX
    return fits and I32_MIN <= multiply_single(x, m, shift) <= I32_MAX


def multiplications(rng):
    double, wide = [], []
    while len(double) < 600:
        m, shift = rng.randrange(1 << 30, 1 << 31), rng.randrange(-31, 12)
        x = rng.randrange(-(1 << 31), 1 << 31) >> rng.randrange(0, 31)
        if rng.random() < 0.4:  # near a tie of the double rounding
            m = 1 << 30
            x = (x >> 8 << 8) + rng.choice([0, 1, -1, 2, 4, 8, 16, 32, 64, 128])
        if defined(x, m, shift):
            double.append([x, m, shift, multiply_double(x, m, shift), multiply_single(x, m, shift)])
    while len(double) < 700:  # that tell the two roundings apart
        m, shift = rng.randrange(1 << 30, 1 << 31), rng.randrange(-12, 0)
        x = rng.randrange(-(1 << 16), 1 << 16)
        case = [x, m, shift, multiply_double(x, m, shift), multiply_single(x, m, shift)]
        if case[3] != case[4]:
            double.append(case)
    while len(wide) < 300:
        m, shift = rng.choice([rng.randrange(1 << 30, 1 << 31), I32_MAX - rng.randrange(1 << 17)]), rng.randrange(-31, 8)
        x = rng.randrange(-(1 << 47) + 1, 1 << 47) >> rng.randrange(0, 47)
        y = multiply_wide(x, m, shift)
        if I32_MIN <= y <= I32_MAX:
            wide.append([x, m, shift, y])
    return {"double_single": double, "wide": wide}


RANGES = {"i8": (-128, 127), "u8": (0, 255), "i16": (-32768, 32767)}


def layer(rng, dtype, kind):
    low, high = RANGES[dtype]
    w_low, w_high = RANGES["u8" if dtype == "u8" else "i8"]
    per_channel = dtype != "u8" and rng.random() < 0.7
    batch = rng.randrange(1, 3)
    if kind == "dense":
        shape = {"height": 1, "width": 1, "channels": rng.randrange(1, 70), "filters": rng.randrange(1, 9), "groups": 1}
        window = {"kernel": [1, 1], "stride": [1, 1], "padding": [[0, 0], [0, 0]], "dilation": [1, 1]}
    else:
        groups = rng.randrange(1, 6) if kind == "depthwise" else 1
        channels = groups if kind == "depthwise" else rng.randrange(1, 6)
        filters = groups * rng.randrange(1, 3)
        kernel, dilation = [rng.randrange(1, 4) for _ in "ab"], [rng.randrange(1, 3) for _ in "ab"]
        padding = [[rng.randrange(0, 2) for _ in "ab"] for _ in "ab"]
        extent = [(k - 1) * d + 1 + rng.randrange(0, 4) for k, d in zip(kernel, dilation)]
        shape = {"height": extent[0], "width": extent[1], "channels": channels, "filters": filters, "groups": groups}
        window = {"kernel": kernel, "stride": [rng.randrange(1, 3) for _ in "ab"], "padding": padding, "dilation": dilation}
    h, w, c, f, g = (shape[k] for k in ("height", "width", "channels", "filters", "groups"))
    (kh, kw), (sh, sw), (dh, dw) = window["kernel"], window["stride"], window["dilation"]
    (top, bottom), (left, right) = window["padding"]
    rows = (h + top + bottom - dh * (kh - 1) - 1) // sh + 1
    columns = (w + left + right - dw * (kw - 1) - 1) // sw + 1
    cg, fg = c // g, f // g
    x = [rng.randrange(low, high + 1) for _ in range(batch * h * w * c)]
    weight = [rng.randrange(w_low, w_high + 1) for _ in range(f * kh * kw * cg)]
    wide = dtype == "i16"
    bias = [rng.randrange(-(1 << 13), 1 << 13) << (7 if wide else 0) for _ in range(f)]
    zx = 0 if wide else rng.randrange(low, high + 1)
    zy = 0 if wide else rng.randrange(low, high + 1)
    zw = 0 if dtype != "u8" else rng.randrange(0, 256)
    terms = kh * kw * cg
    reals = [rng.uniform(0.2, 1.5) / (70 * math.sqrt(terms)) for _ in range(f if per_channel else 1)]
    multipliers = [quantize_multiplier(r) for r in reals]
    clamp = (low, high)
    if rng.random() < 0.5:
        clamp = (max(low, zy), min(high, zy + (high - low) // 3))
    out = {"double": [], "single": []}
    for n in range(batch):
        for r in range(rows):
            for q in range(columns):
                for o in range(f):
                    acc = 0
                    for a in range(kh):
                        for b in range(kw):
                            y_, x_ = r * sh + a * dh - top, q * sw + b * dw - left
                            if not (0 <= y_ < h and 0 <= x_ < w):
                                continue
                            for k in range(cg):
                                value = x[((n * h + y_) * w + x_) * c + o // fg * cg + k] - zx
                                acc += value * (weight[((o * kh + a) * kw + b) * cg + k] - zw)
                    acc += bias[o]
                    m, shift = multipliers[o if per_channel else 0]
                    for name, multiply in (("double", multiply_double), ("single", multiply_single)):
                        y = (multiply_wide if wide else multiply)(acc, m, shift) + zy
                        out[name].append(min(max(y, clamp[0]), clamp[1]))
    return {
        "kind": kind, "dtype": dtype, "batch": batch, **shape, **window, "x": x, "weight": weight, "bias": bias,
        "zeros": [zx, zw, zy], "multipliers": multipliers, "clamp": clamp, **out,
    }


def layers(rng):
    """Of each type and kind six; of the 8-bit ones, three that tell the roundings apart."""
    out = []
    for dtype in RANGES:
        for kind in ("dense", "conv", "depthwise"):
            kept = 0
            while kept < 6:
                one = layer(rng, dtype, kind)
                if dtype == "i16" or kept < 3 or one["double"] != one["single"]:
                    out.append(one)
                    kept += 1
    return out


def main():
    rng = random.Random(3)
    reals = [0.0, 1.0, 0.5, 0.75, 1.5, 2.0**-31, 2.0**-32, 2.0**-33, 1 - 2.0**-33, 3e9, 1e-4, 0.0123, 123.456]
    reals += [math.ldexp(rng.uniform(0.5, 1), rng.randrange(-33, 33)) for _ in range(100)]
    out = {
        "quantize_multiplier": [[r, *quantize_multiplier(r)] for r in reals],
        **multiplications(rng),
        "layers": layers(rng),
    }
    print(json.dumps(out, separators=(",", ":")))


main()
