//! LayerNorm and RMSNorm: each row is normalised by its own statistics.

use super::call::{Attributes, Call, Direction, read, write};
use super::learned::{self, Learned, Target};
use super::{Fault, Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::norm::{self, Affine, Kind as Statistic, Saved, Shape};
use selvedge_kernels::optim::Role;

super::groups! {
    /// LayerNorm and RMSNorm.
    run, train: Norm forward, NormStep step;
}

/// Attributes: rows of a sample, features, whether it is RMSNorm.
fn shape(batch: usize, attributes: &mut Attributes<'_>) -> Result<(Shape, Statistic)> {
    let [rows, features] = attributes.sizes()?;
    let kind = match attributes.word()? {
        0 => Statistic::Layer,
        1 => Statistic::Rms,
        _ => return Err(Fault::Malformed),
    };
    let rows = batch.saturating_mul(rows);
    Ok((Shape { rows, features }, kind))
}

fn epsilon<T: Element>(kind: Statistic) -> T::Epsilon {
    match kind {
        Statistic::Layer => T::LAYER_EPSILON,
        Statistic::Rms => T::RMS_EPSILON,
    }
}

/// Values: x, gain, bias if it is LayerNorm; y, statistics.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (shape, kind) = shape(call.batch, &mut call.attributes())?;
    let [gain, bias] = [1, 2].map(|slot| call.exponent(slot));
    let slots = [0, 1, 2, 3, 4];
    let exponent = call.with::<T, _, 5>(Direction::Forward, 0, slots, |context, views| {
        let [x, gamma, beta, y, statistics] = views;
        let (exec, x, y, rows) = (
            context.exec,
            read::<T>(x)?,
            write::<T>(y)?,
            write(statistics)?,
        );
        norm::statistics::<T>(exec, shape, kind, epsilon::<T>(kind), x, rows)?;
        let exponent = gain + T::NORMAL_EXPONENT;
        let beta = Bias {
            values: read(beta)?,
            shift: exponent - bias,
        };
        let affine = Affine {
            gamma: read(gamma)?,
            beta: (kind == Statistic::Layer).then_some(beta),
        };
        let saved = Saved::<T> {
            kind,
            x,
            statistics: rows,
        };
        Ok(context.rescale(exponent, |store| {
            norm::forward(exec, shape, saved, affine, store, y)
        })?)
    })?;
    call.set_exponent(3, exponent);
    Ok(())
}

/// Values: x, statistics, dy, gain and bias with what learns beside them; dx, gradients.
fn step<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    const PARAMETERS: [usize; 2] = [3, 6];
    const DX: usize = 9;
    const GRADIENTS: usize = 10;
    let (shape, kind) = shape(call.batch, &mut call.attributes())?;
    let [x_exponent, exponent] = [0, 2].map(|slot| call.exponent(slot));
    let mut exponents = PARAMETERS.map(|slot| call.exponent(slot) as i16); // they come from `i16`
    let (pass, number, is_needed) = (call.pass(), call.number(), call.has(DX));
    let mut below = exponent;
    if is_needed {
        let acc = exponent + call.exponent(3) - x_exponent + T::NORM_GRADIENT_EXPONENT;
        let slots = [0, 1, 2, 3, DX];
        below = call.with::<T, _, 5>(Direction::Backward, 0, slots, |context, views| {
            let [x, statistics, dy, gamma, dx] = views;
            let saved = Saved::<T> {
                kind,
                x: read(x)?,
                statistics: read(statistics)?,
            };
            let (exec, dx) = (context.exec, write::<T>(dx)?);
            let (dy, gamma) = (read::<T>(dy)?, read::<T>(gamma)?);
            let run = |store| norm::backward_input(exec, shape, saved, dy, gamma, store, dx);
            Ok(context.rescale(acc, run)?)
        })?;
    }
    let sums = [exponent + T::NORMAL_EXPONENT, exponent];
    let [x, statistics, dy, g0, g1, g2, g3, b0, b1, b2, b3] =
        call.views([0, 1, 2, 3, 4, 5, GRADIENTS, 6, 7, 8, GRADIENTS + 1])?;
    let saved = Saved {
        kind,
        x: read(x)?,
        statistics: read(statistics)?,
    };
    let dy = read::<T>(dy)?;
    let [gain, bias] = &mut exponents;
    let gamma = Learned::<T, T::Update>::of([g0, g1, g2, g3], gain, Role::Bias)?;
    let words = pass.update_words(number, 0);
    gamma.learn(pass.sgd, sums[0], words, |gradient| {
        norm::backward_gamma(shape, saved, dy, gradient)
    })?;
    if kind == Statistic::Layer {
        let beta = Learned::<T::Bias, T::Acc>::of([b0, b1, b2, b3], bias, Role::Bias)?;
        let words = pass.update_words(number, 1);
        beta.learn(pass.sgd, sums[1], words, |gradient| {
            dense::backward_bias::<T>(shape.features, dy, gradient)
        })?;
    }
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
    use selvedge_kernels::optim::Role;

    #[derive(Debug)]
    struct Norm;

    /// `x` normalised over its last axis, with a gain, and a bias if it is LayerNorm; statistics have `row` bytes.
    pub(crate) fn append(
        graph: &mut Graph,
        x: ValueId,
        gamma: ValueId,
        beta: Option<ValueId>,
        row: usize,
        number: u32,
    ) -> ValueId {
        let (dtype, shape) = (graph.dtype_of(x), graph.shape_of(x));
        let (&features, leading) = shape.split_last().unwrap_or((&1, &[]));
        let rows: usize = leading.iter().product();
        let statistics = graph.raw(vec![rows, row], true);
        let attributes = vec![rows as u32, features as u32, beta.is_none().into()];
        let y = graph.computed(dtype, shape);
        let node = Node::new(&Norm, Kind::Norm, dtype, number)
            .inputs([Some(x), Some(gamma), beta])
            .outputs([Some(y)])
            .scratch([statistics])
            .attributes(attributes)
            .states(1);
        graph.node(node);
        y
    }

    impl Describe for Norm {
        fn repeats(&self) -> bool {
            true
        }

        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[x, gamma, beta], &[Some(y)], &[statistics]) =
                (&*node.inputs, &*node.outputs, &*node.scratch)
                && let Some(dy) = walk.error(y, node.number)
            {
                let (parameters, gradients) = learned::describe::told(
                    walk,
                    node,
                    [Told::wide(gamma), Told::new(beta, Role::Bias)],
                );
                let dx = walk.new_error(x);
                let step = Node::new(self, Kind::NormStep, node.dtypes[0], node.number)
                    .inputs([x, Some(statistics), Some(dy)])
                    .inputs(parameters)
                    .outputs([dx])
                    .outputs(gradients)
                    .attributes(node.attributes.clone())
                    .states(1);
                walk.graph.node(step);
            }
            Ok(())
        }
    }
}
