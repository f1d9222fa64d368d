//! A table of vectors whose rows are the weights of the output layer, too: one update by both gradients.

use super::call::{Call, read, write};
use super::learned::{self, Learned, Target};
use super::{Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::embedding::{self, Shape, Token, tied_exponent};
use selvedge_kernels::optim::Role;

/// What learns of both uses of the table; forward they are an embedding and a dense layer.
#[must_use]
pub const fn train<T: Element, I: Token + Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::TiedStep,
            dtypes: [T::DTYPE, I::DTYPE],
            run: step::<T, I>,
        }]
    }
}

/// Attributes: tokens of a sample, vocabulary, size of a vector. Values: tokens, dy of the rows, the gradient of the output
/// layer's weights, the table with what learns beside it; its gradient, the order of the tokens.
fn step<T: Element, I: Token + Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let [tokens, vocabulary, size] = call.attributes().sizes()?;
    let shape = Shape {
        tokens: call.batch.saturating_mul(tokens),
        vocabulary,
        size,
    };
    let exponents = [2, 1].map(|slot| call.exponent(slot));
    let exponent = tied_exponent(exponents[0], exponents[1]);
    let mut of_table = call.exponent(3) as i16; // it comes from `i16`
    let words = call.pass().update_words(call.number(), 0);
    let sgd = call.sgd;
    let slots = [0, 1, 2, 3, 4, 5, 6, 7];
    let [tokens, dy, output, t0, t1, t2, t3, order] = call.views(slots)?;
    let table = Learned::<T, T::Update>::of([t0, t1, t2, t3], &mut of_table, Role::Weight)?;
    let (tokens, dy, output) = (read::<I>(tokens)?, read(dy)?, read(output)?);
    let order = write(order)?;
    table.learn(sgd, exponent, words, |gradient| {
        embedding::backward_tied(shape, tokens, output, dy, exponents, order, gradient)
    })?;
    learned::keep(call, [3], 6, [of_table], [exponent]);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::learned::describe::Told;
    use crate::ops::{Describe, Kind, embedding, learned};
    use alloc::vec;
    use selvedge_kernels::optim::Role;
    use selvedge_kernels::{DType, Element};

    /// The rows that tokens name.
    #[derive(Debug)]
    struct Rows;

    /// The output layer.
    #[derive(Debug)]
    struct Output;

    /// The rows of `table`, `[vocabulary, size]`, that the tokens `x` name.
    pub(crate) fn append_rows(
        graph: &mut Graph,
        x: ValueId,
        table: ValueId,
        number: u32,
    ) -> ValueId {
        embedding::describe::append_as(&Rows, graph, [x, table], number)
    }

    /// `[x, table, bias]` to logits, `[rows, vocabulary]`.
    pub(crate) fn append_output(
        graph: &mut Graph,
        dtypes: [DType; 2],
        inputs: [ValueId; 3],
        [rows, size, vocabulary]: [usize; 3],
        number: u32,
    ) -> ValueId {
        let y = graph.computed(dtypes[1], vec![rows, vocabulary]);
        let node = Node {
            dtypes,
            ..Node::new(&Output, Kind::Dense, dtypes[0], number)
        };
        let node = node
            .inputs(inputs.map(Some))
            .outputs([Some(y), None])
            .attributes(vec![rows as u32, size as u32, vocabulary as u32, 0])
            .states(1);
        graph.node(node);
        y
    }

    impl Describe for Output {
        /// The gradient of the table is stored, and handed to [`Rows`] as the table's error.
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[x, Some(table), bias], &[Some(y), _]) = (&*node.inputs, &*node.outputs)
                && let &[_, size, vocabulary, _] = &*node.attributes
                && let Some(dy) = walk.error(y, node.number)
            {
                // The table's gradient is handed on, and not applied here.
                let bias = [Told::new(None, Role::Weight), Told::new(bias, Role::Bias)];
                let (mut parameters, [_, of_bias]) = learned::describe::told(walk, node, bias);
                let of_table = walk.graph.with_companions(Some(table));
                for (place, value) in parameters.iter_mut().zip(of_table) {
                    *place = value;
                }
                let dx = walk.new_error(x);
                let gradient = walk.learns(table).then(|| {
                    let sum = crate::network::builder::by_dtype!(node.dtypes[0], T => {
                        size_of::<<T as Element>::Acc>()
                    });
                    let extents = vec![vocabulary as usize, size as usize, sum];
                    let gradient = walk.graph.raw(extents, false);
                    walk.add_error(table, gradient);
                    gradient
                });
                let step = Node::new(self, Kind::DenseStep, node.dtypes[0], node.number)
                    .inputs([x, Some(y), None, Some(dy)])
                    .inputs(parameters)
                    .outputs([dx, gradient, of_bias])
                    .attributes(node.attributes.clone())
                    .states(1);
                walk.graph.node(step.consumes(3));
            }
            Ok(())
        }
    }

    impl Describe for Rows {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[Some(x), Some(table)], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y, node.number)
                && let Some(gradient) = walk.error(table, node.number)
            {
                let told = Told {
                    value: Some(table),
                    role: Role::Weight,
                    is_wide: true,
                };
                // Both uses are in this operator: nothing else has a gradient of the table.
                let (parameters, gradients) = if walk.graph.accumulates {
                    learned::describe::told(walk, node, [told])
                } else {
                    let values = walk.graph.with_companions(Some(table));
                    (values.to_vec(), [None])
                };
                let shape = walk.graph.shape_of(x);
                let order = walk.graph.computed(DType::U32, shape);
                let step = Node {
                    dtypes: node.dtypes,
                    ..Node::new(self, Kind::TiedStep, node.dtypes[0], node.number)
                };
                let step = step
                    .inputs([Some(x), Some(dy), Some(gradient)])
                    .inputs(parameters)
                    .outputs(gradients)
                    .scratch([order])
                    .attributes(node.attributes.clone());
                walk.graph.node(step);
            }
            Ok(())
        }
    }
}
