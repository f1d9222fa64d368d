//! Networks as clocked pipelines: the law of ticks, and the bytes of their typed twins.

use super::{CNN, TRAINED, with_image};
use selvedge_core::image::Role;
use selvedge_core::net::Network as Typed;
use selvedge_core::network::{
    Activation, Dense, Error, Flatten, Gru, Network, Options, Residual, Sequential,
};
use selvedge_core::ops;
use selvedge_core::session::{Error as SessionError, Session};
use selvedge_core::train::{Pipeline, Samples};
use selvedge_core::{Element, Serial};
use selvedge_digits::{BATCH, DigitsCnn, EPOCHS, SEED, rate_at, train};
use selvedge_kernels::{DType, bf16};

const STEP: Options = Options {
    step: true,
    ..TRAINED
};

/// Puts the digits of a batch into `x`, and returns their labels.
fn read<T: Element>(x: &mut [T], batch: usize) -> Vec<u16> {
    let samples = x.chunks_mut(64).enumerate();
    samples
        .map(|(i, x)| train().read(batch * BATCH + i, x).unwrap())
        .collect()
}

/// Outputs of each tick, and parameters at the end.
type Stepped<T> = (Vec<(Vec<<T as Element>::Head>, i32)>, String);

fn of_session<T: Element>(ticks: usize) -> Stepped<T> {
    let bytes = Network::from_json(CNN)
        .unwrap()
        .compile(T::DTYPE, &STEP)
        .unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let (mut outputs, mut asked) = (Vec::new(), Vec::new());
        for tick in 0..ticks {
            asked.push(read(session.input_mut::<T>(Role::Step, 0).unwrap(), tick));
            session.step(&Serial).unwrap();
            let y = session.output::<T::Head>(0).unwrap();
            outputs.push((y.data.to_vec(), y.exponent));
            let labels = session.input_mut::<u16>(Role::Train, 1).unwrap();
            match tick.checked_sub(4) {
                Some(arrived) => {
                    labels.copy_from_slice(&asked[arrived]);
                    session.step_backward(&Serial, &rate_at(0, EPOCHS)).unwrap();
                }
                None => {
                    let refused = session.step_backward(&Serial, &rate_at(0, EPOCHS));
                    let (expected, got) = (5, tick + 1);
                    assert_eq!(refused, Err(SessionError::Ticks { expected, got }));
                }
            }
        }
        (outputs, session.fingerprint().unwrap().to_string())
    })
}

fn of_pipeline<N: Typed<In = <N as Typed>::Elem>>(ticks: usize) -> Stepped<N::Elem> {
    let mut pipeline = Box::new(Pipeline::<N, BATCH, 5>::BLANK);
    pipeline.init(SEED).unwrap();
    let (mut outputs, mut asked) = (Vec::new(), Vec::new());
    for tick in 0..ticks {
        asked.push(read(pipeline.input_mut(), tick));
        let y = pipeline.tick(&Serial).unwrap();
        outputs.push((y.data.to_vec(), y.exponent));
        if let Some(arrived) = tick.checked_sub(4) {
            let sgd = rate_at(0, EPOCHS);
            pipeline.step(&Serial, &asked[arrived], &sgd).unwrap();
        }
    }
    (outputs, pipeline.trainer().fingerprint().to_string())
}

#[test]
fn ticks_are_those_of_the_typed_twin() {
    assert!(of_session::<i8>(40) == of_pipeline::<DigitsCnn<i8>>(40));
    assert!(of_session::<u16>(20) == of_pipeline::<DigitsCnn<u16>>(20));
    assert!(of_session::<bf16>(12) == of_pipeline::<DigitsCnn<bf16>>(12));
    assert!(of_session::<f32>(12) == of_pipeline::<DigitsCnn<f32>>(12));
}

/// `depth` layers that take a tick each, in nested rows, with one that takes none.
fn row(depth: usize) -> Network {
    let mut inner = Sequential::default();
    for i in 1..depth {
        let block = Residual::default()
            .layer("a", Dense::new(4).activation(Activation::Tanh))
            .layer("b", Dense::new(4));
        inner = inner.layer(i.to_string(), block);
    }
    Network::new([2, 2])
        .layer("flat", Flatten::default())
        .layer("inner", inner)
        .layer("head", Dense::new(3))
}

fn input(tick: usize) -> [f64; 4] {
    [0, 1, 2, 3].map(|i| ((tick * 7 + i * 5) % 11) as f64 / 8.0 - 0.5)
}

