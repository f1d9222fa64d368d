//! What dense layers and convolutions share: the product with weights, bias and activation, and the way back with the
//! update. Typed layers and operators both call it, so their bytes are the same.

use super::activation::{self, Activations};
use super::call::{Call, Result, read, write};
use super::learned::{self, Learned, Target};
use crate::net::{Pass, requantize};
use selvedge_kernels as kernels;
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::element::Output;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::optim::{Gradient, Role};
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
pub(crate) struct Parameters<'a, T: Element, W, B> {
    pub(crate) weight: W,
    pub(crate) bias: B,
    pub(crate) scale: &'a mut T::Scale,
}

impl<'a, T: Element, W, B: Target<'a, T::Bias, T::Acc>> Parameters<'a, T, W, B> {
    /// Takes the error to `dx`, where that is asked for, and returns its exponent; updates.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)] // those of `Layer::backward`, and what differs
    pub(crate) fn backward<K: Element, E: Executor>(
        self,
        products: impl Products<T, K>,
        pass: &Pass<'_, E>,
        number: u32,
        (x, x_exponent): (&[T], i32),
        dy: &[T],
        exponent: i32,
        dx: Option<&mut [T]>,
    ) -> kernels::Result<i32>
    where
        W: Target<'a, K, T::Acc>,
        T::Acc: Into<K::Update>,
    {
        let below = match dx {
            None => exponent,
            Some(dx) => {
                let acc_exponent = exponent + i32::from(self.weight.exponent());
                let rounding = Rounding::Stochastic(pass.error_words(number));
                let weight = self.weight.value();
                let run = |store| products.backward_input(pass.exec, dy, weight, store, &mut *dx);
                let (scale, bits) = (self.scale, T::MAGNITUDE_BITS);
                scale.requantize(acc_exponent, bits, pass.mode, rounding, run)?
            }
        };
        let words = pass.update_words(number, 0);
        self.weight
            .learn(pass.sgd, exponent + x_exponent, words, |gradient| {
                products.backward_weight(x, dy, gradient)
            })?;
        let outputs = self.bias.value().len();
        let words = pass.update_words(number, 1);
        self.bias.learn(pass.sgd, exponent, words, |gradient| {
            dense::backward_bias::<T>(outputs, dy, gradient)
        })?;
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

/// Values of the operator that goes back and learns; `DY` becomes the error of the accumulators. Behind those that are
/// read lie the error of `x` and the gradients, where they are asked for.
pub(crate) mod step_slot {
    pub(crate) const X: usize = 0;
    pub(crate) const Y: usize = 1;
    pub(crate) const SLOPE: usize = 2;
    pub(crate) const DY: usize = 3;
    pub(crate) const WEIGHT: usize = 4;
    pub(crate) const BIAS: usize = 7;
    pub(crate) const DX: usize = 10;
    pub(crate) const GRADIENTS: usize = 11;
}

/// Runs the forward operator.
pub(crate) fn forward<T: Element, K: Element, O: Element + Output<T>, A: Activations>(
    call: &mut Call<'_, '_>,
    products: impl Forward<T, K, O>,
    activation: u32,
) -> Result<()> {
    use forward_slot::{BIAS, SLOPE, WEIGHT, X, Y};
    let activation = activation::find::<T, A>(activation)?;
    let [exponent, weight_exponent, bias_exponent] = [X, WEIGHT, BIAS].map(|at| call.exponent(at));
    let mut scale: T::Scale = call.scale(0);
    let (exec, mode) = (call.exec, call.mode);
    let [x, weight, bias, y, slope] = call.views([X, WEIGHT, BIAS, Y, SLOPE])?;
    let weights = Weights::<T, K> {
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
pub(crate) fn step<T: Element, K: Element, A: Activations>(
    call: &mut Call<'_, '_>,
    products: impl Products<T, K>,
    activation: u32,
) -> Result<()>
where
    T::Acc: Into<K::Update>,
{
    use step_slot::{BIAS, DX, DY, GRADIENTS, SLOPE, WEIGHT, X, Y};
    let activation = activation::find::<T, A>(activation)?;
    let [x_exponent, exponent] = [X, DY].map(|at| call.exponent(at));
    let mut exponents = [WEIGHT, BIAS].map(|at| call.exponent(at) as i16); // they come from `i16`
    let mut scale: T::Scale = call.scale(0);
    let (pass, number, is_needed) = (call.pass(), call.number(), call.has(DX));
    let [x, y, slope, dy, dx, w0, w1, w2, w3, b0, b1, b2, b3] = call.views([
        X,
        Y,
        SLOPE,
        DY,
        DX,
        WEIGHT,
        WEIGHT + 1,
        WEIGHT + 2,
        GRADIENTS,
        BIAS,
        BIAS + 1,
        BIAS + 2,
        GRADIENTS + 1,
    ])?;
    let dy = write::<T>(dy)?;
    if !matches!(activation, kernels::activation::Activation::Identity) {
        kernels::activation::backward(activation, read(y)?, read(slope)?, dy)?;
    }
    let [weight, bias] = &mut exponents;
    let parameters = Parameters::<T, _, _> {
        weight: Learned::<K, T::Acc>::of([w0, w1, w2, w3], weight, Role::Weight)?,
        bias: Learned::<T::Bias, T::Acc>::of([b0, b1, b2, b3], bias, Role::Bias)?,
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
    learned::keep(
        call,
        [WEIGHT, BIAS],
        GRADIENTS,
        exponents,
        [exponent + x_exponent, exponent],
    );
    call.set_exponent(DX, below);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::learned::describe::Told;
    use crate::ops::{Describe, Kind, activation, learned};
    use alloc::vec::Vec;
    use selvedge_kernels::DType;
    use selvedge_kernels::optim::Role;

    /// An operator of this module: the kind that goes forward, and the one that goes back and learns.
    #[derive(Debug)]
    pub(crate) struct Weighted {
        pub(crate) forward: Kind,
        pub(crate) step: Kind,
        /// Whether weights have a type of their own: the second of a node then, and outputs have the first.
        pub(crate) is_mixed: bool,
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
            let stored = if self.is_mixed { dtypes[0] } else { dtypes[1] };
            let y = graph.computed(stored, shape.clone());
            let slope = activation::keeps_slopes(code).then(|| graph.computed(dtypes[0], shape));
            let node = Node {
                dtypes,
                ..Node::new(self, self.forward, dtypes[0], number)
            };
            graph.node(
                node.inputs(inputs.map(Some))
                    .outputs([Some(y), slope])
                    .attributes(attributes)
                    .states(1),
            );
            y
        }
    }

    impl Describe for Weighted {
        fn repeats(&self) -> bool {
            true
        }

        /// Appends the operator that goes back and learns.
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            let (&[x, weight, bias], &[Some(y), slope]) = (&*node.inputs, &*node.outputs) else {
                return Ok(());
            };
            let Some(dy) = walk.error(y, node.number) else {
                return Ok(());
            };
            let (parameters, gradients) = learned::describe::told(
                walk,
                node,
                [Told::new(weight, Role::Weight), Told::new(bias, Role::Bias)],
            );
            let dx = walk.new_error(x);
            let [dtype, weights] = node.dtypes;
            let step = Node {
                dtypes: [dtype, if self.is_mixed { weights } else { dtype }],
                ..Node::new(self, self.step, dtype, node.number)
            };
            let step = step
                .inputs([x, Some(y), slope, Some(dy)])
                .inputs(parameters)
                .outputs([dx])
                .outputs(gradients)
                .attributes(node.attributes.clone())
                .states(1);
            walk.graph.node(step.consumes(3));
            Ok(())
        }

        /// Each element of the narrower side, which is the input of a transposed convolution, has the products of a row of
        /// weights.
        fn macs(&self, graph: &Graph, node: &Node) -> u64 {
            let (&[x, weight, _], &[y, _]) = (&*node.inputs, &*node.outputs) else {
                return 0;
            };
            let narrow = if node.kind == Kind::ConvTranspose {
                x
            } else {
                y
            };
            let (Some(narrow), Some(weight)) = (narrow, weight) else {
                return 0;
            };
            let row = graph.shape_of(weight).into_iter().skip(1);
            let extents = graph.shape_of(narrow).into_iter().chain(row);
            extents.map(|extent| extent as u64).product()
        }
    }
}
