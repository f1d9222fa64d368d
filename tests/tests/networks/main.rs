//! Networks of the field, whole: they build, run and learn in floats and in integers.

#![recursion_limit = "512"]
// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

mod data;
mod models;

use data::{Data, Frames, Images, Part, Stripes, Waves};
use models::*;
use selvedge_core::net::{Layer, Network};
use selvedge_core::train::Trainer;
use selvedge_core::{Distance, Element, Rate, Serial, Sgd};
use selvedge_tests::compare::{inner, values};
use selvedge_tests::parameters::tensors;

#[test]
fn networks_have_the_published_sizes() {
    // The sums of multiplications that MLPerf Tiny's models have.
    assert_eq!(<ResNet8<i8> as Network>::Layers::INFO.macs, 12_501_632);
    assert_eq!(<MobileNet<i8> as Network>::Layers::INFO.macs, 7_489_664);
    assert_eq!(<DsCnn<i8> as Network>::Layers::INFO.macs, 2_656_768);
    assert_eq!(<Autoencoder<i8> as Network>::Layers::INFO.macs, 264_192);
}

/// How a network is trained.
#[derive(Clone, Copy)]
struct Course {
    steps: usize,
    /// The rate is `2^rate`.
    rate: i16,
    /// On samples that are held out, the loss must be less than this share of that of the best constant output.
    left: f64,
}

/// Samples that are held out.
const HELD_OUT: usize = 160;

/// Trains a network; it must learn, and every parameter tensor must move.
fn learns<N: Network<In = <N as Network>::Elem>, const B: usize>(data: &impl Data, course: Course) {
    let name = std::any::type_name::<N>();
    let mut trainer = Box::new(Trainer::<N, B>::BLANK);
    trainer.init(1).unwrap();
    let before = tensors(trainer.network());
    let sgd = Sgd::new(Rate {
        mantissa: 1,
        exponent: course.rate,
    });
    for step in 0..course.steps {
        let (labels, pixels) = read(&mut trainer, data, Part::Train, step);
        if is_autoencoder::<N, B>() {
            let target: Vec<_> = pixels.iter().map(|&x| Head::<N>::from_pixel(x)).collect();
            let exponent = Head::<N>::PIXEL_EXPONENT;
            trainer
                .step_towards(&Serial, &target, exponent, Distance::Squared, &sgd)
                .unwrap();
        } else {
            trainer.step(&Serial, &labels, &sgd).unwrap();
        }
    }
    for (number, (was, is)) in before.iter().zip(tensors(trainer.network())).enumerate() {
        assert!(
            *was != is,
            "{name}: parameter tensor {number} has not moved"
        );
    }
    let left = left(&mut trainer, data);
    println!("{name}: {left:.3} of a constant's loss is left");
    assert!(
        left < course.left,
        "{name}: {left:.3} of a constant's loss is left"
    );
}

type Head<N> = <<N as Network>::Elem as Element>::Head;

/// Whether a network gives back what it is given.
fn is_autoencoder<N: Network<In = <N as Network>::Elem>, const B: usize>() -> bool {
    Trainer::<N, B>::INPUT_LEN == Trainer::<N, B>::OUTPUT_LEN
}

/// Makes batch `number` the input of a network; returns its labels and pixels.
fn read<N: Network<In = <N as Network>::Elem>, const B: usize>(
    trainer: &mut Trainer<N, B>,
    data: &impl Data,
    part: Part,
    number: usize,
) -> ([u16; B], Vec<u8>) {
    let inputs = Trainer::<N, B>::INPUT_LEN;
    let (mut labels, mut pixels) = ([0; B], vec![0; B * inputs]);
    for (at, (x, label)) in pixels.chunks_exact_mut(inputs).zip(&mut labels).enumerate() {
        *label = data.read(part, number * B + at, x);
    }
    for (x, &pixel) in trainer.input_mut().iter_mut().zip(&pixels) {
        *x = N::Elem::from_pixel(pixel);
    }
    (labels, pixels)
}

