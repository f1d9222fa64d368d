//! Layers with 8-bit weights under 16-bit activations: outputs, errors and updates against `f64`; a network
//! that learns; what it costs, what it refuses.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

use selvedge_core::net::{
    Conv, Dense, Gelu, HardSwish, Layer, LeakyRelu, LiftedRelu, Logits, MaskedRelu, MixedConv,
    MixedDense, Momentum, Network, PadSame, Relu, Relu6, ScaledRelu, Sigmoid, Silu, Slide,
    Softplus, Step, Tanh,
};
use selvedge_core::tensor::{D2, D3, D4, D5};
use selvedge_core::train::Trainer;
use selvedge_core::{Element, Error, Rate, Serial, Sgd, net};
use selvedge_digits::{BATCH, CLASSES, SIDE, TRAIN, course, test};
use selvedge_kernels::Arg;
use selvedge_kernels::Error as KernelError;
use selvedge_kernels::mixed::Activation as Over;
use selvedge_tests::check_mixed;
use selvedge_tests::layers::{Case, Driven};
use selvedge_tests::threads::Threads;

/// What the tables of integer activations cost, as `docs/numerics.md` §5 says: an argument rounded to 2^-11,
/// and a few units of 2^-15.
const TABLE: [f64; 2] = [4e-4, 4e-4];

#[test]
fn dense_layers() {
    check_mixed!(T, K => MixedDense<T, K, 7, 5>, Dense<f64, 7, 5>, Case::new("mixed dense"));
    check_mixed!(T, K => MixedDense<T, K, 9, 4, Relu>, Dense<f64, 9, 4, Relu>, Case::new("mixed dense, relu"));
    check_mixed!(T, K => MixedDense<T, K, 9, 4, LiftedRelu>, Dense<f64, 9, 4, LiftedRelu>,
        Case::new("mixed dense, lifted relu"));
    check_mixed!(T, K => MixedDense<T, K, 9, 4, ScaledRelu>, Dense<f64, 9, 4, ScaledRelu>,
        Case::new("mixed dense, scaled relu").off_by([4e-3, 4e-3]).with_headroom());
    check_mixed!(T, K => MixedDense<T, K, 6, 3, Tanh>, Dense<f64, 6, 3, Tanh>,
        Case::new("mixed dense, tanh").off_by(TABLE));
    check_mixed!(T, K => MixedDense<T, K, 6, 3, Sigmoid>, Dense<f64, 6, 3, Sigmoid>,
        Case::new("mixed dense, sigmoid").off_by(TABLE));
    check_mixed!(T, K => MixedDense<T, K, 9, 4, MaskedRelu>, Dense<f64, 9, 4, MaskedRelu>,
        Case::new("mixed dense, masked relu"));
    check_mixed!(T, K => MixedDense<T, K, 9, 4, LeakyRelu<250>>, Dense<f64, 9, 4, LeakyRelu<250>>,
        Case::new("mixed dense, leaky relu"));
    check_mixed!(T, K => MixedDense<T, K, 9, 4, Relu6>, Dense<f64, 9, 4, Relu6>,
        Case::new("mixed dense, relu6").off_by(TABLE));
    check_mixed!(T, K => MixedDense<T, K, 6, 3, Softplus>, Dense<f64, 6, 3, Softplus>,
        Case::new("mixed dense, softplus").off_by(TABLE));
    check_mixed!(T, K => MixedDense<T, K, 6, 3, Gelu>, Dense<f64, 6, 3, Gelu>,
        Case::new("mixed dense, gelu").off_by(TABLE).with_headroom());
    check_mixed!(T, K => MixedDense<T, K, 6, 3, Silu>, Dense<f64, 6, 3, Silu>,
        Case::new("mixed dense, silu").off_by(TABLE).with_headroom());
    check_mixed!(T, K => MixedDense<T, K, 6, 3, HardSwish>, Dense<f64, 6, 3, HardSwish>,
        Case::new("mixed dense, hard swish").off_by(TABLE).with_headroom());
    check_mixed!(T, K => MixedDense<T, K, 6, 3, Logits>, Dense<f64, 6, 3, Logits>, Case::new("mixed head"));
}

