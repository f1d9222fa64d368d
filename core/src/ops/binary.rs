//! Arithmetic of two tensors, the second of which may stretch to the shape of the first.

use super::call::{Attributes, Call, Direction, read, write};
use super::{Fault, Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::axes::{Extents, MAX_RANK, Operand};
use selvedge_kernels::elementwise::{self, Operation, Side};
use selvedge_kernels::requantize::Store;

super::groups! {
    /// Sums, differences, products, quotients, the smaller, the larger.
    run, train: Binary forward, BinaryBackward backward;
}

/// The operation of this code.
fn operation(code: u32) -> Result<Operation> {
    Ok(match code {
        0 => Operation::Add,
        1 => Operation::Sub,
        2 => Operation::Mul,
        3 => Operation::Div,
        4 => Operation::Min,
        5 => Operation::Max,
        _ => return Err(Fault::Malformed),
    })
}

/// Axes of a sample behind the batch, then the extents of both operands, of as many axes.
fn extents(batch: usize, attributes: &mut Attributes<'_>) -> Result<[Extents; 2]> {
    let rank = attributes.size()?;
    let mut read = || -> Result<Extents> {
        let mut extents = [batch; MAX_RANK];
        let own = extents.get_mut(1..=rank).ok_or(Fault::Malformed)?;
        for extent in own {
            *extent = attributes.size()?;
        }
        Ok(Extents::new(extents.get(..=rank).unwrap_or_default())?)
    };
    Ok([read()?, read()?])
}

/// Attributes: operation, extents. Values: a, b, y.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let operation = operation(attributes.word()?)?;
    let [of_a, of_b] = extents(call.batch, &mut attributes)?;
    let [a_exponent, b_exponent] = [0, 1].map(|slot| call.exponent(slot));
    let exponent =
        call.with::<T, _, 3>(Direction::Forward, 0, [0, 1, 2], |context, [a, b, y]| {
            let a = Operand {
                values: read::<T>(a)?,
                extents: of_a,
                exponent: a_exponent,
            };
            let b = Operand {
                values: read::<T>(b)?,
                extents: of_b,
                exponent: b_exponent,
            };
            let (exec, y) = (context.exec, write::<T>(y)?);
            let exponent = operation.exponent::<T>(a_exponent, b_exponent);
            let run = |store| elementwise::forward(exec, operation, a, b, store, y);
            Ok(context.rescale(exponent, run)?)
        })?;
    call.set_exponent(2, exponent);
    Ok(())
}

/// Attributes: operation, extents, which operand (0 or 1). Values: a, b, y, dy, the error of the operand.
fn backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let operation = operation(attributes.word()?)?;
    let [of_a, of_b] = extents(call.batch, &mut attributes)?;
    let (side, part) = match attributes.word()? {
        0 => (Side::A, 0),
        _ => (Side::B, 1),
    };
    let adds = side == Side::B && of_a.elements() != of_b.elements();
    let [a_exponent, b_exponent, y_exponent, dy_exponent] =
        [0, 1, 2, 3].map(|slot| call.exponent(slot));
    let slots = [0, 1, 2, 3, 4];
    let exponent = call.with::<T, _, 5>(Direction::Part(part), 0, slots, |context, views| {
        let [a, b, y, dy, dx] = views;
        let a = Operand {
            values: read::<T>(a)?,
            extents: of_a,
            exponent: a_exponent,
        };
        let b = Operand {
            values: read::<T>(b)?,
            extents: of_b,
            exponent: b_exponent,
        };
        let (exec, y, dy, dx) = (context.exec, read::<T>(y)?, read::<T>(dy)?, write::<T>(dx)?);
        let exponent =
            operation.gradient_exponent::<T>(side, a_exponent, b_exponent, y_exponent, dy_exponent);
        let mut run = |store| elementwise::backward(exec, operation, side, a, b, y, dy, store, dx);
        Ok(match operation {
            Operation::Mul | Operation::Div => context.rescale(exponent, run)?,
            _ if adds => context.rescale(exponent, run)?,
            _ => {
                run(Store::EXACT)?; // an error, its opposite, or 0
                exponent
            }
        })
    })?;
    call.set_exponent(4, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;
    use alloc::vec::Vec;

    #[derive(Debug)]
    struct Binary;

    /// `a` and `b` by the operation `code`; `b` has as many axes as `a` or fewer, of the same extents or of 1.
    pub(crate) fn append(
        graph: &mut Graph,
        code: u32,
        [a, b]: [ValueId; 2],
        number: u32,
    ) -> ValueId {
        let (dtype, shape, own) = (graph.dtype_of(a), graph.shape_of(a), graph.shape_of(b));
        let rank = shape.len();
        let mut stretched: Vec<usize> = vec![1; rank.saturating_sub(own.len())];
        stretched.extend(own);
        let mut attributes = vec![code, rank as u32];
        attributes.extend(shape.iter().chain(&stretched).map(|&extent| extent as u32));
        let y = graph.computed(dtype, shape);
        let node = Node::new(&Binary, Kind::Binary, dtype, number)
            .inputs([Some(a), Some(b)])
            .outputs([Some(y)])
            .attributes(attributes)
            .states(1);
        graph.node(node);
        y
    }

    impl Describe for Binary {
        fn repeats(&self) -> bool {
            true
        }

        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[a, b], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y, node.number)
            {
                for (of, side) in [(a, 0), (b, 1)] {
                    if let Some(dx) = walk.new_error(of) {
                        let mut attributes = node.attributes.clone();
                        attributes.push(side);
                        let kind = Kind::BinaryBackward;
                        let back = Node::new(self, kind, node.dtypes[0], node.number)
                            .inputs([a, b, Some(y), Some(dy)])
                            .outputs([Some(dx)])
                            .attributes(attributes)
                            .states(1);
                        walk.graph.node(back);
                    }
                }
            }
            Ok(())
        }
    }
}
