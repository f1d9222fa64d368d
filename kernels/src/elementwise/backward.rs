//! Gradients of two operands, summed over the axes along which an operand was repeated.

use super::{Kernels, Operation, aligned, gather, shifts};
use crate::arch::{self, Isa, Kernel};
use crate::axes::{MAX_RANK, Operand, Walk};
use crate::element::Element;
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude};
use crate::reduce::most_terms;
use crate::requantize::{BLOCK, Lines, Store};
use crate::select::{loses, wins};

/// Which operand a gradient belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

/// Gradient of [`forward`](super::forward) with respect to one operand,
/// `dx = store(Σ dy · ∂(a ∘ b))`: the sum is over the axes along which the operand was repeated,
/// in row-major order.
///
/// | argument | shape | |
/// |---|---|---|
/// | `a`, `b` | as in the forward pass | not read for sums; then `values` may be empty |
/// | `y` | as `dy` | output of the forward pass; empty unless for the divisor |
/// | `dy` | `a` and `b` broadcast | |
/// | `dx` | that of the operand | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// | operation | `a` | `b` |
/// |---|---|---|
/// | `Add` | `dy` | `dy` |
/// | `Sub` | `dy` | `-dy` |
/// | `Mul` | `dy · b` | `dy · a` |
/// | `Div` | `dy / b` | `-dy · y / b` |
/// | `Min`, `Max` | `dy` where `a` was taken, ties included | `dy` where `b` was |
///
/// Returns the bit length of the largest sum (0 for floats), at the exponent of
/// [`Operation::gradient_exponent`]. Integers divide by reciprocal as the forward pass; both
/// gradients are 0 where the divisor is 0. A term of the divisor's gradient is within half a unit
/// and 2^-16 of itself (2^-25, 2^-54 for the wider types).
///
/// # Errors
/// Those of [`forward`](super::forward); [`Error::Accumulator`](crate::Error::Accumulator) if an
/// operand is repeated more often than sums allow. `dx` is then untouched.
///
/// Source: the derivatives of [`forward`](super::forward).
#[allow(clippy::too_many_arguments)] // both operands, output and error are tensors of their own
pub fn backward<T: Element>(
    exec: &impl Executor,
    operation: Operation,
    side: Side,
    a: Operand<'_, T>,
    b: Operand<'_, T>,
    y: &[T],
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    let extents = a.extents.broadcast(&b.extents)?;
    let own = match side {
        Side::A => a.extents,
        Side::B => b.extents,
    };
    if !matches!(operation, Operation::Add | Operation::Sub) {
        Arg::X.check_len(a.values.len(), &[a.extents.elements()])?;
        Arg::B.check_len(b.values.len(), &[b.extents.elements()])?;
    }
    if (operation, side) == (Operation::Div, Side::B) {
        Arg::Y.check_len(y.len(), &[extents.elements()])?;
    }
    Arg::Dy.check_len(dy.len(), &[extents.elements()])?;
    Arg::Dx.check_len(dx.len(), &[own.elements()])?;
    let mut summed = [false; MAX_RANK];
    for (summed, (own, all)) in summed
        .iter_mut()
        .zip(own.padded().into_iter().zip(extents.padded()))
    {
        *summed = own != all;
    }
    let steps = [
        a.extents.repeating_steps(),
        b.extents.repeating_steps(),
        extents.steps(),
        extents.steps(),
    ];
    let (outer, inner) = Walk::split(extents.padded(), summed, steps);
    let most = match operation {
        Operation::Mul | Operation::Div => T::MAX_PRODUCTS,
        Operation::Add | Operation::Sub | Operation::Min | Operation::Max => most_terms::<T>(0),
    };
    crate::dense::limit(inner.positions(), most)?;
    let shifts = shifts::<T>(a.exponent, b.exponent);
    Ok(exec::rows(exec, dx, 1, |first, dx| {
        let call = Backward {
            operation,
            side,
            outer: outer.from(first),
            inner,
            a: a.values,
            b: b.values,
            y,
            dy,
            shifts,
            store,
            first: first as u32,
            dx,
        };
        match operation {
            Operation::Add | Operation::Sub => T::elementwise_add_backward(call),
            Operation::Mul => T::elementwise_mul_backward(call),
            Operation::Div => T::elementwise_div_backward(call),
            Operation::Min | Operation::Max => T::elementwise_select_backward(call),
        }
    }))
}

