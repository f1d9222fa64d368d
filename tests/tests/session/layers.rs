//! Layers that no network of the zoo has, in each of their variants: the same bytes as their typed twins; and what their
//! descriptions refuse.

use super::zoo::check;
use super::{TRAINED, with_image};
use proptest::prelude::*;
use selvedge_core::Serial;
use selvedge_core::image::Role;
use selvedge_core::net;
use selvedge_core::net::layout::{Beyond, Edges, Entries, Range, Ranges};
use selvedge_core::net::resize::{AlignCorners, HalfPixel};
use selvedge_core::net::softmax::{Allowed, Clusters, Levels, Weights};
use selvedge_core::net::{
    Abs, Activate, AdaptiveSoftmax, Addition, ArgMax, ArgMin, Axes2, Axes3, Axis, DenseOver,
    Dropout, Entmax, Fork, Gather, GroupedSoftmax, GumbelSoftmax, LearnedMixture, MaskedSoftmax,
    MixtureSoftmax, Negate, Pad, Part, Permute, Plain, ReduceMax, ReduceMean, ReduceMin, ReduceSum,
    Reshape, ResizeBilinear, ResizeNearest, Sample, Skip, Slice, Softplus, Sparsemax, Square, Tanh,
    TopK, TopKSoftmax, TreeSoftmax,
};
use selvedge_core::network::{Error, Network, Options};
use selvedge_core::ops;
use selvedge_core::session::Session;
use selvedge_core::tensor::{D1, D2, D3};
use selvedge_kernels::DType;
use selvedge_tests::hostile::{image as attempt, mend, sections};

/// Tests a typed network of this module against its description.
macro_rules! twins {
    ($($name:ident: $typed:ident, $json:expr;)*) => {$(
        #[test]
        fn $name() {
            check::<$typed<i8, Plain>>(stringify!($name), $json);
            check::<$typed<u16, Plain>>(stringify!($name), $json);
            check::<$typed<i32, Plain>>(stringify!($name), $json);
            check::<$typed<f32, Plain>>(stringify!($name), $json);
        }
    )*};
}

net! {
    /// Functions of one element, and both ways to resize with other coordinates.
    struct Elements: [8, 8, 1] {
        entry: conv2d(4, kernel = 3, activation = tanh),
        opposite: layer(Negate<T, D3<6, 6, 4>> => [6, 6, 4]),
        size: layer(Abs<T, D3<6, 6, 4>> => [6, 6, 4]),
        squared: layer(Square<T, D3<6, 6, 4>> => [6, 6, 4]),
        half: layer(Dropout<T, D3<6, 6, 4>> => [6, 6, 4]),
        some: layer(Dropout<T, D3<6, 6, 4>, 333> => [6, 6, 4]),
        corners: layer(ResizeBilinear<T, D3<6, 6, 4>, D3<4, 9, 4>, AlignCorners> => [4, 9, 4]),
        near: layer(ResizeNearest<T, D3<4, 9, 4>, D3<5, 5, 4>, HalfPixel> => [5, 5, 4]),
        flat: flatten,
        head: dense(10),
    }
}

/// Zeros around the columns.
struct Framed;

impl Edges for Framed {
    const SIDES: &'static [[usize; 2]] = &[[0, 0], [1, 2], [0, 0]];
}

/// The outermost rows again, and a channel more.
struct Repeated;

impl Edges for Repeated {
    const SIDES: &'static [[usize; 2]] = &[[2, 1], [0, 0], [1, 0]];
    const BEYOND: Beyond = Beyond::Edge;
}

/// Rows in another order, one of them twice.
struct Rows;

impl Entries for Rows {
    const INDICES: &'static [u32] = &[4, 4, 0, 2];
}

/// All rows but the first and the last, every third column from the second on, all channels backwards.
struct Inner;

impl Ranges for Inner {
    const RANGES: &'static [Range] = &[
        Range {
            start: Some(1),
            stop: Some(-1),
            step: 1,
        },
        Range {
            start: Some(1),
            step: 3,
            ..Range::ALL
        },
        Range {
            step: -1,
            ..Range::ALL
        },
    ];
}

/// What the last layers of [`Places`] read.
type Read = D3<6, 3, 5>;

