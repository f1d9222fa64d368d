//! Rotary position embedding: pairs of features are turned by an angle that grows with the position, so that the
//! product of a query and a key depends on their distance only.
//!
//! ```
//! use selvedge_kernels::rope::{self, Pairs, Rotation, Scaling, Shape};
//! use selvedge_kernels::{exec::Serial, requantize::Store};
//!
//! // One pair, which turns by one radian a step.
//! let mut frequencies = [0u32; 1];
//! rope::frequencies(rope::BASE, Scaling::None, &mut frequencies)?;
//! let rotation = Rotation { frequencies: &frequencies, pairs: Pairs::Halves, offset: 0 };
//! let shape = Shape { batch: 1, steps: 2, heads: 1, size: 2 };
//! let mut out = [0.0f32; 4];
//! rope::forward(&Serial, shape, rotation, &[1.0, 0.0, 1.0, 0.0], Store::EXACT, &mut out)?;
//! assert!((out[2] - 1.0f32.cos()).abs() < 1e-6 && (out[3] - 1.0f32.sin()).abs() < 1e-6);
//! # Ok::<(), selvedge_kernels::Error>(())
//! ```
//!
//! Angles are integers in every type: 2^32 are a turn, and a position times a frequency wraps as angles do. So no
//! target needs a power or a logarithm, and all agree.
//!
//! Source: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding"; linear scaling: Chen et
//! al. 2023, "Extending Context Window of Large Language Models via Positional Interpolation"; the scaling of
//! Llama 3.1: its published configuration (`rope_type` "llama3"); integers: `docs/numerics.md` §26.

use crate::arch::{self, Isa, Kernel};
use crate::element::{Blank, Element};
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude, div_rem, isqrt_u128};
use crate::lut;
use crate::requantize::{BLOCK, Store};
use crate::split::{rows_of, rows_of_mut};
use half::{bf16, f16};

/// The usual base of the frequencies.
pub const BASE: u32 = 10_000;

/// What becomes of frequencies in a context longer than that of the training. Factors are in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scaling {
    /// They stay.
    #[default]
    None,
    /// All are divided by a factor of at least 1,000 thousandths.
    Linear {
        /// How many times longer the context is.
        factor: u32,
    },
    /// Those that turn less than `low` times in the old context are divided by `factor`, those that turn more than
    /// `high` times stay, between them lies a mean of both.
    Llama3 {
        /// At least 1,000 thousandths; 8,000 for Llama 3.1.
        factor: u32,
        /// Turns, 1,000 thousandths for Llama 3.1.
        low: u32,
        /// More turns than `low`, 4,000 thousandths for Llama 3.1.
        high: u32,
        /// Positions of the old context, 8,192 for Llama 3.1: at most 2^20.
        context: u32,
    },
}

impl Scaling {
    const fn check(self) -> Result<()> {
        let expected = match self {
            Self::Linear { factor } | Self::Llama3 { factor, .. } if factor < 1000 => {
                "a factor of 1 or more"
            }
            Self::Llama3 { low, high, .. } if low >= high => "low below high",
            Self::Llama3 { context, .. } if context > 1 << 20 => "a context of at most 2^20",
            _ => return Ok(()),
        };
        Err(Error::Value {
            arg: Arg::Scale,
            expected,
            got: None,
        })
    }

    /// Turns a position, in Q64.
    const fn apply(self, turns: u64) -> u64 {
        match self {
            Self::None => turns,
            Self::Linear { factor } => divided(turns, factor),
            Self::Llama3 {
                factor,
                low,
                high,
                context,
            } => {
                // Turns in the old context: thousandths, in Q32.
                let all = ((turns as u128 * context as u128 * 1000) >> 32) as u64;
                let above = all.saturating_sub((low as u64) << 32);
                let (share, _) = div_rem(above, high.saturating_sub(low) as u64);
                let share = if share > ONE { ONE } else { share } as u128;
                let kept = (turns as u128 * share) >> 32;
                let rest = (turns as u128 * (ONE as u128 - share)) >> 32;
                kept as u64 + divided(rest as u64, factor) // at most `turns`
            }
        }
    }
}

