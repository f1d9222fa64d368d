//! What dense layers and convolutions share: weights, bias, the exponents of output and error, and
//! the two passes over them. They differ in three products.

use super::{
    ActivatedTape, Activation, Backward, Optimizer, Param, Pass, Slopes, Values, Visitor,
    VisitorMut, hand_scales, show_scales,
};
use crate::error::{Result, in_layer};
use crate::ops::weighted::{Forward, Parameters, Products, Weights};
use crate::tensor::Shape;
use selvedge_kernels as kernels;
use selvedge_kernels::Element;
use selvedge_kernels::batch_norm::{Exponents, Folding, fold_transposed};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::optim::Role;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::{Mode, Scale};

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
            Mode::Infer | Mode::Calibrate => &mut [],
        };
        let weights = Weights::<T, K> {
            weight: self.weight.elements(),
            weight_exponent: self.weight.exponent().into(),
            bias: self.bias.elements(),
            bias_exponent: self.bias.exponent().into(),
            scale: &mut self.output_scale,
        };
        let x_data = (x.data, x.exponent);
        let exponent = weights
            .forward(products, A::of(), pass.exec, pass.mode, x_data, out, slope)
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
                let parameters = Parameters::<T, _, _> {
                    weight: self.weight.parameter(Role::Weight),
                    bias: self.bias.parameter(Role::Bias),
                    scale: &mut self.error_scale,
                };
                let x = (x.data, x.exponent);
                parameters.backward(products, pass, number, x, dy, exponent, dx)
            })
            .map_err(in_layer(number))
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