net! {
    /// Layers that move elements, with other attributes than those of the zoo.
    struct Places: [8, 8, 1] {
        entry: conv2d(4, kernel = 3, activation = tanh),
        framed: layer(Pad<T, D3<6, 6, 4>, D3<6, 9, 4>, Framed> => [6, 9, 4]),
        repeated: layer(Pad<T, D3<6, 9, 4>, D3<9, 9, 5>, Repeated> => [9, 9, 5]),
        turned: layer(Permute<T, D3<9, 9, 5>, D3<5, 9, 9>, Axes3<2, 0, 1>> => [5, 9, 9]),
        rows: layer(Gather<T, D3<5, 9, 9>, D3<4, 9, 9>, Rows> => [4, 9, 9]),
        back: layer(Permute<T, D3<4, 9, 9>, D3<9, 9, 4>, Axes3<1, 2, 0>> => [9, 9, 4]),
        inner: layer(Slice<T, D3<9, 9, 4>, D3<7, 3, 4>, Inner> => [7, 3, 4]),
        sampled: layer(Fork<
            (Negate<T, D3<7, 3, 4>>, Activate<T, D3<7, 3, 4>, Softplus>),
            (Part<T, D3<7, 3, 4>, D3<7, 3, 2>>, Abs<T, D3<7, 3, 2>>),
            Sample<D3<7, 3, 4>, true>,
        > => [7, 3, 4]),
        wider: conv2d(5, kernel = 1, activation = tanh),
        most: layer(TopK<T, D3<7, 3, 5>, D3<7, 3, 5>, Axis<1>> => [7, 3, 5]),
        six: layer(Part<T, D3<7, 3, 5>, Read, Axis<0>> => [6, 3, 5]),
        totals: layer(Fork<Skip<T, Read>, ReduceSum<T, Read, D3<1, 3, 1>, Axes2<0, 2>>, Addition> => [6, 3, 5]),
        means: layer(Fork<Skip<T, Read>, ReduceMean<T, Read, D2<3, 5>, Axis<0>>, Addition> => [6, 3, 5]),
        peaks: layer(Fork<Skip<T, Read>, ReduceMax<T, Read, D1<5>, Axes2<1, 0>>, Addition> => [6, 3, 5]),
        lows: layer(Fork<Skip<T, Read>, ReduceMin<T, Read, D1<1>, Axes3<0, 1, 2>>, Addition> => [6, 3, 5]),
        least: layer(Fork<Skip<T, Read>, ArgMin<T, Read, D2<3, 5>, Axis<0>>, Addition> => [6, 3, 5]),
        flat: flatten,
        where_: layer(Fork<Skip<T, D1<90>>, ArgMax<T, D1<90>, D1<1>, Axis<0>>, Addition> => [90]),
        head: dense(10),
    }
}

/// Two of four, and three of the four of the other row.
struct Both;

impl Allowed for Both {
    const ALLOWED: &'static [bool] = &[true, false, false, true, true, true, true, false];
}

/// Two groups of two pairs.
struct Pairs;

impl Levels for Pairs {
    const LEVELS: &'static [usize] = &[2, 2, 2];
}

/// Three nodes of two leaves.
struct Leaves;

impl Levels for Leaves {
    const LEVELS: &'static [usize] = &[3, 2];
}

/// A head alone.
struct Head;

impl Clusters for Head {
    const IDS: &'static [u32] = &[2, 0, 1];
    const SIZES: &'static [usize] = &[3];
}

/// The second component alone counts.
struct Second;

impl Weights for Second {
    const WEIGHTS: &'static [u8] = &[0, 127];
}

net! {
    /// The softmax family over rows, with other attributes than those of the zoo.
    struct Rowed: [8, 8] {
        mixed: layer(LearnedMixture<T, D2<8, 8>, D1<8>, D1<8>, R, 700> => [8]),
        first: dense(8, activation = tanh),
        pair: layer(Reshape<T, D1<8>, D2<2, 4>> => [2, 4]),
        masked: layer(MaskedSoftmax<T, D2<2, 4>, Both, 900> => [2, 4]),
        second: layer(DenseOver<T, D2<2, 4>, 8, Tanh, R> => [2, 8]),
        drawn: layer(GumbelSoftmax<T, D2<2, 8>, true, 600> => [2, 8]),
        third: layer(DenseOver<T, D2<2, 8>, 8, Tanh, R> => [2, 8]),
        groups: layer(GroupedSoftmax<T, D2<2, 8>, Pairs, 800> => [2, 8]),
        fourth: layer(DenseOver<T, D2<2, 8>, 9, Tanh, R> => [2, 9]),
        leaves: layer(TreeSoftmax<T, D2<2, 9>, D2<2, 6>, Leaves, 1300> => [2, 6]),
        fifth: layer(DenseOver<T, D2<2, 6>, 3, Tanh, R> => [2, 3]),
        items: layer(AdaptiveSoftmax<T, D2<2, 3>, D2<2, 3>, Head, 500> => [2, 3]),
        sixth: layer(DenseOver<T, D2<2, 3>, 5, Tanh, R> => [2, 5]),
        largest: layer(TopKSoftmax<T, D2<2, 5>, 2, 400> => [2, 5]),
        seventh: layer(DenseOver<T, D2<2, 5>, 8, Tanh, R> => [2, 8]),
        general: layer(Entmax<T, D2<2, 8>, 1250, 700> => [2, 8]),
        eighth: layer(DenseOver<T, D2<2, 8>, 8, Tanh, R> => [2, 8]),
        soft: layer(Entmax<T, D2<2, 8>, 1000> => [2, 8]),
        ninth: layer(DenseOver<T, D2<2, 8>, 8, Tanh, R> => [2, 8]),
        projected: layer(Sparsemax<T, D2<2, 8>, 3000> => [2, 8]),
        tenth: layer(DenseOver<T, D2<2, 8>, 8, Tanh, R> => [2, 8]),
        given: layer(MixtureSoftmax<T, D2<2, 8>, D1<8>, Second, 200> => [8]),
        head: dense(10),
    }
}

