//! The step form: what arrives when, and training that is aligned.

use selvedge_core::net::{
    AllSteps, Attention, Causal, Dense, Gru, Layer, LayerNorm, Network, Relu, Residual, Tanh,
};
use selvedge_core::tensor::D2;
use selvedge_core::train::{Pipeline, Trainer};
use selvedge_core::{Element, Error, Rate, Serial, Sgd, net};
use selvedge_kernels::{bf16, scale::Mode};
use selvedge_tests::noise::Noise;
use selvedge_tests::saved::copy;

net! {
    struct One: [4] { head: dense(3) }
}

net! {
    struct Three: [4] {
        first: dense(6, activation = tanh),
        second: layer(Residual<(Dense<T, 6, 5, Relu, R>, Dense<T, 5, 6, Tanh, R>)> => [6]),
        head: dense(3),
    }
}

net! {
    /// A layer of each kind that a sequence has; reshaping takes no tick.
    struct Six: [4, 4] {
        entry: dense(6),
        norm: layer(LayerNorm<T, D2<4, 6>, R> => [4, 6]),
        seen: layer(Attention<T, 4, 6, 2, 1, 3, Causal, R> => [4, 6]),
        cell: layer(Gru<T, 4, 6, 5, AllSteps, R> => [4, 5]),
        pool: max_pool(2),
        flat: flatten,
        head: dense(3),
    }
}

fn sample<T: Element>(seed: u32, len: usize) -> (Vec<T>, u16) {
    let mut noise = Noise::new(seed + 1);
    let x = (0..len)
        .map(|_| T::from_pixel(noise.below(256) as u8))
        .collect();
    (x, noise.below(3) as u16)
}

const SGD: Sgd = Sgd::new(Rate {
    mantissa: 1,
    exponent: -4,
});

/// A trainer that has learned a little, so that all exponents are set.
fn trained<N: Network<In = <N as Network>::Elem>>() -> Box<Trainer<N, 1>> {
    let mut trainer = Box::new(Trainer::<N, 1>::BLANK);
    trainer.init(3).unwrap();
    for step in 0..10 {
        let (x, label) = sample(1_000 + step, Trainer::<N, 1>::INPUT_LEN);
        trainer.input_mut().copy_from_slice(&x);
        trainer.step(&Serial, &[label], &SGD).unwrap();
    }
    trainer
}

fn said<N: Network>(trainer: &mut Trainer<N, 1>) -> Vec<f64> {
    let y = trainer.predict(&Serial, 1).unwrap();
    selvedge_tests::compare::values(y.data, y.exponent)
}

/// After tick t the output is that of the input of tick t - D + 1; of a constant input after exactly D ticks, and it
/// stays.
fn outputs_arrive<N: Network<In = <N as Network>::Elem>, const D: usize>() {
    let name = std::any::type_name::<N>();
    assert_eq!(N::Layers::TICKS, D, "{name}");
    let mut reference = trained::<N>();
    let mut pipeline = Box::new(Pipeline::<N, 1, D>::BLANK);
    pipeline.init(8).unwrap();
    copy(&reference, pipeline.trainer_mut());
    let len = Trainer::<N, 1>::INPUT_LEN;
    for t in 0..3 * D as u32 {
        pipeline.input_mut().copy_from_slice(&sample(t, len).0);
        let y = pipeline.tick(&Serial).unwrap();
        let y = selvedge_tests::compare::values(y.data, y.exponent);
        if let Some(sent) = (t + 1).checked_sub(D as u32) {
            reference.input_mut().copy_from_slice(&sample(sent, len).0);
            assert_eq!(y, said(&mut reference), "{name}: tick {t}");
        }
    }
    pipeline.input_mut().copy_from_slice(&sample(77, len).0);
    reference.input_mut().copy_from_slice(&sample(77, len).0);
    let expected = said(&mut reference);
    for t in 1..=3 * D {
        let y = pipeline.tick(&Serial).unwrap();
        let y = selvedge_tests::compare::values(y.data, y.exponent);
        assert!(t < D || y == expected, "{name}: {t} ticks of one input");
    }
}

