//! Recurrent layers over sequences: the plain network with tanh, LSTM and GRU, their gradients through time.
//!
//! ```
//! use selvedge_kernels::{exec::Serial, recurrent::{self, Cell, Input, Keep, Output, Shape, State, Weights}};
//!
//! // One unit that sees one number: h = tanh(x + h / 2).
//! let shape = Shape {
//!     cell: Cell::Rnn, batch: 1, steps: 2, inputs: 1, units: 1, output: Output::All, is_reversed: false,
//! };
//! let weights = Weights {
//!     input: &[1.0f32], hidden: &[0.5], bias: &[0.0], hidden_bias: &[], exponents: Default::default(),
//! };
//! let (mut h, mut y) = ([0.0], [0.0; 2]);
//! let mut scratch = [0.0; 2]; // recurrent::forward_scratch_len(shape, 1)?
//! let x = Input { values: &[0.5, -1.0], exponent: 0 };
//! let state = State { h: &mut h, inner: &mut [] };
//! recurrent::forward(&Serial, shape, x, weights, state, Keep::nothing(), &mut y, &mut scratch)?;
//! assert!((y[0] - 0.5f32.tanh()).abs() < 1e-6);
//! assert!((y[1] - (-1.0 + y[0] / 2.0f32).tanh()).abs() < 1e-6);
//! assert_eq!(h[0], y[1]); // where the next piece of the sequence begins
//! # Ok::<(), selvedge_kernels::Error>(())
//! ```
//!
//! A sequence may be cut anywhere: the state goes on where it was left, with the same bits. Training keeps
//! what [`backward`] wants of each step ([`Keep`]); that computes the errors of the gates' sums, from the last
//! step to the first, and the dense kernels do the rest over all steps at once, `N = B · T` rows each:
//!
//! | gradient of | by | from, to | exponent |
//! |---|---|---|---|
//! | x | [`dense::backward_input`](crate::dense::backward_input) | `dz`, `input` | `dz` + `input` |
//! | `input` | [`dense::backward_weight`](crate::dense::backward_weight) | `x`, `dz` | `dz` + x |
//! | `hidden` | the same | `before`, `dzu` of a GRU, else `dz` | `dz` - M |
//! | `bias` | [`dense::backward_bias`](crate::dense::backward_bias) | `dz` | `dz` |
//! | `hidden_bias` | the same | `dzu` | `dz` |
//!
//! Back-propagation is truncated at the piece that is given: no error comes in from behind its end, none
//! leaves at its start. A layer that runs both ways is two of these, one of them reversed.
//!
//! Source: Elman 1990, "Finding structure in time"; Hochreiter and Schmidhuber 1997, "Long short-term memory",
//! with the forget gate of Gers et al. 2000; Cho et al. 2014, "Learning phrase representations using RNN
//! encoder-decoder", with the reset gate behind the product, as PyTorch has it; integers: `docs/numerics.md`
//! §24.

mod float;
mod integer;
mod lanes;
mod pass;
mod products;

use crate::dense::limit;
use crate::element::{Blank, Element};
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};
use crate::norm;
use core::fmt::Debug;

pub(crate) use pass::Seen;
pub use pass::{Backward, Forward};

/// What is computed at each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// `h = tanh(W x + b + U h)`.
    Rnn,
    /// `c = f ⊙ c + i ⊙ g`, `h = o ⊙ tanh(c)`; gates in the order i, f, g, o: `g` by tanh, the others by the
    /// logistic function.
    Lstm,
    /// `n = tanh(W x + b + r ⊙ (U h + b'))`, `h = (1 - z) ⊙ n + z ⊙ h`; gates in the order r, z, n: r and z by
    /// the logistic function.
    Gru,
}

impl Cell {
    /// Rows of the weights for each unit, `G`.
    #[must_use]
    pub const fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }

    /// Numbers that are kept of each unit and step for the backward pass, `K`.
    #[must_use]
    pub const fn kept(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Lstm | Self::Gru => 5,
        }
    }

    /// Whether it carries more than its output from step to step.
    #[must_use]
    pub const fn has_inner(self) -> bool {
        !matches!(self, Self::Rnn)
    }
}

