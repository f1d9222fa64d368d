//! Tables and the integer functions read from them.
//!
//! The tables are rounded values of their definitions, made with 60 decimal digits by
//! `tests/golden/make_tables.py`; `tests/golden/primitives.json` holds them too.

/// `round(2^16 · 2^(-i/64))`, `i` = 0..=64.
#[rustfmt::skip]
pub static EXP2_Q16: [u32; 65] = [
    65_536, 64_830, 64_132, 63_441, 62_757, 62_081, 61_413, 60_751, 60_097, 59_449, 58_809, 58_176, 57_549,
    56_929, 56_316, 55_709, 55_109, 54_515, 53_928, 53_347, 52_773, 52_204, 51_642, 51_085, 50_535, 49_991,
    49_452, 48_920, 48_393, 47_871, 47_356, 46_846, 46_341, 45_842, 45_348, 44_859, 44_376, 43_898, 43_425,
    42_958, 42_495, 42_037, 41_584, 41_136, 40_693, 40_255, 39_821, 39_392, 38_968, 38_548, 38_133, 37_722,
    37_316, 36_914, 36_516, 36_123, 35_734, 35_349, 34_968, 34_591, 34_219, 33_850, 33_486, 33_125, 32_768,
];

/// `round(2^16 · log2(1 + i/64))`, `i` = 0..=64.
#[rustfmt::skip]
pub static LOG2_Q16: [u32; 65] = [
    0, 1_466, 2_909, 4_331, 5_732, 7_112, 8_473, 9_814, 11_136, 12_440, 13_727, 14_996, 16_248,
    17_484, 18_704, 19_909, 21_098, 22_272, 23_433, 24_579, 25_711, 26_830, 27_936, 29_029, 30_109, 31_178,
    32_234, 33_279, 34_312, 35_334, 36_346, 37_346, 38_336, 39_316, 40_286, 41_246, 42_196, 43_137, 44_068,
    44_990, 45_904, 46_809, 47_705, 48_593, 49_472, 50_344, 51_207, 52_063, 52_911, 53_751, 54_584, 55_410,
    56_229, 57_040, 57_845, 58_643, 59_434, 60_219, 60_997, 61_769, 62_534, 63_294, 64_047, 64_794, 65_536,
];

/// `log2(e)` in Q14: round(2^14 · 1.442695).
pub(crate) const LOG2_E_Q14: i32 = 23_637;

/// `ln(2)` in Q16: round(2^16 · 0.693147).
pub(crate) const LN_2_Q16: i64 = 45_426;

/// The largest argument of [`exp2_neg`]: 31 in Q16, where the result is 0 already.
pub(crate) const EXP2_MAX: u32 = 31 << 16;

/// `2^-t` in Q16, for `t >= 0` in Q16: linear between 64 entries an octave. The result is within
/// 1.7 units (of 2^-16) of the true value.
///
/// # Example
/// ```
/// assert_eq!(selvedge_kernels::lut::exp2_neg(1 << 16), 1 << 15);
/// ```
#[must_use]
#[inline(always)]
pub fn exp2_neg(t: u32) -> u32 {
    let t = t.min(EXP2_MAX);
    let (octave, fraction) = (t >> 16, t & 0xFFFF);
    let (i, rest) = ((fraction >> 10) as usize, fraction & 1023);
    let (Some(&high), Some(&low)) = (EXP2_Q16.get(i), EXP2_Q16.get(i + 1)) else {
        return 0;
    };
    (high - (((high - low) * rest + 512) >> 10)) >> octave
}

/// `ln(total / 2^16) + t · ln(2)` in Q16, for a total in Q16 of at least 1 and `t` in Q16: the
/// cross-entropy of a class whose numerator is `2^-t`. For display; training does not read it.
#[must_use]
pub fn cross_entropy(total: u32, t: u32) -> i64 {
    let n = 31 - total.max(1).leading_zeros();
    let fraction = ((u64::from(total) << 16) >> n) as u32 & 0xFFFF;
    let (i, rest) = ((fraction >> 10) as usize, fraction & 1023);
    let (Some(&low), Some(&high)) = (LOG2_Q16.get(i), LOG2_Q16.get(i + 1)) else {
        return 0;
    };
    let log2 = ((i64::from(n) - 16) << 16) + i64::from(low + (((high - low) * rest + 512) >> 10));
    ((i64::from(t.min(EXP2_MAX)) + log2) * LN_2_Q16 + 32_768) >> 16
}

/// `log2(n)` in Q16, linear between 64 entries an octave: within 3.9 units (of 2^-16); 0 for `n` = 0.
///
/// # Example
/// ```
/// assert_eq!(selvedge_kernels::lut::log2(1 << 40), 40 << 16);
/// ```
#[must_use]
#[inline(always)]
pub fn log2(n: u64) -> u32 {
    let places = 63 - n.max(1).leading_zeros();
    // The bits below the first, as a fraction of 16 bits.
    let fraction = if places >= 16 {
        (n >> (places - 16)) as u32
    } else {
        (n << (16 - places)) as u32
    } & 0xFFFF;
    let (i, rest) = ((fraction >> 10) as usize, fraction & 1023);
    let (Some(&low), Some(&high)) = (LOG2_Q16.get(i), LOG2_Q16.get(i + 1)) else {
        return 0;
    };
    (places << 16) + low + (((high - low) * rest + 512) >> 10)
}
