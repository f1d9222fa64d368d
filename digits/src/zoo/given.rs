//! What networks are given of a digit, and what is asked of them.

use crate::{Digits, SIDE};
use selvedge_core::Element;
use selvedge_core::train::Samples;
use selvedge_kernels::{Blank, bf16, f16};

/// Labels of a sample, at most: those of a sequence of rows.
pub(super) const LABELS: usize = SIDE;

/// The input of a network of element type `T`: its pixels, whose label is the digit; or tokens.
///
/// The token of a row is how many of its pixels are rather ink than paper. At each row the next one is asked for, at
/// the last the digit.
pub trait Given<T>: Blank {
    /// Puts image `index` into `x`, and what is asked into `labels`; nothing if there is no such image.
    fn read(digits: &Digits, index: usize, x: &mut [Self], labels: &mut [u16]);
}

impl<T: Element> Given<T> for T {
    fn read(digits: &Digits, index: usize, x: &mut [Self], labels: &mut [u16]) {
        if let (Some(read), [label, ..]) = (digits.read(index, x), labels) {
            *label = read;
        }
    }
}

macro_rules! given_tokens {
    ($($under:ty)*) => {$(
        impl Given<$under> for u8 {
            fn read(digits: &Digits, index: usize, x: &mut [Self], labels: &mut [u16]) {
                let Some((digit, pixels)) = digits.get(index) else {
                    return;
                };
                let rows = pixels.as_chunks::<SIDE>().0;
                for (token, row) in x.iter_mut().zip(rows) {
                    *token = row.iter().map(|&ink| u8::from(ink > 8)).sum();
                }
                let next = x.iter().skip(1).chain([&digit]);
                (labels.iter_mut().zip(next)).for_each(|(label, &next)| *label = next.into());
            }
        }
    )*};
}

// With tokens of 8 bits under elements of the same type, they could not be told from pixels.
given_tokens! { i8 i16 u16 i32 u32 i64 u64 f16 bf16 f32 f64 }
