//! Mixtures of experts: sums of their outputs, weighed by a gate, and the loss that keeps experts in use.

use super::call::{Attributes, Call, Direction, read, write};
use super::{Fault, Kernel, Kind, Result};
use crate::net::Values;
use selvedge_kernels::Element;
use selvedge_kernels::elementwise::{MAX_TERMS, Term};
use selvedge_kernels::experts::{self, Balance, Shape, common_exponent};

/// The sum of experts by weights.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Mixture,
            dtypes: [T::DTYPE, T::DTYPE],
            run: forward::<T>,
        }]
    }
}

/// Takes errors back to experts and gate, and adds those of the balance.
#[must_use]
pub const fn train<T: Element>() -> &'static [Kernel] {
    const {
        &[
            Kernel {
                kind: Kind::MixtureExpert,
                dtypes: [T::DTYPE, T::DTYPE],
                run: to_expert::<T>,
            },
            Kernel {
                kind: Kind::MixtureGate,
                dtypes: [T::DTYPE, T::DTYPE],
                run: to_gate::<T>,
            },
            Kernel {
                kind: Kind::BalanceBackward,
                dtypes: [T::DTYPE, T::DTYPE],
                run: balance::<T>,
            },
        ]
    }
}

/// Attributes: rows of a sample, experts, features of a row.
fn shape(batch: usize, attributes: &mut Attributes<'_>) -> Result<Shape> {
    let [rows, experts, features] = attributes.sizes()?;
    if experts >= MAX_TERMS {
        return Err(Fault::Malformed);
    }
    Ok(Shape {
        rows: batch.saturating_mul(rows),
        experts,
        features,
    })
}

const fn term<T>(values: Values<'_, T>) -> Term<'_, T> {
    Term {
        values: values.data,
        exponent: values.exponent,
    }
}

/// Values: weights, outputs of all experts; y.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let shape = shape(call.batch, &mut call.attributes())?;
    let (pass, number) = (call.pass(), call.number());
    let mut scale: T::Scale = call.scale(0);
    let context = Direction::Forward.context::<T, _>(&pass, number, &mut scale);
    let y = shape.experts.saturating_add(1);
    let (values, out) = call.many::<T, MAX_TERMS>(y, y)?;
    let [weights, outputs @ ..] = values.map(term);
    let outputs = outputs.get(..shape.experts).ok_or(Fault::Malformed)?;
    let (exec, exponent) = (
        context.exec,
        weights.exponent.saturating_add(common_exponent(outputs)),
    );
    let exponent = context.rescale(exponent, |store| {
        experts::forward(exec, shape, weights.values, outputs, store, out)
    })?;
    call.set_scale(0, scale);
    call.set_exponent(y, exponent);
    Ok(())
}

/// Attributes: shape, which expert. Values: weights, dy; the error of the expert's output.
fn to_expert<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let shape = shape(call.batch, &mut attributes)?;
    let expert = attributes.size()?;
    let exponent = call.exponent(0).saturating_add(call.exponent(1));
    let exponent = call.with::<T, _, 3>(Direction::Part(0), 0, [0, 1, 2], |context, views| {
        let [weights, dy, dx] = views;
        let (exec, weights, dy) = (context.exec, read::<T>(weights)?, read::<T>(dy)?);
        let dx = write::<T>(dx)?;
        Ok(context.rescale(exponent, |store| {
            experts::backward(exec, shape, expert, weights, dy, store, dx)
        })?)
    })?;
    call.set_exponent(2, exponent);
    Ok(())
}

/// Values: outputs of all experts, dy; the error of the weights.
fn to_gate<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let shape = shape(call.batch, &mut call.attributes())?;
    let (pass, number) = (call.pass(), call.number());
    let mut scale: T::Scale = call.scale(0);
    let context = Direction::Part(1).context::<T, _>(&pass, number, &mut scale);
    let dw = shape.experts.saturating_add(1);
    let (values, out) = call.many::<T, MAX_TERMS>(dw, dw)?;
    let terms = values.map(term);
    let Some((outputs, [dy, ..])) = terms.split_at_checked(shape.experts) else {
        return Err(Fault::Malformed);
    };
    let (exec, exponent) = (
        context.exec,
        dy.exponent.saturating_add(common_exponent(outputs)),
    );
    let exponent = context.rescale(exponent, |store| {
        experts::backward_weights(exec, shape, outputs, dy.values, store, out)
    })?;
    call.set_scale(0, scale);
    call.set_exponent(dw, exponent);
    Ok(())
}

