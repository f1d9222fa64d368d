//! Descriptions as grids of cells: rows × columns × layers of a cell, one after the other.
//!
//! ```json
//! {"id": "demo", "dtype": "float32", "batch_size": 1, "grid_rows": 1, "grid_cols": 1, "layers_per_cell": 2,
//!  "layers": [{"type": "dense", "input_size": 8, "output_size": 16, "activation": "leaky_relu"},
//!             {"type": "dense", "input_size": 16, "output_size": 4, "activation": "sigmoid"}]}
//! ```
//! `docs/grid.md` says what is read.

mod branches;
mod chain;
mod keys;
mod layers;
mod softmax;

use super::{Description, Layer, Network, Options, Residual, Sequential, Tokens};
use crate::graph::{Error, shown};
use alloc::string::String;
use alloc::vec::Vec;
use chain::{Chain, Flow};
use keys::{Keys, within};
use selvedge_kernels::DType;
use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny};
use serde_json::Value;

/// The keys that a grid is known by.
#[derive(Deserialize)]
struct Probe {
    grid_rows: Option<IgnoredAny>,
    grid_cols: Option<IgnoredAny>,
    layers_per_cell: Option<IgnoredAny>,
}

/// What `text` describes, if it is a grid of cells.
pub(super) fn read(text: &str) -> Option<Result<Description, serde_json::Error>> {
    let probe: Probe = match serde_json::from_str(text) {
        Ok(probe) => probe,
        Err(error) if error.is_data() => return None,
        Err(error) => return Some(Err(error)), // no JSON at all
    };
    (probe
        .grid_rows
        .or(probe.grid_cols)
        .or(probe.layers_per_cell))?;
    let read = |value| description(&value).map_err(serde_json::Error::custom);
    Some(serde_json::from_str(text).and_then(read))
}

/// The whole file.
fn description(value: &Value) -> Result<Description, Error> {
    let mut keys = Keys::of(value, "")?;
    keys.text("id")?;
    let samples = keys.size("batch_size")?.unwrap_or(1);
    let seed = match keys.index("seed")? {
        None => Options::default().seed,
        Some(seed) => u32::try_from(seed).map_err(|_| keys.error("seed", "32 bits", seed))?,
    };
    let dtype = match keys.text("dtype")? {
        None => DType::F32,
        Some(name) => dtype(name).ok_or_else(|| {
            let known = "float16, bfloat16, float32, float64, int8 to int64 or uint8 to uint64";
            keys.error("dtype", known, name)
        })?,
    };
    let mut grid = [0; 3];
    for (extent, key) in grid
        .iter_mut()
        .zip(["grid_rows", "grid_cols", "layers_per_cell"])
    {
        let found = keys.size(key)?;
        *extent = keys.need(key, found)?;
    }
    let layers = keys.list("layers")?;
    let layers = keys.need("layers", layers)?;
    let cells = grid
        .iter()
        .try_fold(1usize, |all, &extent| all.checked_mul(extent));
    if cells != Some(layers.len()) {
        let [rows, columns, each] = grid;
        let expected = alloc::format!("{rows} · {columns} · {each} layers");
        return Err(keys.error("layers", expected, layers.len()));
    }
    let shape = match keys.sizes("input")? {
        Some(shape) => shape,
        None => layers::input(layers, "layers")?.ok_or_else(|| {
            let expected = "the extents of a sample, which the first layer does not say";
            keys.error("input", expected, "none")
        })?,
    };
    let mut reader = Reader {
        is_compat: keys.flag("compat_loom")?.unwrap_or(false),
        tokens: None,
    };
    keys.finish()?;
    let [_, columns, each] = grid;
    let name = |i: usize| {
        let (cell, layer) = (i / each.max(1), i % each.max(1));
        alloc::format!(
            "{}_{}_{layer}",
            cell / columns.max(1),
            cell % columns.max(1)
        )
    };
    let flow = Flow {
        is_image: shape.len() > 2 || layers::is_signal(layers),
        shape: shape.clone(),
        is_input: true,
    };
    let (layers, _) = reader.list(layers, "layers", name, flow)?;
    let mut network = Network::new(shape);
    (network.tokens, network.layers) = (reader.tokens, layers);
    let options = Options {
        samples,
        seed,
        ..Options::default()
    };
    Ok(Description::new(network, dtype, options))
}

