//! Training in less memory than it would like: activations are computed again, and the numbers stay the same, which
//! `zoo.rs` shows of each network with the smallest budget it has.

use super::zoo::smallest;
use super::{CNN, TRAINED, of_session, with_image};
use selvedge_core::image::Role;
use selvedge_core::network::{
    Activation, Attention, Budget, Conv, Dense, Embedding, Error, Flatten, Layer, LayerNorm,
    Network, Options, Padding, Positions, Residual, Sequential, Sight, Tokens,
};
use selvedge_core::{Element, Sgd};
use selvedge_digits::{EPOCHS, rate_at};
use selvedge_kernels::{DType, bf16};

/// Twelve convolutions of equal size.
fn deep() -> Network {
    let mut network = Network::new([8, 8, 1]);
    for i in 0..12 {
        let conv = Conv::new(8, 3)
            .padding(Padding::Same)
            .activation(Activation::Relu);
        network = network.layer(format!("conv{i}"), conv);
    }
    network
        .layer("flat", Flatten::default())
        .layer("head", Dense::new(10))
}

/// Six blocks of a decoder over 32 positions of 32 features.
pub(super) fn transformer() -> Network {
    let mut blocks = Sequential::default();
    for i in 0..6 {
        let attention = Attention::new(4, 8).sight(Sight::Causal);
        let mixed = Residual::default()
            .layer("norm", LayerNorm::default())
            .layer("attention", attention);
        let thought = Residual::default()
            .layer("norm", LayerNorm::default())
            .layer("up", Dense::new(128).activation(Activation::Gelu))
            .layer("down", Dense::new(32));
        let block = Sequential::default()
            .layer("mixed", mixed)
            .layer("thought", thought);
        blocks = blocks.layer(i.to_string(), block);
    }
    Network::of_tokens(32, Tokens::U8)
        .layer("tokens", Embedding::new(64, 32))
        .layer("places", Positions::default())
        .with(Layer::new("blocks", blocks))
        .layer("norm", LayerNorm::default())
        .layer("head", Dense::new(64))
}

/// Bytes of the arena of a network within a budget, those of them that a step takes beside parameters, and its operators.
fn costs(network: &Network, dtype: DType, options: Options) -> (usize, usize, usize) {
    let bytes = network.compile(dtype, &options).unwrap();
    with_image(&bytes, |image| {
        let [_, transient] = image.extent(Role::Train).unwrap();
        let operators = image.kinds(Role::Train).count();
        (image.arena_bytes(), transient, operators)
    })
}

#[test]
fn deep_networks_train_in_a_fraction_of_their_activations() {
    for (network, most) in [(deep(), 0.7), (transformer(), 0.7)] {
        let options = Options {
            samples: 4,
            ..TRAINED
        };
        let (whole, activations, operators) = costs(&network, DType::I8, options);
        let budget = smallest(&network, DType::I8, options);
        let tight = Options { budget, ..options };
        let (least, fewer, more) = costs(&network, DType::I8, tight);
        println!("{activations} bytes in {operators} operators; {fewer} in {more}");
        assert!(budget.get().is_some_and(|bytes| least <= bytes));
        let share = fewer as f64 / activations as f64;
        assert!(share < most, "{fewer} of {activations}");
        assert!(more > operators);
        // What lies between has a schedule, too, and the more there is, the less is done again.
        let mut before = more;
        for part in 1..=4 {
            let bytes = least + (whole - least) * part / 4;
            let options = Options {
                budget: Budget::bytes(bytes),
                ..options
            };
            let (found, _, operators) = costs(&network, DType::I8, options);
            assert!(found <= bytes, "{found} of {bytes}");
            assert!(operators <= before, "{operators} after {before}");
            before = operators;
        }
        assert_eq!(before, operators, "the whole of it is enough");
    }
}

/// Momentum, and a training that changes exponents.
fn the_same_numbers<T: Element>() {
    let json = deep().to_json().unwrap();
    let sgd = Sgd {
        momentum: 200,
        ..Sgd::new(rate_at(0, EPOCHS).rate.halved(2))
    };
    let options = Options {
        momentum: true,
        ..TRAINED
    };
    let budget = smallest(&deep(), T::DTYPE, options);
    let tight = of_session::<T>(&json, 40, &sgd, budget);
    assert!(
        tight == of_session::<T>(&json, 40, &sgd, Budget::NONE),
        "{}",
        T::DTYPE
    );
}

#[test]
fn a_budget_changes_no_number() {
    the_same_numbers::<i8>();
    the_same_numbers::<u16>();
    the_same_numbers::<i32>();
    the_same_numbers::<bf16>();
    the_same_numbers::<f32>();
}

#[test]
fn what_does_not_fit_says_what_it_lacks() {
    let network = Network::from_json(CNN).unwrap();
    let run = Options::default();
    let (needed, _) = with_image(&network.compile(DType::I8, &run).unwrap(), |image| {
        (image.arena_bytes(), ())
    });
    let options = |bytes| Options {
        budget: Budget::bytes(bytes),
        ..run
    };
    assert!(network.compile(DType::I8, &options(needed)).is_ok());
    let budget = needed - 1;
    let refused = network.compile(DType::I8, &options(budget)).unwrap_err();
    assert_eq!(refused, Error::Budget { needed, budget });
    assert_eq!(
        refused.to_string(),
        format!("{needed} bytes of RAM are needed at least, the budget is {budget}")
    );
}
