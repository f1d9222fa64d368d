//! The golden files: training runs recorded by the reference program. What each key holds is told
//! in `tests/golden/README.md`.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One recorded training run.
#[derive(Clone, Debug, Deserialize)]
pub struct Run {
    /// What was trained, and how.
    pub config: Config,
    /// Exponent of the input tensor.
    pub input_exp: i32,
    /// Pixels of each sample.
    pub x: Vec<Vec<u8>>,
    /// Labels.
    pub y: Vec<u16>,
    /// Sum of the loss over the batch, in Q16, for each step; empty for squared error.
    pub loss_sum_q16: Vec<i64>,
    /// Every tensor of the first step.
    pub trace_step0: Vec<Value>,
    /// The state after some steps.
    pub snapshots: BTreeMap<u32, Value>,
    /// Output for the first eight samples after training.
    pub logits: Value,
}

/// What was trained, and how.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Name of the file.
    pub name: String,
    /// Element type; `i8p` and `u8p` are bare 8-bit weights.
    #[serde(rename = "type")]
    pub kind: String,
    /// Extents of a sample.
    pub shape: Vec<usize>,
    /// Classes.
    pub classes: usize,
    /// Number of samples.
    pub samples: usize,
    /// Samples of a step.
    pub batch: usize,
    /// Number of steps.
    pub steps: u32,
    /// `ce` or `mse`.
    pub loss: String,
    /// Momentum in 1/256.
    pub beta: u8,
    /// Nesterov's momentum.
    pub nesterov: bool,
    /// Weight decay: mantissa, shift.
    pub decay: Option<(u8, u8)>,
    /// Learning rate, mean over the batch included: mantissa, exponent.
    pub lr: (u8, i16),
    /// Seed of the network.
    pub seed: u32,
    /// The layers.
    pub net: Vec<Layer>,
}

/// A layer as the reference names it.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "layer", rename_all = "lowercase", deny_unknown_fields)]
#[allow(missing_docs)] // the reference's arguments: integer_training_layers.py
pub enum Layer {
    Dense {
        n_in: usize,
        n_out: usize,
        act: Option<Act>,
    },
    Conv2d {
        c_in: usize,
        c_out: usize,
        #[serde(default = "three")]
        k: Pair,
        #[serde(default)]
        pad: Sides,
        #[serde(default)]
        act: Option<Act>,
        #[serde(default = "one")]
        stride: Pair,
        #[serde(default = "one_group")]
        groups: usize,
        #[serde(default = "one")]
        dil: Pair,
    },
    MaxPool {
        #[serde(default = "two")]
        k: Pair,
        stride: Option<Pair>,
        #[serde(default)]
        pad: Sides,
    },
    Flatten {},
    Activation {
        act: Act,
    },
    LayerNorm {
        n: usize,
    },
    RmsNorm {
        n: usize,
    },
    AvgPool {
        k: Option<Pair>,
        stride: Option<Pair>,
        #[serde(default)]
        pad: Sides,
    },
    Rnn(Recurrent),
    Lstm(Recurrent),
    Gru(Recurrent),
    Attention {
        d: usize,
        heads: usize,
        #[serde(default)]
        causal: bool,
        kv_heads: Option<usize>,
        size: Option<usize>,
    },
    Parallel {
        branches: Vec<Vec<Layer>>,
        combine: Combine,
    },
}

/// A recurrent layer.
#[derive(Clone, Copy, Debug, Deserialize)]
#[allow(missing_docs)] // the reference's arguments
pub struct Recurrent {
    pub n_in: usize,
    pub n_hid: usize,
    #[serde(default)]
    pub out: Given,
}

/// Which outputs of a recurrent layer are given.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the reference's names
pub enum Given {
    #[default]
    Last,
    All,
}

/// How branches come together.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the reference's names
pub enum Combine {
    Add,
    Concat,
    Mul,
}

/// The activations that the kernels have.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the reference's names
pub enum Act {
    Relu,
    Lifted,
    /// With the slope 26/256.
    Leaky,
    Tanh,
    Sigmoid,
    Softplus,
    Gelu,
    Silu,
}

/// Rows and columns, or one number for both.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum Pair {
    Both(usize),
    Each([usize; 2]),
}

impl Pair {
    /// Rows, columns.
    #[must_use]
    pub fn get(self) -> [usize; 2] {
        match self {
            Self::Both(n) => [n; 2],
            Self::Each(each) => each,
        }
    }
}

/// Top, bottom, left, right, or one number for all.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum Sides {
    All(usize),
    Each([usize; 4]),
}

impl Default for Sides {
    fn default() -> Self {
        Self::All(0)
    }
}

impl Sides {
    /// `[[top, bottom], [left, right]]`.
    #[must_use]
    pub fn get(self) -> [[usize; 2]; 2] {
        let [top, bottom, left, right] = match self {
            Self::All(n) => [n; 4],
            Self::Each(each) => each,
        };
        [[top, bottom], [left, right]]
    }
}

fn one() -> Pair {
    Pair::Both(1)
}

fn two() -> Pair {
    Pair::Both(2)
}

fn three() -> Pair {
    Pair::Both(3)
}

fn one_group() -> usize {
    1
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// A file of `tests/golden/` as JSON.
#[must_use]
pub fn read(name: &str) -> Value {
    let path = folder().join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The recorded run `name`.
#[must_use]
pub fn run(name: &str) -> Run {
    serde_json::from_value(read(&format!("{name}.json"))).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The names of all recorded runs over the kernels, sorted.
#[must_use]
pub fn names() -> Vec<String> {
    let in_folder = |under: &'static str| {
        std::fs::read_dir(folder().join(under))
            .expect("tests/golden")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(move |file| Some(format!("{under}{}", file.strip_suffix(".json")?)))
    };
    let mut names: Vec<_> = ["", "depthwise/"]
        .into_iter()
        .flat_map(in_folder)
        .filter(|name| !["primitives", "digits"].contains(&name.as_str()))
        .collect();
    names.sort();
    names
}

/// Ends the test at the first place where `got` differs from `want`, naming it.
pub fn assert_same(place: &str, want: &Value, got: &Value) {
    match (want, got) {
        (Value::Array(want), Value::Array(got)) => {
            assert_eq!(want.len(), got.len(), "{place}: number of elements");
            for (i, (want, got)) in want.iter().zip(got).enumerate() {
                assert_same(&format!("{place}[{i}]"), want, got);
            }
        }
        (Value::Object(want), Value::Object(got)) => {
            let keys = |map: &serde_json::Map<String, Value>| {
                map.keys()
                    .cloned()
                    .collect::<std::collections::BTreeSet<_>>()
            };
            assert_eq!(keys(want), keys(got), "{place}: keys");
            for (key, want) in want {
                assert_same(&format!("{place}.{key}"), want, &got[key]);
            }
        }
        _ => assert_eq!(want, got, "{place}: recorded (left), computed (right)"),
    }
}
