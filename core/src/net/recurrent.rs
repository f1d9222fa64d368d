//! Recurrent layers: the plain network with tanh, LSTM and GRU, over sequences and as single steps.

use super::{
    Backward, BatchSum, Errors, Info, Layer, Optimizer, OutputTape, Param, Pass, Plain, SampleTape,
    Slopes, Tape, Values, Visitor, VisitorMut, hand_scales, show_scales,
};
use crate::error::{Result, in_layer};
use crate::ops::recurrent::{Parameters, Steps as Kept};
use crate::tensor::{D1, D2, D3, Shape};
use core::marker::PhantomData;
use selvedge_kernels::Element;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::init::Gain;
use selvedge_kernels::optim::Role;
use selvedge_kernels::recurrent::{self, Cell, Exponents, Input, Keep, Output, State, Weights};
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::{Mode, Scale};

/// What a recurrent layer computes at each step, as a type: [`RnnCell`], [`LstmCell`], [`GruCell`].
pub trait Gated: 'static {
    /// The same for kernels.
    const CELL: Cell;
    /// What [`Info::kind`] says.
    const NAME: &'static str;
    /// `[G, H, N]`: weights of `N` columns.
    type Weights<const H: usize, const N: usize>: Shape;
    /// `[G, H]`.
    type Bias<const H: usize>: Shape;
    /// `[G, H]` where there is a second bias.
    type SecondBias<const H: usize>: Shape;
    /// `[H]` where more than the output is carried from step to step.
    type Inner<const H: usize>: Shape;
    /// `[L, K, H]`: what is kept of each step.
    type Kept<const L: usize, const H: usize>: Shape;
    /// `[L, G, H]`: the errors of the gates' sums.
    type Sums<const L: usize, const H: usize>: Shape;
    /// The same of the sums with the output before, where they have errors of their own.
    type SecondSums<const L: usize, const H: usize>: Shape;
}

macro_rules! cells {
    ($($(#[$doc:meta])* $cell:ident: $kind:ident, $name:literal, $gates:literal gates, $kept:literal kept,
       inner [$h:ident] $inner:ty, second [$l:ident] $second:ty, $second_sums:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $cell;

        impl Gated for $cell {
            const CELL: Cell = Cell::$kind;
            const NAME: &'static str = $name;
            type Weights<const H: usize, const N: usize> = D3<$gates, H, N>;
            type Bias<const H: usize> = D2<$gates, H>;
            type SecondBias<const $h: usize> = $second;
            type Inner<const $h: usize> = $inner;
            type Kept<const L: usize, const H: usize> = D3<L, $kept, H>;
            type Sums<const L: usize, const H: usize> = D3<L, $gates, H>;
            type SecondSums<const $l: usize, const $h: usize> = $second_sums;
        }

        const _: () = assert!(Cell::$kind.gates() == $gates && Cell::$kind.kept() == $kept);
    )*};
}

cells! {
    /// That of [`Rnn`].
    RnnCell: Rnn, "rnn", 1 gates, 1 kept, inner [H] D1<0>, second [L] D1<0>, D1<0>;
    /// That of [`Lstm`].
    LstmCell: Lstm, "lstm", 4 gates, 5 kept, inner [H] D1<H>, second [L] D1<0>, D1<0>;
    /// That of [`Gru`].
    GruCell: Gru, "gru", 3 gates, 5 kept, inner [H] D1<H>, second [L] D2<3, H>, D3<L, 3, H>;
}

/// Which steps a recurrent layer gives, in which order it runs, and what it remembers, as a type:
/// [`LastStep`], [`AllSteps`], [`Reversed`], [`Carried`].
pub trait Steps: 'static {
    /// Which outputs are given.
    const OUTPUT: Output;
    /// Whether the last element comes first.
    const IS_REVERSED: bool;
    /// Whether a pass begins with the state that the one before has left.
    const IS_CARRIED: bool;
    /// Shape of the output.
    type Output<const L: usize, const H: usize>: Shape;
}

/// The output of the step that comes last, `[H]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastStep;

/// The output of each step, `[L, H]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllSteps;

/// From the last element to the first. A layer that runs both ways is a [`Fork`](super::Fork) of two, of which
/// one is reversed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reversed<S>(PhantomData<S>);

