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
impl_storage!(A B C D E => [[[[[T; E]; D]; C]; B]; A], [[[[[T::BLANK; E]; D]; C]; B]; A],
    as_flattened as_flattened as_flattened as_flattened as_flattened;
    as_flattened_mut as_flattened_mut as_flattened_mut as_flattened_mut as_flattened_mut);

/// A shape: one to five extents, known when the program is compiled.
pub trait Shape: Copy + Send + Sync + 'static {
    /// Number of axes.
    const RANK: usize;
    /// The extents; 1 beyond the rank.
    const EXTENTS: [usize; 5];
    /// Number of elements.
    const LEN: usize = {
        let [a, b, c, d, e] = Self::EXTENTS;
        a * b * c * d * e
    };
    /// Extent of the last axis: channels, features.
    const CHANNELS: usize = Self::EXTENTS[Self::RANK - 1];
    /// A tensor's elements.
    type Array<T: Blank>: Storage<T>;
    /// The first axis alone.
    type First: Shape;
    /// The last axis alone: what there is one of for each channel.
    type Last: Shape;
    /// All axes but the last; one element if there is none.
    type Leading: Shape;
    /// The same with `N` elements along the last axis.
    type Width<const N: usize>: Shape;
    /// `N` rows as long as the last axis: the weights of `N` features.
    type Rows<const N: usize>: Shape;
}

macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident<$first:ident $(, $middle:ident)*; $last:ident>: [$($extent:expr),*], $array:ty, $leading:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name<const $first: usize $(, const $middle: usize)*, const $last: usize>;

        impl<const $first: usize $(, const $middle: usize)*, const $last: usize> Shape for $name<$first $(, $middle)*, $last> {
            const RANK: usize = [$first $(, $middle)*, $last].len();
            const EXTENTS: [usize; 5] = [$($extent),*];
            type Array<T: Blank> = $array;
            type First = D1<$first>;
            type Last = D1<$last>;
            type Leading = $leading<$first $(, $middle)*>;
            type Width<const N: usize> = $name<$first $(, $middle)*, N>;
            type Rows<const N: usize> = D2<N, $last>;
        }
    )*};
}

/// A vector of `A` elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct D1<const A: usize>;

impl<const A: usize> Shape for D1<A> {
    const RANK: usize = 1;
    const EXTENTS: [usize; 5] = [A, 1, 1, 1, 1];
    type Array<T: Blank> = [T; A];
    type First = Self;
    type Last = Self;
    type Leading = D1<1>;
    type Width<const N: usize> = D1<N>;
    type Rows<const N: usize> = D2<N, A>;
}

shapes! {
    /// `A` rows of `B` elements: a signal of `A` columns and `B` channels.
    D2<A; B>: [A, B, 1, 1, 1], [[T; B]; A], D1;
    /// Three axes: an image of `A` rows, `B` columns and `C` channels.
    D3<A, B; C>: [A, B, C, 1, 1], [[[T; C]; B]; A], D2;
    /// Four axes: `A` filters of `B` rows, `C` columns and `D` channels; a volume of `A` planes.
    D4<A, B, C; D>: [A, B, C, D, 1], [[[[T; D]; C]; B]; A], D3;
    /// Five axes: `A` filters of `B` planes, `C` rows, `D` columns and `E` channels.
    D5<A, B, C, D; E>: [A, B, C, D, E], [[[[[T; E]; D]; C]; B]; A], D4;
}