twins! {
    places: Places, r#"{
        "input": [8, 8, 1],
        "layers": [
            {"name": "entry", "type": "conv", "filters": 4, "kernel": 3, "activation": "tanh"},
            {"name": "framed", "type": "pad", "sides": [[0, 0], [1, 2], [0, 0]]},
            {"name": "repeated", "type": "pad", "sides": [[2, 1], [0, 0], [1, 0]], "beyond": "edge"},
            {"name": "turned", "type": "permute", "order": [2, 0, 1]},
            {"name": "rows", "type": "gather", "indices": [4, 4, 0, 2]},
            {"name": "back", "type": "permute", "order": [1, 2, 0]},
            {"name": "inner", "type": "slice", "ranges": [{"start": 1, "stop": -1}, {"start": 1, "step": 3}, {"step": -1}]},
            {"name": "sampled", "type": "parallel", "combine": "sample_bordered", "branches": [
                {"name": "image", "layers": [
                    {"name": "negate", "type": "negate"},
                    {"name": "softplus", "type": "activate", "function": "softplus"}
                ]},
                {"name": "positions", "layers": [
                    {"name": "two", "type": "part", "len": 2},
                    {"name": "abs", "type": "abs"}
                ]}
            ]},
            {"name": "wider", "type": "conv", "filters": 5, "kernel": 1, "activation": "tanh"},
            {"name": "most", "type": "top_k", "k": 3, "axis": 1},
            {"name": "six", "type": "part", "axis": 0, "len": 6},
            {"name": "totals", "type": "parallel", "combine": "add", "branches": [
                {"name": "a"}, {"name": "b", "layers": [{"name": "sum", "type": "reduce_sum", "axes": [0, 2], "keeps": true}]}
            ]},
            {"name": "means", "type": "parallel", "combine": "add", "branches": [
                {"name": "a"}, {"name": "b", "layers": [{"name": "mean", "type": "reduce_mean", "axes": [0]}]}
            ]},
            {"name": "peaks", "type": "parallel", "combine": "add", "branches": [
                {"name": "a"}, {"name": "b", "layers": [{"name": "max", "type": "reduce_max", "axes": [1, 0]}]}
            ]},
            {"name": "lows", "type": "parallel", "combine": "add", "branches": [
                {"name": "a"}, {"name": "b", "layers": [{"name": "min", "type": "reduce_min", "axes": [0, 1, 2]}]}
            ]},
            {"name": "least", "type": "parallel", "combine": "add", "branches": [
                {"name": "a"}, {"name": "b", "layers": [{"name": "place", "type": "arg_min", "axis": 0}]}
            ]},
            {"name": "flat", "type": "flatten"},
            {"name": "where", "type": "parallel", "combine": "add", "branches": [
                {"name": "a"}, {"name": "b", "layers": [{"name": "place", "type": "arg_max", "axis": 0}]}
            ]},
            {"name": "head", "type": "dense", "outputs": 10}
        ]
    }"#;
    rowed: Rowed, ROWED;
    elements: Elements, r#"{
        "input": [8, 8, 1],
        "layers": [
            {"name": "entry", "type": "conv", "filters": 4, "kernel": 3, "activation": "tanh"},
            {"name": "opposite", "type": "negate"},
            {"name": "size", "type": "abs"},
            {"name": "squared", "type": "square"},
            {"name": "half", "type": "dropout"},
            {"name": "some", "type": "dropout", "probability": 333},
            {"name": "corners", "type": "resize_bilinear", "output": [4, 9], "coordinates": "align_corners"},
            {"name": "near", "type": "resize_nearest", "output": [5, 5], "coordinates": "half_pixel"},
            {"name": "flat", "type": "flatten"},
            {"name": "head", "type": "dense", "outputs": 10}
        ]
    }"#;
}

