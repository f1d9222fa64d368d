//! The twelve element types, and what a kernel needs to know of each.

use crate::arch::Isa;
use crate::arch::block::Blocks;
use crate::arch::cells::Cells;
use crate::arch::narrow::Narrow;
use crate::arch::panel::Panels;
use crate::arch::patch::Patched;
use crate::arch::tile::{Operand, Segments, Tile};
use crate::fixed::{Accumulator, sat_i64};
use crate::optim::Learn;
use crate::{
    activation, attention, batch_norm, cluster, conv, convert, dense, dropout, elementwise,
    experts, fixed, init, layout, long, loss, norm, pool, recurrent, reduce, resize, rope, sample,
    scale, select, softmax,
};
use core::fmt::{self, Debug};
use half::{bf16, f16};

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the variants are their own names
pub enum DType {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F16,
    Bf16,
    F32,
    F64,
}

impl DType {
    /// All of them, integers first.
    pub const ALL: [Self; 12] = [
        Self::I8,
        Self::U8,
        Self::I16,
        Self::U16,
        Self::I32,
        Self::U32,
        Self::I64,
        Self::U64,
        Self::F16,
        Self::Bf16,
        Self::F32,
        Self::F64,
    ];

    /// The name in Rust, C, JSON and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::I16 => "i16",
            Self::U16 => "u16",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I64 => "i64",
            Self::U64 => "u64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// The type of this name, if there is one.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::DType;
    /// assert_eq!(DType::from_name("bf16"), Some(DType::Bf16));
    /// assert_eq!(DType::from_name("int4"), None);
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// Whether tensors of this type share an exponent and are computed with integers only.
    #[must_use]
    pub const fn is_integer(self) -> bool {
        !matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something whose bytes may all be zero: what a static holds before it is initialised, so that it
/// lies in `.bss`. For unsigned types that is not the element that stands for zero.
pub trait Blank: Copy + Send + Sync + 'static {
    /// All zero bytes.
    const BLANK: Self;
}

macro_rules! impl_blank {
    ($($t:ty = $blank:expr;)*) => {$(
        impl Blank for $t {
            const BLANK: Self = $blank;
        }
    )*};
}

impl_blank! {
    () = (); bool = false;
    i8 = 0; u8 = 0; i16 = 0; u16 = 0; i32 = 0; u32 = 0; i64 = 0; u64 = 0; i128 = 0;
    f16 = f16::ZERO; bf16 = bf16::ZERO; f32 = 0.0; f64 = 0.0;
}

/// Says that structs of fields of one type are plain bytes where that type is: arenas hold them.
macro_rules! impl_pod {
    ($($name:ident)*) => {$(
        #[allow(unsafe_code)]
        // SAFETY: all bytes of each field may be zero.
        unsafe impl<R: bytemuck::Zeroable> bytemuck::Zeroable for $name<R> {}
        #[allow(unsafe_code)]
        // SAFETY: `repr(C)`, and all fields are of type `R`, which is plain: there is no padding between or behind them.
        unsafe impl<R: bytemuck::Pod> bytemuck::Pod for $name<R> {}
    )*};
}
pub(crate) use impl_pod;

/// An element of a tensor: one of the twelve types of [`DType`].
///
/// An integer element stands for `(q - z) · 2^e` with one exponent `e` per tensor and `z` = 0 for
/// signed types, the middle of the range for unsigned ones (offset binary: the unsigned byte is the
/// signed one XOR `0x80`). `q - z` has [`Element::MAGNITUDE_BITS`] bits and a sign. A float element
/// stands for itself. Kernels store no integer of more magnitude bits, and take none: with one, results are
/// still the same everywhere, but sums may leave an accumulator and wrap (or panic, where overflow is checked).
/// Source: `docs/numerics.md` §1.
pub trait Element:
    Blank
    + bytemuck::Pod
    + Debug
    + PartialEq
    + Learn
    + Output<Self>
    + activation::Kernels
    + dense::Kernels
    + conv::Kernels
    + convert::Kernels
    + pool::Kernels
    + loss::Kernels
    + softmax::Kernels
    + norm::Kernels
    + attention::Kernels
    + rope::Kernels
    + batch_norm::Kernels
    + cluster::Kernels
    + recurrent::Kernels
    + dropout::Kernels
    + init::Uniform
    + long::Long
    + elementwise::Kernels
    + experts::Kernels
    + reduce::Kernels
    + select::Kernels
    + layout::Kernels
    + resize::Kernels
    + sample::Kernels
    + Blocks
    + Cells
    + Panels
    + Patched
    + private::Sealed
{
    /// Which type it is.
    const DTYPE: DType;
    /// The element that stands for zero.
    const ZERO: Self;
    /// Bits of the largest magnitude, `M` in `docs/numerics.md`; 0 for floats.
    const MAGNITUDE_BITS: u32;
    /// Exponent at which an 8-bit pixel `p` stands for `p / 256`; 0 for floats.
    const PIXEL_EXPONENT: i32;
    /// Most products that [`Element::Acc`] sums exactly in a forward pass or an input gradient.
    const MAX_PRODUCTS: usize;
    /// Most products that it sums exactly in a weight gradient.
    const MAX_GRADIENT_PRODUCTS: usize;
    /// Exponent of the gradient of cross-entropy before it is stored: Q15 for integers. -10 for
    /// `f16`, whose smallest number is 2^-24 (loss scaling, Micikevicius et al. 2018); 0 for the
    /// other floats.
    const LOSS_EXPONENT: i32;

    /// What a product is computed from: an integer of register width, or a float that holds the
    /// element exactly.
    type Wide: Copy + Default + PartialOrd;
    /// What products are summed in.
    type Acc: Accumulator + Into<Self::Update>;
    /// A sum of products under way: one accumulator for integers, eight partial sums for floats.
    type Sums: Copy + Default;
    /// The type of biases: signed, of the master's precision.
    type Bias: Element<Update = Self::Update>;
    /// The type of the network's last output: at least 16 bits.
    type Head: Element<Number = Self::Number> + Output<Self>;
    /// The low byte of a weight's master, or nothing.
    type Residual: Residual;
    /// The exponent of an activation or error as state; nothing for floats.
    type Scale: scale::Scale;

    /// The element as a factor, without the offset of unsigned types.
    fn widen(self) -> Self::Wide;
    /// Eight elements as factors.
    fn widen8<I: Isa>(isa: I, x: &[Self; 8]) -> [Self::Wide; 8];
    /// A product.
    fn mul(a: Self::Wide, b: Self::Wide) -> Self::Acc;
    /// An element as an accumulator of the same exponent.
    fn to_acc(self) -> Self::Acc;
    /// A bias in units of the accumulator: `bias / 2^shift` to nearest even, saturated so that the
    /// sum with any allowed number of products stays in range.
    fn bias(bias: Self::Bias, shift: i32) -> Self::Acc;
    /// Adds the products of two slices of equal length to `sums`. Floats: the product of elements
    /// `i` goes to partial sum `i % 8`, on every target.
    fn add_products<I: Isa>(isa: I, sums: &mut Self::Sums, a: &[Self], b: &[Self]);
    /// The sum of the partial sums. Floats: combined in pairs, 4 apart, 2 apart, 1 apart.
    fn total(sums: Self::Sums) -> Self::Acc;
    /// The sum of products of two slices of equal length.
    #[inline(always)]
    fn dot<I: Isa>(isa: I, a: &[Self], b: &[Self]) -> Self::Acc {
        let mut sums = Self::Sums::default();
        Self::add_products(isa, &mut sums, a, b);
        Self::total(sums)
    }
    /// The sums of products of each row of `x` with each row of `weight`, as many as those have;
    /// segments of a reduction are added one after the other, as by
    /// [`Element::add_products`]. Zeros where the segments do not fit the operands.
    fn tile<I: Isa>(
        isa: I,
        x: Operand<'_, Self>,
        weight: Operand<'_, Self>,
        segments: &Segments,
        tile: &mut Tile<Self::Acc>,
    );
    /// A pixel of 0 to 255 as `pixel / 256` at exponent [`Element::PIXEL_EXPONENT`]; the 8-bit
    /// types drop the lowest bit.
    fn from_pixel(pixel: u8) -> Self;
    /// A logit in 16 bits for the integer softmax: its value, and by how much the exponent rises.
    /// 0 for floats, which have a softmax of their own.
    fn logit(self) -> (i32, i32);
    /// The value, for floats and for display: `q - z` of integers, without the exponent.
    fn to_f64(self) -> f64;
    /// The nearest float (in 16 bits, that nearest to the value in `f32`); for integers the nearest
    /// number in range, ties to even.
    fn from_f64(value: f64) -> Self;
    /// Hands the little-endian bytes of the element, as it is stored, to `sink`.
    fn le_bytes(self, sink: impl FnMut(&[u8]));
    /// The element of these little-endian bytes; `None` unless there are as many as it has.
    ///
    /// ```
    /// use selvedge_kernels::Element;
    /// assert_eq!(u16::from_le_bytes_of(&[0x34, 0x12]), Some(0x1234));
    /// assert_eq!(u16::from_le_bytes_of(&[0x34]), None);
    /// ```
    fn from_le_bytes_of(bytes: &[u8]) -> Option<Self>;
}

/// An element in which a kernel of type `T` can store an accumulator: `T` itself, or `T::Head`.
pub trait Output<T: Element>:
    Copy + Send + Sync + activation::Stored<T> + dense::Stored<T> + conv::Stored<T> + Narrow<T>
{
    /// The element nearest to `acc`, which has the exponent of the output already; integers
    /// saturate at their magnitude bits.
    fn store(acc: T::Acc) -> Self;
}

/// The low byte of a weight's master, or nothing where a type keeps no residual.
pub trait Residual: Blank + private::Sealed {
    /// The residuals as bytes; empty where there are none.
    fn bytes(residuals: &[Self]) -> &[i8];

