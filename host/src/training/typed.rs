//! The built-in networks: typed, one for images of 8×8 and one for 28×28.

use super::course::{Course, Learner};
use super::{Evaluation, Outcome, Settings};
use crate::data::{DataSet, Scaled};
use crate::dtype::by_dtype;
use crate::error::{Error, Result};
use selvedge_core::fingerprint::Fingerprint;
use selvedge_core::net::Network;
use selvedge_core::train::Trainer;
use selvedge_core::{DType, Element, Serial, Sgd};
use selvedge_digits::{BATCH, CLASSES, CnnTrainer, MnistTrainer, SIDE, rate_at};
use selvedge_kernels::loss::Sum;

impl<N: Network<In = <N as Network>::Elem>> Learner for Trainer<N, BATCH> {
    fn dtype(&self) -> DType {
        N::Elem::DTYPE
    }

    fn batch(&self) -> usize {
        BATCH
    }

    fn classes(&self) -> usize {
        Self::CLASSES
    }

    fn bytes(&self) -> [usize; 2] {
        [Self::RAM_BYTES, Self::FLASH_BYTES]
    }

    fn epoch(
        &mut self,
        samples: &Scaled<'_>,
        order: &mut [u16],
        epoch: u32,
        sgd: &Sgd,
        on_step: &mut dyn FnMut(),
    ) -> Result<f64> {
        let loss = self.epoch(&Serial, samples, order, epoch, sgd, |_| on_step())?;
        Ok(loss.to_f64())
    }

    fn evaluate(&mut self, samples: &Scaled<'_>) -> Result<Evaluation> {
        let mut evaluation = Evaluation::new(Self::CLASSES);
        let on_sample = |_, label, class| evaluation.push(label, class);
        self.evaluate(&Serial, samples, on_sample)?;
        Ok(evaluation)
    }

    fn fingerprint(&self) -> Result<Fingerprint> {
        Ok(self.fingerprint())
    }
}

/// Refuses a set that the built-in networks do not learn.
///
/// # Errors
/// [`Error::Size`] if there is no network for samples of this shape; those of [`DataSet::check`].
pub fn check(set: &DataSet) -> Result<()> {
    let (features, _) = network_for(set)?;
    set.check(features, CLASSES, BATCH)
}

/// A network of the crate `selvedge-digits`.
enum BuiltIn {
    Digits,
    Mnist,
}

/// Features of a sample, and the network for them.
fn network_for(set: &DataSet) -> Result<(usize, BuiltIn)> {
    let network = match *set.train.shape {
        [SIDE, SIDE] | [SIDE, SIDE, 1] => BuiltIn::Digits,
        [28, 28] | [28, 28, 1] => BuiltIn::Mnist,
        _ => {
            let extents: Vec<_> = set.train.shape.iter().map(usize::to_string).collect();
            let found = extents.join("x");
            return Err(Error::Size { found });
        }
    };
    Ok((set.train.features(), network))
}

/// Trains the network for samples of the set's shape; `on_samples` is told of each batch.
///
/// # Errors
/// Those of [`check`] before anything is trained; [`Error::Diverged`].
pub fn train(
    dtype: DType,
    set: &DataSet,
    settings: Settings,
    on_samples: &(dyn Fn(u64) + Sync),
) -> Result<Outcome> {
    check(set)?;
    let (_, network) = network_for(set)?;
    let course = Course {
        set,
        exponents: &set.train.exponents(),
        settings,
        sgd: &|epoch| rate_at(epoch, settings.epochs),
        on_samples,
    };
    fn run<N: Network<In = <N as Network>::Elem>>(
        trainer: &mut Trainer<N, BATCH>,
        course: &Course<'_>,
    ) -> Result<Outcome> {
        trainer.init(course.settings.seed)?;
        course.run(trainer)
    }
    by_dtype!(dtype, T => match network {
        BuiltIn::Digits => run(&mut *Box::new(CnnTrainer::<T>::BLANK), &course),
        BuiltIn::Mnist => run(&mut *Box::new(MnistTrainer::<T>::BLANK), &course),
    })
}
