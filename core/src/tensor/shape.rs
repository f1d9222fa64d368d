//! Shapes as types, and the nested arrays that hold their elements.

use selvedge_kernels::Blank;

/// A nested array that holds elements of type `T`, row-major, last axis fastest.
pub trait Storage<T>: Sized {
    /// All zero bytes.
    const BLANK: Self;

    /// The elements of several such arrays, one after the other.
    fn flatten(arrays: &[Self]) -> &[T];

    /// The same, to be changed.
    fn flatten_mut(arrays: &mut [Self]) -> &mut [T];

    /// The elements.
    fn elements(&self) -> &[T] {
        Self::flatten(core::slice::from_ref(self))
    }

    /// The elements, to be changed.
    fn elements_mut(&mut self) -> &mut [T] {
        Self::flatten_mut(core::slice::from_mut(self))
    }
}

macro_rules! impl_storage {
    ($($extent:ident)* => $array:ty, $blank:expr, $($flatten:ident)*; $($flatten_mut:ident)*) => {
        impl<T: Blank, $(const $extent: usize),*> Storage<T> for $array {
            const BLANK: Self = $blank;

            fn flatten(arrays: &[Self]) -> &[T] {
                arrays$(.$flatten())*
            }

            fn flatten_mut(arrays: &mut [Self]) -> &mut [T] {
                arrays$(.$flatten_mut())*
            }
        }
    };
}

impl_storage!(A => [T; A], [T::BLANK; A], as_flattened; as_flattened_mut);
impl_storage!(A B => [[T; B]; A], [[T::BLANK; B]; A], as_flattened as_flattened; as_flattened_mut as_flattened_mut);
impl_storage!(A B C => [[[T; C]; B]; A], [[[T::BLANK; C]; B]; A],
    as_flattened as_flattened as_flattened; as_flattened_mut as_flattened_mut as_flattened_mut);
impl_storage!(A B C D => [[[[T; D]; C]; B]; A], [[[[T::BLANK; D]; C]; B]; A],
    as_flattened as_flattened as_flattened as_flattened;
    as_flattened_mut as_flattened_mut as_flattened_mut as_flattened_mut);

/// A shape: one to four extents, known when the program is compiled.
pub trait Shape: Copy + Send + Sync + 'static {
    /// Number of axes.
    const RANK: usize;
    /// The extents; 1 beyond the rank.
    const EXTENTS: [usize; 4];
    /// Number of elements.
    const LEN: usize = Self::EXTENTS[0] * Self::EXTENTS[1] * Self::EXTENTS[2] * Self::EXTENTS[3];
    /// A tensor's elements.
    type Array<T: Blank>: Storage<T>;
    /// The first axis alone: a bias has this shape of its weights.
    type First: Shape;
}

/// A vector of `A` elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct D1<const A: usize>;

/// `A` rows of `B` elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct D2<const A: usize, const B: usize>;

/// Three axes: an image of `A` rows, `B` columns and `C` channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct D3<const A: usize, const B: usize, const C: usize>;

/// Four axes: `A` filters of `B` rows, `C` columns and `D` channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct D4<const A: usize, const B: usize, const C: usize, const D: usize>;

impl<const A: usize> Shape for D1<A> {
    const RANK: usize = 1;
    const EXTENTS: [usize; 4] = [A, 1, 1, 1];
    type Array<T: Blank> = [T; A];
    type First = Self;
}

impl<const A: usize, const B: usize> Shape for D2<A, B> {
    const RANK: usize = 2;
    const EXTENTS: [usize; 4] = [A, B, 1, 1];
    type Array<T: Blank> = [[T; B]; A];
    type First = D1<A>;
}

impl<const A: usize, const B: usize, const C: usize> Shape for D3<A, B, C> {
    const RANK: usize = 3;
    const EXTENTS: [usize; 4] = [A, B, C, 1];
    type Array<T: Blank> = [[[T; C]; B]; A];
    type First = D1<A>;
}

impl<const A: usize, const B: usize, const C: usize, const D: usize> Shape for D4<A, B, C, D> {
    const RANK: usize = 4;
    const EXTENTS: [usize; 4] = [A, B, C, D];
    type Array<T: Blank> = [[[[T; D]; C]; B]; A];
    type First = D1<A>;
}