/// A pass begins with the state that the one before has left, until [`Tape::reset`]: streams, of which a pass is
/// given a piece, or a single element. Training is then back-propagation that is truncated at the piece.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried<S>(PhantomData<S>);

impl Steps for LastStep {
    const OUTPUT: Output = Output::Last;
    const IS_REVERSED: bool = false;
    const IS_CARRIED: bool = false;
    type Output<const L: usize, const H: usize> = D1<H>;
}

impl Steps for AllSteps {
    const OUTPUT: Output = Output::All;
    const IS_REVERSED: bool = false;
    const IS_CARRIED: bool = false;
    type Output<const L: usize, const H: usize> = D2<L, H>;
}

impl<S: Steps> Steps for Reversed<S> {
    const OUTPUT: Output = S::OUTPUT;
    const IS_REVERSED: bool = !S::IS_REVERSED;
    const IS_CARRIED: bool = S::IS_CARRIED;
    type Output<const L: usize, const H: usize> = S::Output<L, H>;
}

impl<S: Steps> Steps for Carried<S> {
    const OUTPUT: Output = S::OUTPUT;
    const IS_REVERSED: bool = S::IS_REVERSED;
    const IS_CARRIED: bool = true;
    type Output<const L: usize, const H: usize> = S::Output<L, H>;
}

/// A plain recurrent network, `h = tanh(W x + b + U h)`: see [`Recurrent`]. Source: Elman 1990.
pub type Rnn<T, const L: usize, const I: usize, const H: usize, S = LastStep, R = Plain> =
    Recurrent<T, RnnCell, L, I, H, S, R>;

/// Long short-term memory: see [`Recurrent`]. Source: Hochreiter & Schmidhuber 1997, Gers et al. 2000.
pub type Lstm<T, const L: usize, const I: usize, const H: usize, S = LastStep, R = Plain> =
    Recurrent<T, LstmCell, L, I, H, S, R>;

/// Gated recurrent units: see [`Recurrent`]. Source: Cho et al. 2014.
pub type Gru<T, const L: usize, const I: usize, const H: usize, S = LastStep, R = Plain> =
    Recurrent<T, GruCell, L, I, H, S, R>;

/// A recurrent layer of cells `C`, from `[L, I]` to `[H]` or `[L, H]`, as `S` says. Numerical behaviour:
/// [`selvedge_kernels::recurrent`]. Weights start random, biases at 0, but for 1 at the forget gate of an LSTM.
///
/// # Errors
/// Of a pass: [`Error::Layer`](crate::Error::Layer) for more inputs or units than the element type can sum.
///
/// # Example
/// ```
/// use selvedge_core::net::{AllSteps, Concat, Fork, Gru, Layer, Lstm, Reversed};
/// use selvedge_core::tensor::{D2, Shape};
/// // Eight rows of eight pixels to a vector, and a layer that runs both ways.
/// type Rows = Lstm<i8, 8, 8, 32>;
/// type BothWays = Fork<Gru<i8, 8, 8, 16, AllSteps>, Gru<i8, 8, 8, 16, Reversed<AllSteps>>, Concat<D2<8, 32>>>;
/// static LAYERS: (Rows, BothWays) = (Layer::BLANK, Layer::BLANK);
/// assert_eq!(Rows::INFO.parameters, 4 * 32 * (8 + 32 + 1));
/// assert_eq!(<BothWays as Layer>::Output::EXTENTS, [8, 32, 1, 1, 1]);
/// ```
pub struct Recurrent<
    T: Element,
    C: Gated,
    const L: usize,
    const I: usize,
    const H: usize,
    S: Steps = LastStep,
    R: Optimizer = Plain,
> {
    input: Param<T, C::Weights<H, I>, R>,
    hidden: Param<T, C::Weights<H, H>, R>,
    bias: Param<T::Bias, C::Bias<H>, R>,
    second_bias: Param<T::Bias, C::SecondBias<H>, R>,
    /// Windows of errors: of outputs and inner state, and of the gates' sums.
    windows: [T::Scale; 2],
    error_scale: T::Scale,
    steps: PhantomData<S>,
}

/// What a recurrent layer keeps: its output and state, what its backward pass wants of each step, and room for
/// errors.
pub struct RecurrentTape<
    T: Element,
    C: Gated,
    const L: usize,
    const H: usize,
    S: Steps,
    const B: usize,
