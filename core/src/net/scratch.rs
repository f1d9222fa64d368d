//! Memory that the kernels of a layer work in.

use super::Tape;
use crate::tensor::{Shape, Storage};
use selvedge_kernels::Blank;

/// `N` arrays of shape `S` in a row. It is kept from pass to pass, but what it holds is not.
pub struct Scratch<T: Blank, S: Shape, const N: usize>([S::Array<T>; N]);

impl<T: Blank, S: Shape, const N: usize> Tape for Scratch<T, S, N> {
    const BLANK: Self = Self([Storage::BLANK; N]);
}

impl<T: Blank, S: Shape, const N: usize> Scratch<T, S, N> {
    /// All elements.
    pub fn all(&mut self) -> &mut [T] {
        Storage::flatten_mut(&mut self.0)
    }

    /// The first `len` elements; all if there are fewer, which a kernel then refuses.
    pub fn first(&mut self, len: usize) -> &mut [T] {
        super::part(self.all(), len)
    }
}
