//! Networks whose samples are the positions of one sequence: the bytes of the same network of one sample of so many
//! positions, at any length up to the bound, whole or in pieces.

use super::with_image;
use selvedge_core::image::Role;
use selvedge_core::network::{
    Attention, Conv, CrossAttention, Dense, Embedding, Error, Flatten, GlobalAveragePool, Gru,
    LayerNorm, Loss, Lstm, Network, Options, Positions, ReduceMean, Residual, Rotary, Sight, Steps,
    Stream, Tokens, Type,
};
use selvedge_core::ops;
use selvedge_core::session::{Error as SessionError, Session};
use selvedge_core::{Element, Rate, Serial, Sgd};
use selvedge_kernels::{DType, bf16};

const BOUND: usize = 12;
const WORDS: u16 = 10;

const SEQUENCE: Options = Options {
    samples: BOUND,
    train: true,
    loss: Loss::CrossEntropy,
    accumulate: false,
    momentum: false,
    exact: false,
    headless: false,
    step: false,
    sequence: true,
    seed: 3,
    budget: selvedge_core::network::Budget::NONE,
};
const SAMPLE: Options = Options {
    samples: 1,
    sequence: false,
    ..SEQUENCE
};

/// A network of every layer that goes over positions, for samples of so many.
fn speller(positions: usize, cache: Option<usize>) -> Network {
    let attention = Attention::new(2, 4)
        .kv_heads(1)
        .sight(Sight::Causal)
        .rotary(Rotary::default());
    let attention = Attention { cache, ..attention };
    let carried = cache.is_some();
    let lstm = Lstm::new(8).steps(Steps::All);
    let gru = Gru::new(8).steps(Steps::All);
    Network::of_tokens(positions, Tokens::U16)
        .layer("words", Embedding::new(WORDS.into(), 8))
        .layer("block", Residual::default().layer("attention", attention))
        .layer("norm", LayerNorm::default())
        .layer("lstm", Lstm { carried, ..lstm })
        .layer("gru", Gru { carried, ..gru })
        .layer("head", Dense::new(WORDS.into()))
}

fn word(step: usize, position: usize) -> u16 {
    ((step * 31 + position * 7 + position * position) % usize::from(WORDS)) as u16
}

/// Outputs of five training steps on sequences of `len` positions, and of a run behind them; the parameters then.
fn learned<T: Element>(
    network: &Network,
    options: &Options,
    len: usize,
    samples: usize,
) -> (Vec<Vec<T::Head>>, i32, String) {
    let bytes = network.compile(T::DTYPE, options).unwrap();
    let rate = Sgd::new(Rate {
        mantissa: 1,
        exponent: -6,
    });
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let mut outputs = Vec::new();
        for step in 0..5 {
            let x = session.input_mut::<u16>(Role::Train, 0).unwrap();
            (x[..len].iter_mut().enumerate()).for_each(|(i, x)| *x = word(step, i));
            let y = session.input_mut::<u16>(Role::Train, 1).unwrap();
            (y[..len].iter_mut().enumerate()).for_each(|(i, y)| *y = word(step, i + 1));
            session.begin_sequence().unwrap();
            session.train_step(&Serial, samples, &rate).unwrap();
            outputs.push(session.output::<T::Head>(0).unwrap().data.to_vec());
        }
        let x = session.input_mut::<u16>(Role::Infer, 0).unwrap();
        (x[..len].iter_mut().enumerate()).for_each(|(i, x)| *x = word(9, i));
        session.begin_sequence().unwrap();
        session.run(&Serial, samples).unwrap();
        let y = session.output::<T::Head>(0).unwrap();
        outputs.push(y.data.to_vec());
        (
            outputs,
            y.exponent,
            session.fingerprint().unwrap().to_string(),
        )
    })
}

fn is_one_sample<T: Element>() {
    // With a cache and states that are carried, each sequence begins anew.
    for (len, cache) in [
        (BOUND, None),
        (5, None),
        (1, None),
        (BOUND, Some(BOUND)),
        (7, Some(BOUND)),
    ] {
        let one = learned::<T>(&speller(len, cache), &SAMPLE, len, 1);
        let several = learned::<T>(&speller(1, cache), &SEQUENCE, len, len);
        assert!(
            one == several,
            "{len} positions, {cache:?}, in {}",
            T::DTYPE
        );
    }
}

#[test]
fn positions_learn_as_one_sample() {
    is_one_sample::<i8>();
    is_one_sample::<u8>();
    is_one_sample::<i16>();
    is_one_sample::<u16>();
    is_one_sample::<i32>();
    is_one_sample::<u64>();
    is_one_sample::<bf16>();
    is_one_sample::<f32>();
}

