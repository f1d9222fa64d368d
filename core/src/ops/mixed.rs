//! Dense layers and convolutions with 8-bit weights under 16-bit activations.

use super::activation::All;
use super::call::Call;
use super::weighted::{self, Forward, Products};
use super::window::by_axes;
use super::{Kernel, Kind, Result, conv as of_conv, dense as of_dense};
use selvedge_kernels as kernels;
use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::mixed::{self, Activation as Over};
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::{Element, conv, dense};

/// Both layers, with all activations.
#[must_use]
pub const fn run<T: Over<K>, K: Element>() -> &'static [Kernel] {
    const {
        &[
            Kernel {
                kind: Kind::MixedDense,
                dtypes: [T::DTYPE, K::DTYPE],
                run: dense_forward::<T, K>,
            },
            Kernel {
                kind: Kind::MixedConv,
                dtypes: [T::DTYPE, K::DTYPE],
                run: conv_forward::<T, K>,
            },
        ]
    }
}

/// What goes back through them and learns.
#[must_use]
pub const fn train<T: Over<K>, K: Element>() -> &'static [Kernel] {
    const {
        &[
            Kernel {
                kind: Kind::MixedDenseStep,
                dtypes: [T::DTYPE, K::DTYPE],
                run: dense_step::<T, K>,
            },
            Kernel {
                kind: Kind::MixedConvStep,
                dtypes: [T::DTYPE, K::DTYPE],
                run: conv_step::<T, K>,
            },
        ]
    }
}

/// Extents, for the kernels of mixed types.
#[derive(Clone, Copy)]
pub(crate) struct Mixed<S>(pub(crate) S);

macro_rules! impl_products {
    ($($shape:ty $([const $n:ident])?: $forward:ident $backward_input:ident $backward_weight:ident;)*) => {$(
        impl<T: Over<K>, K: Element $(, const $n: usize)?> Forward<T, K, T> for Mixed<$shape> {
            fn forward(
                self,
                exec: &impl Executor,
                x: &[T],
                weight: &[K],
                bias: Bias<'_, T>,
                epilogue: Epilogue<T>,
                out: &mut [T],
                slope: &mut [T],
            ) -> kernels::Result<u32> {
                mixed::$forward(exec, self.0, x, weight, bias, epilogue, out, slope)
            }
        }

        impl<T: Over<K>, K: Element $(, const $n: usize)?> Products<T, K> for Mixed<$shape> {
            fn backward_input(
                self,
                exec: &impl Executor,
                dy: &[T],
                weight: &[K],
                store: Store,
                dx: &mut [T],
            ) -> kernels::Result<u32> {
                mixed::$backward_input(exec, self.0, dy, weight, store, dx)
            }

            fn backward_weight(
                self,
                x: &[T],
                dy: &[T],
                gradient: &mut Gradient<'_, K, i64>,
            ) -> kernels::Result<()> {
                mixed::$backward_weight(self.0, x, dy, gradient)
            }
        }
    )*};
}

impl_products! {
    dense::Shape: dense_forward dense_backward_input dense_backward_weight;
    conv::Shape<N> [const N]: conv_forward conv_backward_input conv_backward_weight;
}

fn dense_forward<T: Over<K>, K: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (shape, activation) = of_dense::shape(call)?;
    weighted::forward::<T, K, T, All>(call, Mixed(shape), activation)
}

fn dense_step<T: Over<K>, K: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (shape, activation) = of_dense::shape(call)?;
    weighted::step::<T, K, All>(call, Mixed(shape), activation)
}

fn conv_forward<T: Over<K>, K: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    by_axes!(attributes, N => {
        let activation = attributes.word()?;
        let shape = of_conv::shape::<N>(call.batch, &mut attributes)?;
        weighted::forward::<T, K, T, All>(call, Mixed(shape), activation)
    })
}

fn conv_step<T: Over<K>, K: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    by_axes!(attributes, N => {
        let activation = attributes.word()?;
        let shape = of_conv::shape::<N>(call.batch, &mut attributes)?;
        weighted::step::<T, K, All>(call, Mixed(shape), activation)
    })
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::ops::Kind;
    use crate::ops::weighted::describe::Weighted;

    pub(crate) static DENSE: Weighted = Weighted {
        forward: Kind::MixedDense,
        step: Kind::MixedDenseStep,
        is_mixed: true,
    };

    pub(crate) static CONV: Weighted = Weighted {
        forward: Kind::MixedConv,
        step: Kind::MixedConvStep,
        is_mixed: true,
    };
}
