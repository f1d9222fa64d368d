//! What dense layers and convolutions share: the product with weights, bias and activation, and the way back with the
//! update. Typed layers and operators both call it, so their bytes are the same.

use super::activation::{self, Activations};
use super::call::{Call, Result, read, write};
use crate::net::{Pass, requantize};
use selvedge_kernels as kernels;
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::element::Output;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::optim::{Gradient, Parameter, Role};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::{Element, conv, conv::transpose};

/// The products of a layer with its error, and of error and input. Weights are of type `K`, all else
/// of `T`.
pub(crate) trait Products<T: Element, K: Element>: Copy {
    fn backward_input(
        self,
        exec: &impl Executor,
        dy: &[T],
        weight: &[K],
        store: Store,
        dx: &mut [T],
    ) -> kernels::Result<u32>;

    fn backward_weight(
        self,
        x: &[T],
        dy: &[T],
        gradient: &mut Gradient<'_, K, T::Acc>,
    ) -> kernels::Result<()>;
}

/// The product of a layer with its input, stored in `O`.
pub(crate) trait Forward<T: Element, K: Element, O>: Products<T, K> {
    #[allow(clippy::too_many_arguments)] // those of the kernels
    fn forward(
        self,
        exec: &impl Executor,
        x: &[T],
        weight: &[K],
        bias: Bias<'_, T>,
        epilogue: Epilogue<T>,
        out: &mut [O],
        slope: &mut [T],
    ) -> kernels::Result<u32>;
}

macro_rules! impl_products {
    ($family:ident, $shape:ty $(, $n:ident)?; $self:ident => $extents:expr) => {
        impl<T: Element, O: Output<T> $(, const $n: usize)?> Forward<T, T, O> for $shape {
            fn forward(
                $self,
                exec: &impl Executor,
                x: &[T],
                weight: &[T],
                bias: Bias<'_, T>,
                epilogue: Epilogue<T>,
                out: &mut [O],
                slope: &mut [T],
            ) -> kernels::Result<u32> {
                $family::forward(exec, $extents, x, weight, bias, epilogue, out, slope)
            }
        }

        impl<T: Element $(, const $n: usize)?> Products<T, T> for $shape {
            fn backward_input(
                $self,
                exec: &impl Executor,
                dy: &[T],
                weight: &[T],
                store: Store,
                dx: &mut [T],
            ) -> kernels::Result<u32> {
                $family::backward_input(exec, $extents, dy, weight, store, dx)
            }

            fn backward_weight(
                $self,
                x: &[T],
                dy: &[T],
                gradient: &mut Gradient<'_, T, T::Acc>,
            ) -> kernels::Result<()> {
                $family::backward_weight($extents, x, dy, gradient)
            }
        }
    };
}

impl_products!(dense, dense::Shape; self => self);
impl_products!(conv, conv::Shape<N>, N; self => self);
impl_products!(transpose, Transposed<N>, N; self => self.0);

/// The transpose of a convolution.
#[derive(Clone, Copy)]
pub(crate) struct Transposed<const N: usize>(pub(crate) conv::Shape<N>);

/// What the forward pass reads of a layer without shapes in its type: however many layers of a kind a network has, one
/// copy of what follows is linked.
pub(crate) struct Weights<'a, T: Element, K: Element> {
    pub(crate) weight: &'a [K],
    pub(crate) weight_exponent: i32,
    pub(crate) bias: &'a [T::Bias],
    pub(crate) bias_exponent: i32,
    pub(crate) scale: &'a mut T::Scale,
}

impl<T: Element, K: Element> Weights<'_, T, K> {
    /// Returns the exponent of `out`.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)] // those of `Layer::forward`, and what differs
    pub(crate) fn forward<O: Element + Output<T>>(
        self,
        products: impl Forward<T, K, O>,
        activation: kernels::activation::Activation<T>,
        exec: &impl Executor,
        mode: Mode,
        (x, exponent): (&[T], i32),
        out: &mut [O],
        slope: &mut [T],
    ) -> kernels::Result<i32> {
        let acc_exponent = exponent + self.weight_exponent;
        let bias = Bias {
            values: self.bias,
            shift: acc_exponent - self.bias_exponent,
        };
        let run = |store| {
            let epilogue = Epilogue {
                activation,
                exponent: acc_exponent,
                store,
            };
            products.forward(exec, x, self.weight, bias, epilogue, &mut *out, &mut *slope)
        };
        requantize::<T, O>(activation, acc_exponent, self.scale, mode, run)
    }
}

/// What the backward pass changes.
pub(crate) struct Parameters<'a, T: Element, K: Element> {
    pub(crate) weight: Parameter<'a, K>,
    pub(crate) bias: Parameter<'a, T::Bias>,
    pub(crate) scale: &'a mut T::Scale,
}

