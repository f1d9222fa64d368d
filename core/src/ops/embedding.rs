//! Tables of vectors: of tokens, and of positions.

use super::call::{Attributes, Call, Direction, read, write};
use super::learned::{self, Learned, Target};
use super::{Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::axes::{Extents, Operand};
use selvedge_kernels::elementwise::{self, Operation};
use selvedge_kernels::embedding::{self, Shape, Token};
use selvedge_kernels::optim::Role;

/// A table of vectors, with tokens of type `I`.
#[must_use]
pub const fn run<T: Element, I: Token + Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Embedding,
            dtypes: [T::DTYPE, I::DTYPE],
            run: forward::<T, I>,
        }]
    }
}

/// What learns of it.
#[must_use]
pub const fn train<T: Element, I: Token + Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::EmbeddingStep,
            dtypes: [T::DTYPE, I::DTYPE],
            run: step::<T, I>,
        }]
    }
}

super::groups! {
    /// A vector added at each position.
    run_positions, train_positions: Positions positions, PositionsStep positions_step;
}

/// Attributes: tokens of a sample, vocabulary, size of a vector.
fn shape(batch: usize, attributes: &mut Attributes<'_>) -> Result<Shape> {
    let [tokens, vocabulary, size] = attributes.sizes()?;
    Ok(Shape {
        tokens: batch.saturating_mul(tokens),
        vocabulary,
        size,
    })
}

/// Values: tokens, table; y.
fn forward<T: Element, I: Token + Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (shape, exponent) = (shape(call.batch, &mut call.attributes())?, call.exponent(1));
    let [tokens, table, y] = call.views([0, 1, 2])?;
    embedding::forward::<T, I>(shape, read(tokens)?, read(table)?, write(y)?)?;
    call.set_exponent(2, exponent);
    Ok(())
}

/// Values: tokens, dy, the table with what learns beside it; its gradient, the order of the tokens.
fn step<T: Element, I: Token + Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (shape, exponent) = (shape(call.batch, &mut call.attributes())?, call.exponent(1));
    let mut of_table = call.exponent(2) as i16; // it comes from `i16`
    let words = call.pass().update_words(call.number(), 0);
    let sgd = call.sgd;
    let [tokens, dy, t0, t1, t2, t3, order] = call.views([0, 1, 2, 3, 4, 5, 6])?;
    let table = Learned::<T, T::Acc>::of([t0, t1, t2, t3], &mut of_table, Role::Weight)?;
    let (tokens, dy, order) = (read::<I>(tokens)?, read(dy)?, write(order)?);
    table.learn(sgd, exponent, words, |gradient| {
        embedding::backward(shape, tokens, dy, order, gradient)
    })?;
    learned::keep(call, [2], 5, [of_table], [exponent]);
    Ok(())
}

/// Attributes: elements of a sample. Values: x, table; y.
fn positions<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (batch, elements) = (call.batch, call.attributes().size()?);
    let [x_exponent, table_exponent] = [0, 1].map(|slot| call.exponent(slot));
    let exponent = call.with::<T, _, 3>(Direction::Forward, 0, [0, 1, 2], |context, views| {
        let [x, table, y] = views;
        let x = Operand {
            values: read::<T>(x)?,
            extents: Extents::new(&[batch, elements])?,
            exponent: x_exponent,
        };
        let table = Operand {
            values: read::<T>(table)?,
            extents: Extents::new(&[1, elements])?,
            exponent: table_exponent,
        };
        let (exec, y) = (context.exec, write::<T>(y)?);
        let exponent = Operation::Add.exponent::<T>(x_exponent, table_exponent);
        let run = |store| elementwise::forward(exec, Operation::Add, x, table, store, y);
        Ok(context.rescale(exponent, run)?)
    })?;
    call.set_exponent(2, exponent);
    Ok(())
}