    /// The same, to be changed.
    fn bytes_mut(residuals: &mut [Self]) -> &mut [i8];
}

impl Residual for i8 {
    fn bytes(residuals: &[Self]) -> &[i8] {
        residuals
    }

    fn bytes_mut(residuals: &mut [Self]) -> &mut [i8] {
        residuals
    }
}

impl Residual for () {
    fn bytes(_: &[Self]) -> &[i8] {
        &[]
    }

    fn bytes_mut(_: &mut [Self]) -> &mut [i8] {
        &mut []
    }
}

mod private {
    pub trait Sealed {}
    impl Sealed for () {}
}

/// Implements an integer type. `$flip` is the offset of unsigned storage, 0 for signed.
macro_rules! impl_integer {
    ($($t:ident: $dtype:ident, signed $signed:ident, flip $flip:expr, magnitude $m:expr, wide $wide:ident, acc $acc:ident,
       product |$a:ident, $b:ident| $product:expr, bias $bias:ident $shift_bias:ident $sat_bias:ident $bias_cap:expr,
       head $head:ident, residual $residual:ty, products $products:expr, gradient $gradient:expr, dot $dot:ident, tile $tile:ident;)*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            const ZERO: Self = $flip;
            const MAGNITUDE_BITS: u32 = $m;
            const PIXEL_EXPONENT: i32 = -$m;
            const MAX_PRODUCTS: usize = $products;
            const MAX_GRADIENT_PRODUCTS: usize = $gradient;
            const LOSS_EXPONENT: i32 = -15;

            type Wide = $wide;
            type Acc = $acc;
            type Sums = $acc;
            type Bias = $bias;
            type Head = $head;
            type Residual = $residual;
            type Scale = scale::Exponent;

            #[inline(always)]
            fn widen(self) -> $wide {
                $wide::from((self ^ $flip) as $signed)
            }

            #[inline(always)]
            fn widen8<I: Isa>(_: I, x: &[Self; 8]) -> [$wide; 8] {
                x.map(Self::widen)
            }

            #[inline(always)]
            fn mul($a: $wide, $b: $wide) -> $acc {
                $product
            }

            #[inline(always)]
            fn to_acc(self) -> $acc {
                $acc::from(self.widen())
            }

            #[inline(always)]
            fn bias(bias: $bias, shift: i32) -> $acc {
                fixed::$sat_bias(fixed::$shift_bias($acc::from(bias), shift), $bias_cap)
            }

            #[inline(always)]
            fn add_products<I: Isa>(isa: I, sums: &mut $acc, a: &[Self], b: &[Self]) {
                *sums += isa.$dot(a, b);
            }

            #[inline(always)]
            fn total(sums: $acc) -> $acc {
                sums
            }

            #[inline(always)]
            fn tile<I: Isa>(
                isa: I,
                x: Operand<'_, Self>,
                weight: Operand<'_, Self>,
                segments: &Segments,
                tile: &mut Tile<$acc>,
            ) {
                isa.$tile(x, weight, segments, tile);
            }

            #[inline(always)]
            fn from_pixel(pixel: u8) -> Self {
                let q = ((i64::from(pixel) << $m) >> 8) as $signed; // below 2^M
                q as $t ^ $flip
            }

            #[inline(always)]
            fn logit(self) -> (i32, i32) {
                // 15 bits, a sign and what rounds up: the wider types lose what softmax cannot see.
                const DROP: i32 = if $m > 15 { $m - 15 } else { 0 };
                (fixed::shift_rne_i64(i64::from(self.widen()), DROP).clamp(-32_768, 32_768) as i32, DROP)
            }

            fn to_f64(self) -> f64 {
                self.widen() as f64
            }

            fn from_f64(value: f64) -> Self {
                let q = sat_i64(libm::rint(value) as i64, $m) as $signed; // casts saturate, NaN is 0
                q as $t ^ $flip
            }

            #[inline(always)]
            fn le_bytes(self, mut sink: impl FnMut(&[u8])) {
                sink(&self.to_le_bytes());
            }

            #[inline(always)]
            fn from_le_bytes_of(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_le_bytes)
            }
        }