/// Which outputs are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// That of every step, `[B, T, H]`.
    All,
    /// That of the step which comes last, `[B, H]`: of the first element where the sequence is reversed.
    Last,
}

/// The extents of a recurrent layer and how it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What is computed.
    pub cell: Cell,
    /// Sequences, `B`.
    pub batch: usize,
    /// Elements of each, `T`.
    pub steps: usize,
    /// Features of an element, `I`.
    pub inputs: usize,
    /// Features of an output, `H`.
    pub units: usize,
    /// Which outputs are given.
    pub output: Output,
    /// Whether the last element comes first.
    pub is_reversed: bool,
}

impl Shape {
    /// Rows of the weights, `G · H`.
    const fn rows(self) -> usize {
        self.cell.gates().saturating_mul(self.units)
    }

    /// Elements of the inner state of one sequence.
    const fn inner(self) -> usize {
        if self.cell.has_inner() { self.units } else { 0 }
    }

    /// Outputs that are given of one sequence, in elements.
    const fn outputs(self) -> usize {
        match self.output {
            Output::All => self.steps.saturating_mul(self.units),
            Output::Last => self.units,
        }
    }

    /// The memory index of the step that comes as number `step`.
    const fn at(self, step: usize) -> usize {
        if self.is_reversed {
            self.steps.saturating_sub(1).saturating_sub(step)
        } else {
            step
        }
    }

    fn check<T: Element>(self) -> Result<()> {
        let (gates, kept) = (self.cell.gates(), self.cell.kept());
        for tensor in [
            &[self.batch, self.steps, self.inputs][..],
            &[self.batch, self.steps, kept, self.units],
            &[gates, self.units, self.inputs],
            &[gates, self.units, self.units],
        ] {
            Arg::Shape.product(tensor)?;
        }
        // Of the input, of the outputs, and of the gates' errors.
        limit(self.inputs.max(self.rows()), T::MAX_PRODUCTS)
    }
}

/// Elements with their exponent.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a, T> {
    /// `[B, T, I]`.
    pub values: &'a [T],
    /// 0 for floats.
    pub exponent: i32,
}

/// Parameters of a recurrent layer; rows of gates in the order of [`Cell`].
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a, T: Element> {
    /// `[G · H, I]`: what multiplies the input.
    pub input: &'a [T],
    /// `[G · H, H]`: what multiplies the output of the step before.
    pub hidden: &'a [T],
    /// `[G · H]`: added to the product with the input.
    pub bias: &'a [T::Bias],
    /// `[G · H]` for a GRU: added to the product with the output before; else empty.
    pub hidden_bias: &'a [T::Bias],
    /// Their exponents.
    pub exponents: Exponents,
}

impl<T: Element> Weights<'_, T> {
    fn check(&self, shape: Shape) -> Result<()> {
        let (gates, units) = (shape.cell.gates(), shape.units);
        Arg::Weight.check_len(self.input.len(), &[gates, units, shape.inputs])?;
        Arg::HiddenWeight.check_len(self.hidden.len(), &[gates, units, units])?;
        Arg::Bias.check_len(self.bias.len(), &[gates, units])?;
        match shape.cell {
            Cell::Gru => Arg::HiddenBias.check_len(self.hidden_bias.len(), &[gates, units]),
            Cell::Rnn | Cell::Lstm => check_empty(Arg::HiddenBias, self.hidden_bias.len()),
        }
    }
}

/// Exponents of the parameters; all 0 for floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exponents {
    /// Of the input's weights.
    pub input: i32,
    /// Of the hidden weights.
    pub hidden: i32,
    /// Of the bias.
    pub bias: i32,
    /// Of the second bias of a GRU.
    pub hidden_bias: i32,
}

/// What a layer carries from step to step: read at the start, written at the end.
#[derive(Debug)]
pub struct State<'a, T: Element> {
    /// `[B, H]`: the output, at exponent -M.
    pub h: &'a mut [T],
    /// `[B, H]`, empty for [`Cell::Rnn`]: an LSTM's cell, in Q11 for integers; a GRU's output before it is
    /// stored, in Q15 for integers.
    pub inner: &'a mut [T::Inner],
}

