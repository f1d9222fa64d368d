//! Pooling: the largest element or the mean under windows, of the whole input, or of even parts of it.

use super::geometry::{Geometry, Padding as Cells, Slide, by_axes, extents, gives, named, window};
use super::{Apply, Context, Function, Values};
use crate::tensor::{D2, Shape};
use core::marker::PhantomData;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::pool::{self, Adaptive, Padding};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, Result};

/// The largest element of each channel under a window of `K` cells, from inputs `In`
/// (`[W, C]`, `[H, W, C]` or `[D, H, W, C]`) to `Out`. Numerical behaviour:
/// [`selvedge_kernels::pool::max_forward`]; an error goes to the first of equal elements.
///
/// # Example
/// ```
/// use selvedge_core::net::{AveragePool, Layer, MaxPool, Slide};
/// use selvedge_core::tensor::{D1, D2, D3};
/// // Half the rows and columns: windows of 2×2, two steps at a time.
/// static HALVE: MaxPool<i8, D3<8, 8, 4>, D3<4, 4, 4>> = Layer::BLANK;
/// // The mean of five columns of a signal around each.
/// static MEANS: AveragePool<i8, D2<20, 3>, D2<20, 3>, D1<5>, Slide<1, 2>> = Layer::BLANK;
/// ```
/// Shapes that do not belong together do not compile: 9 rows have four windows.
/// ```compile_fail
/// # use selvedge_core::net::{Layer, MaxPool};
/// # use selvedge_core::tensor::D3;
/// static HALVE: MaxPool<i8, D3<9, 8, 4>, D3<5, 4, 4>> = Layer::BLANK;
/// ```
pub type MaxPool<T, In, Out, K = D2<2, 2>, G = Slide<2>> = Apply<T, Max<In, Out, K, G>>;

/// The mean of each channel under a window of `K` cells; padding counts, as zeros, if `COUNTED`.
/// Shapes and an example: [`MaxPool`]. Numerical behaviour: [`selvedge_kernels::pool::average_forward`].
pub type AveragePool<T, In, Out, K = D2<2, 2>, G = Slide<2>, const COUNTED: bool = true> =
    Apply<T, Average<In, Out, K, G, COUNTED>>;

/// The largest element of each channel, to `[C]`.
pub type GlobalMaxPool<T, In> = Apply<T, AdaptiveMax<In, <In as Shape>::Last>>;

/// The mean of each channel, to `[C]`.
pub type GlobalAveragePool<T, In> = Apply<T, AdaptiveAverage<In, <In as Shape>::Last>>;

/// The largest element of each channel of as many even parts as `Out` has cells: one if `Out` is `[C]`.
/// Numerical behaviour: [`selvedge_kernels::pool::adaptive_max_forward`].
pub type AdaptiveMaxPool<T, In, Out> = Apply<T, AdaptiveMax<In, Out>>;

/// The mean of each channel of as many even parts as `Out` has cells: one if `Out` is `[C]`.
/// Numerical behaviour: [`selvedge_kernels::pool::adaptive_average_forward`].
pub type AdaptiveAveragePool<T, In, Out> = Apply<T, AdaptiveAverage<In, Out>>;

/// See [`MaxPool`].
pub struct Max<In, Out, K, G>(PhantomData<(In, Out, K, G)>);

/// See [`AveragePool`].
pub struct Average<In, Out, K, G, const COUNTED: bool>(PhantomData<(In, Out, K, G)>);

/// See [`AdaptiveMaxPool`].
pub struct AdaptiveMax<In, Out>(PhantomData<(In, Out)>);

/// See [`AdaptiveAveragePool`].
pub struct AdaptiveAverage<In, Out>(PhantomData<(In, Out)>);

const fn sliding<In: Shape, K: Shape, G: Geometry, const N: usize>() -> Window<N> {
    window::<G, N>(extents::<K, N>(0), extents::<In, N>(0))
}

const fn shape<In: Shape, K: Shape, G: Geometry, const N: usize>(batch: usize) -> pool::Shape<N> {
    pool::Shape {
        batch,
        input: extents::<In, N>(0),
        channels: In::CHANNELS,
        window: const { sliding::<In, K, G, N>() },
    }
}

const fn check<In: Shape, Out: Shape, K: Shape, G: Geometry>() {
    assert!(
        In::RANK >= 2 && In::RANK <= 4 && Out::RANK == In::RANK && K::RANK + 1 == In::RANK,
        "pool: expected inputs and outputs of one to three axes and channels, and a kernel of those axes"
    );
    assert!(
        In::CHANNELS == Out::CHANNELS,
        "pool: as many output channels as input channels"
    );
    let gives = by_axes!(In, N => gives::<In, Out, N>(&sliding::<In, K, G, N>()));
    assert!(
        gives,
        "pool: the output's extents are not those of this window"
    );
}

