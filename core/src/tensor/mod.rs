//! Tensors of fixed shape, stored inline.
//!
//! A tensor's shape is part of its type, so a mismatch does not compile; views are borrowed slices.

mod shape;

pub use shape::{D1, D2, D3, D4, D5, Shape, Storage};

use core::fmt;
use selvedge_kernels::{Blank, Element};

/// Elements of type `T` in shape `S`, row-major, last axis fastest.
///
/// Integer elements share an exponent that is kept beside the tensor, not in it.
///
/// # Example
/// ```
/// use selvedge_core::tensor::{D2, Tensor};
/// let mut x: Tensor<f32, D2<2, 3>> = Tensor::from_array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
/// x.elements_mut()[0] = 0.0;
/// assert_eq!(x.array()[1], [4.0, 5.0, 6.0]);
/// assert_eq!(x.elements().len(), 6);
/// ```
/// Another shape is another type:
/// ```compile_fail
/// use selvedge_core::tensor::{D2, Tensor};
/// let x: Tensor<f32, D2<2, 3>> = Tensor::from_array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
/// ```
#[repr(transparent)]
pub struct Tensor<T: Blank, S: Shape> {
    data: S::Array<T>,
}

impl<T: Blank, S: Shape> Tensor<T, S> {
    /// All zero bytes, for statics. For unsigned types that is the lowest value, not zero.
    pub const BLANK: Self = Self {
        data: Storage::BLANK,
    };

    /// The tensor of these elements.
    pub const fn from_array(data: S::Array<T>) -> Self {
        Self { data }
    }

    /// The nested arrays.
    pub const fn array(&self) -> &S::Array<T> {
        &self.data
    }

    /// The nested arrays, to be changed.
    pub const fn array_mut(&mut self) -> &mut S::Array<T> {
        &mut self.data
    }

    /// The elements in a row.
    pub fn elements(&self) -> &[T] {
        self.data.elements()
    }

    /// The elements in a row, to be changed.
    pub fn elements_mut(&mut self) -> &mut [T] {
        self.data.elements_mut()
    }
}

impl<T: Element, S: Shape> Tensor<T, S> {
    /// Makes every element stand for zero, in place.
    pub fn set_zero(&mut self) {
        self.elements_mut().fill(T::ZERO);
    }
}

impl<T: Blank, S: Shape> Clone for Tensor<T, S>
where
    S::Array<T>: Clone,
{
    fn clone(&self) -> Self {
        Self {
            data: self.data.clone(),
        }
    }
}

impl<T: Blank + PartialEq, S: Shape> PartialEq for Tensor<T, S> {
    fn eq(&self, other: &Self) -> bool {
        self.elements() == other.elements()
    }
}

impl<T: Blank + fmt::Debug, S: Shape> fmt::Debug for Tensor<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extents = S::EXTENTS.get(..S::RANK).unwrap_or_default();
        write!(f, "Tensor {extents:?} {:?}", self.elements())
    }
}
