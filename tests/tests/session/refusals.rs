//! What is no image, what does not fit, what is not linked.

use super::{CNN, MLP, compile, with_image};
use proptest::prelude::*;
use selvedge_core::Serial;
use selvedge_core::image::{Error as ImageError, Role};
use selvedge_core::network::{
    Activate, Activation, Conv, Dense, Error as NetworkError, Flatten, Loss, MaxPool, Network,
    Options, Padding, Tokens, Type,
};
use selvedge_core::ops::{self, Kind};
use selvedge_core::session::{Error, Session};
use selvedge_kernels::DType;
use selvedge_tests::hostile::{image as attempt, mend, sections};

#[test]
fn a_truncated_image_is_refused_at_every_length() {
    let bytes = compile::<i8>(MLP);
    assert_eq!(attempt(&bytes), Ok(()));
    for len in 0..bytes.len() {
        assert!(attempt(&bytes[..len]).is_err(), "{len} bytes were taken");
    }
}

/// Bytes of the header.
const HEADER: usize = 32;

#[test]
fn a_bit_that_has_changed_is_found_wherever_it_is_read() {
    let bytes = compile::<i8>(MLP);
    let sections = sections(&bytes);
    assert_eq!(sections.len(), 4);
    let table = HEADER + 16 * sections.len();
    let read = (0..table).chain(sections.into_iter().flatten());
    for at in read {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let error = attempt(&damaged).unwrap_err();
        let expected = match at {
            0..4 => "no image",
            8..10 => "version",
            10..12 => "ends early", // more sections than there are bytes
            _ => "damaged",
        };
        let is_named = error.contains(expected) || error.contains("damaged");
        assert!(is_named, "byte {at}: {error}");
    }
}

#[test]
fn later_versions_are_named() {
    let mut bytes = compile::<i8>(MLP);
    bytes[8] = 9;
    mend(&mut bytes);
    let expected = ImageError::Version { got: 9, newest: 1 };
    assert_eq!(attempt(&bytes), Err(expected.to_string()));
}

#[test]
fn what_is_not_linked_is_named() {
    with_image(&compile::<i8>(CNN), |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let error = Session::new(image, &mut arena, &[ops::dense::run::<i8>()]).unwrap_err();
        let expected = Error::Operator {
            kind: Kind::Conv as u8,
            dtype: DType::I8,
        };
        assert_eq!(error, expected);
        assert!(error.to_string().contains("conv"), "{error}");
    });
}

#[test]
fn a_small_arena_and_wrong_calls_are_refused() {
    with_image(&compile::<i8>(MLP), |image| {
        let expected = image.arena_bytes();
        let mut arena = vec![0; expected];
        let got = expected - 1;
        let error = Session::new(image, &mut arena[..got], ops::ALL).unwrap_err();
        assert_eq!(error, Error::Arena { expected, got });

        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        assert_eq!(session.output::<i16>(0).unwrap_err(), Error::NotRun);
        let expected = DType::I8;
        let got = DType::U8;
        let error = session.input_mut::<u8>(Role::Infer, 0).unwrap_err();
        assert_eq!(error, Error::DType { expected, got });
        let error = session.input_mut::<i8>(Role::Infer, 1).unwrap_err();
        assert_eq!(error, Error::Index { index: 1 });
        for got in [0, 9] {
            let error = session.run(&Serial, got).unwrap_err();
            assert_eq!(error, Error::Batch { capacity: 8, got });
        }
        // A label beyond the classes is the kernel's to refuse.
        session.input_mut::<u16>(Role::Train, 1).unwrap()[0] = 10;
        let before = session.fingerprint().unwrap();
        let sgd = selvedge_digits::rate_at(0, 1);
        let error = session.train_step(&Serial, 1, &sgd).unwrap_err();
        assert!(error.to_string().contains("label"), "{error}");
        assert_eq!(session.fingerprint().unwrap(), before);
    });
}

