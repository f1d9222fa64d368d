//! A backward pass wants the tape of a forward pass in training, of as many samples.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

use selvedge_core::net::{
    Activate, BatchNorm, Conv, Dense, Gelu, KMeans, Layer, LayerNorm, LearnedMixture, MaxPool,
    Pass, Relu, Residual, Tape, Values, VisitorMut,
};
use selvedge_core::tensor::{D1, D2, D3, D4, Shape};
use selvedge_core::{Error, Rate, Serial, Sgd};
use selvedge_kernels::scale::Mode;
use selvedge_kernels::{Blank, Element};

const SAMPLES: usize = 3;

fn pass(mode: Mode) -> Pass<'static, Serial> {
    Pass {
        exec: &Serial,
        mode,
        seed: 1,
        step: 0,
        sgd: const {
            &Sgd::new(Rate {
                mantissa: 1,
                exponent: 0,
            })
        },
        is_padded: false,
        lengths: &[],
    }
}

/// The bytes of all parameters.
#[derive(Default)]
struct Parameters(Vec<String>);

impl VisitorMut for Parameters {
    fn parameter<P: Element>(&mut self, value: &mut [P], residual: &mut [i8], exponent: &mut i16) {
        self.0.push(format!("{value:?} {residual:?} {exponent}"));
    }
}

/// A layer that has made `passes` (mode, samples) of forward passes says what it thinks of a backward pass.
fn backward<L: Layer<In = <L as Layer>::Elem>>(
    passes: &[(Mode, usize)],
    samples: usize,
) -> (Result<(), Error>, bool) {
    let (mut layer, mut tape) = (Box::new(L::BLANK), Box::new(<L::Tape<SAMPLES>>::BLANK));
    layer.init(1, 7).unwrap();
    let x: Vec<L::Elem> = (0..SAMPLES * L::Input::LEN)
        .map(|i| L::Elem::from_pixel((i * 37 % 256) as u8))
        .collect();
    let x = |samples| Values {
        data: &x[..samples * L::Input::LEN],
        exponent: L::Elem::PIXEL_EXPONENT,
        batch: samples,
    };
    for &(mode, samples) in passes {
        layer
            .forward::<_, SAMPLES>(&pass(mode), 7, x(samples), &mut tape)
            .unwrap();
    }
    let parameters = |layer: &mut L| {
        let mut bytes = Parameters::default();
        layer.visit_mut(&mut bytes);
        bytes.0
    };
    let before = parameters(&mut layer);
    let room = |len: usize| -> Vec<L::Elem> {
        (0..SAMPLES * len.max(L::Output::LEN))
            .map(|i| L::Elem::from_pixel((i * 53 % 256) as u8))
            .collect()
    };
    let (mut error, mut spare) = (room(L::INFO.errors.error), room(L::INFO.errors.spare));
    let errors = selvedge_core::net::Backward {
        error: &mut error,
        spare: &mut spare,
        exponent: L::Elem::PIXEL_EXPONENT,
    };
    let done = layer
        .backward::<_, SAMPLES>(&pass(Mode::Train), 7, x(samples), &mut tape, errors, true)
        .map(|_| ());
    (done, parameters(&mut layer) != before)
}

fn refuses_stale_tapes<L: Layer<In = <L as Layer>::Elem>>() {
    let (train, infer) = ((Mode::Train, 2), (Mode::Infer, 2));
    let stale: [(&[_], usize); 5] = [
        (&[], 2),
        (&[infer], 2),
        (&[train, infer], 2),
        (&[train], 1),
        (&[train], SAMPLES),
    ];
    for (passes, samples) in stale {
        let refused = backward::<L>(passes, samples);
        let kind = L::INFO.kind;
        assert!(
            matches!(refused, (Err(Error::Tape { layer: 7, .. }), false)),
            "{kind}: {refused:?} for {samples} samples after {passes:?}"
        );
    }
    let (done, has_changed) = backward::<L>(&[infer, train], 2);
    done.unwrap();
    assert_eq!(has_changed, L::INFO.parameters > 0, "{}", L::INFO.kind);
}

fn all<T: Element + Blank>() {
    refuses_stale_tapes::<Dense<T, 4, 3, Gelu>>();
    refuses_stale_tapes::<Conv<T, D3<3, 3, 2>, D4<2, 2, 2, 2>, D3<2, 2, 2>>>();
    refuses_stale_tapes::<LayerNorm<T, D2<2, 4>>>();
    refuses_stale_tapes::<BatchNorm<T, D2<2, 4>>>();
    refuses_stale_tapes::<KMeans<T, D1<4>, D2<3, 4>, D1<3>>>();
    refuses_stale_tapes::<LearnedMixture<T, D2<2, 4>, D1<4>, D1<2>>>();
    refuses_stale_tapes::<MaxPool<T, D3<4, 4, 2>, D3<2, 2, 2>>>();
    refuses_stale_tapes::<Activate<T, D1<4>, Relu>>();
    refuses_stale_tapes::<Residual<Dense<T, 4, 4>>>();
    // The last layer is asked first.
    assert!(matches!(
        backward::<(Dense<T, 4, 3>, Dense<T, 3, 2>)>(&[], 2),
        (Err(Error::Tape { layer: 8, .. }), false)
    ));
}

#[test]
fn a_stale_tape_is_refused_and_nothing_changes() {
    all::<i8>();
    all::<u16>();
    all::<f32>();
}

#[test]
fn a_tape_is_read_once() {
    fn reads_once<L: Layer<Elem = f32, In = f32>>() {
        let (mut layer, mut tape) = (Box::new(L::BLANK), Box::new(<L::Tape<1>>::BLANK));
        layer.init(1, 0).unwrap();
        let x = vec![0.5; L::Input::LEN];
        let x = Values {
            data: &x,
            exponent: 0,
            batch: 1,
        };
        layer
            .forward::<_, 1>(&pass(Mode::Train), 0, x, &mut tape)
            .unwrap();
        let mut backward = || {
            let room = |len: usize| vec![0.25; len.max(L::Output::LEN)];
            let (mut error, mut spare) = (room(L::INFO.errors.error), room(L::INFO.errors.spare));
            let errors = selvedge_core::net::Backward {
                error: &mut error,
                spare: &mut spare,
                exponent: 0,
            };
            layer
                .backward::<_, 1>(&pass(Mode::Train), 0, x, &mut tape, errors, true)
                .map(|_| ())
        };
        backward().unwrap();
        let again = Error::Tape {
            layer: 0,
            expected: 0,
            got: 1,
        };
        assert_eq!(backward(), Err(again), "{}", L::INFO.kind);
    }
    reads_once::<Dense<f32, 4, 3>>();
    reads_once::<Conv<f32, D3<3, 3, 2>, D4<2, 2, 2, 2>, D3<2, 2, 2>>>();
    reads_once::<LayerNorm<f32, D2<2, 4>>>();
    reads_once::<KMeans<f32, D1<4>, D2<3, 4>, D1<3>>>();
    reads_once::<MaxPool<f32, D3<4, 4, 2>, D3<2, 2, 2>>>();
    reads_once::<Activate<f32, D1<4>, Relu>>();
}
