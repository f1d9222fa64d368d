//! Images at computed positions.

use super::{Asked, Join};
use crate::net::axes::agree;
use crate::net::{Context, Scratch, Values};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::resize::bilinear_places;
use selvedge_kernels::sample::{self, Outside, Positions};
use selvedge_kernels::{Element, Result as KernelResult};

/// The images `a`, `[H, W, C]`, at the positions `b`, `[.., 2]`: a row and a column in pixels each, which give a
/// pixel of `Out`, `[.., C]`. Beyond the image stand its edges if `IS_BORDERED`, else zeros. Numerical
/// behaviour: [`selvedge_kernels::sample`]. Source: Jaderberg et al. 2015.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample<Out, const IS_BORDERED: bool = false>(PhantomData<Out>);

impl<Out: Shape, const IS_BORDERED: bool> Sample<Out, IS_BORDERED> {
    const fn shape<A: Shape, B: Shape>(batch: usize) -> sample::Shape {
        let [height, width, channels, ..] = A::EXTENTS;
        sample::Shape {
            batch,
            height,
            width,
            channels,
            points: B::LEN / 2,
            outside: if IS_BORDERED {
                Outside::Border
            } else {
                Outside::Zeros
            },
        }
    }
}

fn positions<T>(b: Values<'_, T>) -> Positions<'_, T> {
    Positions {
        values: b.data,
        exponent: b.exponent,
    }
}

impl<A: Shape, B: Shape, Out: Shape, const IS_BORDERED: bool> Join<A, B>
    for Sample<Out, IS_BORDERED>
{
    type Output = Out;
    /// The sums of an image.
    type Scratch<T: Element> = Scratch<T::Long, A, 1>;

    const KIND: &'static str = "sample";
    const RESCALES: bool = true;
    const CHECKED: () = {
        assert!(
            A::RANK == 3,
            "sample: the first branch must give images of rows, columns and channels"
        );
        assert!(
            B::CHANNELS == 2,
            "sample: the second branch must give positions, of a row and a column each"
        );
        assert!(
            Out::RANK == B::RANK && agree::<B, Out>(B::RANK - 1) && Out::CHANNELS == A::CHANNELS,
            "sample: the output must have the channels of the image for each position"
        );
    };

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        a: Values<'_, T>,
        b: Values<'_, T>,
        out: &mut [T],
    ) -> KernelResult<i32> {
        let (exec, shape) = (context.exec, Self::shape::<A, B>(a.batch));
        context.rescale(a.exponent - bilinear_places::<T>(), |store| {
            sample::forward(exec, shape, a.data, positions(b), store, out)
        })
    }

    fn backward<T: Element, E: Executor>(
        asked: Asked,
        [first, second]: [Context<'_, T, E>; 2],
        scratch: &mut Self::Scratch<T>,
        a: Values<'_, T>,
        b: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        da: &mut [T],
        db: &mut [T],
    ) -> KernelResult<[i32; 2]> {
        let (exec, shape) = (second.exec, Self::shape::<A, B>(a.batch));
        let mut exponents = [dy.exponent; 2];
        let [of_image, of_positions] = &mut exponents;
        if asked.first {
            *of_image = first.rescale(dy.exponent - bilinear_places::<T>(), |store| {
                sample::backward_input(shape, positions(b), dy.data, store, da, scratch.all())
            })?;
        }
        if asked.second {
            let exponent = a.exponent + dy.exponent + sample::position_places::<T>();
            *of_positions = second.rescale(exponent, |store| {
                sample::backward_positions(exec, shape, a.data, positions(b), dy.data, store, db)
            })?;
        }
        Ok(exponents)
    }
}
