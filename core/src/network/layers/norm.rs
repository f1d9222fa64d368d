//! Normalisation.

use super::Build;
use crate::graph::{Error, Graph, ValueId};
use crate::network::builder::{Builder, by_dtype};
use crate::ops::{batch_norm, learned, norm};
use alloc::vec;
use alloc::vec::Vec;
use selvedge_kernels::batch_norm::{ErrorSums, Kernels};
use selvedge_kernels::norm::{Kernels as _, ones};
use selvedge_kernels::{self as kernels, Element};
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
        #[cfg_attr(feature = "json", serde(deny_unknown_fields))]
        pub struct $name {}
    )*};
}

layers! {
    /// Each row of features, the last axis, by its own mean and deviation, with a gain and a bias for each feature; any
    /// shape. Numerical behaviour: [`selvedge_kernels::norm::forward`]. Source: Ba et al. 2016.
    LayerNorm
    /// Each row of features, the last axis, by its root mean square, with a gain for each feature; any shape. Numerical
    /// behaviour: [`selvedge_kernels::norm::forward`]. Source: Zhang & Sennrich 2019.
    RmsNorm
    /// Each channel, of the last axis, by its mean and deviation over the batch, at inference by running ones, with a gain
    /// and a bias for each channel; any shape. Numerical behaviour: [`selvedge_kernels::batch_norm::forward`]. Source:
    /// Ioffe & Szegedy 2015.
    BatchNorm
}

/// A gain of ones, and biases of zeros, for so many channels.
fn affine<T: Element>(graph: &mut Graph, trains: bool, channels: usize) -> [ValueId; 2] {
    let mut gain = vec![T::ZERO; channels];
    let exponent = ones(&mut gain);
    let gamma = learned::describe::given(graph, trains, vec![channels], &gain, exponent);
    [gamma, shift::<T>(graph, trains, channels, exponent)]
}

fn shift<T: Element>(graph: &mut Graph, trains: bool, channels: usize, gain: i16) -> ValueId {
    let below = T::Bias::MAGNITUDE_BITS as i16 - T::MAGNITUDE_BITS as i16;
    learned::describe::zeros::<T::Bias>(graph, trains, vec![channels], gain - below)
}

/// Channels of `x`, and rows of a sample.
fn rows(to: &Builder<'_>, x: ValueId) -> Result<[usize; 2], Error> {
    let shape = to.shape_of(x);
    let (Some(&channels), rows) = (shape.last(), shape.iter().product::<usize>()) else {
        return Err(to.shape_error("at least one axis", &shape));
    };
    Ok([channels, rows / channels])
}

/// LayerNorm, or RMSNorm.
fn of_rows(to: &mut Builder<'_>, x: ValueId, has_bias: bool) -> Result<ValueId, Error> {
    let number = to.number();
    let [channels, rows] = rows(to, x)?;
    let (dtype, trains, samples) = (to.dtype, to.trains, to.options.samples);
    let error = to.kernel();
    by_dtype!(dtype, T => {
        let (terms, limit) = (rows.saturating_mul(samples), T::MAX_NORM_ROWS);
        if trains && terms > limit {
            return Err(error(kernels::Error::Accumulator { terms, limit }));
        }
        let row = size_of::<<T as kernels::norm::Kernels>::Row>();
        let (gamma, beta) = if has_bias {
            let [gamma, beta] = affine::<T>(to.graph, trains, channels);
            (gamma, Some(beta))
        } else {
            let mut gain = vec![T::ZERO; channels];
            let exponent = ones(&mut gain);
            let shape = vec![channels];
            (learned::describe::given(to.graph, trains, shape, &gain, exponent), None)
        };
        Ok(norm::describe::append(to.graph, x, gamma, beta, row, number))
    })
}

impl Build for LayerNorm {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        of_rows(to, x, true)
    }
}

impl Build for RmsNorm {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        of_rows(to, x, false)
    }
}

impl Build for BatchNorm {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let [channels, _] = rows(to, x)?;
        let (dtype, trains, changes) = (to.dtype, to.trains, to.options.train);
        by_dtype!(dtype, T => {
            let [gamma, beta] = affine::<T>(to.graph, trains, channels);
            let start = vec![T::RUNNING_START; channels];
            let start: Vec<u8> = bytemuck::cast_slice(&start).to_vec();
            let statistic = <<T as Kernels>::Statistic as Element>::DTYPE;
            let running = to.graph.state(statistic, start, changes);
            let bytes = batch_norm::describe::Bytes {
                statistics: size_of::<<T as Kernels>::Channel>(),
                transform: size_of::<<T as Kernels>::Transform>(),
                sums: size_of::<ErrorSums<<T as Kernels>::Statistic>>(),
            };
            let inputs = [x, gamma, beta, running];
            Ok(batch_norm::describe::append(to.graph, inputs, bytes, number))
        })
    }
}