fn all_arrive<T: Element>() {
    outputs_arrive::<One<T>, 1>();
    outputs_arrive::<Three<T>, 3>();
    outputs_arrive::<Six<T>, 6>();
}

#[test]
fn an_output_arrives_after_as_many_ticks_as_layers() {
    all_arrive::<i8>();
    all_arrive::<u8>();
    all_arrive::<i32>();
    all_arrive::<bf16>();
    all_arrive::<f64>();
}

/// Training in a pipeline is online training, D - 1 samples later.
fn is_online<N: Network<In = <N as Network>::Elem>, const D: usize>() {
    let name = std::any::type_name::<N>();
    let mut online = Box::new(Trainer::<N, 1>::BLANK);
    let mut pipeline = Box::new(Pipeline::<N, 1, D>::BLANK);
    online.init(6).unwrap();
    pipeline.init(6).unwrap();
    let len = Trainer::<N, 1>::INPUT_LEN;
    for t in 0..20 {
        pipeline.input_mut().copy_from_slice(&sample(t, len).0);
        pipeline.tick(&Serial).unwrap();
        let Some(sent) = (t + 1).checked_sub(D as u32) else {
            assert_eq!(
                pipeline.step(&Serial, &[0], &SGD).err(),
                Some(Error::Ticks {
                    expected: D,
                    got: t as usize + 1
                })
            );
            continue;
        };
        let (x, label) = sample(sent, len);
        pipeline.step(&Serial, &[label], &SGD).unwrap();
        online.input_mut().copy_from_slice(&x);
        online.step(&Serial, &[label], &SGD).unwrap();
        let fingerprint = pipeline.trainer().fingerprint();
        assert_eq!(fingerprint, online.fingerprint(), "{name}: tick {t}");
    }
}

#[test]
fn aligned_training_is_online_training_later() {
    is_online::<One<i8>, 1>();
    is_online::<Three<i8>, 3>();
    is_online::<Six<i8>, 6>();
    is_online::<Three<u16>, 3>();
    is_online::<Six<f32>, 6>();
}

#[test]
fn one_layer_advances_alone() {
    let mut trainer = trained::<Three<i8>>();
    let x = sample(5, 4).0;
    trainer.input_mut().copy_from_slice(&x);
    let expected = said(&mut trainer);
    trainer.reset();
    let mut seen = Vec::new();
    for index in [0, 1, 2] {
        let y = trainer.tick_one(&Serial, index, 1, Mode::Infer).unwrap();
        seen.push(selvedge_tests::compare::values(y.data, y.exponent));
    }
    assert_eq!(
        seen[..2],
        [vec![0.0; 3], vec![0.0; 3]],
        "only the last gives outputs"
    );
    assert_eq!(seen[2], expected);
    trainer.tick_one(&Serial, 3, 1, Mode::Infer).unwrap(); // there is none
    assert_eq!(said(&mut trainer), expected);
}

#[test]
fn stale_training_learns_a_steady_stream() {
    // With an input that stays for a while, all layers stand at the same sample.
    let mut trainer = Box::new(Trainer::<Three<i8>, 1>::BLANK);
    trainer.init(2).unwrap();
    assert!(matches!(
        trainer.step_stale(&Serial, &[0], &SGD),
        Err(Error::Tape { .. })
    ));
    let shown = |t: u32| sample::<i8>(t / 8 % 3, 4).0;
    for t in 0..1200 {
        trainer.input_mut().copy_from_slice(&shown(t));
        trainer.tick(&Serial, 1, Mode::Train).unwrap();
        if t % 8 >= 3 {
            trainer
                .step_stale(&Serial, &[(t / 8 % 3) as u16], &SGD)
                .unwrap();
        }
    }
    for class in 0..3 {
        trainer.input_mut().copy_from_slice(&shown(8 * class));
        let mut classes = [9];
        trainer.classify(&Serial, &mut classes).unwrap();
        assert_eq!(u32::from(classes[0]), class);
    }
}
