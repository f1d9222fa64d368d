//! Grids of cells: each type of layer beside the same network in our own form; what training and batches do to it; and
//! what is refused, with its place.

use super::with_image;
use proptest::prelude::*;
use selvedge_core::DType;
use selvedge_core::image::Role;
use selvedge_core::network::{
    Activation, Budget, Description, Layer, Loss, Network, Options, Tokens, Type,
};
use selvedge_core::session::Session;
use selvedge_core::{Element, Rate, Serial, Sgd, ops};

/// A cell with these layers.
fn cell(keys: &str, layers: &[&str]) -> String {
    let (count, layers) = (layers.len(), layers.join(", "));
    format!(
        r#"{{{keys} "grid_rows": 1, "grid_cols": 1, "layers_per_cell": {count}, "layers": [{layers}]}}"#
    )
}

fn read(layers: &[&str]) -> Network {
    let text = cell("", layers);
    Network::from_json(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn image(network: &Network, dtype: DType, options: &Options) -> Vec<u8> {
    let bytes = network.compile(dtype, options);
    bytes.unwrap_or_else(|error| panic!("{error}: {network:?}"))
}

const SAMPLES: usize = 2;
const TRAINED: Options = Options {
    samples: SAMPLES,
    train: true,
    loss: Loss::Squared,
    accumulate: false,
    momentum: false,
    seed: 3,
    step: false,
    exact: false,
    headless: false,
    sequence: false,
    budget: Budget::NONE,
};

/// A file's layers, and the same in our form: an input and layers.
struct Case {
    name: &'static str,
    file: &'static [&'static str],
    ours: &'static str,
}

const HEAD: &str = r#"{"type": "dense", "output_size": 3}"#;

const CASES: &[Case] = &[
    Case {
        name: "dense",
        file: &[
            r#"{"type": "dense", "width": 6, "height": 5, "activation": "tanh"}"#,
            r#"{"type": "dense", "input_height": 5, "output_height": 4, "activation": "leaky_relu"}"#,
            r#"{"type": "stitch", "input_size": 4, "output_size": 7}"#,
            r#"{"type": "dense", "input_size": 7, "output_size": 3, "activation": "linear"}"#,
        ],
        ours: r#"{"input": [6], "layers": [
            {"name": "a", "type": "dense", "outputs": 5, "activation": "tanh"},
            {"name": "b", "type": "dense", "outputs": 4, "activation": {"leaky_relu": 100}},
            {"name": "c", "type": "dense", "outputs": 7},
            {"name": "d", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "conv2d of an image that is not square",
        file: &[
            r#"{"type": "conv2d", "input_channels": 2, "input_height": 6, "input_width": 5, "filters": 3, "kernel_size": 3,
                "stride": 2, "padding": 1, "output_height": 3, "output_width": 3, "activation": "softplus"}"#,
            r#"{"type": "conv2d", "filters": 4, "kernel_size": 2, "activation": "sigmoid"}"#,
            r#"{"type": "dense", "input_size": 16, "output_size": 3}"#,
        ],
        ours: r#"{"input": [6, 5, 2], "layers": [
            {"name": "a", "type": "conv", "filters": 3, "kernel": 3, "stride": 2, "padding": 1, "activation": "softplus"},
            {"name": "b", "type": "conv", "filters": 4, "kernel": 2, "activation": "sigmoid"},
            {"name": "flat", "type": "flatten"},
            {"name": "c", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "conv2d of a vector, channels first",
        file: &[
            r#"{"type": "dense", "input_size": 4, "output_size": 18}"#,
            r#"{"type": "conv2d", "input_channels": 2, "input_height": 3, "input_width": 3, "filters": 2, "kernel_size": 2}"#,
            HEAD,
        ],
        ours: r#"{"input": [4], "layers": [
            {"name": "a", "type": "dense", "outputs": 18},
            {"name": "shape", "type": "reshape", "shape": [2, 3, 3]},
            {"name": "turn", "type": "permute", "order": [1, 2, 0]},
            {"name": "b", "type": "conv", "filters": 2, "kernel": 2},
            {"name": "flat", "type": "flatten"},
            {"name": "c", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "conv1d",
        file: &[
            r#"{"type": "conv1d", "input_length": 9, "filters": 4, "kernel_size": 3, "stride": 2, "padding": 1,
                "activation": "tanh"}"#,
            r#"{"type": "conv1d", "input_height": 5, "input_channels": 4, "filters": 2, "kernel_size": 3}"#,
            r#"{"type": "lstm", "input_size": 2, "hidden_size": 3, "seq_length": 3}"#,
            HEAD,
        ],
        ours: r#"{"input": [9, 1], "layers": [
            {"name": "a", "type": "conv", "filters": 4, "kernel": 3, "stride": 2, "padding": 1, "activation": "tanh"},
            {"name": "b", "type": "conv", "filters": 2, "kernel": 3},
            {"name": "c", "type": "lstm", "units": 3, "steps": "all"},
            {"name": "flat", "type": "flatten"},
            {"name": "d", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "recurrent layers over a vector, and a dense layer over steps",
        file: &[
            r#"{"type": "dense", "input_size": 6, "output_size": 8}"#,
            r#"{"type": "rnn", "input_size": 2, "hidden_size": 5, "seq_length": 4, "activation": "tanh"}"#,
            r#"{"type": "dense", "input_size": 5, "output_size": 4, "activation": "tanh"}"#,
            r#"{"type": "lstm", "hidden_size": 3}"#,
            r#"{"type": "dense", "input_size": 12, "output_size": 3}"#,
        ],
        ours: r#"{"input": [6], "layers": [
            {"name": "a", "type": "dense", "outputs": 8},
            {"name": "shape", "type": "reshape", "shape": [4, 2]},
            {"name": "b", "type": "rnn", "units": 5, "steps": "all"},
            {"name": "c", "type": "dense", "outputs": 4, "activation": "tanh"},
            {"name": "d", "type": "lstm", "units": 3, "steps": "all"},
            {"name": "flat", "type": "flatten"},
            {"name": "e", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "attention with shared keys",
        file: &[
            r#"{"type": "multi_head_attention", "d_model": 8, "num_heads": 4, "num_kv_heads": 2, "seq_length": 3,
                "rope_freq_base": 500.0}"#,
            r#"{"type": "mha", "d_model": 8, "num_heads": 2, "head_dim": 6}"#,
            r#"{"type": "mha", "d_model": 8, "num_heads": 1, "seq_length": 3}"#,
            HEAD,
        ],
        ours: r#"{"input": [3, 8], "layers": [
            {"name": "a", "type": "attention", "heads": 4, "kv_heads": 2, "size": 2, "sight": "causal",
             "rotary": {"base": 500}},
            {"name": "b", "type": "attention", "heads": 2, "size": 6, "sight": "causal", "rotary": {}},
            {"name": "c", "type": "attention", "heads": 1, "size": 8, "sight": "causal", "rotary": {}},
            {"name": "flat", "type": "flatten"},
            {"name": "d", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "swiglu and norms",
        file: &[
            r#"{"type": "swiglu", "input_height": 6, "output_height": 10}"#,
            r#"{"type": "layer_norm", "norm_size": 6, "epsilon": 1e-5}"#,
            r#"{"type": "rnn", "hidden_size": 4, "input_size": 3}"#,
            r#"{"type": "rmsnorm", "norm_size": 4, "epsilon": 0.000001}"#,
            r#"{"type": "swiglu", "input_height": 4, "output_height": 3}"#,
            r#"{"type": "layernorm", "norm_size": 8}"#,
            HEAD,
        ],
        ours: r#"{"input": [6], "layers": [
            {"name": "a", "type": "parallel", "combine": "multiply", "branches": [
                {"name": "gate", "layers": [{"name": "g", "type": "dense", "outputs": 10, "activation": "silu"}]},
                {"name": "up", "layers": [{"name": "u", "type": "dense", "outputs": 10}]}]},
            {"name": "down", "type": "dense", "outputs": 6},
            {"name": "b", "type": "layer_norm"},
            {"name": "shape", "type": "reshape", "shape": [2, 3]},
            {"name": "c", "type": "rnn", "units": 4, "steps": "all"},
            {"name": "d", "type": "rms_norm"},
            {"name": "e", "type": "parallel", "combine": "multiply", "branches": [
                {"name": "gate", "layers": [{"name": "g", "type": "dense", "outputs": 3, "activation": "silu"}]},
                {"name": "up", "layers": [{"name": "u", "type": "dense", "outputs": 3}]}]},
            {"name": "down_2", "type": "dense", "outputs": 4},
            {"name": "flat", "type": "flatten"},
            {"name": "f", "type": "layer_norm"},
            {"name": "g", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "softmax, standard, temperature, gumbel, sparse and entmax",
        file: &[
            r#"{"type": "dense", "input_size": 4, "output_size": 6}"#,
            r#"{"type": "softmax"}"#,
            HEAD,
            r#"{"type": "softmax", "softmax_variant": "temperature", "temperature": 0.5}"#,
            HEAD,
            r#"{"type": "softmax", "softmax_variant": "gumbel", "gumbel_noise": true, "temperature": 2}"#,
            HEAD,
            r#"{"type": "softmax", "softmax_variant": "gumbel", "gumbel_noise": false}"#,
            HEAD,
            r#"{"type": "softmax", "softmax_variant": "sparse"}"#,
            HEAD,
            r#"{"type": "softmax", "softmax_variant": "entmax", "entmax_alpha": 1.25}"#,
            HEAD,
        ],
        ours: r#"{"input": [4], "layers": [
            {"name": "a", "type": "dense", "outputs": 6},
            {"name": "b", "type": "softmax"},
            {"name": "c", "type": "dense", "outputs": 3},
            {"name": "d", "type": "softmax", "temperature": 500},
            {"name": "e", "type": "dense", "outputs": 3},
            {"name": "f", "type": "gumbel_softmax", "temperature": 2000},
            {"name": "g", "type": "dense", "outputs": 3},
            {"name": "h", "type": "softmax"},
            {"name": "i", "type": "dense", "outputs": 3},
            {"name": "j", "type": "sparsemax"},
            {"name": "k", "type": "dense", "outputs": 3},
            {"name": "l", "type": "entmax", "alpha": 1250},
            {"name": "m", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "softmax, grid of an image, masked",
        file: &[
            r#"{"type": "conv2d", "input_channels": 1, "input_height": 4, "input_width": 3, "filters": 2, "kernel_size": 2}"#,
            r#"{"type": "softmax", "softmax_variant": "grid", "softmax_rows": 2, "softmax_cols": 6}"#,
            r#"{"type": "dense", "input_size": 12, "output_size": 4}"#,
            r#"{"type": "softmax", "softmax_variant": "masked", "mask": [true, false, true, true]}"#,
            HEAD,
        ],
        ours: r#"{"input": [4, 3, 1], "layers": [
            {"name": "a", "type": "conv", "filters": 2, "kernel": 2},
            {"name": "turn", "type": "permute", "order": [2, 0, 1]},
            {"name": "flat", "type": "flatten"},
            {"name": "b", "type": "grouped_softmax", "levels": [2, 6]},
            {"name": "c", "type": "dense", "outputs": 4},
            {"name": "d", "type": "masked_softmax", "allowed": [true, false, true, true]},
            {"name": "e", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "softmax, hierarchical, adaptive, mixtures",
        file: &[
            r#"{"type": "dense", "input_size": 4, "output_size": 6}"#,
            r#"{"type": "softmax", "softmax_variant": "hierarchical", "hierarchy_levels": [3, 2]}"#,
            r#"{"type": "dense", "output_size": 9}"#,
            r#"{"type": "softmax", "softmax_variant": "hierarchical", "hierarchy_levels": [3, 2]}"#,
            r#"{"type": "dense", "output_size": 6}"#,
            r#"{"type": "softmax", "softmax_variant": "adaptive", "adaptive_clusters": [[1, 4], [0, 2, 3]]}"#,
            r#"{"type": "dense", "output_size": 8}"#,
            r#"{"type": "softmax", "softmax_variant": "mixture", "mixture_weights": [0.25, 0.75]}"#,
            r#"{"type": "dense", "output_size": 6}"#,
            r#"{"type": "softmax", "softmax_variant": "mixture", "softmax_rows": 2, "softmax_cols": 3}"#,
            HEAD,
        ],
        ours: r#"{"input": [4], "layers": [
            {"name": "a", "type": "dense", "outputs": 6},
            {"name": "b", "type": "grouped_softmax", "levels": [3, 2]},
            {"name": "c", "type": "dense", "outputs": 9},
            {"name": "d", "type": "tree_softmax", "levels": [3, 2]},
            {"name": "e", "type": "dense", "outputs": 6},
            {"name": "f", "type": "adaptive_softmax", "ids": [1, 4, 0, 2, 3], "sizes": [2, 3]},
            {"name": "g", "type": "dense", "outputs": 8},
            {"name": "s1", "type": "reshape", "shape": [2, 4]},
            {"name": "h", "type": "mixture_softmax", "weights": [42, 127]},
            {"name": "i", "type": "dense", "outputs": 6},
            {"name": "s2", "type": "reshape", "shape": [2, 3]},
            {"name": "j", "type": "learned_mixture"},
            {"name": "k", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "embedding",
        file: &[
            r#"{"type": "embedding", "vocab_size": 300, "embedding_dim": 4}"#,
            r#"{"type": "rnn", "input_size": 4, "hidden_size": 3, "seq_length": 5}"#,
            HEAD,
        ],
        ours: r#"{"input": [5], "tokens": "u16", "layers": [
            {"name": "a", "type": "embedding", "vocabulary": 300, "size": 4},
            {"name": "b", "type": "rnn", "units": 3, "steps": "all"},
            {"name": "flat", "type": "flatten"},
            {"name": "c", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "residual",
        file: &[
            r#"{"type": "dense", "input_size": 4, "output_size": 4, "activation": "tanh"}"#,
            r#"{"type": "residual"}"#,
            r#"{"type": "dense", "input_size": 4, "output_size": 6, "activation": "tanh"}"#,
            r#"{"type": "dense", "input_size": 6, "output_size": 4}"#,
            r#"{"type": "residual", "skip": 2}"#,
            r#"{"type": "rnn", "input_size": 2, "hidden_size": 2, "seq_length": 2}"#,
            r#"{"type": "residual"}"#,
            HEAD,
        ],
        ours: r#"{"input": [4], "layers": [
            {"name": "a", "type": "residual", "layers": [
                {"name": "a", "type": "dense", "outputs": 4, "activation": "tanh"}]},
            {"name": "b", "type": "residual", "layers": [
                {"name": "b", "type": "dense", "outputs": 6, "activation": "tanh"},
                {"name": "c", "type": "dense", "outputs": 4}]},
            {"name": "c", "type": "residual", "layers": [
                {"name": "shape", "type": "reshape", "shape": [2, 2]},
                {"name": "d", "type": "rnn", "units": 2, "steps": "all"},
                {"name": "flat", "type": "flatten"}]},
            {"name": "e", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "parallel: concat and add, of what lies in sequences",
        file: &[
            r#"{"type": "parallel", "branches": [
                {"type": "dense", "input_size": 6, "output_size": 4, "activation": "tanh"},
                {"type": "sequential", "branches": [
                    {"type": "rnn", "input_size": 3, "hidden_size": 2, "seq_length": 2},
                    {"type": "dense", "input_size": 4, "output_size": 5}]}]}"#,
            r#"{"type": "parallel", "combine_mode": "add", "pad": true, "branches": [
                {"type": "dense", "input_size": 9, "output_size": 4},
                {"type": "parallel", "combine_mode": "concat", "branches": [
                    {"type": "dense", "input_size": 9, "output_size": 1},
                    {"type": "dense", "input_size": 9, "output_size": 2}]}]}"#,
            r#"{"type": "parallel", "combine_mode": "avg", "branches": [
                {"type": "conv2d", "input_channels": 1, "input_height": 2, "input_width": 2, "filters": 2, "kernel_size": 1},
                {"type": "conv2d", "input_channels": 1, "input_height": 2, "input_width": 2, "filters": 2, "kernel_size": 1}]}"#,
            r#"{"type": "dense", "input_size": 8, "output_size": 3}"#,
        ],
        ours: r#"{"input": [6], "layers": [
            {"name": "a", "type": "parallel", "combine": "concat", "branches": [
                {"name": "0", "layers": [{"name": "a", "type": "dense", "outputs": 4, "activation": "tanh"}]},
                {"name": "1", "layers": [
                    {"name": "shape", "type": "reshape", "shape": [2, 3]},
                    {"name": "a", "type": "rnn", "units": 2, "steps": "all"},
                    {"name": "flat", "type": "flatten"},
                    {"name": "b", "type": "dense", "outputs": 5}]}]},
            {"name": "b", "type": "parallel", "combine": "add", "branches": [
                {"name": "0", "layers": [{"name": "a", "type": "dense", "outputs": 4}]},
                {"name": "1", "layers": [
                    {"name": "a", "type": "parallel", "combine": "concat", "branches": [
                        {"name": "0", "layers": [{"name": "a", "type": "dense", "outputs": 1}]},
                        {"name": "1", "layers": [{"name": "a", "type": "dense", "outputs": 2}]}]},
                    {"name": "pad", "type": "pad", "sides": [[0, 1]]}]}]},
            {"name": "c", "type": "parallel", "combine": "average", "branches": [
                {"name": "0", "layers": [
                    {"name": "shape", "type": "reshape", "shape": [2, 2, 1]},
                    {"name": "a", "type": "conv", "filters": 2, "kernel": 1}]},
                {"name": "1", "layers": [
                    {"name": "shape", "type": "reshape", "shape": [2, 2, 1]},
                    {"name": "a", "type": "conv", "filters": 2, "kernel": 1}]}]},
            {"name": "flat", "type": "flatten"},
            {"name": "d", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "parallel: grid_scatter",
        file: &[
            r#"{"type": "parallel", "combine_mode": "grid_scatter", "grid_output_rows": 2, "grid_output_cols": 2,
                "grid_output_layers": 1, "branches": [
                {"type": "dense", "input_size": 4, "output_size": 2},
                {"type": "dense", "input_size": 4, "output_size": 3},
                {"type": "dense", "input_size": 4, "output_size": 1}],
                "grid_positions": [
                {"branch_index": 1, "target_row": 0, "target_col": 1, "target_layer": 0},
                {"branch_index": 0, "target_row": 1, "target_col": 0, "target_layer": 0},
                {"branch_index": 2, "target_row": 0, "target_col": 0, "target_layer": 0}]}"#,
            HEAD,
        ],
        ours: r#"{"input": [4], "layers": [
            {"name": "a", "type": "parallel", "combine": {"scatter": [[1, 0, 0], [0, 1, 0], [0, 0, 0]]}, "branches": [
                {"name": "0", "layers": [{"name": "a", "type": "dense", "outputs": 2}]},
                {"name": "1", "layers": [{"name": "a", "type": "dense", "outputs": 3}]},
                {"name": "2", "layers": [{"name": "a", "type": "dense", "outputs": 1}]}]},
            {"name": "b", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "parallel: filter, with and without a gate",
        file: &[
            r#"{"type": "parallel", "combine_mode": "filter", "filter_softmax": "entmax", "filter_temperature": 0.5,
                "filter_gate": {"type": "dense", "input_size": 4, "output_size": 2, "activation": "scaled_relu"},
                "branches": [
                {"type": "dense", "input_size": 4, "output_size": 5},
                {"type": "sequential", "branches": [
                    {"type": "dense", "input_size": 4, "output_size": 8, "activation": "tanh"},
                    {"type": "stitch", "input_size": 8, "output_size": 5}]}]}"#,
            r#"{"type": "parallel", "combine_mode": "filter", "branches": [
                {"type": "dense", "input_size": 5, "output_size": 4},
                {"type": "dense", "input_size": 5, "output_size": 4}]}"#,
            HEAD,
        ],
        ours: r#"{"input": [4], "layers": [
            {"name": "a", "type": "mixture",
             "gate": [
                {"name": "gate", "type": "dense", "outputs": 2, "activation": "scaled_relu"},
                {"name": "softmax", "type": "entmax", "alpha": 1500, "temperature": 500}],
             "branches": [
                {"name": "0", "layers": [{"name": "a", "type": "dense", "outputs": 5}]},
                {"name": "1", "layers": [
                    {"name": "a", "type": "dense", "outputs": 8, "activation": "tanh"},
                    {"name": "b", "type": "stitch", "outputs": 5}]}]},
            {"name": "b", "type": "parallel", "combine": "average", "branches": [
                {"name": "0", "layers": [{"name": "a", "type": "dense", "outputs": 4}]},
                {"name": "1", "layers": [{"name": "a", "type": "dense", "outputs": 4}]}]},
            {"name": "c", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "kmeans",
        file: &[
            r#"{"type": "kmeans", "num_clusters": 4, "cluster_dim": 3, "distance_metric": "manhattan",
                "kmeans_temperature": 0.75, "kmeans_output_mode": "features", "kmeans_learning_rate": 0.01,
                "attached_layer": {"type": "dense", "input_size": 5, "output_size": 3, "activation": "tanh"}}"#,
            r#"{"type": "kmeans", "num_clusters": 2, "cluster_dim": 3}"#,
            HEAD,
        ],
        ours: r#"{"input": [5], "layers": [
            {"name": "a", "type": "dense", "outputs": 3, "activation": "tanh"},
            {"name": "b", "type": "k_means", "clusters": 4, "metric": "manhattan", "temperature": 750, "gives": "means"},
            {"name": "c", "type": "k_means", "clusters": 2},
            {"name": "d", "type": "dense", "outputs": 3}]}"#,
    },
    Case {
        name: "frozen and disabled",
        file: &[
            r#"{"type": "dense", "input_size": 4, "output_size": 5, "activation": "tanh", "frozen": true}"#,
            r#"{"type": "dense", "input_size": 5, "output_size": 5, "disabled": true}"#,
            r#"{"type": "residual", "disabled": true}"#,
            HEAD,
        ],
        ours: r#"{"input": [4], "layers": [
            {"name": "a", "type": "dense", "outputs": 5, "activation": "tanh", "frozen": true},
            {"name": "b", "type": "dense", "outputs": 5, "disabled": true},
            {"name": "c", "type": "dense", "outputs": 3}]}"#,
    },
];

