//! Slices in rows, without a division and without a panic: zipped `chunks_exact` divide by their length where they are
//! not inlined, `copy_within` panics at an end.

use core::cell::Cell;

/// The whole rows of `len` elements; none if `len` is 0.
#[inline(always)]
pub(crate) fn rows_of<T>(mut slice: &[T], len: usize) -> impl Iterator<Item = &[T]> {
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
pub(crate) fn rows_of_mut<T>(mut slice: &mut [T], len: usize) -> impl Iterator<Item = &mut [T]> {
    core::iter::from_fn(move || {
        if len == 0 {
            return None;
        }
        let (row, rest) = core::mem::take(&mut slice).split_at_mut_checked(len)?;
        slice = rest;
        Some(row)
    })
}

/// Moves `len` elements, those from `from` on, to `to` on, as far as there are any; `to` is not behind `from`.
pub(crate) fn move_up<T: Copy>(slice: &mut [T], from: usize, len: usize, to: usize) {
    let cells = Cell::from_mut(slice).as_slice_of_cells();
    let sources = cells.get(from..).unwrap_or_default().iter().take(len);
    for (to, source) in cells.get(to..).unwrap_or_default().iter().zip(sources) {
        to.set(source.get());
    }
}

#[cfg(test)]
mod tests {
    use super::move_up;

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
