//! What the benchmarks have in common: `cargo xtask bench` runs them, `RESULTS.md` keeps them.

use selvedge_kernels::Element;
use selvedge_kernels::rng::{Words, stream};

/// `len` random elements over half of the type's range; floats within -1 and 1.
#[must_use]
pub fn noise<T: Element>(len: usize, seed: u32) -> Vec<T> {
    let words = Words::new(seed, stream::SHUFFLE, 0);
    let largest = f64::from(1u32 << T::MAGNITUDE_BITS.saturating_sub(1).min(30));
    (0..len)
        .map(|i| {
            let fraction = f64::from(words.word(i as u32)) / f64::from(u32::MAX) * 2.0 - 1.0;
            T::from_f64(fraction * if T::DTYPE.is_integer() { largest } else { 1.0 })
        })
        .collect()
}

/// Calls a macro with each element type.
#[macro_export]
macro_rules! for_all_types {
    ($call:ident) => {
        $call!(
            i8,
            u8,
            i16,
            u16,
            i32,
            u32,
            i64,
            u64,
            selvedge_kernels::f16,
            selvedge_kernels::bf16,
            f32,
            f64
        );
    };
}