/// Attributes: rows of a sample, experts, weight of the loss in thousandths. Values: probabilities, dy; dx, rows for each
/// expert.
fn balance<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let [rows, experts] = attributes.sizes()?;
    let balance = Balance::new(attributes.word()?, experts)?;
    let rows = call.batch.saturating_mul(rows);
    let exponent = call.exponent(1);
    let slots = [0, 1, 2, 3];
    let exponent = call.with::<T, _, 4>(Direction::Backward, 0, slots, |context, views| {
        let [x, dy, dx, counts] = views;
        let errors = Term {
            values: read::<T>(dy)?,
            exponent,
        };
        let (x, dx, counts) = (read::<T>(x)?, write::<T>(dx)?, write(counts)?);
        Ok(context.rescale(balance.exponent::<T>(exponent), |store| {
            experts::balance_backward(rows, balance, x, errors, store, dx, counts)
        })?)
    })?;
    call.set_exponent(2, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Alias, Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;
    use alloc::vec::Vec;
    use selvedge_kernels::DType;

    #[derive(Debug)]
    struct Mixture;

    #[derive(Debug)]
    struct Balance;

    /// The outputs of experts, of one shape, by `weights` for each of `rows` rows.
    pub(crate) fn append(
        graph: &mut Graph,
        weights: ValueId,
        outputs: &[ValueId],
        rows: usize,
        number: u32,
    ) -> ValueId {
        let dtype = graph.dtype_of(weights);
        let extents = (outputs.first()).map_or_else(Vec::new, |&output| graph.shape_of(output));
        let features = extents.iter().product::<usize>() / rows.max(1);
        let y = graph.computed(dtype, extents);
        let node = Node::new(&Mixture, Kind::Mixture, dtype, number)
            .inputs([Some(weights)])
            .inputs(outputs.iter().copied().map(Some))
            .outputs([Some(y)])
            .attributes(vec![rows as u32, outputs.len() as u32, features as u32])
            .states(1);
        graph.node(node);
        y
    }

    impl Describe for Mixture {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let ([weights, outputs @ ..], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y, node.number)
            {
                let dtype = node.dtypes[0];
                for (expert, &output) in outputs.iter().enumerate() {
                    if let Some(dx) = walk.new_error(output) {
                        let mut attributes = node.attributes.clone();
                        attributes.push(expert as u32);
                        let back = Node::new(self, Kind::MixtureExpert, dtype, node.number)
                            .inputs([*weights, Some(dy)])
                            .outputs([Some(dx)])
                            .attributes(attributes)
                            .states(1);
                        walk.graph.node(back);
                    }
                }
                if let Some(dw) = walk.new_error(*weights) {
                    let back = Node::new(self, Kind::MixtureGate, dtype, node.number)
                        .inputs(outputs.iter().copied())
                        .inputs([Some(dy)])
                        .outputs([Some(dw)])
                        .attributes(node.attributes.clone())
                        .states(1);
                    walk.graph.node(back);
                }
            }
            Ok(())
        }
    }

    /// The probabilities `x` as they are; training adds the gradient of a loss that keeps experts in use, with a weight in
    /// thousandths.
    pub(crate) fn append_balance(
        graph: &mut Graph,
        x: ValueId,
        thousandths: u32,
        number: u32,
    ) -> ValueId {
        let shape = graph.shape_of(x);
        let (&experts, leading) = shape.split_last().unwrap_or((&1, &[]));
        let rows: usize = leading.iter().product();
        let y = graph.alias(Alias::View(x), shape.clone());
        let node = Node::new(&Balance, Kind::View, graph.dtype_of(x), number)
            .inputs([Some(x)])
            .outputs([Some(y)])
            .attributes(vec![rows as u32, experts as u32, thousandths]);
        graph.node(node);
        y
    }

    impl Describe for Balance {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[x], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let &[_, experts, _] = &*node.attributes
                && let Some(dy) = walk.error(y, node.number)
                && let Some(dx) = walk.new_error(x)
            {
                let counts = walk.graph.computed_once(DType::U32, vec![experts as usize]);
                let kind = Kind::BalanceBackward;
                let back = Node::new(self, kind, node.dtypes[0], node.number)
                    .inputs([x, Some(dy)])
                    .outputs([Some(dx)])
                    .scratch([counts])
                    .attributes(node.attributes.clone())
                    .states(1);
                walk.graph.node(back);
            }
            Ok(())
        }
    }
}
