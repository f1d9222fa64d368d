//! Max pooling.

use super::conv::gives;
use super::{
    Backward, Errors, Geometry, Info, Layer, OutputTape, Pass, Slide, Values, Visitor, part,
};
use crate::error::{Result, in_layer};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::pool::{self, Shape as Extents};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::scale::Scale;
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, Result as KernelResult};

/// The largest element of each channel under a window of `K` by `K` cells, from images `In`
/// (`[H, W, C]`) to images `Out` (`[rows, columns, C]`). Numerical behaviour:
/// [`selvedge_kernels::pool::max_forward`].
///
/// Shapes that do not belong together do not compile.
pub struct MaxPool2d<T: Element, In, Out, const K: usize = 2, G = Slide<2, 0>> {
    /// Of the error below, where windows overlap and errors are added.
    error_scale: T::Scale,
    shapes: PhantomData<(In, Out, G)>,
}

impl<T: Element, In: Shape, Out: Shape, const K: usize, G: Geometry> MaxPool2d<T, In, Out, K, G> {
    const WINDOW: Window = Window {
        kernel: [K; 2],
        stride: G::STRIDE,
        padding: G::PADDING,
        dilation: G::DILATION,
    };

    const CHECKED: () = {
        assert!(
            In::RANK == 3 && Out::RANK == 3,
            "max_pool2d: expected D3 images"
        );
        assert!(
            In::EXTENTS[2] == Out::EXTENTS[2],
            "max_pool2d: as many output channels as input channels"
        );
        assert!(
            gives::<In, Out>(&Self::WINDOW),
            "max_pool2d: the output's rows and columns are not those of this window"
        );
    };

    const fn extents(batch: usize) -> Extents {
        let [height, width, channels, _] = In::EXTENTS;
        Extents {
            batch,
            input: [height, width],
            channels,
            window: Self::WINDOW,
        }
    }
}

impl<T: Element, In: Shape, Out: Shape, const K: usize, G: Geometry> Layer
    for MaxPool2d<T, In, Out, K, G>
{
    type Elem = T;
    type Out = T;
    type Input = In;
    type Output = Out;
    type Tape<const B: usize> = OutputTape<T, Out, B>;

    const BLANK: Self = {
        let () = Self::CHECKED;
        Self {
            error_scale: Scale::UNSET,
            shapes: PhantomData,
        }
    };

    const INFO: Info = Info {
        kind: "max_pool2d",
        numbers: 1,
        errors: Errors {
            error: Out::LEN,
            spare: In::LEN,
            swaps: true,
        },
        ..Info::EMPTY
    };

    fn init(&mut self, _: u32, _: u32) -> Result<()> {
        self.error_scale = Scale::UNSET;
        Ok(())
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, T>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, T>> {
        tape.exponent = x.exponent;
        pool::max_forward(
            pass.exec,
            Self::extents(x.batch),
            x.data,
            tape.samples_mut(x.batch),
        )
        .map_err(in_layer(number))?;
        Ok(tape.values(x.batch))
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, T>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, T> {
        tape.values(x.batch)
    }

    fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, T>,
        tape: &Self::Tape<B>,
        errors: Backward<'e, T>,
        is_needed: bool,
    ) -> Result<Backward<'e, T>> {
        if !is_needed {
            return Ok(errors);
        }
        let Backward {
            error,
            spare,
            exponent,
        } = errors;
        let y = tape.values(x.batch).data;
        let dy = part(error, x.batch * Out::LEN);
        let dx = part(spare, x.batch * In::LEN);
        let mut run = |store| -> KernelResult<u32> {
            pool::max_backward(
                pass.exec,
                Self::extents(x.batch),
                x.data,
                y,
                dy,
                store,
                &mut *dx,
            )
        };
        let exponent = if Self::WINDOW.overlaps() {
            let rounding = Rounding::Stochastic(pass.error_words(number));
            self.error_scale
                .requantize(exponent, T::MAGNITUDE_BITS, pass.mode, rounding, run)
        } else {
            run(Store::EXACT).map(|_| exponent)
        };
        let exponent = exponent.map_err(in_layer(number))?;
        Ok(Backward {
            error: spare,
            spare: error,
            exponent,
        })
    }

    fn visit(&self, _: &mut impl Visitor) {}
}
