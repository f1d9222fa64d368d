//! The softmax of a file, in its ten variants.

use super::chain::Chain;
use super::keys::Keys;
use crate::graph::Error;
use crate::network::{
    AdaptiveSoftmax, Entmax, GroupedSoftmax, GumbelSoftmax, LearnedMixture, MaskedSoftmax,
    MixtureSoftmax, Reshape, Softmax, Sparsemax, TreeSoftmax, Type,
};
use alloc::string::ToString;
use alloc::vec::Vec;
use serde_json::Value;

const VARIANTS: &str = "standard, grid, hierarchical, temperature, gumbel, masked, sparse, adaptive, mixture or entmax";
/// What the largest weight of a mixture becomes.
const LARGEST: f64 = 127.0;

/// A softmax layer.
pub(super) fn read(keys: &mut Keys<'_>, chain: &mut Chain) -> Result<(), Error> {
    let variant = keys
        .text("softmax_variant")?
        .filter(|name| !name.is_empty());
    let variant = variant.unwrap_or("standard");
    let [rows, columns] = [keys.size("softmax_rows")?, keys.size("softmax_cols")?];
    let temperature = keys.thousandths("temperature")?.unwrap_or(1000);
    let told = Told {
        noise: keys.flag("gumbel_noise")?.unwrap_or(true),
        mask: keys.list_of("mask", "`true` or `false`", Value::as_bool)?,
        levels: keys.sizes("hierarchy_levels")?,
        clusters: keys.list_of("adaptive_clusters", "a list of items", ids)?,
        weights: keys.list_of("mixture_weights", "a number", Value::as_f64)?,
        alpha: keys.thousandths("entmax_alpha")?.unwrap_or(1500),
    };
    chain.flatten_in_order();
    let logits = chain.flow.len();
    let extents = match (rows, columns) {
        (Some(rows), Some(columns)) => Some([rows, columns]),
        (Some(rows), None) if logits.is_multiple_of(rows) => Some([rows, logits / rows]),
        (None, Some(columns)) if logits.is_multiple_of(columns) => {
            Some([logits / columns, columns])
        }
        (None, None) => None,
        _ => return Err(keys.error("softmax_rows", alloc::format!("rows of {logits}"), "others")),
    };
    if let Some([rows, columns]) = extents
        && rows.checked_mul(columns) != Some(logits)
    {
        let found = alloc::format!("{rows} · {columns}");
        return Err(keys.error(
            "softmax_rows",
            alloc::format!("rows of {logits} logits"),
            found,
        ));
    }
    let (layer, outputs) = match variant {
        "grid" => {
            let levels = keys.need("softmax_rows", extents)?;
            (
                GroupedSoftmax::new(levels.to_vec())
                    .temperature(temperature)
                    .into(),
                logits,
            )
        }
        "mixture" => return mixture(keys, chain, extents, told.weights, temperature),
        "hierarchical" => told.hierarchical(keys, logits, temperature)?,
        "masked" => {
            let mask = keys.need("mask", told.mask)?;
            keys.check("mask", logits, Some(mask.len()))?;
            (
                MaskedSoftmax::new(mask).temperature(temperature).into(),
                logits,
            )
        }
        "adaptive" => told.adaptive(keys, logits, temperature)?,
        "gumbel" if told.noise => {
            let hard = false;
            (
                GumbelSoftmax::new(hard).temperature(temperature).into(),
                logits,
            )
        }
        "entmax" => {
            let layer = Entmax::new(told.alpha).temperature(temperature);
            (layer.into(), logits)
        }
        _ => (
            plain(keys, "softmax_variant", variant, temperature)?,
            logits,
        ),
    };
    chain.push("softmax", layer, [outputs].into());
    Ok(())
}

/// A variant that needs to be told nothing, as `key` names it.
pub(super) fn plain(
    keys: &Keys<'_>,
    key: &str,
    variant: &str,
    temperature: u32,
) -> Result<Type, Error> {
    Ok(match variant {
        "standard" | "temperature" => Softmax::new().temperature(temperature).into(),
        "gumbel" if key == "softmax_variant" => Softmax::new().temperature(temperature).into(),
        "gumbel" => GumbelSoftmax::new(false).temperature(temperature).into(),
        "sparse" => Sparsemax::new().temperature(temperature).into(),
        "entmax" => Entmax::new(1500).temperature(temperature).into(),
        _ => {
            let known = if key == "softmax_variant" {
                VARIANTS
            } else {
                "standard, temperature, gumbel, sparse or entmax"
            };
            return Err(keys.error(key, known, alloc::format!("`{variant}`")));
        }
    })
}

