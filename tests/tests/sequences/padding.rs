//! Padding: what lies behind a sample's length is not seen, whatever it is.

use selvedge_core::net::{
    Attention, Axis, Concat, CrossAttention, DenseOver, Everything, Fork, Fresh, Network, Padded,
    Part, Relu, Rotary, Skip,
};
use selvedge_core::tensor::D2;
use selvedge_core::train::Trainer;
use selvedge_core::{Element, Error, Rate, Serial, Sgd, net};
use selvedge_kernels::{Error as KernelError, bf16, f16};
use selvedge_tests::noise::Noise;
use selvedge_tests::saved::copy;

const FEATURES: usize = 4;
const BATCH: usize = 3;
const STEP: Sgd = Sgd::new(Rate {
    mantissa: 1,
    exponent: -6,
});

/// Networks over `$length` rows, of which the first is asked in the end.
macro_rules! networks {
    ($module:ident: $length:literal, both $both:literal) => {
        mod $module {
            use super::*;

            net! {
                pub(super) struct Encoder: [$length, FEATURES] {
                    entry: dense(8, activation = relu),
                    look: residual {
                        see: layer(Attention<
                            T, $length, 8, 2, 1, 4, Padded<Everything>, R, Fresh, Rotary,
                        > => [$length, 8]),
                    },
                    first: layer(Part<T, D2<$length, 8>, D2<1, 8>, Axis<0>> => [1, 8]),
                    head: dense(3),
                }
            }

            // Each row asks what a layer makes of all.
            net! {
                pub(super) struct Across: [$length, FEATURES] {
                    both: layer(Fork<
                        Skip<T, D2<$length, FEATURES>>,
                        DenseOver<T, D2<$length, FEATURES>, FEATURES, Relu, R>,
                        Concat<D2<$both, FEATURES>, Axis<0>>,
                    > => [$both, FEATURES]),
                    look: layer(CrossAttention<
                        T, $both, $length, $length, FEATURES, 2, 2, 3, Padded, R,
                    > => [$length, FEATURES]),
                    first: layer(Part<T, D2<$length, FEATURES>, D2<1, FEATURES>, Axis<0>> => [1, FEATURES]),
                    head: dense(3),
                }
            }
        }
    };
}

networks!(padded: 6, both 12);
networks!(short: 4, both 8);

/// Samples whose rows from their length on are `padding`.
fn samples<T: Element>(seed: u32, lengths: [usize; BATCH], padding: u8) -> Vec<T> {
    let mut noise = Noise::new(seed);
    let mut x = Vec::new();
    for length in lengths {
        for row in 0..6 {
            for _ in 0..FEATURES {
                let pixel = noise.below(256) as u8;
                let pixel = if row < length { pixel } else { padding };
                x.push(T::from_pixel(pixel));
            }
        }
    }
    x
}

fn says<N: Network<In = <N as Network>::Elem>>(
    trainer: &mut Trainer<N, BATCH>,
    x: &[N::In],
    lengths: Option<[u32; BATCH]>,
) -> Vec<f64> {
    trainer.input_mut().copy_from_slice(x);
    trainer.set_lengths(lengths);
    let y = trainer.predict(&Serial, BATCH).unwrap();
    y.data.iter().map(|y| y.to_f64()).collect()
}

/// Trains a network on padded samples, then asks it with other padding, and its twin that has no room for any.
fn padding_is_not_seen<P, S>()
where
    P: Network<In = <P as Network>::Elem>,
    S: Network<Elem = P::Elem, In = P::Elem>,
{
    let name = std::any::type_name::<P>();
    let mut trainer = Box::new(Trainer::<P, BATCH>::BLANK);
    trainer.init(3).unwrap();
    trainer.set_lengths(Some([4, 6, 2]));
    for step in 0..20 {
        let x = samples::<P::Elem>(step, [4, 6, 2], 200);
        trainer.input_mut().copy_from_slice(&x);
        let labels = [0, 1, 2].map(|i| (step as u16 + i) % 3);
        trainer.step(&Serial, &labels, &STEP).unwrap();
    }
    let [x, other] = [7, 250].map(|padding| samples::<P::Elem>(77, [4, 6, 2], padding));
    let y = says(&mut trainer, &x, Some([4, 6, 2]));
    assert_eq!(says(&mut trainer, &other, Some([4, 6, 2])), y, "{name}");
    assert_ne!(
        says(&mut trainer, &other, None),
        y,
        "{name}: nothing is hidden"
    );
    assert_ne!(
        says(&mut trainer, &x, Some([3, 6, 2])),
        y,
        "{name}: a row is hidden"
    );

    let mut twin = Box::new(Trainer::<S, BATCH>::BLANK);
    twin.init(9).unwrap();
    copy(&trainer, &mut twin);
    let x = samples::<P::Elem>(78, [4; BATCH], 99);
    let rows = x.chunks_exact(6 * FEATURES);
    let cut: Vec<_> = rows.flat_map(|x| &x[..4 * FEATURES]).copied().collect();
    assert_eq!(
        says(&mut trainer, &x, Some([4; BATCH])),
        says(&mut twin, &cut, None),
        "{name}: four rows"
    );
}

macro_rules! in_types {
    ($network:ident: $($t:ty)*) => {$(
        padding_is_not_seen::<padded::$network<$t>, short::$network<$t>>();
    )*};
}

#[test]
fn an_encoder_sees_no_padding() {
    in_types!(Encoder: i8 u8 i16 u16 i32 u32 i64 u64 f16 bf16 f32 f64);
}

#[test]
fn a_memory_has_no_padding() {
    in_types!(Across: i8 u8 i16 u16 i32 u32 i64 u64 f16 bf16 f32 f64);
}

/// A float's gradient is the same whatever the padding: its rows pass errors of zero.
#[test]
fn nothing_is_learned_from_padding() {
    let learned = |padding| {
        let mut trainer = Box::new(Trainer::<padded::Encoder<f64>, BATCH>::BLANK);
        trainer.init(3).unwrap();
        trainer.set_lengths(Some([4, 6, 2]));
        for step in 0..5 {
            let x = samples::<f64>(step, [4, 6, 2], padding);
            trainer.input_mut().copy_from_slice(&x);
            trainer.step(&Serial, &[0, 1, 2], &STEP).unwrap();
        }
        trainer.fingerprint()
    };
    assert_eq!(learned(0), learned(255));
}

#[test]
fn lengths_beyond_the_positions_are_refused() {
    let mut trainer = Box::new(Trainer::<padded::Encoder<i8>, BATCH>::BLANK);
    trainer.init(3).unwrap();
    trainer.set_lengths(Some([6, 6, 7]));
    assert_eq!(
        trainer.predict(&Serial, BATCH).unwrap_err(),
        Error::Layer {
            layer: 2,
            source: KernelError::SampleLength {
                sample: 2,
                length: 7,
                most: 6,
            }
        }
    );
    // The third is not of a batch of two.
    trainer.predict(&Serial, 2).unwrap();
    // A sample without any position sees nothing, and has outputs all the same.
    trainer.set_lengths(Some([6, 0, 6]));
    trainer.predict(&Serial, BATCH).unwrap();
}
