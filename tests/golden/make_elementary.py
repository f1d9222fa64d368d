#!/usr/bin/env python3
"""The coefficients of kernels/src/elementary.rs: polynomials through Chebyshev nodes, with 60 decimal digits.

    python3 make_elementary.py           prints them as they stand in elementary.rs
    python3 make_elementary.py check     compares elementary.rs with them; status 1 if they differ

Needs nothing but the standard library. Interpolation at Chebyshev nodes is within a small factor of the best polynomial
(Trefethen 2013, "Approximation Theory and Approximation Practice", chapter 16); what remains is below a thousandth of the
rounding to f32 that follows. The error of the functions as a whole is measured by the tests in elementary.rs.
"""
import pathlib
import re
import struct
import sys
from decimal import Decimal, getcontext
from fractions import Fraction

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent / "kernels" / "src" / "elementary.rs"

getcontext().prec = 60
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")
LN_2 = Decimal(2).ln()


def cos(x):
    term, total, n = Decimal(1), Decimal(1), 0
    while abs(term) > Decimal(10) ** -55:
        n += 2
        term *= -x * x / (n * (n - 1))
        total += term
    return total


def interpolate(f, low, high, degree):
    """Coefficients, the constant one first."""
    n = degree + 1
    nodes = [(low + high) / 2 + (high - low) / 2 * cos(PI * (2 * k + 1) / (2 * n)) for k in range(n)]
    rows = [[Fraction(x) ** j for j in range(n)] + [Fraction(f(x))] for x in nodes]
    for i in range(n):                                      # Gauss, in fractions: exact
        pivot = rows[i][i]
        rows[i] = [a / pivot for a in rows[i]]
        for j in range(n):
            if j != i and rows[j][i]:
                factor = rows[j][i]
                rows[j] = [a - factor * b for a, b in zip(rows[j], rows[i])]
    return [row[n] for row in rows]


def f32(x):
    return struct.unpack("f", struct.pack("f", float(x)))[0]


def exp_rest(r):
    """(exp(r) - 1 - r) / r^2"""
    if abs(r) > Decimal("0.01"):
        return (r.exp() - 1 - r) / (r * r)
    return sum(r ** k / factorial(k + 2) for k in range(20))


def factorial(n):
    return Decimal(1) if n < 2 else n * factorial(n - 1)


def tanh_rest(s):
    """(tanh(x) / x - 1) / x^2 of s = x^2"""
    x = s.sqrt()
    e = (2 * x).exp()
    return ((e - 1) / (e + 1) / x - 1) / s


def constants():
    high = f32(Decimal(int(LN_2 * 2 ** 15)) / 2 ** 15)      # 15 bits: times an exponent of 8 bits it is exact
    return {
        "LN_2_HIGH": [high],
        "LN_2_LOW": [f32(LN_2 - Decimal(high))],
        "EXP": [f32(c) for c in interpolate(exp_rest, -LN_2 / 2, LN_2 / 2, 4)],
        "TANH": [f32(c) for c in interpolate(tanh_rest, Decimal(0), Decimal("0.390625"), 5)],
    }


def bits(x):
    return "0x%08X" % struct.unpack("I", struct.pack("f", x))[0]


def main():
    text = SOURCE.read_text() if sys.argv[1:] == ["check"] else None
    same = True
    for name, values in constants().items():
        words = [bits(v) for v in values]
        if text is None:
            print(name, ", ".join(w[:6] + "_" + w[6:] for w in words), "  #", ", ".join("%.9e" % v for v in values))
            continue
        body = re.search(r"const %s: [^=]*= ([^;]*);" % name, text).group(1)
        same &= re.findall(r"0x[0-9A-F]{8}", body.replace("_", "")) == words
    if text is not None:
        print("elementary.rs", "agrees" if same else "DIFFERS")
        sys.exit(not same)


main()
