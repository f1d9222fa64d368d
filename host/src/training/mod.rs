//! From a data set to a trained network, in any element type: one of the built-in networks, or one that is described.

mod course;
mod descent;
mod described;
mod evaluation;
mod typed;

pub use descent::Descent;
pub use described::{Described, Prepared, Trained};
pub use evaluation::Evaluation;
pub use typed::{check, train};

use crate::data::DataSet;
use crate::error::{Error, Result};
use selvedge_core::DType;
use selvedge_core::fingerprint::Fingerprint;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How long to train, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Passes over the training part.
    pub epochs: u32,
    /// Of weights, order and rounding: the same seed gives the same network.
    pub seed: u32,
}

/// What a training has come to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The element type.
    pub dtype: DType,
    /// Mean loss of each epoch before its updates; of cross-entropy in nats.
    pub losses: Vec<f64>,
    /// Share of the test part that is recognised after each epoch.
    pub accuracies: Vec<f64>,
    /// The test part after the last epoch.
    pub test: Evaluation,
    /// Bytes of RAM that training takes: weights, tape, errors, optimizer, input.
    pub ram_bytes: usize,
    /// Bytes of flash that the network takes: stored weights and constants; of a described one, its image without training.
    pub flash_bytes: usize,
    /// Training samples a second.
    pub samples_per_second: f64,
    /// The hash of the trained parameters.
    pub fingerprint: Fingerprint,
}

impl Outcome {
    /// Share of the test part that is recognised.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.test.accuracy()
    }
}

/// Trains in each of `dtypes`, as many at a time as there are cores; outcomes in the same order.
///
/// # Errors
/// The first of those of [`train`].
pub fn train_all(
    dtypes: &[DType],
    set: &DataSet,
    settings: Settings,
    on_samples: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Outcome>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(&dtype) = dtypes.get(index) else {
                return done;
            };
            done.push((index, train(dtype, set, settings, on_samples)));
        }
    };
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(dtypes.len());
    let mut outcomes = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| Error::Thread)?);
        }
        Ok::<_, Error>(all)
    })?;
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}
