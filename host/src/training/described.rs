//! Described networks: compiled, and trained in a session.

use super::course::{Course, Learner};
use super::{Descent, Evaluation, Outcome, Settings};
use crate::data::{DataSet, Scaled};
use crate::dtype::by_dtype;
use crate::error::{Error, ModelFault, Result, compile_refused};
use crate::files::Aligned;
use crate::runner::{Runner, refused};
use selvedge_core::fingerprint::Fingerprint;
use selvedge_core::image::{Port, Role};
use selvedge_core::network::{Budget, Description, Loss, Network, Options};
use selvedge_core::{DType, Element, Serial, Sgd};
use selvedge_digits::BATCH;
use selvedge_kernels::rng::shuffle;
use std::path::PathBuf;

/// A described network, and how it is trained.
///
/// # Example
/// ```
/// use selvedge::{DType, data::DataSet, training::{Described, Settings, train}};
/// let text = include_str!("../../../digits/networks/cnn.json");
/// let network = serde_json::from_str(text)?;
/// let (set, settings) = (DataSet::digits(), Settings { epochs: 1, seed: 1 });
/// let trained = Described::new("cnn.json", network, DType::I8, settings).prepare(&set)?.train(&|_| ())?;
/// // The same bytes as the demo's network, which is typed.
/// let demo = train(DType::I8, &set, settings, &|_| ())?;
/// assert_eq!(trained.outcome.fingerprint, demo.fingerprint);
/// assert!(trained.image.starts_with(b"SLVG"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Described {
    /// Where the description comes from, for messages.
    pub path: PathBuf,
    /// The network.
    pub network: Network,
    /// Its element type.
    pub dtype: DType,
    /// How long, and from where.
    pub settings: Settings,
    /// Samples of a step.
    pub batch: usize,
    /// What is made small. Other losses than cross-entropy ask for 1 at the class of a sample and 0 elsewhere.
    pub loss: Loss,
    /// How fast.
    pub descent: Descent,
    /// What a session may take: activations are computed again where it would need more.
    pub budget: Budget,
    /// Whether the image of what it has learned only runs: a program for a sample at a time, without masters and heads.
    pub only_runs: bool,
}

impl Described {
    /// A network to be trained as the demo is: by cross-entropy, in batches of 8.
    #[must_use]
    pub fn new(
        path: impl Into<PathBuf>,
        network: Network,
        dtype: DType,
        settings: Settings,
    ) -> Self {
        Self {
            path: path.into(),
            network,
            dtype,
            settings,
            batch: BATCH,
            loss: Loss::CrossEntropy,
            descent: Descent::default(),
            budget: Budget::NONE,
            only_runs: false,
        }
    }

    /// Compiles it, and sees whether it fits the samples.
    ///
    /// # Errors
    /// [`Error::Compile`], those of [`DataSet::check`], [`Error::Unfit`] for a network that takes or gives more than samples
    /// have.
    pub fn prepare(self, set: &DataSet) -> Result<Prepared<'_>> {
        let options = Options {
            samples: self.batch,
            train: true,
            loss: self.loss,
            momentum: self.descent.has_momentum(),
            seed: self.settings.seed,
            budget: self.budget,
            ..Options::default()
        };
        let only_run = Options {
            samples: 1,
            train: false,
            momentum: false,
            headless: true,
            budget: Budget::NONE,
            ..options
        };
        let refused = compile_refused(&self.path);
        let flash = self.network.compile(self.dtype, &only_run);
        let flash_bytes = flash.map_err(&refused)?.len();
        let mut description = Description::new(self.network.clone(), self.dtype, options);
        description.input_exponents = set.train.exponents();
        let image = Aligned::new(&description.compile(None).map_err(refused)?);
        let mut deployed = description.clone();
        if self.only_runs {
            deployed.options = only_run;
        }
        let prepared = Prepared {
            deployed,
            described: self,
            description,
            image,
            flash_bytes,
            set,
        };
        prepared.check()?;
        Ok(prepared)
    }
}

/// A network that fits its samples.
#[derive(Debug)]
pub struct Prepared<'s> {
    described: Described,
    description: Description,
    /// That of what it has learned.
    deployed: Description,
    image: Aligned,
    flash_bytes: usize,
    set: &'s DataSet,
}

/// What a described network has come to.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Accuracy, loss, fingerprint.
    pub outcome: Outcome,
    /// The image of what it has learned, with its description: it can be run, and trained further unless it
    /// [only runs](Described::only_runs).
    pub image: Vec<u8>,
}

