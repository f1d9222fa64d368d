//! Images at work, whatever the types of their elements.

use crate::data::Scaled;
use crate::dtype::by_dtype;
use crate::error::{Error, ModelFault, Result};
use crate::npy::Array;
use crate::training::Evaluation;
use selvedge_core::image::{Image, Port, Role};
use selvedge_core::network::Description;
use selvedge_core::session::{self, Session};
use selvedge_core::train::Samples;
use selvedge_core::{Element, Serial, ops};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A session of an image that takes samples, and no other input.
pub(crate) struct Runner<'a> {
    pub(crate) session: Session<'a>,
    /// What it takes and gives when it is run.
    pub(crate) input: Port,
    pub(crate) output: Port,
    /// The most samples of a run.
    pub(crate) samples: usize,
    path: PathBuf,
}

impl<'a> Runner<'a> {
    /// A session of the image in the file `path`.
    pub(crate) fn new(image: &Image<'a>, arena: &'a mut [u8], path: &Path) -> Result<Self> {
        let unfit = |reason| Error::Unfit {
            path: path.to_owned(),
            reason,
        };
        let program = || unfit(ModelFault::Program(Role::Infer));
        let [samples, _] = image.extent(Role::Infer).ok_or_else(program)?;
        let inputs = (0..).map_while(|index| image.input(Role::Infer, index));
        let inputs: Vec<Port> = inputs.collect();
        let &[input] = &*inputs else {
            let found = inputs.len();
            return Err(unfit(ModelFault::Inputs { found }));
        };
        let output = image.output(Role::Infer, 0).ok_or_else(program)?;
        let session = Session::new(image, arena, ops::ALL).map_err(refused(path))?;
        Ok(Self {
            session,
            input,
            output,
            samples,
            path: path.to_owned(),
        })
    }

    /// Refuses more than `most` samples of an image that says that they are the positions of one sequence.
    pub(crate) fn check_samples(
        &self,
        description: Option<&Description>,
        samples: usize,
        most: usize,
    ) -> Result<()> {
        let is_sequence = description.is_some_and(|of| of.options.sequence);
        if !is_sequence || samples <= most {
            return Ok(());
        }
        Err(Error::Unfit {
            path: self.path.clone(),
            reason: ModelFault::Sequence {
                positions: self.samples,
            },
        })
    }

    /// Refuses an image whose input are tokens.
    pub(crate) fn check_numbers(&self) -> Result<()> {
        if by_dtype!(self.input.dtype, T => T::PIXEL_EXPONENT) == self.input.exponent {
            return Ok(());
        }
        Err(Error::Unfit {
            path: self.path.clone(),
            reason: ModelFault::Tokens,
        })
    }

    /// Puts the samples of these numbers into the input of the program of `role`, and returns their labels.
    pub(crate) fn load(
        &mut self,
        role: Role,
        samples: &Scaled<'_>,
        numbers: impl Iterator<Item = usize>,
    ) -> Result<Vec<u16>> {
        let len = self.input.len.max(1);
        by_dtype!(self.input.dtype, T => {
            let x = self.session.input_mut::<T>(role, 0).map_err(refused(&self.path))?;
            let read = x.chunks_exact_mut(len).zip(numbers).map(|(x, index)| {
                let samples_len = samples.len();
                samples.read(index, x).ok_or(selvedge_core::Error::Sample { index, samples: samples_len })
            });
            Ok(read.collect::<std::result::Result<_, _>>()?)
        })
    }

    /// The class of each sample of these parts.
    pub(crate) fn evaluate(&mut self, parts: &[Scaled<'_>]) -> Result<Evaluation> {
        let mut evaluation = Evaluation::new(self.output.len);
        for samples in parts {
            for numbers in self.pieces(samples.len()) {
                let labels = self.load(Role::Infer, samples, numbers)?;
                let mut classes = vec![0; labels.len()];
                by_dtype!(self.output.dtype, H => {
                    self.session.classify::<H>(&Serial, labels.len(), &mut classes)
                })
                .map_err(refused(&self.path))?;
                for (label, class) in labels.into_iter().zip(classes) {
                    evaluation.push(label, class);
                }
            }
        }
        Ok(evaluation)
    }

    /// Numbers of samples in pieces that a run takes.
    fn pieces(&self, samples: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let most = self.samples.max(1);
        (0..samples)
            .step_by(most)
            .map(move |first| first..samples.min(first + most))
    }

    /// What comes out for each sample, `[samples, elements]`, and the exponent of integers.
    ///
    /// # Errors
    /// [`Error::Session`]; [`Error::Unfit`] if the exponent is not the same in each run, as before a training.
    pub(crate) fn outputs<H: Element>(&mut self, samples: &Given<'_>) -> Result<(Vec<H>, i32)> {
        let mut out = Vec::new();
        let mut exponent = None;
        for numbers in self.pieces(samples.len()) {
            let len = numbers.len();
            match samples {
                Given::Numbers(samples) => drop(self.load(Role::Infer, samples, numbers)?),
                Given::Own(array) => self.copy(array, numbers)?,
            }
            let refused = refused(&self.path);
            self.session.run(&Serial, len).map_err(&refused)?;
            let y = self.session.output::<H>(0).map_err(&refused)?;
            out.extend_from_slice(y.data);
            if *exponent.get_or_insert(y.exponent) != y.exponent {
                return Err(Error::Unfit {
                    path: self.path.clone(),
                    reason: ModelFault::Pieces {
                        samples: self.samples,
                    },
                });
            }
        }
        Ok((out, exponent.unwrap_or(0)))
    }

    /// Puts elements of the array into the input as they are.
    fn copy(&mut self, array: &Array, numbers: Range<usize>) -> Result<()> {
        let len = self.input.len;
        by_dtype!(self.input.dtype, T => {
            let x = self.session.input_mut::<T>(Role::Infer, 0).map_err(refused(&self.path))?;
            let elements = array.elements::<T>().skip(numbers.start * len).take(numbers.len() * len);
            x.iter_mut().zip(elements).for_each(|(to, element)| *to = element);
        });
        Ok(())
    }
}

/// What a network is run on.
pub(crate) enum Given<'a> {
    /// Numbers, as in training.
    Numbers(Scaled<'a>),
    /// The elements of its input.
    Own(&'a Array),
}

impl Given<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Numbers(samples) => samples.len(),
            Self::Own(array) => array.shape.first().copied().unwrap_or(0),
        }
    }
}

/// What the image in `bytes` was compiled from, if this build reads it.
pub(crate) fn description(bytes: &[u8]) -> Option<Description> {
    Description::from_json(Image::description(bytes).ok()??).ok()
}

/// Says which file's session refused.
pub(crate) fn refused(path: &Path) -> impl Fn(session::Error) -> Error + '_ {
    move |source| Error::Session {
        path: path.to_owned(),
        source,
    }
}