impl<T: Element> State<'_, T> {
    /// The state before the first step: zero, which in unsigned types is the middle of the range.
    pub fn clear(&mut self) {
        self.h.fill(T::ZERO);
        self.inner.fill(T::Inner::BLANK);
    }
}

/// What the backward pass wants again; empty slices where there will be none.
#[derive(Debug)]
pub struct Keep<'a, T: Element> {
    /// `[B, T, H]`: the output before each step, for the gradient of the hidden weights.
    pub before: &'a mut [T],
    /// `[B, T, K, H]` with `K` of [`Cell::kept`]: integers keep the gates' sums in Q11, from which tables give
    /// the gates again, floats the gates; and the inner state before the step.
    pub gates: &'a mut [T::Inner],
}

impl<T: Element> Keep<'_, T> {
    /// At inference.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            before: &mut [],
            gates: &mut [],
        }
    }
}

/// The exponent of outputs, `-M`: fixed. 0 for floats.
#[must_use]
pub const fn output_exponent<T: Element>() -> i32 {
    -(T::MAGNITUDE_BITS as i32)
}

/// Prepares a layer's bias: zeros, and ones for the forget gate of an LSTM, which lets errors pass from the start
/// (Gers et al. 2000). Returns the exponent, also that of a GRU's second bias, which begins at zero. Weights begin
/// with [`init::uniform`](crate::init::uniform), both of them with [`Gain::LeCun`](crate::init::Gain::LeCun) and
/// their own number of columns.
///
/// | argument | shape |
/// |---|---|
/// | `bias` | `[G · H]`, overwritten |
///
/// # Example
/// ```
/// use selvedge_kernels::recurrent::{Cell, biases};
/// let mut bias = [0i16; 4];
/// assert_eq!(biases(Cell::Lstm, &mut bias), -14);
/// assert_eq!(bias, [0, 1 << 14, 0, 0]);
/// ```
pub fn biases<B: Element + norm::Kernels>(cell: Cell, bias: &mut [B]) -> i16 {
    bias.fill(B::ZERO);
    if cell == Cell::Lstm {
        let units = bias.len() / 4;
        let forget = bias.iter_mut().skip(units).take(units);
        forget.for_each(|bias| *bias = B::ONE);
    }
    B::ONE_EXPONENT
}

/// Accumulators that [`forward`] works in where the input's products of `steps_at_a_time` steps are computed
/// together: `B · G · H · (steps_at_a_time + 1)`. The more, the faster, up to all; the results are the same.
///
/// # Errors
/// [`Error::Zero`] for an empty extent or no steps, [`Error::Overflow`] for too many.
pub fn forward_scratch_len(shape: Shape, steps_at_a_time: usize) -> Result<usize> {
    let per_step = [shape.batch, shape.cell.gates(), shape.units];
    let per_step = Arg::Shape.product(&per_step)?;
    let steps = Arg::Scratch.product(&[steps_at_a_time])?;
    Arg::Scratch.product(&[per_step, steps + 1])
}

/// Accumulators that [`backward`] works in: `B · H`, twice as many for cells with an inner state.
///
/// # Errors
/// As [`forward_scratch_len`].
pub fn backward_scratch_len(shape: Shape) -> Result<usize> {
    Arg::Shape.product(&[
        shape.batch,
        shape.units,
        1 + usize::from(shape.cell.has_inner()),
    ])
}

