//! Several layers on one input.

use crate::error::Result;
use crate::net::{Backward, Info, Layer, LongSum, Pass, Tape, Values, Visitor, VisitorMut};
use crate::tensor::Shape;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::scale::Scale;
use selvedge_kernels::{Blank, Element};

/// Layers that all take the same input: an array of one type, or a tuple of two to six types. What becomes of their
/// outputs says a [`Combine`](super::Combine), or the gate of a [`Mixture`](super::Mixture).
///
/// A tuple of two layers is also a layer, the one after the other; here both are on one input.
///
/// # Example
/// ```
/// use selvedge_core::net::{Branches, Dense, Relu};
/// type Alike = [Dense<i8, 8, 4, Relu>; 5];
/// type Narrow = (Dense<i8, 8, 2, Relu>, Dense<i8, 2, 4>);
/// type Wide = (Dense<i8, 8, 32, Relu>, Dense<i8, 32, 4>);
/// assert_eq!(<Alike as Branches>::COUNT, 5);
/// assert_eq!(<(Narrow, Wide) as Branches>::INFO.parameters, 16 + 2 + 8 + 4 + 256 + 32 + 128 + 4);
/// ```
pub trait Branches: Sized {
    /// Type of weights, errors and outputs.
    type Elem: Element;
    /// Type of the input: [`Branches::Elem`], or numbers of tokens.
    type In: Blank;
    /// Shape of one input sample.
    type Input: Shape;
    /// Shape of one output sample of the first branch.
    type First: Shape;
    /// What the branches keep between their passes, for up to `B` samples.
    type Tape<const B: usize>: Tape;
    /// Something for each branch.
    type Each<X>: AsRef<[X]> + AsMut<[X]>;

    /// How many there are.
    const COUNT: usize;
    /// All zero bytes.
    const BLANK: Self;
    /// What is known of each.
    const INFOS: &'static [Info];
    /// All together, in their order; the error buffers are those of nobody.
    const INFO: Info = beside(Self::INFOS);
    /// Rank and extents of each output.
    const OUTPUTS: &'static [Extent];
    /// Exponent states that have seen nothing.
    const UNSET: Self::Each<<Self::Elem as Element>::Scale>;

    /// What `make` gives for each number, from 0 on.
    fn each<X>(make: impl FnMut(usize) -> X) -> Self::Each<X>;

    /// Fills the parameters in place: the first layer of the first branch has number `number`.
    ///
    /// # Errors
    /// Those of [`Layer::init`].
    fn init(&mut self, seed: u32, number: u32) -> Result<()>;

    /// Computes all outputs for `x`, kept on `tape`.
    ///
    /// # Errors
    /// Those of [`Layer::forward`].
    fn forward<E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, Self::In>,
        tape: &mut Self::Tape<B>,
    ) -> Result<()>;

    /// The output of branch `branch` that `tape` keeps of the forward pass of `x`; that of the last for one beyond.
    fn output<'t, const B: usize>(
        &self,
        branch: usize,
        x: Values<'t, Self::In>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, Self::Elem>;

    /// Takes the error of the output of branch `branch` to that of the input, as [`Layer::backward`], and updates its
    /// parameters.
    ///
    /// # Errors
    /// Those of [`Layer::backward`].
    #[allow(clippy::too_many_arguments)] // those of `Layer::backward`, and which
    fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        branch: usize,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, Self::In>,
        tape: &mut Self::Tape<B>,
        errors: Backward<'e, Self::Elem>,
        is_needed: bool,
    ) -> Result<Backward<'e, Self::Elem>>;

    /// Shows the parameters in order.
    fn visit(&self, visitor: &mut impl Visitor);

    /// Hands the parameters out in order, to be changed.
    fn visit_mut(&mut self, visitor: &mut impl VisitorMut);
}

/// A shape as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Number of axes.
    pub rank: usize,
    /// The extents; 1 beyond the rank.
    pub extents: [usize; 5],
    /// Extent of the last axis.
    pub channels: usize,
    /// Number of elements.
    pub len: usize,
}

