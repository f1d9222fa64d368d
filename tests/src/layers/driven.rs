//! One layer alone, with all that its passes take.

use super::numbers::{numbered, numbers, rounded};
use crate::compare::values;
use crate::noise::Noise;
use selvedge_core::net::{Backward, Layer, Pass, Tape, Values, Visitor, VisitorMut};
use selvedge_core::tensor::Shape;
use selvedge_core::{Rate, Serial, Sgd};
use selvedge_kernels::scale::Mode;
use selvedge_kernels::{Blank, Element};

/// A layer with all that its passes take, for batches of up to `B` samples. Its number is 0. Each pass is a sequence
/// of its own.
pub struct Driven<L: Layer<In: Element>, const B: usize> {
    /// The layer.
    pub layer: Box<L>,
    /// Whether exponent states adapt, and random layers are random.
    pub mode: Mode,
    /// The update of a backward pass; [`Driven::new`] sets a rate of 0.
    pub sgd: Sgd,
    /// Training step, which addresses random words.
    pub step: u32,
    /// Whether inputs are tokens, as whole numbers.
    pub has_tokens: bool,
    tape: Box<L::Tape<B>>,
    seed: u32,
    x: Vec<L::In>,
    x_exponent: i32,
}

/// Outputs at inference.
pub struct Inferred {
    /// Of all samples at once.
    pub together: Vec<f64>,
    /// Of one after the other.
    pub apart: Vec<f64>,
    /// The exponent of an integer output.
    pub exponent: i32,
}

impl<L: Layer<In: Element>, const B: usize> Driven<L, B> {
    /// A layer that is initialised with `seed` and has seen nothing.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        let mut layer = Box::new(L::BLANK);
        layer
            .init(seed, 0)
            .expect("a layer that can be initialised");
        Self {
            layer,
            mode: Mode::Train,
            sgd: Sgd::new(Rate {
                mantissa: 0,
                exponent: 0,
            }),
            step: 0,
            has_tokens: false,
            tape: Box::new(Tape::BLANK),
            seed,
            x: Vec::new(),
            x_exponent: 0,
        }
    }

    /// Samples as the layer takes them.
    fn give(&mut self, x: &[f64]) {
        (self.x, self.x_exponent) = match self.has_tokens {
            true => (numbered(x), 0),
            false => rounded(x),
        };
    }

    /// The output for samples `x`, which are rounded to the element type.
    pub fn forward(&mut self, x: &[f64]) -> Vec<f64> {
        self.give(x);
        self.tape.reset();
        let pass = pass(self.mode, self.seed, self.step, &self.sgd);
        let x = samples::<L>(&self.x, self.x_exponent);
        let y = self
            .layer
            .forward::<_, B>(&pass, 0, x, &mut self.tape)
            .expect("a forward pass");
        values(y.data, y.exponent)
    }

    /// The error of the input of the last forward pass, for the error `dy` of its output, none of tokens; then the
    /// parameters are updated. The error buffers are no larger than the layer says.
    pub fn backward(&mut self, dy: &[f64]) -> Vec<f64> {
        self.backward_with(dy, 0)
    }

    /// The same with errors that leave `headroom` places free in integers.
    pub fn backward_with(&mut self, dy: &[f64], headroom: i32) -> Vec<f64> {
        let (dx, exponent) = self.descend(dy, headroom, true);
        values(&dx, exponent)
    }

    /// The same where nothing below has parameters: these are updated, and the error of the input is not
    /// asked for.
    pub fn update_with(&mut self, dy: &[f64], headroom: i32) {
        self.descend(dy, headroom, false);
    }

    fn descend(&mut self, dy: &[f64], headroom: i32, is_needed: bool) -> (Vec<L::Elem>, i32) {
        let pass = pass(self.mode, self.seed, self.step, &self.sgd);
        let x = samples::<L>(&self.x, self.x_exponent);
        let exponent = rounded::<L::Elem>(dy).1 + headroom;
        let exponent = if L::Elem::DTYPE.is_integer() {
            exponent
        } else {
            0
        };
        let dy: Vec<L::Elem> = crate::compare::elements(dy, exponent);
        let needs = if is_needed {
            L::INFO.errors
        } else {
            L::INFO.errors_first
        };
        let room = |len: usize| vec![L::Elem::BLANK; B * len];
        let mut error = room(needs.error.max(L::Output::LEN));
        let mut spare = room(needs.spare);
        error[..dy.len()].copy_from_slice(&dy);
        let errors = Backward {
            error: &mut error,
            spare: &mut spare,
            exponent,
        };
        let errors = self
            .layer
            .backward::<_, B>(&pass, 0, x, &mut self.tape, errors, is_needed)
            .expect("a backward pass");
        let len = if is_needed && !self.has_tokens {
            self.x.len()
        } else {
            0
        };
        (errors.error[..len].to_vec(), errors.exponent)
    }

    /// The outputs at inference for samples `x`, of all at once and of one after the other, with their exponent.
    pub fn infer(&mut self, x: &[f64]) -> Inferred {
        self.give(x);
        let pass = pass(Mode::Infer, self.seed, self.step, &self.sgd);
        let exponent = self.x_exponent;
        let (layer, tape) = (&mut self.layer, &mut self.tape);
        let mut run = |x: &[L::In]| {
            tape.reset();
            let y = layer
                .forward::<_, B>(&pass, 0, samples::<L>(x, exponent), tape)
                .expect("a forward pass");
            (values(y.data, y.exponent), y.exponent)
        };
        let (together, exponent) = run(&self.x);
        let one_by_one = self.x.chunks(L::Input::LEN);
        Inferred {
            together,
            apart: one_by_one.flat_map(|x| run(x).0).collect(),
            exponent,
        }
    }

    /// What the samples of the last forward pass were rounded to.
    #[must_use]
    pub fn input(&self) -> Vec<f64> {
        match self.has_tokens {
            true => numbers(&self.x),
            false => values(&self.x, self.x_exponent),
        }
    }

    /// All parameters in order, with the low bytes of masters.
    #[must_use]
    pub fn parameters(&self) -> Vec<f64> {
        let mut parameters = Parameters(Vec::new());
        self.layer.visit(&mut parameters);
        parameters.0
    }

    /// Draws all parameters: each between an eighth and three quarters of 1, or of what its exponent has room for,
    /// so that gains are not 0, nor biases, and an update has room.
    pub fn draw_parameters(&mut self, noise: &mut Noise) {
        self.layer.visit_mut(&mut Draw(noise));
    }

    /// Changes all parameters, to what elements can hold at the exponents that are set.
    pub fn set_parameters(&mut self, parameters: &[f64]) {
        self.layer.visit_mut(&mut Load(parameters));
    }
}

