//! Recurrent layers: the plain network with tanh, LSTM and GRU.

use super::call::{Attributes, Call, Direction, read, write};
use super::learned::{self, Learned, Target};
use super::{Fault, Kernel, Kind, Result};
use crate::net::Pass;
use selvedge_kernels::dense;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::optim::Role;
use selvedge_kernels::recurrent::{
    self, Cell, Errors, Exponents, Input, Keep, Output, Shape, State, Windows,
};
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::{self as kernels, Element};

super::groups! {
    /// Recurrent layers of all cells.
    run, train: Recurrent forward, RecurrentStep step;
}

/// What the backward pass reads of the forward pass, and works in.
pub(crate) struct Steps<'a, T: Element> {
    /// `[B, T, H]`: the output before each step.
    pub(crate) before: &'a [T],
    /// `[B, T, K, H]`.
    pub(crate) kept: &'a [T::Inner],
    /// `[B, T, G, H]`: errors of the gates' sums.
    pub(crate) sums: &'a mut [T],
    /// The same of the sums with the output before, where they have errors of their own.
    pub(crate) second_sums: &'a mut [T],
    /// Sums of one step.
    pub(crate) scratch: &'a mut [T::Acc],
}

/// What the backward pass changes. Typed layers and operators both call it, so their bytes are the same.
pub(crate) struct Parameters<'a, T: Element, W, B> {
    pub(crate) input: W,
    pub(crate) hidden: W,
    pub(crate) bias: B,
    pub(crate) second_bias: Option<B>,
    /// Windows of errors: of outputs and inner state, and of the gates' sums.
    pub(crate) windows: &'a mut [T::Scale; 2],
    pub(crate) error_scale: &'a mut T::Scale,
}

impl<'a, T, W, B> Parameters<'a, T, W, B>
where
    T: Element,
    W: Target<'a, T, T::Acc>,
    B: Target<'a, T::Bias, T::Acc>,
{
    /// Takes the error to `dx`, where that is asked for, and updates; returns the exponents of the gates' errors and of
    /// `dx`.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)] // those of `Layer::backward`, and what differs
    pub(crate) fn backward<E: Executor>(
        mut self,
        shape: Shape,
        pass: &Pass<'_, E>,
        number: u32,
        (x, x_exponent): (&[T], i32),
        steps: Steps<'_, T>,
        (dy, exponent): (&[T], i32),
        dx: Option<&mut [T]>,
    ) -> kernels::Result<[i32; 2]> {
        let Steps {
            before,
            kept,
            sums,
            second_sums,
            scratch,
        } = steps;
        let (first, second) = (&mut *sums, &mut *second_sums);
        let at = self.through_time(
            pass.exec,
            shape,
            kept,
            (dy, exponent),
            [first, second],
            scratch,
        )?;
        let outputs = shape.cell.gates().saturating_mul(shape.units);
        let rows = |inputs| dense::Shape {
            batch: shape.batch.saturating_mul(shape.steps),
            inputs,
            outputs,
        };
        let mut below = exponent;
        if let Some(dx) = dx {
            let accumulator = at + i32::from(self.input.exponent());
            let (weight, rows) = (self.input.value(), rows(shape.inputs));
            let context = Direction::Backward.context::<T, E>(pass, number, &mut *self.error_scale);
            below = context.rescale(accumulator, |store| {
                dense::backward_input(pass.exec, rows, sums, weight, store, dx)
            })?;
        }
        let second_sums = match self.second_bias {
            Some(_) => &*second_sums,
            None => &*sums,
        };
        let words = |parameter| pass.update_words(number, parameter);
        let sgd = pass.sgd;
        self.input
            .learn(sgd, at + x_exponent, words(0), |gradient| {
                dense::backward_weight(rows(shape.inputs), x, sums, gradient)
            })?;
        let exponent = at + recurrent::output_exponent::<T>();
        self.hidden.learn(sgd, exponent, words(1), |gradient| {
            dense::backward_weight(rows(shape.units), before, second_sums, gradient)
        })?;
        self.bias.learn(sgd, at, words(2), |gradient| {
            dense::backward_bias::<T>(outputs, sums, gradient)
        })?;
        if let Some(bias) = self.second_bias {
            bias.learn(sgd, at, words(3), |gradient| {
                dense::backward_bias::<T>(outputs, second_sums, gradient)
            })?;
        }
        Ok([at, below])
    }

    /// Computes the errors of the gates' sums and returns their exponent.
    fn through_time(
        &mut self,
        exec: &impl Executor,
        shape: Shape,
        kept: &[T::Inner],
        (dy, exponent): (&[T], i32),
        [sums, second_sums]: [&mut [T]; 2],
        scratch: &mut [T::Acc],
    ) -> kernels::Result<i32> {
        let [state, gates] = &mut *self.windows;
        let at = state.begin(Windows::first_state::<T>(exponent));
        let windows = Windows {
            state: at,
            gates: gates.begin(Windows::first_gates::<T>(at)),
        };
        let weights = recurrent::Weights {
            input: self.input.value(),
            hidden: self.hidden.value(),
            bias: self.bias.value(),
            hidden_bias: self.second_bias.as_ref().map_or(&[], Target::value),
            exponents: Exponents {
                input: self.input.exponent().into(),
                hidden: self.hidden.exponent().into(),
                bias: self.bias.exponent().into(),
                hidden_bias: self
                    .second_bias
                    .as_ref()
                    .map_or(0, |bias| bias.exponent().into()),
            },
        };
        let errors = Errors {
            dy,
            exponent,
            windows,
        };
        let tops = recurrent::backward(
            exec,
            shape,
            weights,
            kept,
            errors,
            sums,
            second_sums,
            scratch,
        )?;
        state.end(tops.state, Windows::STATE_BITS);
        gates.end(tops.gates, T::MAGNITUDE_BITS);
        Ok(if T::DTYPE.is_integer() {
            windows.gates
        } else {
            exponent
        })
    }
}