/// A share of all, in Q32.
const ONE: u64 = 1 << 32;

/// `turns` over a factor of at least 1,000 thousandths.
const fn divided(turns: u64, factor: u32) -> u64 {
    let (quotient, rest) = div_rem(turns, factor as u64);
    let (part, _) = div_rem(rest * 1000, factor as u64);
    quotient * 1000 + part
}

/// Places of logarithms.
const LOG_PLACES: u32 = 48;
/// `1 / 2π` in Q64.
const RADIAN: u64 = 0x28BE_60DB_9391_054A;

/// `2^(-2^-k)` in Q62, from `k` = 1 on.
const ROOTS: [u64; LOG_PLACES as usize] = {
    let mut roots = [0; LOG_PLACES as usize];
    let (mut root, mut k) = (1u64 << 61, 0);
    while k < roots.len() {
        root = isqrt_u128((root as u128) << 62) as u64;
        roots[k] = root;
        k += 1;
    }
    roots
};

/// `log2(n)` with [`LOG_PLACES`] places, of a number from 1 on: bit by bit, by squaring.
const fn log2(n: u32) -> u64 {
    let whole = 31 - (n | 1).leading_zeros();
    let mut log = whole as u64;
    let mut rest = (n as u64) << (62 - whole); // 1 to 2 in Q62
    let mut place = 0;
    while place < LOG_PLACES {
        rest = ((rest as u128 * rest as u128) >> 62) as u64;
        log <<= 1;
        if rest >> 63 == 1 {
            rest >>= 1;
            log |= 1;
        }
        place += 1;
    }
    log
}

/// `2^-x` in Q62 of `x` with [`LOG_PLACES`] places: a product of roots.
const fn exp2_neg(x: u64) -> u64 {
    let mut product = 1u64 << 62;
    let (mut roots, mut place) = (ROOTS.as_slice(), LOG_PLACES);
    while let [root, rest @ ..] = roots {
        (roots, place) = (rest, place.saturating_sub(1));
        if x >> place & 1 == 1 {
            product = ((product as u128 * *root as u128) >> 62) as u64;
        }
    }
    let whole = x >> LOG_PLACES;
    product >> if whole > 63 { 63 } else { whole }
}

/// Turns a position in Q32 of pair `pair` of `pairs`: an element of [`frequencies`], also where the program is compiled.
///
/// # Errors
/// As [`frequencies`].
pub const fn frequency(base: u32, scaling: Scaling, pair: usize, pairs: usize) -> Result<u32> {
    if base < 2 {
        return Err(Error::Value {
            arg: Arg::Base,
            expected: "2 or more",
            got: None,
        });
    }
    if pairs == 0 {
        return Err(Error::Zero { arg: Arg::Shape });
    }
    if let Err(error) = scaling.check() {
        return Err(error);
    }
    let (quotient, rest) = div_rem(log2(base), pairs as u64);
    let (part, _) = div_rem(rest * pair as u64, pairs as u64);
    let power = exp2_neg(quotient * pair as u64 + part);
    let turns = ((RADIAN as u128 * power as u128) >> 62) as u64;
    let turns = scaling.apply(turns);
    Ok(((turns + (1 << 31)) >> 32) as u32)
}

