//! Patches of bytes: see [`crate::arch::patch`]. VNNI multiplies four unsigned bytes of a patch by
//! four signed ones of each of sixteen filters.

use super::{lanes, panel};
use crate::arch::panel::{LANES, Sums};
use crate::arch::patch::{Filters, Patches, ROOM};
use crate::arch::tile::{Operand, ROWS, Segments};
use core::arch::x86_64::*;

/// Fills panels of filters; `FLIP` makes signed bytes by XOR.
///
/// # Safety
/// The processor has AVX-512 with VNNI.
#[inline(always)]
pub(super) unsafe fn pack<const FLIP: u8>(weight: Operand<'_, u8>, len: usize, to: &mut Filters) {
    // SAFETY: there is nothing to be written of none.
    unsafe { to.set_len(0, 0) };
    let fits = Segments::one(len).fit(weight, weight);
    if len > ROOM || weight.rows > Filters::room(len) || !fits {
        return;
    }
    let (panels, panel_len) = (weight.rows.div_ceil(LANES), len.div_ceil(64) * 16);
    for panel in 0..panels {
        let rows: [_; LANES] = lanes::rows(weight, panel * LANES);
        // SAFETY: masks end with the rows, which fit, as just checked; `room` is that of rounded
        // panels; the instructions are the caller's promise.
        unsafe {
            let mut offset = _mm512_setzero_si512();
            for k in (0..len).step_by(64) {
                let mask = u64::MAX >> (64 - (len - k).min(64));
                let flip = _mm512_set1_epi8(FLIP as i8);
                let mut square = [_mm512_setzero_ps(); LANES];
                for (to, row) in square.iter_mut().zip(&rows) {
                    let bytes = _mm512_mask_loadu_epi8(flip, mask, row.wrapping_add(k).cast());
                    *to = _mm512_castsi512_ps(_mm512_xor_si512(bytes, flip));
                }
                let square = panel::transpose(square);
                let quads = to.as_mut_ptr().add((panel * panel_len + k / 4) * 4 * LANES);
                for (i, &quad) in square.iter().enumerate() {
                    let quad = _mm512_castps_si512(quad);
                    offset = _mm512_dpbusd_epi32(offset, _mm512_set1_epi8(0x80u8 as i8), quad);
                    _mm512_storeu_si512(quads.add(i * 4 * LANES).cast(), quad);
                }
            }
            if let Some(to) = to.offsets.get_mut(panel) {
                _mm512_storeu_si512(to.as_mut_ptr().cast(), offset);
            }
        }
    }
    to.used = len.div_ceil(4);
    // SAFETY: as many have just been written.
    unsafe { to.set_len(panels, panel_len) };
}

/// The sums of all patches with panel `panel`.
///
/// # Safety
/// The processor has AVX-512 with VNNI.
#[inline(always)]
pub(super) unsafe fn multiply(
    patches: &Patches,
    filters: &Filters,
    panel: usize,
    to: &mut Sums<i32>,
) {
    let Some(offset) = filters.offsets.get(panel) else {
        return;
    };
    // SAFETY: a panel has no more groups of four than a patch; the instructions are the caller's
    // promise.
    unsafe {
        let mut sums = [_mm512_setzero_si512(); ROWS];
        let used = filters.used.min(ROOM / 4);
        for (k, quad) in filters.panel(panel).iter().enumerate().take(used) {
            let quad = _mm512_loadu_si512(quad.as_ptr().cast());
            for (sum, patch) in sums.iter_mut().zip(patches) {
                let x = patch.as_ptr().add(4 * k).cast::<i32>().read_unaligned();
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_set1_epi32(x), quad);
            }
        }
        let offset = _mm512_loadu_si512(offset.as_ptr().cast());
        for (to, &sum) in to.iter_mut().zip(&sums) {
            _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_sub_epi32(sum, offset));
        }
    }
}