/// Attributes: cell, steps, or 0 where the samples of a run are the steps of one sequence; inputs, units, whether all steps
/// are given, whether the last element comes first.
fn shape(batch: usize, attributes: &mut Attributes<'_>) -> Result<Shape> {
    let cell = match attributes.word()? {
        0 => Cell::Rnn,
        1 => Cell::Lstm,
        2 => Cell::Gru,
        _ => return Err(Fault::Malformed),
    };
    let [steps, inputs, units] = attributes.sizes()?;
    let (batch, steps) = match steps {
        0 => (1, batch),
        _ => (batch, steps),
    };
    Ok(Shape {
        cell,
        batch,
        steps,
        inputs,
        units,
        output: match attributes.word()? {
            0 => Output::Last,
            _ => Output::All,
        },
        is_reversed: attributes.word()? != 0,
    })
}

/// Values: x, the weights of the input and of the output before, bias, second bias of a GRU, output and inner state where
/// they are carried from run to run; y, the outputs before each step and the gates, for training; sums, output and inner
/// state where they are not carried.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    const CARRIED: [usize; 2] = [5, 6];
    const Y: usize = 7;
    const OWN: [usize; 2] = [11, 12];
    let shape = shape(call.batch, &mut call.attributes())?;
    let [exponent, input, hidden, bias, hidden_bias] =
        [0, 1, 2, 3, 4].map(|slot| call.exponent(slot));
    let is_carried = call.has(CARRIED[0]);
    let [h, inner] = if is_carried { CARRIED } else { OWN };
    let (exec, mode) = (call.exec, call.mode);
    let slots = [0, 1, 2, 3, 4, h, inner, Y, 8, 9, 10];
    let [x, w, u, b, b2, h, inner, y, before, kept, scratch] = call.views(slots)?;
    let weights = recurrent::Weights {
        input: read::<T>(w)?,
        hidden: read(u)?,
        bias: read(b)?,
        hidden_bias: read(b2)?,
        exponents: Exponents {
            input,
            hidden,
            bias,
            hidden_bias,
        },
    };
    let units = shape.batch.saturating_mul(shape.units);
    let inner_units = if shape.cell.has_inner() { units } else { 0 };
    let mut state = State {
        h: write::<T>(h)?.get_mut(..units).ok_or(Fault::Malformed)?,
        inner: write::<T::Inner>(inner)?
            .get_mut(..inner_units)
            .ok_or(Fault::Malformed)?,
    };
    if !is_carried {
        state.clear();
    }
    let keep = match mode {
        Mode::Infer | Mode::Calibrate => Keep::nothing(),
        Mode::Train => Keep {
            before: write(before)?,
            gates: write(kept)?,
        },
    };
    let x = Input {
        values: read(x)?,
        exponent,
    };
    let (y, scratch) = (write(y)?, write(scratch)?);
    recurrent::forward(exec, shape, x, weights, state, keep, y, scratch)?;
    call.set_exponent(Y, recurrent::output_exponent::<T>());
    Ok(())
}

