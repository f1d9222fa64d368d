//! Arithmetic on two tensors with broadcasting, sums of several, and functions of one; with their
//! gradients.
//!
//! Integer operands have exponents of their own. Sums and comparisons bring both to
//! [`aligned_exponent`]; products and quotients need no alignment. Each result goes through a
//! store at the exponent that [`Operation::exponent`] tells.

mod backward;
mod division;
mod sum;
mod unary;

pub use backward::{Backward, Side, backward};
use sum::AverageBackward;
pub use sum::{MAX_TERMS, Term, Terms, average, average_backward, average_places, sum};
use unary::{AbsBackward, Negate, SquareBackward};
pub use unary::{abs, abs_backward, negate, square, square_backward};

use crate::arch::{self, Isa, Kernel};
use crate::axes::{Operand, Walk};
use crate::element::Element;
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude, Rounding};
use crate::requantize::{BLOCK, Lines, Store};
use crate::select::{loses, wins};

/// What is done with two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a · b`.
    Mul,
    /// `a / b`.
    ///
    /// Integers multiply with the reciprocal `r = round(2^(n+P) / |b|)`, `n = bit_len |b|`,
    /// `P = max(15, M)`: `shift_rne(±a·r, n + P - M)`, within half a unit and 2^-(P+1) of the
    /// quotient. `±(2^M - 1) · 2^M`, the largest of all quotients, with the sign of `a` where `b` is
    /// 0; `0 / 0 = 0`.
    Div,
    /// The smaller; `a` if both are equal.
    Min,
    /// The larger; `a` if both are equal.
    Max,
}

impl Operation {
    /// The exponent of the accumulator, from those of the operands. Means nothing for floats but
    /// the sum of the loss scales.
    #[must_use]
    pub fn exponent<T: Element>(self, a: i32, b: i32) -> i32 {
        match self {
            Self::Add | Self::Sub | Self::Min | Self::Max => aligned_exponent([a, b]),
            Self::Mul => a + b,
            Self::Div => a - b - T::MAGNITUDE_BITS as i32,
        }
    }

    /// The exponent of the accumulator of a gradient, from those of the operands, of the output
    /// `y` (which only the gradient of a divisor uses) and of its error `dy`.
    #[must_use]
    pub fn gradient_exponent<T: Element>(self, side: Side, a: i32, b: i32, y: i32, dy: i32) -> i32 {
        match (self, side) {
            (Self::Add | Self::Sub | Self::Min | Self::Max, _) => dy,
            (Self::Mul, Side::A) => dy + b,
            (Self::Mul, Side::B) => dy + a,
            (Self::Div, Side::A) => dy - b - T::MAGNITUDE_BITS as i32,
            (Self::Div, Side::B) => dy + y - b,
        }
    }
}

/// The exponent at which tensors of different exponents are added: the smallest, but not more than
/// 15 below the largest. 0 for no tensors.
///
/// What is finer than that is rounded to nearest even. Source: `docs/numerics.md` §13.
#[must_use]
pub fn aligned_exponent(exponents: impl IntoIterator<Item = i32>) -> i32 {
    let mut range: Option<(i32, i32)> = None;
    for e in exponents {
        let (least, most) = range.unwrap_or((e, e));
        range = Some((least.min(e), most.max(e)));
    }
    range.map_or(0, |(least, most)| least.max(most - 15))
}