/// The type of this name.
fn dtype(name: &str) -> Option<DType> {
    Some(match name {
        "float16" => DType::F16,
        "bfloat16" => DType::Bf16,
        "float32" => DType::F32,
        "float64" => DType::F64,
        "int8" => DType::I8,
        "int16" => DType::I16,
        "int32" => DType::I32,
        "int64" => DType::I64,
        "uint8" => DType::U8,
        "uint16" => DType::U16,
        "uint32" => DType::U32,
        "uint64" => DType::U64,
        _ => return None,
    })
}

/// What all layers of a file are read with.
struct Reader {
    /// Whether `relu` is scaled.
    is_compat: bool,
    /// What an embedding says of the input.
    tokens: Option<Tokens>,
}

/// A layer of a list, or several that a residual has taken up.
struct Slot {
    /// Its number in the list, or that of the first.
    first: usize,
    layer: Layer,
    before: Flow,
    after: Flow,
}

impl Reader {
    /// Layers in order, and what they give.
    fn list(
        &mut self,
        values: &[Value],
        path: &str,
        name: impl Fn(usize) -> String,
        mut flow: Flow,
    ) -> Result<(Vec<Layer>, Flow), Error> {
        let mut slots: Vec<Slot> = Vec::new();
        for (i, value) in values.iter().enumerate() {
            let (path, name) = (within(path, i), name(i));
            let slot = if value.get("type").is_some_and(|kind| kind == "residual") {
                residual(value, &path, (i, name), &mut slots, flow)?
            } else {
                let (layer, after) = self.layer(value, &path, name, flow.clone())?;
                Slot {
                    first: i,
                    layer,
                    before: flow,
                    after,
                }
            };
            flow = slot.after.clone();
            slots.push(slot);
        }
        Ok((slots.into_iter().map(|slot| slot.layer).collect(), flow))
    }

    /// One layer, and what it gives.
    fn layer(
        &mut self,
        value: &Value,
        path: &str,
        name: String,
        flow: Flow,
    ) -> Result<(Layer, Flow), Error> {
        let mut keys = Keys::of(value, path)?;
        let kind = keys.text("type")?;
        let kind = keys.need("type", kind)?;
        let [frozen, disabled] = [keys.flag("frozen")?, keys.flag("disabled")?];
        let mut chain = Chain::new(flow.clone());
        self.kind(kind, &mut keys, &mut chain)?;
        keys.finish()?;
        let after = chain.flow.clone();
        let mut layer = chain.into_layer(name);
        layer.frozen |= frozen.unwrap_or(false);
        layer.disabled |= disabled.unwrap_or(false);
        let after = if layer.disabled { flow } else { after };
        Ok((layer, after))
    }
}

/// Layer `i`, which adds the input of those before it to what they give, and takes them up.
fn residual(
    value: &Value,
    path: &str,
    (i, name): (usize, String),
    slots: &mut Vec<Slot>,
    flow: Flow,
) -> Result<Slot, Error> {
    let mut keys = Keys::of(value, path)?;
    keys.text("type")?;
    keys.flag("frozen")?; // it has no parameters
    let disabled = keys.flag("disabled")?.unwrap_or(false);
    let skip = keys.size("skip")?.unwrap_or(1);
    keys.finish()?;
    if disabled {
        let mut layer = Layer::new(name, Sequential::default());
        layer.disabled = true;
        return Ok(Slot {
            first: i,
            layer,
            before: flow.clone(),
            after: flow,
        });
    }
    let first = i.checked_sub(skip);
    let at = slots.iter().position(|slot| Some(slot.first) == first);
    let Some(at) = at else {
        let expected = "layers before it that begin where no other residual lies around";
        return Err(keys.error("skip", expected, skip));
    };
    let taken: Vec<Slot> = slots.drain(at..).collect();
    let before = taken
        .first()
        .map_or_else(|| flow.clone(), |slot| slot.before.clone());
    if before.len() != flow.len() {
        let expected = alloc::format!("{} to add to what comes in", shown(&before.shape));
        return Err(keys.error("", expected, shown(&flow.shape)));
    }
    let first = taken.first().map_or(i, |slot| slot.first);
    let layers: Vec<Layer> = taken.into_iter().map(|slot| slot.layer).collect();
    let is_same = before.shape == flow.shape && before.is_image == flow.is_image;
    let mut chains = [flow.clone(), before.clone()].map(Chain::new);
    if !is_same {
        chains.iter_mut().for_each(Chain::flatten_in_order);
    }
    let [mut main, shortcut] = chains;
    main.layers.splice(..0, layers);
    let after = Flow {
        is_input: false,
        ..main.flow
    };
    let residual = Residual {
        layers: main.layers,
        shortcut: shortcut.layers,
    };
    Ok(Slot {
        first,
        layer: Layer::new(name, residual),
        before,
        after,
    })
}