/// Some elements of a gradient.
pub struct Backward<'a, T: Element> {
    operation: Operation,
    side: Side,
    /// Over the elements of `dx`.
    outer: Walk<4>,
    /// From each of them on, over what is summed.
    inner: Walk<4>,
    a: &'a [T],
    b: &'a [T],
    y: &'a [T],
    dy: &'a [T],
    shifts: [i32; 2],
    store: Store,
    first: u32,
    dx: &'a mut [T],
}

/// A gradient, and the term of one position of the output: from `a`, `b`, `y` and `dy` there.
struct Sums<'a, T: Element, F>(Backward<'a, T>, F);

impl<T: Element, F: Fn(T, T, T, T) -> T::Acc> Kernel for Sums<'_, T, F> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let Self(call, term) = self;
        let (mut outer, mut dx, mut element) = (call.outer, call.dx, call.first);
        let (outer_steps, inner_steps) = (outer.inner_steps(), call.inner.inner_steps());
        let mut operands = Operands::new([call.a, call.b, call.y, call.dy]);
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        while !dx.is_empty() {
            let (from, len) = outer.run(dx.len().min(BLOCK));
            let Some((out, rest)) = core::mem::take(&mut dx).split_at_mut_checked(len.max(1))
            else {
                break;
            };
            dx = rest;
            let mut acc = Lines([[T::Acc::default(); BLOCK]]);
            let sums = acc.as_flattened_mut().get_mut(..len).unwrap_or_default();
            let (mut inner, mut left) = (call.inner, call.inner.positions());
            while left > 0 {
                let (to, count) = inner.run(left);
                left -= count;
                let mut at = moved(from, to);
                if len < LANES && len < count {
                    for sum in &mut *sums {
                        operands.along(sum, count, at, inner_steps, &term);
                        at = moved(at, outer_steps);
                    }
                    continue;
                }
                for _ in 0..count {
                    operands.across(sums, at, outer_steps, &term);
                    at = moved(at, inner_steps);
                }
            }
            call.store.block_by(isa, &mut acc, element, &mut range, out);
            element = element.wrapping_add(out.len() as u32);
        }
        range.bits()
    }
}

/// Offsets, `by` further on.
#[inline(always)]
fn moved(at: [usize; 4], by: [usize; 4]) -> [usize; 4] {
    let mut at = at;
    for (at, by) in at.iter_mut().zip(by) {
        *at = at.wrapping_add(by);
    }
    at
}

/// Terms that are computed side by side.
const LANES: usize = 16;

/// What terms are computed from: `a`, `b`, `y`, `dy`; and a place for those that do not lie in a row.
struct Operands<'a, T> {
    values: [&'a [T]; 4],
    rooms: [[T; BLOCK]; 4],
}

