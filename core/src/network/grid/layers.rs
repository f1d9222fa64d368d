//! Layers of a file, each by its type.

use super::Reader;
use super::chain::Chain;
use super::keys::{Keys, within};
use crate::graph::Error;
use crate::network::{
    Activation, Attention, Branch, Combine, Conv, Dense, Embedding, Gives, KMeans, LayerNorm, Lstm,
    Metric, Padding, Parallel, RmsNorm, Rnn, Rotary, Sight, Steps, Stitch, Tokens, Type,
};
use alloc::vec::Vec;
use serde_json::Value;

/// The types there are.
const TYPES: &str = "dense, stitch, conv1d, conv2d, rnn, lstm, multi_head_attention, mha, swiglu, layer_norm, layernorm, \
                     rms_norm, rmsnorm, softmax, embedding, residual, parallel, sequential or kmeans";
/// Slope of a leaky ReLU in thousandths.
const LEAKY: u16 = 100;

/// Names of what comes into a dense layer.
const INPUTS: [&str; 3] = ["input_size", "width", "input_height"];
/// Names of the positions of a signal.
const LENGTHS: [&str; 2] = ["input_length", "input_height"];

/// The extents that the first of these layers says its input has, if it does; of a signal or an image the channels come
/// last.
pub(super) fn input(layers: &[Value], path: &str) -> Result<Option<Vec<usize>>, Error> {
    let Some(first) = layers.first() else {
        return Ok(None);
    };
    let extents = input_of(first, &within(path, 0))?;
    // Tokens are as many as a layer behind them has positions.
    if extents.is_none() && first.get("type").is_some_and(|kind| kind == "embedding") {
        for (i, layer) in layers.iter().enumerate() {
            if let Some(positions) = Keys::of(layer, &within(path, i))?.size("seq_length")? {
                return Ok(Some([positions].into()));
            }
        }
    }
    Ok(extents)
}

/// The extents that a layer says its input has.
fn input_of(layer: &Value, path: &str) -> Result<Option<Vec<usize>>, Error> {
    let mut keys = Keys::of(layer, path)?;
    let kind = keys.text("type")?;
    let kind = keys.need("type", kind)?;
    let mut size = |key| keys.size(key);
    let extents = match kind {
        "dense" | "stitch" => keys.size_of(INPUTS)?.map(|inputs| [inputs].into()),
        "conv2d" => {
            let channels = size("input_channels")?.or(Some(1));
            all([size("input_height")?, size("input_width")?, channels])
        }
        "conv1d" => {
            let channels = size("input_channels")?.or(Some(1));
            all([keys.size_of(LENGTHS)?, channels])
        }
        "rnn" | "lstm" => all([size("seq_length")?, size("input_size")?]),
        "multi_head_attention" | "mha" => all([size("seq_length")?, size("d_model")?]),
        "swiglu" => all([size("input_height")?]),
        "layer_norm" | "layernorm" | "rms_norm" | "rmsnorm" => all([size("norm_size")?]),
        "softmax" => {
            let rows = size("softmax_rows")?.unwrap_or(1);
            let columns = size("softmax_cols")?;
            all([columns.and_then(|columns| columns.checked_mul(rows))])
        }
        "embedding" => all([size("seq_length")?]),
        "kmeans" => match keys.value("attached_layer") {
            Some(layer) => input_of(layer, &keys.path("attached_layer"))?,
            None => all([keys.size("cluster_dim")?]),
        },
        "sequential" => {
            let layers = keys.list("branches")?.unwrap_or_default();
            input(layers, &keys.path("branches"))?
        }
        "parallel" => {
            let branches = keys.list("branches")?.unwrap_or_default();
            let path = keys.path("branches");
            for (i, branch) in branches.iter().enumerate() {
                let extents = input_of(branch, &within(&path, i))?;
                if extents.is_some() {
                    return Ok(extents);
                }
            }
            None
        }
        "residual" => return Err(nothing_before(&keys)),
        _ => return Err(unknown(&keys, kind)),
    };
    Ok(extents)
}

fn all<const N: usize>(extents: [Option<usize>; N]) -> Option<Vec<usize>> {
    extents.into_iter().collect()
}

fn nothing_before(keys: &Keys<'_>) -> Error {
    keys.error("type", "a layer before a residual", "none")
}

fn unknown(keys: &Keys<'_>, kind: &str) -> Error {
    keys.error("type", TYPES, alloc::format!("`{kind}`"))
}