/// The description of [`Rowed`].
const ROWED: &str = r#"{
    "input": [8, 8],
    "layers": [
        {"name": "mixed", "type": "learned_mixture", "temperature": 700},
        {"name": "first", "type": "dense", "outputs": 8, "activation": "tanh"},
        {"name": "pair", "type": "reshape", "shape": [2, 4]},
        {"name": "masked", "type": "masked_softmax", "temperature": 900,
            "allowed": [true, false, false, true, true, true, true, false]},
        {"name": "second", "type": "dense", "outputs": 8, "activation": "tanh"},
        {"name": "drawn", "type": "gumbel_softmax", "hard": true, "temperature": 600},
        {"name": "third", "type": "dense", "outputs": 8, "activation": "tanh"},
        {"name": "groups", "type": "grouped_softmax", "levels": [2, 2, 2], "temperature": 800},
        {"name": "fourth", "type": "dense", "outputs": 9, "activation": "tanh"},
        {"name": "leaves", "type": "tree_softmax", "levels": [3, 2], "temperature": 1300},
        {"name": "fifth", "type": "dense", "outputs": 3, "activation": "tanh"},
        {"name": "items", "type": "adaptive_softmax", "ids": [2, 0, 1], "sizes": [3], "temperature": 500},
        {"name": "sixth", "type": "dense", "outputs": 5, "activation": "tanh"},
        {"name": "largest", "type": "top_k_softmax", "k": 2, "temperature": 400},
        {"name": "seventh", "type": "dense", "outputs": 8, "activation": "tanh"},
        {"name": "general", "type": "entmax", "alpha": 1250, "temperature": 700},
        {"name": "eighth", "type": "dense", "outputs": 8, "activation": "tanh"},
        {"name": "soft", "type": "entmax", "alpha": 1000},
        {"name": "ninth", "type": "dense", "outputs": 8, "activation": "tanh"},
        {"name": "projected", "type": "sparsemax", "temperature": 3000},
        {"name": "tenth", "type": "dense", "outputs": 8, "activation": "tanh"},
        {"name": "given", "type": "mixture_softmax", "weights": [0, 127], "temperature": 200},
        {"name": "head", "type": "dense", "outputs": 10}
    ]
}"#;

