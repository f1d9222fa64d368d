//! What dense layers and convolutions share: weights, bias, the exponents of output and error, and
//! the two passes over them. They differ in three products.

use super::activation::requantize;
use super::{
    ActivatedTape, Activation, Backward, Optimizer, Param, Pass, Slopes, Values, Visitor,
    VisitorMut, hand_scales, show_scales,
};
use crate::error::{Result, in_layer};
use crate::tensor::Shape;
use selvedge_kernels as kernels;
use selvedge_kernels::batch_norm::{Exponents, Folding, fold_transposed};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::element::Output;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::optim::{Gradient, Parameter, Role};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::{Element, activation, conv, conv::transpose};

/// The products of a layer with its error, and of error and input. Weights are of type `K`, all else
/// of `T`.
pub(super) trait Products<T: Element, K: Element>: Copy {
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
pub(super) trait Forward<T: Element, K: Element, O>: Products<T, K> {
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
pub(super) struct Transposed<const N: usize>(pub(super) conv::Shape<N>);

/// Weights of shape `W`, of type `K`, with a bias of shape `V`.
pub(super) struct Weighted<T: Element, W: Shape, V: Shape, R: Optimizer, K: Element = T> {
    pub(super) weight: Param<K, W, R>,
    pub(super) bias: Param<T::Bias, V, R>,
    output_scale: T::Scale,
    error_scale: T::Scale,
}

impl<T: Element, W: Shape, V: Shape, R: Optimizer, K: Element> Weighted<T, W, V, R, K>
where
    T::Acc: Into<K::Update>,
{
    pub(super) const BLANK: Self = Self {
        weight: Param::BLANK,
        bias: Param::BLANK,
        output_scale: Scale::UNSET,
        error_scale: Scale::UNSET,
    };

    pub(super) const PARAMETERS: usize = W::LEN + V::LEN;

    /// With the exponent of the activation.
    pub(super) const FLASH_BYTES: usize = Param::<K, W, R>::FLASH_BYTES
        + Param::<T::Bias, V, R>::FLASH_BYTES
        + if T::DTYPE.is_integer() { 2 } else { 0 };

    /// Outputs are sums of about `fan_in` products, and no sum of the forward pass has more than `products`.
    pub(super) fn init<A: Activation>(
        &mut self,
        seed: u32,
        number: u32,
        fan_in: usize,
        products: usize,
    ) -> Result<()> {
        if products > T::MAX_PRODUCTS {
            return Err(in_layer(number)(kernels::Error::Accumulator {
                terms: products,
                limit: T::MAX_PRODUCTS,
            }));
        }
        let words = Words::new(seed, stream::parameter(number, 0), 0);
        self.weight
            .init(words, A::GAIN, fan_in)
            .map_err(in_layer(number))?;
        // The bias' magnitude bits reach as far as those of the weights.
        let below = T::Bias::MAGNITUDE_BITS as i16 - K::MAGNITUDE_BITS as i16;
        self.bias.set_zero(self.weight.exponent() - below);
        (self.output_scale, self.error_scale) = (Scale::UNSET, Scale::UNSET);
        Ok(())
    }

    pub(super) fn forward<'t, A: Activation, S: Shape, const B: usize>(
        &mut self,
        products: impl Forward<T, K, A::Out<T>>,
        pass: &Pass<'_, impl Executor>,
        number: u32,
        x: Values<'_, T>,
        tape: &'t mut ActivatedTape<T, A, S, B>,
    ) -> Result<Values<'t, A::Out<T>>> {
        let out = tape.output.samples_mut(x.batch);
        let slope = match pass.mode {
            Mode::Train => tape.slopes.samples_mut(x.batch),
            Mode::Infer => &mut [],
        };
        let exponent = self
            .parts()
            .forward(products, A::of(), pass.exec, pass.mode, x, out, slope)
            .map_err(in_layer(number))?;
        Ok(tape.output.keep(pass.mode, x.batch, exponent))
    }