impl<T: Element, K: Element> Parameters<'_, T, K>
where
    T::Acc: Into<K::Update>,
{
    /// Takes the error to `dx`, where that is asked for, and returns its exponent; updates.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)] // those of `Layer::backward`, and what differs
    pub(crate) fn backward<E: Executor>(
        self,
        products: impl Products<T, K>,
        pass: &Pass<'_, E>,
        number: u32,
        (x, x_exponent): (&[T], i32),
        dy: &[T],
        exponent: i32,
        dx: Option<&mut [T]>,
    ) -> kernels::Result<i32> {
        let below = match dx {
            None => exponent,
            Some(dx) => {
                let acc_exponent = exponent + i32::from(*self.weight.exponent);
                let rounding = Rounding::Stochastic(pass.error_words(number));
                let weight = &*self.weight.value;
                let run = |store| products.backward_input(pass.exec, dy, weight, store, &mut *dx);
                let (scale, bits) = (self.scale, T::MAGNITUDE_BITS);
                scale.requantize(acc_exponent, bits, pass.mode, rounding, run)?
            }
        };
        let words = pass.update_words(number, 0);
        let update = self.weight.update(pass.sgd, exponent + x_exponent, words)?;
        let mut gradient = Gradient::Apply(update);
        products.backward_weight(x, dy, &mut gradient)?;
        gradient.finish();

        let outputs = self.bias.value.len();
        let words = pass.update_words(number, 1);
        let update = self.bias.update(pass.sgd, exponent, words)?;
        let mut gradient = Gradient::Apply(update);
        dense::backward_bias::<T>(outputs, dy, &mut gradient)?;
        gradient.finish();
        Ok(below)
    }
}

/// Values of the forward operator: `x`, weight, bias; then what it gives, and slopes where its activation keeps some
/// for training.
pub(crate) mod forward_slot {
    pub(crate) const X: usize = 0;
    pub(crate) const WEIGHT: usize = 1;
    pub(crate) const BIAS: usize = 2;
    pub(crate) const Y: usize = 3;
    pub(crate) const SLOPE: usize = 4;
}

/// Values of the operator that goes back and learns; `DY` becomes the error of the accumulators.
pub(crate) mod step_slot {
    pub(crate) const X: usize = 0;
    pub(crate) const Y: usize = 1;
    pub(crate) const SLOPE: usize = 2;
    pub(crate) const DY: usize = 3;
    pub(crate) const WEIGHT: usize = 4;
    pub(crate) const WEIGHT_LOW: usize = 5;
    pub(crate) const WEIGHT_VELOCITY: usize = 6;
    pub(crate) const BIAS: usize = 7;
    pub(crate) const BIAS_LOW: usize = 8;
    pub(crate) const BIAS_VELOCITY: usize = 9;
    pub(crate) const DX: usize = 10;
}

/// Runs the forward operator.
pub(crate) fn forward<T: Element, O: Element + Output<T>, A: Activations>(
    call: &mut Call<'_, '_>,
    products: impl Forward<T, T, O>,
    activation: u32,
) -> Result<()> {
    use forward_slot::{BIAS, SLOPE, WEIGHT, X, Y};
    let activation = activation::find::<T, A>(activation)?;
    let [exponent, weight_exponent, bias_exponent] = [X, WEIGHT, BIAS].map(|at| call.exponent(at));
    let mut scale: T::Scale = call.scale(0);
    let (exec, mode) = (call.exec, call.mode);
    let [x, weight, bias, y, slope] = call.views([X, WEIGHT, BIAS, Y, SLOPE])?;
    let weights = Weights::<T, T> {
        weight: read(weight)?,
        weight_exponent,
        bias: read(bias)?,
        bias_exponent,
        scale: &mut scale,
    };
    let (x, y, slope) = ((read(x)?, exponent), write::<O>(y)?, write(slope)?);
    let exponent = weights.forward(products, activation, exec, mode, x, y, slope)?;
    call.set_scale(0, scale);
    call.set_exponent(Y, exponent);
    Ok(())
}