/// Fills `out`, which has an element for each pair of features, with turns a position in Q32: pair `i` of `n`
/// turns by `base^(-i/n)` radians, scaled.
///
/// Within half a unit of 2^-32 turns and 2^-15 of one of the true value, so that position 131,072 is off by less
/// than 2^-15 of a turn. Done once, with integers, by shifts and products of 64 bits.
///
/// # Errors
/// [`Error::Zero`] for no pairs, [`Error::Value`] for a base below 2 or a scaling out of its range; `out` is then
/// untouched.
///
/// Source: Su et al. 2021, §3.2.2; the fixed-point rule is `docs/numerics.md` §26.
pub fn frequencies(base: u32, scaling: Scaling, out: &mut [u32]) -> Result<()> {
    // A base and a scaling that the first pair takes are right for all.
    let pairs = out.len();
    frequency(base, scaling, 0, pairs)?;
    for (pair, out) in out.iter_mut().enumerate() {
        *out = frequency(base, scaling, pair, pairs)?;
    }
    Ok(())
}

/// The extents of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Samples, `B`.
    pub batch: usize,
    /// Positions of a sample, `T`.
    pub steps: usize,
    /// Heads, `H`.
    pub heads: usize,
    /// Features of a head, `D`: an even number.
    pub size: usize,
}

/// Which features are a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pairs {
    /// Feature `i` of the first half of a head and `i` of the second.
    #[default]
    Halves,
    /// Neighbours.
    Interleaved,
}

/// How far features are turned.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    /// `[D / 2]`: turns a position in Q32, as [`frequencies`] gives them.
    pub frequencies: &'a [u32],
    /// Which features are a pair.
    pub pairs: Pairs,
    /// Position of the first step; those beyond 2^32 wrap.
    pub offset: usize,
}

/// The accumulators' exponent less that of the input: -15 for integers, 0 for floats.
#[must_use]
pub const fn accumulator_places<T: Element>() -> i32 {
    if T::MAGNITUDE_BITS == 0 { 0 } else { -15 }
}

/// Turns pairs forward: `out = store(x[0]·cos - x[1]·sin, x[0]·sin + x[1]·cos)` of each pair at each position
/// `offset + t`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[B, T, H, D]` | queries or keys |
/// | `out` | `[B, T, H, D]` | overwritten, or untouched by [`Store::Measure`] |
///
/// Returns the bit length of the largest accumulator (0 for floats), whose exponent is that of `x` plus
/// [`accumulator_places`]. Integers: sine and cosine in Q15, within 1.2 units, so that the length of a pair is
/// kept within 2^-13.2 of itself before it is rounded. Floats: sine and cosine of `libm`, three roundings. NaN
/// stays in its pair.
///
/// # Errors
/// [`Error::Length`], [`Error::Zero`], [`Error::Overflow`]; [`Error::Value`] for an odd number of features. `out` is
/// then untouched.
///
/// Source: Su et al. 2021, §3.4.2; integers: `docs/numerics.md` §26.
pub fn forward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    rotation: Rotation<'_>,
    x: &[T],
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    rotate(
        exec,
        shape,
        rotation,
        false,
        (Arg::X, x),
        store,
        (Arg::Out, out),
    )
}

/// The gradient of [`forward`]: turns `dy` by the opposite angles.
///
/// | argument | shape |
/// |---|---|
/// | `dy` | `[B, T, H, D]` |
/// | `dx` | `[B, T, H, D]`, overwritten |
///
/// Returns what [`forward`] does.
///
/// # Errors
/// As [`forward`].
///
/// Source: the derivative of a rotation is its inverse.
pub fn backward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    rotation: Rotation<'_>,
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    rotate(
        exec,
        shape,
        rotation,
        true,
        (Arg::Dy, dy),
        store,
        (Arg::Dx, dx),
    )
}

fn rotate<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    rotation: Rotation<'_>,
    is_back: bool,
    (x_arg, x): (Arg, &[T]),
    store: Store,
    (out_arg, out): (Arg, &mut [T]),
) -> Result<u32> {
    let Shape {
        batch,
        steps,
        heads,
        size,
    } = shape;
    let extents = [batch, steps, heads, size];
    Arg::Shape.product(&extents)?;
    if !size.is_multiple_of(2) {
        return Err(Error::Value {
            arg: Arg::Shape,
            expected: "an even number of features",
            got: None,
        });
    }
    Arg::Frequencies.check_len(rotation.frequencies.len(), &[size / 2])?;
    x_arg.check_len(x.len(), &extents)?;
    out_arg.check_len(out.len(), &extents)?;
    let row_len = heads * size;
    Ok(exec::rows(exec, out, row_len, |first, out| {
        T::rope(Rotate {
            shape,
            rotation,
            is_back,
            x: x.get(first * row_len..).unwrap_or_default(),
            store,
            first,
            out,
        })
    }))
}

