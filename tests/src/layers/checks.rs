//! What holds for every layer: outputs, errors and updates.

use super::case::Case;
use super::driven::Driven;
use super::numbers::{Precision, assert_near, moved};
use crate::compare::{central, cosine, inner};
use crate::noise::Noise;
use selvedge_core::net::Layer;
use selvedge_core::tensor::Shape;
use selvedge_kernels::Element;

/// `f64` against a definition in `f64`, relative to the largest output: some thousand roundings.
const EXACT: f64 = 1e-12;

/// Room for more samples than a batch has.
const ROOMY: usize = 8;

/// A layer that is given what the case says.
fn driven<L: Layer<In: Element>, const B: usize>(case: &Case<'_>) -> Driven<L, B> {
    let mut driven = Driven::new(case.seed);
    driven.has_tokens = case.has_tokens();
    driven
}

/// Holds the layer `R` against its definition and against central differences, with a batch of `B`.
pub fn check_f64<R, const B: usize>(case: &Case<'_>)
where
    R: Layer<Elem = f64, In: Element>,
{
    let name = case.name;
    let mut noise = Noise::new(case.seed);
    let x = case.samples(&mut noise, B * R::Input::LEN);
    let dy = noise.vector(B * R::Output::LEN, 1.0);
    let mut layer = driven::<R, B>(case);
    let y = layer.forward(&x);
    assert_eq!(y.len(), dy.len(), "{name}: elements of the output");
    let mut roomy = driven::<R, ROOMY>(case);
    assert_eq!(y, roomy.forward(&x), "{name}: outputs of a part of a batch");
    if let Some(definition) = case.definition {
        let want: Vec<f64> = x.chunks(R::Input::LEN).flat_map(definition).collect();
        assert_near(name, "f64", &want, &y, EXACT);
    }
    if let Some(definition) = case.definition_by {
        let parameters = layer.parameters();
        let mut layer = driven::<R, B>(case);
        layer.set_parameters(&noise.vector(parameters.len(), 1.0));
        let (y, parameters) = (layer.forward(&x), layer.parameters());
        let samples = x.chunks(R::Input::LEN);
        let want: Vec<f64> = samples.flat_map(|x| definition(x, &parameters)).collect();
        assert_near(name, "f64", &want, &y, EXACT);
    }
    layer.draw_parameters(&mut noise);
    let parameters = layer.parameters();
    roomy.set_parameters(&parameters);
    layer.forward(&x);
    roomy.forward(&x);
    layer.sgd = case.descent();
    let dx = layer.backward(&dy);
    assert_eq!(
        dx,
        roomy.backward(&dy),
        "{name}: errors of a part of a batch"
    );
    let loss = |x: &[f64], parameters: &[f64]| {
        let mut layer = driven::<R, B>(case);
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
    if !case.has_tokens() {
        let want = central(&x, |x| loss(x, &parameters));
        close("error of input", &want, &dx, case.difference);
    }
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

/// How far the square of errors may be off: an exponent that is wrong by one makes it 4 times as large or
/// as small, while errors of 8 bits are a few hundredths off.
const SQUARE: f64 = 0.1;

/// Floats of 16 bits are their own masters: of a small update, they hold a few units. The one that is compared is
/// larger by `2^COARSE`.
const COARSE: i16 = 6;

/// Steps of training before inference is compared: running statistics have gone four fifths of their way.
const STEPS: u32 = 16;

/// Holds the layer `L` against `R`, the same in `f64`: outputs, errors and updates with parameters that are drawn,
/// then outputs at inference after some steps; also the updates of a network's first layer, and samples at
/// inference one by one against all at once.
pub fn check_against<L, R, const B: usize>(case: &Case<'_>)
where
    L: Layer<In: Element>,
    R: Layer<Elem = f64, In: Element>,
{
    let dtype = L::Elem::DTYPE;
    let place = dtype.name();
    let mut noise = Noise::new(case.seed);
    let x = case.samples(&mut noise, B * L::Input::LEN);
    let dy = noise.vector(B * L::Output::LEN, 1.0);
    let mut layer = driven::<L, B>(case);
    let mut exact = driven::<R, B>(case);
    layer.draw_parameters(&mut noise);
    let parameters = layer.parameters();
    exact.set_parameters(&parameters);
    let mut sgd = case.descent();
    if !dtype.is_integer() && dtype.bytes() == 2 {
        sgd.rate.exponent += COARSE; // of both
    }
    for _ in 0..case.warm_up {
        layer.forward(&x);
        layer.backward_with(&dy, case.headroom);
    }
    (layer.sgd, exact.sgd) = (sgd, sgd);
    let y = layer.forward(&x);
    let want = exact.forward(&layer.input());
    let mut precision = Precision::of::<L::Elem>();
    precision.cosine = case.cosine.unwrap_or(precision.cosine);
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
    if !case.has_tokens() {
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
    }
    let mut first = driven::<L, B>(case);
    first.set_parameters(&parameters);
    for _ in 0..case.warm_up {
        first.forward(&x);
        first.update_with(&dy, case.headroom);
    }
    first.sgd = layer.sgd;
    first.forward(&x);
    first.update_with(&dy, case.headroom);
    assert_eq!(
        first.parameters(),
        layer.parameters(),
        "{}, {place}: parameters of a network's first layer",
        case.name
    );
    if !parameters.is_empty() {
        let got = moved(&parameters, &layer.parameters());
        let want = moved(&parameters, &exact.parameters());
        let cosine = cosine(&want, &got);
        assert!(
            cosine >= precision.cosine,
            "{}, {place}: the updates' cosine is {cosine}",
            case.name
        );
        let ratio = inner(&got, &got) / inner(&want, &want);
        // Updates at right angles to the difference have a cosine of sqrt(1 - d²), and squares of 1 ± 2 d.
        assert!(
            (ratio - 1.0).abs() < 2.0 * (1.0 - precision.cosine * precision.cosine).sqrt(),
            "{}, {place}: the updates' square is {ratio} of what it should be",
            case.name
        );
    }
    check_inference(case, &mut layer, &mut exact, &mut noise, own);
}

/// Trains `layer` for some steps and copies its parameters to `exact`, which sees the same samples; then holds
/// outputs at inference against each other.
fn check_inference<L, R, const B: usize>(
    case: &Case<'_>,
    layer: &mut Driven<L, B>,
    exact: &mut Driven<R, B>,
    noise: &mut Noise,
    own: f64,
) where
    L: Layer<In: Element>,
    R: Layer<Elem = f64, In: Element>,
{
    let place = L::Elem::DTYPE.name();
    layer.sgd = case.descent();
    for step in 1..=STEPS {
        layer.step = step;
        layer.forward(&case.samples(noise, B * L::Input::LEN));
        exact.forward(&layer.input());
        layer.update_with(&noise.vector(B * L::Output::LEN, 1.0), case.headroom);
    }
    let parameters = layer.parameters();
    layer.set_parameters(&parameters); // without low bytes
    exact.set_parameters(&layer.parameters());
    let x = case.near_samples(noise, B * L::Input::LEN);
    let got = layer.infer(&x);
    assert_eq!(
        got.together, got.apart,
        "{}, {place}: samples at inference influence each other",
        case.name
    );
    let want = exact.infer(&layer.input()).together;
    let largest = want.iter().fold(0f64, |largest, y| largest.max(y.abs()));
    let half_a_unit = match <L::Out as Element>::MAGNITUDE_BITS {
        0 => 0.0,
        _ => 2f64.powi(got.exponent - 1) / largest * (1.0 + EXACT),
    };
    // What is stored on the way has the units of training too: of half the size, twice the share.
    let share = Precision::of::<L::Elem>().output.max(half_a_unit) + 2.0 * own;
    let name = format!("{} at inference", case.name);
    assert_near(&name, place, &want, &got.together, share);
}