> {
    output: OutputTape<T, S::Output<L, H>, B>,
    h: SampleTape<T, D1<H>, B>,
    inner: SampleTape<T::Inner, C::Inner<H>, B>,
    /// Whether the state is that of a sequence.
    is_running: bool,
    before: SampleTape<T, D2<L, H>, B>,
    kept: SampleTape<T::Inner, C::Kept<L, H>, B>,
    sums: SampleTape<T, C::Sums<L, H>, B>,
    second_sums: SampleTape<T, C::SecondSums<L, H>, B>,
    /// Sums of one step for each sequence, twice.
    scratch: SampleTape<T::Acc, C::Weights<H, 2>, B>,
}

impl<T: Element, C: Gated, const L: usize, const H: usize, S: Steps, const B: usize> Tape
    for RecurrentTape<T, C, L, H, S, B>
{
    const BLANK: Self = Self {
        output: Tape::BLANK,
        h: Tape::BLANK,
        inner: Tape::BLANK,
        is_running: false,
        before: Tape::BLANK,
        kept: Tape::BLANK,
        sums: Tape::BLANK,
        second_sums: Tape::BLANK,
        scratch: Tape::BLANK,
    };

    fn reset(&mut self) {
        self.output.reset();
        self.is_running = false;
    }
}

impl<T: Element, C: Gated, const L: usize, const I: usize, const H: usize, S: Steps, R: Optimizer>
    Recurrent<T, C, L, I, H, S, R>
{
    /// The weights of the input, `[G, H, I]`; gates in the order of [`Cell`].
    pub const fn input(&self) -> &Param<T, C::Weights<H, I>, R> {
        &self.input
    }

    /// The weights of the output of the step before, `[G, H, H]`.
    pub const fn hidden(&self) -> &Param<T, C::Weights<H, H>, R> {
        &self.hidden
    }

    /// The bias, `[G, H]`.
    pub const fn bias(&self) -> &Param<T::Bias, C::Bias<H>, R> {
        &self.bias
    }

    /// The second bias of a GRU, `[G, H]`; of others no element.
    pub const fn second_bias(&self) -> &Param<T::Bias, C::SecondBias<H>, R> {
        &self.second_bias
    }

    const ROWS: usize = <C::Bias<H> as Shape>::LEN;
    const HAS_SECOND: bool = <C::SecondBias<H> as Shape>::LEN > 0;

    const fn extents(batch: usize) -> recurrent::Shape {
        recurrent::Shape {
            cell: C::CELL,
            batch,
            steps: L,
            inputs: I,
            units: H,
            output: S::OUTPUT,
            is_reversed: S::IS_REVERSED,
        }
    }

    fn weights(&self) -> Weights<'_, T> {
        Weights {
            input: self.input.elements(),
            hidden: self.hidden.elements(),
            bias: self.bias.elements(),
            hidden_bias: self.second_bias.elements(),
            exponents: Exponents {
                input: i32::from(self.input.exponent()),
                hidden: i32::from(self.hidden.exponent()),
                bias: i32::from(self.bias.exponent()),
                hidden_bias: i32::from(self.second_bias.exponent()),
            },
        }
    }
}

impl<T, C, const L: usize, const I: usize, const H: usize, S, R> Layer
    for Recurrent<T, C, L, I, H, S, R>