#[test]
fn momentum_without_velocities_changes_nothing() {
    with_image(&compile::<i8>(MLP), |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let before = session.fingerprint().unwrap();
        let sgd = selvedge_core::Sgd {
            momentum: 200,
            ..selvedge_digits::rate_at(0, 1)
        };
        let error = session.train_step(&Serial, 1, &sgd).unwrap_err();
        assert_eq!(error, Error::Momentum);
        assert_eq!(
            (session.fingerprint().unwrap(), session.steps()),
            (before, 0)
        );
    });
}

#[test]
fn sums_that_no_accumulator_holds_are_refused_before_there_is_an_image() {
    let wide = Network::new([1 << 16])
        .layer("a", Dense::new(4))
        .layer("b", Dense::new(2));
    let error = wide.compile(DType::I64, &Options::default()).unwrap_err();
    assert!(error.to_string().starts_with("a: "), "{error}");
    // The gradient of `a` is summed over 2^18 rows.
    let long = Network::new([1 << 15, 1]).layer("a", Dense::new(1));
    let options = Options {
        train: true,
        samples: 8,
        ..Options::default()
    };
    assert!(long.compile(DType::I8, &Options::default()).is_ok());
    let error = long.compile(DType::I8, &options).unwrap_err();
    assert!(error.to_string().starts_with("a: "), "{error}");
}

#[test]
fn descriptions_that_are_too_large_or_empty_are_refused() {
    let max = usize::MAX;
    for network in [
        Network::new([max, max]).layer("a", Dense::new(1)),
        Network::new([4]).layer("a", Dense::new(max)),
        Network::new([0, 4]).layer("a", Dense::new(1)),
        Network::new([8, 8, 1]).layer("a", Conv::new(1, max)),
        Network::new([8, 8, 1]).layer("a", Conv::new(1, 3).stride(max)),
        Network::new([8, 8, 1]).layer("a", Conv::new(1, 0)),
        Network::new([8, 8, 1]).layer("a", Conv::new(1, 9)),
        Network::new([8, 8, 1]).layer("a", Conv::new(1, 3).padding(Padding::All(max))),
        Network::new([8, 8, 4]).layer("a", Conv::new(6, 3).groups(4)),
        Network::new([8, 8, 4]).layer("a", Conv::new(6, 3).groups(0)),
        Network::new([4])
            .layer("a", Dense::new(1))
            .layer("a", Dense::new(1)),
        Network::new([]).layer("a", Dense::new(1)),
    ] {
        let result = network.compile(DType::F32, &Options::default());
        assert!(result.is_err(), "{network:?}");
    }
    let none = Options {
        samples: 0,
        ..Options::default()
    };
    let network = Network::new([4]).layer("a", Dense::new(1));
    assert!(network.compile(DType::F32, &none).is_err());
    // Tokens are no numbers, even where their type is that of the network.
    for first in [
        Type::from(Dense::new(1)),
        Activate::new(Activation::Relu).into(),
    ] {
        let network = Network::of_tokens(4, Tokens::U8).layer("flat", Flatten {});
        let network = network.layer("a", first).layer("b", Dense::new(1));
        let error = network.compile(DType::U8, &Options::default()).unwrap_err();
        assert!(error.to_string().starts_with("a: "), "{error}");
    }
    for delta in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let huber = Options {
            loss: Loss::Huber(delta),
            ..Options::default()
        };
        let error = network.compile(DType::F32, &huber).unwrap_err();
        assert!(error.to_string().starts_with("loss: "), "{error}");
    }
}