/// Runs a recurrent layer over sequences: see [`Cell`] for what it computes.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[B, T, I]` | |
/// | `weights` | `[G · H, I]`, `[G · H, H]`, `[G · H]` | |
/// | `state` | `[B, H]` | read, then that behind the step that came last |
/// | `keep` | `[B, T, H]`, `[B, T, K, H]`, or empty | overwritten |
/// | `out` | `[B, T, H]` or `[B, H]` | overwritten, at exponent -M: [`output_exponent`] |
/// | `scratch` | [`forward_scratch_len`] for one step at least | its length tells how many go together |
///
/// Integers: sums in Q11 and ±16, gates in Q15, by tables; the cell of an LSTM in Q11 and ±16, in 16 bits for every
/// type. Floats: `(W x + b) + (U h + b')`, the products in the order of [`Element::dot`]; 16-bit types compute in
/// `f32` and carry the inner state in it. In all types the bytes are the same for any length of `scratch`, number of
/// tasks, and for a sequence that is cut. NaN stays in its sequence, from its step on. Tasks take whole sequences.
///
/// # Errors
/// [`Error::Length`] if a slice does not fit `shape`, [`Error::Zero`] for an empty extent, [`Error::Overflow`] and
/// [`Error::Accumulator`] for extents beyond the type's limits. Nothing is then written.
///
/// Source: see the module.
#[allow(clippy::too_many_arguments)] // executor, shape, input, parameters, state, two outputs, memory
pub fn forward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    x: Input<'_, T>,
    weights: Weights<'_, T>,
    state: State<'_, T>,
    keep: Keep<'_, T>,
    out: &mut [T],
    scratch: &mut [T::Acc],
) -> Result<()> {
    let Shape {
        cell,
        batch,
        steps,
        inputs,
        units,
        ..
    } = shape;
    shape.check::<T>()?;
    Arg::X.check_len(x.values.len(), &[batch, steps, inputs])?;
    weights.check(shape)?;
    Arg::State.check_len(state.h.len(), &[batch, units])?;
    if cell.has_inner() {
        Arg::State.check_len(state.inner.len(), &[batch, units])?;
    } else {
        check_empty(Arg::State, state.inner.len())?;
    }
    if !keep.before.is_empty() {
        Arg::Before.check_len(keep.before.len(), &[batch, steps, units])?;
    }
    if !keep.gates.is_empty() {
        Arg::Gates.check_len(keep.gates.len(), &[batch, steps, cell.kept(), units])?;
    }
    Arg::Out.check_len(out.len(), &[batch, shape.outputs()])?;
    check_least(scratch.len(), forward_scratch_len(shape, 1)?)?;
    let per_step = batch.saturating_mul(shape.rows());
    let at_a_time = scratch.len().checked_div(per_step).unwrap_or(0);
    let call = Forward {
        shape,
        x,
        weights,
        state,
        keep,
        out,
        scratch,
        // `clamp` links a panic.
        at_a_time: at_a_time.saturating_sub(1).min(steps).max(1),
    };
    exec::split(exec, batch, call, T::recurrent_forward, |(), ()| ());
    Ok(())
}

/// The errors that come into a layer, and the exponents of those within it.
#[derive(Clone, Copy, Debug)]
pub struct Errors<'a, T> {
    /// `[B, T, H]` or `[B, H]`: the gradient of the loss with respect to the outputs.
    pub dy: &'a [T],
    /// Its exponent.
    pub exponent: i32,
    /// Exponents within the layer.
    pub windows: Windows,
}

/// The exponents of errors within a layer, two windows of a training step
/// ([`Scale::begin`](crate::scale::Scale::begin)); not used by floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// Of the errors of outputs and of the inner state, in [`Windows::STATE_BITS`] bits.
    pub state: i32,
    /// Of the errors of the gates' sums, in the type's magnitude bits: the exponent of `dz` and `dzu`.
    pub gates: i32,
}

impl Windows {
    /// Magnitude bits of the errors of outputs and inner state.
    pub const STATE_BITS: u32 = 15;

    /// Where the state's window starts, given the exponent of `dy`: `e + M - 13`.
    #[must_use]
    pub const fn first_state<T: Element>(dy: i32) -> i32 {
        dy.saturating_add(T::MAGNITUDE_BITS as i32 - 13)
    }

    /// Where the gates' window starts, given the exponent of the state's: `E + 11 - M`.
    #[must_use]
    pub const fn first_gates<T: Element>(state: i32) -> i32 {
        state.saturating_add(11 - T::MAGNITUDE_BITS as i32)
    }
}

