//! Elements of 32 and 64 bits that stand for more than sums have room for.

use selvedge_kernels::{DType, Element};

/// Whether all elements in `bytes` are within `±(2^M - 1)`, where a sum of products of larger ones overflows: of 32 and 64 bits
/// (M is 24 and 53: `docs/numerics.md` §1). Sums of narrower integers have room for all, and those of floats are infinite.
pub(super) fn is_within(dtype: DType, bytes: &[u8]) -> bool {
    const NARROW: i64 = (1 << i32::MAGNITUDE_BITS) - 1;
    const WIDE: i64 = (1 << i64::MAGNITUDE_BITS) - 1;
    let narrow = |flip: u32| {
        let mut elements = bytes.as_chunks().0.iter();
        elements.all(|&element| {
            let q = (u32::from_le_bytes(element) ^ flip).cast_signed();
            (-NARROW..=NARROW).contains(&q.into())
        })
    };
    let wide = |flip: u64| {
        let mut elements = bytes.as_chunks().0.iter();
        elements.all(|&element| {
            let q = (u64::from_le_bytes(element) ^ flip).cast_signed();
            (-WIDE..=WIDE).contains(&q)
        })
    };
    match dtype {
        DType::I32 => narrow(0),
        DType::U32 => narrow(u32::ZERO),
        DType::I64 => wide(0),
        DType::U64 => wide(u64::ZERO),
        _ => true,
    }
}
