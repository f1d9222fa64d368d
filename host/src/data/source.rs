//! Data sets by name, as the command line has them.

use super::DataSet;
use crate::error::Result;
use std::path::PathBuf;
use std::str::FromStr;

/// Where samples come from.
///
/// # Example
/// ```
/// use selvedge::data::Source;
/// let source: Source = "csv:iris.csv:label=species".parse()?;
/// assert_eq!(source, Source::Csv { file: "iris.csv".into(), label: "species".into() });
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// `digits`: [`DataSet::digits`].
    Digits,
    /// `idx:DIR`: [`DataSet::idx`].
    Idx(PathBuf),
    /// `csv:FILE:label=COLUMN`: [`DataSet::csv`].
    Csv {
        /// The table.
        file: PathBuf,
        /// The column that has the classes.
        label: String,
    },
    /// `npy:X.npy:Y.npy`: [`DataSet::npy`].
    Npy {
        /// The samples.
        samples: PathBuf,
        /// Their classes.
        labels: PathBuf,
    },
}

impl Source {
    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data).
    pub fn load(&self) -> Result<DataSet> {
        match self {
            Self::Digits => Ok(DataSet::digits()),
            Self::Idx(folder) => DataSet::idx(folder),
            Self::Csv { file, label } => DataSet::csv(file, label),
            Self::Npy { samples, labels } => DataSet::npy(samples, labels),
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let source = match text.split_once(':') {
            None if text == "digits" => Some(Self::Digits),
            Some(("idx", folder)) if !folder.is_empty() => Some(Self::Idx(folder.into())),
            Some(("csv", rest)) => rest.rsplit_once(":label=").map(|(file, label)| Self::Csv {
                file: file.into(),
                label: label.to_owned(),
            }),
            Some(("npy", rest)) => rest.rsplit_once(':').map(|(samples, labels)| Self::Npy {
                samples: samples.into(),
                labels: labels.into(),
            }),
            _ => None,
        };
        let forms = "expected `digits`, `idx:DIR`, `csv:FILE:label=COLUMN` or `npy:X.npy:Y.npy`";
        source.ok_or_else(|| forms.to_owned())
    }
}
