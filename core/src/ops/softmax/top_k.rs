//! The softmax of the largest logits of a row. The way back is that of a masked softmax.

use super::rows::shape;
use super::{Call, Result, read, stored, temperature, write};
use crate::ops::{Kernel, Kind};
use selvedge_kernels::axes::Extents;
use selvedge_kernels::softmax::{Logits, masked};
use selvedge_kernels::split::{rows_of, rows_of_mut};
use selvedge_kernels::{self as kernels, Element, select};

/// The softmax of the largest logits; [`train_masked`](super::train_masked) takes errors back.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::TopKSoftmax,
            dtypes: [T::DTYPE, T::DTYPE],
            run: forward::<T>,
        }]
    }
}

/// Marks the `k` largest logits of each row of `classes`; `values` and `places` are room for `k`.
pub(crate) fn mark<T: Element>(
    [classes, k]: [usize; 2],
    x: &[T],
    values: &mut [T],
    places: &mut [u32],
    allowed: &mut [bool],
) -> kernels::Result<()> {
    let extents = Extents::new(&[classes])?;
    allowed.fill(false);
    for (x, allowed) in rows_of(x, classes).zip(rows_of_mut(allowed, classes)) {
        select::top_k(extents, 0, k, x, values, places)?;
        for &place in &*places {
            if let Some(allowed) = allowed.get_mut(place as usize) {
                *allowed = true;
            }
        }
    }
    Ok(())
}

/// Attributes: temperature, rows of a sample, logits of a row, how many are taken. Values: x, y, numbers; of a row the
/// largest and their places; which are taken of all.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let temperature = temperature(&mut attributes)?;
    let shape = shape(call.batch, &mut attributes)?;
    let (k, exponent) = (attributes.size()?, call.exponent(0));
    let [x, y, numbers, values, places, allowed] = call.views([0, 1, 2, 3, 4, 5])?;
    let (x, allowed) = (read::<T>(x)?, write::<u8>(allowed)?);
    allowed.fill(0);
    let allowed = bytemuck::checked::try_cast_slice_mut(allowed).unwrap_or_default();
    let ask = [shape.classes, k];
    mark(ask, x, write(values)?, write(places)?, allowed)?;
    let logits = Logits::new(x, exponent).at(temperature);
    masked::forward(shape, logits, allowed, write(y)?, write(numbers)?)?;
    call.set_exponent(1, stored::<T>());
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;
    use selvedge_kernels::DType;

    #[derive(Debug)]
    struct TopK;

    /// The softmax of the `k` largest of `classes` logits; `numbers` are the bytes of a row's.
    pub(crate) fn append(
        graph: &mut Graph,
        number: u32,
        x: ValueId,
        temperature: u32,
        [classes, k]: [usize; 2],
        numbers: usize,
    ) -> ValueId {
        let (dtype, shape) = (graph.dtype_of(x), graph.shape_of(x));
        let rows = shape.iter().product::<usize>() / classes.max(1);
        let attributes = vec![temperature, rows as u32, classes as u32, k as u32];
        let scratch = [
            graph.raw(vec![numbers], false),
            graph.computed_once(dtype, vec![k]),
            graph.computed_once(DType::U32, vec![k]),
            graph.raw(vec![rows, classes], true),
        ];
        let y = graph.computed(dtype, shape);
        let node = Node::new(&TopK, Kind::TopKSoftmax, dtype, number)
            .inputs([Some(x)])
            .outputs([Some(y)])
            .scratch(scratch)
            .attributes(attributes);
        graph.node(node);
        y
    }

    impl Describe for TopK {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[x], &[Some(y)], &[numbers, _, _, allowed], [attributes @ .., _]) = (
                &*node.inputs,
                &*node.outputs,
                &*node.scratch,
                &*node.attributes,
            ) && let Some(dy) = walk.error(y, node.number)
                && let Some(dx) = walk.new_error(x)
            {
                let numbers = walk.graph.alike(numbers);
                let kind = Kind::MaskedSoftmaxBackward;
                let back = Node::new(self, kind, node.dtypes[0], node.number)
                    .inputs([x, Some(dy), Some(allowed)])
                    .outputs([Some(dx)])
                    .scratch([numbers])
                    .attributes(attributes.to_vec())
                    .states(1);
                walk.graph.node(back);
            }
            Ok(())
        }
    }
}
