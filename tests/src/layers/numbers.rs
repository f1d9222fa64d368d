//! How the numbers of a type are compared with `f64`.

use selvedge_kernels::Element;

/// Values as elements, integers at the smallest exponent that holds all of them.
#[must_use]
pub fn rounded<T: Element>(x: &[f64]) -> (Vec<T>, i32) {
    let exponent = if T::DTYPE.is_integer() {
        let largest = x.iter().fold(0f64, |largest, x| largest.max(x.abs()));
        let most = 2f64.powi(T::MAGNITUDE_BITS as i32) - 1.0;
        (largest / most).max(f64::MIN_POSITIVE).log2().ceil() as i32
    } else {
        0
    };
    (crate::compare::elements(x, exponent), exponent)
}

/// Whole numbers as tokens: unsigned integers that are no elements of a tensor.
pub(super) fn numbered<I: Element>(x: &[f64]) -> Vec<I> {
    let number = |x: &f64| I::from_le_bytes_of(&(*x as u32).to_le_bytes()[..I::DTYPE.bytes()]);
    let numbers: Option<Vec<I>> = x.iter().map(number).collect();
    numbers.expect("the bytes of a token")
}

/// The same back.
pub(super) fn numbers<I: Element>(tokens: &[I]) -> Vec<f64> {
    let number = |token: &I| {
        let mut number = [0; 4];
        token.le_bytes(|bytes| number[..bytes.len()].copy_from_slice(bytes));
        u32::from_le_bytes(number).into()
    };
    tokens.iter().map(number).collect()
}

/// How far a type's outputs may be from `f64`, and its errors.
#[derive(Clone, Copy, Debug)]
pub struct Precision {
    /// The distance of an output, as a share of the largest.
    pub output: f64,
    /// The least cosine between errors and those of `f64`, and between updates.
    pub cosine: f64,
}

impl Precision {
    /// What storing alone loses in type `T`. Integers fit the largest output into `M` bits, so that half
    /// a unit is at most `2^-M` of it; floats get twice half a unit, being computed from rounded numbers.
    /// The cosines are those that every layer is asked to keep.
    #[must_use]
    pub fn of<T: Element>() -> Self {
        let output = match T::MAGNITUDE_BITS {
            0 => 2.0 * crate::tensors::rounding::<T>(),
            bits => 2f64.powi(-(bits as i32)),
        };
        let cosine = match (T::DTYPE.is_integer(), T::DTYPE.bytes()) {
            (true, 1) => 0.99,
            _ => 0.9999,
        };
        Self { output, cosine }
    }
}

/// What parameters changed by.
pub(super) fn moved(before: &[f64], after: &[f64]) -> Vec<f64> {
    before.iter().zip(after).map(|(was, is)| is - was).collect()
}

/// Ends the test at the first output that is further off than `share` of the largest.
pub(super) fn assert_near(name: &str, dtype: &str, want: &[f64], got: &[f64], share: f64) {
    assert_eq!(want.len(), got.len(), "{name}, {dtype}");
    let largest = want.iter().fold(0f64, |largest, x| largest.max(x.abs()));
    let limit = share * largest;
    for (i, (want, got)) in want.iter().zip(got).enumerate() {
        assert!(
            (want - got).abs() <= limit,
            "{name}, {dtype}, output {i}: expected {want}, computed {got}, allowed {limit:e}"
        );
    }
}