impl<In: Shape, Out: Shape, K: Shape, G: Geometry> Function for Max<In, Out, K, G> {
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = named::<In>(["max_pool1d", "max_pool2d", "max_pool3d"]);
    const RESCALES: bool = false;
    const CHECKED: () = {
        check::<In, Out, K, G>();
        check_covered::<In, K, G>();
    };

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        by_axes!(In, N => {
            pool::max_forward(context.exec, shape::<In, K, G, N>(x.batch), x.data, out)
        })?;
        Ok(x.exponent)
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        y: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let exec = context.exec;
        by_axes!(In, N => {
            let shape = shape::<In, K, G, N>(x.batch);
            let overlaps = shape.window.overlaps();
            let mut run = |store| pool::max_backward(exec, shape, x.data, y.data, dy.data, store, dx);
            if overlaps {
                context.rescale(dy.exponent, run)
            } else {
                run(Store::EXACT).map(|_| dy.exponent) // no errors are added
            }
        })
    }
}

impl<In: Shape, Out: Shape, K: Shape, G: Geometry, const COUNTED: bool>
    Average<In, Out, K, G, COUNTED>
{
    const PADDING: Padding = if COUNTED {
        Padding::Counted
    } else {
        Padding::NotCounted
    };
}

impl<In: Shape, Out: Shape, K: Shape, G: Geometry, const COUNTED: bool> Function
    for Average<In, Out, K, G, COUNTED>
{
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = named::<In>(["average_pool1d", "average_pool2d", "average_pool3d"]);
    const RESCALES: bool = true;
    const CHECKED: () = {
        check::<In, Out, K, G>();
        if !COUNTED {
            check_covered::<In, K, G>();
        }
        assert!(
            !COUNTED || !matches!(G::PADDING, Cells::Ceil(_)),
            "pool: the cells that a last window lacks do not count: average with `COUNTED` false"
        );
    };

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        let exec = context.exec;
        by_axes!(In, N => {
            let shape = shape::<In, K, G, N>(x.batch);
            let exponent = shape.average_exponent::<T>(Self::PADDING, x.exponent)?;
            context.rescale(exponent, |store| {
                pool::average_forward(exec, shape, Self::PADDING, x.data, store, out)
            })
        })
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let exec = context.exec;
        by_axes!(In, N => {
            let shape = shape::<In, K, G, N>(x.batch);
            let exponent = shape.average_exponent::<T>(Self::PADDING, dy.exponent)?;
            context.rescale(exponent, |store| {
                pool::average_backward(exec, shape, Self::PADDING, dy.data, store, dx)
            })
        })
    }
}

/// Refuses windows on padding alone, which have no maximum, and no mean where padding does not count.
const fn check_covered<In: Shape, K: Shape, G: Geometry>() {
    let covers = by_axes!(In, N => sliding::<In, K, G, N>().covers(extents::<In, N>(0)));
    assert!(covers, "pool: a window stands on padding alone");
}

const fn check_parts<In: Shape, Out: Shape>() {
    assert!(
        In::RANK >= 2 && In::RANK <= 4 && (Out::RANK == In::RANK || Out::RANK == 1),
        "pool: expected inputs of one to three axes and channels, and outputs of those or channels alone"
    );
    assert!(
        In::CHANNELS == Out::CHANNELS,
        "pool: as many output channels as input channels"
    );
}

const fn parts<In: Shape, Out: Shape, const N: usize>(batch: usize) -> Adaptive<N> {
    Adaptive {
        batch,
        input: extents::<In, N>(0),
        channels: In::CHANNELS,
        output: if Out::RANK == 1 {
            [1; N]
        } else {
            extents::<Out, N>(0)
        },
    }
}

impl<In: Shape, Out: Shape> Function for AdaptiveMax<In, Out> {
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "adaptive_max_pool";
    const RESCALES: bool = false;
    const CHECKED: () = check_parts::<In, Out>();

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        by_axes!(In, N => {
            pool::adaptive_max_forward(context.exec, parts::<In, Out, N>(x.batch), x.data, out)
        })?;
        Ok(x.exponent)
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        y: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let exec = context.exec;
        by_axes!(In, N => {
            let shape = parts::<In, Out, N>(x.batch);
            context.rescale(dy.exponent, |store| {
                pool::adaptive_max_backward(exec, shape, x.data, y.data, dy.data, store, dx)
            })
        })
    }
}

impl<In: Shape, Out: Shape> Function for AdaptiveAverage<In, Out> {
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "adaptive_average_pool";
    const RESCALES: bool = true;
    const CHECKED: () = check_parts::<In, Out>();

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        let exec = context.exec;
        by_axes!(In, N => {
            let shape = parts::<In, Out, N>(x.batch);
            context.rescale(shape.average_exponent::<T>(x.exponent)?, |store| {
                pool::adaptive_average_forward(exec, shape, x.data, store, out)
            })
        })
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let exec = context.exec;
        by_axes!(In, N => {
            let shape = parts::<In, Out, N>(x.batch);
            context.rescale(shape.average_exponent::<T>(dy.exponent)?, |store| {
                pool::adaptive_average_backward(exec, shape, dy.data, store, dx)
            })
        })
    }
}
