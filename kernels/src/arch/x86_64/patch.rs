//! Patches of bytes: see [`crate::arch::patch`]. VNNI multiplies four unsigned bytes of a patch by
//! four signed ones of each of sixteen filters.

use super::{lanes, panel};
use crate::arch::panel::{LANES, Sums};
use crate::arch::patch::{Filters, Patch, ROOM, Windows};
use crate::arch::tile::{Operand, ROWS, Segments};
use core::arch::x86_64::*;

/// The lowest `n` of 64 lanes.
#[inline(always)]
const fn first(n: usize) -> u64 {
    if n < 64 { (1 << n) - 1 } else { u64::MAX }
}

/// Fills a line: `before` times `padding`, elements, padding; XOR with `OFFSET` makes offset binary of an
/// element.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn line<const OFFSET: u8>(from: &[u8], before: usize, padding: u8, to: &mut [u8]) {
    let end = before.saturating_add(from.len());
    let offset = _mm512_set1_epi8(OFFSET as i8);
    let padding = _mm512_set1_epi8(padding as i8);
    for (i, to) in to.chunks_mut(64).enumerate() {
        let at = 64 * i;
        let mask = first(end.saturating_sub(at)) & !first(before.saturating_sub(at));
        let p = from.as_ptr().wrapping_add(at).wrapping_sub(before);
        // SAFETY: the mask begins and ends with the elements, that of the store ends with the line.
        unsafe {
            let x = _mm512_mask_loadu_epi8(padding, mask, p.cast());
            let x = _mm512_xor_si512(x, offset);
            _mm512_mask_storeu_epi8(to.as_mut_ptr().cast(), first(to.len()), x);
        }
    }
}

/// Adds a panel of filters, unless there is no room; `FLIP` makes signed bytes by XOR.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn pack<const FLIP: u8>(
    weight: Operand<'_, u8>,
    [runs, len]: [usize; 2],
    to: &mut Filters,
) -> bool {
    let fits = |len| weight.rows <= LANES && Segments::one(len).fit(weight, weight);
    let groups = runs.checked_mul(len.div_ceil(4));
    let (true, Some(groups)) = (runs.checked_mul(len).is_some_and(fits), groups) else {
        return false;
    };
    let Some((mut at, offsets)) = to.next(groups) else {
        return false;
    };
    let rows: [_; LANES] = lanes::rows(weight, 0);
    let flip = _mm512_set1_epi8(FLIP as i8);
    let mut offset = _mm512_setzero_si512();
    // SAFETY: masks end with the runs, which fit, as just checked; `groups` is how many groups all runs
    // have, and there is room for so many.
    unsafe {
        for run in 0..runs {
            for k in (0..len).step_by(64) {
                let mask = first(len - k);
                let mut square = [_mm512_setzero_ps(); LANES];
                for (to, row) in square.iter_mut().zip(&rows) {
                    let bytes = row.wrapping_add(run * len + k);
                    let bytes = _mm512_mask_loadu_epi8(flip, mask, bytes.cast());
                    *to = _mm512_castsi512_ps(_mm512_xor_si512(bytes, flip));
                }
                let square = panel::transpose(square);
                for &quad in square.iter().take((len - k).div_ceil(4)) {
                    let quad = _mm512_castps_si512(quad);
                    offset = _mm512_dpbusd_epi32(offset, _mm512_set1_epi8(0x80u8 as i8), quad);
                    _mm512_storeu_si512(at.cast(), quad);
                    at = at.add(4 * LANES);
                }
            }
        }
        _mm512_storeu_si512(offsets.as_mut_ptr().cast(), offset);
        to.push();
    }
    true
}

/// The sums of some windows with panel `panel`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn multiply(
    patch: &Patch,
    windows: Windows,
    filters: &Filters,
    panel: usize,
    biases: &[i32; LANES],
    to: &mut Sums<i32>,
) {
    match windows.count.div_ceil(4) {
        0 => {}
        1 => block::<1>(patch, windows, filters, panel, biases, to),
        2 => block::<2>(patch, windows, filters, panel, biases, to),
        _ => block::<3>(patch, windows, filters, panel, biases, to),
    }
}

/// Windows that share the address of the first of them.
const GROUP: usize = 4;

/// The same of `G` times four windows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn block<const G: usize>(
    patch: &Patch,
    windows: Windows,
    filters: &Filters,
    panel: usize,
    biases: &[i32; LANES],
    to: &mut Sums<i32>,
) {
    const { assert!(GROUP * G <= ROWS) };
    let Windows { first, step, .. } = windows;
    let (places, last) = patch.places();
    let end = || {
        let steps = step.checked_mul(GROUP * G - 1)?;
        first.checked_add(steps)?.checked_add(last + 4)
    };
    let (Some(offsets), true) = (
        filters.offsets.get(panel),
        end().is_some_and(|end| end <= ROOM),
    ) else {
        return;
    };
    // SAFETY: four bytes from the last place of the last window on lie in the patch, as just checked.
    unsafe {
        let start = _mm512_sub_epi32(
            _mm512_loadu_si512(biases.as_ptr().cast()),
            _mm512_loadu_si512(offsets.as_ptr().cast()),
        );
        let mut sums = [[start; GROUP]; G];
        let base = patch.bytes.as_ptr().add(first);
        let triple = 3 * step;
        for (&place, quad) in places.iter().zip(filters.panel(panel)) {
            let quad = _mm512_loadu_si512(quad.as_ptr().cast());
            let mut x = base.add(usize::from(place));
            for sums in &mut sums {
                let windows = [x, x.add(step), x.add(2 * step), x.add(triple)];
                for (sum, x) in sums.iter_mut().zip(windows) {
                    let x = _mm512_set1_epi32(x.cast::<i32>().read_unaligned());
                    *sum = _mm512_dpbusd_epi32(*sum, x, quad);
                }
                x = x.wrapping_add(4 * step);
            }
        }
        for (to, &sum) in to.iter_mut().zip(sums.as_flattened()) {
            _mm512_storeu_si512(to.as_mut_ptr().cast(), sum);
        }
    }
}
