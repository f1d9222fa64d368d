//! What attention sees, and what it remembers of earlier passes.

use crate::tensor::{D1, D3, Shape};
use core::marker::PhantomData;

/// Which positions a position sees, as a type: [`Everything`], [`Causal`], [`Recent`]; and [`Padded`] of these.
pub trait Sight: 'static {
    /// None behind its own.
    const IS_CAUSAL: bool;
    /// How many up to its own, if not all.
    const WINDOW: Option<usize>;
    /// None beyond the length that the pass gives for the sample.
    const IS_PADDED: bool = false;
}

/// Every position sees all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everything;

/// No position sees one behind it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Causal;

/// A position sees itself and those before it, `N` in all: a sliding window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recent<const N: usize>;

/// What `S` sees of the positions that are real: those before the [length](crate::net::Pass::lengths) of the sample.
/// Padding still has outputs of its own, which the layers behind should not use. A sample of length 0 sees nothing, and
/// its heads give zeros.
#[derive(Clone, Copy, Debug, Default)]
pub struct Padded<S = Everything>(PhantomData<S>);

impl Sight for Everything {
    const IS_CAUSAL: bool = false;
    const WINDOW: Option<usize> = None;
}

impl Sight for Causal {
    const IS_CAUSAL: bool = true;
    const WINDOW: Option<usize> = None;
}

impl<const N: usize> Sight for Recent<N> {
    const IS_CAUSAL: bool = true;
    const WINDOW: Option<usize> = Some(N);
}

impl<S: Sight> Sight for Padded<S> {
    const IS_CAUSAL: bool = S::IS_CAUSAL;
    const WINDOW: Option<usize> = S::WINDOW;
    const IS_PADDED: bool = true;
}

/// What attention remembers of earlier passes, as a type: [`Fresh`], [`Cache`].
pub trait Recall: 'static {
    /// Positions, those of a pass among them, that keys and values are kept of; 0 if none are.
    const CAPACITY: usize;
    /// `[CAPACITY, HEADS, SIZE]`.
    type Rows<const HEADS: usize, const SIZE: usize>: Shape;
    /// The same of all positions that a pass of `L` sees.
    type Keys<const L: usize, const HEADS: usize, const SIZE: usize>: Shape;
}

/// Nothing: each pass is a sequence of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fresh;

/// Keys and values of up to `CAPACITY` positions, those of the pass among them, until [`Tape::reset`](crate::net::Tape::reset): a KV cache. A
/// pass adds its own, at inference and in training, where no error goes to those of earlier ones. Where an exponent has
/// changed since, what is kept is rounded to it, to nearest even. All passes of a sequence have the same batch.
///
/// A full cache is an [error](selvedge_kernels::Error::Capacity), unless attention sees [`Recent`] positions only:
/// then the oldest go, which none sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cache<const CAPACITY: usize>;

impl Recall for Fresh {
    const CAPACITY: usize = 0;
    type Rows<const HEADS: usize, const SIZE: usize> = D1<0>;
    type Keys<const L: usize, const HEADS: usize, const SIZE: usize> = D3<L, HEADS, SIZE>;
}

impl<const CAPACITY: usize> Recall for Cache<CAPACITY> {
    const CAPACITY: usize = CAPACITY;
    type Rows<const HEADS: usize, const SIZE: usize> = D3<CAPACITY, HEADS, SIZE>;
    type Keys<const L: usize, const HEADS: usize, const SIZE: usize> = D3<CAPACITY, HEADS, SIZE>;
}

/// Positions before its own that one sees, where it does not see all.
pub(super) const fn window<S: Sight>() -> usize {
    match S::WINDOW {
        Some(positions) => positions.saturating_sub(1),
        None => 0,
    }
}