#[test]
fn convolutions_over_one_to_three_axes() {
    check_mixed!(T, K => MixedConv<T, K, D2<9, 4>, D3<6, 3, 2>, D2<5, 6>, Slide<2, 1>>,
        Conv<f64, D2<9, 4>, D3<6, 3, 2>, D2<5, 6>, Slide<2, 1>>, Case::new("mixed conv1d in groups"));
    check_mixed!(T, K => MixedConv<T, K, D2<8, 3>, D3<2, 3, 3>, D2<4, 2>, Slide<1, 0, 2>, Tanh>,
        Conv<f64, D2<8, 3>, D3<2, 3, 3>, D2<4, 2>, Slide<1, 0, 2>, Tanh>,
        Case::new("mixed conv1d, dilated").off_by(TABLE));
    check_mixed!(T, K => MixedConv<T, K, D3<5, 7, 2>, D4<3, 3, 2, 2>, D3<5, 4, 3>, Step<1, 2, PadSame>>,
        Conv<f64, D3<5, 7, 2>, D4<3, 3, 2, 2>, D3<5, 4, 3>, Step<1, 2, PadSame>>, Case::new("mixed conv2d, same"));
    check_mixed!(T, K => MixedConv<T, K, D3<6, 6, 3>, D4<3, 3, 3, 1>, D3<4, 4, 3>, Slide, Relu>,
        Conv<f64, D3<6, 6, 3>, D4<3, 3, 3, 1>, D3<4, 4, 3>, Slide, Relu>, Case::new("mixed depthwise, relu"));
    check_mixed!(T, K => MixedConv<T, K, D3<6, 6, 3>, D4<3, 3, 3, 1>, D3<4, 4, 3>, Slide, MaskedRelu>,
        Conv<f64, D3<6, 6, 3>, D4<3, 3, 3, 1>, D3<4, 4, 3>, Slide, MaskedRelu>,
        Case::new("mixed depthwise, masked relu"));
    check_mixed!(T, K => MixedConv<T, K, D4<3, 4, 5, 2>, D5<3, 2, 2, 3, 2>, D4<2, 3, 3, 3>, Slide, LeakyRelu<250>>,
        Conv<f64, D4<3, 4, 5, 2>, D5<3, 2, 2, 3, 2>, D4<2, 3, 3, 3>, Slide, LeakyRelu<250>>,
        Case::new("mixed conv3d, leaky relu"));
}

#[test]
fn a_layer_gives_the_bytes_of_the_wide_one_with_the_same_weights() {
    let mut mixed = Driven::<MixedDense<i16, i8, 12, 5, Relu>, 2>::new(3);
    let parameters = mixed.parameters();
    mixed.set_parameters(&parameters); // without low bytes
    let parameters = mixed.parameters();
    let mut wide = Driven::<Dense<i16, 12, 5, Relu>, 2>::new(3);
    wide.set_parameters(&parameters);
    assert_eq!(wide.parameters(), parameters, "16 bits hold those of 8");
    let x: Vec<f64> = (0..24)
        .map(|i| f64::from(i * 37 % 19) / 7.0 - 1.2)
        .collect();
    assert_eq!(mixed.forward(&x), wide.forward(&x));
    let dy: Vec<f64> = (0..10)
        .map(|i| f64::from(i * 29 % 11) / 5.0 - 1.0)
        .collect();
    assert_eq!(mixed.backward(&dy), wide.backward(&dy));
}

#[test]
fn a_layer_that_keeps_slopes_gives_the_bytes_of_the_wide_one() {
    fn passes<L: Layer<In = <L as Layer>::Elem>>(parameters: Option<&[f64]>) -> [Vec<f64>; 3] {
        let mut layer = Driven::<L, 2>::new(3);
        let parameters = parameters.map_or_else(|| layer.parameters(), <[f64]>::to_vec);
        layer.set_parameters(&parameters); // without low bytes
        let parameters = layer.parameters();
        let x: Vec<f64> = (0..24)
            .map(|i| f64::from(i * 37 % 19) / 7.0 - 1.2)
            .collect();
        let dy: Vec<f64> = (0..10)
            .map(|i| f64::from(i * 29 % 11) / 5.0 - 1.0)
            .collect();
        [layer.forward(&x), layer.backward(&dy), parameters]
    }
    let mixed = passes::<MixedDense<i16, i8, 12, 5, MaskedRelu>>(None);
    assert_eq!(
        passes::<Dense<i16, 12, 5, MaskedRelu>>(Some(&mixed[2])),
        mixed
    );
    let mixed = passes::<MixedDense<i16, i8, 12, 5, Gelu>>(None);
    assert_eq!(passes::<Dense<i16, 12, 5, Gelu>>(Some(&mixed[2])), mixed);
}

net! {
    /// Convolutions and dense layers of mixed types, with layers of one type between them.
    struct Mixed<T: Over<i8>>: [SIDE, SIDE, 1] {
        edges: layer(MixedConv<T, i8, D3<SIDE, SIDE, 1>, D4<8, 3, 3, 1>, D3<SIDE, SIDE, 8>, Slide<1, 1>, Relu, R>
            => [SIDE, SIDE, 8]),
        halve: max_pool(2),
        flat: flatten,
        hidden: layer(MixedDense<T, i8, 128, 24, Tanh, R> => [24]),
        head: layer(MixedDense<T, i8, 24, CLASSES, Logits, R> => [CLASSES]),
    }
}

