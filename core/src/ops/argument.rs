//! Where the largest and the smallest elements of an axis are.

use super::call::{Attributes, Call, read, write};
use super::{Kernel, Kind, Result};
use selvedge_kernels::axes::Extents;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::split::{rows_of, rows_of_mut};
use selvedge_kernels::{self as kernels, Arg, Element, select};

/// Where the largest elements are, and the smallest.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    const {
        &[
            Kernel {
                kind: Kind::ArgMax,
                dtypes: [T::DTYPE, T::DTYPE],
                run: max::<T>,
            },
            Kernel {
                kind: Kind::ArgMin,
                dtypes: [T::DTYPE, T::DTYPE],
                run: min::<T>,
            },
        ]
    }
}

/// What goes back through them: zeros.
#[must_use]
pub const fn train<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::ArgBackward,
            dtypes: [T::DTYPE, T::DTYPE],
            run: backward::<T>,
        }]
    }
}

/// The places along `axis` of the largest or the smallest elements of `batch` samples of `extents`, as elements; `indices`
/// is room for those of one.
pub(crate) fn places<T: Element>(
    exec: &impl Executor,
    (batch, extents): (usize, Extents),
    axis: usize,
    is_largest: bool,
    x: &[T],
    indices: &mut [u32],
    out: &mut [T],
) -> kernels::Result<()> {
    let len = extents.elements();
    let expected = batch.saturating_mul(len);
    if x.len() != expected {
        return Err(kernels::Error::Length {
            arg: Arg::X,
            expected,
            got: x.len(),
        });
    }
    let each = indices.len();
    for (x, out) in rows_of(x, len).zip(rows_of_mut(out, each)) {
        if is_largest {
            select::argmax(exec, extents, axis, x, indices)?;
        } else {
            select::argmin(exec, extents, axis, x, indices)?;
        }
        for (out, &index) in out.iter_mut().zip(&*indices) {
            *out = T::from_index(index);
        }
    }
    Ok(())
}

/// The extents of one sample, and an axis of it.
pub(crate) fn axis(attributes: &mut Attributes<'_>) -> Result<(Extents, usize)> {
    let (extents, rank) = attributes.several::<{ kernels::axes::MAX_RANK }>()?;
    let extents = Extents::new(extents.get(..rank).unwrap_or_default())?;
    Ok((extents, attributes.size()?))
}

/// Attributes: [`axis`]. Values: x, y, indices of a sample.
fn forward<T: Element>(call: &mut Call<'_, '_>, is_largest: bool) -> Result<()> {
    let (extents, axis) = axis(&mut call.attributes())?;
    let (exec, samples) = (call.exec, (call.batch, extents));
    let [x, y, indices] = call.views([0, 1, 2])?;
    let (x, y) = (read::<T>(x)?, write(y)?);
    places(exec, samples, axis, is_largest, x, write(indices)?, y)?;
    call.set_exponent(1, 0);
    Ok(())
}

fn max<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    forward::<T>(call, true)
}

fn min<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    forward::<T>(call, false)
}

/// Values: dy, dx.
fn backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let exponent = call.exponent(0);
    let [dx] = call.views([1])?;
    write(dx)?.fill(T::ZERO);
    call.set_exponent(1, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::function::counted;
    use crate::ops::{Describe, Kind};
    use alloc::vec::Vec;
    use selvedge_kernels::DType;

    #[derive(Debug)]
    struct Argument;

    /// Where `x` is largest along `axis`, or smallest; in `shape`, that of the other axes.
    pub(crate) fn append(
        graph: &mut Graph,
        number: u32,
        x: ValueId,
        (axis, is_largest): (usize, bool),
        shape: Vec<usize>,
    ) -> ValueId {
        let dtype = graph.dtype_of(x);
        let mut attributes = counted(&graph.shape_of(x));
        attributes.push(axis as u32);
        let indices = graph.computed_once(DType::U32, shape.clone());
        let y = graph.computed(dtype, shape);
        let kind = if is_largest {
            Kind::ArgMax
        } else {
            Kind::ArgMin
        };
        let node = Node::new(&Argument, kind, dtype, number)
            .inputs([Some(x)])
            .outputs([Some(y)])
            .scratch([indices])
            .attributes(attributes);
        graph.node(node);
        y
    }

    impl Describe for Argument {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[x], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y, node.number)
                && let Some(dx) = walk.new_error(x)
            {
                let kind = Kind::ArgBackward;
                let back = Node::new(self, kind, node.dtypes[0], node.number)
                    .inputs([Some(dy)])
                    .outputs([Some(dx)]);
                walk.graph.node(back);
            }
            Ok(())
        }
    }
}
