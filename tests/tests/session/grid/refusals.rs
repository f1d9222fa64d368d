//! What a grid is refused for, with its place.

use super::cases::CASES;
use super::{TRAINED, cell};
use proptest::prelude::*;
use selvedge_core::DType;
use selvedge_core::network::Network;

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
