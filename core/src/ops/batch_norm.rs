//! Batch normalisation: by the statistics of the batch in training, by running ones at inference.

use super::call::{Attributes, Call, Direction, read, write};
use super::learned::{self, Learned, Target};
use super::{Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::batch_norm::{self, Errors, Saved, Shape};
use selvedge_kernels::dense::Bias;
use selvedge_kernels::norm::Affine;
use selvedge_kernels::optim::Role;
use selvedge_kernels::scale::Mode;

super::groups! {
    /// Batch normalisation.
    run, train: BatchNorm forward, BatchNormStep step;
}

/// Attributes: rows of a sample, channels.
fn shape(batch: usize, attributes: &mut Attributes<'_>) -> Result<Shape> {
    let [rows, channels] = attributes.sizes()?;
    Ok(Shape {
        rows: batch.saturating_mul(rows),
        channels,
    })
}

/// Values: x, gain, bias, running statistics; y, statistics of the batch, what inference does to a channel.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let shape = shape(call.batch, &mut call.attributes())?;
    let [x_exponent, gain, bias] = [0, 1, 2].map(|slot| call.exponent(slot));
    let slots = [0, 1, 2, 3, 4, 5, 6];
    let exponent = call.with::<T, _, 7>(Direction::Forward, 0, slots, |context, views| {
        let [x, gamma, beta, running, y, statistics, transform] = views;
        let (exec, x, y) = (context.exec, read::<T>(x)?, write::<T>(y)?);
        let (gamma, values) = (read(gamma)?, read(beta)?);
        let affine = |exponent: i32| Affine {
            gamma,
            beta: Some(Bias {
                values,
                shift: exponent - bias,
            }),
        };
        match context.mode {
            Mode::Train => {
                let exponent = gain + T::NORMAL_EXPONENT;
                let (statistics, affine) = (write(statistics)?, affine(exponent));
                batch_norm::statistics::<T>(exec, shape, T::LAYER_EPSILON, x, statistics)?;
                let statistics = &*statistics;
                let exponent = context.rescale(exponent, |store| {
                    batch_norm::forward(exec, shape, x, statistics, affine, store, y)
                })?;
                let (momentum, running) = (batch_norm::MOMENTUM, write(running)?);
                batch_norm::update_running::<T>(
                    shape.rows, x_exponent, momentum, statistics, running,
                )?;
                Ok(exponent)
            }
            Mode::Infer | Mode::Calibrate => {
                let exponent = gain + T::TRANSFORM_EXPONENT;
                let (transform, affine) = (write(transform)?, affine(exponent));
                let running = read(running)?;
                batch_norm::transform(T::LAYER_EPSILON, x_exponent, affine, running, transform)?;
                let run = |store| batch_norm::infer(exec, shape, x, transform, store, y);
                Ok(context.rescale(exponent, run)?)
            }
        }
    })?;
    call.set_exponent(4, exponent);
    Ok(())
}

