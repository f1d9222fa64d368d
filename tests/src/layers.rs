//! Typed layers on their own: one pass at a time, values in, values out; and what holds for all of
//! them, in all types.
//!
//! ```
//! use selvedge_core::net::Negate;
//! use selvedge_core::tensor::D1;
//! use selvedge_tests::layers::{Case, Driven};
//! use selvedge_tests::check_layer;
//!
//! let mut layer = Driven::<Negate<i8, D1<2>>, 1>::new(1);
//! assert_eq!(layer.forward(&[0.5, -0.25]), [-0.5, 0.25]);
//! assert_eq!(layer.backward(&[1.0, 0.5]), [-1.0, -0.5]);
//!
//! let negated = |x: &[f64]| x.iter().map(|x| -x).collect();
//! check_layer!(T => Negate<T, D1<4>>, Case::new("negate").defined(&negated));
//! ```

use crate::compare::{central, cosine, inner, values};
use crate::noise::Noise;
use crate::tolerance::SMOOTH_DIFFERENCE;
use selvedge_core::net::{Backward, Layer, Pass, Tape, Values, Visitor, VisitorMut};
use selvedge_core::tensor::Shape;
use selvedge_core::{Rate, Serial, Sgd};
use selvedge_kernels::scale::Mode;
use selvedge_kernels::{Blank, Element};

/// A layer with all that its passes take, for batches of up to `B` samples. Its number is 0.
pub struct Driven<L: Layer, const B: usize> {
    /// The layer.
    pub layer: Box<L>,
    /// Whether exponent states adapt, and random layers are random.
    pub mode: Mode,
    /// The update of a backward pass; [`Driven::new`] sets a rate of 0.
    pub sgd: Sgd,
    /// Training step, which addresses random words.
    pub step: u32,
    tape: Box<L::Tape<B>>,
    seed: u32,
    x: Vec<L::Elem>,
    x_exponent: i32,
}

impl<L: Layer, const B: usize> Driven<L, B> {
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
            tape: Box::new(Tape::BLANK),
            seed,
            x: Vec::new(),
            x_exponent: 0,
        }
    }

    /// The output for samples `x`, which are rounded to the element type.
    pub fn forward(&mut self, x: &[f64]) -> Vec<f64> {
        (self.x, self.x_exponent) = rounded(x);
        let pass = pass(self.mode, self.seed, self.step, self.sgd);
        let x = samples::<L>(&self.x, self.x_exponent);
        let y = self
            .layer
            .forward::<_, B>(&pass, 0, x, &mut self.tape)
            .expect("a forward pass");
        values(y.data, y.exponent)
    }

    /// The error of the input of the last forward pass, for the error `dy` of its output; then the
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
        let pass = pass(self.mode, self.seed, self.step, self.sgd);
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
        let len = if is_needed { self.x.len() } else { 0 };
        (errors.error[..len].to_vec(), errors.exponent)
    }

    /// The outputs at inference for the samples of the last forward pass: of all at once, and of one after
    /// the other.
    pub fn infer(&mut self) -> [Vec<f64>; 2] {
        let pass = pass(Mode::Infer, self.seed, self.step, self.sgd);
        let exponent = self.x_exponent;
        let (layer, tape) = (&mut self.layer, &mut self.tape);
        let mut run = |x: &[L::Elem]| {
            let y = layer
                .forward::<_, B>(&pass, 0, samples::<L>(x, exponent), tape)
                .expect("a forward pass");
            values(y.data, y.exponent)
        };
        [
            run(&self.x),
            self.x.chunks(L::Input::LEN).flat_map(run).collect(),
        ]
    }

    /// What the samples of the last forward pass were rounded to.
    #[must_use]
    pub fn input(&self) -> Vec<f64> {
        values(&self.x, self.x_exponent)
    }

    /// All parameters in order, with the low bytes of masters.
    #[must_use]
    pub fn parameters(&self) -> Vec<f64> {
        let mut parameters = Parameters(Vec::new());
        self.layer.visit(&mut parameters);
        parameters.0
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

fn pass(mode: Mode, seed: u32, step: u32, sgd: Sgd) -> Pass<'static, Serial> {
    Pass {
        exec: &Serial,
        mode,
        seed,
        step,
        sgd,
    }
}

