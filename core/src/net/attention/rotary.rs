//! How positions turn queries and keys: the kinds of [`Rotary`].

use crate::tensor::{D1, D3, Shape};
use core::marker::PhantomData;
use selvedge_kernels::rope::{self, Pairs, Scaling};

/// How positions turn queries and keys, as a type: [`Unturned`], [`Rotary`].
pub trait Turn: 'static {
    /// The base of the frequencies, how they are scaled, and which features are a pair; none if nothing turns.
    const SETTING: Option<(u32, Scaling, Pairs)>;
    /// `[L, HEADS, SIZE]` if something does.
    type Rows<const L: usize, const HEADS: usize, const SIZE: usize>: Shape;
}

/// Not at all: positions are what is added before ([`Positions`](crate::net::Positions)), or nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unturned;

/// By angles that grow with the position: rotary position embedding, with frequencies from the base on, scaled, in pairs.
/// Numerical behaviour: [`selvedge_kernels::rope`]. Source: Su et al. 2021.
///
/// The first position of a pass is 0, or with a [`Cache`](crate::net::Cache) as many as have been since the tape was
/// reset.
///
/// # Example
/// ```
/// use selvedge_core::net::rotary::{Interleaved, Llama3};
/// use selvedge_core::net::{Attention, Cache, Causal, Layer, Plain, Rotary};
/// // Llama 3.1: frequencies from 500,000 on, which its published weights turn as neighbours.
/// type Turned<T> =
///     Attention<T, 1, 32, 4, 2, 8, Causal, Plain, Cache<64>, Rotary<500_000, Interleaved, Llama3>>;
/// static TURNED: Turned<i8> = Layer::BLANK;
/// ```
/// Heads of an odd number of features do not compile:
/// ```compile_fail
/// # use selvedge_core::net::{Attention, Causal, Fresh, Layer, Plain, Rotary};
/// static TURNED: Attention<i8, 4, 32, 4, 2, 7, Causal, Plain, Fresh, Rotary> = Layer::BLANK;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Rotary<const BASE: u32 = { rope::BASE }, P = Halves, S = Unscaled>(PhantomData<(P, S)>);

impl Turn for Unturned {
    const SETTING: Option<(u32, Scaling, Pairs)> = None;
    type Rows<const L: usize, const HEADS: usize, const SIZE: usize> = D1<0>;
}

impl<const BASE: u32, P: Paired, S: Scaled> Turn for Rotary<BASE, P, S> {
    const SETTING: Option<(u32, Scaling, Pairs)> = Some((BASE, S::SCALING, P::PAIRS));
    type Rows<const L: usize, const HEADS: usize, const SIZE: usize> = D3<L, HEADS, SIZE>;
}

/// Which features [`Rotary`] turns as a pair, as a type: [`Halves`], [`Interleaved`].
pub trait Paired: 'static {
    /// The same for kernels.
    const PAIRS: Pairs;
}

/// One of each half of a head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Halves;

/// Neighbours.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interleaved;

impl Paired for Halves {
    const PAIRS: Pairs = Pairs::Halves;
}

impl Paired for Interleaved {
    const PAIRS: Pairs = Pairs::Interleaved;
}

/// How frequencies are scaled in longer contexts than that of the training, as a type: [`Unscaled`], [`Linear`],
/// [`Llama3`].
pub trait Scaled: 'static {
    /// The same for kernels.
    const SCALING: Scaling;
}

/// Not at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unscaled;

/// All divided by `FACTOR` thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linear<const FACTOR: u32>;

/// As Llama 3.1 does: [`Scaling::Llama3`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Llama3<
    const FACTOR: u32 = 8_000,
    const LOW: u32 = 1_000,
    const HIGH: u32 = 4_000,
    const CONTEXT: u32 = 8_192,
>;

impl Scaled for Unscaled {
    const SCALING: Scaling = Scaling::None;
}

impl<const FACTOR: u32> Scaled for Linear<FACTOR> {
    const SCALING: Scaling = Scaling::Linear { factor: FACTOR };
}

impl<const FACTOR: u32, const LOW: u32, const HIGH: u32, const CONTEXT: u32> Scaled
    for Llama3<FACTOR, LOW, HIGH, CONTEXT>
{
    const SCALING: Scaling = Scaling::Llama3 {
        factor: FACTOR,
        low: LOW,
        high: HIGH,
        context: CONTEXT,
    };
}