where
    T: Element,
    C: Gated,
    S: Steps,
    R: Optimizer,
{
    type Elem = T;
    type In = T;
    type Out = T;
    type Input = D2<L, I>;
    type Output = S::Output<L, H>;
    type Tape<const B: usize> = RecurrentTape<T, C, L, H, S, B>;

    const BLANK: Self = Self {
        input: Param::BLANK,
        hidden: Param::BLANK,
        bias: Param::BLANK,
        second_bias: Param::BLANK,
        windows: [Scale::UNSET; 2],
        error_scale: Scale::UNSET,
        steps: PhantomData,
    };

    const INFO: Info = Info {
        kind: C::NAME,
        numbers: 1,
        parameters: Self::ROWS * (I + H + 1) + <C::SecondBias<H> as Shape>::LEN,
        macs: L * Self::ROWS * (I + H),
        flash_bytes: Param::<T, C::Weights<H, I>, R>::FLASH_BYTES
            + Param::<T, C::Weights<H, H>, R>::FLASH_BYTES
            + Param::<T::Bias, C::Bias<H>, R>::FLASH_BYTES
            + if Self::HAS_SECOND {
                Param::<T::Bias, C::SecondBias<H>, R>::FLASH_BYTES
            } else {
                0
            },
        errors: Errors {
            error: Self::Output::LEN,
            spare: L * I,
            swaps: true,
        },
        errors_first: Errors {
            error: Self::Output::LEN,
            spare: 0,
            swaps: false,
        },
        without_velocities: Info::without_velocities::<R>(),
        sum: BatchSum::of(L, T::MAX_GRADIENT_PRODUCTS),
        ..Info::EMPTY
    };

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        let words = |parameter| Words::new(seed, stream::parameter(number, parameter), 0);
        (self.input.init(words(0), Gain::LeCun, I)).map_err(in_layer(number))?;
        (self.hidden.init(words(1), Gain::LeCun, H)).map_err(in_layer(number))?;
        self.bias.set(|bias| recurrent::biases(C::CELL, bias));
        self.second_bias.set_zero(self.bias.exponent());
        (self.windows, self.error_scale) = ([Scale::UNSET; 2], Scale::UNSET);
        Ok(())
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, T>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, T>> {
        if !(S::IS_CARRIED && tape.is_running) {
            let mut state = State {
                h: tape.h.samples_mut(B),
                inner: tape.inner.samples_mut(B),
            };
            state.clear();
        }
        tape.is_running = true;
        let out = tape.output.samples_mut(x.batch);
        let keep = match pass.mode {
            Mode::Infer | Mode::Calibrate => Keep::nothing(),
            Mode::Train => Keep {
                before: tape.before.samples_mut(x.batch),
                gates: tape.kept.samples_mut(x.batch),
            },
        };
        recurrent::forward(
            pass.exec,
            Self::extents(x.batch),
            Input {
                values: x.data,
                exponent: x.exponent,
            },
            self.weights(),
            State {
                h: tape.h.samples_mut(x.batch),
                inner: tape.inner.samples_mut(x.batch),
            },
            keep,
            out,
            tape.scratch.samples_mut(x.batch),
        )
        .map_err(in_layer(number))?;
        let exponent = recurrent::output_exponent::<T>();
        Ok(tape.output.keep(pass.mode, x.batch, exponent))
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, T>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, T> {
        tape.output.values(x.batch)
    }

    fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, T>,
        tape: &mut Self::Tape<B>,
        errors: Backward<'e, T>,
        is_needed: bool,
    ) -> Result<Backward<'e, T>> {
        tape.output.begin_backward(number, x.batch)?;
        let lens = [x.batch * Self::Output::LEN, x.batch * L * I];
        errors
            .through(lens, is_needed, |dy, exponent, dx| {
                let second_bias = self.second_bias.parameter(Role::Bias);
                let parameters = Parameters::<T, _, _> {
                    input: self.input.parameter(Role::Weight),
                    hidden: self.hidden.parameter(Role::Weight),
                    bias: self.bias.parameter(Role::Bias),
                    second_bias: Self::HAS_SECOND.then_some(second_bias),
                    windows: &mut self.windows,
                    error_scale: &mut self.error_scale,
                };
                let steps = Kept {
                    before: tape.before.samples(x.batch),
                    kept: tape.kept.samples(x.batch),
                    sums: tape.sums.samples_mut(x.batch),
                    second_sums: tape.second_sums.samples_mut(x.batch),
                    scratch: tape.scratch.samples_mut(x.batch),
                };
                let (shape, x, dy) = (
                    Self::extents(x.batch),
                    (x.data, x.exponent),
                    (&*dy, exponent),
                );
                let [_, below] = parameters.backward(shape, pass, number, x, steps, dy, dx)?;
                Ok(below)
            })
            .map_err(in_layer(number))
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.input.visit(visitor);
        self.hidden.visit(visitor);
        self.bias.visit(visitor);
        if Self::HAS_SECOND {
            self.second_bias.visit(visitor);
        }
        let [state, gates] = self.windows;
        show_scales::<T>(visitor, &[state, gates, self.error_scale]);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.input.visit_mut(visitor);
        self.hidden.visit_mut(visitor);
        self.bias.visit_mut(visitor);
        if Self::HAS_SECOND {
            self.second_bias.visit_mut(visitor);
        }
        let [state, gates] = &mut self.windows;
        hand_scales::<T, 3>(visitor, [state, gates, &mut self.error_scale]);
    }
}
