//! What a layer is held against, and with which inputs.

use crate::noise::Noise;
use crate::tolerance::SMOOTH_DIFFERENCE;
use selvedge_core::{Rate, Sgd};

/// The definition of a layer: the outputs of one sample.
pub type Definition<'a> = &'a dyn Fn(&[f64]) -> Vec<f64>;

/// The definition of a layer with parameters: the outputs of one sample, given that and all parameters in order.
pub type DefinitionBy<'a> = &'a dyn Fn(&[f64], &[f64]) -> Vec<f64>;

/// What a layer is held against, and with which inputs.
pub struct Case<'a> {
    pub(super) name: &'a str,
    pub(super) definition: Option<Definition<'a>>,
    pub(super) definition_by: Option<DefinitionBy<'a>>,
    /// What inputs lie around, within `bound`.
    centre: f64,
    bound: f64,
    pub(super) seed: u32,
    /// The least magnitude of an input.
    gap: f64,
    /// How many tokens there are, if inputs are tokens.
    vocabulary: Option<usize>,
    /// The error of outputs beside that of storing them: of 8-bit types and of other integers as a share of
    /// the largest, of floats in roundings of `f32`, or of the type if that is finer.
    pub(super) own: [f64; 3],
    /// The rate of the update that is compared is `2^rate`.
    rate: i16,
    /// How far central differences may be off.
    pub(super) difference: f64,
    /// Places that the errors of outputs leave free in integers.
    pub(super) headroom: i32,
    /// Passes both ways before the one that is compared.
    pub(super) warm_up: u32,
    /// The least cosine of errors and updates, if not that of the type.
    pub(super) cosine: Option<f64>,
}

impl<'a> Case<'a> {
    /// Inputs within ±2, outputs and gradients as exact as storing them allows.
    #[must_use]
    pub fn new(name: &'a str) -> Self {
        Self {
            name,
            definition: None,
            definition_by: None,
            centre: 0.0,
            bound: 2.0,
            seed: 1,
            gap: 0.0,
            vocabulary: None,
            own: [0.0, 0.0, 8.0],
            rate: -6,
            headroom: 0,
            warm_up: 0,
            cosine: None,
            difference: SMOOTH_DIFFERENCE,
        }
    }

    /// What a sample's outputs should be.
    #[must_use]
    pub fn defined(self, definition: Definition<'a>) -> Self {
        Self {
            definition: Some(definition),
            ..self
        }
    }

    /// What a sample's outputs should be with any parameters: those of the check are random, biases too.
    #[must_use]
    pub fn defined_by(self, definition: DefinitionBy<'a>) -> Self {
        Self {
            definition_by: Some(definition),
            ..self
        }
    }

    /// Inputs within ±`bound`.
    #[must_use]
    pub fn within(self, bound: f64) -> Self {
        Self { bound, ..self }
    }

    /// Inputs around `centre`, not 0.
    #[must_use]
    pub fn around(self, centre: f64) -> Self {
        Self { centre, ..self }
    }

    /// No inputs within ±`gap`: there is a kink at 0.
    #[must_use]
    pub fn away_from_zero(self, gap: f64) -> Self {
        Self { gap, ..self }
    }

    /// Inputs are tokens, as whole numbers below `vocabulary`: they have no errors.
    #[must_use]
    pub fn of_tokens(self, vocabulary: usize) -> Self {
        Self {
            vocabulary: Some(vocabulary),
            ..self
        }
    }

    /// Outputs have an error beside that of storing them, as a share of the largest: of 8-bit types, of
    /// other integers.
    #[must_use]
    pub fn off_by(self, [bytes, wider]: [f64; 2]) -> Self {
        let [.., floats] = self.own;
        Self {
            own: [bytes, wider, floats],
            ..self
        }
    }

    /// Floats take about so many roundings one after the other.
    #[must_use]
    pub fn roundings(self, count: f64) -> Self {
        let [bytes, wider, _] = self.own;
        Self {
            own: [bytes, wider, count],
            ..self
        }
    }

    /// Parameters move by gradients times `2^rate`.
    #[must_use]
    pub fn at_rate(self, rate: i16) -> Self {
        Self { rate, ..self }
    }

    /// Errors leave a place free: slopes above 1 would saturate the largest, as `docs/numerics.md` §7 says.
    #[must_use]
    pub fn with_headroom(self) -> Self {
        Self {
            headroom: 1,
            ..self
        }
    }

    /// What is compared comes after two passes with the same samples, for windows that are not measured: of the first
    /// one they learn how large the errors of the last step of a sequence are, then those of the steps before.
    #[must_use]
    pub fn warmed_up(self) -> Self {
        Self { warm_up: 2, ..self }
    }

    /// Whether inputs are tokens.
    pub(super) fn has_tokens(&self) -> bool {
        self.vocabulary.is_some()
    }

    /// The least cosine of errors and updates: where they jump, rounding may take a number to the other side.
    #[must_use]
    pub fn with_cosine(self, least: f64) -> Self {
        Self {
            cosine: Some(least),
            ..self
        }
    }

    /// Random inputs.
    pub(super) fn samples(&self, noise: &mut Noise, len: usize) -> Vec<f64> {
        let mut sample = || {
            if let Some(vocabulary) = self.vocabulary {
                return noise.below(vocabulary) as f64;
            }
            let x = noise.signed();
            self.centre + x.signum() * (self.gap + x.abs() * (self.bound - self.gap))
        };
        (0..len).map(|_| sample()).collect()
    }

    /// Random inputs nearer to the centre, so that exponents which training has set have room for them.
    pub(super) fn near_samples(&self, noise: &mut Noise, len: usize) -> Vec<f64> {
        let samples = self.samples(noise, len).into_iter();
        match self.vocabulary {
            None => samples.map(|x| (x + self.centre) / 2.0).collect(),
            Some(_) => samples.collect(),
        }
    }

    /// The update that is compared.
    pub(super) fn descent(&self) -> Sgd {
        Sgd::new(Rate {
            mantissa: 1,
            exponent: self.rate,
        })
    }
}
