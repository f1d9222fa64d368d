//! Rows of a tensor by number.

use crate::arch::scalar::TILE;
use crate::axes::Extents;
use crate::element::Element;
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude};
use crate::requantize::Store;
use crate::select::check_indices;
use crate::split::{rows_of, rows_of_mut};

/// Entries of an axis by number: entry `j` of `out` along `axis` is entry `indices[j]` of `x`. The
/// exponent stays.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `extents` | |
/// | `indices` | any | 0 to the extent of `axis` - 1, in any order, also repeated |
/// | `out` | `extents` with as many entries along `axis` as there are indices | overwritten |
///
/// # Errors
/// [`Error::Index`](crate::Error::Index) with number, index and extent for an index beyond the
/// axis, [`Error::Axis`](crate::Error::Axis), [`Error::Length`](crate::Error::Length); `out` is
/// then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{axes::Extents, layout};
/// let mut out = [0i8; 6];
/// layout::gather(Extents::new(&[2, 3])?, 1, &[2, 0, 2], &[1, 2, 3, 4, 5, 6], &mut out)?;
/// assert_eq!(out, [3, 1, 3, 6, 4, 6]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: the definition.
pub fn gather<T: Element>(
    extents: Extents,
    axis: usize,
    indices: &[u32],
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    let gathered = extents.with(axis, indices.len())?;
    Arg::X.check_len(x.len(), &[extents.elements()])?;
    Arg::Out.check_len(out.len(), &[gathered.elements()])?;
    let [_, extent, inner] = extents.around(axis)?;
    check_indices(indices, extent)?;
    let blocks = rows_of(x, extent * inner).zip(rows_of_mut(out, indices.len() * inner));
    for (x, out) in blocks {
        for (out, &index) in rows_of_mut(out, inner).zip(indices) {
            let start = index as usize * inner;
            let row = x.get(start..start + inner).unwrap_or_default();
            for (out, &x) in out.iter_mut().zip(row) {
                *out = x;
            }
        }
    }
    Ok(())
}

/// Gradient of [`gather`]: `dx = store(Σ dy)` over all places that an entry went to, in their
/// order; 0 for entries that went nowhere.
///
/// | argument | shape | |
/// |---|---|---|
/// | `indices` | as in the forward pass | |
/// | `dy` | `extents` with as many entries along `axis` as there are indices | |
/// | `dx` | `extents` | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest sum (0 for floats), which has the exponent of `dy`. Each
/// entry looks for its number among the indices, so that tasks share nothing.
///
/// # Errors
/// Those of [`gather`]; [`Error::Accumulator`](crate::Error::Accumulator) for more indices than
/// sums allow. `dx` is then untouched.
///
/// Source: the derivative of [`gather`].
pub fn gather_backward<T: Element>(
    exec: &impl Executor,
    extents: Extents,
    axis: usize,
    indices: &[u32],
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    let gathered = extents.with(axis, indices.len())?;
    Arg::Dy.check_len(dy.len(), &[gathered.elements()])?;
    Arg::Dx.check_len(dx.len(), &[extents.elements()])?;
    let [_, extent, inner] = extents.around(axis)?;
    check_indices(indices, extent)?;
    crate::dense::limit(indices.len(), crate::reduce::most_terms::<T>(0))?;
    Ok(exec::rows(exec, dx, inner, |first, dx| {
        T::layout_gather_backward(Gather {
            extent,
            inner,
            indices,
            dy,
            store,
            first,
            dx,
        })
    }))
}

/// Some entries of a gradient.
pub struct Gather<'a, T: Element> {
    extent: usize,
    inner: usize,
    indices: &'a [u32],
    dy: &'a [T],
    store: Store,
    first: usize,
    dx: &'a mut [T],
}

impl<T: Element> Gather<'_, T> {
    #[inline(always)]
    pub(super) fn run(self) -> u32 {
        let Self {
            extent,
            inner,
            indices,
            dy,
            store,
            first,
            dx,
        } = self;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = (first * inner) as u32;
        for (row, dx) in (first..).zip(rows_of_mut(dx, inner)) {
            let outer = row.checked_div(extent).unwrap_or(0);
            let entry = row.checked_rem(extent).unwrap_or(0);
            let block = dy.get(outer * indices.len() * inner..).unwrap_or_default();
            let mut start = 0;
            for dx in dx.chunks_mut(TILE) {
                let mut sums = [T::Acc::default(); TILE];
                for (&index, row) in indices.iter().zip(rows_of(block, inner)) {
                    if index as usize == entry {
                        let row = row.get(start..).unwrap_or_default();
                        for (sum, d) in sums.iter_mut().zip(row) {
                            *sum += d.to_acc();
                        }
                    }
                }
                start += dx.len();
                for (dx, &sum) in dx.iter_mut().zip(&sums) {
                    store.one::<T, T>(sum, element, &mut range, dx);
                    element = element.wrapping_add(1);
                }
            }
        }
        range.bits()
    }
}
