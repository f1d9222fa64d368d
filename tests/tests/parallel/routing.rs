//! Gates learn to route, balances keep experts in use, what is not chosen is not trained.

use selvedge_core::net::layout::{Range, Ranges};
use selvedge_core::net::{
    Activate, Balance, Dense, Embedding, Identity, Layer, Line, Mean, Mixture, Negate, Network,
    Parallel, Relu, Residual, Scatter, Skip, Slice, Softmax, Stitch, TopKSoftmax, Total,
};
use selvedge_core::tensor::D1;
use selvedge_core::train::Trainer;
use selvedge_core::{Element, Rate, Serial, Sgd, net};
use selvedge_tests::layers::Driven;
use selvedge_tests::noise::Noise;
use selvedge_tests::parameters::tensors;
use selvedge_tests::saved::copy;

const BATCH: usize = 8;

struct First;

impl Ranges for First {
    const RANGES: &'static [Range] = &[Range {
        stop: Some(1),
        ..Range::ALL
    }];
}

/// Two experts that nobody trains: one fires where the first of four features is high, one where it is low.
type High<T> = (Slice<T, D1<4>, D1<1>, First>, Activate<T, D1<1>, Relu>);
type Low<T> = (Negate<T, D1<4>>, High<T>);
type Routed<T> = Mixture<(Dense<T, 4, 2>, Softmax<T, D1<2>>), (High<T>, Low<T>)>;

fn sgd(mantissa: u16, exponent: i16) -> Sgd {
    Sgd::new(Rate {
        mantissa: mantissa.try_into().unwrap(),
        exponent,
    })
}

/// A sample whose first feature is at a distance from 0, on either side.
fn sided(noise: &mut Noise) -> [f64; 4] {
    let first = noise.signed();
    let others = [0; 3].map(|_| noise.signed());
    [
        first.signum() * (0.5 + first.abs() / 2.0),
        others[0],
        others[1],
        others[2],
    ]
}

/// What is to be the magnitude of the first feature has the weight of the right expert as its share of that.
fn learns_sides<L>()
where
    L: Layer<In = <L as Layer>::Elem>,
{
    let name = L::Elem::DTYPE.name();
    let mut noise = Noise::new(31);
    let mut routed = Driven::<L, BATCH>::new(3);
    routed.sgd = sgd(16, -4);
    for step in 0..1000 {
        routed.step = step;
        let x: Vec<f64> = (0..BATCH).flat_map(|_| sided(&mut noise)).collect();
        let y = routed.forward(&x);
        let targets = x.chunks(4).map(|x| x[0].abs());
        let dy: Vec<f64> = y
            .iter()
            .zip(targets)
            .map(|(y, target)| y - target)
            .collect();
        routed.update_with(&dy, 0);
    }
    for _ in 0..16 {
        let x: Vec<f64> = (0..BATCH).flat_map(|_| sided(&mut noise)).collect();
        let y = routed.infer(&x).together;
        for (y, x) in y.iter().zip(routed.input().chunks(4)) {
            let weight = y / x[0].abs();
            assert!(
                weight >= 0.95,
                "{name}: {weight} of the expert for {}",
                x[0]
            );
        }
    }
}

#[test]
fn a_gate_learns_which_of_two_frozen_experts_fires() {
    learns_sides::<Routed<f32>>();
    learns_sides::<Routed<i8>>();
    learns_sides::<Routed<u8>>();
    learns_sides::<Routed<i16>>();
}

type Experts<T, R> = [Dense<T, 4, 6, Identity, R>; 2];

net! {
    struct Gated: [4] {
        mixture: layer(Mixture<(Dense<T, 4, 2, Identity, R>, Softmax<T, D1<2>>), Experts<T, R>> => [6]),
        head: dense(2),
    }
}

net! {
    /// The same experts without a gate.
    struct Ungated: [4] {
        mean: layer(Parallel<Experts<T, R>, Mean> => [6]),
        head: dense(2),
    }
}