impl Extent {
    /// That of `S`.
    #[must_use]
    pub const fn of<S: Shape>() -> Self {
        Self {
            rank: S::RANK,
            extents: S::EXTENTS,
            channels: S::CHANNELS,
            len: S::LEN,
        }
    }

    /// Whether both have as many axes, and the first `axes` are equal.
    pub(super) const fn agrees(&self, other: &Self, axes: usize) -> bool {
        let mut axis = 0;
        while axis < axes {
            if self.extents[axis] != other.extents[axis] {
                return false;
            }
            axis += 1;
        }
        self.rank == other.rank
    }
}

/// Layers that all take the same input, in the order of their numbers: nothing of one is below another.
pub(super) const fn beside(layers: &[Info]) -> Info {
    let (mut long_sum_first, mut before, mut rest) = (None, 0, layers);
    while let [layer, others @ ..] = rest {
        long_sum_first = LongSum::or(long_sum_first, before, layer.long_sum_first);
        before += layer.numbers;
        rest = others;
    }
    Info {
        long_sum_first,
        ..Info::sequence(layers)
    }
}

/// Numbers that the branches before `branch` take.
pub(super) fn numbers_before(infos: &[Info], branch: usize) -> u32 {
    infos.iter().take(branch).map(|info| info.numbers).sum()
}

impl<T: Tape, const N: usize> Tape for [T; N] {
    const BLANK: Self = [const { T::BLANK }; N];

    fn reset(&mut self) {
        self.iter_mut().for_each(Tape::reset);
    }
}

impl<L, const N: usize> Branches for [L; N]
where
    L: Layer<Out = <L as Layer>::Elem>,
{
    type Elem = L::Elem;
    type In = L::In;
    type Input = L::Input;
    type First = L::Output;
    type Tape<const B: usize> = [L::Tape<B>; N];
    type Each<X> = [X; N];

    const COUNT: usize = N;
    const BLANK: Self = [const { L::BLANK }; N];
    const INFOS: &'static [Info] = &[L::INFO; N];
    const OUTPUTS: &'static [Extent] = &[Extent::of::<L::Output>(); N];
    const UNSET: [<L::Elem as Element>::Scale; N] = [Scale::UNSET; N];

    fn each<X>(make: impl FnMut(usize) -> X) -> [X; N] {
        core::array::from_fn(make)
    }

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        let mut number = number;
        for layer in self {
            layer.init(seed, number)?;
            number += L::INFO.numbers;
        }
        Ok(())
    }

    fn forward<E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, L::In>,
        tape: &mut [L::Tape<B>; N],
    ) -> Result<()> {
        let mut number = number;
        for (layer, tape) in self.iter_mut().zip(tape) {
            layer.forward::<E, B>(pass, number, x, tape)?;
            number += L::INFO.numbers;
        }
        Ok(())
    }

    fn output<'t, const B: usize>(
        &self,
        branch: usize,
        x: Values<'t, L::In>,
        tape: &'t [L::Tape<B>; N],
    ) -> Values<'t, L::Elem> {
        let mut branches = self.iter().zip(tape);
        match branches.nth(branch.min(N.saturating_sub(1))) {
            Some((layer, tape)) => layer.output::<B>(x, tape),
            None => Values {
                data: &[],
                exponent: 0,
                batch: 0,
            },
        }
    }

    fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        branch: usize,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, L::In>,
        tape: &mut [L::Tape<B>; N],
        errors: Backward<'e, L::Elem>,
        is_needed: bool,
    ) -> Result<Backward<'e, L::Elem>> {
        let number = number + numbers_before(Self::INFOS, branch);
        match self.iter_mut().zip(tape).nth(branch) {
            Some((layer, tape)) => layer.backward::<E, B>(pass, number, x, tape, errors, is_needed),
            None => Ok(errors),
        }
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.iter().for_each(|layer| layer.visit(visitor));
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        for layer in self {
            layer.visit_mut(visitor);
        }
    }
}

