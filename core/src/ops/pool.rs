//! Pooling: the largest element of each channel under a window.

use super::call::{Attributes, Call, read, write};
use super::window::{self, by_axes};
use super::{Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::pool::{Shape, max_backward, max_forward};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::scale::Scale;

/// The largest element under a window.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::MaxPool,
            dtypes: [T::DTYPE, T::DTYPE],
            run: forward::<T>,
        }]
    }
}

/// Takes errors to the largest element under a window.
#[must_use]
pub const fn train<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::MaxPoolBackward,
            dtypes: [T::DTYPE, T::DTYPE],
            run: backward::<T>,
        }]
    }
}

/// Attributes: axes, spatial extents, channels, window.
fn shape<const N: usize>(batch: usize, attributes: &mut Attributes<'_>) -> Result<Shape<N>> {
    Ok(Shape {
        batch,
        input: attributes.sizes()?,
        channels: attributes.size()?,
        window: window::read(attributes)?,
    })
}

/// Values: x, y.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let (exec, exponent) = (call.exec, call.exponent(0));
    by_axes!(attributes, N => {
        let shape = shape::<N>(call.batch, &mut attributes)?;
        let [x, y] = call.views([0, 1])?;
        max_forward(exec, shape, read::<T>(x)?, write(y)?)?;
        Ok(())
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: x, y, dy, dx.
fn backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let (pass, exponent) = (call.pass(), call.exponent(2));
    let mut scale: T::Scale = call.scale(0);
    let rounding = Rounding::Stochastic(pass.error_words(call.number()));
    let exponent = by_axes!(attributes, N => {
        let shape = shape::<N>(call.batch, &mut attributes)?;
        let overlaps = shape.window.overlaps();
        let [x, y, dy, dx] = call.views([0, 1, 2, 3])?;
        let (x, y, dy, dx) = (read::<T>(x)?, read::<T>(y)?, read(dy)?, write(dx)?);
        let mut run = |store| max_backward(pass.exec, shape, x, y, dy, store, dx);
        if overlaps {
            Ok(scale.requantize(exponent, T::MAGNITUDE_BITS, pass.mode, rounding, run)?)
        } else {
            run(Store::EXACT)?; // no errors are added
            Ok(exponent)
        }
    })?;
    call.set_scale(0, scale);
    call.set_exponent(3, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind, window};
    use alloc::vec;
    use alloc::vec::Vec;
    use selvedge_kernels::pool::Shape;
    use selvedge_kernels::{self as kernels, DType};

    #[derive(Debug)]
    struct MaxPool;

    /// The largest elements of `x` under the windows of `shape`.
    pub(crate) fn append<const N: usize>(
        graph: &mut Graph,
        dtype: DType,
        number: u32,
        x: ValueId,
        shape: &Shape<N>,
    ) -> kernels::Result<ValueId> {
        let mut to: Vec<usize> = shape.window.outputs(shape.input)?.to_vec();
        to.push(shape.channels);
        let mut attributes = vec![N as u32];
        attributes.extend(shape.input.map(|extent| extent as u32));
        attributes.push(shape.channels as u32);
        window::describe::write(&shape.window, &mut attributes);
        let y = graph.computed(dtype, to);
        graph.node(Node {
            operator: &MaxPool,
            kind: Kind::MaxPool,
            dtypes: [dtype, dtype],
            number,
            inputs: vec![Some(x)],
            outputs: vec![Some(y)],
            attributes,
            states: 0,
            state: 0,
        });
        Ok(y)
    }

    impl Describe for MaxPool {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[Some(x)], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y)
                && walk.learns(x)
            {
                let shape = walk.graph.shape_of(x);
                let dx = walk.graph.computed(node.dtypes[0], shape);
                walk.graph.node(Node {
                    operator: &MaxPool,
                    kind: Kind::MaxPoolBackward,
                    dtypes: node.dtypes,
                    number: node.number,
                    inputs: vec![Some(x), Some(y), Some(dy)],
                    outputs: vec![Some(dx)],
                    attributes: node.attributes.clone(),
                    states: 1,
                    state: 0,
                });
                walk.set_error(x, dx);
            }
            Ok(())
        }
    }
}