#[test]
fn each_type_of_layer_is_one_of_ours() {
    for case in CASES {
        let (found, expected) = (read(case.file), Network::from_json(case.ours).unwrap());
        assert_eq!(found.input, expected.input, "{}", case.name);
        assert_eq!(found.tokens, expected.tokens, "{}", case.name);
        for dtype in [DType::I8, DType::F32] {
            for train in [false, true] {
                let options = Options { train, ..TRAINED };
                let images = [&found, &expected].map(|network| image(network, dtype, &options));
                assert!(images[0] == images[1], "{} in {dtype}", case.name);
            }
        }
        // As text of our own it is the same.
        let text = found.to_json().unwrap();
        assert_eq!(Network::from_json(&text).unwrap(), found, "{}", case.name);
    }
}

/// Fills the input: numbers that are all different, or tokens.
fn fill<T: Element>(session: &mut Session<'_>, role: Role, network: &Network, first: usize) {
    if network.tokens == Some(Tokens::U16) {
        let x = session.input_mut::<u16>(role, 0).unwrap();
        x.iter_mut()
            .zip(first..)
            .for_each(|(x, i)| *x = (37 * i % 300) as u16);
    } else {
        let x = session.input_mut::<T>(role, 0).unwrap();
        let each = x.len() / SAMPLES;
        let pixel = |i: usize| T::from_pixel((29 * (i + first * each) % 251) as u8);
        x.iter_mut().zip(0..).for_each(|(x, i)| *x = pixel(i));
    }
}