struct Parameters(Vec<f64>);

impl Visitor for Parameters {
    fn parameter<P: Element>(&mut self, value: &[P], residual: &[i8], exponent: i16) {
        let low = 2f64.powi(i32::from(exponent) - 8);
        let masters = values(value, exponent.into()).into_iter().enumerate();
        let low = |at: usize| residual.get(at).map_or(0.0, |&byte| f64::from(byte) * low);
        self.0.extend(masters.map(|(at, value)| value + low(at)));
    }
}

struct Load<'a>(&'a [f64]);

impl VisitorMut for Load<'_> {
    fn parameter<P: Element>(&mut self, value: &mut [P], residual: &mut [i8], exponent: &mut i16) {
        let (own, rest) = self.0.split_at(value.len());
        value.copy_from_slice(&crate::compare::elements(own, i32::from(*exponent)));
        residual.fill(0);
        self.0 = rest;
    }
}

struct Draw<'a>(&'a mut Noise);

impl VisitorMut for Draw<'_> {
    fn parameter<P: Element>(&mut self, value: &mut [P], residual: &mut [i8], exponent: &mut i16) {
        let one = -i32::from(*exponent);
        let room = 2f64.powi(match P::MAGNITUDE_BITS {
            0 => one,
            bits => one.min(bits as i32),
        });
        for value in value {
            let x = self.0.signed();
            *value = P::from_f64(room * x.signum() * (0.125 + 0.625 * x.abs()));
        }
        residual.fill(0);
    }
}

fn pass(mode: Mode, seed: u32, step: u32, sgd: &Sgd) -> Pass<'_, Serial> {
    Pass {
        exec: &Serial,
        mode,
        seed,
        step,
        sgd,
        is_padded: false,
        lengths: &[],
    }
}

fn samples<L: Layer>(data: &[L::In], exponent: i32) -> Values<'_, L::In> {
    Values {
        data,
        exponent,
        batch: data.len() / L::Input::LEN,
    }
}