        impl private::Sealed for $t {}
    )*};
}

/// Lets type `$t` store accumulators of the types `$from`.
macro_rules! impl_integer_output {
    ($($t:ident as $signed:ident, flip $flip:expr, magnitude $m:expr, $sat:ident: $($from:ident)*;)*) => {$($(
        impl Output<$from> for $t {
            #[inline(always)]
            fn store(acc: <$from as Element>::Acc) -> Self {
                fixed::$sat(acc, $m) as $signed as $t ^ $flip
            }
        }
    )*)*};
}

macro_rules! impl_float {
    ($($t:ident: $dtype:ident, wide $wide:ident, acc $acc:ident, loss $loss:expr, dot $dot:ident, tile $tile:ident,
       zero $zero:expr, |$x:ident| widen $widen:expr, |$isa:ident, $x8:ident| widen8 $widen8:expr, |$y:ident| narrow $narrow:expr;)*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            const ZERO: Self = $zero;
            const MAGNITUDE_BITS: u32 = 0;
            const PIXEL_EXPONENT: i32 = 0;
            const MAX_PRODUCTS: usize = usize::MAX;
            const MAX_GRADIENT_PRODUCTS: usize = usize::MAX;
            const LOSS_EXPONENT: i32 = $loss;

            type Wide = $wide;
            type Acc = $acc;
            type Sums = [$acc; 8];
            type Bias = $t;
            type Head = $t;
            type Residual = ();
            type Scale = scale::Unscaled;

            #[inline(always)]
            fn widen(self) -> $wide {
                let $x = self;
                $widen
            }

            #[inline(always)]
            fn widen8<I: Isa>($isa: I, $x8: &[Self; 8]) -> [$wide; 8] {
                $widen8
            }

            #[inline(always)]
            fn mul(a: $wide, b: $wide) -> $acc {
                a * b
            }

            #[inline(always)]
            fn to_acc(self) -> $acc {
                self.widen()
            }

            #[inline(always)]
            fn bias(bias: $t, _: i32) -> $acc {
                bias.widen()
            }

            #[inline(always)]
            fn add_products<I: Isa>(isa: I, sums: &mut [$acc; 8], a: &[Self], b: &[Self]) {
                isa.$dot(sums, a, b);
            }

            #[inline(always)]
            fn total(sums: [$acc; 8]) -> $acc {
                let [s0, s1, s2, s3, s4, s5, s6, s7] = sums;
                ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
            }

            #[inline(always)]
            fn tile<I: Isa>(
                isa: I,
                x: Operand<'_, Self>,
                weight: Operand<'_, Self>,
                segments: &Segments,
                tile: &mut Tile<$acc>,
            ) {
                isa.$tile(x, weight, segments, tile);
            }

            #[inline(always)]
            fn from_pixel(pixel: u8) -> Self {
                <$t as Output<$t>>::store($acc::from(pixel) / 256.0)
            }

            #[inline(always)]
            fn logit(self) -> (i32, i32) {
                (0, 0)
            }

            fn to_f64(self) -> f64 {
                f64::from(self.widen())
            }

            fn from_f64(value: f64) -> Self {
                <$t as Output<$t>>::store(value as $acc)
            }

            #[inline(always)]
            fn le_bytes(self, mut sink: impl FnMut(&[u8])) {
                sink(&self.to_le_bytes());
            }

            #[inline(always)]
            fn from_le_bytes_of(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_le_bytes)
            }
        }

        impl Output<$t> for $t {
            #[inline(always)]
            fn store($y: $acc) -> Self {
                $narrow
            }
        }

        impl private::Sealed for $t {}
    )*};
}