/// Runs the operator that goes back and learns.
pub(crate) fn step<T: Element, A: Activations>(
    call: &mut Call<'_, '_>,
    products: impl Products<T, T>,
    activation: u32,
) -> Result<()> {
    use step_slot::*;
    let activation = activation::find::<T, A>(activation)?;
    let [x_exponent, exponent] = [X, DY].map(|at| call.exponent(at));
    let narrow = |exponent: i32| exponent as i16; // they come from `i16`
    let [mut weight_exponent, mut bias_exponent] =
        [WEIGHT, BIAS].map(|at| narrow(call.exponent(at)));
    let mut scale: T::Scale = call.scale(0);
    let (pass, number, is_needed) = (call.pass(), call.number(), call.has(DX));
    let [
        x,
        y,
        slope,
        dy,
        weight,
        weight_low,
        weight_velocity,
        bias,
        bias_low,
        bias_velocity,
        dx,
    ] = call.views([
        X,
        Y,
        SLOPE,
        DY,
        WEIGHT,
        WEIGHT_LOW,
        WEIGHT_VELOCITY,
        BIAS,
        BIAS_LOW,
        BIAS_VELOCITY,
        DX,
    ])?;
    let dy = write::<T>(dy)?;
    if !matches!(activation, kernels::activation::Activation::Identity) {
        kernels::activation::backward(activation, read(y)?, read(slope)?, dy)?;
    }
    let parameters = Parameters::<T, T> {
        weight: Parameter {
            value: write(weight)?,
            residual: write(weight_low)?,
            velocity: write(weight_velocity)?,
            exponent: &mut weight_exponent,
            role: Role::Weight,
        },
        bias: Parameter {
            value: write(bias)?,
            residual: write(bias_low)?,
            velocity: write(bias_velocity)?,
            exponent: &mut bias_exponent,
            role: Role::Bias,
        },
        scale: &mut scale,
    };
    let dx = if is_needed { Some(write(dx)?) } else { None };
    let below = parameters.backward(
        products,
        &pass,
        number,
        (read(x)?, x_exponent),
        dy,
        exponent,
        dx,
    )?;
    call.set_scale(0, scale);
    call.set_exponent(WEIGHT, weight_exponent.into());
    call.set_exponent(BIAS, bias_exponent.into());
    call.set_exponent(DX, below);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind, activation};
    use alloc::vec;
    use alloc::vec::Vec;
    use selvedge_kernels::init::{Gain, uniform};
    use selvedge_kernels::rng::{Words, stream};
    use selvedge_kernels::{self as kernels, DType, Element};

    /// Weights of `shape` and a bias of `outputs`, as the layer `number` begins.
    pub(crate) fn parameters<T: Element>(
        graph: &mut Graph,
        number: u32,
        gain: Gain,
        fan_in: usize,
        shape: Vec<usize>,
        outputs: usize,
    ) -> kernels::Result<[ValueId; 2]> {
        if fan_in > T::MAX_PRODUCTS {
            return Err(kernels::Error::Accumulator {
                terms: fan_in,
                limit: T::MAX_PRODUCTS,
            });
        }
        let len = shape.iter().product();
        let mut weight = vec![T::ZERO; len];
        let mut low = vec![0; low_bytes::<T>(len)];
        let words = Words::new(graph.seed, stream::parameter(number, 0), 0);
        let exponent = uniform(&mut weight, &mut low, words, gain, fan_in)?;
        let weight = graph.parameter(shape, &weight, &low, exponent);
        // The bias' magnitude bits reach as far as those of the weights.
        let below = T::Bias::MAGNITUDE_BITS as i16 - T::MAGNITUDE_BITS as i16;
        let exponent = if T::DTYPE.is_integer() {
            exponent - below
        } else {
            0
        };
        let bias = vec![T::Bias::ZERO; outputs];
        let low = vec![0; low_bytes::<T::Bias>(outputs)];
        let bias = graph.parameter(vec![outputs], &bias, &low, exponent);
        Ok([weight, bias])
    }

    /// Low bytes of the masters of `len` elements.
    fn low_bytes<T: Element>(len: usize) -> usize {
        if size_of::<T::Residual>() == 0 {
            0
        } else {
            len
        }
    }

    /// An operator of this module: the kind that goes forward, and the one that goes back and learns.
    #[derive(Debug)]
    pub(crate) struct Weighted {
        pub(crate) forward: Kind,
        pub(crate) step: Kind,
    }

    impl Weighted {
        /// `[x, weight, bias]` to an output of `shape`, with the attributes of the operator and the activation among
        /// them.
        pub(crate) fn append(
            &'static self,
            graph: &mut Graph,
            dtypes: [DType; 2],
            number: u32,
            inputs: [ValueId; 3],
            shape: Vec<usize>,
            (attributes, code): (Vec<u32>, u32),
        ) -> ValueId {
            let y = graph.computed(dtypes[1], shape.clone());
            let slope = activation::keeps_slopes(code).then(|| graph.computed(dtypes[0], shape));
            graph.node(Node {
                operator: self,
                kind: self.forward,
                dtypes,
                number,
                inputs: inputs.map(Some).to_vec(),
                outputs: vec![Some(y), slope],
                attributes,
                states: 1,
                state: 0,
            });
            y
        }
    }

    impl Describe for Weighted {
        /// Appends the operator that goes back and learns.
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            let (&[x, weight, bias], &[y, slope]) = (&*node.inputs, &*node.outputs) else {
                return Ok(());
            };
            let Some(dy) = y.and_then(|y| walk.error(y)) else {
                return Ok(());
            };
            let [weight, weight_low, weight_velocity] = walk.graph.with_companions(weight);
            let [bias, bias_low, bias_velocity] = walk.graph.with_companions(bias);
            let dx = x.filter(|&x| walk.learns(x)).map(|x| {
                let shape = walk.graph.shape_of(x);
                let dx = walk.graph.computed(node.dtypes[0], shape);
                walk.set_error(x, dx);
                dx
            });
            let inputs = vec![
                x,
                y,
                slope,
                Some(dy),
                weight,
                weight_low,
                weight_velocity,
                bias,
                bias_low,
                bias_velocity,
            ];
            walk.graph.node(Node {
                operator: self,
                kind: self.step,
                dtypes: [node.dtypes[0]; 2],
                number: node.number,
                inputs,
                outputs: vec![dx],
                attributes: node.attributes.clone(),
                states: 1,
                state: 0,
            });
            Ok(())
        }
    }
}