/// The outputs of so many samples.
fn outputs(network: &Network, session: &mut Session<'_>, first: usize, samples: usize) -> Vec<f32> {
    let width = if network.tokens.is_some() { 5 } else { 1 };
    fill::<f32>(session, Role::Infer, network, first * width);
    session.run(&Serial, samples).unwrap();
    session.output::<f32>(0).unwrap().data.to_vec()
}

/// Faults of the reference: batches that were one long sample, sequences that ran dense layers alone, layers that gave
/// zeros, and parameters that nothing trained.
#[test]
fn samples_do_not_see_each_other_and_everything_learns() {
    for case in CASES {
        let network = read(case.file);
        with_image(&image(&network, DType::F32, &TRAINED), |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
            let all: Vec<Vec<f32>> = (0..session.parameters())
                .map(|i| session.parameter(i).unwrap().data.to_vec())
                .collect();
            let both = outputs(&network, &mut session, 0, SAMPLES);
            let alone = [0, 1].map(|first| outputs(&network, &mut session, first, 1));
            assert_eq!(both, alone.concat(), "{}", case.name);
            assert!(
                both.iter().all(|y| y.is_finite()),
                "{}: {both:?}",
                case.name
            );
            assert_ne!(alone[0], alone[1], "{}: the input counts", case.name);

            let sgd = Sgd::new(Rate {
                mantissa: 1,
                exponent: -2,
            });
            for step in 0..20 {
                fill::<f32>(&mut session, Role::Train, &network, 3 * step);
                let targets = session.input_mut::<f32>(Role::Train, 1).unwrap();
                targets
                    .iter_mut()
                    .zip(0..)
                    .for_each(|(y, i)| *y = f32::from(i as u8 % 3) - 1.0);
                session.train_step(&Serial, SAMPLES, &sgd).unwrap();
            }
            let frozen = network
                .layers
                .iter()
                .take_while(|layer| layer.frozen)
                .count();
            for (i, before) in all.iter().enumerate() {
                let after = session.parameter::<f32>(i).unwrap().data;
                let is_frozen = i < 2 * frozen;
                assert_eq!(before == after, is_frozen, "{}: parameter {i}", case.name);
            }
        });
    }
}