/// Attributes: elements of a sample. Values: dy, the table with what learns beside it; its gradient.
fn positions_step<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (elements, exponent) = (call.attributes().size()?, call.exponent(0));
    let mut of_table = call.exponent(1) as i16; // it comes from `i16`
    let words = call.pass().update_words(call.number(), 0);
    let sgd = call.sgd;
    let [dy, t0, t1, t2, t3] = call.views([0, 1, 2, 3, 4])?;
    let table = Learned::<T, T::Acc>::of([t0, t1, t2, t3], &mut of_table, Role::Weight)?;
    let dy = read(dy)?;
    table.learn(sgd, exponent, words, |gradient| {
        embedding::backward_positions(elements, dy, gradient)
    })?;
    learned::keep(call, [1], 4, [of_table], [exponent]);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::learned::describe::Told;
    use crate::ops::{Describe, Kind, learned};
    use alloc::vec;
    use selvedge_kernels::DType;
    use selvedge_kernels::optim::Role;

    #[derive(Debug)]
    struct Embedding;

    #[derive(Debug)]
    struct Positions;

    /// The rows of `table`, `[vocabulary, size]`, that the tokens `x` name.
    pub(crate) fn append(graph: &mut Graph, x: ValueId, table: ValueId, number: u32) -> ValueId {
        append_as(&Embedding, graph, [x, table], number)
    }

    /// The same, with `operator` to be asked for its gradient.
    pub(crate) fn append_as(
        operator: &'static dyn Describe,
        graph: &mut Graph,
        [x, table]: [ValueId; 2],
        number: u32,
    ) -> ValueId {
        let (mut shape, dtype) = (graph.shape_of(x), graph.dtype_of(table));
        let tokens: usize = shape.iter().product();
        let extents = graph.shape_of(table);
        let (vocabulary, size) = match *extents {
            [vocabulary, size] => (vocabulary, size),
            _ => (1, 1),
        };
        shape.push(size);
        let y = graph.computed(dtype, shape);
        let node = Node {
            dtypes: [dtype, graph.dtype_of(x)],
            ..Node::new(operator, Kind::Embedding, dtype, number)
        };
        let node = node
            .inputs([Some(x), Some(table)])
            .outputs([Some(y)])
            .attributes(vec![tokens as u32, vocabulary as u32, size as u32]);
        graph.node(node);
        y
    }

    impl Describe for Embedding {
        fn repeats(&self) -> bool {
            true
        }

        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[Some(x), table], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y, node.number)
            {
                let (parameters, gradients) =
                    learned::describe::told(walk, node, [Told::new(table, Role::Weight)]);
                let shape = walk.graph.shape_of(x);
                let order = walk.graph.computed(DType::U32, shape);
                let step = Node {
                    dtypes: node.dtypes,
                    ..Node::new(self, Kind::EmbeddingStep, node.dtypes[0], node.number)
                };
                let step = step
                    .inputs([Some(x), Some(dy)])
                    .inputs(parameters)
                    .outputs(gradients)
                    .scratch([order])
                    .attributes(node.attributes.clone());
                walk.graph.node(step);
            }
            Ok(())
        }
    }

    /// `x` and the vectors of `table`, which has the extents of a sample of it.
    pub(crate) fn append_positions(
        graph: &mut Graph,
        x: ValueId,
        table: ValueId,
        number: u32,
    ) -> ValueId {
        let (dtype, shape) = (graph.dtype_of(x), graph.shape_of(x));
        let elements: usize = shape.iter().product();
        let y = graph.computed(dtype, shape);
        let node = Node::new(&Positions, Kind::Positions, dtype, number)
            .inputs([Some(x), Some(table)])
            .outputs([Some(y)])
            .attributes(vec![elements as u32])
            .states(1);
        graph.node(node);
        y
    }

    impl Describe for Positions {
        fn repeats(&self) -> bool {
            true
        }

        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[Some(x), table], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y, node.number)
            {
                let (parameters, gradients) =
                    learned::describe::told(walk, node, [Told::new(table, Role::Weight)]);
                let kind = Kind::PositionsStep;
                let step = Node::new(self, kind, node.dtypes[0], node.number)
                    .inputs([Some(dy)])
                    .inputs(parameters)
                    .outputs(gradients)
                    .attributes(node.attributes.clone());
                walk.graph.node(step);
                if walk.learns(x) {
                    walk.add_error(x, dy); // unchanged
                }
            }
            Ok(())
        }
    }
}