impl Prepared<'_> {
    /// Calls `then` with a session that has learned nothing.
    fn with_learner<R>(&self, then: impl FnOnce(Learning<'_>) -> Result<R>) -> Result<R> {
        let path = &self.described.path;
        let image = self.image.image(path)?;
        let mut arena = vec![0; image.arena_bytes()];
        let bytes = [arena.len(), self.flash_bytes];
        let runner = Runner::new(&image, &mut arena, path)?;
        let program = || Error::Unfit {
            path: path.clone(),
            reason: ModelFault::Program(Role::Train),
        };
        // Behind those of the network, training has what is asked, and the losses, of heads as well.
        let asked = 1..image.inputs(Role::Train);
        let asked = asked.filter_map(|at| image.input(Role::Train, at));
        let asked: Vec<Port> = asked.collect();
        let at = image.outputs(Role::Infer);
        let loss = image.output(Role::Train, at).ok_or_else(program)?;
        then(Learning {
            described: &self.described,
            runner,
            asked,
            loss: (at, loss),
            bytes,
        })
    }

    fn check(&self) -> Result<()> {
        self.with_learner(|learning| {
            learning.runner.check_numbers()?;
            let classes = learning.classes();
            for &asked in &learning.asked {
                let expected = if is_class(asked) { 1 } else { classes };
                if asked.len != expected {
                    return Err(Error::Unfit {
                        path: self.described.path.clone(),
                        reason: ModelFault::Asked {
                            expected,
                            got: asked.len,
                        },
                    });
                }
            }
            let Port { len, .. } = learning.runner.input;
            self.set.check(len, learning.classes(), learning.batch())
        })
    }

    /// All epochs; `on_samples` is told of each batch.
    ///
    /// # Errors
    /// [`Error::Diverged`]; [`Error::Session`] for what the session refuses.
    pub fn train(&self, on_samples: &(dyn Fn(u64) + Sync)) -> Result<Trained> {
        let Described {
            settings, descent, ..
        } = self.described;
        let course = Course {
            set: self.set,
            exponents: &self.description.input_exponents,
            settings,
            sgd: &|epoch| descent.at(epoch, settings.epochs),
            on_samples,
        };
        self.with_learner(|mut learning| {
            let outcome = course.run(&mut learning)?;
            let image = self.deployed.compile(Some(&learning.runner.session));
            let image = image.map_err(compile_refused(&self.described.path))?;
            Ok(Trained { outcome, image })
        })
    }
}

/// Whether what is asked is a class of each row, and no fraction.
fn is_class(asked: Port) -> bool {
    asked.dtype == DType::U16 && asked.exponent == 0
}

/// A session that learns.
struct Learning<'a> {
    described: &'a Described,
    runner: Runner<'a>,
    /// Of the last output, and of each head with a loss: the same classes.
    asked: Vec<Port>,
    /// Where it is among the outputs, and what.
    loss: (usize, Port),
    bytes: [usize; 2],
}

impl Learning<'_> {
    /// Tells the session what the samples of a batch are.
    fn ask(&mut self, labels: &[u16]) -> Result<()> {
        let refused = &refused(&self.described.path);
        let session = &mut self.runner.session;
        for (input, &port) in (1..).zip(&self.asked) {
            if is_class(port) {
                let asked = session.input_mut::<u16>(Role::Train, input);
                let asked = asked.map_err(refused)?.iter_mut();
                asked.zip(labels).for_each(|(to, &label)| *to = label);
                continue;
            }
            by_dtype!(port.dtype, T => {
                let asked = session.input_mut::<T>(Role::Train, input).map_err(refused)?;
                let one = T::from_f64((-f64::from(T::PIXEL_EXPONENT)).exp2()); // or the nearest fraction
                for (asked, &label) in asked.chunks_exact_mut(port.len.max(1)).zip(labels) {
                    asked.fill(T::ZERO);
                    if let Some(asked) = asked.get_mut(usize::from(label)) {
                        *asked = one;
                    }
                }
            });
        }
        Ok(())
    }

    /// The loss of the last step, summed over its samples.
    fn loss(&self) -> Result<f64> {
        let refused = refused(&self.described.path);
        let (at, port) = self.loss;
        let loss = by_dtype!(port.dtype, T => {
            let loss = self.runner.session.output::<T>(at).map_err(refused)?;
            loss.data.first().map_or(0.0, |loss| loss.to_f64())
        });
        // Integers have 16 binary places.
        Ok(if port.dtype.is_integer() {
            loss / 65_536.0
        } else {
            loss
        })
    }
}

impl Learner for Learning<'_> {
    fn dtype(&self) -> DType {
        self.described.dtype
    }

    fn batch(&self) -> usize {
        self.described.batch
    }

    fn classes(&self) -> usize {
        self.runner.output.len
    }

    fn bytes(&self) -> [usize; 2] {
        self.bytes
    }

    fn epoch(
        &mut self,
        samples: &Scaled<'_>,
        order: &mut [u16],
        epoch: u32,
        sgd: &Sgd,
        on_step: &mut dyn FnMut(),
    ) -> Result<f64> {
        let found = order.len();
        let seed = self.runner.session.seed();
        shuffle(seed, epoch, order).map_err(|_| Error::TooMany {
            found,
            most: 1 << 16,
        })?;
        let mut loss = 0.0;
        for batch in order.chunks_exact(self.described.batch.max(1)) {
            let numbers = batch.iter().map(|&number| number.into());
            let labels = self.runner.load(Role::Train, samples, numbers)?;
            self.ask(&labels)?;
            let step = self.runner.session.train_step(&Serial, labels.len(), sgd);
            step.map_err(refused(&self.described.path))?;
            loss += self.loss()?;
            on_step();
        }
        Ok(loss)
    }

    fn evaluate(&mut self, samples: &Scaled<'_>) -> Result<Evaluation> {
        self.runner.evaluate(std::slice::from_ref(samples))
    }

    fn fingerprint(&self) -> Result<Fingerprint> {
        let fingerprint = self.runner.session.fingerprint();
        fingerprint.map_err(refused(&self.described.path))
    }
}
