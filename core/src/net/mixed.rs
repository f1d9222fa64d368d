//! Layers with 8-bit weights under 16-bit activations.

use super::conv::{cells, check, shape};
use super::geometry::{Geometry, Slide, by_axes, named};
use super::weighted::Weighted;
use super::{
    ActivatedTape, Activation, Backward, Errors, Identity, Info, Layer, Optimizer, Param, Pass,
    Plain, Values, Visitor, VisitorMut,
};
use crate::error::Result;
use crate::ops::mixed::Mixed;
use crate::tensor::{D1, D2, Shape};
use core::marker::PhantomData;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::mixed::Activation as Over;
use selvedge_kernels::{Element, conv, dense};

/// A [`Dense`](super::Dense) layer with weights of type `K`, of 8 bits, under activations, errors and
/// biases of type `T`, of 16 bits: half the weight memory, as audio wants it. Numerical behaviour:
/// [`selvedge_kernels::mixed`].
///
/// # Example
/// ```
/// use selvedge_core::net::{MixedDense, Relu};
/// use selvedge_core::{net, net::Network};
/// use selvedge_kernels::mixed::Activation;
///
/// net! {
///     struct Keyword<T: Activation<i8>>: [40] {
///         hidden: layer(MixedDense<T, i8, 40, 32, Relu, R> => [32]),
///         head: dense(12),
///     }
/// }
/// // A byte a weight, two a bias; three exponents.
/// assert_eq!(Keyword::<i16>::costs::<1>()[0].info.flash_bytes, 40 * 32 + 2 * 32 + 3 * 2);
/// ```
pub struct MixedDense<
    T: Over<K>,
    K: Element,
    const IN: usize,
    const OUT: usize,
    A = Identity,
    R: Optimizer = Plain,
> {
    inner: Weighted<T, D2<OUT, IN>, D1<OUT>, R, K>,
    activation: PhantomData<A>,
}

/// A [`Conv`](super::Conv) with filters of type `K`, of 8 bits, under activations,
/// errors and biases of type `T`, of 16 bits. Numerical behaviour: [`selvedge_kernels::mixed`].
///
/// Shapes that do not belong together do not compile.
pub struct MixedConv<
    T: Over<K>,
    K: Element,
    In,
    F: Shape,
    Out: Shape,
    G = Slide,
    A = Identity,
    R: Optimizer = Plain,
> {
    inner: Weighted<T, F, Out::Last, R, K>,
    shapes: PhantomData<(In, Out, G, A)>,
}

impl<T: Over<K>, K: Element, const IN: usize, const OUT: usize, A, R: Optimizer>
    MixedDense<T, K, IN, OUT, A, R>
{
    /// The weights, `[OUT, IN]`.
    pub const fn weight(&self) -> &Param<K, D2<OUT, IN>, R> {
        &self.inner.weight
    }

    /// The bias, `[OUT]`.
    pub const fn bias(&self) -> &Param<T::Bias, D1<OUT>, R> {
        &self.inner.bias
    }

    const fn products(batch: usize) -> Mixed<dense::Shape> {
        Mixed(dense::Shape {
            batch,
            inputs: IN,
            outputs: OUT,
        })
    }
}

impl<T: Over<K>, K: Element, In: Shape, F: Shape, Out: Shape, G: Geometry, A, R: Optimizer>
    MixedConv<T, K, In, F, Out, G, A, R>
{
    /// The filters.
    pub const fn weight(&self) -> &Param<K, F, R> {
        &self.inner.weight
    }

    /// The bias, `[O]`.
    pub const fn bias(&self) -> &Param<T::Bias, Out::Last, R> {
        &self.inner.bias
    }

    const fn products<const N: usize>(batch: usize) -> Mixed<conv::Shape<N>> {
        Mixed(shape::<In, F, G, N>(batch))
    }

    const CHECKED: () = check::<In, F, Out, G>();
}

/// Evaluates `$body` with the products of a dense layer.
macro_rules! of_dense {
    ($batch:expr, $products:ident => $body:expr) => {{
        let $products = Self::products($batch);
        $body
    }};
}

/// Evaluates `$body` with the products of a convolution over as many axes as `In` has.
macro_rules! of_conv {
    ($batch:expr, $products:ident => $body:expr) => {
        by_axes!(In, N => {
            let $products = Self::products::<N>($batch);
            $body
        })
    };
}

macro_rules! impl_layer {
    (impl [$($generics:tt)*] for $layer:ty, $kind:expr, $input:ty, $output:ty, $weights:ty, fan in $fan_in:expr,
        macs $macs:expr, $field:ident, $checked:expr, $of:ident) => {
        impl<$($generics)*> Layer for $layer {
            type Elem = T;
            type In = T;
            type Out = T;
            type Input = $input;
            type Output = $output;
            type Tape<const B: usize> = ActivatedTape<T, A, $output, B>;

            const BLANK: Self = {
                let () = $checked;
                Self {
                    inner: Weighted::BLANK,
                    $field: PhantomData,
                }
            };

            const INFO: Info = Info {
                kind: $kind,
                numbers: 1,
                parameters: <$weights>::PARAMETERS,
                macs: $macs,
                flash_bytes: <$weights>::FLASH_BYTES,
                errors: Errors {
                    error: <$output>::LEN,
                    spare: <$input>::LEN,
                    swaps: true,
                },
                errors_first: Errors {
                    error: <$output>::LEN,
                    spare: 0,
                    swaps: false,
                },
                without_velocities: Info::without_velocities::<R>(),
                sum: None, // no batch that fits a memory leaves 64 bits
                long_sum: None,
                long_sum_first: None,
            };

            fn init(&mut self, seed: u32, number: u32) -> Result<()> {
                self.inner.init::<A>(seed, number, const { $fan_in }, 0)
            }

            fn forward<'t, E: Executor, const B: usize>(
                &mut self,
                pass: &Pass<'_, E>,
                number: u32,
                x: Values<'t, T>,
                tape: &'t mut Self::Tape<B>,
            ) -> Result<Values<'t, T>> {
                $of!(x.batch, products => {
                    self.inner.forward::<A, _, B>(products, pass, number, x, tape)
                })
            }

            fn output<'t, const B: usize>(
                &self,
                x: Values<'t, T>,
                tape: &'t Self::Tape<B>,
            ) -> Values<'t, T> {
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
                $of!(x.batch, products => {
                    self.inner.backward::<A, $input, _, B>(
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

impl_layer!(
    impl [T: Over<K>, K: Element, const IN: usize, const OUT: usize, A: Activation<Out<T> = T>, R: Optimizer]
    for MixedDense<T, K, IN, OUT, A, R>,
    "mixed_dense", D1<IN>, D1<OUT>, Weighted<T, D2<OUT, IN>, D1<OUT>, R, K>, fan in IN, macs OUT * IN, activation, (), of_dense
);
impl_layer!(
    impl [T: Over<K>, K: Element, In: Shape, F: Shape, Out: Shape, G: Geometry, A: Activation<Out<T> = T>, R: Optimizer]
    for MixedConv<T, K, In, F, Out, G, A, R>,
    named::<In>(["mixed_conv1d", "mixed_conv2d", "mixed_conv3d"]), In, Out, Weighted<T, F, Out::Last, R, K>,
    fan in cells::<F>() * F::CHANNELS, macs Out::LEN * cells::<F>() * F::CHANNELS, shapes, Self::CHECKED, of_conv
);