fn samples<L: Layer>(data: &[L::Elem], exponent: i32) -> Values<'_, L::Elem> {
    Values {
        data,
        exponent,
        batch: data.len() / L::Input::LEN,
    }
}

/// Values as elements, integers at the smallest exponent that holds all of them.
#[must_use]
pub fn rounded<T: Element>(x: &[f64]) -> (Vec<T>, i32) {
    let exponent = if T::DTYPE.is_integer() {
        let largest = x.iter().fold(0f64, |largest, x| largest.max(x.abs()));
        let most = 2f64.powi(T::MAGNITUDE_BITS as i32) - 1.0;
        (largest / most).max(f64::MIN_POSITIVE).log2().ceil() as i32
    } else {
        0
    };
    (crate::compare::elements(x, exponent), exponent)
}

/// `f64` against a definition in `f64`, relative to the largest output: some thousand roundings.
const EXACT: f64 = 1e-12;

/// The definition of a layer: the outputs of one sample.
pub type Definition<'a> = &'a dyn Fn(&[f64]) -> Vec<f64>;

/// How far a type's outputs may be from `f64`, and its errors.
#[derive(Clone, Copy, Debug)]
pub struct Precision {
    /// The distance of an output, as a share of the largest.
    pub output: f64,
    /// The least cosine between errors and those of `f64`.
    pub cosine: f64,
    /// The same of updates, which are rounded to what masters can hold.
    pub update: f64,
}

impl Precision {
    /// What storing alone loses in type `T`. Integers fit the largest output into `M` bits, so that half
    /// a unit is at most `2^-M` of it; floats get twice half a unit, being computed from rounded numbers.
    /// The cosines are those that every layer is asked to keep.
    #[must_use]
    pub fn of<T: Element>() -> Self {
        let output = match T::MAGNITUDE_BITS {
            0 => 2.0 * crate::tensors::rounding::<T>(),
            bits => 2f64.powi(-(bits as i32)),
        };
        let (cosine, update) = match (T::DTYPE.is_integer(), T::DTYPE.bytes()) {
            (true, 1) => (0.99, 0.99),
            // Their masters are themselves: an update is a few units of a parameter.
            (false, 2) => (0.9999, 0.95),
            _ => (0.9999, 0.9999),
        };
        Self {
            output,
            cosine,
            update,
        }
    }
}

/// What a layer is held against, and with which inputs.
pub struct Case<'a> {
    name: &'a str,
    definition: Option<Definition<'a>>,
    bound: f64,
    seed: u32,
    /// The least magnitude of an input.
    gap: f64,
    /// The error of outputs beside that of storing them: of 8-bit types and of other integers as a share of
    /// the largest, of floats in roundings of `f32`, or of the type if that is finer.
    own: [f64; 3],
    /// The rate of the update that is compared is `2^rate`.
    rate: i16,
    /// How far central differences may be off.
    difference: f64,
    /// Places that the errors of outputs leave free in integers.
    headroom: i32,
}

