//! Streams: pieces give what the whole sequence gives, to the bit; networks learn from pieces.

use selvedge_core::net::{
    AllSteps, Attention, Cache, Carried, Causal, Conv, Fresh, Gru, Lstm, MaxPool, Network, Recent,
    Relu, Rnn, Rotary, Slide, Step, Stream,
};
use selvedge_core::tensor::{D1, D2, D3};
use selvedge_core::train::Trainer;
use selvedge_core::{Element, Error, Rate, Serial, Sgd, net};
use selvedge_kernels::{bf16, f16};
use selvedge_tests::noise::Noise;
use selvedge_tests::saved::copy;

/// Rows of the whole sequence, and features of a row.
const WHOLE: usize = 12;
const FEATURES: usize = 4;
const BATCH: usize = 2;

/// Networks over `$length` rows, the same whatever the length; convolution and pooling see two rows, and one, more. A
/// window's cache is `$short`: rows are shifted out of it, whose positions have turned them.
macro_rules! networks {
    ($module:ident: $length:literal, seen $conv:literal $pool:literal, $steps:ty, $recall:ty, $short:ty) => {
        mod $module {
            use super::*;

            net! {
                pub(super) struct Windows: [$length, FEATURES] {
                    edges: layer(Stream<
                        Conv<T, D2<$conv, FEATURES>, D3<6, 3, FEATURES>, D2<$length, 6>, Slide, Relu, R>,
                        $length, FEATURES, 2,
                    > => [$length, 6]),
                    best: layer(Stream<
                        MaxPool<T, D2<$pool, 6>, D2<$length, 6>, D1<2>, Step<1, 1>>, $length, 6, 1,
                    > => [$length, 6]),
                    head: dense(3),
                }
            }

            net! {
                pub(super) struct Cells: [$length, FEATURES] {
                    plain: layer(Rnn<T, $length, FEATURES, 5, $steps, R> => [$length, 5]),
                    long: layer(Lstm<T, $length, 5, 6, $steps, R> => [$length, 6]),
                    gated: layer(Gru<T, $length, 6, 5, $steps, R> => [$length, 5]),
                    head: dense(3),
                }
            }

            net! {
                pub(super) struct Heads: [$length, FEATURES] {
                    entry: dense(8),
                    all: residual {
                        n1: rms_norm,
                        a1: layer(Attention<T, $length, 8, 2, 1, 4, Causal, R, $recall> => [$length, 8]),
                    },
                    late: residual {
                        n2: rms_norm,
                        a2: layer(
                            Attention<T, $length, 8, 2, 2, 4, Recent<4>, R, $short, Rotary> => [$length, 8]
                        ),
                    },
                    head: dense(3),
                }
            }
        }
    };
}

networks!(whole: 12, seen 14 13, AllSteps, Fresh, Fresh);
networks!(pieces: 3, seen 5 4, Carried<AllSteps>, Cache<12>, Cache<6>);
networks!(singles: 1, seen 3 2, Carried<AllSteps>, Cache<12>, Cache<4>);

/// Sequences of noise with labels for each row.
fn sequences<T: Element>(seed: u32) -> (Vec<T>, Vec<u16>) {
    let mut noise = Noise::new(seed);
    let x = (0..BATCH * WHOLE * FEATURES).map(|_| T::from_pixel(noise.below(256) as u8));
    let x = x.collect();
    (
        x,
        (0..BATCH * WHOLE).map(|_| noise.below(3) as u16).collect(),
    )
}