/// The outputs of a sequence in runs of so many positions each.
fn in_pieces<T: Element>(session: &mut Session<'_>, pieces: &[usize]) -> Vec<f64> {
    session.begin_sequence().unwrap();
    let (mut at, mut all) = (0, Vec::new());
    for &piece in pieces {
        let x = session.input_mut::<u16>(Role::Infer, 0).unwrap();
        (x[..piece].iter_mut().enumerate()).for_each(|(i, x)| *x = word(2, at + i));
        session.run(&Serial, piece).unwrap();
        let y = session.output::<T::Head>(0).unwrap();
        assert_eq!(y.data.len(), piece * usize::from(WORDS));
        let unit = 2f64.powi(y.exponent);
        let zero = if T::DTYPE.is_integer() { unit } else { 1.0 };
        all.extend(y.data.iter().map(|y| y.to_f64() * zero));
        at += piece;
    }
    all
}

fn pieces_are_the_whole<T: Element>() {
    let options = Options {
        train: false,
        ..SEQUENCE
    };
    let network = speller(1, Some(BOUND));
    let bytes = network.compile(T::DTYPE, &options).unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        // Integers have exponents from here on.
        let x = session.input_mut::<u16>(Role::Infer, 0).unwrap();
        (x.iter_mut().enumerate()).for_each(|(i, x)| *x = word(2, i));
        session.calibrate(&Serial, BOUND).unwrap();
        let whole = in_pieces::<T>(&mut session, &[BOUND]);
        assert_eq!(whole.len(), BOUND * usize::from(WORDS));
        assert!(whole.iter().any(|&y| y != whole[0]));
        for pieces in [&[7, 1, 1, 1, 1, 1][..], &[1; BOUND], &[4, 8], &[11, 1]] {
            assert!(
                in_pieces::<T>(&mut session, pieces) == whole,
                "{} in {pieces:?}",
                T::DTYPE
            );
        }
        let full = session.run(&Serial, 1).unwrap_err();
        assert!(matches!(full, SessionError::Kernel { .. }), "{full}");
        let refused = session.run(&Serial, BOUND + 1).unwrap_err();
        let expected = SessionError::Batch {
            capacity: BOUND,
            got: BOUND + 1,
        };
        assert_eq!(refused, expected);
    });
}

/// A prompt, then one token after the other.
#[test]
fn pieces_of_a_sequence_give_what_the_whole_gives() {
    pieces_are_the_whole::<i8>();
    pieces_are_the_whole::<u16>();
    pieces_are_the_whole::<i64>();
    pieces_are_the_whole::<bf16>();
    pieces_are_the_whole::<f32>();
}

#[test]
fn what_needs_samples_of_its_own_is_refused() {
    let refused = |network: &Network, options: &Options| {
        let error = network.compile(DType::I8, options).unwrap_err();
        error.to_string()
    };
    let several = refused(&speller(4, None), &SEQUENCE);
    assert!(several.contains("block.attention"), "{several}");
    let layers: [(Type, &str); 9] = [
        (Lstm::new(4).into(), "all steps"),
        (Attention::new(1, 4).padded().into(), "padded"),
        (CrossAttention::new(1, 1, 4).into(), "cross_attention"),
        (Positions::default().into(), "positions"),
        (Stream::new(2).into(), "stream"),
        (Conv::new(2, [1]).into(), "conv"),
        (GlobalAveragePool {}.into(), "global_average_pool"),
        (Flatten {}.into(), "flatten"),
        (ReduceMean::new([0]).into(), "reduce_mean"),
    ];
    for (layer, expected) in layers {
        let error = refused(&Network::new([1, 4]).layer("over", layer), &SEQUENCE);
        assert!(error.starts_with("over: "), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    let options = Options {
        step: true,
        train: false,
        ..SEQUENCE
    };
    let ticks = speller(1, None).compile(DType::I8, &options).unwrap_err();
    assert!(matches!(ticks, Error::Attribute { .. }), "{ticks}");
}

/// What a cache holds belongs to the samples that it was filled by: for others, it begins empty, and not half of it.
#[test]
fn caches_begin_anew_for_other_samples() {
    let network = Network::new([2, 4])
        .layer(
            "attention",
            Attention::new(1, 4)
                .sight(Sight::Recent(3))
                .rotary(Rotary::default())
                .cache(8),
        )
        .layer("head", Dense::new(3));
    let of = |samples| Options {
        samples,
        sequence: false,
        train: false,
        ..SEQUENCE
    };
    let outputs = |session: &mut Session<'_>| {
        let x = session.input_mut::<f32>(Role::Infer, 0).unwrap();
        (x.iter_mut().enumerate()).for_each(|(i, x)| *x = ((i * 5) % 7) as f32 / 8.0 - 0.4);
        session.run(&Serial, 1).unwrap();
        session.output::<f32>(0).unwrap().data.to_vec()
    };
    let bytes = network.compile(DType::F32, &of(2)).unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let fresh = outputs(&mut session);
        let later = outputs(&mut session);
        assert!(fresh != later, "what was before is seen");
        let continued = network
            .compile_trained(DType::F32, &of(1), &session)
            .unwrap();
        with_image(&continued, |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
            assert_eq!(outputs(&mut session), fresh);
        });
    });
}
