//! Random words without a generator state: each word is addressed by
//! (seed, stream, step, element), so that no order of visiting matters and threads, SIMD lanes and
//! targets agree. Only 32-bit multiplications are used.
//!
//! Source: `docs/numerics.md` §3; the mixing function is the 32-bit finaliser of the
//! hash-prospector family (Wellons 2018).

use crate::error::{Arg, Error, Result};

/// 2^32 divided by the golden ratio: successive multiples are spread evenly.
pub(crate) const GOLDEN: u32 = 0x9E37_79B9;
/// The factors of [`mix32`].
pub(crate) const MIX: [u32; 2] = [0x7FEB_352D, 0x846C_A68B];

/// The streams of random words that belong to no layer.
pub mod stream {
    /// The order of samples in an epoch; `step` is the epoch.
    pub const SHUFFLE: u32 = 5;
    /// Rounding of the loss gradient; `step` is the training step.
    pub const LOSS: u32 = 8;

    /// Parameter `parameter` of layer `layer`: initialisation at step 0, the update after training
    /// step `t` at step `t + 1`.
    #[must_use]
    pub const fn parameter(layer: u32, parameter: u32) -> u32 {
        16u32
            .wrapping_mul(layer.wrapping_add(1))
            .wrapping_add(parameter)
    }

    /// Rounding of the error that layer `layer` passes down.
    #[must_use]
    pub const fn error(layer: u32) -> u32 {
        16u32.wrapping_mul(layer.wrapping_add(1)).wrapping_add(8)
    }

    /// What layer `layer` keeps of its input: dropout's mask.
    #[must_use]
    pub const fn mask(layer: u32) -> u32 {
        16u32.wrapping_mul(layer.wrapping_add(1)).wrapping_add(12)
    }
}

/// A bijection of `u32` that spreads each input bit over all output bits.
#[must_use]
#[inline(always)]
pub const fn mix32(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(MIX[0]);
    let x = (x ^ (x >> 15)).wrapping_mul(MIX[1]);
    x ^ (x >> 16)
}

/// The random words of one tensor at one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    key: u32,
}

impl Words {
    /// The words of (`seed`, `stream`, `step`).
    #[must_use]
    pub const fn new(seed: u32, stream: u32, step: u32) -> Self {
        let key = mix32(seed.wrapping_add(stream.wrapping_mul(GOLDEN)));
        Self {
            key: mix32(key.wrapping_add(step.wrapping_mul(0x85EB_CA6B))),
        }
    }

    /// The word of the element with row-major index `element`.
    #[must_use]
    #[inline(always)]
    pub const fn word(self, element: u32) -> u32 {
        mix32(self.key.wrapping_add(element.wrapping_mul(GOLDEN)))
    }

    /// The key that [`Words::word`] mixes the index into.
    #[must_use]
    pub const fn key(self) -> u32 {
        self.key
    }
}

/// Fills `order` with the permutation of `0..order.len()` in which epoch `epoch` visits the samples
/// (Fisher-Yates, from the last element down).
///
/// # Errors
/// [`Error::Overflow`] for more than 65,536 samples.
///
/// # Example
/// ```
/// let mut order = [0u16; 5];
/// selvedge_kernels::rng::shuffle(1, 0, &mut order)?;
/// let mut sorted = order;
/// sorted.sort();
/// assert_eq!(sorted, [0, 1, 2, 3, 4]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
pub fn shuffle(seed: u32, epoch: u32, order: &mut [u16]) -> Result<()> {
    if order.len() > 1 << 16 {
        return Err(Error::Overflow {
            arg: Arg::Order,
            got: Some(order.len()),
        });
    }
    for (place, sample) in order.iter_mut().zip(0u32..) {
        *place = sample as u16; // at most 65,535, by the check above
    }
    let words = Words::new(seed, stream::SHUFFLE, epoch);
    for i in (1..order.len()).rev() {
        let element = i as u32;
        let j = ((words.word(element) >> 16) * (element + 1)) >> 16; // at most i
        // `get_mut` twice instead of `swap`: no panic path for an index that cannot be out of range.
        let (Some(&at_i), Some(&at_j)) = (order.get(i), order.get(j as usize)) else {
            continue;
        };
        if let Some(place) = order.get_mut(i) {
            *place = at_j;
        }
        if let Some(place) = order.get_mut(j as usize) {
            *place = at_i;
        }
    }
    Ok(())
}
