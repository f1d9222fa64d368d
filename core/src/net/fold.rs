//! Batch normalisation folded into the layer before it.

use super::{BatchNorm, Conv, ConvTranspose, Dense, Geometry, Identity, Layer, Optimizer};
use crate::tensor::{Shape, Tensor};
use selvedge_kernels::batch_norm::{self, Folding};
use selvedge_kernels::{Element, Result};

/// A layer that a [`BatchNorm`] behind it can be [folded into](BatchNorm::fold_into): one with weights and without
/// an activation.
pub trait Fold: Layer {
    /// Folds `folding` into weights and biases; the output has the exponent state `output_scale` from now on.
    ///
    /// # Errors
    /// Those of [`batch_norm::fold`].
    fn fold(
        &mut self,
        folding: Folding<'_, Self::Elem>,
        output_scale: <Self::Elem as Element>::Scale,
    ) -> Result<()>;
}

impl<T: Element, const IN: usize, const OUT: usize, R: Optimizer> Fold
    for Dense<T, IN, OUT, Identity, R>
{
    fn fold(&mut self, folding: Folding<'_, T>, output_scale: T::Scale) -> Result<()> {
        self.inner.fold(OUT, folding, output_scale)
    }
}

impl<T: Element, In: Shape, F: Shape, Out: Shape, G: Geometry, R: Optimizer> Fold
    for Conv<T, In, F, Out, G, Identity, R>
{
    fn fold(&mut self, folding: Folding<'_, T>, output_scale: T::Scale) -> Result<()> {
        self.inner.fold(Out::CHANNELS, folding, output_scale)
    }
}

impl<T: Element, In: Shape, F: Shape, Out: Shape, G: Geometry, R: Optimizer> Fold
    for ConvTranspose<T, In, F, Out, G, Identity, R>
{
    fn fold(&mut self, folding: Folding<'_, T>, output_scale: T::Scale) -> Result<()> {
        let groups = const { Out::CHANNELS / F::CHANNELS };
        self.inner.fold(groups, folding, output_scale)
    }
}

impl<T: Element, S: Shape, R: Optimizer> BatchNorm<T, S, R> {
    /// Folds this normalisation into `layer`, the one before it, by its running statistics: at inference `layer` alone
    /// then gives what both gave, and the normalisation is left out. Low bytes of masters and velocities are gone, as
    /// the layer is no longer the one that was trained. The stack holds a factor for each channel meanwhile.
    ///
    /// What differs is rounding. Floats: weights, biases and the output are each rounded once more. Integers: with
    /// `f` a channel's `|gamma| / σ`, an output differs by at most half a unit of the layer's own output times `f`
    /// (and, of 24 and 53 bits, that of 15 bits), which is no longer rounded; half a unit of the folded weights for
    /// each input, times it; half a unit of the folded bias and of the accumulator; and a unit of the output. So 8 bits agree to
    /// some units of the output; the exponents of both outputs are the same.
    ///
    /// # Errors
    /// [`Error::Overflow`](selvedge_kernels::Error::Overflow) and [`Error::Zero`](selvedge_kernels::Error::Zero) for extents that no kernel takes.
    ///
    /// # Example
    /// ```
    /// use selvedge_core::net::{Layer, Network};
    /// use selvedge_core::{Rate, Serial, Sgd, net, train::Trainer};
    ///
    /// net! { struct Trained: [2] { hidden: dense(4), norm: batch_norm, head: dense(2) } }
    /// net! { struct Deployed: [2] { hidden: dense(4), head: dense(2) } }
    /// let mut trained = Trainer::<Trained<i16>, 4>::BLANK;
    /// trained.init(1)?;
    /// let (x, sgd) = ([90, 10, 20, 110, 100, 70, 5, 40], Sgd::new(Rate { mantissa: 1, exponent: -4 }));
    /// for _ in 0..50 {
    ///     trained.input_mut().iter_mut().zip(x).for_each(|(to, x)| *to = x << 8);
    ///     trained.step(&Serial, &[1, 0, 1, 0], &sgd)?;
    /// }
    /// trained.input_mut().iter_mut().zip(x).for_each(|(to, x)| *to = x << 8);
    /// let want = trained.predict(&Serial, 4)?.data.to_vec();
    ///
    /// let mut deployed = Trainer::<Deployed<i16>, 4>::BLANK;
    /// let (hidden, (norm, head)) = trained.network_mut().layers_mut();
    /// norm.fold_into(hidden).unwrap();
    /// let layers = (std::mem::replace(hidden, Layer::BLANK), std::mem::replace(head, Layer::BLANK));
    /// *deployed.network_mut().layers_mut() = layers;
    /// deployed.input_mut().iter_mut().zip(x).for_each(|(to, x)| *to = x << 8);
    /// let got = deployed.predict(&Serial, 4)?.data;
    /// assert!(want.iter().zip(got).all(|(a, b)| a.abs_diff(*b) < 16), "{want:?}, {got:?}");
    /// # Ok::<(), selvedge_core::Error>(())
    /// ```
    /// A layer of another shape is not the one before it, nor can one with an activation be folded into:
    /// ```compile_fail
    /// # use selvedge_core::net::{BatchNorm, Dense, Relu};
    /// # use selvedge_core::tensor::D1;
    /// fn fold(norm: &BatchNorm<i8, D1<4>>, layer: &mut Dense<i8, 2, 4, Relu>) {
    ///     norm.fold_into(layer).unwrap();
    /// }
    /// ```
    /// Source: Jacob et al. 2018, §3.2.
    pub fn fold_into<L>(&self, layer: &mut L) -> Result<()>
    where
        L: Fold<Elem = T, Out = T, Output = S>,
    {
        // The factor of integers has places for any exponent of the input.
        let x_exponent = 0;
        let mut transform = Tensor::<T::Transform, S::Last>::BLANK;
        let (affine, out_exponent) = self.affine(T::TRANSFORM_EXPONENT);
        batch_norm::transform(
            T::LAYER_EPSILON,
            x_exponent,
            affine,
            self.running.elements(),
            transform.elements_mut(),
        )?;
        let folding = Folding {
            transform: transform.elements(),
            x_exponent,
            out_exponent,
        };
        layer.fold(folding, self.output_scale)
    }
}
