//! Slices in rows and in blocks, without a division and without a panic: what `chunks_exact` links for a length
//! of zero is more than a small kernel, and zipped `chunks` divide, also by a constant where they are not inlined;
//! `copy_within` panics at an end.

use core::cell::Cell;

/// The whole rows of `len` elements; none if `len` is 0.
#[inline(always)]
pub fn rows_of<T>(mut slice: &[T], len: usize) -> impl Iterator<Item = &[T]> {
    core::iter::from_fn(move || {
        if len == 0 {
            return None;
        }
        let (row, rest) = slice.split_at_checked(len)?;
        slice = rest;
        Some(row)
    })
}

/// The same, to be changed.
#[inline(always)]
pub fn rows_of_mut<T>(mut slice: &mut [T], len: usize) -> impl Iterator<Item = &mut [T]> {
    core::iter::from_fn(move || {
        if len == 0 {
            return None;
        }
        let (row, rest) = core::mem::take(&mut slice).split_at_mut_checked(len)?;
        slice = rest;
        Some(row)
    })
}

/// Takes the first `len` elements off, or as many as there are.
#[inline(always)]
pub(crate) fn take<'a, T>(slice: &mut &'a [T], len: usize) -> &'a [T] {
    let (first, rest) = slice
        .split_at_checked(len.min(slice.len()))
        .unwrap_or_default();
    *slice = rest;
    first
}

/// The same, to be changed.
#[inline(always)]
pub(crate) fn take_mut<'a, T>(slice: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let all = core::mem::take(slice);
    let len = len.min(all.len());
    let (first, rest) = all.split_at_mut_checked(len).unwrap_or_default();
    *slice = rest;
    first
}

/// All elements in blocks of `len`, of which the last may be shorter; none if `len` is 0.
#[inline(always)]
pub(crate) fn blocks_of<T>(mut slice: &[T], len: usize) -> impl Iterator<Item = &[T]> {
    core::iter::from_fn(move || {
        let (block, rest) = slice.split_at_checked(len.min(slice.len()))?;
        slice = rest;
        (!block.is_empty()).then_some(block)
    })
}

/// The same, to be changed.
#[inline(always)]
pub(crate) fn blocks_of_mut<T>(mut slice: &mut [T], len: usize) -> impl Iterator<Item = &mut [T]> {
    core::iter::from_fn(move || {
        let all = core::mem::take(&mut slice);
        let (block, rest) = all.split_at_mut_checked(len.min(all.len()))?;
        slice = rest;
        (!block.is_empty()).then_some(block)
    })
}

/// Moves `len` elements, those from `from` on, to `to` on, as far as there are any; `to` is not behind `from`.
pub fn move_up<T: Copy>(slice: &mut [T], from: usize, len: usize, to: usize) {
    let cells = Cell::from_mut(slice).as_slice_of_cells();
    let sources = cells.get(from..).unwrap_or_default().iter().take(len);
    for (to, source) in cells.get(to..).unwrap_or_default().iter().zip(sources) {
        to.set(source.get());
    }
}

#[cfg(test)]
mod tests {
    use super::{blocks_of, blocks_of_mut, move_up, rows_of, rows_of_mut};

    #[test]
    fn rows_are_those_of_chunks_exact() {
        let mut elements = [0, 1, 2, 3, 4, 5, 6];
        let copy = elements;
        for len in 1..9 {
            assert!(rows_of(&copy, len).eq(copy.chunks_exact(len)));
            assert!(rows_of_mut(&mut elements, len).eq(copy.chunks_exact(len)));
        }
        assert_eq!(rows_of(&copy, 0).count(), 0);
        assert_eq!(rows_of_mut(&mut elements, 0).count(), 0);
    }

    #[test]
    fn blocks_are_those_of_chunks() {
        let mut elements = [0, 1, 2, 3, 4, 5, 6];
        let copy = elements;
        for len in 1..9 {
            assert!(blocks_of(&copy, len).eq(copy.chunks(len)));
            assert!(blocks_of_mut(&mut elements, len).eq(copy.chunks(len)));
        }
        assert_eq!(blocks_of(&copy, 0).count(), 0);
        assert_eq!(blocks_of_mut(&mut elements, 0).count(), 0);
        assert_eq!(blocks_of(&[0; 0], 2).count(), 0);
    }

    #[test]
    fn rows_move_up() {
        let mut slice = [0, 1, 2, 3, 4, 5];
        move_up(&mut slice, 2, 3, 1);
        assert_eq!(slice, [0, 2, 3, 4, 4, 5]);
        move_up(&mut slice, 4, 9, 0);
        assert_eq!(slice, [4, 5, 3, 4, 4, 5]);
        move_up(&mut slice, 7, 1, 0);
        assert_eq!(slice, [4, 5, 3, 4, 4, 5]);
    }
}
