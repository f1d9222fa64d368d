//! Images at computed positions.

use super::call::{Attributes, Call, Direction, read, write};
use super::{Fault, Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::resize::bilinear_places;
use selvedge_kernels::sample::{self, Outside, Positions, Shape};

/// Bilinear mixtures of the four pixels around each position.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Sample,
            dtypes: [T::DTYPE, T::DTYPE],
            run: forward::<T>,
        }]
    }
}

/// Takes errors back to the images and to the positions.
#[must_use]
pub const fn train<T: Element>() -> &'static [Kernel] {
    const {
        &[
            Kernel {
                kind: Kind::SampleImageBackward,
                dtypes: [T::DTYPE, T::DTYPE],
                run: of_image::<T>,
            },
            Kernel {
                kind: Kind::SamplePositionsBackward,
                dtypes: [T::DTYPE, T::DTYPE],
                run: of_positions::<T>,
            },
        ]
    }
}

/// Attributes: rows, columns and channels of an image, positions in it, what stands beyond.
fn shape(batch: usize, attributes: &mut Attributes<'_>) -> Result<Shape> {
    let [height, width, channels, points] = attributes.sizes()?;
    Ok(Shape {
        batch,
        height,
        width,
        channels,
        points,
        outside: match attributes.word()? {
            0 => Outside::Zeros,
            1 => Outside::Border,
            _ => return Err(Fault::Malformed),
        },
    })
}

/// Values: images, positions; y.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let shape = shape(call.batch, &mut call.attributes())?;
    let acc = call.exponent(0) - bilinear_places::<T>();
    let (at, slots) = (call.exponent(1), [0, 1, 2]);
    let exponent = call.with::<T, _, 3>(Direction::Forward, 0, slots, |context, views| {
        let [x, positions, y] = views;
        let positions = Positions {
            values: read::<T>(positions)?,
            exponent: at,
        };
        let (exec, x, y) = (context.exec, read::<T>(x)?, write::<T>(y)?);
        let run = |store| sample::forward(exec, shape, x, positions, store, y);
        Ok(context.rescale(acc, run)?)
    })?;
    call.set_exponent(2, exponent);
    Ok(())
}

/// Values: positions, dy; the error of the images, sums of an image.
fn of_image<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let shape = shape(call.batch, &mut call.attributes())?;
    let acc = call.exponent(1) - bilinear_places::<T>();
    let (at, slots) = (call.exponent(0), [0, 1, 2, 3]);
    let exponent = call.with::<T, _, 4>(Direction::Part(0), 0, slots, |context, views| {
        let [positions, dy, dx, sums] = views;
        let positions = Positions {
            values: read::<T>(positions)?,
            exponent: at,
        };
        let (dy, dx, sums) = (read::<T>(dy)?, write::<T>(dx)?, write::<T::Long>(sums)?);
        let run = |store| sample::backward_input(shape, positions, dy, store, dx, sums);
        Ok(context.rescale(acc, run)?)
    })?;
    call.set_exponent(2, exponent);
    Ok(())
}

/// Values: images, positions, dy; the error of the positions.
fn of_positions<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let shape = shape(call.batch, &mut call.attributes())?;
    let acc = call.exponent(0).saturating_add(call.exponent(2)); // hostile ones of floats grow
    let acc = acc.saturating_add(sample::position_places::<T>());
    let (at, slots) = (call.exponent(1), [0, 1, 2, 3]);
    let exponent = call.with::<T, _, 4>(Direction::Part(1), 0, slots, |context, views| {
        let [x, positions, dy, dp] = views;
        let positions = Positions {
            values: read::<T>(positions)?,
            exponent: at,
        };
        let (exec, x, dy, dp) = (context.exec, read::<T>(x)?, read::<T>(dy)?, write::<T>(dp)?);
        let run = |store| sample::backward_positions(exec, shape, x, positions, dy, store, dp);
        Ok(context.rescale(acc, run)?)
    })?;
    call.set_exponent(3, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;
    use alloc::vec::Vec;
    use selvedge_kernels::Element;

    #[derive(Debug)]
    struct Sample;

    /// Bytes of a sum in the way back.
    pub(crate) const fn sum_bytes<T: Element>() -> usize {
        size_of::<T::Long>()
    }

    /// What is at the `positions` of images, in `shape`; a sum takes `sum` bytes.
    pub(crate) fn append(
        graph: &mut Graph,
        number: u32,
        [images, positions]: [ValueId; 2],
        is_bordered: bool,
        sum: usize,
        shape: Vec<usize>,
    ) -> ValueId {
        let dtype = graph.dtype_of(images);
        let points = graph.shape_of(positions).iter().product::<usize>() / 2;
        let mut attributes: Vec<u32> = (graph.shape_of(images).iter())
            .map(|&extent| extent as u32)
            .collect();
        attributes.extend([points as u32, is_bordered.into(), sum as u32]);
        let y = graph.computed(dtype, shape);
        let node = Node::new(&Sample, Kind::Sample, dtype, number)
            .inputs([Some(images), Some(positions)])
            .outputs([Some(y)])
            .attributes(attributes)
            .states(1);
        graph.node(node);
        y
    }

    impl Describe for Sample {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[images, positions], &[Some(y)], &[height, width, channels, _, _, sum]) =
                (&*node.inputs, &*node.outputs, &*node.attributes)
                && let Some(dy) = walk.error(y, node.number)
            {
                let (dtype, number) = (node.dtypes[0], node.number);
                if let Some(dx) = walk.new_error(images) {
                    let sums = [height, width, channels, sum].map(|extent| extent as usize);
                    let sums = walk.graph.raw(sums.to_vec(), false);
                    let kind = Kind::SampleImageBackward;
                    let back = Node::new(self, kind, dtype, number)
                        .inputs([positions, Some(dy)])
                        .outputs([Some(dx)])
                        .scratch(vec![sums])
                        .attributes(node.attributes.clone())
                        .states(1);
                    walk.graph.node(back);
                }
                if let Some(dp) = walk.new_error(positions) {
                    let kind = Kind::SamplePositionsBackward;
                    let back = Node::new(self, kind, dtype, number)
                        .inputs([images, positions, Some(dy)])
                        .outputs([Some(dp)])
                        .attributes(node.attributes.clone())
                        .states(1);
                    walk.graph.node(back);
                }
            }
            Ok(())
        }
    }
}