#[test]
fn integers_learn_too() {
    for case in CASES {
        let network = read(case.file);
        with_image(&image(&network, DType::I8, &TRAINED), |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
            let sgd = Sgd::new(Rate {
                mantissa: 1,
                exponent: -4,
            });
            let mut run = |steps: usize| {
                let mut loss = 0;
                for _ in 0..steps {
                    fill::<i8>(&mut session, Role::Train, &network, 0);
                    let targets = session.input_mut::<i16>(Role::Train, 1).unwrap();
                    let pixels = [200, 20, 90, 10, 160, 240];
                    targets
                        .iter_mut()
                        .zip(pixels)
                        .for_each(|(y, pixel)| *y = i16::from_pixel(pixel));
                    session.train_step(&Serial, SAMPLES, &sgd).unwrap();
                    loss = session.output::<i64>(1).unwrap().data[0];
                }
                loss
            };
            let (first, last) = (run(1), run(200));
            assert!(last < first * 3 / 4, "{}: {first} to {last}", case.name);
        });
    }
}

/// `(row · columns + column) · layers + layer` is the place of a layer in the list.
#[test]
fn cells_are_in_order() {
    let widths = [3, 5, 4, 6, 2, 7, 3, 4, 6, 5, 4, 8, 3];
    let layers: Vec<String> = widths
        .windows(2)
        .zip(["relu", "sigmoid", "tanh", "softplus"].iter().cycle())
        .map(|(widths, activation)| {
            let [inputs, outputs] = widths else { unreachable!() };
            format!(r#"{{"type": "dense", "input_size": {inputs}, "output_size": {outputs}, "activation": "{activation}"}}"#)
        })
        .collect();
    let text = format!(
        r#"{{"id": "grid", "dtype": "int16", "batch_size": 5, "seed": 11, "grid_rows": 2, "grid_cols": 3, "layers_per_cell": 2,
             "layers": [{}]}}"#,
        layers.join(", ")
    );
    let description = Description::from_json(text.as_bytes()).unwrap();
    assert_eq!(description.dtype(), Some(DType::I16));
    assert_eq!(
        (description.options.samples, description.options.seed),
        (5, 11)
    );
    let network = &description.network;
    assert_eq!(*network, Network::from_json(&text).unwrap());
    assert_eq!(network.input, [3]);
    let name = |i: usize| format!("{}_{}_{}", i / 6, i / 2 % 3, i % 2);
    for (i, layer) in network.layers.iter().enumerate() {
        assert_eq!(layer.name, name(i));
        match &layer.layer {
            Type::Dense(dense) => assert_eq!(dense.outputs, widths[i + 1]),
            other => panic!("{other:?}"),
        }
    }
    // A layer by itself says what its part of the chain is: all of them in a row are the whole.
    let chain = network
        .layers
        .iter()
        .fold(Network::new([3]), |mut chain, layer| {
            chain.layers.push(Layer::new(
                format!("x{}", chain.layers.len()),
                layer.layer.clone(),
            ));
            chain
        });
    assert_eq!(
        image(&chain, DType::F32, &description.options),
        image(network, DType::F32, &description.options)
    );
}