/// Values: x, statistics, dy, gain and bias with what learns beside them; dx, gradients, sums over the rows of each channel.
fn step<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    const PARAMETERS: [usize; 2] = [3, 6];
    const DX: usize = 9;
    const GRADIENTS: usize = 10;
    const SUMS: usize = 12;
    let shape = shape(call.batch, &mut call.attributes())?;
    let [x_exponent, exponent] = [0, 2].map(|slot| call.exponent(slot));
    let mut exponents = PARAMETERS.map(|slot| call.exponent(slot) as i16); // they come from `i16`
    let (pass, number, is_needed) = (call.pass(), call.number(), call.has(DX));
    let acc = exponent + call.exponent(3) - x_exponent + T::BATCH_GRADIENT_EXPONENT;
    let slots = [0, 1, 2, 3, DX, SUMS];
    let below = call.with::<T, _, 6>(Direction::Backward, 0, slots, |context, views| {
        let [x, statistics, dy, gamma, dx, sums] = views;
        let (exec, sums) = (context.exec, write(sums)?);
        let (x, statistics, dy) = (read::<T>(x)?, read(statistics)?, read::<T>(dy)?);
        batch_norm::error_sums::<T>(exec, shape, x, statistics, dy, sums)?;
        if !is_needed {
            return Ok(exponent);
        }
        let (saved, errors) = (Saved::<T> { x, statistics }, Errors { dy, sums });
        let (gamma, dx) = (read::<T>(gamma)?, write::<T>(dx)?);
        let run = |store| batch_norm::backward_input(exec, shape, saved, errors, gamma, store, dx);
        Ok(context.rescale(acc, run)?)
    })?;
    let gradients = [exponent + T::NORMAL_EXPONENT, exponent];
    let [sums, g0, g1, g2, g3, b0, b1, b2, b3] =
        call.views([SUMS, 3, 4, 5, GRADIENTS, 6, 7, 8, GRADIENTS + 1])?;
    let sums = read(sums)?;
    let [gain, bias] = &mut exponents;
    let gamma = Learned::<T, T::Update>::of([g0, g1, g2, g3], gain, Role::Bias)?;
    let words = pass.update_words(number, 0);
    gamma.learn(pass.sgd, gradients[0], words, |gradient| {
        batch_norm::backward_gamma::<T>(sums, gradient)
    })?;
    let beta = Learned::<T::Bias, T::Update>::of([b0, b1, b2, b3], bias, Role::Bias)?;
    let words = pass.update_words(number, 1);
    beta.learn(pass.sgd, gradients[1], words, |gradient| {
        batch_norm::backward_beta::<T>(sums, gradient)
    })?;
    learned::keep(call, PARAMETERS, GRADIENTS, exponents, gradients);
    call.set_exponent(DX, below);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::learned::describe::Told;
    use crate::ops::{Describe, Kind, learned};
    use alloc::vec;

    #[derive(Debug)]
    struct BatchNorm;

    /// Bytes of what is kept of a channel: statistics of a batch, what inference does, sums of errors.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Bytes {
        pub(crate) statistics: usize,
        pub(crate) transform: usize,
        pub(crate) sums: usize,
    }

    /// `[x, gain, bias, running statistics]` to `x` normalised over all but its last axis.
    pub(crate) fn append(
        graph: &mut Graph,
        inputs: [ValueId; 4],
        bytes: Bytes,
        number: u32,
    ) -> ValueId {
        let [x, ..] = inputs;
        let (dtype, shape) = (graph.dtype_of(x), graph.shape_of(x));
        let (&channels, leading) = shape.split_last().unwrap_or((&1, &[]));
        let rows: usize = leading.iter().product();
        let scratch = [bytes.statistics, bytes.transform]
            .map(|bytes| graph.raw(vec![channels, bytes], false));
        let y = graph.computed(dtype, shape);
        let node = Node::new(&BatchNorm, Kind::BatchNorm, dtype, number)
            .inputs(inputs.map(Some))
            .outputs([Some(y)])
            .scratch(scratch)
            .attributes(vec![rows as u32, channels as u32, bytes.sums as u32])
            .states(1);
        graph.node(node);
        y
    }

    impl Describe for BatchNorm {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[x, gamma, beta, _], &[Some(y)], &[statistics, _], &[_, channels, bytes]) = (
                &*node.inputs,
                &*node.outputs,
                &*node.scratch,
                &*node.attributes,
            ) && let Some(dy) = walk.error(y, node.number)
            {
                let (parameters, gradients) =
                    learned::describe::told(walk, node, [Told::wide(gamma), Told::wide(beta)]);
                let dx = walk.new_error(x);
                let sums = walk
                    .graph
                    .raw(vec![channels as usize, bytes as usize], false);
                let step = Node::new(self, Kind::BatchNormStep, node.dtypes[0], node.number)
                    .inputs([x, Some(statistics), Some(dy)])
                    .inputs(parameters)
                    .outputs([dx])
                    .outputs(gradients)
                    .scratch([sums])
                    .attributes(node.attributes.clone())
                    .states(1);
                walk.graph.node(step);
            }
            Ok(())
        }
    }
}