/// What is wrong with a layer, `a`, behind an input of this shape.
fn refusal(input: &str, layer: &str) -> Error {
    let json = format!(r#"{{"input": {input}, "layers": [{{"name": "a", {layer}}}]}}"#);
    let network = Network::from_json(&json).unwrap_or_else(|error| panic!("{layer}: {error}"));
    match network.graph(DType::I8, &Options::default()) {
        Ok(_) => panic!("{layer} was taken"),
        Err(error) => error,
    }
}

#[test]
fn shapes_and_attributes_that_cannot_be_are_refused_by_path() {
    for (input, layer) in [
        ("[4]", r#""type": "dropout", "probability": 1000"#),
        ("[4]", r#""type": "resize_nearest", "output": [2, 2]"#),
        (
            "[4, 4, 1]",
            r#""type": "resize_bilinear", "output": [0, 2]"#,
        ),
        ("[4, 4]", r#""type": "reshape", "shape": [5, 3]"#),
        ("[4, 4]", r#""type": "reshape", "shape": []"#),
        ("[4, 4]", r#""type": "reduce_sum", "axes": []"#),
        ("[4, 4]", r#""type": "reduce_sum", "axes": [2]"#),
        ("[4, 4]", r#""type": "reduce_max", "axes": [0, 0]"#),
        (
            "[1, 1, 1, 1, 1, 4]",
            r#""type": "reduce_mean", "axes": [0]"#,
        ),
        ("[129]", r#""type": "arg_max", "axis": 0"#),
        ("[4]", r#""type": "arg_min", "axis": 1"#),
        ("[4, 4]", r#""type": "permute", "order": [0]"#),
        ("[4, 4]", r#""type": "permute", "order": [0, 2]"#),
        ("[4]", r#""type": "pad", "sides": []"#),
        (
            "[4]",
            r#""type": "pad", "sides": [[18446744073709551615, 1]]"#,
        ),
        (
            "[4]",
            r#""type": "pad", "sides": [[4, 0]], "beyond": "reflect""#,
        ),
        ("[4]", r#""type": "slice", "ranges": []"#),
        ("[4]", r#""type": "slice", "ranges": [{"step": 0}]"#),
        ("[4]", r#""type": "slice", "ranges": [{"start": 4}]"#),
        (
            "[4]",
            r#""type": "slice", "ranges": [{"stop": 2147483647}]"#,
        ),
        ("[4]", r#""type": "part", "from": 2, "len": 3"#),
        ("[4]", r#""type": "part", "len": 0"#),
        (
            "[4]",
            r#""type": "part", "len": 18446744073709551615, "from": 1"#,
        ),
        ("[4]", r#""type": "gather", "indices": [4]"#),
        ("[4]", r#""type": "gather", "indices": []"#),
        ("[4]", r#""type": "gather", "axis": 1, "indices": [0]"#),
        ("[4]", r#""type": "top_k", "k": 5"#),
        ("[4]", r#""type": "top_k", "k": 0"#),
        ("[4]", r#""type": "softmax", "temperature": 0"#),
        ("[32768]", r#""type": "softmax""#),
        ("[4]", r#""type": "grouped_softmax", "levels": [2, 3]"#),
        ("[4]", r#""type": "grouped_softmax", "levels": []"#),
        ("[4]", r#""type": "masked_softmax", "allowed": [true]"#),
        (
            "[2, 1]",
            r#""type": "masked_softmax", "allowed": [true, false]"#,
        ),
        ("[4]", r#""type": "entmax", "alpha": 2001"#),
        ("[4]", r#""type": "tree_softmax", "levels": [2, 2]"#),
        ("[4]", r#""type": "tree_softmax", "levels": []"#),
        (
            "[4]",
            r#""type": "adaptive_softmax", "ids": [0, 0, 1, 2], "sizes": [4]"#,
        ),
        (
            "[4]",
            r#""type": "adaptive_softmax", "ids": [0, 1, 2, 3], "sizes": [2, 2]"#,
        ),
        (
            "[4]",
            r#""type": "adaptive_softmax", "ids": [0, 1, 2, 3], "sizes": []"#,
        ),
        ("[4]", r#""type": "mixture_softmax", "weights": [1]"#),
        ("[2, 4]", r#""type": "mixture_softmax", "weights": [1]"#),
        ("[2, 4]", r#""type": "mixture_softmax", "weights": [0, 0]"#),
        (
            "[2, 4]",
            r#""type": "mixture_softmax", "weights": [1, 128]"#,
        ),
        ("[4]", r#""type": "learned_mixture""#),
        ("[5, 4]", r#""type": "learned_mixture""#),
        ("[4]", r#""type": "top_k_softmax", "k": 5"#),
        (
            "[4]",
            r#""type": "parallel", "combine": "sample", "branches": [{"name": "b"}, {"name": "c"}]"#,
        ),
        (
            "[4, 4, 2]",
            r#""type": "parallel", "combine": "sample", "branches": [{"name": "b"}]"#,
        ),
        (
            "[4, 4, 3]",
            r#""type": "parallel", "combine": "sample", "branches": [{"name": "b"}, {"name": "c"}]"#,
        ),
    ] {
        let error = refusal(input, layer).to_string();
        assert!(error.starts_with("a: "), "{layer}: {error}");
    }
}

#[test]
fn what_is_around_a_frozen_mixture_learns() {
    let text = ROWED.replacen(
        "\"learned_mixture\"",
        "\"learned_mixture\", \"frozen\": true",
        1,
    );
    let bytes = Network::from_json(&text)
        .unwrap()
        .compile(DType::I8, &TRAINED)
        .unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let before = session.fingerprint().unwrap();
        session.input_mut::<i8>(Role::Train, 0).unwrap().fill(17);
        let sgd = selvedge_digits::rate_at(0, 1);
        session.train_step(&Serial, 2, &sgd).unwrap();
        assert_ne!(session.fingerprint().unwrap(), before);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What an image says of these layers may be anything: it may fail, it may not panic.
    #[test]
    fn hostile_programs_do_not_panic(
        which in 0..4usize,
        is_float: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        let text = [
            include_str!("zoo/moves.json"),
            include_str!("zoo/parts.json"),
            include_str!("zoo/shares.json"),
            ROWED,
        ][which];
        let network = Network::from_json(text).unwrap();
        let dtype = if is_float { DType::F32 } else { DType::I8 };
        let mut bytes = network.compile(dtype, &TRAINED).unwrap();
        let programs: Vec<usize> = sections(&bytes).into_iter().skip(2).flatten().collect();
        for (at, value) in changes {
            bytes[*at.get(&programs)] = value;
        }
        mend(&mut bytes);
        let _ = attempt(&bytes);
    }
}
