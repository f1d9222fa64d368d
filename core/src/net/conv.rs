//! Convolutions over one to three axes, and their transposes.

use super::geometry::{Geometry, Slide, by_axes, extents, gives, named, window};
use super::weighted::Weighted;
use super::{
    ActivatedTape, Activation, Backward, BatchSum, Errors, Identity, Info, Layer, LongSum,
    Optimizer, Param, Pass, Plain, Values, Visitor, VisitorMut,
};
use crate::error::Result;
use crate::ops::weighted::Transposed;
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::Element;
use selvedge_kernels::conv::Shape as Extents;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::window::Window;

/// Convolution of inputs `In` (`[W, C]`, `[H, W, C]` or `[D, H, W, C]`) with filters `F`
/// (`[O, kernel, C / groups]`, with as many axes of the kernel) to outputs `Out`, with `O` channels. The
/// number of groups follows from the channels: filters of one channel are depthwise. Numerical
/// behaviour: [`selvedge_kernels::conv::forward`].
///
/// # Errors
/// Of [`Layer::init`] and a pass: [`Error::Layer`](crate::Error::Layer) for more products than the element type
/// can sum; in training, where something below has parameters, also for more in a sum of the error.
///
/// # Example
/// ```
/// use selvedge_core::net::{Conv, Layer, Relu, Same, Slide};
/// use selvedge_core::tensor::{D2, D3, D4};
/// // Eight filters of 3×3 over images of one channel; two steps at a time, padded to half the extents.
/// type Edges = Conv<i8, D3<28, 28, 1>, D4<8, 3, 3, 1>, D3<14, 14, 8>, Same<2>, Relu>;
/// // A filter for each of four channels of a signal: depthwise.
/// type Smooth = Conv<f32, D2<100, 4>, D3<4, 5, 1>, D2<96, 4>, Slide>;
/// static EDGES: Edges = Layer::BLANK;
/// static SMOOTH: Smooth = Layer::BLANK;
/// assert_eq!((Edges::INFO.kind, Edges::INFO.macs), ("conv2d", 14 * 14 * 8 * 9));
/// assert_eq!((Smooth::INFO.kind, Smooth::INFO.parameters), ("conv1d", 4 * 5 + 4));
/// ```
/// Shapes that do not belong together do not compile: a window of 3 cells leaves 26 of 28 rows.
/// ```compile_fail
/// # use selvedge_core::net::{Conv, Layer, Slide};
/// # use selvedge_core::tensor::{D3, D4};
/// static EDGES: Conv<i8, D3<28, 28, 1>, D4<8, 3, 3, 1>, D3<28, 28, 8>, Slide> = Layer::BLANK;
/// ```
pub struct Conv<T: Element, In, F: Shape, Out: Shape, G = Slide, A = Identity, R: Optimizer = Plain>
{
    pub(super) inner: Weighted<T, F, Out::Last, R>,
    shapes: PhantomData<(In, Out, G, A)>,
}

/// The transpose of a convolution: from inputs `In` with filters `F` (`[C, kernel, O / groups]`) to larger
/// outputs `Out`, with `O` channels; windows stand on the output. Numerical behaviour:
/// [`selvedge_kernels::conv::transpose::forward`].
///
/// Shapes that do not belong together do not compile; where several outputs have as many windows, each
/// of them does.
///
/// # Errors
/// As [`Conv`].
///
/// # Example
/// ```
/// use selvedge_core::net::{ConvTranspose, Layer, Slide};
/// use selvedge_core::tensor::{D3, D4};
/// // Twice the rows and columns: each of 4 channels spreads 2×2 cells in 3 channels.
/// type Enlarge = ConvTranspose<i16, D3<7, 7, 4>, D4<4, 2, 2, 3>, D3<14, 14, 3>, Slide<2>>;
/// static ENLARGE: Enlarge = Layer::BLANK;
/// assert_eq!(Enlarge::INFO.kind, "conv_transpose2d");
/// ```
/// Source: Dumoulin & Visin 2016.
pub struct ConvTranspose<
    T: Element,
    In,
    F: Shape,
    Out: Shape,
    G = Slide,
    A = Identity,
    R: Optimizer = Plain,
> {
    pub(super) inner: Weighted<T, F, Out::Last, R>,
    shapes: PhantomData<(In, Out, G, A)>,
}

/// Cells of filters: their axes without the first and the last.
pub(super) const fn cells<F: Shape>() -> usize {
    F::LEN / (F::EXTENTS[0] * F::CHANNELS)
}

/// Products of a sum over a filter.
const fn gathered<F: Shape>() -> usize {
    cells::<F>() * F::CHANNELS
}

/// Products of a sum over the filters of a group.
const fn scattered<Wide: Shape, F: Shape>() -> usize {
    cells::<F>() * (F::EXTENTS[0] / (Wide::CHANNELS / F::CHANNELS))
}