#[test]
fn descriptions_that_cannot_be_are_refused_by_path() {
    let network = Network::new([8])
        .layer("halve", MaxPool::default())
        .layer("head", Dense::new(2));
    let error = network.compile(DType::I8, &Options::default()).unwrap_err();
    let expected = NetworkError::Shape {
        path: "halve".to_owned(),
        expected: "one to three axes and channels".to_owned(),
        found: "[8]".to_owned(),
    };
    assert_eq!(error, expected);
    for (json, word) in [
        (
            r#"{"input": [2], "layers": [{"name": "a", "type": "dens"}]}"#,
            "dens",
        ),
        (
            r#"{"input": [2], "layers": [{"name": "a", "type": "dense"}]}"#,
            "outputs",
        ),
        (
            r#"{"input": [2], "layers": [{"name": "a", "type": "dense", "outputs": 2, "unit": 3}]}"#,
            "unit",
        ),
        (r#"{"input": [2]}"#, "layers"),
    ] {
        let error = Network::from_json(json).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn layers_that_do_not_fit_are_refused_by_path() {
    // Input, layer, element type, and a word of what is expected.
    for (input, layer, dtype, word) in [
        ("[8]", r#""type": "lstm", "units": 4"#, DType::I8, "[L, F]"),
        ("[8, 8]", r#""type": "gru", "units": 0"#, DType::I8, "units"),
        (
            "[8, 8]",
            r#""type": "rnn", "units": 99999999"#,
            DType::I8,
            "units",
        ),
        (
            "[8, 60000]",
            r#""type": "lstm", "units": 30000"#,
            DType::I16,
            "too large",
        ),
        (
            "[8]",
            r#""type": "attention", "heads": 2, "size": 4"#,
            DType::I8,
            "[L, F]",
        ),
        (
            "[8, 8]",
            r#""type": "attention", "heads": 4, "kv_heads": 3, "size": 4"#,
            DType::I8,
            "kv_heads",
        ),
        (
            "[8, 8]",
            r#""type": "attention", "heads": 0, "size": 4"#,
            DType::I8,
            "heads",
        ),
        (
            "[8, 8]",
            r#""type": "attention", "heads": 1, "size": 512"#,
            DType::I8,
            "512",
        ),
        (
            "[8, 8]",
            r#""type": "attention", "heads": 2, "size": 3, "rotary": {}"#,
            DType::I8,
            "even",
        ),
        (
            "[8, 8]",
            r#""type": "attention", "heads": 2, "size": 4, "rotary": {"base": 1}"#,
            DType::I8,
            "base",
        ),
        (
            "[8, 8]",
            r#""type": "attention", "heads": 2, "size": 4, "sight": {"recent": 3}, "cache": 9"#,
            DType::I8,
            "10",
        ),
        (
            "[8, 8]",
            r#""type": "attention", "heads": 2, "size": 4, "cache": 9, "padded": true"#,
            DType::I8,
            "padding",
        ),
        (
            "[8, 8]",
            r#""type": "cross_attention", "queries": 8, "heads": 2, "size": 4"#,
            DType::I8,
            "queries",
        ),
        (
            "[8, 8]",
            r#""type": "cross_attention", "queries": 0, "heads": 2, "size": 4"#,
            DType::I8,
            "queries",
        ),
        (
            "[4, 4, 2]",
            r#""type": "deformable_attention", "heads": 1, "points": 2, "size": 4"#,
            DType::I8,
            "floats",
        ),
        (
            "[4, 4]",
            r#""type": "deformable_attention", "heads": 1, "points": 2, "size": 4"#,
            DType::F32,
            "[H, W, F]",
        ),
        (
            "[8, 8]",
            r#""type": "mixture", "gate": [], "branches": []"#,
            DType::I8,
            "branches",
        ),
        (
            "[8, 8]",
            r#""type": "mixture", "gate": [{"name": "g", "type": "dense", "outputs": 3}], "branches": [{"name": "b"}, {"name": "c"}]"#,
            DType::I8,
            "[.., 2]",
        ),
        (
            "[8, 8]",
            r#""type": "mixture", "gate": [{"name": "g", "type": "dense", "outputs": 2}],
                "branches": [{"name": "b"}, {"name": "c", "layers": [{"name": "d", "type": "dense", "outputs": 9}]}]"#,
            DType::I8,
            "each branch",
        ),
        (
            "[8]",
            r#""type": "mixture", "gate": [{"name": "g", "type": "rnn", "units": 2}], "branches": [{"name": "b"}, {"name": "c"}]"#,
            DType::I8,
            "[L, F]",
        ),
        (
            "[8]",
            r#""type": "balance", "thousandths": 4294967295"#,
            DType::I8,
            "balance",
        ),
        (
            "[8]",
            r#""type": "stream", "context": 2, "layers": []"#,
            DType::I8,
            "[L, F]",
        ),
        (
            "[8, 8]",
            r#""type": "stream", "context": 0, "layers": []"#,
            DType::I8,
            "context",
        ),
        (
            "[8]",
            r#""type": "tied", "vocabulary": 9, "size": 4, "layers": []"#,
            DType::I8,
            "tokens",
        ),
        (
            "[8]",
            r#""type": "k_means", "clusters": 0"#,
            DType::I8,
            "clusters",
        ),
        (
            "[8]",
            r#""type": "k_means", "clusters": 2, "temperature": 0"#,
            DType::I8,
            "positive",
        ),
        (
            "[8]",
            r#""type": "mixed_dense", "outputs": 2"#,
            DType::I8,
            "i16 or u16",
        ),
        (
            "[8, 8]",
            r#""type": "mixed_conv", "filters": 2, "kernel": 3"#,
            DType::F32,
            "i16 or u16",
        ),
        (
            "[8, 8]",
            r#""type": "mixed_conv", "filters": 2, "kernel": 9"#,
            DType::I16,
            "a",
        ),
    ] {
        let json = format!(
            r#"{{"input": {input}, "layers": [{{"name": "a", {layer}}}, {{"name": "head", "type": "dense", "outputs": 2}}]}}"#
        );
        let network = Network::from_json(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
        let options = Options {
            train: true,
            ..Options::default()
        };
        let error = network
            .compile(dtype, &options)
            .map(|_| json.clone())
            .unwrap_err();
        let error = error.to_string();
        assert!(error.contains(word), "{json}: {error}");
        assert!(
            error.starts_with('a') || error.contains("too large"),
            "{json}: {error}"
        );
    }
}

#[test]
fn tied_networks_end_where_they_begin() {
    let of = |layers: &str, after: &str| {
        let json = format!(
            r#"{{"input": [4], "tokens": "u8", "layers": [
                {{"name": "both", "type": "tied", "vocabulary": 9, "size": 4, "layers": [{layers}]}}{after}
            ]}}"#
        );
        let network = Network::from_json(&json).unwrap();
        network.compile(DType::I8, &Options::default())
    };
    assert!(of("", "").is_ok());
    let error = of(r#"{"name": "d", "type": "dense", "outputs": 5}"#, "").unwrap_err();
    assert!(error.to_string().starts_with("both: "), "{error}");
    let error = of("", r#", {"name": "d", "type": "dense", "outputs": 5}"#).unwrap_err();
    assert!(error.to_string().starts_with("both: "), "{error}");
}

proptest! {
    /// The same of images with layers that carry, attend and share out.
    #[test]
    fn hostile_images_of_other_layers_do_not_panic(
        which in 0..HOSTILE.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = compile::<i8>(HOSTILE[which]);
        let weights = sections(&bytes)[1].clone();
        let places: Vec<usize> = (8..bytes.len()).filter(|at| !weights.contains(at)).collect();
        for (at, value) in changes {
            bytes[*at.get(&places)] = value;
        }
        mend(&mut bytes);
        let _ = attempt(&bytes);
    }

    /// With its checksums made right again, a damaged image is run: it may fail, it may not panic. What is damaged is not
    /// the weights, any of which are weights.
    #[test]
    fn hostile_images_do_not_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = compile::<i8>(CNN);
        let weights = sections(&bytes)[1].clone();
        let places: Vec<usize> = (8..bytes.len()).filter(|at| !weights.contains(at)).collect();
        for (at, value) in changes {
            bytes[*at.get(&places)] = value;
        }
        mend(&mut bytes);
        let _ = attempt(&bytes);
    }
}

const HOSTILE: [&str; 8] = [
    super::twins::RECURRENT,
    super::twins::TURNED,
    super::twins::MIXTURES,
    super::twins::SHORT,
    include_str!("zoo/decoder.json"),
    include_str!("zoo/rows.json"),
    include_str!("zoo/speller.json"),
    include_str!("zoo/clusters.json"),
];
