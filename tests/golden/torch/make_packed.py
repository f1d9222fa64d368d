"""Golden data for the 8-bit floats: PyTorch's float8 types, every code and some conversions.

    python make_packed.py > packed.json

PyTorch turns what overflows E4M3 into NaN and what overflows E5M2 into infinity, where we saturate, so
the conversions stay within the formats. Numbers are written as the bits of a float32.
"""

import json

import torch

FORMATS = {"fp8_e4m3": (torch.float8_e4m3fn, 448.0), "fp8_e5m2": (torch.float8_e5m2, 57344.0)}


def bits(x):
    return [int(b) & 0xFFFFFFFF for b in x.view(torch.int32)]


def main():
    torch.manual_seed(5)
    codes = torch.arange(256, dtype=torch.int16).to(torch.uint8)
    out = {"torch": torch.__version__}
    for name, (dtype, largest) in FORMATS.items():
        values = codes.view(dtype).to(torch.float32)
        finite = values[values.isfinite()].sort().values
        halfway = (finite[1:] + finite[:-1]) / 2  # ties, exact in float32
        spread = torch.randn(256) * torch.exp2(torch.randint(-12, 9, (256,)).float())
        x = torch.cat([halfway, spread.clamp(-largest, largest)])
        y = x.to(dtype).view(torch.uint8)
        nan = values.isnan()
        out[name] = {
            "nan": [int(i) for i in nan.nonzero()[:, 0]],
            "values": bits(torch.where(nan, torch.zeros_like(values), values)),
            "x": bits(x),
            "codes": [int(c) for c in y],
        }
    print(json.dumps(out, separators=(",", ":")))


main()