/// A checked call, for some rows.
pub struct Rotate<'a, T> {
    shape: Shape,
    rotation: Rotation<'a>,
    is_back: bool,
    /// From the first row on.
    x: &'a [T],
    store: Store,
    /// Rows before the first.
    first: usize,
    out: &'a mut [T],
}

/// Pairs that are turned together.
const PAIRS: usize = BLOCK / 2;

impl<T: Turns> Kernel for Rotate<'_, T> {
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let Shape {
            steps, heads, size, ..
        } = self.shape;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let row_len = heads * size;
        let rows = rows_of(self.x, row_len).zip(rows_of_mut(self.out, row_len));
        for (row, (x, out)) in (self.first..).zip(rows) {
            let step = row.checked_rem(steps).unwrap_or(0);
            let position = self.rotation.offset.wrapping_add(step) as u32;
            let mut first = 0;
            for frequencies in self.rotation.frequencies.chunks(PAIRS) {
                let mut turns = [T::Turn::BLANK; PAIRS];
                for (turn, &frequency) in turns.iter_mut().zip(frequencies) {
                    let angle = position.wrapping_mul(frequency);
                    *turn = T::turn(if self.is_back {
                        angle.wrapping_neg()
                    } else {
                        angle
                    });
                }
                let heads = rows_of(x, size).zip(rows_of_mut(out, size));
                for (head, (x, out)) in heads.enumerate() {
                    let element = (row * row_len + head * size) as u32;
                    let block = Pair {
                        pairs: self.rotation.pairs,
                        first,
                        count: frequencies.len(),
                    };
                    block.turn(isa, &turns, x, (self.store, element, &mut range), out);
                }
                first += frequencies.len();
            }
        }
        range.bits()
    }
}

/// Some pairs of a head.
struct Pair {
    pairs: Pairs,
    first: usize,
    /// At most [`PAIRS`].
    count: usize,
}

impl Pair {
    /// Turns them; `element` is the index of the head's first feature.
    #[inline(always)]
    fn turn<T: Turns, I: Isa>(
        &self,
        isa: I,
        turns: &[T::Turn; PAIRS],
        x: &[T],
        (store, element, range): (Store, u32, &mut <T::Acc as Accumulator>::Magnitude),
        out: &mut [T],
    ) {
        let Self {
            pairs,
            first,
            count,
        } = *self;
        let at = |start: usize| element.wrapping_add(start as u32);
        match pairs {
            Pairs::Halves => {
                let second = first + x.len() / 2;
                let low = x.get(first..first + count).unwrap_or_default();
                let high = x.get(second..second + count).unwrap_or_default();
                let mut acc = [[[T::Acc::default(); BLOCK]]; 2];
                let [[lows], [highs]] = &mut acc;
                let pairs = low.iter().zip(high).zip(turns);
                for ((to_low, to_high), ((&a, &b), &turn)) in lows.iter_mut().zip(highs).zip(pairs)
                {
                    [*to_low, *to_high] = T::turned([a, b], turn);
                }
                for (acc, start) in acc.iter_mut().zip([first, second]) {
                    let out = out.get_mut(start..start + count).unwrap_or_default();
                    store.block_by(isa, acc, at(start), range, out);
                }
            }
            Pairs::Interleaved => {
                let (start, len) = (2 * first, 2 * count);
                let x = x.get(start..start + len).unwrap_or_default();
                let mut acc = [[T::Acc::default(); BLOCK]];
                let to = acc.as_flattened_mut().as_chunks_mut::<2>().0;
                for ((to, x), &turn) in to.iter_mut().zip(x.as_chunks().0).zip(turns) {
                    *to = T::turned(*x, turn);
                }
                let out = out.get_mut(start..start + len).unwrap_or_default();
                store.block_by(isa, &mut acc, at(start), range, out);
            }
        }
    }
}