/// What the windows saw, for [`Scale::end`](crate::scale::Scale::end): exponent plus bit length of the largest
/// error; nothing where all were zero, and for floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tops {
    /// Of outputs and inner state.
    pub state: Option<i32>,
    /// Of the gates' sums.
    pub gates: Option<i32>,
}

/// Gradient with respect to the gates' sums, through time: see the module for what becomes of it.
///
/// | argument | shape | |
/// |---|---|---|
/// | `weights` | `[G · H, H]` | the hidden ones are read |
/// | `gates` | `[B, T, K, H]` | what [`forward`] kept |
/// | `errors` | `[B, T, H]` or `[B, H]` | `dy` |
/// | `dz` | `[B, T, G · H]` | overwritten: errors of `W x + b` |
/// | `dzu` | `[B, T, G · H]` for a GRU, else empty | overwritten: errors of `U h + b'` |
/// | `scratch` | [`backward_scratch_len`] at least | |
///
/// The errors of the state at the end of the piece are taken as zero, and those at its start are dropped:
/// truncated back-propagation through time. Integers round to nearest even throughout; an error beyond its
/// window saturates, and the window is wide enough in the next step. Floats: `dz` is stored as it is summed on,
/// products with the hidden weights in the order of their rows.
///
/// # Errors
/// As [`forward`]; [`Error::Accumulator`] also where `B · T` rows are more than a weight's gradient sums. Nothing
/// is then written.
///
/// Source: the derivative of [`forward`]; Werbos 1990, "Backpropagation through time".
#[allow(clippy::too_many_arguments)] // executor, shape, parameters, what was kept, errors, two outputs, memory
pub fn backward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    weights: Weights<'_, T>,
    gates: &[T::Inner],
    errors: Errors<'_, T>,
    dz: &mut [T],
    dzu: &mut [T],
    scratch: &mut [T::Acc],
) -> Result<Tops> {
    let Shape {
        cell,
        batch,
        steps,
        units,
        ..
    } = shape;
    shape.check::<T>()?;
    limit(
        Arg::Shape.product(&[batch, steps])?,
        T::MAX_GRADIENT_PRODUCTS,
    )?;
    weights.check(shape)?;
    Arg::Gates.check_len(gates.len(), &[batch, steps, cell.kept(), units])?;
    Arg::Dy.check_len(errors.dy.len(), &[batch, shape.outputs()])?;
    Arg::Dz.check_len(dz.len(), &[batch, steps, cell.gates(), units])?;
    match cell {
        Cell::Gru => Arg::Dzu.check_len(dzu.len(), &[batch, steps, cell.gates(), units])?,
        Cell::Rnn | Cell::Lstm => check_empty(Arg::Dzu, dzu.len())?,
    }
    check_least(scratch.len(), backward_scratch_len(shape)?)?;
    let call = Backward {
        shape,
        weights,
        gates,
        errors,
        dz,
        dzu,
        scratch,
    };
    let seen = exec::split(exec, batch, call, T::recurrent_backward, Seen::join);
    Ok(seen.tops(errors.exponent, weights.exponents.hidden, errors.windows))
}

fn check_empty(arg: Arg, got: usize) -> Result<()> {
    match got {
        0 => Ok(()),
        got => Err(Error::Length {
            arg,
            expected: 0,
            got,
        }),
    }
}

fn check_least(got: usize, expected: usize) -> Result<()> {
    if got < expected {
        return Err(Error::Length {
            arg: Arg::Scratch,
            expected,
            got,
        });
    }
    Ok(())
}

/// The kernels of this family for one element type.
pub trait Kernels: Sized {
    /// What inner states and kept values are: 16 bits for integers, else the accumulator's type.
    type Inner: Blank + bytemuck::Pod + Debug + Default + PartialEq;

    #[doc(hidden)]
    fn recurrent_forward(call: Forward<'_, Self>)
    where
        Self: Element;
    #[doc(hidden)]
    fn recurrent_backward(call: Backward<'_, Self>) -> Seen
    where
        Self: Element;
}
