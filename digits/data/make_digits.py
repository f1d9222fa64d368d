"""Makes digits.bin from the digits that come with the scikit-learn package.

    pip install scikit-learn        # 1.9.1 was used
    python3 make_digits.py          # writes digits.bin beside this file
    python3 make_digits.py --check  # compares instead

1,797 records of 65 bytes: the label, 0 to 9, then 64 pixels, 0 (paper) to 16 (ink), row by row. They
stand in the order of shuffle(1797) with seed 123 and epoch 0 (docs/numerics.md, section 3), so that
the first 1,437 are the training part and the last 360 the test part.
"""

import hashlib
import pathlib
import sys

from sklearn.datasets import load_digits

PATH = pathlib.Path(__file__).with_name("digits.bin")
MASK = 0xFFFFFFFF


def mix32(x):
    x = (x ^ x >> 16) * 0x7FEB352D & MASK
    x = (x ^ x >> 15) * 0x846CA68B & MASK
    return x ^ x >> 16


def shuffled(n, seed, epoch):
    key = mix32(mix32(seed + 5 * 0x9E3779B9 & MASK) + epoch * 0x85EBCA6B & MASK)
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = (mix32(key + i * 0x9E3779B9 & MASK) >> 16) * (i + 1) >> 16
        order[i], order[j] = order[j], order[i]
    return order


def main():
    digits = load_digits()
    records = (
        bytes([int(digits.target[i]), *(int(p) for p in digits.data[i])])
        for i in shuffled(len(digits.target), 123, 0)
    )
    made = b"".join(records)
    print(len(made), "bytes, sha256", hashlib.sha256(made).hexdigest())
    if "--check" in sys.argv[1:]:
        sys.exit(made != PATH.read_bytes())
    PATH.write_bytes(made)


if __name__ == "__main__":
    main()
