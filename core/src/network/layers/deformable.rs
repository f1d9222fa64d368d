//! Deformable attention.

use super::Build;
use super::dense::{project, project_by};
use crate::graph::{Error, Graph, ValueId};
use crate::network::builder::Builder;
use crate::ops::deformable::{Map, describe};
use crate::ops::{learned, view};
use alloc::vec;
use selvedge_kernels::deformable::{Float, Level, initial_offsets};
use selvedge_kernels::init::Gain;
use selvedge_kernels::{self as kernels, DType, bf16, f16};
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// Deformable attention of a map to itself, from `[H, W, F]` to `[H, W, F]`: each of `heads` heads of `size` features reads
/// `points` positions around each cell, at distances and with weights that the cell's features tell. Floats only. It
/// contains four dense layers, with numbers behind its own: offsets, logits, values and output. Numerical behaviour:
/// [`selvedge_kernels::deformable`]. Source: Zhu et al. 2021, §4.1 and §A.3.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct DeformableAttention {
    /// Heads.
    pub heads: usize,
    /// Points that a head reads.
    pub points: usize,
    /// Features of a head.
    pub size: usize,
}

impl DeformableAttention {
    /// So many heads that read so many points, with so many features.
    #[must_use]
    pub const fn new(heads: usize, points: usize, size: usize) -> Self {
        Self {
            heads,
            points,
            size,
        }
    }
}

impl Build for DeformableAttention {
    fn numbers(&self) -> u32 {
        5
    }

    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let shape = to.shape_of(x);
        let &[height, width, features] = &*shape else {
            return Err(to.shape_error("[H, W, F]", &shape));
        };
        if to.dtype.is_integer() {
            return Err(to.attribute_error("a network of floats", to.dtype));
        }
        let Self {
            heads,
            points,
            size,
        } = *self;
        for (name, extent) in [
            ("heads", heads),
            ("points of a head", points),
            ("features of a head", size),
        ] {
            to.check_range(name, extent, 1 << 16)?;
        }
        to.check_value(&[height, width, heads, points, 2])?;
        to.check_value(&[height, width, heads, size])?;
        let x = view::describe::fork(to.graph, x, number);
        let (types, taps) = ([to.dtype; 2], heads * points);
        let (from, own) = ((types, 0), (types, Gain::LeCun));
        let offsets = to.named("offset", |to| {
            project_by(to, x, 2 * taps, from, |to, _, features| {
                self.begin(to, features, true).map_err(to.kernel())
            })
        })?;
        let logits = to.named("logit", |to| {
            project_by(to, x, taps, from, |to, _, features| {
                self.begin(to, features, false).map_err(to.kernel())
            })
        })?;
        let values = to.named("value", |to| project(to, x, heads * size, own, 0))?;
        let map = Map {
            batch: 1,
            level: Level { height, width },
            heads,
            points,
            size,
        };
        let y = describe::append(to.graph, [offsets, logits, values], map, number);
        to.named("output", |to| project(to, y, features, own, 0))
    }
}

impl DeformableAttention {
    /// Weight and bias of offsets, or of logits: the same everywhere at first.
    fn begin(
        &self,
        to: &mut Builder<'_>,
        features: usize,
        are_offsets: bool,
    ) -> kernels::Result<[ValueId; 2]> {
        let trains = to.trains;
        match to.dtype {
            DType::F16 => self.begin_of::<f16>(to.graph, trains, features, are_offsets),
            DType::Bf16 => self.begin_of::<bf16>(to.graph, trains, features, are_offsets),
            DType::F64 => self.begin_of::<f64>(to.graph, trains, features, are_offsets),
            _ => self.begin_of::<f32>(to.graph, trains, features, are_offsets),
        }
    }

    fn begin_of<T: Float>(
        &self,
        graph: &mut Graph,
        trains: bool,
        features: usize,
        are_offsets: bool,
    ) -> kernels::Result<[ValueId; 2]> {
        let Self { heads, points, .. } = *self;
        let outputs = heads * points * if are_offsets { 2 } else { 1 };
        let mut bias = vec![T::ZERO; outputs];
        if are_offsets {
            initial_offsets([heads, 1, points], &mut bias)?;
        }
        let weight = learned::describe::zeros::<T>(graph, trains, vec![outputs, features], 0);
        Ok([
            weight,
            learned::describe::given(graph, trains, vec![outputs], &bias, 0),
        ])
    }
}