/// The share of right answers to whether two features have the same sign, which no linear function says.
fn accuracy<N: Network<In = <N as Network>::Elem>>() -> f64 {
    let mut noise = Noise::new(33);
    let mut trainer = Box::new(Trainer::<N, BATCH>::BLANK);
    trainer.init(5).unwrap();
    let batch = |noise: &mut Noise, input: &mut [N::Elem]| -> Vec<u16> {
        let samples: Vec<_> = (0..BATCH).map(|_| sided(noise)).collect();
        let unit = 2f64.powi(N::Elem::PIXEL_EXPONENT);
        for (x, to) in samples.iter().flatten().zip(input) {
            *to = N::Elem::from_f64(x / unit);
        }
        let label = |x: &[f64; 4]| u16::from((x[0] > 0.0) == (x[1] > 0.0));
        samples.iter().map(label).collect()
    };
    for _ in 0..1500 {
        let labels = batch(&mut noise, trainer.input_mut());
        trainer.step(&Serial, &labels, &sgd(16, -7)).unwrap();
    }
    let (mut right, mut all) = (0, 0);
    for _ in 0..64 {
        let labels = batch(&mut noise, trainer.input_mut());
        let logits = trainer.predict(&Serial, BATCH).unwrap();
        for (z, label) in logits.data.chunks(2).zip(labels) {
            right += usize::from((z[1].to_f64() > z[0].to_f64()) == (label == 1));
            all += 1;
        }
    }
    right as f64 / all as f64
}

#[test]
fn a_mixture_learns_what_its_experts_alone_cannot() {
    for (name, gated, ungated) in [
        ("f32", accuracy::<Gated<f32>>(), accuracy::<Ungated<f32>>()),
        ("i8", accuracy::<Gated<i8>>(), accuracy::<Ungated<i8>>()),
        ("i16", accuracy::<Gated<i16>>(), accuracy::<Ungated<i16>>()),
    ] {
        assert!(
            gated >= 0.93 && ungated <= 0.7,
            "{name}: {gated}, without a gate {ungated}"
        );
    }
}

/// A gate that gives nearly all rows to the first of two experts, and its share of rows after some steps in which
/// there is no other error.
fn share_after<G>() -> f64
where
    G: Layer<In = <G as Layer>::Elem>,
{
    let mut noise = Noise::new(35);
    let mut gate = Driven::<G, BATCH>::new(7);
    let mut parameters = gate.parameters();
    let bias = parameters.len() - 2;
    parameters.truncate(bias);
    parameters.extend([0.75, -0.75]);
    gate.set_parameters(&parameters);
    gate.sgd = sgd(16, -9);
    let (mut first, mut all) = (0, 0);
    for step in 0..600 {
        gate.step = step;
        let x = noise.vector(BATCH * 4, 1.0);
        let p = gate.forward(&x);
        if step >= 400 {
            first += p.chunks(2).filter(|p| p[0] >= p[1]).count();
            all += BATCH;
        }
        gate.update_with(&[0.0; 2 * BATCH], 0);
    }
    first as f64 / all as f64
}

type Balanced<T, const THOUSANDTHS: u32> = (
    Dense<T, 4, 2>,
    (Softmax<T, D1<2>>, Balance<T, D1<2>, THOUSANDTHS>),
);

#[test]
fn balances_bring_experts_into_use() {
    fn check<T: Element>(name: &str, with: f64, without: f64) {
        let _ = T::ZERO;
        assert!(without > 0.8, "{name}: {without} without a balance");
        assert!(
            (0.35..0.65).contains(&with),
            "{name}: {with} with a balance"
        );
    }
    macro_rules! check {
        ($t:ty) => {
            let with = share_after::<Balanced<$t, 1000>>();
            check::<$t>(stringify!($t), with, share_after::<Balanced<$t, 0>>());
        };
    }
    check!(f32);
    check!(i8);
    check!(i16);
}