/// What a network that has been given all of `trained` says of pieces, one after the other, in the order of the whole.
fn in_pieces<N, W>(trained: &Trainer<W, BATCH>, x: &[N::Elem]) -> (Vec<f64>, Vec<i32>)
where
    N: Network<In = <N as Network>::Elem>,
    W: Network,
{
    let mut trainer = Box::new(Trainer::<N, BATCH>::BLANK);
    trainer.init(9).unwrap();
    copy(trained, &mut trainer);
    let (piece, outputs) = (
        Trainer::<N, BATCH>::INPUT_LEN,
        Trainer::<N, BATCH>::OUTPUT_LEN,
    );
    let mut exponents = Vec::new();
    let mut said = vec![0.0; BATCH * WHOLE * 3];
    // Twice: a stream that begins anew knows nothing of the one before.
    for _ in 0..2 {
        trainer.reset();
        for start in (0..WHOLE * FEATURES).step_by(piece) {
            let samples = x.chunks_exact(WHOLE * FEATURES);
            for (to, sample) in trainer.input_mut().chunks_exact_mut(piece).zip(samples) {
                to.copy_from_slice(&sample[start..start + piece]);
            }
            let y = trainer.predict(&Serial, BATCH).unwrap();
            exponents.push(y.exponent);
            let from = start / FEATURES * 3;
            for (to, y) in said
                .chunks_exact_mut(WHOLE * 3)
                .zip(y.data.chunks_exact(outputs))
            {
                for (to, y) in to[from..from + outputs].iter_mut().zip(y) {
                    *to = y.to_f64();
                }
            }
        }
    }
    (said, exponents)
}

/// Trains a network on whole sequences, so that all exponents are set, then asks it and its twins over pieces.
fn pieces_are_the_whole<W, P, S>()
where
    W: Network<In = <W as Network>::Elem>,
    P: Network<Elem = W::Elem, In = <P as Network>::Elem>,
    S: Network<Elem = W::Elem, In = <S as Network>::Elem>,
{
    let name = std::any::type_name::<W>();
    let mut trainer = Box::new(Trainer::<W, BATCH>::BLANK);
    trainer.init(4).unwrap();
    let sgd = Sgd::new(Rate {
        mantissa: 1,
        exponent: -8,
    });
    for step in 0..20 {
        let (x, labels) = sequences::<W::Elem>(step);
        trainer.input_mut().copy_from_slice(&x);
        trainer.step(&Serial, &labels, &sgd).unwrap();
    }
    let (x, _) = sequences::<W::Elem>(99);
    trainer.reset();
    trainer.input_mut().copy_from_slice(&x);
    let y = trainer.predict(&Serial, BATCH).unwrap();
    let exponent = y.exponent;
    let y: Vec<_> = y.data.iter().map(|y| y.to_f64()).collect();
    for (said, exponents) in [
        in_pieces::<P, W>(&trainer, &x),
        in_pieces::<S, W>(&trainer, &x),
    ] {
        assert_eq!(said, y, "{name}");
        assert!(
            exponents.iter().all(|&e| e == exponent),
            "{name}: {exponents:?}"
        );
    }
}

macro_rules! in_types {
    ($network:ident: $($t:ty)*) => {$(
        pieces_are_the_whole::<whole::$network<$t>, pieces::$network<$t>, singles::$network<$t>>();
    )*};
}

#[test]
fn windows_over_pieces_are_those_over_the_whole() {
    in_types!(Windows: i8 u8 i16 i32 u64 f16 bf16 f32 f64);
}

#[test]
fn cells_carry_on_where_a_piece_ends() {
    in_types!(Cells: i8 u8 i16 i32 u64 f16 bf16 f32 f64);
}

#[test]
fn cached_attention_is_that_over_the_whole() {
    in_types!(Heads: i8 u8 i16 i32 u64 f16 bf16 f32 f64);
}

#[test]
fn a_full_cache_is_refused_where_all_is_seen_and_moves_on_where_it_is_not() {
    net! {
        struct All: [1, 4] { a: layer(Attention<T, 1, 4, 1, 1, 4, Causal, R, Cache<2>> => [1, 4]), head: dense(2) }
    }
    net! {
        struct Late: [1, 4] { a: layer(Attention<T, 1, 4, 1, 1, 4, Recent<2>, R, Cache<2>> => [1, 4]), head: dense(2) }
    }
    let mut all = Box::new(Trainer::<All<i8>, 1>::BLANK);
    let mut late = Box::new(Trainer::<Late<i8>, 1>::BLANK);
    all.init(1).unwrap();
    late.init(1).unwrap();
    for step in 0..6 {
        all.input_mut().fill(step);
        late.input_mut().fill(step);
        let full = selvedge_kernels::Error::Capacity {
            keys: 3,
            capacity: 2,
        };
        match all.predict(&Serial, 1) {
            Ok(_) => assert!(step < 2),
            Err(error) => {
                assert!(step >= 2);
                assert_eq!(
                    error,
                    Error::Layer {
                        layer: 0,
                        source: full
                    }
                );
            }
        }
        late.predict(&Serial, 1).unwrap();
    }
    all.reset();
    all.predict(&Serial, 1).unwrap();
}