/// Cells without their channels.
const fn positions<S: Shape>() -> usize {
    S::LEN / S::CHANNELS
}

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// The extents of a convolution from `Wide` to `Narrow`.
pub(super) const fn shape<Wide: Shape, F: Shape, G: Geometry, const N: usize>(
    batch: usize,
) -> Extents<N> {
    Extents {
        batch,
        input: extents::<Wide, N>(0),
        channels: Wide::CHANNELS,
        filters: F::EXTENTS[0],
        groups: Wide::CHANNELS / F::CHANNELS,
        window: const { sliding::<Wide, F, G, N>() },
    }
}

const fn sliding<Wide: Shape, F: Shape, G: Geometry, const N: usize>() -> Window<N> {
    window::<G, N>(extents::<F, N>(1), extents::<Wide, N>(0))
}

/// Refuses shapes that do not belong together.
pub(super) const fn check<Wide: Shape, F: Shape, Narrow: Shape, G: Geometry>() {
    assert!(
        Wide::RANK >= 2
            && Wide::RANK <= 4
            && Narrow::RANK == Wide::RANK
            && F::RANK == Wide::RANK + 1,
        "conv: expected inputs and outputs of one to three axes and channels, and filters with one axis more"
    );
    assert!(
        F::CHANNELS > 0 && Wide::CHANNELS.is_multiple_of(F::CHANNELS),
        "conv: the filters' last axis does not divide the channels"
    );
    assert!(
        F::EXTENTS[0].is_multiple_of(Wide::CHANNELS / F::CHANNELS),
        "conv: the groups, channels by the filters' last axis, do not divide the filters"
    );
    assert!(
        Narrow::CHANNELS == F::EXTENTS[0],
        "conv: as many channels as filters"
    );
    let gives = by_axes!(Wide, N => gives::<Wide, Narrow, N>(&sliding::<Wide, F, G, N>()));
    assert!(gives, "conv: the extents are not those of this window");
}

macro_rules! impl_layer {
    ($name:ident, $kinds:expr, $wide:ident to $narrow:ident, $products:path, $forward:expr, $backward:expr, $terms:expr, $fan_in:expr) => {
        impl<T: Element, In: Shape, F: Shape, Out: Shape, G: Geometry, A: Activation, R: Optimizer>
            $name<T, In, F, Out, G, A, R>
        {
            /// The filters.
            pub const fn weight(&self) -> &Param<T, F, R> {
                &self.inner.weight
            }

            /// The bias, `[O]`.
            pub const fn bias(&self) -> &Param<T::Bias, Out::Last, R> {
                &self.inner.bias
            }

            const CHECKED: () = check::<$wide, F, $narrow, G>();
        }

        impl<T: Element, In: Shape, F: Shape, Out: Shape, G: Geometry, A: Activation, R: Optimizer>
            Layer for $name<T, In, F, Out, G, A, R>
        {
            type Elem = T;
            type In = T;
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
                kind: named::<In>($kinds),
                numbers: 1,
                parameters: Weighted::<T, F, Out::Last, R>::PARAMETERS,
                macs: $narrow::LEN * cells::<F>() * F::CHANNELS,
                flash_bytes: Weighted::<T, F, Out::Last, R>::FLASH_BYTES,
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
                without_velocities: Info::without_velocities::<R>(),
                sum: BatchSum::of($terms, T::MAX_GRADIENT_PRODUCTS),
                long_sum: LongSum::of($backward, T::MAX_PRODUCTS),
                long_sum_first: None,
            };

            fn init(&mut self, seed: u32, number: u32) -> Result<()> {
                let () = Self::CHECKED;
                self.inner.init::<A>(seed, number, const { $fan_in }, const { $forward })
            }

            fn forward<'t, E: Executor, const B: usize>(
                &mut self,
                pass: &Pass<'_, E>,
                number: u32,
                x: Values<'t, T>,
                tape: &'t mut Self::Tape<B>,
            ) -> Result<Values<'t, Self::Out>> {
                by_axes!(In, N => {
                    let products = $products(shape::<$wide, F, G, N>(x.batch));
                    self.inner.forward::<A, _, B>(products, pass, number, x, tape)
                })
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
                tape: &mut Self::Tape<B>,
                errors: Backward<'e, T>,
                is_needed: bool,
            ) -> Result<Backward<'e, T>> {
                by_axes!(In, N => {
                    let products = $products(shape::<$wide, F, G, N>(x.batch));
                    self.inner.backward::<A, In, _, B>(
                        products, pass, number, x, tape, errors, is_needed,
                    )
                })
            }

            fn visit(&self, visitor: &mut impl Visitor) {
                self.inner.visit(visitor);
            }

            fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
                self.inner.visit_mut(visitor);
            }
        }
    };
}

impl_layer!(Conv, ["conv1d", "conv2d", "conv3d"], In to Out, core::convert::identity, gathered::<F>(), scattered::<In, F>(),
    positions::<Out>(), gathered::<F>());
// Windows overlap by the kernel over the stride: so many meet on a cell.
impl_layer!(ConvTranspose, ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"], Out to In, Transposed, scattered::<Out, F>(), gathered::<F>(),
    max(positions::<In>(), positions::<Out>()), {
    let products = scattered::<Out, F>();
    let (mut steps, mut axis) = (1, 3);
    while axis > 4 - In::RANK {
        axis -= 1;
        steps *= G::STRIDE[axis];
    }
    if products > steps { products / steps } else { 1 }
});