/// Two tensors element by element: `out = store(a ∘ b)`, repeated along axes of extent 1
/// ([`Extents::broadcast`](crate::axes::Extents::broadcast)).
///
/// | argument | shape | |
/// |---|---|---|
/// | `a` | up to six axes | |
/// | `b` | up to six axes | |
/// | `out` | `a` and `b` broadcast | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest accumulator (0 for floats), which has the exponent of
/// [`Operation::exponent`]. Integers are exact up to the store, but for what alignment and
/// division round. Floats compute in the accumulator's type and round once more when stored. NaN
/// propagates, out of [`Operation::Min`] and [`Operation::Max`] too; floats divide by 0 as IEEE 754.
///
/// # Errors
/// [`Error::Broadcast`](crate::Error::Broadcast) names both shapes if they do not fit each other,
/// [`Error::Length`](crate::Error::Length) if a slice does not fit its extents. `out` is then
/// untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::axes::{Extents, Operand};
/// use selvedge_kernels::elementwise::{self, Operation};
/// use selvedge_kernels::{exec::Serial, requantize::Store};
/// let column = Operand { values: &[1.0f32, 2.0], extents: Extents::new(&[2, 1])?, exponent: 0 };
/// let row = Operand { values: &[10.0, 20.0, 30.0], extents: Extents::new(&[3])?, exponent: 0 };
/// let mut out = [0.0; 6];
/// elementwise::forward(&Serial, Operation::Add, column, row, Store::EXACT, &mut out)?;
/// assert_eq!(out, [11.0, 21.0, 31.0, 12.0, 22.0, 32.0]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: the definitions; alignment is `docs/numerics.md` §13.
pub fn forward<T: Element>(
    exec: &impl Executor,
    operation: Operation,
    a: Operand<'_, T>,
    b: Operand<'_, T>,
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    let extents = a.extents.broadcast(&b.extents)?;
    Arg::X.check_len(a.values.len(), &[a.extents.elements()])?;
    Arg::B.check_len(b.values.len(), &[b.extents.elements()])?;
    Arg::Out.check_len(out.len(), &[extents.elements()])?;
    let walk = Walk::new(
        extents.padded(),
        [a.extents.repeating_steps(), b.extents.repeating_steps()],
        [0; 2],
    );
    let shifts = shifts::<T>(a.exponent, b.exponent);
    Ok(exec::rows(exec, out, 1, |first, out| {
        let block = Block {
            walk: walk.from(first),
            a: a.values,
            b: b.values,
            shifts,
            store,
            first: first as u32,
            out,
        };
        match operation {
            Operation::Add => T::elementwise_add(block),
            Operation::Sub => T::elementwise_sub(block),
            Operation::Mul => T::elementwise_mul(block),
            Operation::Div => T::elementwise_div(block),
            Operation::Min => T::elementwise_min(block),
            Operation::Max => T::elementwise_max(block),
        }
    }))
}

/// The shifts that take two operands to their common exponent; none for floats.
fn shifts<T: Element>(a: i32, b: i32) -> [i32; 2] {
    if T::DTYPE.is_integer() {
        let common = aligned_exponent([a, b]);
        [common - a, common - b]
    } else {
        [0; 2]
    }
}

/// An element as an accumulator, `shift` exponents higher.
#[inline(always)]
fn aligned<T: Element>(x: T, shift: i32) -> T::Acc {
    x.to_acc().shift(shift, Rounding::NearestEven, 0)
}

/// Some elements of a forward pass.
pub struct Block<'a, T: Element> {
    walk: Walk<2>,
    a: &'a [T],
    b: &'a [T],
    shifts: [i32; 2],
    store: Store,
    /// Index of the first element of `out`.
    first: u32,
    out: &'a mut [T],
}

/// What is done with two operands.
trait Compute<T: Element> {
    /// Their accumulators.
    fn compute(&self, a: &[T; BLOCK], b: &[T; BLOCK], acc: &mut [T::Acc; BLOCK]);
}

/// A block, and what is done with its elements.
struct With<B, C>(B, C);