/// Frames of a piece, and pieces of a sound.
const PIECE: usize = 4;
const PIECES: usize = 4;

net! {
    /// Keyword spotting as a stream: four frames at a time, a guess at each.
    struct Live: [PIECE, 8] {
        edges: layer(Stream<
            Conv<T, D2<6, 8>, D3<12, 3, 8>, D2<PIECE, 12>, Slide, Relu, R>, PIECE, 8, 2,
        > => [PIECE, 12]),
        memory: layer(Gru<T, PIECE, 12, 16, Carried<AllSteps>, R> => [PIECE, 16]),
        head: dense(3),
    }
}

/// A rising, a falling or a steady tone in noise: frames of eight bands.
fn sound(seed: u32) -> (Vec<u8>, u16) {
    let mut noise = Noise::new(seed);
    let class = noise.below(3);
    let start = 2.0 + 3.0 * noise.signed().abs();
    let frames = (0..PIECE * PIECES).flat_map(|t| {
        let slope = [0.3, -0.3, 0.0][class] * t as f64;
        let tone = start + if class == 1 { 3.0 + slope } else { slope };
        (0..8).map(move |band| 200.0 * (-(f64::from(band) - tone).powi(2)).exp())
    });
    let frames: Vec<f64> = frames.collect();
    let frames = frames
        .into_iter()
        .map(|x| (20.0 + x + 15.0 * noise.signed()).clamp(0.0, 255.0) as u8);
    (frames.collect(), class as u16)
}

/// Trains piece by piece, and returns how many of a hundred sounds it knows at their end.
fn spots<T: Element>() -> usize {
    const SOUNDS: usize = 8;
    let mut trainer = Box::new(Trainer::<Live<T>, SOUNDS>::BLANK);
    trainer.init(2).unwrap();
    let before = selvedge_tests::parameters::tensors(trainer.network());
    let sgd = Sgd::new(Rate {
        mantissa: 1,
        exponent: -6,
    });
    let piece = PIECE * 8;
    let load = |trainer: &mut Trainer<Live<T>, SOUNDS>, sounds: &[(Vec<u8>, u16)], at: usize| {
        for (to, (sound, _)) in trainer.input_mut().chunks_exact_mut(piece).zip(sounds) {
            for (to, &x) in to.iter_mut().zip(&sound[at * piece..]) {
                *to = T::from_pixel(x);
            }
        }
    };
    for step in 0..250u32 {
        let sounds: Vec<_> = (0..SOUNDS as u32).map(|i| sound(step * 8 + i)).collect();
        let labels: Vec<u16> = (sounds.iter())
            .flat_map(|&(_, class)| [class; PIECE])
            .collect();
        trainer.reset();
        for at in 0..PIECES {
            load(&mut trainer, &sounds, at);
            trainer.step(&Serial, &labels, &sgd).unwrap();
        }
    }
    let after = selvedge_tests::parameters::tensors(trainer.network());
    assert!(before.iter().zip(&after).all(|(was, is)| was != is));
    let mut right = 0;
    for step in 0..13u32 {
        let sounds: Vec<_> = (0..SOUNDS as u32).map(|i| sound(!(step * 8 + i))).collect();
        let mut classes = [0; SOUNDS * PIECE];
        trainer.reset();
        for at in 0..PIECES {
            load(&mut trainer, &sounds, at);
            trainer.classify(&Serial, &mut classes).unwrap();
        }
        let last = classes
            .chunks_exact(PIECE)
            .map(|classes| classes[PIECE - 1]);
        right += last
            .zip(&sounds)
            .filter(|(class, (_, label))| class == label)
            .count();
    }
    println!("{}: {right} of 104", T::DTYPE);
    right
}

#[test]
fn a_stream_learns_to_spot_sounds() {
    for right in [spots::<f32>(), spots::<i8>()] {
        assert!(right >= 90, "{right} of 104, where chance is 35");
    }
}