/// After tick t, the output is that of the input of tick t - D + 1.
#[test]
fn outputs_are_those_of_inputs_as_many_ticks_ago_as_there_are_layers() {
    for depth in 1..=8 {
        let options = Options {
            step: true,
            ..Options::default()
        };
        let bytes = row(depth).compile(DType::F64, &options).unwrap();
        with_image(&bytes, |image| {
            let [mut one, mut two] = [(); 2].map(|()| vec![0; image.arena_bytes()]);
            let mut session = Session::new(image, &mut one, ops::ALL).unwrap();
            let mut whole = Session::new(image, &mut two, ops::ALL).unwrap();
            for again in 0..2 {
                for tick in 0..20 {
                    let x = session.input_mut::<f64>(Role::Step, 0).unwrap();
                    x.copy_from_slice(&input(tick + again));
                    session.step(&Serial).unwrap();
                    let Some(arrived) = (tick + 1).checked_sub(depth) else {
                        continue;
                    };
                    let x = whole.input_mut::<f64>(Role::Infer, 0).unwrap();
                    x.copy_from_slice(&input(arrived + again));
                    whole.run(&Serial, 1).unwrap();
                    let expected = whole.output::<f64>(0).unwrap().data;
                    assert_eq!(session.output::<f64>(0).unwrap().data, expected, "{depth}");
                }
                session.begin_sequence().unwrap();
            }
            // What the other layers gave is there, too.
            assert!(session.output::<f64>(depth).is_ok());
            assert!(session.output::<f64>(depth + 1).is_err());
        });
    }
}

#[test]
fn a_row_that_was_saved_goes_on() {
    let bytes = row(3).compile(
        DType::I16,
        &Options {
            train: true,
            step: true,
            ..Options::default()
        },
    );
    with_image(&bytes.unwrap(), |image| {
        let tick = |session: &mut Session<'_>, tick: usize| {
            let x = session.input_mut::<i16>(Role::Step, 0).unwrap();
            for (x, value) in x.iter_mut().zip(input(tick)) {
                *x = (value * 32_000.0) as i16;
            }
            session.step(&Serial).unwrap();
            let y = session.output::<i16>(0).unwrap();
            let y = (y.data.to_vec(), y.exponent);
            session.input_mut::<u16>(Role::Train, 1).unwrap()[0] = (tick % 3) as u16;
            let _ = session.step_backward(&Serial, &rate_at(0, EPOCHS)); // refused at first
            y
        };
        let [mut one, mut two] = [(); 2].map(|()| vec![0; image.arena_bytes()]);
        let mut whole = Session::new(image, &mut one, ops::ALL).unwrap();
        (0..7).for_each(|number| drop(tick(&mut whole, number)));
        let mut state = vec![0; whole.state_bytes()];
        whole.save(&mut state).unwrap();
        let mut second = Session::new(image, &mut two, ops::ALL).unwrap();
        second.restore(&state).unwrap();
        for number in 7..15 {
            assert_eq!(tick(&mut whole, number), tick(&mut second, number));
        }
        assert_eq!(whole.steps(), second.steps());
        assert_eq!(whole.fingerprint().unwrap(), second.fingerprint().unwrap());
        // A row may be compiled anew, and begins again.
        let plain = row(3).compile_trained(DType::I16, &Options::default(), &whole);
        assert!(plain.is_ok());
        let wider = Options {
            train: true,
            step: true,
            samples: 2,
            ..Options::default()
        };
        let wider = row(3).compile_trained(DType::I16, &wider, &whole).unwrap();
        with_image(&wider, |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
            assert_eq!(session.fingerprint().unwrap(), whole.fingerprint().unwrap());
            assert!(session.step(&Serial).is_ok());
        });
    });
}

#[test]
fn a_row_of_nothing_is_refused() {
    let nothing = Network::new([4]).layer("flat", Flatten::default());
    let options = Options {
        step: true,
        ..Options::default()
    };
    let error = nothing.compile(DType::F32, &options).unwrap_err();
    assert!(matches!(error, Error::Attribute { .. }), "{error}");
    let plain = row(2).compile(DType::I8, &Options::default()).unwrap();
    with_image(&plain, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let refused = session.step(&Serial).unwrap_err();
        assert_eq!(refused, SessionError::Program { role: Role::Step });
    });
}

/// Layers that carry a state of their own do so in a row, too.
#[test]
fn recurrent_layers_advance_in_a_row() {
    let network = Network::new([2, 3])
        .layer("gru", Gru::new(5))
        .layer("flat", Flatten::default())
        .layer("head", Dense::new(2));
    let options = Options {
        step: true,
        ..Options::default()
    };
    let bytes = network.compile(DType::I8, &options).unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let mut last = Vec::new();
        for _ in 0..3 {
            let x = session.input_mut::<i8>(Role::Step, 0).unwrap();
            x.copy_from_slice(&[9, -60, 100, 4, 33, -7]);
            session.step(&Serial).unwrap();
            last = session.output::<i16>(0).unwrap().data.to_vec();
        }
        let x = session.input_mut::<i8>(Role::Infer, 0).unwrap();
        x.copy_from_slice(&[9, -60, 100, 4, 33, -7]);
        session.run(&Serial, 1).unwrap();
        assert_eq!(session.output::<i16>(0).unwrap().data, last);
    });
}