/// Whether the first of these layers is a convolution, which reads signals and images.
pub(super) fn is_signal(layers: &[Value]) -> bool {
    let kind = layers.first().and_then(|first| first.get("type"));
    let kind = kind.and_then(Value::as_str);
    kind.is_some_and(|kind| kind.starts_with("conv"))
}

impl Reader {
    /// Reads a layer of the type `kind`.
    pub(super) fn kind(
        &mut self,
        kind: &str,
        keys: &mut Keys<'_>,
        chain: &mut Chain,
    ) -> Result<(), Error> {
        match kind {
            "dense" => self.dense(keys, chain),
            "stitch" => stitch(keys, chain),
            "conv2d" => self.conv2d(keys, chain),
            "conv1d" => self.conv1d(keys, chain),
            "rnn" | "lstm" => recurrent(kind, keys, chain),
            "multi_head_attention" | "mha" => attention(keys, chain),
            "swiglu" => swiglu(keys, chain),
            "layer_norm" | "layernorm" => norm(LayerNorm {}.into(), 1e-5, keys, chain),
            "rms_norm" | "rmsnorm" => norm(RmsNorm {}.into(), 1e-6, keys, chain),
            "softmax" => super::softmax::read(keys, chain),
            "embedding" => self.embedding(keys, chain),
            "kmeans" => self.k_means(keys, chain),
            "parallel" => self.parallel(keys, chain),
            "sequential" => self.sequential(keys, chain),
            "residual" => Err(nothing_before(keys)),
            _ => Err(unknown(keys, kind)),
        }
    }

    fn activation(&self, keys: &mut Keys<'_>) -> Result<Activation, Error> {
        let name = keys.text("activation")?.filter(|name| !name.is_empty());
        Ok(match name {
            None if self.is_compat => Activation::ScaledRelu,
            None | Some("linear") => Activation::None,
            Some("relu") if !self.is_compat => Activation::Relu,
            Some("relu" | "scaled_relu") => Activation::ScaledRelu,
            Some("leaky_relu") => Activation::LeakyRelu(LEAKY),
            Some("sigmoid") => Activation::Sigmoid,
            Some("tanh") => Activation::Tanh,
            Some("softplus") => Activation::Softplus,
            Some("gelu") => Activation::Gelu,
            Some("silu") => Activation::Silu,
            Some("relu6") => Activation::Relu6,
            Some("hard_swish") => Activation::HardSwish,
            Some(name) => {
                let known = "linear, relu, scaled_relu, leaky_relu, sigmoid, tanh, softplus, gelu, silu, relu6 or \
                             hard_swish";
                return Err(keys.error("activation", known, alloc::format!("`{name}`")));
            }
        })
    }

    fn dense(&self, keys: &mut Keys<'_>, chain: &mut Chain) -> Result<(), Error> {
        let inputs = keys.size_of(INPUTS)?;
        let outputs = keys.size_of(["output_size", "height", "output_height"])?;
        let outputs = keys.need("output_size", outputs)?;
        let activation = self.activation(keys)?;
        chain.over(keys, "input_size", inputs, false)?;
        over_features(
            chain,
            "dense",
            Dense::new(outputs).activation(activation),
            outputs,
        );
        Ok(())
    }

    /// Filters, cells of each, a stride, padding and an activation.
    fn window(&self, keys: &mut Keys<'_>) -> Result<(Conv, [usize; 4]), Error> {
        let [filters, kernel] = [keys.size("filters")?, keys.size("kernel_size")?];
        let filters = keys.need("filters", filters)?;
        let kernel = keys.need("kernel_size", kernel)?;
        let stride = keys.size("stride")?.unwrap_or(1);
        let padding = keys.index("padding")?.unwrap_or(0);
        let conv = Conv::new(filters, kernel)
            .stride(stride)
            .padding(Padding::All(padding))
            .activation(self.activation(keys)?);
        Ok((conv, [filters, kernel, stride, padding]))
    }

    fn conv2d(&self, keys: &mut Keys<'_>, chain: &mut Chain) -> Result<(), Error> {
        let (conv, [filters, window @ ..]) = self.window(keys)?;
        let [channels, height, width] = [
            keys.size("input_channels")?,
            keys.size("input_height")?,
            keys.size("input_width")?,
        ];
        let [down, across] = [keys.size("output_height")?, keys.size("output_width")?];
        let cells = [("input_height", height), ("input_width", width)];
        let [height, width] = chain.image(keys, cells, channels)?;
        let [height, width] = [slid(keys, height, window)?, slid(keys, width, window)?];
        keys.check("output_height", height, down)?;
        keys.check("output_width", width, across)?;
        chain.push("conv", conv, [height, width, filters].into());
        chain.flow.is_image = true;
        Ok(())
    }