impl<'a> Case<'a> {
    /// Inputs within ±2, outputs and gradients as exact as storing them allows.
    #[must_use]
    pub fn new(name: &'a str) -> Self {
        Self {
            name,
            definition: None,
            bound: 2.0,
            seed: 1,
            gap: 0.0,
            own: [0.0, 0.0, 8.0],
            rate: -6,
            headroom: 0,
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

    /// Inputs within ±`bound`.
    #[must_use]
    pub fn within(self, bound: f64) -> Self {
        Self { bound, ..self }
    }

    /// No inputs within ±`gap`: there is a kink at 0.
    #[must_use]
    pub fn away_from_zero(self, gap: f64) -> Self {
        Self { gap, ..self }
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

    fn samples(&self, noise: &mut Noise, len: usize) -> Vec<f64> {
        let mut sample = || {
            let x = noise.signed();
            x.signum() * (self.gap + x.abs() * (self.bound - self.gap))
        };
        (0..len).map(|_| sample()).collect()
    }
}

/// Room for more samples than a batch has.
const ROOMY: usize = 8;

/// Holds the layer `R` against its definition and against central differences, with a batch of `B`.
pub fn check_f64<R, const B: usize>(case: &Case<'_>)
where
    R: Layer<Elem = f64>,
{
    let name = case.name;
    let mut noise = Noise::new(case.seed);
    let x = case.samples(&mut noise, B * R::Input::LEN);
    let dy = noise.vector(B * R::Output::LEN, 1.0);
    let mut layer = Driven::<R, B>::new(case.seed);
    let y = layer.forward(&x);
    assert_eq!(y.len(), dy.len(), "{name}: elements of the output");
    let mut roomy = Driven::<R, ROOMY>::new(case.seed);
    assert_eq!(y, roomy.forward(&x), "{name}: outputs of a part of a batch");
    if let Some(definition) = case.definition {
        let want: Vec<f64> = x.chunks(R::Input::LEN).flat_map(definition).collect();
        assert_near(name, "f64", &want, &y, EXACT);
    }
    let parameters = layer.parameters();
    layer.sgd = descent(case);
    let dx = layer.backward(&dy);
    assert_eq!(
        dx,
        roomy.backward(&dy),
        "{name}: errors of a part of a batch"
    );
    let loss = |x: &[f64], parameters: &[f64]| {
        let mut layer = Driven::<R, B>::new(case.seed);
        layer.set_parameters(parameters);
        inner(&dy, &layer.forward(x))
    };
    let close = |what: &str, want: &[f64], got: &[f64], tolerance: f64| {
        for (i, (want, got)) in want.iter().zip(got).enumerate() {
            assert!(
                (want - got).abs() <= tolerance,
                "{name}, {what} {i}: differences say {want}, computed {got}"
            );
        }
    };
    let want = central(&x, |x| loss(x, &parameters));
    close("error of input", &want, &dx, case.difference);
    let want = central(&parameters, |parameters| loss(&x, parameters));
    let rate = layer.sgd.rate.to_f64();
    let moved = moved(&parameters, &layer.parameters());
    let gradient: Vec<f64> = moved.iter().map(|moved| -moved / rate).collect();
    // The difference of parameters before and after is rounded to units of the parameters.
    let rounding = 4.0 * f64::EPSILON / rate;
    close(
        "gradient of parameter",
        &want,
        &gradient,
        case.difference + rounding,
    );
}

fn moved(before: &[f64], after: &[f64]) -> Vec<f64> {
    before.iter().zip(after).map(|(was, is)| is - was).collect()
}

fn descent(case: &Case<'_>) -> Sgd {
    Sgd::new(Rate {
        mantissa: 1,
        exponent: case.rate,
    })
}

/// How far the square of errors may be off: an exponent that is wrong by one makes it 4 times as large or
/// as small, while errors of 8 bits are a few hundredths off.
const SQUARE: f64 = 0.1;

/// Holds the layer `L` against `R`, the same in `f64`: outputs, errors and updates; also the updates of a
/// network's first layer, and samples at inference one by one against all at once.
pub fn check_against<L, R, const B: usize>(case: &Case<'_>)
where
    L: Layer,
    R: Layer<Elem = f64>,
{
    let dtype = L::Elem::DTYPE;
    let place = dtype.name();
    let mut noise = Noise::new(case.seed);
    let x = case.samples(&mut noise, B * L::Input::LEN);
    let dy = noise.vector(B * L::Output::LEN, 1.0);
    let mut layer = Driven::<L, B>::new(case.seed);
    let mut exact = Driven::<R, B>::new(case.seed);
    let parameters = layer.parameters();
    layer.set_parameters(&parameters); // without low bytes
    let parameters = layer.parameters();
    exact.set_parameters(&parameters);
    (layer.sgd, exact.sgd) = (descent(case), descent(case));
    let y = layer.forward(&x);
    let want = exact.forward(&layer.input());
    let precision = Precision::of::<L::Elem>();
    let [bytes, wider, floats] = case.own;
    let own = match (dtype.is_integer(), dtype.bytes()) {
        (true, 1) => bytes,
        // Of 53 bits, the roundings of `f64` itself are seen.
        (true, 8) => wider + floats * f64::EPSILON,
        (true, _) => wider,
        _ => floats * f64::from(f32::EPSILON).min(precision.output),
    };
    assert_near(case.name, place, &want, &y, precision.output + own);
    let dx = layer.backward_with(&dy, case.headroom);
    let want = exact.backward(&dy);
    let cosine = cosine(&want, &dx);
    assert!(
        cosine >= precision.cosine,
        "{}, {place}: the errors' cosine is {cosine}",
        case.name
    );
    // A cosine does not see a wrong exponent.
    let ratio = inner(&dx, &dx) / inner(&want, &want);
    assert!(
        (ratio - 1.0).abs() < SQUARE,
        "{}, {place}: the errors' square is {ratio} of what it should be",
        case.name
    );
    let mut first = Driven::<L, B>::new(case.seed);
    first.set_parameters(&parameters);
    first.sgd = layer.sgd;
    first.forward(&x);
    first.update_with(&dy, case.headroom);
    assert_eq!(
        first.parameters(),
        layer.parameters(),
        "{}, {place}: parameters of a network's first layer",
        case.name
    );
    let [together, apart] = layer.infer();
    assert_eq!(
        together, apart,
        "{}, {place}: samples at inference influence each other",
        case.name
    );
    if parameters.is_empty() {
        return;
    }
    let got = moved(&parameters, &layer.parameters());
    let want = moved(&parameters, &exact.parameters());
    let cosine = crate::compare::cosine(&want, &got);
    assert!(
        cosine >= precision.update,
        "{}, {place}: the updates' cosine is {cosine}",
        case.name
    );
    let ratio = inner(&got, &got) / inner(&want, &want);
    // Updates at right angles to the difference have a cosine of sqrt(1 - d²), and squares of 1 ± 2 d.
    assert!(
        (ratio - 1.0).abs() < 2.0 * (1.0 - precision.update * precision.update).sqrt(),
        "{}, {place}: the updates' square is {ratio} of what it should be",
        case.name
    );
}

fn assert_near(name: &str, dtype: &str, want: &[f64], got: &[f64], share: f64) {
    assert_eq!(want.len(), got.len(), "{name}, {dtype}");
    let largest = want.iter().fold(0f64, |largest, x| largest.max(x.abs()));
    let limit = share * largest;
    for (i, (want, got)) in want.iter().zip(got).enumerate() {
        assert!(
            (want - got).abs() <= limit,
            "{name}, {dtype}, output {i}: expected {want}, computed {got}, allowed {limit:e}"
        );
    }
}

/// Calls a macro with each of the twelve element types.
#[macro_export]
macro_rules! for_each_type {
    ($call:ident) => {
        $call!(i8);
        $call!(u8);
        $call!(i16);
        $call!(u16);
        $call!(i32);
        $call!(u32);
        $call!(i64);
        $call!(u64);
        $call!(selvedge_kernels::f16);
        $call!(selvedge_kernels::bf16);
        $call!(f32);
        $call!(f64);
    };
}

/// Checks a typed layer, given as a type of the element type `$t`: in `f64` by
/// [`check_f64`](crate::layers::check_f64), and in all twelve types by
/// [`check_against`](crate::layers::check_against) that. Batches have three samples.
#[macro_export]
macro_rules! check_layer {
    ($t:ident => $layer:ty, $case:expr) => {{
        type Layer<$t> = $layer;
        // A match, so that what the case borrows lives long enough.
        match $case {
            case => {
                $crate::layers::check_f64::<Layer<f64>, 3>(&case);
                macro_rules! check {
                    ($type:ty) => {
                        $crate::layers::check_against::<Layer<$type>, Layer<f64>, 3>(&case);
                    };
                }
                $crate::for_each_type!(check);
            }
        }
    }};
}

/// Checks a layer with weights of type `$k` under activations of type `$t`, in all pairs that there are, by
/// [`check_against`](crate::layers::check_against) `$twin`, the same layer in `f64`; that by
/// [`check_f64`](crate::layers::check_f64). Batches have three samples.
#[macro_export]
macro_rules! check_mixed {
    ($t:ident, $k:ident => $layer:ty, $twin:ty, $case:expr) => {{
        type Layer<$t, $k> = $layer;
        // A match, so that what the case borrows lives long enough.
        match $case {
            case => {
                $crate::layers::check_f64::<$twin, 3>(&case);
                $crate::layers::check_against::<Layer<i16, i8>, $twin, 3>(&case);
                $crate::layers::check_against::<Layer<i16, u8>, $twin, 3>(&case);
                $crate::layers::check_against::<Layer<u16, i8>, $twin, 3>(&case);
                $crate::layers::check_against::<Layer<u16, u8>, $twin, 3>(&case);
            }
        }
    }};
}
