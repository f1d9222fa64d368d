//! From a data set to a trained network, in any element type.

use crate::data::DataSet;
use crate::error::{Error, Result};
use selvedge_core::fingerprint::Fingerprint;
use selvedge_core::net::Network;
use selvedge_core::train::{Samples, Trainer};
use selvedge_core::{DType, Element, Serial};
use selvedge_digits::{BATCH, CLASSES, CnnTrainer, MnistTrainer, SIDE, rate_at};
use selvedge_kernels::loss::Sum;
use selvedge_kernels::{bf16, f16};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

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
    /// Mean loss of each epoch, in nats, before its updates.
    pub losses: Vec<f64>,
    /// Share of the test part that is recognised after each epoch.
    pub accuracies: Vec<f64>,
    /// How often a test image of class row was taken for class column.
    pub confusion: [[u32; CLASSES]; CLASSES],
    /// The class found for each test image.
    pub predictions: Vec<u16>,
    /// Bytes of RAM that training takes: weights, tape, errors, optimizer, input.
    pub ram_bytes: usize,
    /// Bytes of flash that the network takes: stored weights and constants.
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
        self.accuracies.last().copied().unwrap_or_default()
    }
}

/// Trains the network for images of the set's size; `on_samples` is told of each batch.
///
/// # Errors
/// [`Error::Size`] if there is no network for images of this size, [`Error::TooFew`] for less than
/// a batch of them, [`Error::Network`] for what the network refuses.
pub fn train(
    dtype: DType,
    set: &DataSet,
    settings: Settings,
    on_samples: &(dyn Fn(u64) + Sync),
) -> Result<Outcome> {
    let (rows, columns) = (set.train.rows, set.train.columns);
    if (set.test.rows, set.test.columns) != (rows, columns) {
        return Err(Error::Size {
            rows: set.test.rows,
            columns: set.test.columns,
        });
    }
    if set.train.len() < BATCH {
        return Err(Error::TooFew {
            found: set.train.len(),
            batch: BATCH,
        });
    }
    // The one place that goes from a name to a type.
    macro_rules! for_type {
        ($trainer:ident) => {
            match dtype {
                DType::I8 => run(
                    &mut *Box::new($trainer::<i8>::BLANK),
                    set,
                    settings,
                    on_samples,
                ),
                DType::U8 => run(
                    &mut *Box::new($trainer::<u8>::BLANK),
                    set,
                    settings,
                    on_samples,
                ),
                DType::I16 => run(
                    &mut *Box::new($trainer::<i16>::BLANK),
                    set,
                    settings,
                    on_samples,
                ),
                DType::U16 => run(
                    &mut *Box::new($trainer::<u16>::BLANK),
                    set,
                    settings,
                    on_samples,
                ),
                DType::I32 => run(
                    &mut *Box::new($trainer::<i32>::BLANK),
                    set,
                    settings,
                    on_samples,
                ),
                DType::U32 => run(
                    &mut *Box::new($trainer::<u32>::BLANK),
                    set,
                    settings,
                    on_samples,
                ),
                DType::I64 => run(
                    &mut *Box::new($trainer::<i64>::BLANK),
                    set,
                    settings,
                    on_samples,
                ),
                DType::U64 => run(
                    &mut *Box::new($trainer::<u64>::BLANK),
                    set,
                    settings,
                    on_samples,
                ),
                DType::F16 => run(
                    &mut *Box::new($trainer::<f16>::BLANK),
                    set,
                    settings,
                    on_samples,
                ),
                DType::Bf16 => run(
                    &mut *Box::new($trainer::<bf16>::BLANK),
                    set,
                    settings,
                    on_samples,
                ),
                DType::F32 => run(
                    &mut *Box::new($trainer::<f32>::BLANK),
                    set,
                    settings,
                    on_samples,
                ),
                DType::F64 => run(
                    &mut *Box::new($trainer::<f64>::BLANK),
                    set,
                    settings,
                    on_samples,
                ),
            }
        };
    }
    match (rows, columns) {
        (SIDE, SIDE) => for_type!(CnnTrainer),
        (28, 28) => for_type!(MnistTrainer),
        _ => Err(Error::Size { rows, columns }),
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

fn run<N: Network<In = <N as Network>::Elem>>(
    trainer: &mut Trainer<N, BATCH>,
    set: &DataSet,
    settings: Settings,
    on_samples: &(dyn Fn(u64) + Sync),
) -> Result<Outcome> {
    let Settings { epochs, seed } = settings;
    trainer.init(seed)?;
    let mut order = vec![0; set.train.len()];
    let mut outcome = Outcome {
        dtype: N::Elem::DTYPE,
        losses: Vec::new(),
        accuracies: Vec::new(),
        confusion: [[0; CLASSES]; CLASSES],
        predictions: vec![0; set.test.len()],
        ram_bytes: Trainer::<N, BATCH>::RAM_BYTES,
        flash_bytes: Trainer::<N, BATCH>::FLASH_BYTES,
        samples_per_second: 0.0,
        fingerprint: trainer.fingerprint(),
    };
    let mut busy = Duration::ZERO;
    let steps = set.train.len() / BATCH;
    for epoch in 0..epochs {
        let start = Instant::now();
        let rate = rate_at(epoch, epochs);
        let on_step = |_| on_samples(BATCH as u64);
        let loss = trainer.epoch(&Serial, &set.train, &mut order, epoch, &rate, on_step)?;
        busy += start.elapsed();
        outcome
            .losses
            .push(loss.to_f64() / (steps * BATCH).max(1) as f64);
        let right = trainer.count_right(&Serial, &set.test)?;
        outcome
            .accuracies
            .push(right as f64 / set.test.len().max(1) as f64);
    }
    trainer.evaluate(&Serial, &set.test, |index, label, class| {
        let (label, column) = (usize::from(label), usize::from(class));
        if let Some(cell) = outcome
            .confusion
            .get_mut(label)
            .and_then(|row| row.get_mut(column))
        {
            *cell += 1;
        }
        if let Some(prediction) = outcome.predictions.get_mut(index) {
            *prediction = class;
        }
    })?;
    let samples = u64::from(epochs) * (steps * BATCH) as u64;
    outcome.samples_per_second = samples as f64 / busy.as_secs_f64().max(f64::MIN_POSITIVE);
    outcome.fingerprint = trainer.fingerprint();
    Ok(outcome)
}
