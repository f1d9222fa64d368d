#!/usr/bin/env python3
"""The constants of kernels/src/lut.rs, from their definitions with 60 decimal digits.

    python3 make_tables.py           prints the tables as they stand in lut.rs
    python3 make_tables.py check     compares lut.rs and primitives.json with them; status 1 if they differ

Needs nothing but the standard library. Rounding is to nearest; no value lies within 10^-6 of a tie.
"""
import json
import pathlib
import re
import sys
from decimal import ROUND_FLOOR, Decimal, getcontext

HERE = pathlib.Path(__file__).resolve().parent
LUT = HERE.parent.parent / "kernels" / "src" / "lut.rs"

getcontext().prec = 60
LN_2 = Decimal(2).ln()


def nearest(value):
    floor = value.to_integral_value(rounding=ROUND_FLOOR)
    fraction = value - floor
    assert abs(fraction - Decimal("0.5")) > Decimal("1e-6"), "too close to a tie: %s" % value
    return int(floor) + (fraction > Decimal("0.5"))


PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")


def density(x):
    """Of the standard normal distribution."""
    return (-x * x / 2).exp() / (2 * PI).sqrt()


def distribution(x):
    """Of the standard normal: 1/2 + density (x + x^3/3 + x^5/15 + ...)."""
    term, total, n = x, x, 1
    while term > Decimal(10) ** -40:
        n += 2
        term = term * x * x / n
        total += term
    return Decimal("0.5") + density(x) * total


def sine(x):
    """x - x^3/6 + x^5/120 - ..."""
    term, total, n = x, x, 1
    while abs(term) > Decimal(10) ** -40:
        n += 2
        term = -term * x * x / (n * (n - 1))
        total += term
    return total


TABLES = {  # name in lut.rs: (name in primitives.json, if it is there, values)
    "EXP2_Q16": ("exp2_q16", [nearest(65536 * (-LN_2 * i / 64).exp()) for i in range(65)]),
    "LOG2_Q16": ("log2_q16", [nearest(65536 * (1 + Decimal(i) / 64).ln() / LN_2) for i in range(65)]),
    "SIGMOID_Q15": ("sigmoid_q15", [nearest(32768 / (1 + (-(Decimal(i) / 16)).exp())) for i in range(257)]),
    "SOFTPLUS_Q15": ("softplus_q15", [nearest(32768 * (1 + (-(Decimal(i) / 16)).exp()).ln()) for i in range(257)]),
    "NORMAL_Q15": ("phi_q15", [nearest(32768 * distribution(Decimal(i) / 32)) for i in range(257)]),
    "DENSITY_Q15": ("pdf_q15", [nearest(32768 * density(Decimal(i) / 32)) for i in range(257)]),
    "SINE_Q15": (None, [nearest(32768 * sine(PI * i / 512)) for i in range(257)]),
}
NUMBERS = {
    "LOG2_E_Q14": nearest(16384 / LN_2),
    "LN_2_Q16": nearest(65536 * LN_2),
    "EXP2_MAX": 31 << 16,
}


def digits(text):
    return int(text.replace("_", ""))


def in_rust(source, name):
    """The numbers of a constant or table in Rust source."""
    value = re.search(r"\b%s:[^=]*=\s*([^;]*);" % name, source).group(1)
    if value.startswith("["):
        return [digits(n) for n in re.findall(r"\d[\d_]*", value)]
    shift = re.fullmatch(r"(\d+) << (\d+)", value)
    return int(shift.group(1)) << int(shift.group(2)) if shift else digits(value)


def check():
    source = LUT.read_text()
    golden = json.loads((HERE / "primitives.json").read_text())["tables"]
    wrong = [name for name, value in NUMBERS.items() if in_rust(source, name) != value]
    for name, (key, values) in TABLES.items():
        wrong += [name] * (in_rust(source, name) != values)
        if key and golden[key] != values:
            wrong.append("primitives.json: " + key)
    print("differ: " + ", ".join(wrong) if wrong else "lut.rs and primitives.json agree with the definitions")
    return not wrong


def show():
    for name, (_, values) in TABLES.items():
        print("%s: [%s; %d] = [" % (name, "u32" if len(values) == 65 else "u16", len(values)))
        for i in range(0, len(values), 13):
            print("    " + " ".join("{:_},".format(v) for v in values[i:i + 13]))
        print("];")
    for name, value in NUMBERS.items():
        print("%s = %s" % (name, "{:_}".format(value)))


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit(0 if check() else 1)
    show()
