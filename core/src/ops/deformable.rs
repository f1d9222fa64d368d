//! Deformable attention, what lies between its projections: floats only.

use super::call::{Attributes, Call, read, write};
use super::{Kernel, Kind, Result};
use selvedge_kernels::deformable::{self, Errors, Float, Inputs, Level, Shape};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::softmax::{self, Logits};
use selvedge_kernels::{self as kernels, Element};

/// Deformable attention of a map to itself.
#[must_use]
pub const fn run<T: Float>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Deformable,
            dtypes: [T::DTYPE, T::DTYPE],
            run: run_forward::<T>,
        }]
    }
}

/// Takes errors back through it.
#[must_use]
pub const fn train<T: Float>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::DeformableBackward,
            dtypes: [T::DTYPE, T::DTYPE],
            run: run_backward::<T>,
        }]
    }
}

/// A map whose cells look around.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    pub(crate) batch: usize,
    pub(crate) level: Level,
    pub(crate) heads: usize,
    pub(crate) points: usize,
    pub(crate) size: usize,
}

impl Map {
    const fn cells(&self) -> usize {
        self.level.height.saturating_mul(self.level.width)
    }

    fn shape<'a>(&self, levels: &'a [Level; 1]) -> Shape<'a> {
        Shape {
            batch: self.batch,
            queries: self.cells(),
            levels,
            heads: self.heads,
            size: self.size,
            points: self.points,
        }
    }

    /// The weights of each cell's heads as rows.
    const fn weights(&self) -> softmax::Shape {
        softmax::Shape {
            rows: self
                .batch
                .saturating_mul(self.cells())
                .saturating_mul(self.heads),
            classes: self.points,
        }
    }

    /// From offsets, logits and values to what the heads give, by way of positions and weights. Typed layers and operators
    /// both call it, so their bytes are the same.
    pub(crate) fn forward<T: Float>(
        &self,
        exec: &impl Executor,
        [offsets, logits, values]: [&[T]; 3],
        positions: &mut [T::Acc],
        weights: &mut [T],
        row: &mut [T::Number],
        out: &mut [T],
    ) -> kernels::Result<()> {
        let levels = [self.level];
        let shape = self.shape(&levels);
        deformable::positions(exec, shape, offsets, positions)?;
        softmax::forward(self.weights(), Logits::new(logits, 0), weights, row)?;
        let inputs = Inputs {
            values,
            positions,
            weights,
        };
        deformable::forward(exec, shape, inputs, out)
    }

    /// Takes the error of the heads to those of values, positions, weights, and offsets.
    pub(crate) fn backward<T: Float>(
        &self,
        exec: &impl Executor,
        inputs: Inputs<'_, T>,
        dy: &[T],
        errors: Errors<'_, T>,
        offsets: &mut [T],
        sums: &mut [T::Acc],
    ) -> kernels::Result<()> {
        let levels = [self.level];
        let shape = self.shape(&levels);
        let Errors {
            values,
            positions,
            weights,
        } = errors;
        let errors = Errors {
            values,
            positions: &mut *positions,
            weights,
        };
        deformable::backward(exec, shape, inputs, dy, errors, sums)?;
        deformable::positions_backward(exec, shape, positions, offsets)
    }

    /// Takes the error of weights to that of their logits.
    pub(crate) fn backward_logits<T: Element>(
        &self,
        logits: &[T],
        dy: &[T],
        dx: &mut [T],
        row: &mut [T::Number],
    ) -> kernels::Result<()> {
        let errors = softmax::Errors {
            dy,
            store: Store::EXACT,
        };
        softmax::backward(self.weights(), Logits::new(logits, 0), errors, dx, row)?;
        Ok(())
    }
}

/// Attributes: height, width, heads, points of a head, size of a head.
fn map(batch: usize, attributes: &mut Attributes<'_>) -> Result<Map> {
    let [height, width, heads, points, size] = attributes.sizes()?;
    Ok(Map {
        batch,
        level: Level { height, width },
        heads,
        points,
        size,
    })
}

/// Values: offsets, logits, values; y, positions, weights, a row.
fn run_forward<T: Float>(call: &mut Call<'_, '_>) -> Result<()> {
    let (exec, map) = (call.exec, map(call.batch, &mut call.attributes())?);
    let [offsets, logits, values, y, positions, weights, row] =
        call.views([0, 1, 2, 3, 4, 5, 6])?;
    let projected = [read::<T>(offsets)?, read(logits)?, read(values)?];
    let (positions, weights) = (write(positions)?, write(weights)?);
    map.forward(exec, projected, positions, weights, write(row)?, write(y)?)?;
    Ok(())
}