impl<T: Element, C: Compute<T>> Kernel for With<Block<'_, T>, C> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let Self(block, with) = self;
        let Block {
            mut walk,
            a,
            b,
            store,
            first,
            out,
            ..
        } = block;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let steps = walk.inner_steps();
        let (mut room_a, mut room_b) = ([T::ZERO; BLOCK], [T::ZERO; BLOCK]);
        let mut element = first;
        for out in out.chunks_mut(BLOCK) {
            let ([at_a, at_b], mut len) = walk.run(out.len());
            let (x, y) = (a.get(at_a..), b.get(at_b..));
            let (x, y) = (x.unwrap_or_default(), y.unwrap_or_default());
            let mut acc = Lines([[T::Acc::default(); BLOCK]]);
            let [sums] = &mut *acc;
            match (x.first_chunk(), y.first_chunk()) {
                (Some(x), Some(y)) if steps == [1, 1] && len == BLOCK => with.compute(x, y, sums),
                _ => {
                    // Not as it lies: an operand stretches, or the block goes on elsewhere, or it is the last.
                    gather(x, steps[0], room_a.get_mut(..len));
                    gather(y, steps[1], room_b.get_mut(..len));
                    while len < out.len() {
                        let ([at_a, at_b], more) = walk.run(out.len() - len);
                        let end = len + more.max(1);
                        let (x, y) = (a.get(at_a..), b.get(at_b..));
                        gather(x.unwrap_or_default(), steps[0], room_a.get_mut(len..end));
                        gather(y.unwrap_or_default(), steps[1], room_b.get_mut(len..end));
                        len = end;
                    }
                    with.compute(&room_a, &room_b, sums);
                }
            }
            store.block_by(isa, &mut acc, element, &mut range, out);
            element = element.wrapping_add(out.len() as u32);
        }
        range.bits()
    }
}

/// Every `step`th of `values`.
#[inline(always)]
fn gather<T: Copy>(values: &[T], step: usize, room: Option<&mut [T]>) {
    let room = room.unwrap_or_default();
    match (step, values.first()) {
        (0, Some(&x)) => room.fill(x),
        (1, _) => room.iter_mut().zip(values).for_each(|(to, &x)| *to = x),
        _ => {
            let values = values.iter().step_by(step.max(1));
            room.iter_mut().zip(values).for_each(|(to, &x)| *to = x);
        }
    }
}

/// A function of accumulators at one exponent, which operands are shifts below.
struct Aligned<F>([i32; 2], F);

impl<T: Element, F: Fn(T::Acc, T::Acc) -> T::Acc> Compute<T> for Aligned<F> {
    #[inline(always)]
    fn compute(&self, a: &[T; BLOCK], b: &[T; BLOCK], acc: &mut [T::Acc; BLOCK]) {
        let Self(shifts, function) = self;
        if *shifts == [0; 2] {
            for ((acc, a), b) in acc.iter_mut().zip(a).zip(b) {
                *acc = function(a.to_acc(), b.to_acc());
            }
            return;
        }
        let mut other = Lines([T::Acc::default(); BLOCK]);
        align(a, shifts[0], acc);
        align(b, shifts[1], &mut *other);
        for (acc, &b) in acc.iter_mut().zip(&*other) {
            *acc = function(*acc, b);
        }
    }
}

/// The product.
struct Product;

impl<T: Element> Compute<T> for Product {
    #[inline(always)]
    fn compute(&self, a: &[T; BLOCK], b: &[T; BLOCK], acc: &mut [T::Acc; BLOCK]) {
        for ((acc, a), b) in acc.iter_mut().zip(a).zip(b) {
            *acc = T::mul(a.widen(), b.widen());
        }
    }
}

/// The quotient.
struct Quotient;

impl<T: Element> Compute<T> for Quotient {
    #[inline(always)]
    fn compute(&self, a: &[T; BLOCK], b: &[T; BLOCK], acc: &mut [T::Acc; BLOCK]) {
        for ((acc, &a), &b) in acc.iter_mut().zip(a).zip(b) {
            *acc = T::quotient(a, b);
        }
    }
}

/// Elements as accumulators, `shift` exponents higher.
#[inline(always)]
pub(super) fn align<T: Element>(values: &[T], shift: i32, acc: &mut [T::Acc]) {
    for (acc, x) in acc.iter_mut().zip(values) {
        *acc = x.to_acc();
    }
    if shift != 0 {
        T::Acc::shift_all(acc, shift, Rounding::NearestEven, |_| 0);
    }
}