type Switch<T> = Mixture<(Dense<T, 4, 2>, TopKSoftmax<T, D1<2>, 1>), [Dense<T, 4, 3>; 2]>;

fn trains_what_it_chooses<T: Element>() {
    let mut noise = Noise::new(37);
    let mut switch = Driven::<Switch<T>, BATCH>::new(9);
    let mut parameters = switch.parameters();
    parameters[..8].fill(0.0); // weights of the gate
    parameters[8..10].copy_from_slice(&[0.5, -0.5]); // its biases: always the first expert
    switch.set_parameters(&parameters);
    let before = switch.parameters();
    switch.sgd = sgd(16, -6);
    for step in 0..4 {
        switch.step = step;
        switch.forward(&noise.vector(BATCH * 4, 1.0));
        switch.update_with(&noise.vector(BATCH * 3, 1.0), 0);
    }
    let after = switch.parameters();
    let moved: Vec<bool> = before.iter().zip(&after).map(|(a, b)| a != b).collect();
    let [gate, first, second] = [0..10, 10..25, 25..40].map(|range| &moved[range]);
    assert!(first.iter().all(|&moved| moved), "{}", T::DTYPE);
    assert!(
        !second.contains(&true),
        "{}: the other is left alone",
        T::DTYPE
    );
    // Of one probability that is 1 whatever its logit, the slope is 0.
    assert!(!gate.contains(&true), "{}", T::DTYPE);
}

#[test]
fn experts_that_no_row_goes_to_are_not_trained() {
    trains_what_it_chooses::<f32>();
    trains_what_it_chooses::<i8>();
    trains_what_it_chooses::<i32>();
}

type Inner<T, R> = Parallel<
    (
        Dense<T, 6, 3, Relu, R>,
        Parallel<[Dense<T, 6, 2, Identity, R>; 3], Total>,
        Skip<T, D1<6>>,
    ),
    Line<D1<11>>,
>;

type Around<T, R> = Residual<
    Mixture<
        (
            Dense<T, 11, 3, Identity, R>,
            (TopKSoftmax<T, D1<3>, 2>, Balance<T, D1<3>>),
        ),
        (
            (Dense<T, 11, 4, Relu, R>, Stitch<T, 4, 11, R>),
            (Dense<T, 11, 9, Relu, R>, Stitch<T, 9, 11, R>),
            Dense<T, 11, 11, Relu, R>,
        ),
    >,
>;

net! {
    struct Nested: [4] {
        entry: dense(6, activation = relu),
        line: layer(Inner<T, R> => [11]),
        around: layer(Around<T, R> => [11]),
        mean: layer(Parallel<[Dense<T, 11, 5, Identity, R>; 2], Mean> => [5]),
        cells: layer(Parallel<(Dense<T, 5, 2, Identity, R>, Dense<T, 5, 3, Identity, R>), Scatter<Swapped, D1<5>>> => [5]),
        head: dense(2),
    }
}

net! {
    /// Branches on numbers of tokens.
    struct Tokens: [6] {
        both: layer(Parallel<[Embedding<T, 6, 5, 8, u8, R>; 2], Total> => [6, 8]),
        pool: global_average_pool,
        head: dense(5),
    }
}

fn learns_tokens<T: Element>() {
    let mut trainer = Box::new(Trainer::<Tokens<T>, 5>::BLANK);
    trainer.init(13).unwrap();
    let before = tensors(trainer.network());
    // Of each token, a row of six.
    let labels = [0, 1, 2, 3, 4];
    for (token, row) in trainer.input_mut().chunks_mut(6).enumerate() {
        row.fill(token as u8);
    }
    for _ in 0..200 {
        trainer.step(&Serial, &labels, &sgd(16, -6)).unwrap();
    }
    let logits = trainer.predict(&Serial, 5).unwrap();
    for (label, z) in logits.data.chunks(5).enumerate() {
        let right = z[label].to_f64();
        let others = z.iter().enumerate().filter(|(i, _)| *i != label);
        assert!(
            others.into_iter().all(|(_, z)| z.to_f64() < right),
            "{}",
            T::DTYPE
        );
    }
    let after = tensors(trainer.network());
    assert!(
        before.iter().zip(after).all(|(was, is)| *was != is),
        "{}",
        T::DTYPE
    );
}

