//! What the compiler does to a network that is only run, and that the numbers stay what they are.

use super::zoo::bits;
use super::{TRAINED, with_image};
use selvedge_core::image::{Image, Role};
use selvedge_core::network::{
    Activate, Activation, BatchNorm, Branch, Combine, Conv, Dense, Depthwise, Flatten, Network,
    Options, Padding, Parallel,
};
use selvedge_core::ops::{self, Kind};
use selvedge_core::session::Session;
use selvedge_core::train::Samples;
use selvedge_core::{Element, Serial};
use selvedge_digits::{BATCH, EPOCHS, rate_at, test, train};
use selvedge_kernels::{bf16, f16};

const RUN: Options = Options {
    train: false,
    ..TRAINED
};

/// Norms behind layers of each kind, one that another reader keeps from folding, one behind an activation, one behind a pool.
fn network() -> Network {
    let relu = || Activate::new(Activation::Relu);
    let both = Parallel::new(Combine::Add)
        .branch(Branch::new("plain"))
        .branch(Branch::new("normal").layer("norm", BatchNorm::default()));
    Network::new([8, 8, 1])
        .layer("conv", Conv::new(6, 3).padding(Padding::Same))
        .layer("norm", BatchNorm::default())
        .layer("relu", relu())
        .layer("depth", Depthwise::new(3).padding(Padding::Same))
        .layer("depth_norm", BatchNorm::default())
        .layer("depth_relu", relu())
        .layer("wide", Conv::new(8, 1))
        .layer("both", both)
        .layer(
            "active",
            Conv::new(8, 3).stride(2).activation(Activation::Relu),
        )
        .layer("late", BatchNorm::default())
        .layer("flat", Flatten::default())
        .layer("hidden", Dense::new(12))
        .layer("tanh", Activate::new(Activation::Tanh))
        .layer("dense", Dense::new(12))
        .layer("dense_norm", BatchNorm::default())
        .layer("head", Dense::new(10))
}

/// Outputs for digits of the test part.
fn outputs<T: Element>(session: &mut Session<'_>) -> Vec<T::Head> {
    let x = session.input_mut::<T>(Role::Infer, 0).unwrap();
    for (i, x) in x.chunks_mut(64).enumerate() {
        test().read(i, x).unwrap();
    }
    session.run(&Serial, BATCH).unwrap();
    session.output::<T::Head>(0).unwrap().data.to_vec()
}

fn of_image<T: Element>(bytes: &[u8]) -> (Vec<T::Head>, Vec<Kind>, usize) {
    with_image(bytes, |image: &Image<'_>| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let kinds = image.kinds(Role::Infer).flatten().collect();
        (outputs::<T>(&mut session), kinds, image.arena_bytes())
    })
}

fn count(kinds: &[Kind], kind: Kind) -> usize {
    kinds.iter().filter(|&&other| other == kind).count()
}

/// As a trained session gives it, compiled with and without the passes that change how numbers round.
fn folds<T: Element>(tolerance: f64) {
    let bytes = network().compile(T::DTYPE, &TRAINED).unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        for number in 0..60 {
            let mut labels = [0; BATCH];
            let x = session.input_mut::<T>(Role::Train, 0).unwrap();
            for (i, (x, label)) in x.chunks_mut(64).zip(&mut labels).enumerate() {
                *label = train().read(number * BATCH + i, x).unwrap();
            }
            let asked = session.input_mut(Role::Train, 1).unwrap();
            asked.copy_from_slice(&labels);
            let sgd = rate_at(0, EPOCHS);
            session.train_step(&Serial, BATCH, &sgd).unwrap();
        }
        let expected = outputs::<T>(&mut session);
        let exact = Options { exact: true, ..RUN };
        let exact = network()
            .compile_trained(T::DTYPE, &exact, &session)
            .unwrap();
        let (found, kinds, _) = of_image::<T>(&exact);
        assert_eq!(bits(&found), bits(&expected), "{}", T::DTYPE);
        assert_eq!(count(&kinds, Kind::BatchNorm), 5);
        let folded = network().compile_trained(T::DTYPE, &RUN, &session).unwrap();
        let (found, kinds, _) = of_image::<T>(&folded);
        if T::DTYPE.is_integer() {
            assert_eq!(folded, exact, "{}", T::DTYPE);
            return;
        }
        // What is left: beside another reader, and behind an activation. ReLU is part of what is before it, tanh is not.
        assert_eq!(count(&kinds, Kind::BatchNorm), 2, "{}", T::DTYPE);
        assert_eq!(count(&kinds, Kind::Activate), 1, "{}", T::DTYPE);
        assert!(folded.len() < exact.len());
        let most = expected
            .iter()
            .fold(0f64, |most, y| most.max(y.to_f64().abs()));
        for (found, expected) in found.iter().zip(&expected) {
            let error = (found.to_f64() - expected.to_f64()).abs() / most;
            assert!(error <= tolerance, "{}: {found:?}, {expected:?}", T::DTYPE);
        }
    });
}

#[test]
fn norms_fold_where_floats_are_only_run() {
    folds::<f64>(1e-13);
    folds::<f32>(1e-5);
    folds::<f16>(0.02);
    folds::<bf16>(0.15);
    folds::<i8>(0.0);
    folds::<u16>(0.0);
}

#[test]
fn relu_in_the_operator_before_it_changes_no_bit() {
    let network = Network::new([8, 8, 1])
        .layer("conv", Conv::new(6, 3))
        .layer("relu", Activate::new(Activation::Relu))
        .layer("flat", Flatten::default())
        .layer("hidden", Dense::new(12))
        .layer("second", Activate::new(Activation::Relu))
        .layer("head", Dense::new(10));
    fn check<T: Element>(network: &Network) {
        let (fused, kinds, arena) = of_image::<T>(&network.compile(T::DTYPE, &RUN).unwrap());
        let (plain, more, larger) = of_image::<T>(&network.compile(T::DTYPE, &TRAINED).unwrap());
        assert_eq!(bits(&fused), bits(&plain), "{}", T::DTYPE);
        assert_eq!(
            [count(&kinds, Kind::Activate), count(&more, Kind::Activate)],
            [0, 2]
        );
        assert!(arena < larger);
    }
    check::<f64>(&network);
    check::<f32>(&network);
    check::<f16>(&network);
    check::<bf16>(&network);
}
