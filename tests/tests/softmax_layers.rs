//! Typed layers of the softmax family: against definitions, differences, and `f64` in all types.

use selvedge_core::net::softmax::{Allowed, Clusters, Levels, Weights};
use selvedge_core::net::{
    AdaptiveSoftmax, Entmax, GroupedSoftmax, GumbelSoftmax, LearnedMixture, MaskedSoftmax,
    MixtureSoftmax, Plain, Softmax, Sparsemax, TreeSoftmax,
};
use selvedge_core::tensor::{D1, D2, D3};
use selvedge_kernels::Element;
use selvedge_kernels::scale::Mode;
use selvedge_tests::layers::{Case, Driven, Precision};
use selvedge_tests::{check_layer, for_each_type};

/// Integer probabilities are Q15: two units of it from the table, one more for each product.
const Q15: f64 = 4.0 / 32_768.0;

/// 8 bits saturate at 127/128: half a unit more, of probabilities that may be small.
const SATURATED: f64 = 1.0 / 64.0;

/// How far a layer's probabilities may be off, relative to the largest of a batch.
const OFF: [f64; 2] = [SATURATED, 4.0 * Q15];

fn softmax(z: &[f64], temperature: f64) -> Vec<f64> {
    let sum: f64 = z.iter().map(|z| (z / temperature).exp()).sum();
    z.iter().map(|z| (z / temperature).exp() / sum).collect()
}

/// The softmax of each row of `classes`.
fn by_rows(classes: usize, temperature: f64) -> impl Fn(&[f64]) -> Vec<f64> {
    move |x| {
        let rows = x.chunks(classes);
        rows.flat_map(|row| softmax(row, temperature)).collect()
    }
}

fn case<'a>(name: &'a str) -> Case<'a> {
    Case::new(name).off_by(OFF).roundings(64.0)
}

#[test]
fn vectors_and_grids_are_normalised_by_rows() {
    check_layer!(T => Softmax<T, D1<7>>, case("softmax").defined(&by_rows(7, 1.0)));
    check_layer!(
        T => Softmax<T, D2<3, 5>, 500>,
        case("grid at a half").defined(&by_rows(5, 0.5))
    );
    check_layer!(
        T => Softmax<T, D3<2, 2, 3>, 2000>,
        case("grid at two").defined(&by_rows(3, 2.0))
    );
}

struct Levels23;

impl Levels for Levels23 {
    const LEVELS: &'static [usize] = &[2, 3];
}

#[test]
fn groups_are_those_of_the_last_level() {
    check_layer!(
        T => GroupedSoftmax<T, D1<6>, Levels23, 750>,
        case("groups").defined(&by_rows(3, 0.75))
    );
}

#[test]
fn leaves_of_a_tree_are_products_along_their_paths() {
    let leaves = |x: &[f64]| {
        let top = softmax(&x[..2], 1.0);
        let children = x[2..].chunks(3).map(|row| softmax(row, 1.0));
        let products = top
            .into_iter()
            .zip(children)
            .flat_map(|(p, row)| row.into_iter().map(move |q| p * q));
        products.collect()
    };
    check_layer!(
        T => TreeSoftmax<T, D1<8>, D1<6>, Levels23>,
        case("tree").defined(&leaves)
    );
    let two = |x: &[f64]| x.chunks(8).flat_map(leaves).collect();
    check_layer!(
        T => TreeSoftmax<T, D2<2, 8>, D2<2, 6>, Levels23>,
        case("trees").defined(&two)
    );
}

struct Lower;

impl Allowed for Lower {
    const ALLOWED: &'static [bool] = &[true, false, false, true, true, false, true, true, true];
}

struct NotTheSecond;

impl Allowed for NotTheSecond {
    const ALLOWED: &'static [bool] = &[true, false, true, true];
}