/// Values: x, the outputs before each step, the gates, dy, weights and biases with what learns beside them; dx,
/// gradients, errors of the gates' sums, sums, the second errors of a GRU.
fn step<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    const PARAMETERS: [usize; 4] = [4, 7, 10, 13];
    const DX: usize = 16;
    const GRADIENTS: usize = 17;
    let shape = shape(call.batch, &mut call.attributes())?;
    let [x_exponent, exponent] = [0, 3].map(|slot| call.exponent(slot));
    let mut exponents = PARAMETERS.map(|slot| call.exponent(slot) as i16); // they come from `i16`
    let mut windows: [T::Scale; 2] = [call.scale(0), call.scale(1)];
    let mut error_scale: T::Scale = call.scale(2);
    let (pass, number, is_needed) = (call.pass(), call.number(), call.has(DX));
    let slots = core::array::from_fn::<_, 24, _>(|slot| slot);
    let [
        x,
        before,
        kept,
        dy,
        w0,
        w1,
        w2,
        u0,
        u1,
        u2,
        b0,
        b1,
        b2,
        s0,
        s1,
        s2,
        dx,
        w3,
        u3,
        b3,
        s3,
        sums,
        scratch,
        second_sums,
    ] = call.views(slots)?;
    let [w, u, b, s] = &mut exponents;
    let second = Learned::<T::Bias, T::Acc>::of([s0, s1, s2, s3], s, Role::Bias)?;
    let parameters = Parameters::<T, _, _> {
        input: Learned::<T, T::Acc>::of([w0, w1, w2, w3], w, Role::Weight)?,
        hidden: Learned::of([u0, u1, u2, u3], u, Role::Weight)?,
        bias: Learned::of([b0, b1, b2, b3], b, Role::Bias)?,
        second_bias: (shape.cell == Cell::Gru).then_some(second),
        windows: &mut windows,
        error_scale: &mut error_scale,
    };
    let steps = Steps {
        before: read(before)?,
        kept: read(kept)?,
        sums: write(sums)?,
        second_sums: write(second_sums)?,
        scratch: write(scratch)?,
    };
    let dx = if is_needed { Some(write(dx)?) } else { None };
    let (x, dy) = ((read(x)?, x_exponent), (read(dy)?, exponent));
    let [at, below] = parameters.backward(shape, &pass, number, x, steps, dy, dx)?;
    for (index, scale) in windows.into_iter().chain([error_scale]).enumerate() {
        call.set_scale(index, scale);
    }
    let before = at + recurrent::output_exponent::<T>();
    let sums = [at + x_exponent, before, at, at];
    learned::keep(call, PARAMETERS, GRADIENTS, exponents, sums);
    call.set_exponent(DX, below);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::learned::describe::Told;
    use crate::ops::{Describe, Kind, learned};
    use alloc::vec;
    use selvedge_kernels::Element;
    use selvedge_kernels::optim::Role;
    use selvedge_kernels::recurrent::{Cell, Output, Shape};

    #[derive(Debug)]
    struct Recurrent;

    /// Parameters of a recurrent layer.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Inputs {
        pub(crate) x: ValueId,
        /// Of the input, and of the output before.
        pub(crate) weights: [ValueId; 2],
        /// The second one is a GRU's.
        pub(crate) biases: [Option<ValueId>; 2],
        /// Output and inner state, where they are carried from run to run.
        pub(crate) carried: Option<[Option<ValueId>; 2]>,
    }

    /// A recurrent layer of elements `T`. `steps` of 0: the samples of a run are those of one sequence.
    pub(crate) fn append<T: Element>(
        graph: &mut Graph,
        inputs: Inputs,
        shape: Shape,
        number: u32,
    ) -> ValueId {
        let Shape { cell, units, .. } = shape;
        let (steps, varies) = (shape.steps.max(1), shape.steps > 0);
        let (code, inner) = match cell {
            Cell::Rnn => (0, None),
            Cell::Lstm => (1, Some(size_of::<T::Inner>())),
            Cell::Gru => (2, Some(size_of::<T::Inner>())),
        };
        let (all, extents) = match shape.output {
            Output::Last => (0, vec![units]),
            Output::All => (1, vec![steps, units]),
        };
        let attributes = vec![
            code,
            shape.steps as u32,
            shape.inputs as u32,
            units as u32,
            all,
            shape.is_reversed.into(),
        ];
        let y = graph.computed(T::DTYPE, extents);
        let before = graph.computed(T::DTYPE, vec![steps, units]);
        let row = size_of::<T::Inner>();
        let kept = graph.raw(vec![steps, cell.kept(), units, row], true);
        let sums = vec![2, cell.gates(), units, size_of::<T::Acc>()];
        let mut scratch = vec![graph.raw(sums, varies)];
        if inputs.carried.is_none() {
            scratch.push(graph.room(T::DTYPE, vec![units], varies));
            scratch.extend(inner.map(|bytes| graph.raw(vec![units, bytes], varies)));
        }
        let Inputs { x, weights, .. } = inputs;
        let node = Node::new(&Recurrent, Kind::Recurrent, T::DTYPE, number)
            .inputs([x, weights[0], weights[1]].map(Some))
            .inputs(inputs.biases)
            .inputs(inputs.carried.unwrap_or_default())
            .outputs([y, before, kept].map(Some))
            .scratch(scratch)
            .attributes(attributes);
        graph.node(node);
        y
    }

    impl Describe for Recurrent {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[x, w, u, b, b2, ..], &[Some(y), before, kept], &[sums, ..]) =
                (&*node.inputs, &*node.outputs, &*node.scratch)
                && let &[code, steps, _, units, ..] = &*node.attributes
                && let Some(dy) = walk.error(y, node.number)
            {
                let (parameters, gradients) = learned::describe::told(
                    walk,
                    node,
                    [
                        Told::new(w, Role::Weight),
                        Told::new(u, Role::Weight),
                        Told::new(b, Role::Bias),
                        Told::new(b2, Role::Bias),
                    ],
                );
                let dx = walk.new_error(x);
                let gates = match code {
                    0 => 1,
                    1 => 4,
                    _ => 3,
                };
                let dtype = node.dtypes[0];
                let extents = vec![steps.max(1) as usize, gates, units as usize];
                let mut scratch = vec![
                    walk.graph.computed(dtype, extents.clone()),
                    walk.graph.alike(sums),
                ];
                scratch.extend(b2.map(|_| walk.graph.computed(dtype, extents)));
                let step = Node::new(self, Kind::RecurrentStep, dtype, node.number)
                    .inputs([x, before, kept, Some(dy)])
                    .inputs(parameters)
                    .outputs([dx])
                    .outputs(gradients)
                    .scratch(scratch)
                    .attributes(node.attributes.clone())
                    .states(3);
                walk.graph.node(step);
            }
            Ok(())
        }
    }
}
