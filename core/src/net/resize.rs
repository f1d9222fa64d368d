//! Images at other sizes.

use super::{Apply, Context, Function, Values};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::resize::{self, Coordinates};
use selvedge_kernels::{Element, Result};

/// Each pixel of `Out` is the nearest one of `In`, both `[H, W, C]`. Numerical behaviour:
/// [`selvedge_kernels::resize::nearest`].
pub type ResizeNearest<T, In, Out, G = Asymmetric> = Apply<T, Nearest<In, Out, G>>;

/// Each pixel of `Out` is a bilinear mixture of four of `In`, both `[H, W, C]`. Numerical behaviour:
/// [`selvedge_kernels::resize::bilinear`].
pub type ResizeBilinear<T, In, Out, G = HalfPixel> = Apply<T, Bilinear<In, Out, G>>;

/// Which position of the input a pixel of the output stands for.
pub trait Grid: 'static {
    /// The rule.
    const COORDINATES: Coordinates;
}

/// [`Coordinates::HalfPixel`].
#[derive(Clone, Copy, Debug, Default)]
pub struct HalfPixel;

/// [`Coordinates::AlignCorners`].
#[derive(Clone, Copy, Debug, Default)]
pub struct AlignCorners;

/// [`Coordinates::Asymmetric`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Asymmetric;

impl Grid for HalfPixel {
    const COORDINATES: Coordinates = Coordinates::HalfPixel;
}

impl Grid for AlignCorners {
    const COORDINATES: Coordinates = Coordinates::AlignCorners;
}

impl Grid for Asymmetric {
    const COORDINATES: Coordinates = Coordinates::Asymmetric;
}

/// See [`ResizeNearest`].
pub struct Nearest<In, Out, G>(PhantomData<(In, Out, G)>);

/// See [`ResizeBilinear`].
pub struct Bilinear<In, Out, G>(PhantomData<(In, Out, G)>);

const fn check<In: Shape, Out: Shape>() {
    assert!(
        In::RANK == 3 && Out::RANK == 3,
        "resize: expected images of rows, columns and channels"
    );
    assert!(
        In::CHANNELS == Out::CHANNELS,
        "resize: as many output channels as input channels"
    );
}

const fn shape<In: Shape, Out: Shape, G: Grid>(batch: usize) -> resize::Shape {
    let [height, width, channels, ..] = In::EXTENTS;
    let [rows, columns, ..] = Out::EXTENTS;
    resize::Shape {
        batch,
        height,
        width,
        channels,
        outputs: [rows, columns],
        coordinates: G::COORDINATES,
    }
}

impl<In: Shape, Out: Shape, G: Grid> Function for Nearest<In, Out, G> {
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "resize_nearest";
    const RESCALES: bool = false;
    const CHECKED: () = check::<In, Out>();

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        resize::nearest(context.exec, shape::<In, Out, G>(x.batch), x.data, out)?;
        Ok(x.exponent)
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let (exec, shape) = (context.exec, shape::<In, Out, G>(dy.batch));
        context.rescale(dy.exponent, |store| {
            resize::nearest_backward(exec, shape, dy.data, store, dx)
        })
    }
}

impl<In: Shape, Out: Shape, G: Grid> Function for Bilinear<In, Out, G> {
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "resize_bilinear";
    const RESCALES: bool = true;
    const CHECKED: () = check::<In, Out>();

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        let (exec, shape) = (context.exec, shape::<In, Out, G>(x.batch));
        context.rescale(x.exponent - resize::bilinear_places::<T>(), |store| {
            resize::bilinear(exec, shape, x.data, store, out)
        })
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let (exec, shape) = (context.exec, shape::<In, Out, G>(dy.batch));
        context.rescale(dy.exponent - resize::bilinear_places::<T>(), |store| {
            resize::bilinear_backward(exec, shape, dy.data, store, dx)
        })
    }
}