/// The softmax of the allowed elements of rows.
fn masked(allowed: &[bool], classes: usize) -> impl Fn(&[f64]) -> Vec<f64> {
    move |x| {
        let allowed = allowed.iter().cycle();
        let x: Vec<f64> = x
            .iter()
            .zip(allowed)
            .map(|(&x, &allowed)| if allowed { x } else { f64::NEG_INFINITY })
            .collect();
        by_rows(classes, 1.0)(&x)
    }
}

#[test]
fn masks_are_those_of_a_sample_or_of_all_rows() {
    check_layer!(
        T => MaskedSoftmax<T, D2<3, 3>, Lower>,
        case("a sample's mask").defined(&masked(Lower::ALLOWED, 3))
    );
    check_layer!(
        T => MaskedSoftmax<T, D2<3, 4>, NotTheSecond>,
        case("a row's mask").defined(&masked(NotTheSecond::ALLOWED, 4))
    );
}

/// `[(alpha - 1) z - τ]₊^(1 / (alpha - 1))`, τ by bisection.
fn entmax(z: &[f64], alpha: f64) -> Vec<f64> {
    let z: Vec<f64> = z.iter().map(|z| (alpha - 1.0) * z).collect();
    let at = |tau: f64| {
        z.iter()
            .map(move |z| (z - tau).max(0.0).powf(1.0 / (alpha - 1.0)))
    };
    let most = z.iter().fold(f64::MIN, |a, &b| a.max(b));
    let (mut low, mut high) = (most - 1.0, most);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if at(middle).sum::<f64>() > 1.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    at((low + high) / 2.0).collect()
}

#[test]
fn entmax_has_a_threshold() {
    let of_alpha = |alpha: f64| {
        move |x: &[f64]| -> Vec<f64> { x.chunks(5).flat_map(|z| entmax(z, alpha)).collect() }
    };
    check_layer!(T => Entmax<T, D2<2, 5>>, case("entmax").defined(&of_alpha(1.5)));
    check_layer!(T => Entmax<T, D2<2, 5>, 1250>, case("entmax of 1.25").defined(&of_alpha(1.25)));
    check_layer!(T => Sparsemax<T, D2<2, 5>>, case("sparsemax").defined(&of_alpha(2.0)));
}

struct Three;

impl Clusters for Three {
    const IDS: &'static [u32] = &[4, 0, 1, 2, 5, 3];
    const SIZES: &'static [usize] = &[2, 3, 1];
}

#[test]
fn adaptive_items_are_in_the_head_or_behind_an_entry() {
    let items = |x: &[f64]| {
        let pick = |ids: &[usize]| softmax(&ids.iter().map(|&i| x[i]).collect::<Vec<_>>(), 1.0);
        let (head, tail) = (pick(&[4, 0, 6, 7]), pick(&[1, 2, 5]));
        vec![
            head[1],
            head[2] * tail[0],
            head[2] * tail[1],
            head[3],
            head[0],
            head[2] * tail[2],
        ]
    };
    check_layer!(
        T => AdaptiveSoftmax<T, D1<8>, D1<6>, Three>,
        case("adaptive").defined(&items)
    );
}

struct Uneven;

impl Weights for Uneven {
    const WEIGHTS: &'static [u8] = &[3, 0, 1];
}

#[test]
fn a_mixture_is_a_weighted_sum() {
    let mixed = |x: &[f64]| {
        let of = |k: usize| softmax(&x[k * 4..k * 4 + 4], 1.0);
        let both = of(0).into_iter().zip(of(2));
        both.map(|(a, b)| 0.75 * a + 0.25 * b).collect()
    };
    check_layer!(
        T => MixtureSoftmax<T, D2<3, 4>, D1<4>, Uneven>,
        case("mixture").defined(&mixed)
    );
    let rows = |x: &[f64]| x.chunks(12).flat_map(mixed).collect();
    check_layer!(
        T => MixtureSoftmax<T, D3<2, 3, 4>, D2<2, 4>, Uneven>,
        case("mixtures").defined(&rows)
    );
}

