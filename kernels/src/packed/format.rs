//! What the codes of each format stand for, and how they lie in bytes.

use super::minifloat::{self, E2M1, E4M3, E5M2, Minifloat};
use crate::fixed::pow2;

/// A storage format of weights. A code stands for [`Format::value`], which a block's scale multiplies.
///
/// | format | codes | in a byte |
/// |---|---|---|
/// | `Fp8E4M3` | sign, 4 exponent bits (bias 7), 3 of the significand; no infinities, `0x7F` and `0xFF` are NaN, largest 448 | 1 |
/// | `Fp8E5M2` | sign, 5 exponent bits (bias 15), 2 of the significand; infinities and NaN as IEEE 754, largest 57344 | 1 |
/// | `Fp4` | E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6, and with bit 3 their negatives | 2 |
/// | `Int4` | two's complement, -8 to 7 | 2 |
/// | `Int2` | two's complement, -2 to 1 | 4 |
/// | `Ternary` | 0, 1, 2 for -1, 0, 1 | 5 |
/// | `Binary` | 0, 1 for -1, 1 | 8 |
///
/// Codes of less than a byte lie from the lowest bits up. Five ternary digits `t`, the first being the
/// most significant, are the number `v = Σ t_i · 3^(4-i)` below 243, stored as the fraction
/// `ceil(256 · v / 243)`: digit `i` is then the integer part of `3 · frac(byte · 3^i / 256)`, found
/// without a division, and every byte decodes to something. A row of weights starts at a byte.
///
/// Source: OCP "8-bit floating point specification" 1.0 and "Microscaling formats" 1.0 for the floats; the
/// ternary fraction is that of llama.cpp's `TQ1_0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the table above
pub enum Format {
    Fp8E4M3,
    Fp8E5M2,
    Fp4,
    Int4,
    Int2,
    Ternary,
    Binary,
}

/// Powers of three that bring ternary digit `i` to the front of a byte.
const DIGIT: [u8; 5] = [1, 3, 9, 27, 81];

impl Format {
    /// All of them, widest first.
    pub const ALL: [Self; 7] = [
        Self::Fp8E4M3,
        Self::Fp8E5M2,
        Self::Fp4,
        Self::Int4,
        Self::Int2,
        Self::Ternary,
        Self::Binary,
    ];

