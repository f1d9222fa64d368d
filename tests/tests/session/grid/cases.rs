//! Each type of layer of a grid beside the same network in our own form.

use super::{TRAINED, image, read};
use selvedge_core::DType;
use selvedge_core::network::{Network, Options};

/// A file's layers, and the same in our form: an input and layers.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) file: &'static [&'static str],
    pub(super) ours: &'static str,
}

const HEAD: &str = r#"{"type": "dense", "output_size": 3}"#;

pub(super) const CASES: &[Case] = &[
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