impl<'a, T: Element> Operands<'a, T> {
    fn new(values: [&'a [T]; 4]) -> Self {
        Self {
            values,
            rooms: [[T::ZERO; BLOCK]; 4],
        }
    }

    /// `len` of each from `at` on; zeros of one that is not there.
    #[inline(always)]
    fn row(&mut self, len: usize, at: [usize; 4], steps: [usize; 4]) -> [&[T]; 4] {
        let mut rows = [&[][..]; 4];
        let operands = self.values.iter().zip(&mut self.rooms).zip(&mut rows);
        for (((values, room), row), (at, step)) in operands.zip(at.into_iter().zip(steps)) {
            let values = values.get(at..).unwrap_or_default();
            *row = match values.get(..len) {
                Some(row) if step == 1 => row,
                _ => {
                    let room = room.get_mut(..len).unwrap_or_default();
                    gather(values, step, Some(&mut *room));
                    room
                }
            };
        }
        rows
    }

    /// Adds a term to each of `sums`.
    #[inline(always)]
    fn across(
        &mut self,
        sums: &mut [T::Acc],
        at: [usize; 4],
        steps: [usize; 4],
        term: &impl Fn(T, T, T, T) -> T::Acc,
    ) {
        let rows = self.row(sums.len(), at, steps);
        let (sums, rest) = sums.as_chunks_mut::<LANES>();
        let [(a, a_rest), (b, b_rest), (y, y_rest), (d, d_rest)] =
            rows.map(<[T]>::as_chunks::<LANES>);
        for ((((sums, a), b), y), d) in sums.iter_mut().zip(a).zip(b).zip(y).zip(d) {
            for ((((sum, &a), &b), &y), &d) in sums.iter_mut().zip(a).zip(b).zip(y).zip(d) {
                *sum += term(a, b, y, d);
            }
        }
        let rest = rest.iter_mut().zip(a_rest).zip(b_rest).zip(y_rest);
        for ((((sum, &a), &b), &y), &d) in rest.zip(d_rest) {
            *sum += term(a, b, y, d);
        }
    }

    /// Adds `count` terms to `sum`, one after the other.
    #[inline(always)]
    fn along(
        &mut self,
        sum: &mut T::Acc,
        count: usize,
        at: [usize; 4],
        steps: [usize; 4],
        term: &impl Fn(T, T, T, T) -> T::Acc,
    ) {
        let (mut left, mut at) = (count, at);
        while left > 0 {
            let len = left.min(BLOCK);
            let [a, b, y, d] = self.row(len, at, steps);
            for (((&a, &b), &y), &d) in a.iter().zip(b).zip(y).zip(d) {
                *sum += term(a, b, y, d);
            }
            at = moved(at, steps.map(|step| step.wrapping_mul(len)));
            left -= len;
        }
    }
}

/// Sums terms.
#[inline(always)]
fn sum<T: Element>(call: Backward<'_, T>, term: impl Fn(T, T, T, T) -> T::Acc) -> u32 {
    arch::dispatch(Sums(call, term))
}

/// Of sums and differences.
#[inline(always)]
pub(super) fn add<T: Element>(call: Backward<'_, T>) -> u32 {
    if (call.operation, call.side) == (Operation::Sub, Side::B) {
        sum(call, |_, _, _, d| -d.to_acc())
    } else {
        sum(call, |_, _, _, d| d.to_acc())
    }
}

/// Of products.
#[inline(always)]
pub(super) fn mul<T: Element>(call: Backward<'_, T>) -> u32 {
    match call.side {
        Side::A => sum(call, |_, b, _, d| T::mul(d.widen(), b.widen())),
        Side::B => sum(call, |a, _, _, d| T::mul(d.widen(), a.widen())),
    }
}

/// Of quotients.
#[inline(always)]
pub(super) fn div<T: Element + Kernels>(call: Backward<'_, T>) -> u32 {
    match call.side {
        Side::A => sum(call, |_, b, _, d| T::gradient_of_dividend(d, b)),
        Side::B => sum(call, |_, b, y, d| T::gradient_of_divisor(d, y, b)),
    }
}

/// Of the smaller and the larger.
#[inline(always)]
pub(super) fn select<T: Element>(call: Backward<'_, T>) -> u32 {
    let (side, [sa, sb]) = (call.side, call.shifts);
    let is_max = call.operation == Operation::Max;
    sum(call, move |a, b, _, d| {
        let (a, b) = (aligned(a, sa), aligned(b, sb));
        let second = if is_max { wins(a, b) } else { loses(a, b) };
        if second == (side == Side::B) {
            d.to_acc()
        } else {
            T::Acc::default()
        }
    })
}
