//! Functions of one element.

use super::{Operation, forward};
use crate::arch::{self, Isa, Kernel};
use crate::axes::{Extents, Operand};
use crate::element::Element;
use crate::error::{Arg, Result};
use crate::exec::Executor;
use crate::fixed::{Accumulator, Magnitude};
use crate::requantize::{BLOCK, Lines, Store};
use crate::split::{blocks_of, blocks_of_mut};

/// `out = -x`. The exponent stays; it is its own gradient.
///
/// # Errors
/// [`Error::Length`](crate::Error::Length) if the lengths differ, [`Error::Zero`](crate::Error::Zero) for empty
/// slices; `out` is then untouched.
///
/// # Example
/// ```
/// let mut out = [0u8; 3];
/// selvedge_kernels::elementwise::negate(&[127u8, 128, 130], &mut out)?; // -1, 0, 2
/// assert_eq!(out, [129, 128, 126]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
pub fn negate<T: Element>(x: &[T], out: &mut [T]) -> Result<()> {
    Arg::Out.check_len(out.len(), &[x.len()])?;
    T::elementwise_negate(Negate { x, out });
    Ok(())
}

/// A checked call of [`negate`].
pub struct Negate<'a, T> {
    x: &'a [T],
    out: &'a mut [T],
}

impl<T: Element> Kernel for Negate<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        for (&x, out) in self.x.iter().zip(self.out) {
            *out = T::store(-x.to_acc());
        }
    }
}

/// `out = |x|`. The exponent stays. NaN stays.
///
/// # Errors
/// [`Error::Length`](crate::Error::Length) if the lengths differ, [`Error::Zero`](crate::Error::Zero) for empty
/// slices; `out` is then untouched.
pub fn abs<T: Element>(x: &[T], out: &mut [T]) -> Result<()> {
    Arg::Out.check_len(out.len(), &[x.len()])?;
    for (&x, out) in x.iter().zip(out) {
        let x = x.to_acc();
        // A float's -0 is not below 0: adding 0 drops its sign.
        let magnitude = if x < T::Acc::default() { -x } else { x };
        *out = T::store(magnitude + T::Acc::default());
    }
    Ok(())
}

/// Gradient of [`abs`]: `dx = dy · sign(x)`, 0 where `x` is 0 (or NaN). The exponent stays.
///
/// # Errors
/// [`Error::Length`](crate::Error::Length) if the lengths differ, [`Error::Zero`](crate::Error::Zero) for empty
/// slices; `dx` is then untouched.
pub fn abs_backward<T: Element>(x: &[T], dy: &[T], dx: &mut [T]) -> Result<()> {
    Arg::Dy.check_len(dy.len(), &[x.len()])?;
    Arg::Dx.check_len(dx.len(), &[x.len()])?;
    T::elementwise_abs_backward(AbsBackward { x, dy, dx });
    Ok(())
}

/// A checked call of [`abs_backward`].
pub struct AbsBackward<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Element> Kernel for AbsBackward<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let zero = T::ZERO.widen();
        for ((&x, &dy), dx) in self.x.iter().zip(self.dy).zip(self.dx) {
            *dx = if x.widen() > zero {
                dy
            } else if x.widen() < zero {
                T::store(-dy.to_acc())
            } else {
                T::ZERO
            };
        }
    }
}

/// `out = store(x²)`; the accumulator has twice the exponent of `x`.
///
/// Returns the bit length of the largest square (0 for floats).
///
/// # Errors
/// [`Error::Length`](crate::Error::Length) if the lengths differ, [`Error::Zero`](crate::Error::Zero) for empty
/// slices; `out` is then untouched.
pub fn square<T: Element>(
    exec: &impl Executor,
    x: &[T],
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    let x = Operand {
        values: x,
        extents: Extents::new(&[x.len()])?,
        exponent: 0,
    };
    forward(exec, Operation::Mul, x, x, store, out)
}

/// Gradient of [`square`]: `dx = store(2 · x · dy)`, at the sum of both exponents.
///
/// Returns the bit length of the largest accumulator (0 for floats).
///
/// # Errors
/// [`Error::Length`](crate::Error::Length) if the lengths differ, [`Error::Zero`](crate::Error::Zero) for empty
/// slices; `dx` is then untouched.
pub fn square_backward<T: Element>(x: &[T], dy: &[T], store: Store, dx: &mut [T]) -> Result<u32> {
    Arg::Dy.check_len(dy.len(), &[x.len()])?;
    Arg::Dx.check_len(dx.len(), &[x.len()])?;
    Ok(T::elementwise_square_backward(SquareBackward {
        x,
        dy,
        store,
        dx,
    }))
}

/// A checked call of [`square_backward`].
pub struct SquareBackward<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    store: Store,
    dx: &'a mut [T],
}

impl<T: Element> Kernel for SquareBackward<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = 0u32;
        let blocks = blocks_of(self.x, BLOCK).zip(blocks_of(self.dy, BLOCK));
        for ((x, dy), dx) in blocks.zip(blocks_of_mut(self.dx, BLOCK)) {
            let mut acc = Lines([[T::Acc::default(); BLOCK]]);
            for ((acc, x), dy) in acc.as_flattened_mut().iter_mut().zip(x).zip(dy) {
                let product = T::mul(x.widen(), dy.widen());
                *acc = product + product;
            }
            self.store.block_by(isa, &mut acc, element, &mut range, dx);
            element = element.wrapping_add(dx.len() as u32);
        }
        range.bits()
    }
}
