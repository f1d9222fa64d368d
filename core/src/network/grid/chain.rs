//! What flows from layer to layer, and what brings it in the shape that the next one reads.

use super::keys::Keys;
use crate::graph::{Error, shown};
use crate::network::{Flatten, Layer, Permute, Reshape, Sequential, Type};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// The extents of a value. The file's layers read and give vectors; ours keep their axes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flow {
    pub(super) shape: Vec<usize>,
    /// Whether it is an image or a signal, whose vector has the channels first, where the shape has them last.
    pub(super) is_image: bool,
    /// Whether it is the input of the network.
    pub(super) is_input: bool,
}

impl Flow {
    /// Elements.
    pub(super) fn len(&self) -> usize {
        self.shape
            .iter()
            .fold(1, |len, &extent| len.saturating_mul(extent))
    }
}

/// What one layer of the file becomes.
pub(super) struct Chain {
    pub(super) layers: Vec<Layer>,
    pub(super) flow: Flow,
}

impl Chain {
    pub(super) fn new(flow: Flow) -> Self {
        Self {
            layers: Vec::new(),
            flow,
        }
    }

    /// One layer more, and what it gives.
    pub(super) fn push(&mut self, name: &str, layer: impl Into<Type>, shape: Vec<usize>) {
        self.add(Layer::new(name, layer), shape);
    }

    fn add(&mut self, mut layer: Layer, shape: Vec<usize>) {
        let is_taken = |name: &str| self.layers.iter().any(|layer| layer.name == name);
        let names = (2..).map(|i: u32| alloc::format!("{}_{i}", layer.name));
        let mut names = core::iter::once(layer.name.clone()).chain(names);
        layer.name = names.find(|name| !is_taken(name)).unwrap_or_default();
        self.layers.push(layer);
        self.flow = Flow {
            shape,
            is_image: false,
            is_input: false,
        };
    }

    /// A layer of the file as one of this chain.
    pub(super) fn nest(&mut self, layer: Layer, after: Flow) {
        self.add(layer, Vec::new());
        self.flow = after;
    }

    /// As one layer of this name.
    pub(super) fn into_layer(mut self, name: String) -> Layer {
        match (self.layers.pop(), self.layers.is_empty()) {
            (Some(layer), true) => Layer { name, ..layer },
            (last, _) => {
                self.layers.extend(last);
                let layers = self.layers;
                Layer::new(name, Sequential { layers })
            }
        }
    }

    /// A vector, in whatever order: for layers that learn a weight for each element.
    pub(super) fn flatten(&mut self) {
        if self.flow.shape.len() != 1 {
            let len = self.flow.len();
            self.push("flat", Flatten {}, vec![len]);
        }
    }

    /// A vector in the order of the file: that of an image has the channels first.
    pub(super) fn flatten_in_order(&mut self) {
        let shape = &self.flow.shape;
        if self.flow.is_image
            && let Some((&channels, cells)) = shape.split_last()
            && channels > 1
            && cells.iter().any(|&extent| extent > 1)
        {
            let last = cells.len();
            let order: Vec<usize> = core::iter::once(last).chain(0..last).collect();
            let turned = [&[channels], cells].concat();
            self.push("turn", Permute::new(order), turned);
        }
        self.flatten();
    }

    /// All that comes in, if it is `features`, else its rows of `features`. Says how many there are if nothing is said.
    pub(super) fn over(
        &mut self,
        keys: &Keys<'_>,
        key: &str,
        features: Option<usize>,
        is_ordered: bool,
    ) -> Result<usize, Error> {
        let len = self.flow.len();
        let features = features.unwrap_or(len);
        let is_row = !self.flow.is_image && self.flow.shape.last() == Some(&features);
        if is_row {
            return Ok(features);
        }
        if len != features {
            return Err(self.mismatch(keys, key, features));
        }
        if is_ordered {
            self.flatten_in_order();
        } else {
            self.flatten();
        }
        Ok(features)
    }

    /// Says that `found` is not what comes in.
    fn mismatch(&self, keys: &Keys<'_>, key: &str, found: impl core::fmt::Display) -> Error {
        let expected = alloc::format!("what comes in, {}", shown(&self.flow.shape));
        keys.error(key, expected, found)
    }

    /// Positions of features: `[positions, features]`, of which what comes in says what the file does not.
    pub(super) fn sequence(
        &mut self,
        keys: &Keys<'_>,
        [positions, features]: [(&str, Option<usize>); 2],
    ) -> Result<[usize; 2], Error> {
        let ((key, positions), (key_of_features, features)) = (positions, features);
        let len = self.flow.len();
        let part =
            |size: usize| (size > 0 && len.is_multiple_of(size)).then_some(len / size.max(1));
        let extents = match (positions, features, &*self.flow.shape) {
            (None, None, &[positions, features]) => Some([positions, features]),
            (None, None, _) => return Err(keys.error("", alloc::format!("`{key}`"), "none")),
            (Some(said), None, &[positions, features]) => {
                (said == positions).then_some([positions, features])
            }
            (None, Some(said), &[positions, features]) => {
                (said == features).then_some([positions, features])
            }
            (Some(positions), None, _) => part(positions).map(|features| [positions, features]),
            (None, Some(features), _) => part(features).map(|positions| [positions, features]),
            (Some(positions), Some(features), _) => {
                let is_all = positions.checked_mul(features) == Some(len);
                is_all.then_some([positions, features])
            }
        };
        let Some(extents) = extents else {
            let said =
                [positions, features].map(|size| size.map_or("..".into(), |size| size.to_string()));
            let key = if features.is_some() {
                key_of_features
            } else {
                key
            };
            return Err(self.mismatch(keys, key, alloc::format!("[{}]", said.join(", "))));
        };
        if self.flow.shape != extents {
            self.flatten_in_order();
            self.push("shape", Reshape::new(extents), extents.to_vec());
        }
        Ok(extents)
    }

    /// An image or a signal: `cells` and channels, of which what comes in says what the file does not.
    pub(super) fn image<const N: usize>(
        &mut self,
        keys: &Keys<'_>,
        cells: [(&str, Option<usize>); N],
        channels: Option<usize>,
    ) -> Result<[usize; N], Error> {
        let known = match &*self.flow.shape {
            [known @ .., _] => <[usize; N]>::try_from(known).ok(),
            [] => None,
        };
        let mut extents = [0; N];
        for (i, (extent, (key, said))) in extents.iter_mut().zip(cells).enumerate() {
            let known = known.and_then(|known| known.get(i).copied());
            *extent = keys.need(key, said.or(known))?;
        }
        let len = self.flow.len();
        let area = extents
            .iter()
            .fold(1, |area: usize, &extent| area.saturating_mul(extent));
        let channels = match (channels, known) {
            (Some(channels), _) => channels,
            (None, Some(known)) if known == extents => self.flow.shape.last().copied().unwrap_or(1),
            (None, _) => (len / area.max(1)).max(1),
        };
        let shape = [&extents[..], &[channels]].concat();
        if self.flow.shape == shape {
            return Ok(extents);
        }
        if area.checked_mul(channels) != Some(len) {
            return Err(self.mismatch(keys, "", shown(&shape)));
        }
        self.flatten_in_order();
        if channels == 1 {
            self.push("shape", Reshape::new(&*shape), shape);
        } else {
            let turned = [&[channels], &extents[..]].concat();
            self.push("shape", Reshape::new(&*turned), turned);
            let order: Vec<usize> = (1..=N).chain([0]).collect();
            self.push("turn", Permute::new(order), shape);
        }
        Ok(extents)
    }
}
