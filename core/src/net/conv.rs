//! A two-dimensional convolution.

use super::Visitor;
use super::weighted::Weighted;
use super::{
    ActivatedTape, Activation, Backward, Errors, Identity, Info, Layer, Optimizer, Param, Pass,
    Plain, Values,
};
use crate::error::Result;
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::Element;
use selvedge_kernels::conv::Shape as Extents;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::window::Window;

/// How a window moves over an image, as a type.
pub trait Geometry: 'static {
    /// Step between windows, rows and columns.
    const STRIDE: [usize; 2];
    /// `[[top, bottom], [left, right]]`.
    const PADDING: [[usize; 2]; 2];
    /// Distance between the kernel's cells, rows and columns.
    const DILATION: [usize; 2] = [1; 2];
}

/// The same stride for both axes, the same padding on all four sides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slide<const STRIDE: usize, const PADDING: usize>;

impl<const STRIDE: usize, const PADDING: usize> Geometry for Slide<STRIDE, PADDING> {
    const STRIDE: [usize; 2] = [STRIDE; 2];
    const PADDING: [[usize; 2]; 2] = [[PADDING; 2]; 2];
}

/// Whether images of shape `In` under this window give images of shape `Out`, channels aside.
pub(super) const fn gives<In: Shape, Out: Shape>(window: &Window) -> bool {
    match window.outputs([In::EXTENTS[0], In::EXTENTS[1]]) {
        Ok([rows, columns]) => rows == Out::EXTENTS[0] && columns == Out::EXTENTS[1],
        Err(_) => false,
    }
}

/// Convolution of images `In` (`[H, W, C]`) with filters `F` (`[O, rows, columns, C / groups]`) to
/// images `Out` (`[rows, columns, O]`). The number of groups follows from the channels. Numerical
/// behaviour: [`selvedge_kernels::conv::forward`].
///
/// Shapes that do not belong together do not compile.
pub struct Conv2d<
    T: Element,
    In,
    F: Shape,
    Out,
    G = Slide<1, 0>,
    A = Identity,
    R: Optimizer = Plain,
> {
    inner: Weighted<T, F, R>,
    shapes: PhantomData<(In, Out, G, A)>,
}

impl<T: Element, In: Shape, F: Shape, Out: Shape, G: Geometry, A: Activation, R: Optimizer>
    Conv2d<T, In, F, Out, G, A, R>
{
    /// The filters, `[O, rows, columns, C / groups]`.
    pub const fn weight(&self) -> &Param<T, F, R> {
        &self.inner.weight
    }

    /// The bias, `[O]`.
    pub const fn bias(&self) -> &Param<T::Bias, F::First, R> {
        &self.inner.bias
    }

    const WINDOW: Window = Window {
        kernel: [F::EXTENTS[1], F::EXTENTS[2]],
        stride: G::STRIDE,
        padding: G::PADDING,
        dilation: G::DILATION,
    };

    const CHECKED: () = {
        assert!(
            In::RANK == 3 && F::RANK == 4 && Out::RANK == 3,
            "conv2d: expected D3 images and D4 filters"
        );
        assert!(
            F::EXTENTS[3] > 0 && In::EXTENTS[2].is_multiple_of(F::EXTENTS[3]),
            "conv2d: the filters' last axis does not divide the channels"
        );
        assert!(
            Out::EXTENTS[2] == F::EXTENTS[0],
            "conv2d: as many output channels as filters"
        );
        assert!(
            gives::<In, Out>(&Self::WINDOW),
            "conv2d: the output's rows and columns are not those of this window"
        );
    };

    const fn extents(batch: usize) -> Extents {
        Extents {
            batch,
            input: [In::EXTENTS[0], In::EXTENTS[1]],
            channels: In::EXTENTS[2],
            filters: F::EXTENTS[0],
            groups: In::EXTENTS[2] / F::EXTENTS[3],
            window: Self::WINDOW,
        }
    }
}

impl<T: Element, In: Shape, F: Shape, Out: Shape, G: Geometry, A: Activation, R: Optimizer> Layer
    for Conv2d<T, In, F, Out, G, A, R>
{
    type Elem = T;
    type Out = A::Out<T>;
    type Input = In;
    type Output = Out;
    type Tape<const B: usize> = ActivatedTape<T, A, Out, B>;

    const BLANK: Self = {
        let () = Self::CHECKED;
        Self {
            inner: Weighted::BLANK,
            shapes: PhantomData,
        }
    };

    const INFO: Info = Info {
        kind: "conv2d",
        numbers: 1,
        parameters: Weighted::<T, F, R>::PARAMETERS,
        macs: Out::LEN * F::EXTENTS[1] * F::EXTENTS[2] * F::EXTENTS[3],
        flash_bytes: Weighted::<T, F, R>::FLASH_BYTES,
        errors: Errors {
            error: Out::LEN,
            spare: In::LEN,
            swaps: true,
        },
        errors_first: Errors {
            error: Out::LEN,
            spare: 0,
            swaps: false,
        },
    };

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        let () = Self::CHECKED;
        self.inner.init::<A>(seed, number)
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, T>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, Self::Out>> {
        self.inner
            .forward::<A, _, B>(Self::extents(x.batch), pass, number, x, tape)
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, T>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, Self::Out> {
        tape.output.values(x.batch)
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
        self.inner.backward::<A, In, _, B>(
            Self::extents(x.batch),
            pass,
            number,
            x,
            tape,
            errors,
            is_needed,
        )
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.inner.visit(visitor);
    }
}