#[test]
fn branches_take_tokens() {
    learns_tokens::<f32>();
    learns_tokens::<i8>();
    learns_tokens::<i16>();
}

struct Swapped;

impl selvedge_core::net::Grid for Swapped {
    const EXTENTS: [usize; 3] = [2, 1, 1];
    const CELLS: &'static [[usize; 3]] = &[[1, 0, 0], [0, 0, 0]];
}

/// Some steps on random samples and labels.
fn train<T: Element>(trainer: &mut Trainer<Nested<T>, BATCH>, noise: &mut Noise, steps: u32) {
    let unit = 2f64.powi(T::PIXEL_EXPONENT);
    for _ in 0..steps {
        for to in trainer.input_mut() {
            *to = T::from_f64(noise.signed() / unit);
        }
        let labels: Vec<u16> = (0..BATCH).map(|_| noise.below(2) as u16).collect();
        trainer.step(&Serial, &labels, &sgd(16, -8)).unwrap();
    }
}

fn moves<T: Element>() {
    let mut trainer = Box::new(Trainer::<Nested<T>, BATCH>::BLANK);
    trainer.init(11).unwrap();
    let before = tensors(trainer.network());
    train(&mut trainer, &mut Noise::new(39), 40);
    let after = tensors(trainer.network());
    for (number, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_ne!(before, after, "{}: tensor {number}", T::DTYPE);
    }
}

fn resumes<T: Element>() {
    let mut noise = Noise::new(41);
    let [mut first, mut second] = [11, 12].map(|seed| {
        let mut trainer = Box::new(Trainer::<Nested<T>, BATCH>::BLANK);
        trainer.init(seed).unwrap();
        trainer
    });
    train(&mut first, &mut noise, 5);
    copy(&first, &mut second);
    second.resume(first.seed(), first.steps());
    train(&mut first, &mut noise.clone(), 5);
    train(&mut second, &mut noise, 5);
    let is_same = tensors(first.network()) == tensors(second.network());
    assert!(is_same, "{}", T::DTYPE);
}

#[test]
fn models_resume_from_what_visitors_saw() {
    resumes::<i8>();
    resumes::<u16>();
    resumes::<i64>();
    resumes::<f32>();
}

#[test]
fn every_parameter_moves() {
    selvedge_tests::for_integers!(moves);
    selvedge_tests::for_floats!(moves);
}

#[test]
fn layers_are_numbered_container_first() {
    type Net = <Nested<i8> as Network>::Layers;
    // entry; line: 1 + 1 + (1 + 3); around: 1 + (1 + 3 + 2 + 2 + 1); mean: 1 + 2; cells: 1 + 2; head.
    assert_eq!(Net::INFO.numbers, 1 + 6 + 10 + 3 + 3 + 1);
    type Mixed = Mixture<(Dense<i8, 4, 2>, Softmax<i8, D1<2>>), [Dense<i8, 4, 3>; 2]>;
    let info = Mixed::INFO;
    assert_eq!((info.numbers, info.parameters), (5, 10 + 2 * 15));
    assert_eq!(info.macs, 8 + 2 * 12 + 2 * 3);
    // The same network draws the same parameters as its parts with their numbers.
    let parts = |number| {
        let mut part = Box::new(<Dense<i8, 4, 3> as Layer>::BLANK);
        part.init(17, number).unwrap();
        part.weight().elements().to_vec()
    };
    let mut mixed = Box::new(Mixed::BLANK);
    mixed.init(17, 20).unwrap();
    let experts = mixed.experts();
    assert_eq!(experts[0].weight().elements(), parts(23));
    assert_eq!(experts[1].weight().elements(), parts(24));
}
