//! Pooling: the largest element or the mean of each channel under a window, or of even parts.

use super::call::{Attributes, Call, Direction, read, write};
use super::window::{self, by_axes};
use super::{Fault, Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::pool::{self, Adaptive, Padding, Shape};
use selvedge_kernels::requantize::Store;

super::groups! {
    /// The largest element under a window.
    run, train: MaxPool max, MaxPoolBackward max_backward;
    /// The mean under a window.
    run_average, train_average: AveragePool average, AveragePoolBackward average_backward;
    /// The largest element of even parts.
    run_adaptive_max, train_adaptive_max: AdaptiveMaxPool adaptive_max, AdaptiveMaxPoolBackward adaptive_max_backward;
    /// The mean of even parts.
    run_adaptive_average, train_adaptive_average:
        AdaptiveAveragePool adaptive_average, AdaptiveAveragePoolBackward adaptive_average_backward;
}

/// The largest element under a window over `N` axes alone: what a small program links.
#[must_use]
pub const fn run_over<T: Element, const N: usize>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::MaxPool,
            dtypes: [T::DTYPE, T::DTYPE],
            run: max_over::<T, N>,
        }]
    }
}

/// Takes errors back through it.
#[must_use]
pub const fn train_over<T: Element, const N: usize>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::MaxPoolBackward,
            dtypes: [T::DTYPE, T::DTYPE],
            run: max_backward_over::<T, N>,
        }]
    }
}

/// Attributes: axes, spatial extents, channels, window; for means, whether padding counts.
fn shape<const N: usize>(batch: usize, attributes: &mut Attributes<'_>) -> Result<Shape<N>> {
    Ok(Shape {
        batch,
        input: attributes.sizes()?,
        channels: attributes.size()?,
        window: window::read(attributes)?,
    })
}

fn padding(attributes: &mut Attributes<'_>) -> Result<Padding> {
    match attributes.word()? {
        0 => Ok(Padding::NotCounted),
        1 => Ok(Padding::Counted),
        _ => Err(Fault::Malformed),
    }
}

/// Attributes: axes, spatial extents, channels, extents of the output.
fn parts<const N: usize>(batch: usize, attributes: &mut Attributes<'_>) -> Result<Adaptive<N>> {
    Ok(Adaptive {
        batch,
        input: attributes.sizes()?,
        channels: attributes.size()?,
        output: attributes.sizes()?,
    })
}

fn max<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    by_axes!(call.attributes(), N => max_over::<T, N>(call))
}

fn max_backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    by_axes!(call.attributes(), N => max_backward_over::<T, N>(call))
}

/// The shape behind the number of axes, which must be `N`.
fn over<const N: usize>(call: &Call<'_, '_>) -> Result<Shape<N>> {
    let mut attributes = call.attributes();
    if attributes.size()? != N {
        return Err(Fault::Malformed);
    }
    shape::<N>(call.batch, &mut attributes)
}

/// Values: x, y.
fn max_over<T: Element, const N: usize>(call: &mut Call<'_, '_>) -> Result<()> {
    let (exec, exponent) = (call.exec, call.exponent(0));
    let shape = over::<N>(call)?;
    let [x, y] = call.views([0, 1])?;
    pool::max_forward(exec, shape, read::<T>(x)?, write(y)?)?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: x, y, dy, dx.
fn max_backward_over<T: Element, const N: usize>(call: &mut Call<'_, '_>) -> Result<()> {
    let (shape, exponent) = (over::<N>(call)?, call.exponent(2));
    let slots = [0, 1, 2, 3];
    let exponent = call.with::<T, _, 4>(Direction::Backward, 0, slots, |context, views| {
        let [x, y, dy, dx] = views;
        let (x, y, dy, dx) = (read::<T>(x)?, read::<T>(y)?, read(dy)?, write(dx)?);
        let exec = context.exec;
        let mut run = |store| pool::max_backward(exec, shape, x, y, dy, store, dx);
        Ok(if shape.window.overlaps() {
            context.rescale(exponent, run)?
        } else {
            run(Store::EXACT)?; // no errors are added
            exponent
        })
    })?;
    call.set_exponent(3, exponent);
    Ok(())
}

/// Values: x, y.
fn average<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    mean::<T>(call, Direction::Forward)
}

/// Values: dy, dx.
fn average_backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    mean::<T>(call, Direction::Backward)
}