    #[allow(clippy::too_many_arguments)] // those of `Layer::backward`, and what differs
    pub(super) fn backward<'e, A: Activation, In: Shape, S: Shape, const B: usize>(
        &mut self,
        products: impl Products<T, K>,
        pass: &Pass<'_, impl Executor>,
        number: u32,
        x: Values<'_, T>,
        tape: &mut ActivatedTape<T, A, S, B>,
        errors: Backward<'e, T>,
        is_needed: bool,
    ) -> Result<Backward<'e, T>> {
        tape.output.begin_backward(number, x.batch)?;
        let lens = [x.batch * S::LEN, x.batch * In::LEN];
        errors
            .through(lens, is_needed, |dy, exponent, dx| {
                let y = tape.output.values(x.batch).data;
                A::backward(y, tape.slopes.samples(x.batch), dy)?;
                self.parts()
                    .backward(products, pass, number, x, dy, exponent, dx)
            })
            .map_err(in_layer(number))
    }

    fn parts(&mut self) -> Parts<'_, T, K> {
        Parts {
            weight: self.weight.parameter(Role::Weight),
            bias: self.bias.parameter(Role::Bias),
            output_scale: &mut self.output_scale,
            error_scale: &mut self.error_scale,
        }
    }

    pub(super) fn visit(&self, visitor: &mut impl Visitor) {
        self.weight.visit(visitor);
        self.bias.visit(visitor);
        show_scales::<T>(visitor, &[self.output_scale, self.error_scale]);
    }

    pub(super) fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.weight.visit_mut(visitor);
        self.bias.visit_mut(visitor);
        hand_scales::<T, 2>(visitor, [&mut self.output_scale, &mut self.error_scale]);
    }
}

impl<T: Element, W: Shape, V: Shape, R: Optimizer> Weighted<T, W, V, R> {
    /// Folds a batch normalisation into weights that have the channels of the output last, in `groups`.
    pub(super) fn fold(
        &mut self,
        groups: usize,
        folding: Folding<'_, T>,
        output_scale: T::Scale,
    ) -> kernels::Result<()> {
        let (weight, bias) = (
            self.weight.parameter(Role::Weight),
            self.bias.parameter(Role::Bias),
        );
        let exponents = Exponents {
            weight: (*weight.exponent).into(),
            bias: (*bias.exponent).into(),
        };
        let folded = fold_transposed(folding, groups, exponents, weight.value, bias.value)?;
        let narrow = |exponent: i32| exponent.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        (*weight.exponent, *bias.exponent) = (narrow(folded.weight), narrow(folded.bias));
        self.weight.forget();
        self.bias.forget();
        (self.output_scale, self.error_scale) = (output_scale, Scale::UNSET);
        Ok(())
    }
}

/// The same without shapes in the type: however many layers of a kind a network has, one copy of
/// what follows is linked.
struct Parts<'a, T: Element, K: Element> {
    weight: Parameter<'a, K>,
    bias: Parameter<'a, T::Bias>,
    output_scale: &'a mut T::Scale,
    error_scale: &'a mut T::Scale,
}

impl<T: Element, K: Element> Parts<'_, T, K>
where
    T::Acc: Into<K::Update>,
{
    /// Returns the exponent of `out`.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)] // those of `Layer::forward`, and what differs
    fn forward<O: Element + Output<T>>(
        self,
        products: impl Forward<T, K, O>,
        activation: activation::Activation<T>,
        exec: &impl Executor,
        mode: Mode,
        x: Values<'_, T>,
        out: &mut [O],
        slope: &mut [T],
    ) -> kernels::Result<i32> {
        let acc_exponent = x.exponent + i32::from(*self.weight.exponent);
        let shift = acc_exponent - i32::from(*self.bias.exponent);
        let bias = Bias {
            values: self.bias.value,
            shift,
        };
        let weight = &*self.weight.value;
        let run = |store| {
            let epilogue = Epilogue {
                activation,
                exponent: acc_exponent,
                store,
            };
            products.forward(exec, x.data, weight, bias, epilogue, &mut *out, &mut *slope)
        };
        requantize::<T, O>(activation, acc_exponent, self.output_scale, mode, run)
    }

    /// Takes the error to `dx`, where that is asked for, and returns its exponent; updates.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)] // those of `Layer::backward`, and what differs
    fn backward<E: Executor>(
        self,
        products: impl Products<T, K>,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, T>,
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
                let (scale, bits) = (self.error_scale, T::MAGNITUDE_BITS);
                scale.requantize(acc_exponent, bits, pass.mode, rounding, run)?
            }
        };
        let words = pass.update_words(number, 0);
        let update = self.weight.update(pass.sgd, exponent + x.exponent, words)?;
        let mut gradient = Gradient::Apply(update);
        products.backward_weight(x.data, dy, &mut gradient)?;
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
