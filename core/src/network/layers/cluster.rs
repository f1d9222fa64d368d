//! Soft k-means.

use super::Build;
use crate::graph::{Error, ValueId};
use crate::network::builder::{Builder, by_dtype};
use crate::ops::cluster::{Told, describe};
use crate::ops::learned;
use alloc::vec;
use selvedge_kernels::cluster::{self, Mode, Shape, Temperature};
use selvedge_kernels::init::Gain;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// What a layer of clusters gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
pub enum Gives {
    /// The share of each cluster.
    #[default]
    Shares,
    /// The mean of the centres, by shares.
    Means,
}

/// How rows are compared with centres.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
pub enum Metric {
    /// `√Σ (u - c)²`.
    #[default]
    Euclidean,
    /// `Σ |u - c|`.
    Manhattan,
    /// `1 - ⟨u, c⟩ / |u||c|`.
    Cosine,
}

/// Soft k-means of each row, the last axis, from `[.., F]` to shares `[.., clusters]` or to means of centres `[.., F]`.
/// Centres start uniform, with variance 1. Numerical behaviour: [`selvedge_kernels::cluster`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct KMeans {
    /// How many centres there are.
    pub clusters: usize,
    /// What is given.
    #[cfg_attr(feature = "json", serde(default))]
    pub gives: Gives,
    /// How rows are compared with centres.
    #[cfg_attr(feature = "json", serde(default))]
    pub metric: Metric,
    /// How soft the assignment is, in thousandths. It is rounded to 8 bits: [`Temperature::from_f64`].
    #[cfg_attr(feature = "json", serde(default = "one"))]
    pub temperature: u32,
}

impl KMeans {
    /// Shares by the Euclidean distance, at temperature 1.
    #[must_use]
    pub const fn new(clusters: usize) -> Self {
        Self {
            clusters,
            gives: Gives::Shares,
            metric: Metric::Euclidean,
            temperature: 1000,
        }
    }

    /// With what is given.
    #[must_use]
    pub const fn gives(self, gives: Gives) -> Self {
        Self { gives, ..self }
    }

    /// With another distance.
    #[must_use]
    pub const fn metric(self, metric: Metric) -> Self {
        Self { metric, ..self }
    }

    /// At a temperature of so many thousandths.
    #[must_use]
    pub const fn temperature(self, thousandths: u32) -> Self {
        Self {
            temperature: thousandths,
            ..self
        }
    }
}

/// A temperature of 1.
#[cfg(feature = "json")]
const fn one() -> u32 {
    1000
}

impl Build for KMeans {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let shape = to.shape_of(x);
        let Some((&features, leading)) = shape.split_last() else {
            return Err(to.shape_error("at least one axis", &shape));
        };
        let rows: usize = leading.iter().product();
        to.check_range("clusters", self.clusters, 1 << 24)?;
        to.check_size(&[self.clusters, features], 1)?;
        to.check_value(&[rows, self.clusters, 2])?; // a distance and a share
        let temperature = Temperature::from_f64(f64::from(self.temperature) / 1000.0);
        let temperature = temperature.map_err(to.kernel())?;
        let told = Told {
            shape: Shape {
                rows,
                features,
                clusters: self.clusters,
            },
            metric: match self.metric {
                Metric::Euclidean => cluster::Metric::Euclidean,
                Metric::Manhattan => cluster::Metric::Manhattan,
                Metric::Cosine => cluster::Metric::Cosine,
            },
            temperature,
            mode: match self.gives {
                Gives::Shares => Mode::Probabilities,
                Gives::Means => Mode::Features,
            },
        };
        let (trains, error) = (to.trains, to.kernel());
        let extents = vec![self.clusters, features];
        by_dtype!(to.dtype, T => {
            let init = (Gain::LeCun, 1);
            learned::describe::random::<T>(to.graph, trains, [number, 0], init, extents)
                .map(|(centres, _)| describe::append::<T>(to.graph, x, centres, told, number))
        })
        .map_err(error)
    }
}