/// The loss at inference on samples that are held out, as a share of that of the best constant output: of the
/// entropy of their classes, or of the variance of what is to be given back.
fn left<N: Network<In = <N as Network>::Elem>, const B: usize>(
    trainer: &mut Trainer<N, B>,
    data: &impl Data,
) -> f64 {
    let outputs = Trainer::<N, B>::OUTPUT_LEN;
    let (mut all, mut loss) = (vec![Vec::new(); outputs], 0.0);
    for number in 0..HELD_OUT / B {
        let (labels, pixels) = read(trainer, data, Part::Test, number);
        let y = trainer.predict(&Serial, B).unwrap();
        let y = values(y.data, y.exponent);
        for (at, y) in y.chunks_exact(outputs).enumerate() {
            let target: Vec<f64> = if is_autoencoder::<N, B>() {
                let pixels = pixels[at * outputs..][..outputs].iter();
                let target: Vec<_> = pixels.map(|&x| Head::<N>::from_pixel(x)).collect();
                values(&target, Head::<N>::PIXEL_EXPONENT)
            } else {
                let is = |class| f64::from(u8::from(class == usize::from(labels[at])));
                (0..outputs).map(is).collect()
            };
            loss += if is_autoencoder::<N, B>() {
                y.iter().zip(&target).map(|(y, t)| (y - t).powi(2)).sum()
            } else {
                let largest = y.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = y.iter().map(|y| (y - largest).exp()).sum();
                largest + sum.ln() - inner(y, &target)
            };
            for (all, target) in all.iter_mut().zip(target) {
                all.push(target);
            }
        }
    }
    let of_constant = |targets: &Vec<f64>| -> f64 {
        let mean = targets.iter().sum::<f64>() / targets.len() as f64;
        if is_autoencoder::<N, B>() {
            targets.iter().map(|t| (t - mean).powi(2)).sum()
        } else if mean > 0.0 {
            -mean.ln() * mean * targets.len() as f64
        } else {
            0.0
        }
    };
    loss / all.iter().map(of_constant).sum::<f64>()
}

/// A test that a network learns in f32 and in i8.
macro_rules! learn {
    ($($test:ident: $network:ident, batch $batch:literal, $data:expr, steps $steps:literal, rate 2^$rate:literal, left $left:literal;)*) => {$(
        #[test]
        fn $test() {
            let course = Course { steps: $steps, rate: $rate, left: $left };
            on_large_stack(|| {
                learns::<$network<f32>, $batch>(&$data, course);
                learns::<$network<i8>, $batch>(&$data, course);
            });
        }
    )*};
}

/// Unoptimised code builds a trainer on the stack before it is boxed.
fn on_large_stack(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(256 << 20);
        thread.spawn_scoped(scope, work).unwrap().join().unwrap();
    });
}

const DIGITS: Images = Images {
    side: 8,
    channels: 1,
};

learn! {
    perceptrons_learn: Mlp, batch 8, DIGITS, steps 320, rate 2^-6, left 0.3;
    lenet_learns: LeNet, batch 8, DIGITS, steps 240, rate 2^-5, left 0.2;
    ds_cnn_learns: DsCnn, batch 4, Waves { channels: 10, classes: 12 }, steps 48, rate 2^-5, left 0.4;
    resnet_8_learns: ResNet8, batch 8, Images { side: 32, channels: 3 }, steps 120, rate 2^-6, left 0.7;
    mobilenet_learns: MobileNet, batch 8, Stripes { side: 96 }, steps 120, rate 2^-8, left 0.4;
    autoencoders_learn: Autoencoder, batch 8, Frames, steps 2000, rate 2^-8, left 0.85;
    convolutional_autoencoders_learn: Hourglass, batch 8, DIGITS, steps 3000, rate 2^-9, left 0.6;
    signals_are_learned: Signal, batch 8, Waves { channels: 2, classes: 4 }, steps 400, rate 2^-6, left 0.02;
}
