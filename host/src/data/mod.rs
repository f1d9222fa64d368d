//! Labelled images to train on and to test with.

mod idx;

use crate::error::Result;
use selvedge_core::Element;
use selvedge_core::train::{Pixels, Samples};
use selvedge_digits::{Digits, SIDE};
use std::path::Path;

/// Grey images of one size, each with a label from 0 to 9.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Rows of an image.
    pub rows: usize,
    /// Columns of an image.
    pub columns: usize,
    /// `[images, rows, columns]`: 0 is paper, 255 ink.
    pub pixels: Vec<u8>,
    /// `[images]`.
    pub labels: Vec<u8>,
}

impl Images {
    /// Pixels and label of image `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<(&[u8], u8)> {
        let len = self.rows * self.columns;
        let start = index.checked_mul(len)?;
        Some((
            self.pixels.get(start..start + len)?,
            *self.labels.get(index)?,
        ))
    }
}

impl Samples for Images {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn read<T: Element>(&self, index: usize, x: &mut [T]) -> Option<u16> {
        Pixels {
            pixels: &self.pixels,
            labels: &self.labels,
        }
        .read(index, x)
    }
}

impl From<Digits> for Images {
    fn from(digits: Digits) -> Self {
        let mut images = Self {
            rows: SIDE,
            columns: SIDE,
            pixels: Vec::new(),
            labels: Vec::new(),
        };
        for (label, pixels) in (0..digits.len()).filter_map(|index| digits.get(index)) {
            images
                .pixels
                .extend(pixels.iter().map(|ink| ink.saturating_mul(16)));
            images.labels.push(label);
        }
        images
    }
}

/// A training part and a test part with images of the same size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSet {
    /// What it is, in a report.
    pub name: String,
    /// To learn from.
    pub train: Images,
    /// To be measured on.
    pub test: Images,
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
    /// [`Error::Data`](crate::Error::Data) with the file and what is wrong with it: missing, cut
    /// off, no gzip, no IDX, no images, not 28×28, more or fewer labels than images, a label above 9.
    pub fn idx(folder: &Path) -> Result<Self> {
        Ok(Self {
            name: format!("IDX files in {}", folder.display()),
            train: idx::read(folder, "train")?,
            test: idx::read(folder, "t10k")?,
        })
    }
}