/// The kernels of this family for one element type, compiled here with this crate's profile.
pub trait Kernels: division::Divide {
    #[doc(hidden)]
    fn elementwise_add(block: Block<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_sub(block: Block<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_mul(block: Block<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_div(block: Block<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_min(block: Block<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_max(block: Block<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_add_backward(call: Backward<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_mul_backward(call: Backward<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_div_backward(call: Backward<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_select_backward(call: Backward<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_sum(terms: Terms<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_average(terms: Terms<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_average_backward(call: AverageBackward<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_negate(call: Negate<'_, Self>)
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_abs_backward(call: AbsBackward<'_, Self>)
    where
        Self: Element;
    #[doc(hidden)]
    fn elementwise_square_backward(call: SquareBackward<'_, Self>) -> u32
    where
        Self: Element;
}

/// The accumulator of a type.
type Acc<T> = <T as Element>::Acc;

macro_rules! impl_kernels {
    ($($t:ty)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn elementwise_add(block: Block<'_, Self>) -> u32 {
                let add = Aligned(block.shifts, |a, b| a + b);
                arch::dispatch(With(block, add))
            }

            #[inline(never)]
            fn elementwise_sub(block: Block<'_, Self>) -> u32 {
                let sub = Aligned(block.shifts, |a, b: Acc<$t>| a + -b);
                arch::dispatch(With(block, sub))
            }

            #[inline(never)]
            fn elementwise_mul(block: Block<'_, Self>) -> u32 {
                arch::dispatch(With(block, Product))
            }

            #[inline(never)]
            fn elementwise_div(block: Block<'_, Self>) -> u32 {
                arch::dispatch(With(block, Quotient))
            }

            #[inline(never)]
            fn elementwise_min(block: Block<'_, Self>) -> u32 {
                let min = Aligned(block.shifts, |a, b| if loses(a, b) { b } else { a });
                arch::dispatch(With(block, min))
            }

            #[inline(never)]
            fn elementwise_max(block: Block<'_, Self>) -> u32 {
                let max = Aligned(block.shifts, |a, b| if wins(a, b) { b } else { a });
                arch::dispatch(With(block, max))
            }

            #[inline(never)]
            fn elementwise_add_backward(call: Backward<'_, Self>) -> u32 {
                backward::add(call)
            }

            #[inline(never)]
            fn elementwise_mul_backward(call: Backward<'_, Self>) -> u32 {
                backward::mul(call)
            }

            #[inline(never)]
            fn elementwise_div_backward(call: Backward<'_, Self>) -> u32 {
                backward::div(call)
            }

            #[inline(never)]
            fn elementwise_select_backward(call: Backward<'_, Self>) -> u32 {
                backward::select(call)
            }

            #[inline(never)]
            fn elementwise_sum(terms: Terms<'_, Self>) -> u32 {
                arch::dispatch(sum::Sum(terms))
            }

            #[inline(never)]
            fn elementwise_average(terms: Terms<'_, Self>) -> u32 {
                arch::dispatch(sum::Average(terms))
            }

            #[inline(never)]
            fn elementwise_average_backward(call: AverageBackward<'_, Self>) -> u32 {
                arch::dispatch(call)
            }

            #[inline(never)]
            fn elementwise_negate(call: Negate<'_, Self>) {
                arch::dispatch(call);
            }

            #[inline(never)]
            fn elementwise_abs_backward(call: AbsBackward<'_, Self>) {
                arch::dispatch(call);
            }

            #[inline(never)]
            fn elementwise_square_backward(call: SquareBackward<'_, Self>) -> u32 {
                arch::dispatch(call)
            }
        }
    )*};
}

impl_kernels! { i8 u8 i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f32 f64 }
