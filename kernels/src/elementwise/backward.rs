//! Gradients of two operands, summed over the axes along which an operand was repeated.

use super::{Kernels, Operation, aligned, loses, shifts, wins};
use crate::axes::{MAX_RANK, Operand, Walk};
use crate::element::Element;
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude};
use crate::requantize::Store;

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
    ];
    let (outer, inner) = Walk::split(extents.padded(), summed, steps);
    crate::dense::limit(inner.positions(), T::MAX_PRODUCTS)?;
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
    outer: Walk<3>,
    /// From each of them on, over what is summed.
    inner: Walk<3>,
    a: &'a [T],
    b: &'a [T],
    y: &'a [T],
    dy: &'a [T],
    shifts: [i32; 2],
    store: Store,
    first: u32,
    dx: &'a mut [T],
}

impl<T: Element> Backward<'_, T> {
    /// Sums `term(a, b, y, dy)`.
    #[inline(always)]
    fn sum(self, term: impl Fn(T, T, T, T) -> T::Acc) -> u32 {
        let Self {
            mut outer,
            inner,
            a,
            b,
            y,
            dy,
            store,
            first,
            dx,
            ..
        } = self;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let at = |x: &[T], i: usize| x.get(i).copied().unwrap_or(T::ZERO);
        let terms = inner.positions();
        for (dx, element) in dx.iter_mut().zip(first..) {
            let from = outer.next();
            let mut inner = inner;
            let mut sum = T::Acc::default();
            for _ in 0..terms {
                let to = inner.next();
                let [i, j, k] = [from[0] + to[0], from[1] + to[1], from[2] + to[2]];
                sum += term(at(a, i), at(b, j), at(y, k), at(dy, k));
            }
            store.one::<T, T>(sum, element, &mut range, dx);
        }
        range.bits()
    }
}

/// Of sums and differences.
#[inline(always)]
pub(super) fn add<T: Element>(call: Backward<'_, T>) -> u32 {
    if (call.operation, call.side) == (Operation::Sub, Side::B) {
        call.sum(|_, _, _, d| -d.to_acc())
    } else {
        call.sum(|_, _, _, d| d.to_acc())
    }
}

/// Of products.
#[inline(always)]
pub(super) fn mul<T: Element>(call: Backward<'_, T>) -> u32 {
    match call.side {
        Side::A => call.sum(|_, b, _, d| T::mul(d.widen(), b.widen())),
        Side::B => call.sum(|a, _, _, d| T::mul(d.widen(), a.widen())),
    }
}

/// Of quotients.
#[inline(always)]
pub(super) fn div<T: Element + Kernels>(call: Backward<'_, T>) -> u32 {
    match call.side {
        Side::A => call.sum(|_, b, _, d| T::gradient_of_dividend(d, b)),
        Side::B => call.sum(|_, b, y, d| T::gradient_of_divisor(d, y, b)),
    }
}

/// Of the smaller and the larger.
#[inline(always)]
pub(super) fn select<T: Element>(call: Backward<'_, T>) -> u32 {
    let (side, [sa, sb]) = (call.side, call.shifts);
    let is_max = call.operation == Operation::Max;
    call.sum(|a, b, _, d| {
        let (a, b) = (aligned(a, sa), aligned(b, sb));
        let second = if is_max { wins(a, b) } else { loses(a, b) };
        if second == (side == Side::B) {
            d.to_acc()
        } else {
            T::Acc::default()
        }
    })
}