    /// The name in JSON and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp8E4M3 => "fp8_e4m3",
            Self::Fp8E5M2 => "fp8_e5m2",
            Self::Fp4 => "fp4",
            Self::Int4 => "int4",
            Self::Int2 => "int2",
            Self::Ternary => "ternary",
            Self::Binary => "binary",
        }
    }

    /// Codes in a byte.
    #[must_use]
    pub const fn per_byte(self) -> usize {
        match self {
            Self::Fp8E4M3 | Self::Fp8E5M2 => 1,
            Self::Fp4 | Self::Int4 => 2,
            Self::Int2 => 4,
            Self::Ternary => 5,
            Self::Binary => 8,
        }
    }

    /// Bytes of a row of `len` weights.
    #[must_use]
    pub const fn row_bytes(self, len: usize) -> usize {
        len.div_ceil(self.per_byte())
    }

    /// How many codes there are; a code is below this.
    #[must_use]
    pub const fn codes(self) -> u16 {
        match self {
            Self::Fp8E4M3 | Self::Fp8E5M2 => 256,
            Self::Fp4 | Self::Int4 => 16,
            Self::Int2 => 4,
            Self::Ternary => 3,
            Self::Binary => 2,
        }
    }

    const fn minifloat(self) -> Option<Minifloat> {
        match self {
            Self::Fp8E4M3 => Some(E4M3),
            Self::Fp8E5M2 => Some(E5M2),
            Self::Fp4 => Some(E2M1),
            _ => None,
        }
    }

    /// The largest value that an encoder scales a block's largest weight to; 1 for ternary and binary.
    #[must_use]
    pub const fn largest(self) -> f32 {
        match self {
            Self::Fp8E4M3 => 448.0,
            Self::Fp8E5M2 => 57_344.0,
            Self::Fp4 => 6.0,
            Self::Int4 => 7.0,
            Self::Int2 | Self::Ternary | Self::Binary => 1.0,
        }
    }

    /// A code's value is [`Format::integer`] times two to this.
    #[must_use]
    pub const fn exponent(self) -> i32 {
        match self.minifloat() {
            Some(float) => float.smallest_exponent(),
            None => 0,
        }
    }

    /// The largest magnitude that [`Format::integer`] returns.
    #[must_use]
    pub const fn largest_integer(self) -> u64 {
        match self {
            Self::Fp8E4M3 => 448 << 9,
            Self::Fp8E5M2 => 57_344 << 16,
            Self::Fp4 => 12,
            Self::Int4 => 8,
            Self::Int2 => 2,
            Self::Ternary | Self::Binary => 1,
        }
    }

    /// Whether integers of this format need more than 16 bits.
    pub(crate) const fn is_wide(self) -> bool {
        matches!(self, Self::Fp8E4M3 | Self::Fp8E5M2)
    }

    /// The value of a code in units of `2^`[`Format::exponent`], exactly. Integers know neither
    /// infinities nor NaN: the former saturate at the largest number, the latter is 0. Bits beyond the
    /// format's are ignored.
    #[must_use]
    #[inline(always)]
    pub const fn integer(self, code: u8) -> i64 {
        match self {
            Self::Fp8E4M3 => E4M3.integer(code),
            Self::Fp8E5M2 => E5M2.integer(code),
            _ => self.small(code) as i64,
        }
    }

    /// The same for formats that are not [wide](Format::is_wide); 0 for those that are.
    #[inline(always)]
    pub(crate) const fn small(self, code: u8) -> i16 {
        match self {
            Self::Fp8E4M3 | Self::Fp8E5M2 => 0,
            Self::Fp4 => fp4(code),
            Self::Int4 => int4(code),
            Self::Int2 => int2(code),
            Self::Ternary => (code as i16 & 3) - 1,
            Self::Binary => binary(code),
        }
    }

    /// The value of a code.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::packed::Format;
    /// assert_eq!(Format::Fp4.value(0b1111), -6.0);
    /// assert_eq!(Format::Fp8E4M3.value(0x7E), 448.0);
    /// assert_eq!(Format::Int4.value(0b1000), -8.0);
    /// ```
    #[must_use]
    #[inline(always)]
    pub const fn value(self, code: u8) -> f32 {
        match self {
            Self::Fp8E4M3 => E4M3.value(code),
            Self::Fp8E5M2 => E5M2.value(code),
            Self::Fp4 => {
                let magnitude = fp4(code & 7) as f32 * pow2(-1);
                if code & 8 == 0 { magnitude } else { -magnitude }
            }
            _ => self.small(code) as f32,
        }
    }

    /// The code of the value nearest to `value`, ties to the even code (for integers, to the even
    /// number); beyond the largest number, that number. `Int4` and `Int2` use their whole range, -8 and
    /// -2 included; a binary zero is 1.
    ///
    /// NaN stays NaN in the 8-bit floats, is 0 in the other formats, and 1 in binary; an infinity stays
    /// one in `Fp8E5M2` and saturates elsewhere.
    #[must_use]
    pub fn code(self, value: f64) -> u8 {
        let whole = |low: f64, high: f64| libm::rint(value).clamp(low, high) as i8;
        match self {
            Self::Fp8E4M3 => E4M3.code(value),
            Self::Fp8E5M2 => E5M2.code(value),
            Self::Fp4 => E2M1.code(value),
            Self::Int4 => whole(-8.0, 7.0) as u8 & 15,
            Self::Int2 => whole(-2.0, 1.0) as u8 & 3,
            Self::Ternary => (whole(-1.0, 1.0) + 1) as u8,
            Self::Binary => u8::from(value >= 0.0 || value.is_nan()),
        }
    }

    /// Packs the codes of a row into its bytes; what is left of the last byte is 0 (for ternary, -1).
    pub(crate) fn pack(self, bytes: &mut [u8], mut code: impl FnMut(usize) -> u8, len: usize) {
        let per_byte = self.per_byte();
        let bits = 8 / per_byte as u32; // of a code, but for ternary
        let mut next = 0;
        for byte in bytes {
            let mut packed = 0u32;
            for slot in 0..per_byte {
                let code = if next < len { u32::from(code(next)) } else { 0 };
                packed = match self {
                    Self::Ternary => packed * 3 + code,
                    _ => packed | code << (bits * slot as u32),
                };
                next += 1;
            }
            *byte = match self {
                Self::Ternary => (packed * 256).div_ceil(243) as u8,
                _ => packed as u8,
            };
        }
    }

    /// Code `slot` of a byte.
    #[inline(always)]
    const fn unpack(self, byte: u8, slot: usize) -> u8 {
        match self {
            Self::Fp8E4M3 | Self::Fp8E5M2 => byte,
            Self::Fp4 | Self::Int4 => byte >> (4 * (slot & 1)) & 15,
            Self::Int2 => byte >> (2 * (slot & 3)) & 3,
            Self::Ternary => {
                let power = if slot < DIGIT.len() { DIGIT[slot] } else { 0 };
                ((byte.wrapping_mul(power) as u16 * 3) >> 8) as u8
            }
            Self::Binary => byte >> (slot & 7) & 1,
        }
    }

    /// Decodes weights `start..start + out.len()` of a row by `decode`, which is given each code.
    #[inline(always)]
    pub(crate) fn unpack_row<O>(
        self,
        row: &[u8],
        start: usize,
        out: &mut [O],
        decode: impl Fn(Self, u8) -> O,
    ) {
        // One loop for each format, so that what does not change leaves it.
        match self {
            Self::Fp8E4M3 => {
                unpack::<1, O>(row, start, out, |b, _| decode(Self::Fp8E4M3, b));
            }
            Self::Fp8E5M2 => {
                unpack::<1, O>(row, start, out, |b, _| decode(Self::Fp8E5M2, b));
            }
            Self::Fp4 => unpack::<2, O>(row, start, out, |b, slot| {
                decode(Self::Fp4, Self::Fp4.unpack(b, slot))
            }),
            Self::Int4 => unpack::<2, O>(row, start, out, |b, slot| {
                decode(Self::Int4, Self::Int4.unpack(b, slot))
            }),
            Self::Int2 => unpack::<4, O>(row, start, out, |b, slot| {
                decode(Self::Int2, Self::Int2.unpack(b, slot))
            }),
            Self::Ternary => unpack::<5, O>(row, start, out, |b, slot| {
                decode(Self::Ternary, Self::Ternary.unpack(b, slot))
            }),
            Self::Binary => unpack::<8, O>(row, start, out, |b, slot| {
                decode(Self::Binary, Self::Binary.unpack(b, slot))
            }),
        }
    }
}

