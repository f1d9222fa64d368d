//! Rotary positions: queries or keys turned by angles that grow with the position.

use crate::ops::call::{Attributes, Call, Direction, read, write};
use crate::ops::{Fault, Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::rope::{self, Pairs, Rotation, Shape};

crate::ops::groups! {
    /// Pairs of features that are turned.
    run, train: Rotary forward, RotaryBackward backward;
}

/// Which part of the errors that an attention passes down those of queries are, behind the three of its heads.
pub(crate) const QUERIES: u32 = 4;
/// The same of keys.
pub(crate) const KEYS: u32 = 5;

/// Attributes: steps, or 0 where the samples of a run are the steps of one sequence; heads, size of a head, whether
/// neighbours are a pair.
fn shape(batch: usize, attributes: &mut Attributes<'_>) -> Result<(Shape, Pairs)> {
    let [steps, heads, size] = attributes.sizes()?;
    let (batch, steps) = match steps {
        0 => (1, batch),
        _ => (batch, steps),
    };
    let shape = Shape {
        batch,
        steps,
        heads,
        size,
    };
    let pairs = match attributes.word()? {
        0 => Pairs::Halves,
        1 => Pairs::Interleaved,
        _ => return Err(Fault::Malformed),
    };
    Ok((shape, pairs))
}

/// Values: x, turns a position, the words of an attention's positions if they are carried from run to run; y.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let ((shape, pairs), exponent) = (
        shape(call.batch, &mut call.attributes())?,
        call.exponent(0) + rope::accumulator_places::<T>(),
    );
    let slots = [0, 1, 2, 3];
    let exponent = call.with::<T, _, 4>(Direction::Forward, 0, slots, |context, views| {
        let [x, frequencies, positions, y] = views;
        let positions = read::<u32>(positions)?;
        let rotation = Rotation {
            frequencies: read(frequencies)?,
            pairs,
            offset: positions.get(1).map_or(0, |&next| next as usize),
        };
        let (exec, x, y) = (context.exec, read::<T>(x)?, write::<T>(y)?);
        let run = |store| rope::forward(exec, shape, rotation, x, store, y);
        Ok(context.rescale(exponent, run)?)
    })?;
    call.set_exponent(3, exponent);
    Ok(())
}

/// Attributes: those of [`forward`], which part of the error it is. Values: dy, turns a position, positions; dx.
fn backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let (shape, pairs) = shape(call.batch, &mut attributes)?;
    let part = match attributes.word()? {
        part @ (QUERIES | KEYS) => Direction::Part(part),
        _ => return Err(Fault::Malformed),
    };
    let exponent = call.exponent(0) + rope::accumulator_places::<T>();
    let exponent = call.with::<T, _, 4>(part, 0, [0, 1, 2, 3], |context, views| {
        let [dy, frequencies, positions, dx] = views;
        let positions = read::<u32>(positions)?;
        let rotation = Rotation {
            frequencies: read(frequencies)?,
            pairs,
            offset: positions.get(2).map_or(0, |&first| first as usize),
        };
        let (exec, dy, dx) = (context.exec, read::<T>(dy)?, write::<T>(dx)?);
        let run = |store| rope::backward(exec, shape, rotation, dy, store, dx);
        Ok(context.rescale(exponent, run)?)
    })?;
    call.set_exponent(3, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;
    use selvedge_kernels::rope::{Pairs, Shape};

    #[derive(Debug)]
    struct Rotary;

    /// Turned by the positions of an attention, or from 0 on.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Turns {
        pub(crate) frequencies: ValueId,
        pub(crate) positions: Option<ValueId>,
        pub(crate) pairs: Pairs,
    }

    /// `x` turned, each sample or all of them as one (steps are 0 then); its error is part `part` of those that the layer `number` passes down.
    pub(crate) fn append(
        graph: &mut Graph,
        x: ValueId,
        turns: Turns,
        shape: Shape,
        [number, part]: [u32; 2],
    ) -> ValueId {
        let (dtype, extents) = (graph.dtype_of(x), graph.shape_of(x));
        let y = graph.computed(dtype, extents);
        let attributes = vec![
            shape.steps as u32,
            shape.heads as u32,
            shape.size as u32,
            (turns.pairs == Pairs::Interleaved).into(),
            part,
        ];
        let node = Node::new(&Rotary, Kind::Rotary, dtype, number)
            .inputs([Some(x), Some(turns.frequencies), turns.positions])
            .outputs([Some(y)])
            .attributes(attributes)
            .states(1);
        graph.node(node);
        y
    }

    impl Describe for Rotary {
        fn repeats(&self) -> bool {
            true
        }

        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[x, frequencies, positions], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y, node.number)
                && let Some(dx) = walk.new_error(x)
            {
                let kind = Kind::RotaryBackward;
                let back = Node::new(self, kind, node.dtypes[0], node.number)
                    .inputs([Some(dy), frequencies, positions])
                    .outputs([Some(dx)])
                    .attributes(node.attributes.clone())
                    .states(1);
                walk.graph.node(back);
            }
            Ok(())
        }
    }
}