/// Values: logits, values, positions, weights, dy; errors of offsets, logits and values, of positions and weights, sums, a
/// row.
fn run_backward<T: Float>(call: &mut Call<'_, '_>) -> Result<()> {
    let (exec, map) = (call.exec, map(call.batch, &mut call.attributes())?);
    let slots = core::array::from_fn::<_, 12, _>(|slot| slot);
    let [
        logits,
        values,
        positions,
        weights,
        dy,
        of_offsets,
        of_logits,
        of_values,
        of_positions,
        of_weights,
        sums,
        row,
    ] = call.views(slots)?;
    let inputs = Inputs {
        values: read::<T>(values)?,
        positions: read(positions)?,
        weights: read(weights)?,
    };
    let of_weights = write::<T>(of_weights)?;
    let errors = Errors {
        values: write(of_values)?,
        positions: write(of_positions)?,
        weights: &mut *of_weights,
    };
    let (dy, offsets) = (read(dy)?, write(of_offsets)?);
    map.backward(exec, inputs, dy, errors, offsets, write(sums)?)?;
    let (logits, dx) = (read(logits)?, write(of_logits)?);
    map.backward_logits(logits, of_weights, dx, write(row)?)?;
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use super::Map;
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;
    use selvedge_kernels::Element;
    use selvedge_kernels::softmax::Kernels;

    #[derive(Debug)]
    struct Deformable;

    /// Bytes of a position, and of a number in a row.
    fn bytes_of(dtype: selvedge_kernels::DType) -> [usize; 2] {
        crate::network::builder::by_dtype!(dtype, T => {
            [size_of::<<T as Element>::Acc>(), size_of::<<T as Kernels>::Number>()]
        })
    }

    /// `[offsets, logits, values]` to what the heads give, `[height, width, heads · size]`.
    pub(crate) fn append(
        graph: &mut Graph,
        inputs: [ValueId; 3],
        map: Map,
        number: u32,
    ) -> ValueId {
        let [x, ..] = inputs;
        let dtype = graph.dtype_of(x);
        let [position, row] = bytes_of(dtype);
        let (height, width) = (map.level.height, map.level.width);
        let taps = [map.cells(), map.heads, map.points];
        let scratch = [
            graph.raw([&taps[..], &[2, position]].concat(), true),
            graph.computed(dtype, taps.to_vec()),
            graph.raw(vec![map.points, row], false),
        ];
        let attributes = [height, width, map.heads, map.points, map.size];
        let y = graph.computed(dtype, vec![height, width, map.heads * map.size]);
        let node = Node::new(&Deformable, Kind::Deformable, dtype, number)
            .inputs(inputs.map(Some))
            .outputs([Some(y)])
            .scratch(scratch)
            .attributes(attributes.map(|extent| extent as u32).to_vec());
        graph.node(node);
        y
    }

    impl Describe for Deformable {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[offsets, logits, values], &[Some(y)], &[positions, weights, row]) =
                (&*node.inputs, &*node.outputs, &*node.scratch)
                && let &[height, width, _, _, size] = &*node.attributes
                && let Some(dy) = walk.error(y, node.number)
            {
                let dtype = node.dtypes[0];
                let [sum, _] = bytes_of(dtype);
                let errors = [offsets, logits, values].map(|x| walk.new_error(x));
                let graph = &mut *walk.graph;
                let of = |value: ValueId, graph: &Graph| graph.shape_of(value);
                let sums = [height, width, size].map(|extent| extent as usize);
                let scratch = [
                    graph.raw(of(positions, graph), true),
                    graph.computed(dtype, of(weights, graph)),
                    graph.raw([&sums[..], &[sum]].concat(), false),
                    graph.raw(of(row, graph), false),
                ];
                let back = Node::new(self, Kind::DeformableBackward, dtype, node.number)
                    .inputs([logits, values, Some(positions), Some(weights), Some(dy)])
                    .outputs(errors)
                    .scratch(scratch)
                    .attributes(node.attributes.clone());
                walk.graph.node(back);
            }
            Ok(())
        }
    }
}