/// Fills `out` with the codes from number `start` on: the rest of a byte, whole bytes, part of one.
#[inline(always)]
fn unpack<const PER: usize, O>(
    row: &[u8],
    start: usize,
    out: &mut [O],
    code: impl Fn(u8, usize) -> O,
) {
    let (mut byte, phase) = (start / PER, start % PER);
    let mut out = out;
    if phase != 0 {
        let head = (PER - phase).min(out.len());
        let Some((head, rest)) = out.split_at_mut_checked(head) else {
            return;
        };
        for (slot, out) in head.iter_mut().enumerate() {
            *out = code(row.get(byte).copied().unwrap_or_default(), phase + slot);
        }
        byte += 1;
        out = rest;
    }
    let row = row.get(byte..).unwrap_or_default();
    let (whole, rest) = out.as_chunks_mut::<PER>();
    let last = row.get(whole.len()).copied().unwrap_or_default();
    for (out, &byte) in whole.iter_mut().zip(row) {
        for (slot, out) in out.iter_mut().enumerate() {
            *out = code(byte, slot);
        }
    }
    for (slot, out) in rest.iter_mut().enumerate() {
        *out = code(last, slot);
    }
}

/// Twice the value: 0, 1, 2, 3, then steps of 2, then of 4, which is `(2 + m) << (e - 1)` as for any
/// minifloat.
#[inline(always)]
const fn fp4(code: u8) -> i16 {
    minifloat::E2M1.integer(code & 15) as i16
}

#[inline(always)]
const fn int4(code: u8) -> i16 {
    ((code << 4) as i8 >> 4) as i16
}

#[inline(always)]
const fn int2(code: u8) -> i16 {
    ((code << 6) as i8 >> 6) as i16
}

#[inline(always)]
const fn binary(code: u8) -> i16 {
    ((code & 1) as i16) * 2 - 1
}
