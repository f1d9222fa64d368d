//! Depthwise windows of bytes, 64 channels at a time. The cells of a column under the kernel meet in fours
//! in a lane of 32 bits, interleaved once for all windows over the column; sums are exact in any order.

use super::Isa;
use crate::element::Element;

/// Channels.
pub const WIDTH: usize = 64;
/// Groups of four cells that a window has at most: 7 by 7 has 14, as each column is filled up.
pub const QUADS: usize = 16;
/// Groups that a strip has room for.
pub const ROOM: usize = 40;
/// Windows of a strip at most.
pub const PIXELS: usize = 16;

/// What offset binary adds to a byte.
const OFFSET: i32 = 128;

/// Four cells of all channels: sixteen channels a register, four cells a lane.
pub type Quad = [[u8; WIDTH]; 4];

/// The columns under some neighbouring windows in offset binary, `q + 128`: `[columns, groups of four]`.
#[repr(align(64))]
pub struct Strip {
    pub(crate) quads: [Quad; ROOM],
}

impl Strip {
    /// Nothing in it.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self {
            quads: [[[0; WIDTH]; 4]; ROOM],
        }
    }
}

/// The windows of a strip.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Groups of four cells in a column.
    pub groups: usize,
    /// Columns of a window.
    pub kernel: usize,
    /// Columns from one of a window to its next.
    pub dilation: usize,
    /// Columns from one window to the next.
    pub stride: usize,
    /// How many.
    pub pixels: usize,
}

impl Windows {
    /// How many windows a strip has room for; 0 if none.
    #[inline(always)]
    pub(crate) fn room(&self) -> usize {
        let fits = || {
            let reach = self.kernel.checked_sub(1)?.checked_mul(self.dilation)?;
            let columns = ROOM.checked_div(self.groups)?.checked_sub(reach)?;
            let more = columns.checked_sub(1)?.checked_div(self.stride)?;
            (self.kernel.checked_mul(self.groups)? <= QUADS).then_some(more + 1)
        };
        fits().unwrap_or(0).min(PIXELS)
    }
}

/// The weights of some channels, laid out as the cells of a strip are.
#[repr(align(64))]
pub struct CellWeights {
    /// `[columns of the kernel, groups of four]`.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // no other set has cells
    pub(super) quads: [[[i8; WIDTH]; 4]; QUADS],
    /// What the offset of the cells adds: 128 times the sum of a channel's weights.
    pub(super) offsets: [i32; WIDTH],
}

impl CellWeights {
    /// All zero.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self {
            quads: [[[0; WIDTH]; 4]; QUADS],
            offsets: [0; WIDTH],
        }
    }

    /// Sets the weight that meets cell `cell` of group `quad`.
    #[inline(always)]
    pub(crate) fn set(&mut self, channel: usize, quad: usize, cell: usize, weight: i8) {
        let quad = self.quads.get_mut(quad);
        let register = quad.and_then(|quad| quad.get_mut(channel / 16));
        let byte = 4 * (channel % 16) + cell;
        if let Some(place) = register.and_then(|register| register.get_mut(byte)) {
            *place = weight;
        }
        if let Some(offset) = self.offsets.get_mut(channel) {
            *offset += OFFSET * i32::from(weight);
        }
    }
}

/// Element types whose windows some instruction set computes so.
pub trait Cells: Sized {
    /// Whether `I` does.
    #[inline(always)]
    fn has_cells<I: Isa>() -> bool {
        false
    }

    /// The element as a signed byte.
    #[inline(always)]
    fn signed(self) -> i8 {
        0
    }

    /// Interleaves four cells of up to 64 channels; what they lack is padding.
    #[inline(always)]
    fn interleave<I: Isa>(_: I, _cells: [&[Self]; 4], _padding: Self, _to: &mut Quad) {}

    /// The sum of each channel's weights.
    #[inline(always)]
    fn cell_sums(_weights: &CellWeights) -> [Self::Acc; WIDTH]
    where
        Self: Element,
    {
        [Self::Acc::default(); WIDTH]
    }

    /// The sums of the products of each window, and the biases; nothing if the strip has no room for so
    /// many.
    #[inline(always)]
    fn by_cells<I: Isa>(
        _: I,
        _strip: &Strip,
        _windows: Windows,
        _weights: &CellWeights,
        _biases: &[Self::Acc; WIDTH],
        _sums: &mut [[Self::Acc; WIDTH]; PIXELS],
    ) where
        Self: Element,
    {
    }
}

macro_rules! no_cells {
    ($($t:ty)*) => {$(impl Cells for $t {})*};
}

no_cells! { i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f32 f64 }

macro_rules! cells {
    ($($t:ty: $interleave:ident, flip $flip:literal;)*) => {$(
        impl Cells for $t {
            #[inline(always)]
            fn has_cells<I: Isa>() -> bool {
                I::HAS_CELLS
            }

            #[inline(always)]
            fn signed(self) -> i8 {
                (self ^ $flip) as i8
            }

            #[inline(always)]
            fn interleave<I: Isa>(isa: I, cells: [&[Self]; 4], padding: Self, to: &mut Quad) {
                isa.$interleave(cells, padding, to);
            }

            #[inline(always)]
            fn cell_sums(weights: &CellWeights) -> [i32; WIDTH] {
                weights.offsets.map(|offset| offset / OFFSET)
            }

            #[inline(always)]
            fn by_cells<I: Isa>(
                isa: I,
                strip: &Strip,
                windows: Windows,
                weights: &CellWeights,
                biases: &[i32; WIDTH],
                sums: &mut [[i32; WIDTH]; PIXELS],
            ) {
                isa.by_cells(strip, windows, weights, biases, sums);
            }
        }
    )*};
}

cells! { i8: interleave_i8, flip 0; u8: interleave_u8, flip 0x80; }
