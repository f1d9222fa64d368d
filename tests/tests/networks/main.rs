//! Networks of the field, whole: they build, run and learn in floats and in integers.

#![recursion_limit = "512"]
// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

mod data;
mod models;

use data::{Data, Frames, Images, Waves};
use models::*;
use selvedge_core::net::{Layer, Network};
use selvedge_core::train::Trainer;
use selvedge_core::{Distance, Element, Rate, Serial, Sgd};
use selvedge_kernels::loss::Kernels as Loss;
use selvedge_tests::parameters::tensors;

#[test]
fn networks_have_the_published_sizes() {
    // The sums of multiplications that MLPerf Tiny's models have.
    assert_eq!(<ResNet8<i8> as Network>::Layers::INFO.macs, 12_501_632);
    assert_eq!(<MobileNet<i8> as Network>::Layers::INFO.macs, 7_489_664);
    assert_eq!(<DsCnn<i8> as Network>::Layers::INFO.macs, 2_656_768);
    assert_eq!(<Autoencoder<i8> as Network>::Layers::INFO.macs, 264_192);
}

/// A loss, in whatever it is summed.
trait Number {
    fn number(self) -> f64;
}

macro_rules! impl_number {
    ($($t:ty)*) => {$(
        impl Number for $t {
            fn number(self) -> f64 {
                self as f64
            }
        }
    )*};
}

impl_number!(i64 f32 f64);

/// How a network is trained.
#[derive(Clone, Copy)]
struct Course {
    steps: usize,
    /// The rate is `2^rate`.
    rate: i16,
    /// The loss of the last quarter of steps must be less than this share of that of the first.
    left: f64,
}

/// Trains a network; it must learn, and every parameter tensor must move.
fn learns<N: Network, const B: usize>(data: &impl Data, course: Course)
where
    <N::Elem as Loss>::LossSum: Number,
{
    type Head<N> = <<N as Network>::Elem as Element>::Head;
    let name = std::any::type_name::<N>();
    let mut trainer = Box::new(Trainer::<N, B>::BLANK);
    trainer.init(1).unwrap();
    let before = tensors(trainer.network());
    let sgd = Sgd::new(Rate {
        mantissa: 1,
        exponent: course.rate,
    });
    let (inputs, outputs) = (Trainer::<N, B>::INPUT_LEN, Trainer::<N, B>::CLASSES);
    let mut losses = Vec::new();
    let mut pixels = vec![0; B * inputs];
    for step in 0..course.steps {
        let mut labels = [0; B];
        for (at, (x, label)) in pixels.chunks_exact_mut(inputs).zip(&mut labels).enumerate() {
            *label = data.read(step * B + at, x);
        }
        for (x, &pixel) in trainer.input_mut().iter_mut().zip(&pixels) {
            *x = N::Elem::from_pixel(pixel);
        }
        let loss = if inputs == outputs {
            let target: Vec<_> = pixels.iter().map(|&x| <Head<N>>::from_pixel(x)).collect();
            let exponent = <Head<N> as Element>::PIXEL_EXPONENT;
            trainer.step_towards(&Serial, &target, exponent, Distance::Squared, &sgd)
        } else {
            trainer.step(&Serial, &labels, &sgd)
        };
        losses.push(loss.unwrap().number());
    }
    let quarter = course.steps / 4;
    let first: f64 = losses[..quarter].iter().sum();
    let last: f64 = losses[course.steps - quarter..].iter().sum();
    let left = last / first;
    println!("{name}: {left:.3} of the loss is left");
    assert!(left < course.left, "{name}: {left:.3} of the loss is left");
    for (number, (was, is)) in before.iter().zip(tensors(trainer.network())).enumerate() {
        assert!(
            *was != is,
            "{name}: parameter tensor {number} has not moved"
        );
    }
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
    coarse: 1,
};

learn! {
    perceptrons_learn: Mlp, batch 8, DIGITS, steps 160, rate 2^-6, left 0.5;
    lenet_learns: LeNet, batch 8, DIGITS, steps 240, rate 2^-5, left 0.5;
    ds_cnn_learns: DsCnn, batch 4, Waves { channels: 10, classes: 12 }, steps 48, rate 2^-5, left 0.8;
    resnet_8_learns: ResNet8, batch 8, Images { side: 32, channels: 3, coarse: 1 }, steps 80, rate 2^-6, left 0.7;
    mobilenet_learns: MobileNet, batch 4, Images { side: 96, channels: 3, coarse: 5 }, steps 100, rate 2^-5, left 0.9;
    autoencoders_learn: Autoencoder, batch 8, Frames, steps 80, rate 2^-12, left 0.4;
    convolutional_autoencoders_learn: Hourglass, batch 8, DIGITS, steps 400, rate 2^-11, left 0.6;
    signals_are_learned: Signal, batch 8, Waves { channels: 2, classes: 4 }, steps 400, rate 2^-5, left 0.6;
}