#[inline(always)] // whoever goes one way links nothing of the other
fn mean<T: Element>(call: &mut Call<'_, '_>, direction: Direction) -> Result<()> {
    let mut attributes = call.attributes();
    let (batch, exponent) = (call.batch, call.exponent(0));
    let exponent = by_axes!(attributes, N => {
        let shape = shape::<N>(batch, &mut attributes)?;
        let padding = padding(&mut attributes)?;
        let exponent = shape.average_exponent::<T>(padding, exponent)?;
        call.with::<T, _, 2>(direction, 0, [0, 1], |context, [from, to]| {
            let (exec, from, to) = (context.exec, read::<T>(from)?, write::<T>(to)?);
            let run = |store| match direction {
                Direction::Forward => pool::average_forward(exec, shape, padding, from, store, to),
                _ => pool::average_backward(exec, shape, padding, from, store, to),
            };
            Ok(context.rescale(exponent, run)?)
        })
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: x, y.
fn adaptive_max<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let (exec, exponent) = (call.exec, call.exponent(0));
    by_axes!(attributes, N => {
        let shape = parts::<N>(call.batch, &mut attributes)?;
        let [x, y] = call.views([0, 1])?;
        pool::adaptive_max_forward(exec, shape, read::<T>(x)?, write(y)?)?;
        Ok(())
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: x, y, dy, dx.
fn adaptive_max_backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let (batch, exponent) = (call.batch, call.exponent(2));
    let exponent = by_axes!(attributes, N => {
        let shape = parts::<N>(batch, &mut attributes)?;
        call.with::<T, _, 4>(Direction::Backward, 0, [0, 1, 2, 3], |context, [x, y, dy, dx]| {
            let (x, y, dy, dx) = (read::<T>(x)?, read::<T>(y)?, read::<T>(dy)?, write::<T>(dx)?);
            let exec = context.exec;
            let run = |store| pool::adaptive_max_backward(exec, shape, x, y, dy, store, dx);
            Ok(context.rescale(exponent, run)?)
        })
    })?;
    call.set_exponent(3, exponent);
    Ok(())
}

/// Values: x, y.
fn adaptive_average<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    adaptive_mean::<T>(call, Direction::Forward)
}

/// Values: dy, dx.
fn adaptive_average_backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    adaptive_mean::<T>(call, Direction::Backward)
}

#[inline(always)] // as `mean`
fn adaptive_mean<T: Element>(call: &mut Call<'_, '_>, direction: Direction) -> Result<()> {
    let mut attributes = call.attributes();
    let (batch, exponent) = (call.batch, call.exponent(0));
    let exponent = by_axes!(attributes, N => {
        let shape = parts::<N>(batch, &mut attributes)?;
        let exponent = shape.average_exponent::<T>(exponent)?;
        call.with::<T, _, 2>(direction, 0, [0, 1], |context, [from, to]| {
            let (exec, from, to) = (context.exec, read::<T>(from)?, write::<T>(to)?);
            let run = |store| match direction {
                Direction::Forward => pool::adaptive_average_forward(exec, shape, from, store, to),
                _ => pool::adaptive_average_backward(exec, shape, from, store, to),
            };
            Ok(context.rescale(exponent, run)?)
        })
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind, window};
    use alloc::vec;
    use alloc::vec::Vec;
    use selvedge_kernels as kernels;
    use selvedge_kernels::pool::Shape;

    /// Pooling: the kind that goes forward, the one that goes back, and whether that asks what was the largest.
    #[derive(Debug)]
    pub(crate) struct Pool {
        forward: Kind,
        backward: Kind,
        asks_values: bool,
    }

    pub(crate) static MAX: Pool = Pool {
        forward: Kind::MaxPool,
        backward: Kind::MaxPoolBackward,
        asks_values: true,
    };
    pub(crate) static AVERAGE: Pool = Pool {
        forward: Kind::AveragePool,
        backward: Kind::AveragePoolBackward,
        asks_values: false,
    };
    pub(crate) static ADAPTIVE_MAX: Pool = Pool {
        forward: Kind::AdaptiveMaxPool,
        backward: Kind::AdaptiveMaxPoolBackward,
        asks_values: true,
    };
    pub(crate) static ADAPTIVE_AVERAGE: Pool = Pool {
        forward: Kind::AdaptiveAveragePool,
        backward: Kind::AdaptiveAveragePoolBackward,
        asks_values: false,
    };

    impl Pool {
        fn append(
            &'static self,
            graph: &mut Graph,
            number: u32,
            x: ValueId,
            to: Vec<usize>,
            attributes: Vec<u32>,
        ) -> ValueId {
            let dtype = graph.dtype_of(x);
            let y = graph.computed(dtype, to);
            let node = Node::new(self, self.forward, dtype, number)
                .inputs([Some(x)])
                .outputs([Some(y)])
                .attributes(attributes);
            graph.node(if self.asks_values {
                node
            } else {
                node.states(1)
            });
            y
        }

        /// `x` under the windows of `shape`; of a mean, whether padding counts.
        pub(crate) fn sliding<const N: usize>(
            &'static self,
            graph: &mut Graph,
            number: u32,
            x: ValueId,
            shape: &Shape<N>,
            counts: bool,
        ) -> kernels::Result<ValueId> {
            let mut to: Vec<usize> = shape.window.outputs(shape.input)?.to_vec();
            to.push(shape.channels);
            let mut attributes = vec![N as u32];
            attributes.extend(shape.input.map(|extent| extent as u32));
            attributes.push(shape.channels as u32);
            window::describe::write(&shape.window, &mut attributes);
            if !self.asks_values {
                attributes.push(counts.into());
            }
            Ok(self.append(graph, number, x, to, attributes))
        }

        /// Even parts of `x`, as many along each axis as `output` says.
        pub(crate) fn parts<const N: usize>(
            &'static self,
            graph: &mut Graph,
            number: u32,
            x: ValueId,
            (input, channels): ([usize; N], usize),
            output: [usize; N],
        ) -> ValueId {
            let to = [&output[..], &[channels]].concat();
            let mut attributes = vec![N as u32];
            attributes.extend(input.map(|extent| extent as u32));
            attributes.push(channels as u32);
            attributes.extend(output.map(|extent| extent as u32));
            self.append(graph, number, x, to, attributes)
        }
    }

    impl Describe for Pool {
        fn repeats(&self) -> bool {
            true
        }

        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[x], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y, node.number)
                && let Some(dx) = walk.new_error(x)
            {
                let back = Node::new(self, self.backward, node.dtypes[0], node.number)
                    .inputs(if self.asks_values {
                        vec![x, Some(y), Some(dy)]
                    } else {
                        vec![Some(dy)]
                    })
                    .outputs([Some(dx)])
                    .attributes(node.attributes.clone())
                    .states(1);
                walk.graph.node(back);
            }
            Ok(())
        }
    }
}