// Limits on products: 2^14 · 2^16 = 2^30 for 8 bits beside a bias below 2^30; the gradient has no
// bias and errors of 7 bits, so twice as many. An update multiplies a gradient by up to 8 bits: 2^25 · 2^30
// · 2^8 is what i64 holds of 16 bits. i32 has 24 magnitude bits and sums 2^14 products of
// 48 bits below 2^62, i64 has 53 and sums 2^14 products of 106 bits below 2^120.
impl_integer! {
    i8: I8, signed i8, flip 0, magnitude 7, wide i32, acc i32, product |a, b| a * b,
        bias i16 shift_rne_i32 sat_i32 30, head i16, residual i8, products 1 << 16, gradient 1 << 17, dot dot_i8, tile tile_i8;
    u8: U8, signed i8, flip 0x80, magnitude 7, wide i32, acc i32, product |a, b| a * b,
        bias i16 shift_rne_i32 sat_i32 30, head u16, residual i8, products 1 << 16, gradient 1 << 17, dot dot_u8, tile tile_u8;
    i16: I16, signed i16, flip 0, magnitude 15, wide i32, acc i64, product |a, b| i64::from(a * b),
        bias i16 shift_rne_i64 sat_i64 61, head i16, residual (), products usize::MAX, gradient 1 << 25, dot dot_i16, tile tile_i16;
    u16: U16, signed i16, flip 0x8000, magnitude 15, wide i32, acc i64, product |a, b| i64::from(a * b),
        bias i16 shift_rne_i64 sat_i64 61, head u16, residual (), products usize::MAX, gradient 1 << 25, dot dot_u16, tile tile_u16;
    i32: I32, signed i32, flip 0, magnitude 24, wide i32, acc i64, product |a, b| i64::from(a) * i64::from(b),
        bias i32 shift_rne_i64 sat_i64 61, head i32, residual (), products 1 << 14, gradient 1 << 14, dot dot_i32, tile tile_i32;
    u32: U32, signed i32, flip 0x8000_0000, magnitude 24, wide i32, acc i64, product |a, b| i64::from(a) * i64::from(b),
        bias i32 shift_rne_i64 sat_i64 61, head u32, residual (), products 1 << 14, gradient 1 << 14, dot dot_u32, tile tile_u32;
    i64: I64, signed i64, flip 0, magnitude 53, wide i64, acc i128, product |a, b| i128::from(a) * i128::from(b),
        bias i64 shift_rne_i128 sat_i128 125, head i64, residual (), products 1 << 14, gradient 1 << 14, dot dot_i64, tile tile_i64;
    u64: U64, signed i64, flip 0x8000_0000_0000_0000, magnitude 53, wide i64, acc i128, product |a, b| i128::from(a) * i128::from(b),
        bias i64 shift_rne_i128 sat_i128 125, head u64, residual (), products 1 << 14, gradient 1 << 14, dot dot_u64, tile tile_u64;
}