    fn conv1d(&self, keys: &mut Keys<'_>, chain: &mut Chain) -> Result<(), Error> {
        let (conv, [filters, window @ ..]) = self.window(keys)?;
        let channels = keys.size("input_channels")?;
        let length = keys.size_of(LENGTHS)?;
        let [length] = chain.image(keys, [("input_length", length)], channels)?;
        let length = slid(keys, length, window)?;
        chain.push("conv", conv, [length, filters].into());
        chain.flow.is_image = true;
        Ok(())
    }

    fn embedding(&mut self, keys: &mut Keys<'_>, chain: &mut Chain) -> Result<(), Error> {
        let [vocabulary, size] = [keys.size("vocab_size")?, keys.size("embedding_dim")?];
        let vocabulary = keys.need("vocab_size", vocabulary)?;
        let size = keys.need("embedding_dim", size)?;
        let said = keys.size("seq_length")?;
        let &[positions] = &*chain.flow.shape else {
            return Err(keys.error(
                "",
                "tokens in a row",
                crate::graph::shown(&chain.flow.shape),
            ));
        };
        if !chain.flow.is_input {
            return Err(keys.error("", "tokens, the input of the network", "outputs of a layer"));
        }
        keys.check("seq_length", positions, said)?;
        let tokens = match vocabulary {
            ..=0x100 => Tokens::U8,
            0x101..=0x1_0000 => Tokens::U16,
            _ => Tokens::U32,
        };
        let width = |tokens| match tokens {
            Tokens::U8 => 1,
            Tokens::U16 => 2,
            Tokens::U32 => 4,
        };
        let widest = [self.tokens, Some(tokens)].into_iter().flatten();
        self.tokens = widest.max_by_key(|&tokens| width(tokens));
        chain.push(
            "embedding",
            Embedding::new(vocabulary, size),
            [positions, size].into(),
        );
        Ok(())
    }

    fn k_means(&mut self, keys: &mut Keys<'_>, chain: &mut Chain) -> Result<(), Error> {
        let clusters = keys.size("num_clusters")?;
        let clusters = keys.need("num_clusters", clusters)?;
        if let Some(layer) = keys.value("attached_layer") {
            let path = keys.path("attached_layer");
            let (layer, after) = self.layer(layer, &path, "attached".into(), chain.flow.clone())?;
            chain.nest(layer, after);
        }
        let said = keys.size("cluster_dim")?;
        keys.check("cluster_dim", chain.flow.len(), said)?;
        let metric = match keys.text("distance_metric")? {
            None | Some("" | "euclidean") => Metric::Euclidean,
            Some("manhattan") => Metric::Manhattan,
            Some("cosine") => Metric::Cosine,
            Some(name) => {
                let known = "euclidean, manhattan or cosine";
                return Err(keys.error("distance_metric", known, alloc::format!("`{name}`")));
            }
        };
        let (gives, outputs) = match keys.text("kmeans_output_mode")? {
            None | Some("" | "probabilities") => (Gives::Shares, clusters),
            Some("features") => (Gives::Means, chain.flow.len()),
            Some(name) => {
                let known = "probabilities or features";
                return Err(keys.error("kmeans_output_mode", known, alloc::format!("`{name}`")));
            }
        };
        let temperature = keys.thousandths("kmeans_temperature")?.unwrap_or(1000);
        keys.real("kmeans_learning_rate")?;
        chain.flatten();
        let layer = KMeans::new(clusters)
            .metric(metric)
            .gives(gives)
            .temperature(temperature);
        chain.push("kmeans", layer, [outputs].into());
        Ok(())
    }

    fn sequential(&mut self, keys: &mut Keys<'_>, chain: &mut Chain) -> Result<(), Error> {
        let layers = keys.list("branches")?;
        let layers = keys.need("branches", layers.filter(|layers| !layers.is_empty()))?;
        let path = within(&keys.path(""), "branches");
        let name = |i| alloc::format!("{i}");
        let (layers, after) = self.list(layers, &path, name, chain.flow.clone())?;
        for layer in layers {
            chain.nest(layer, after.clone());
        }
        Ok(())
    }
}

/// A layer over the last axis, to so many features.
fn over_features(chain: &mut Chain, name: &str, layer: impl Into<Type>, features: usize) {
    let mut shape = chain.flow.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = features;
    }
    chain.push(name, layer, shape);
}