/// Sines and cosines of one element type.
pub(crate) trait Turns: Element {
    /// Cosine and sine.
    type Turn: Blank;

    /// Those of an angle in 2^-32 turns.
    fn turn(angle: u32) -> Self::Turn;

    /// A pair, turned.
    fn turned(pair: [Self; 2], turn: Self::Turn) -> [Self::Acc; 2];
}

/// The kernels of this family for one element type.
pub trait Kernels: Sized {
    #[doc(hidden)]
    fn rope(call: Rotate<'_, Self>) -> u32;
}

macro_rules! impl_kernels {
    ($($t:ident: turn $turn:ident, |$angle:ident| $sines:expr, wide $wide:ident;)*) => {$(
        impl Turns for $t {
            type Turn = Turn<$turn>;

            #[inline(always)]
            fn turn($angle: u32) -> Turn<$turn> {
                $sines
            }

            #[inline(always)]
            fn turned([a, b]: [Self; 2], Turn { cos, sin }: Turn<$turn>) -> [Self::Acc; 2] {
                let (a, b) = (a.widen(), b.widen());
                let (cos, sin) = ($wide::from(cos), $wide::from(sin));
                let product = <$t as Element>::mul;
                [
                    product(a, cos) - product(b, sin),
                    product(a, sin) + product(b, cos),
                ]
            }
        }

        impl Kernels for $t {
            #[inline(never)]
            fn rope(call: Rotate<'_, Self>) -> u32 {
                arch::dispatch(call)
            }
        }
    )*};
}

/// The cosine and the sine of an angle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn<N> {
    cos: N,
    sin: N,
}

impl<N: Blank> Blank for Turn<N> {
    const BLANK: Self = Self {
        cos: N::BLANK,
        sin: N::BLANK,
    };
}

/// In Q15.
#[inline(always)]
fn table(angle: u32) -> Turn<i32> {
    Turn {
        cos: lut::cosine(angle),
        sin: lut::sine(angle),
    }
}

/// Radians of 2^-32 turns.
const UNIT: f64 = core::f64::consts::TAU / 4_294_967_296.0;

#[inline(always)]
fn double(angle: u32) -> Turn<f64> {
    let radians = f64::from(angle as i32) * UNIT;
    Turn {
        cos: libm::cos(radians),
        sin: libm::sin(radians),
    }
}

#[inline(always)]
fn single(angle: u32) -> Turn<f32> {
    let radians = (f64::from(angle as i32) * UNIT) as f32;
    Turn {
        cos: libm::cosf(radians),
        sin: libm::sinf(radians),
    }
}

// 53 + 15 bits and one more fit the accumulator of 128, 24 + 15 and 15 + 15 that of 64, 7 + 15 that of 32.
impl_kernels! {
    i8: turn i32, |angle| table(angle), wide i32; u8: turn i32, |angle| table(angle), wide i32;
    i16: turn i32, |angle| table(angle), wide i32; u16: turn i32, |angle| table(angle), wide i32;
    i32: turn i32, |angle| table(angle), wide i32; u32: turn i32, |angle| table(angle), wide i32;
    i64: turn i32, |angle| table(angle), wide i64; u64: turn i32, |angle| table(angle), wide i64;
    f16: turn f32, |angle| single(angle), wide f32; bf16: turn f32, |angle| single(angle), wide f32;
    f32: turn f32, |angle| single(angle), wide f32; f64: turn f64, |angle| double(angle), wide f64;
}
