//! Labelled samples to train on and to test with.

mod csv;
mod idx;
mod scaled;
mod source;

pub(crate) use self::csv::class;
pub use scaled::Scaled;
pub use source::Source;

use crate::error::{DataFault, Error, Result};
use crate::npy::{self, Array};
use selvedge_core::DType;
use selvedge_digits::{Digits, SIDE};
use selvedge_kernels::rng::{Words, stream};
use std::path::{Path, PathBuf};

/// An epoch shuffles at most so many.
const MOST: usize = 1 << 16;

/// What samples have, `[samples, elements of one]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// Grey values: 0 is paper, 255 ink.
    Pixels(Vec<u8>),
    /// Finite numbers.
    Numbers(Vec<f32>),
}

/// Samples of one shape, each with a label.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Where the labels come from, for messages.
    pub file: PathBuf,
    /// Extents of a sample: rows and columns; features.
    pub shape: Vec<usize>,
    /// What the samples have.
    pub features: Features,
    /// The class of each, `[samples]`.
    pub labels: Vec<u16>,
}

impl Part {
    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Elements of a sample.
    #[must_use]
    pub fn features(&self) -> usize {
        self.shape.iter().product()
    }

    /// Rows and columns, if the samples are grey images.
    #[must_use]
    pub fn image_size(&self) -> Option<[usize; 2]> {
        match (&self.features, &*self.shape) {
            (Features::Pixels(_), &[rows, columns] | &[rows, columns, 1]) => Some([rows, columns]),
            _ => None,
        }
    }

    /// Pixels, row by row, and label of image `index`.
    #[must_use]
    pub fn image(&self, index: usize) -> Option<(&[u8], u16)> {
        let Features::Pixels(pixels) = &self.features else {
            return None;
        };
        let start = index.checked_mul(self.features())?;
        let pixels = pixels.get(start..start.checked_add(self.features())?)?;
        Some((pixels, *self.labels.get(index)?))
    }

    /// Refuses samples that are none for a network: of another number of features, of classes that it does not have.
    ///
    /// # Errors
    /// [`Error::Data`] with what is wrong.
    pub fn check(&self, features: usize, classes: usize) -> Result<()> {
        let refused = |reason| {
            Err(Error::Data {
                path: self.file.clone(),
                reason,
            })
        };
        if self.features() != features {
            return refused(DataFault::Features {
                expected: features,
                found: self.features(),
            });
        }
        let is_beyond = |&&label: &&u16| usize::from(label) >= classes;
        match self.labels.iter().find(is_beyond) {
            None => Ok(()),
            Some(&label) => refused(DataFault::Label {
                index: self
                    .labels
                    .iter()
                    .position(|&other| other == label)
                    .unwrap_or(0),
                label,
                classes,
            }),
        }
    }

    /// The samples of these numbers.
    fn pick(&self, numbers: &[usize]) -> Self {
        fn pick<T: Copy>(all: &[T], each: usize, numbers: &[usize]) -> Vec<T> {
            let samples = numbers
                .iter()
                .map(|&number| all.chunks_exact(each.max(1)).nth(number));
            samples.flatten().flatten().copied().collect()
        }
        Self {
            file: self.file.clone(),
            shape: self.shape.clone(),
            features: match &self.features {
                Features::Pixels(all) => Features::Pixels(pick(all, self.features(), numbers)),
                Features::Numbers(all) => Features::Numbers(pick(all, self.features(), numbers)),
            },
            labels: pick(&self.labels, 1, numbers),
        }
    }
}

/// A training part and a test part with samples of the same shape.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSet {
    /// What it is, in a report.
    pub name: String,
    /// To learn from.
    pub train: Part,
    /// To be measured on.
    pub test: Part,
}

impl DataSet {
    /// The embedded 1,797 digits of 8×8: [`selvedge_digits`].
    #[must_use]
    pub fn digits() -> Self {
        Self {
            name: "UCI handwritten digits".to_owned(),
            train: selvedge_digits::train().into(),
            test: selvedge_digits::test().into(),
        }
    }

    /// The four files of an MNIST-format data set in `folder`, plain or gzip:
    /// `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, and the same with `t10k` for the test.
    ///
    /// # Errors
    /// [`Error::Data`] with the file and what is wrong with it: missing, cut off, no gzip, no IDX, no images, parts of
    /// different sizes, more or fewer labels than images.
    pub fn idx(folder: &Path) -> Result<Self> {
        let train = idx::read(folder, "train", None)?;
        let test = idx::read(folder, "t10k", Some(&train.shape))?;
        Ok(Self {
            name: format!("IDX files in {}", folder.display()),
            train,
            test,
        })
    }

    /// The rows of a CSV file with a header: a class in the column `label`, finite numbers in all others. One row in five
    /// is to test with, always the same ones.
    ///
    /// # Errors
    /// [`Error::Data`] with line and column of what is wrong.
    pub fn csv(file: &Path, label: &str) -> Result<Self> {
        Self::split(csv::read(file, label)?)
    }