impl_integer_output! {
    i8 as i8, flip 0, magnitude 7, sat_i32: i8;
    u8 as i8, flip 0x80, magnitude 7, sat_i32: u8;
    i16 as i16, flip 0, magnitude 15, sat_i32: i8;
    u16 as i16, flip 0x8000, magnitude 15, sat_i32: u8;
    i16 as i16, flip 0, magnitude 15, sat_i64: i16;
    u16 as i16, flip 0x8000, magnitude 15, sat_i64: u16;
    i32 as i32, flip 0, magnitude 24, sat_i64: i32;
    u32 as i32, flip 0x8000_0000, magnitude 24, sat_i64: u32;
    i64 as i64, flip 0, magnitude 53, sat_i128: i64;
    u64 as i64, flip 0x8000_0000_0000_0000, magnitude 53, sat_i128: u64;
}

impl_float! {
    f16: F16, wide f32, acc f32, loss -10, dot add_f16, tile tile_f16, zero f16::ZERO,
        |x| widen x.to_f32(), |isa, x| widen8 isa.widen_f16(x), |y| narrow f16::from_f32(y);
    bf16: Bf16, wide f32, acc f32, loss 0, dot add_bf16, tile tile_bf16, zero bf16::ZERO,
        |x| widen f32::from_bits(u32::from(x.to_bits()) << 16), |isa, x| widen8 { let _ = isa; x.map(Self::widen) },
        |y| narrow bf16::from_f32(y);
    f32: F32, wide f32, acc f32, loss 0, dot add_f32, tile tile_f32, zero 0.0,
        |x| widen x, |isa, x| widen8 { let _ = isa; *x }, |y| narrow y;
    f64: F64, wide f64, acc f64, loss 0, dot add_f64, tile tile_f64, zero 0.0,
        |x| widen x, |isa, x| widen8 { let _ = isa; *x }, |y| narrow y;
}