/// Tuples: the first layer, then each of the others with its place; the last once more.
macro_rules! impl_branches {
    ($($count:literal: $first:ident $($other:ident $at:tt)+;)*) => {$(
        impl<$first, $($other),+> Branches for ($first, $($other),+)
        where
            $first: Layer<Out = <$first as Layer>::Elem>,
            $($other: Layer<Elem = $first::Elem, In = $first::In, Out = $first::Elem, Input = $first::Input>,)+
        {
            type Elem = $first::Elem;
            type In = $first::In;
            type Input = $first::Input;
            type First = $first::Output;
            type Tape<const B: usize> = ($first::Tape<B>, $($other::Tape<B>),+);
            type Each<X> = [X; $count];

            const COUNT: usize = $count;
            const BLANK: Self = ($first::BLANK, $($other::BLANK),+);
            const INFOS: &'static [Info] = &[$first::INFO, $($other::INFO),+];
            const OUTPUTS: &'static [Extent] =
                &[Extent::of::<$first::Output>(), $(Extent::of::<$other::Output>()),+];
            const UNSET: [<$first::Elem as Element>::Scale; $count] = [Scale::UNSET; $count];

            fn each<X>(make: impl FnMut(usize) -> X) -> [X; $count] {
                core::array::from_fn(make)
            }

            fn init(&mut self, seed: u32, number: u32) -> Result<()> {
                self.0.init(seed, number)?;
                $(self.$at.init(seed, number + numbers_before(Self::INFOS, $at))?;)+
                Ok(())
            }

            fn forward<E: Executor, const B: usize>(
                &mut self,
                pass: &Pass<'_, E>,
                number: u32,
                x: Values<'_, Self::In>,
                tape: &mut Self::Tape<B>,
            ) -> Result<()> {
                self.0.forward::<E, B>(pass, number, x, &mut tape.0)?;
                $(
                    let own = number + numbers_before(Self::INFOS, $at);
                    self.$at.forward::<E, B>(pass, own, x, &mut tape.$at)?;
                )+
                Ok(())
            }

            fn output<'t, const B: usize>(
                &self,
                branch: usize,
                x: Values<'t, Self::In>,
                tape: &'t Self::Tape<B>,
            ) -> Values<'t, Self::Elem> {
                match branch.min($count - 1) {
                    $($at => self.$at.output::<B>(x, &tape.$at),)+
                    _ => self.0.output::<B>(x, &tape.0),
                }
            }

            fn backward<'e, E: Executor, const B: usize>(
                &mut self,
                branch: usize,
                pass: &Pass<'_, E>,
                number: u32,
                x: Values<'_, Self::In>,
                tape: &mut Self::Tape<B>,
                errors: Backward<'e, Self::Elem>,
                is_needed: bool,
            ) -> Result<Backward<'e, Self::Elem>> {
                let number = number + numbers_before(Self::INFOS, branch);
                match branch {
                    0 => self.0.backward::<E, B>(pass, number, x, &mut tape.0, errors, is_needed),
                    $($at => self.$at.backward::<E, B>(
                        pass, number, x, &mut tape.$at, errors, is_needed,
                    ),)+
                    _ => Ok(errors),
                }
            }

            fn visit(&self, visitor: &mut impl Visitor) {
                self.0.visit(visitor);
                $(self.$at.visit(visitor);)+
            }

            fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
                self.0.visit_mut(visitor);
                $(self.$at.visit_mut(visitor);)+
            }
        }
    )*};
}

impl_branches! {
    2: First Second 1;
    3: First Second 1 Third 2;
    4: First Second 1 Third 2 Fourth 3;
    5: First Second 1 Third 2 Fourth 3 Fifth 4;
    6: First Second 1 Third 2 Fourth 3 Fifth 4 Sixth 5;
}

/// Tapes of tuples; a pair's is that of layers one after the other.
macro_rules! impl_tape {
    ($($($tape:ident $at:tt)+;)*) => {$(
        impl<$($tape: Tape),+> Tape for ($($tape,)+) {
            const BLANK: Self = ($($tape::BLANK,)+);

            fn reset(&mut self) {
                $(self.$at.reset();)+
            }
        }
    )*};
}

impl_tape! {
    First 0 Second 1 Third 2;
    First 0 Second 1 Third 2 Fourth 3;
    First 0 Second 1 Third 2 Fourth 3 Fifth 4;
    First 0 Second 1 Third 2 Fourth 3 Fifth 4 Sixth 5;
}