net! {
    /// The same with wide weights.
    struct Wide: [SIDE, SIDE, 1] {
        edges: conv2d(8, kernel = 3, padding = 1, activation = relu),
        halve: max_pool(2),
        flat: flatten,
        hidden: dense(24, activation = tanh),
        head: dense(CLASSES),
    }
}

/// The digits that a network has right after three epochs, and its fingerprint.
fn trained<N: Network<In = <N as Network>::Elem>>(
    exec: &impl selvedge_core::Executor,
) -> (usize, String) {
    let mut trainer = Box::new(Trainer::<N, BATCH>::BLANK);
    course(&mut *trainer, exec, 1, 3, &mut [0; TRAIN], |_| ()).unwrap();
    let right = trainer.count_right(exec, &test()).unwrap();
    (right, trainer.fingerprint().to_string())
}

#[test]
fn a_network_learns_and_threads_do_not_matter() {
    let signed = trained::<Mixed<i16>>(&Serial);
    let wide = trained::<Wide<i16>>(&Serial);
    println!("mixed: {} of 360 right; i16: {}", signed.0, wide.0);
    // 90 %.
    assert!(signed.0 > 324, "{} of 360 right", signed.0);
    assert_eq!(trained::<Mixed<i16>>(&Threads(3)), signed);
    // Weights of 8 bits and their biases are signed here: activations in offset binary train the same bytes.
    assert_eq!(trained::<Mixed<u16>>(&Serial), signed);
}

#[test]
fn weights_cost_half() {
    let [edges, _, _, hidden, head] = Mixed::<i16>::costs::<1>();
    let wide = Wide::<i16>::costs::<1>();
    for (mixed, wide, weights) in [
        (edges, wide[0], 72),
        (hidden, wide[3], 128 * 24),
        (head, wide[4], 240),
    ] {
        assert_eq!(mixed.info.flash_bytes + weights, wide.info.flash_bytes);
        assert_eq!(mixed.info.parameters, wide.info.parameters);
        assert_eq!(mixed.info.macs, wide.info.macs);
    }
    assert_eq!(edges.info.kind, "mixed_conv2d");
    assert_eq!(hidden.info.kind, "mixed_dense");
}

#[test]
fn momentum_keeps_velocities_of_weights() {
    type Net<R> = Mixed<i16, R>;
    let sgd = Sgd {
        momentum: 200,
        ..Sgd::new(Rate {
            mantissa: 1,
            exponent: -6,
        })
    };
    let mut trainer = Box::new(Trainer::<Net<Momentum>, 1>::BLANK);
    trainer.init(1).unwrap();
    let before = trainer.fingerprint();
    trainer.input_mut().fill(i16::from_pixel(99));
    trainer.step(&Serial, &[3], &sgd).unwrap();
    assert_ne!(trainer.fingerprint(), before);

    let mut bare = Box::new(Trainer::<Mixed<i16>, 1>::BLANK);
    bare.init(1).unwrap();
    let before = bare.fingerprint();
    let refused = bare.step(&Serial, &[3], &sgd);
    assert_eq!(refused, Err(Error::Momentum { layer: 0 }));
    assert_eq!(bare.fingerprint(), before);
}

/// A sample that is too short is refused with the layer's number, before anything is written.
#[test]
fn inputs_of_another_length_are_refused() {
    fn refused<L: Layer<Elem = i16, In = i16>>(layer: u32) {
        use selvedge_core::net::{Pass, Tape, Values};
        let mut of = Box::new(L::BLANK);
        of.init(1, layer).unwrap();
        let mut tape = Box::new(<L::Tape<1> as Tape>::BLANK);
        let pass = Pass {
            exec: &Serial,
            mode: selvedge_kernels::scale::Mode::Train,
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
        };
        let x = Values {
            data: &[7i16; 3],
            exponent: -15,
            batch: 1,
        };
        let result = of.forward::<_, 1>(&pass, layer, x, &mut tape);
        let at = match result {
            Err(Error::Layer {
                layer,
                source: KernelError::Length { arg: Arg::X, .. },
            }) => Some(layer),
            _ => None,
        };
        assert_eq!(at, Some(layer));
        let input = vec![0; <L::Input as selvedge_core::tensor::Shape>::LEN];
        let x = Values {
            data: &input,
            exponent: 0,
            batch: 1,
        };
        let kept = of.output::<1>(x, &tape);
        assert!(kept.data.iter().all(|y| y.to_f64() == 0.0));
    }
    refused::<MixedDense<i16, i8, 4, 2>>(5);
    refused::<MixedConv<i16, u8, D2<4, 1>, D3<2, 2, 1>, D2<3, 2>>>(6);
}