#[test]
fn the_example_of_the_reference_builds() {
    let text = r#"{ "id":"demo", "dtype":"float32", "batch_size":1, "grid_rows":1, "grid_cols":1, "layers_per_cell":2,
      "layers":[ {"type":"dense","input_size":8,"output_size":16,"activation":"leaky_relu"},
                 {"type":"dense","input_size":16,"output_size":4,"activation":"sigmoid"} ] }"#;
    let description = Description::from_json(text.as_bytes()).unwrap();
    assert_eq!(description.dtype(), Some(DType::F32));
    with_image(
        &image(&description.network, DType::F32, &description.options),
        |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
            session.input_mut::<f32>(Role::Infer, 0).unwrap().fill(0.5);
            session.run(&Serial, 1).unwrap();
            let y = session.output::<f32>(0).unwrap().data;
            assert!(
                y.len() == 4 && y.iter().all(|y| (0.0..1.0).contains(y)),
                "{y:?}"
            );
        },
    );
}

fn activation_of(keys: &str, name: &str) -> Activation {
    let layer = format!(r#"{{"type": "dense", "input_size": 2, "output_size": 2{name}}}"#);
    let network = Network::from_json(&cell(keys, &[&layer])).unwrap();
    match &network.layers[0].layer {
        Type::Dense(dense) => dense.activation,
        other => panic!("{other:?}"),
    }
}

/// A linear layer stays one, and `relu` is what it says, unless the file asks for the reference's.
#[test]
fn activations_mean_what_they_say() {
    let named = |name: &str| activation_of("", &format!(r#", "activation": "{name}""#));
    let compat = |name: &str| {
        activation_of(
            r#""compat_loom": true,"#,
            &format!(r#", "activation": "{name}""#),
        )
    };
    assert_eq!([named("linear"), compat("linear")], [Activation::None; 2]);
    assert_eq!(
        [named("relu"), compat("relu")],
        [Activation::Relu, Activation::ScaledRelu]
    );
    assert_eq!(
        [named("scaled_relu"), compat("scaled_relu")],
        [Activation::ScaledRelu; 2]
    );
    assert_eq!([named("tanh"), compat("tanh")], [Activation::Tanh; 2]);
    assert_eq!(activation_of("", ""), Activation::None);
    assert_eq!(
        activation_of(r#""compat_loom": true,"#, ""),
        Activation::ScaledRelu
    );
}

#[test]
fn a_seed_makes_a_network_once_and_for_all() {
    let layers = [r#"{"type": "dense", "input_size": 4, "output_size": 4}"#];
    let image_of = |seed: &str| {
        let text = cell(&format!(r#""seed": {seed},"#), &layers);
        let description = Description::from_json(text.as_bytes()).unwrap();
        image(&description.network, DType::F32, &description.options)
    };
    assert_eq!(image_of("5"), image_of("5"));
    assert_ne!(image_of("5"), image_of("6"));
}

/// What a whole file is refused for.
fn refusal(text: &str) -> String {
    match Network::from_json(text) {
        Ok(network) => panic!("{text} was taken: {network:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_a_file_says_wrong_is_told_with_its_place() {
    let dense = r#"{"type": "dense", "input_size": 4, "output_size": 4}"#;
    for (layers, place, words) in [
        (
            &[r#"{"type": "dens", "input_size": 4}"#][..],
            "layers.0.type: ",
            "`dens`",
        ),
        (&[dense, r#"{"type": "dens"}"#], "layers.1.type: ", "`dens`"),
        (&[dense, r#"{"input_size": 4}"#], "layers.1: ", "`type`"),
        (&[dense, "7"], "layers.1: ", "an object, found 7"),
        (
            &[r#"{"type": "dense", "input_size": 4, "output_size": 4, "activation": "reluu"}"#],
            "layers.0.activation: ",
            "`reluu`",
        ),
        (
            &[r#"{"type": "dense", "input_size": 4, "output_size": 4, "heads": 2}"#],
            "layers.0: ",
            "found `heads`",
        ),
        (
            &[r#"{"type": "dense", "input_size": 4}"#],
            "layers.0: ",
            "`output_size`, found none",
        ),
        (
            &[r#"{"type": "dense", "input_size": 4, "width": 5, "output_size": 4}"#],
            "layers.0.width: ",
            "4, as `input_size`, found 5",
        ),
        (
            &[
                dense,
                r#"{"type": "dense", "input_size": 5, "output_size": 4}"#,
            ],
            "layers.1.input_size: ",
            "what comes in, [4], found 5",
        ),
        (
            &[r#"{"type": "dense", "input_size": -4, "output_size": 4}"#],
            "layers.0.input_size: ",
            "found -4",
        ),
        (
            &[
                dense,
                r#"{"type": "dense", "input_size": 4.5, "output_size": 4}"#,
            ],
            "layers.1.input_size: ",
            "found 4.5",
        ),
        (
            &[dense, r#"{"type": "dense", "output_size": "4"}"#],
            "layers.1.output_size: ",
            "found \"4\"",
        ),
        (
            &[
                r#"{"type": "conv2d", "input_height": 4, "input_width": 4, "filters": 2, "kernel_size": 5}"#,
            ],
            "layers.0.kernel_size: ",
            "at most 4 cells, found 5",
        ),
        (
            &[
                r#"{"type": "conv2d", "input_height": 4, "input_width": 4, "filters": 2, "kernel_size": 3, "output_width": 3}"#,
            ],
            "layers.0.output_width: ",
            "expected 2, found 3",
        ),
        (
            &[
                dense,
                r#"{"type": "conv2d", "filters": 2, "kernel_size": 1}"#,
            ],
            "layers.1: ",
            "`input_height`",
        ),
        (
            &[
                dense,
                r#"{"type": "conv1d", "input_length": 3, "input_channels": 2, "filters": 2, "kernel_size": 1}"#,
            ],
            "layers.1: ",
            "what comes in, [4], found [3, 2]",
        ),
        (
            &[
                dense,
                r#"{"type": "rnn", "input_size": 3, "hidden_size": 2, "seq_length": 2}"#,
            ],
            "layers.1.input_size: ",
            "found [2, 3]",
        ),
        (
            &[
                dense,
                r#"{"type": "rnn", "input_size": 2, "hidden_size": 2, "activation": "relu"}"#,
            ],
            "layers.1.activation: ",
            "`tanh`",
        ),
        (
            &[
                r#"{"type": "rnn", "input_size": 2, "hidden_size": 4, "seq_length": 3}"#,
                r#"{"type": "rnn", "input_size": 6, "hidden_size": 4}"#,
            ],
            "layers.1.input_size: ",
            "what comes in, [3, 4], found [.., 6]",
        ),
        (
            &[dense, r#"{"type": "lstm", "hidden_size": 2}"#],
            "layers.1: ",
            "`seq_length`",
        ),
        (
            &[r#"{"type": "mha", "d_model": 6, "num_heads": 4, "seq_length": 2}"#],
            "layers.0.num_heads: ",
            "divide 6",
        ),
        (
            &[r#"{"type": "mha", "d_model": 8, "seq_length": 2, "rope_freq_base": 0.5}"#],
            "layers.0.rope_freq_base: ",
            "0.5",
        ),
        (
            &[dense, r#"{"type": "swiglu", "input_height": 4}"#],
            "layers.1: ",
            "`output_height`",
        ),
        (
            &[
                dense,
                r#"{"type": "rms_norm", "norm_size": 4, "epsilon": 0.1}"#,
            ],
            "layers.1.epsilon: ",
            "expected 0.000001, found 0.1",
        ),
        (
            &[dense, r#"{"type": "layer_norm", "norm_size": 2}"#],
            "layers.1.norm_size: ",
            "found 2",
        ),
        (
            &[dense, r#"{"type": "softmax", "softmax_variant": "soft"}"#],
            "layers.1.softmax_variant: ",
            "`soft`",
        ),
        (
            &[
                dense,
                r#"{"type": "softmax", "softmax_variant": "grid", "softmax_rows": 3, "softmax_cols": 2}"#,
            ],
            "layers.1.softmax_rows: ",
            "rows of 4 logits, found 3 · 2",
        ),
        (
            &[dense, r#"{"type": "softmax", "softmax_variant": "grid"}"#],
            "layers.1: ",
            "`softmax_rows`",
        ),
        (
            &[dense, r#"{"type": "softmax", "temperature": -1}"#],
            "layers.1.temperature: ",
            "-1",
        ),
        (
            &[
                dense,
                r#"{"type": "softmax", "softmax_variant": "masked", "mask": [true]}"#,
            ],
            "layers.1.mask: ",
            "expected 4, found 1",
        ),
        (
            &[
                dense,
                r#"{"type": "softmax", "softmax_variant": "masked", "mask": [true, 1, true, true]}"#,
            ],
            "layers.1.mask.1: ",
            "found 1",
        ),
        (
            &[
                dense,
                r#"{"type": "softmax", "softmax_variant": "hierarchical", "hierarchy_levels": [3]}"#,
            ],
            "layers.1.hierarchy_levels: ",
            "3 leaves",
        ),
        (
            &[
                dense,
                r#"{"type": "softmax", "softmax_variant": "adaptive", "adaptive_clusters": [[0, 1], [2, 3]]}"#,
            ],
            "layers.1.adaptive_clusters: ",
            "4 items, 1 tails",
        ),
        (
            &[
                dense,
                r#"{"type": "softmax", "softmax_variant": "mixture", "mixture_weights": [1, 1, 1]}"#,
            ],
            "layers.1.mixture_weights: ",
            "found 3",
        ),
        (
            &[
                dense,
                r#"{"type": "softmax", "softmax_variant": "mixture", "mixture_weights": [1, -1]}"#,
            ],
            "layers.1.mixture_weights: ",
            "1, -1",
        ),
        (
            &[
                dense,
                r#"{"type": "embedding", "vocab_size": 8, "embedding_dim": 2}"#,
            ],
            "layers.1: ",
            "the input of the network",
        ),
        (
            &[r#"{"type": "embedding", "vocab_size": 8, "embedding_dim": 2}"#],
            "input: ",
            "first layer",
        ),
        (
            &[r#"{"type": "residual"}"#, dense],
            "layers.0.type: ",
            "before a residual",
        ),
        (&[r#"{"type": "softmax"}"#, dense], "input: ", "first layer"),
        (
            &[dense, dense, r#"{"type": "residual", "skip": 3}"#],
            "layers.2.skip: ",
            "found 3",
        ),
        (
            &[
                dense,
                r#"{"type": "dense", "output_size": 5}"#,
                r#"{"type": "residual"}"#,
            ],
            "layers.2: ",
            "[4] to add to what comes in, found [5]",
        ),
        (
            &[
                dense,
                dense,
                r#"{"type": "residual", "skip": 2}"#,
                r#"{"type": "residual", "skip": 2}"#,
            ],
            "layers.3.skip: ",
            "no other residual",
        ),
        (
            &[
                dense,
                r#"{"type": "sequential", "branches": [{"type": "dense", "output_size": 3}, {"type": "dense"}]}"#,
            ],
            "layers.1.branches.1: ",
            "`output_size`",
        ),
        (
            &[dense, r#"{"type": "sequential", "branches": []}"#],
            "layers.1: ",
            "`branches`",
        ),
        (
            &[dense, r#"{"type": "parallel"}"#],
            "layers.1: ",
            "`branches`",
        ),
        (
            &[
                dense,
                r#"{"type": "parallel", "combine_mode": "multiply", "branches": [{"type": "dense", "output_size": 3}]}"#,
            ],
            "layers.1.combine_mode: ",
            "`multiply`",
        ),
        (
            &[
                dense,
                r#"{"type": "parallel", "combine_mode": "add", "branches": [
                    {"type": "dense", "output_size": 3}, {"type": "dense", "output_size": 2}]}"#,
            ],
            "layers.1.branches.1: ",
            "3 outputs, as another branch has, or `pad`, found 2",
        ),
        (
            &[
                dense,
                r#"{"type": "parallel", "combine_mode": "grid_scatter", "branches": [{"type": "dense", "output_size": 3}]}"#,
            ],
            "layers.1: ",
            "`grid_positions`",
        ),
        (
            &[
                dense,
                r#"{"type": "parallel", "combine_mode": "grid_scatter", "branches": [
                    {"type": "dense", "output_size": 3}, {"type": "dense", "output_size": 2}],
                    "grid_positions": [{"branch_index": 0, "target_row": 1}, {"branch_index": 1, "target_row": 1}]}"#,
            ],
            "layers.1.grid_positions: ",
            "a cell of its own for each branch",
        ),
        (
            &[
                dense,
                r#"{"type": "parallel", "combine_mode": "grid_scatter", "branches": [{"type": "dense", "output_size": 3}],
                    "grid_output_rows": 1, "grid_positions": [{"branch_index": 0, "target_row": 1}]}"#,
            ],
            "layers.1.grid_positions.0.target_row: ",
            "less than 1, found 1",
        ),
        (
            &[
                dense,
                r#"{"type": "parallel", "combine_mode": "filter", "branches": [{"type": "dense", "output_size": 3}],
                    "filter_gate": {"type": "dense", "output_size": 2}}"#,
            ],
            "layers.1.filter_gate: ",
            "expected 1, found 2",
        ),
        (
            &[
                dense,
                r#"{"type": "parallel", "combine_mode": "filter", "branches": [{"type": "dense", "output_size": 3}],
                    "filter_gate": {"type": "dense", "output_size": 1}, "filter_softmax": "grid"}"#,
            ],
            "layers.1.filter_softmax: ",
            "`grid`",
        ),
        (
            &[
                dense,
                r#"{"type": "kmeans", "num_clusters": 2, "cluster_dim": 3}"#,
            ],
            "layers.1.cluster_dim: ",
            "expected 4, found 3",
        ),
        (
            &[
                dense,
                r#"{"type": "kmeans", "num_clusters": 2, "attached_layer": {"type": "dense", "input_size": 3, "output_size": 1}}"#,
            ],
            "layers.1.attached_layer.input_size: ",
            "found 3",
        ),
        (
            &[
                dense,
                r#"{"type": "kmeans", "num_clusters": 2, "distance_metric": "chebyshev"}"#,
            ],
            "layers.1.distance_metric: ",
            "`chebyshev`",
        ),
    ] {
        let error = refusal(&cell("", layers));
        assert!(
            error.starts_with(place) && error.contains(words),
            "{layers:?}: {error}"
        );
    }
}

#[test]
fn a_grid_says_all_that_it_is() {
    let dense = r#"{"type": "dense", "input_size": 4, "output_size": 4}"#;
    for (keys, place, words) in [
        (r#""dtype": "int4","#, "dtype: ", "found int4"),
        (r#""batch_size": -1,"#, "batch_size: ", "found -1"),
        (r#""seed": 4294967296,"#, "seed: ", "32 bits"),
        (r#""input": [4, "4"],"#, "input.1: ", "\"4\""),
        (r#""grid_depth": 1,"#, "grid: ", "`grid_depth`"),
    ] {
        let error = refusal(&cell(keys, &[dense]));
        assert!(
            error.starts_with(place) && error.contains(words),
            "{keys}: {error}"
        );
    }
    for (text, place, words) in [
        (
            format!(r#"{{"grid_rows": 1, "grid_cols": 1, "layers": [{dense}]}}"#),
            "",
            "`layers_per_cell`",
        ),
        (
            format!(
                r#"{{"grid_rows": 2, "grid_cols": 1, "layers_per_cell": 1, "layers": [{dense}]}}"#
            ),
            "layers: ",
            "2 · 1 · 1 layers, found 1",
        ),
        (
            format!(
                r#"{{"grid_rows": 18446744073709551615, "grid_cols": 2, "layers_per_cell": 1, "layers": [{dense}]}}"#
            ),
            "layers: ",
            "found 1",
        ),
        (
            r#"{"grid_rows": 1, "grid_cols": 1, "layers_per_cell": 1}"#.to_owned(),
            "",
            "`layers`",
        ),
        (r#"{"grid_rows": 1, "#.to_owned(), "", "EOF"),
    ] {
        let error = refusal(&text);
        assert!(
            error.contains(place) && error.contains(words),
            "{text}: {error}"
        );
    }
    let shaped = cell(r#""input": [2, 4],"#, &[dense]);
    assert_eq!(
        Network::from_json(&shaped).unwrap().input,
        [2, 4],
        "rows of four features"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A file may say anything: it may be refused, it may not panic, and what is taken compiles or is refused by path.
    #[test]
    fn files_that_were_changed_do_not_panic(
        which in 0..CASES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec![
            "0", "1", "2", "7", "-1", "\"\"", "null", "[]", "{}", "true", "18446744073709551615", "0.001", "1e300",
        ])), 1..4)
    ) {
        let mut text = cell("", CASES[which].file);
        for (at, value) in changes {
            // Values stand behind colons.
            let places: Vec<usize> = text.match_indices(':').map(|(at, _)| at + 1).collect();
            let from = *at.get(&places);
            let rest = &text[from..];
            let len = rest.find([',', '}', ']', '[', '{']).unwrap_or(rest.len());
            text.replace_range(from..from + len, value);
        }
        if let Ok(network) = Network::from_json(&text) {
            let elements = network.input.iter().try_fold(1usize, |len, &extent| len.checked_mul(extent));
            if elements.is_some_and(|elements| elements < 1 << 12) {
                let _ = network.graph(DType::F32, &TRAINED);
            }
        }
    }
}