/// Windows of a kernel over so many cells.
fn slid(
    keys: &Keys<'_>,
    cells: usize,
    [kernel, stride, padding]: [usize; 3],
) -> Result<usize, Error> {
    let padded = cells.saturating_add(padding.saturating_mul(2));
    match padded.checked_sub(kernel) {
        Some(rest) => Ok(rest / stride.max(1) + 1),
        None => Err(keys.error(
            "kernel_size",
            alloc::format!("at most {padded} cells"),
            kernel,
        )),
    }
}

fn stitch(keys: &mut Keys<'_>, chain: &mut Chain) -> Result<(), Error> {
    let [inputs, outputs] = [keys.size("input_size")?, keys.size("output_size")?];
    let outputs = keys.need("output_size", outputs)?;
    chain.over(keys, "input_size", inputs, false)?;
    over_features(chain, "stitch", Stitch::new(outputs), outputs);
    Ok(())
}

fn recurrent(kind: &str, keys: &mut Keys<'_>, chain: &mut Chain) -> Result<(), Error> {
    let [inputs, units, positions] = [
        keys.size("input_size")?,
        keys.size("hidden_size")?,
        keys.size("seq_length")?,
    ];
    let units = keys.need("hidden_size", units)?;
    if let Some(name) = keys
        .text("activation")?
        .filter(|&name| name != "tanh" && !name.is_empty())
    {
        return Err(keys.error("activation", "`tanh`", alloc::format!("`{name}`")));
    }
    let of = [("seq_length", positions), ("input_size", inputs)];
    let [positions, _] = chain.sequence(keys, of)?;
    let layer: Type = match kind {
        "rnn" => Rnn::new(units).steps(Steps::All).into(),
        _ => Lstm::new(units).steps(Steps::All).into(),
    };
    chain.push(kind, layer, [positions, units].into());
    Ok(())
}

fn attention(keys: &mut Keys<'_>, chain: &mut Chain) -> Result<(), Error> {
    let [features, heads, kv_heads, size, positions] = [
        keys.size("d_model")?,
        keys.size("num_heads")?,
        keys.size("num_kv_heads")?,
        keys.size("head_dim")?,
        keys.size("seq_length")?,
    ];
    let heads = heads.unwrap_or(8);
    let base = keys.real("rope_freq_base")?.filter(|&base| base != 0.0);
    let base = base.unwrap_or(10_000.0);
    if !(1.0..=f64::from(u32::MAX)).contains(&base) || base != f64::from(base as u32) {
        return Err(keys.error("rope_freq_base", "a whole number", base));
    }
    let of = [("seq_length", positions), ("d_model", features)];
    let [positions, features] = chain.sequence(keys, of)?;
    let size = match size {
        Some(size) => size,
        None if features.is_multiple_of(heads) => features / heads,
        None => {
            let expected = alloc::format!("heads that divide {features} features");
            return Err(keys.error("num_heads", expected, heads));
        }
    };
    let rotary = Rotary {
        base: base as u32,
        ..Rotary::default()
    };
    let layer = Attention::new(heads, size)
        .sight(Sight::Causal)
        .rotary(rotary);
    let layer = kv_heads.map_or(layer.clone(), |kv_heads| layer.kv_heads(kv_heads));
    chain.push("attention", layer, [positions, features].into());
    Ok(())
}

fn swiglu(keys: &mut Keys<'_>, chain: &mut Chain) -> Result<(), Error> {
    let [features, hidden] = [keys.size("input_height")?, keys.size("output_height")?];
    let hidden = keys.need("output_height", hidden)?;
    let features = chain.over(keys, "input_height", features, false)?;
    let dense = |activation| Dense::new(hidden).activation(activation);
    let both = Parallel::new(Combine::Multiply)
        .branch(Branch::new("gate").layer("dense", dense(Activation::Silu)))
        .branch(Branch::new("up").layer("dense", dense(Activation::None)));
    over_features(chain, "both", both, hidden);
    over_features(chain, "down", Dense::new(features), features);
    Ok(())
}

/// A norm over rows, with the epsilon that floats are given.
fn norm(layer: Type, epsilon: f64, keys: &mut Keys<'_>, chain: &mut Chain) -> Result<(), Error> {
    let features = keys.size("norm_size")?;
    let found = keys.real("epsilon")?.filter(|&found| found != 0.0);
    if let Some(found) = found.filter(|found| (found - epsilon).abs() > epsilon / 1000.0) {
        return Err(keys.error("epsilon", epsilon, found));
    }
    chain.over(keys, "norm_size", features, true)?;
    let shape = chain.flow.shape.clone();
    chain.push("norm", layer, shape);
    Ok(())
}