/// What variants are told.
struct Told {
    noise: bool,
    mask: Option<Vec<bool>>,
    levels: Option<Vec<usize>>,
    clusters: Option<Vec<Vec<u32>>>,
    weights: Option<Vec<f64>>,
    alpha: u32,
}

fn ids(value: &Value) -> Option<Vec<u32>> {
    let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
    value.as_array()?.iter().map(id).collect()
}

impl Told {
    /// A tree of a logit for each node, or groups.
    fn hierarchical(
        self,
        keys: &Keys<'_>,
        logits: usize,
        temperature: u32,
    ) -> Result<(Type, usize), Error> {
        let levels = keys.need("hierarchy_levels", self.levels)?;
        let (mut leaves, mut nodes) = (1usize, 0usize);
        for &children in &levels {
            leaves = leaves.saturating_mul(children);
            nodes = nodes.saturating_add(leaves);
        }
        if leaves == logits {
            Ok((
                GroupedSoftmax::new(levels).temperature(temperature).into(),
                logits,
            ))
        } else if nodes == logits {
            Ok((
                TreeSoftmax::new(levels).temperature(temperature).into(),
                leaves,
            ))
        } else {
            let expected = alloc::format!("levels of {logits} leaves, or nodes");
            let found = alloc::format!("{leaves} leaves, {nodes} nodes");
            Err(keys.error("hierarchy_levels", expected, found))
        }
    }

    fn adaptive(
        self,
        keys: &Keys<'_>,
        logits: usize,
        temperature: u32,
    ) -> Result<(Type, usize), Error> {
        let clusters = keys.need("adaptive_clusters", self.clusters)?;
        let sizes: Vec<usize> = clusters.iter().map(Vec::len).collect();
        let ids = clusters.concat();
        let items = ids.len();
        let expected = items + sizes.len().saturating_sub(1);
        if expected != logits {
            let expected = alloc::format!("{logits} logits, of items and of tails");
            let found = alloc::format!("{items} items, {} tails", sizes.len().saturating_sub(1));
            return Err(keys.error("adaptive_clusters", expected, found));
        }
        let layer = AdaptiveSoftmax::new(ids, sizes).temperature(temperature);
        Ok((layer.into(), items))
    }
}

/// Components side by side, and their weights, which are learned if none are given.
fn mixture(
    keys: &Keys<'_>,
    chain: &mut Chain,
    extents: Option<[usize; 2]>,
    weights: Option<Vec<f64>>,
    temperature: u32,
) -> Result<(), Error> {
    let logits = chain.flow.len();
    let components = match (&weights, extents) {
        (Some(weights), _) => weights.len(),
        (None, Some([components, _])) => components,
        (None, None) => return Err(keys.error("", "`mixture_weights` or `softmax_rows`", "none")),
    };
    let is_even = components > 0 && logits.is_multiple_of(components);
    if !is_even || extents.is_some_and(|[rows, _]| rows != components) {
        let expected = alloc::format!("a weight for each part of {logits} logits");
        return Err(keys.error("mixture_weights", expected, components));
    }
    let layer: Type = match weights {
        None => LearnedMixture::new().temperature(temperature).into(),
        Some(weights) => {
            let largest = weights.iter().fold(0.0, |a: f64, &b| a.max(b));
            if largest <= 0.0 || weights.iter().any(|&weight| weight < 0.0) {
                let found: Vec<_> = weights.iter().map(ToString::to_string).collect();
                let expected = "numbers from 0 on, not all 0";
                return Err(keys.error("mixture_weights", expected, found.join(", ")));
            }
            let ratio = |&weight: &f64| (weight / largest * LARGEST + 0.5) as u8;
            let weights: Vec<u8> = weights.iter().map(ratio).collect();
            MixtureSoftmax::new(weights).temperature(temperature).into()
        }
    };
    let classes = logits / components.max(1);
    let shape = [components, classes];
    chain.push("shape", Reshape::new(shape), shape.to_vec());
    chain.push("softmax", layer, [classes].into());
    Ok(())
}
