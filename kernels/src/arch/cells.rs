//! Depthwise windows of bytes: the products of up to 52 cells with weights of their own for each of 64
//! channels. Four cells meet in a lane of 32 bits; the sums are exact in any order.

use super::Isa;

/// Channels.
pub const WIDTH: usize = 64;
/// Cells: a multiple of four, from 7 by 7 on.
pub const CELLS: usize = 52;

/// The weights of some channels, laid out as vectors read them.
#[repr(align(64))]
pub struct CellWeights {
    /// `[cells / 4, 4, 64]`.
    pub(super) bytes: [[[i8; WIDTH]; 4]; CELLS / 4],
    /// What the offset of the cells adds: 128 times the sum of a channel's weights.
    pub(super) offsets: [i32; WIDTH],
}

impl CellWeights {
    /// All zero.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [[[0; WIDTH]; 4]; CELLS / 4],
            offsets: [0; WIDTH],
        }
    }

    /// Where unpacking bytes, then pairs, of four cells within 128 bits takes a channel: to byte
    /// `16 · (channel / 16) + 4 · (channel % 4) + cell % 4` of register `channel / 4 % 4`.
    #[inline(always)]
    pub(crate) fn set(&mut self, channel: usize, cell: usize, weight: i8) {
        let quad = self.bytes.get_mut(cell / 4);
        let register = quad.and_then(|quad| quad.get_mut(channel / 4 % 4));
        let byte = 16 * (channel / 16) + 4 * (channel % 4) + cell % 4;
        if let Some(place) = register.and_then(|register| register.get_mut(byte)) {
            *place = weight;
        }
        if let Some(offset) = self.offsets.get_mut(channel) {
            *offset += 128 * i32::from(weight);
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

    /// The sums of products of each channel; a cell that is not as long as the others holds zeros.
    #[inline(always)]
    fn by_cells<I: Isa>(
        _: I,
        _cells: &[&[Self]],
        _weights: &CellWeights,
        _count: usize,
        _sums: &mut [Self::Acc; WIDTH],
    ) where
        Self: crate::element::Element,
    {
    }
}

macro_rules! no_cells {
    ($($t:ty)*) => {$(impl Cells for $t {})*};
}

no_cells! { i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f32 f64 }

macro_rules! cells {
    ($($t:ty: $cells:ident, flip $flip:literal;)*) => {$(
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
            fn by_cells<I: Isa>(
                isa: I,
                cells: &[&[Self]],
                weights: &CellWeights,
                count: usize,
                sums: &mut [i32; WIDTH],
            ) {
                isa.$cells(cells, weights, count, sums);
            }
        }
    )*};
}

cells! { i8: cells_i8, flip 0; u8: cells_u8, flip 0x80; }