    /// The samples of a NumPy file, whose first axis counts them, and their classes in another one. One sample in five is
    /// to test with, always the same ones. Elements of `uint8` are pixels.
    ///
    /// # Errors
    /// [`Error::Data`] with what is wrong.
    pub fn npy(samples: &Path, labels: &Path) -> Result<Self> {
        let x = npy::read(samples)?;
        let y = npy::read(labels)?;
        let refused = |path: &Path| {
            let path = path.to_owned();
            move |reason| Error::Data { path, reason }
        };
        let part = Part {
            file: labels.to_owned(),
            shape: x.shape.get(1..).unwrap_or_default().to_vec(),
            labels: y.labels().map_err(refused(labels))?,
            features: features(&x).map_err(refused(samples))?,
        };
        if x.shape.first() != Some(&part.len()) {
            return Err(refused(labels)(DataFault::Count {
                labels: part.len(),
                samples: x.shape.first().copied().unwrap_or(0),
                of: "samples",
            }));
        }
        Self::split(part)
    }

    /// Both parts of samples that somebody else has not parted.
    fn split(all: Part) -> Result<Self> {
        if all.is_empty() {
            return Err(Error::Data {
                path: all.file,
                reason: DataFault::Empty { of: "samples" },
            });
        }
        let words = Words::new(0, stream::SHUFFLE, u32::MAX); // an epoch that no training has
        let mut numbers: Vec<usize> = (0..all.len()).collect();
        numbers.sort_by_key(|&number| (words.word(number as u32), number));
        let (test, train) = numbers.split_at_mut(all.len().div_ceil(5));
        for part in [&mut *test, &mut *train] {
            part.sort_unstable();
        }
        Ok(Self {
            name: all.file.display().to_string(),
            train: all.pick(train),
            test: all.pick(test),
        })
    }

    /// Refuses what no training takes: samples that are [none for the network](Part::check), fewer than a batch of them, or
    /// more than an epoch shuffles.
    ///
    /// # Errors
    /// [`Error::Data`], [`Error::TooFew`], [`Error::TooMany`].
    pub fn check(&self, features: usize, classes: usize, batch: usize) -> Result<()> {
        for part in [&self.train, &self.test] {
            part.check(features, classes)?;
        }
        match self.train.len() {
            found if found < batch => Err(Error::TooFew { found, batch }),
            found if found > MOST => Err(Error::TooMany { found, most: MOST }),
            _ => Ok(()),
        }
    }
}

/// What the samples of an array have.
pub(crate) fn features(array: &Array) -> std::result::Result<Features, DataFault> {
    if array.dtype == DType::U8 {
        return Ok(Features::Pixels(array.bytes().to_vec()));
    }
    let numbers = array.numbers();
    let narrow: Vec<f32> = numbers.iter().map(|&number| number as f32).collect();
    match narrow.iter().position(|number| !number.is_finite()) {
        None => Ok(Features::Numbers(narrow)),
        Some(index) => Err(DataFault::NotFinite {
            index,
            value: numbers.get(index).copied().unwrap_or(f64::NAN),
        }),
    }
}

impl From<Digits> for Part {
    fn from(digits: Digits) -> Self {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for (label, inks) in (0..).map_while(|index| digits.get(index)) {
            pixels.extend(inks.iter().map(|ink| ink.saturating_mul(16)));
            labels.push(label.into());
        }
        Self {
            file: "digits".into(),
            shape: vec![SIDE, SIDE],
            features: Features::Pixels(pixels),
            labels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DataSet, Features, Part};

    fn numbered(samples: usize) -> Part {
        Part {
            file: "numbers".into(),
            shape: vec![2],
            features: Features::Numbers((0..2 * samples).map(|i| i as f32).collect()),
            labels: (0..samples as u16).collect(),
        }
    }

    #[test]
    fn one_sample_in_five_is_to_test_with() {
        for samples in [2, 5, 6, 100] {
            let set = DataSet::split(numbered(samples)).unwrap();
            assert_eq!(set.test.len(), samples.div_ceil(5));
            let mut all = [&*set.train.labels, &*set.test.labels].concat();
            assert!(set.test.labels.is_sorted() && set.train.labels.is_sorted());
            all.sort_unstable();
            assert_eq!(all, numbered(samples).labels);
            let Features::Numbers(numbers) = &set.test.features else {
                panic!("{:?}", set.test.features);
            };
            let expected = set
                .test
                .labels
                .iter()
                .flat_map(|&label| [2 * label, 2 * label + 1]);
            assert!(numbers.iter().copied().eq(expected.map(f32::from)));
            assert_eq!(DataSet::split(numbered(samples)).unwrap(), set);
        }
        assert_eq!(DataSet::split(numbered(1)).unwrap().train.len(), 0);
        assert!(DataSet::split(numbered(0)).is_err());
    }

    #[test]
    fn what_does_not_fit_a_network_is_named() {
        let part = numbered(4);
        assert!(part.check(2, 4).is_ok());
        let error = part.check(3, 4).unwrap_err().to_string();
        assert!(
            error.contains("2 features") && error.contains("takes 3"),
            "{error}"
        );
        let error = part.check(2, 3).unwrap_err().to_string();
        assert!(error.contains("numbers: label 3 at position 3"), "{error}");
    }
}