#[test]
fn a_learned_mixture_is_weighted_by_the_softmax_of_its_parameters() {
    let mixed = |x: &[f64], weights: &[f64]| {
        let pi = softmax(weights, 1.0);
        let of = |k: usize| softmax(&x[k * 4..k * 4 + 4], 0.5);
        let sum = |i| (0..3).map(|k| pi[k] * of(k)[i]).sum();
        (0..4).map(sum).collect()
    };
    check_layer!(
        T => LearnedMixture<T, D2<3, 4>, D1<4>, D1<3>, Plain, 500>,
        case("learned mixture").defined_by(&mixed)
    );
    let rows = |x: &[f64], weights: &[f64]| {
        let rows = x.chunks(12);
        rows.flat_map(|row| mixed(row, weights)).collect()
    };
    check_layer!(
        T => LearnedMixture<T, D3<2, 3, 4>, D2<2, 4>, D1<3>, Plain, 500>,
        case("learned mixtures").defined_by(&rows)
    );
    // Alone, a component is all of it, whatever its weight.
    let mut alone = Driven::<LearnedMixture<f64, D2<1, 4>, D1<4>, D1<1>>, 1>::new(1);
    alone.set_parameters(&[3.0]);
    let mut plain = Driven::<Softmax<f64, D1<4>>, 1>::new(1);
    let x = [0.5, 1.0, -1.0, 0.25];
    assert_eq!(alone.forward(&x), plain.forward(&x));
}

#[test]
fn a_draw_is_differentiable_and_seeded() {
    check_layer!(T => GumbelSoftmax<T, D2<2, 5>, false, 800>, case("gumbel"));
    type Soft<T> = GumbelSoftmax<T, D1<5>>;
    let x = [0.5, 1.0, -1.0, 0.25, 0.0];
    let draw = |seed, step| {
        let mut layer = Driven::<Soft<f64>, 1>::new(seed);
        layer.step = step;
        layer.forward(&x)
    };
    assert_eq!(draw(1, 0), draw(1, 0));
    assert_ne!(draw(1, 0), draw(2, 0));
    assert_ne!(draw(1, 0), draw(1, 1));
}

/// Without noise at inference, one-hot in training if asked for.
fn draws_end_at_inference<T: Element>() {
    let x = [0.5, 1.0, -1.0, 0.25, 0.0];
    let mut layer = Driven::<GumbelSoftmax<T, D1<5>>, 1>::new(1);
    layer.mode = Mode::Infer;
    let mut plain = Driven::<Softmax<T, D1<5>>, 1>::new(1);
    let far = |y: &[f64], want: &[f64]| -> f64 {
        y.iter()
            .zip(want)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max)
    };
    let off = far(&layer.forward(&x), &plain.forward(&x));
    assert!(
        off <= 2.0 * Precision::of::<T>().output,
        "{}: {off}",
        T::DTYPE
    );

    let mut hard = Driven::<GumbelSoftmax<T, D1<5>, true>, 1>::new(1);
    let y = hard.forward(&x);
    let ones = y.iter().filter(|&&p| p > 0.99).count();
    let zeros = y.iter().filter(|&&p| p == 0.0).count();
    assert_eq!((ones, zeros), (1, 4), "{}: {y:?}", T::DTYPE);
    // Straight through: the error is that of the soft form.
    let mut soft = Driven::<GumbelSoftmax<T, D1<5>>, 1>::new(1);
    soft.forward(&x);
    let dy = [1.0, 0.5, -0.5, 0.25, -1.0];
    assert_eq!(hard.backward(&dy), soft.backward(&dy), "{}", T::DTYPE);
}

#[test]
fn draws_are_hard_in_training_and_gone_at_inference() {
    macro_rules! check {
        ($t:ty) => {
            draws_end_at_inference::<$t>();
        };
    }
    for_each_type!(check);
}
