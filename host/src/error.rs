//! What can go wrong on a host, and in which file.

use std::io;
use std::path::PathBuf;

/// The result of what touches files or trains.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of a data set is missing, broken or holds what does not belong there.
    #[error("{}: {reason}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: DataFault,
    },
    /// The report cannot be written.
    #[error("{}: the report cannot be written: {source}", path.display())]
    Report {
        /// The report.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A description of a network is none.
    #[error("{}: {source}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// A description cannot be compiled.
    #[error("{}: {source}", path.display())]
    Compile {
        /// The file.
        path: PathBuf,
        /// Why, with the path of the layer.
        source: selvedge_core::network::Error,
    },
    /// A file is neither a description nor an image.
    #[error("{}: neither a description (JSON) nor an image (it does not begin with SLVG)", path.display())]
    NeitherModel {
        /// The file.
        path: PathBuf,
    },
    /// An image says nothing of its layers.
    #[error("{}: no description in it that this build reads, so there is no map", path.display())]
    NoDescription {
        /// The file.
        path: PathBuf,
    },
    /// A file is no image.
    #[error("{}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: selvedge_core::image::Error,
    },
    /// A plot cannot be drawn.
    #[error("plot: {0}")]
    Plot(String),
    /// There is no network for images of this size.
    #[error("no network for images of {rows}x{columns}: there is one for 8x8 and one for 28x28")]
    Size {
        /// Rows of an image.
        rows: usize,
        /// Columns of an image.
        columns: usize,
    },
    /// The training part does not fill a batch.
    #[error("{found} training images do not fill a batch of {batch}")]
    TooFew {
        /// Images of the training part.
        found: usize,
        /// Images of a batch.
        batch: usize,
    },
    /// The network refused.
    #[error("training: {0}")]
    Network(#[from] selvedge_core::Error),
    /// The outcome cannot be written as JSON.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A training thread ended early.
    #[error("a training thread panicked")]
    Thread,
}

/// What is wrong with a file of a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataFault {
    /// Neither the file nor its `.gz` is there.
    #[error("no such file, nor with .gz behind it")]
    Missing,
    /// Reading failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The name ends in `.gz`, the content is something else.
    #[error("not a gzip file: {0}")]
    NotGzip(io::Error),
    /// The file does not begin as an IDX file of its kind.
    #[error("not an IDX file of {kind}: it begins with {found:#010x} instead of {expected:#010x}")]
    Magic {
        /// What was expected: images or labels.
        kind: &'static str,
        /// The first four bytes.
        found: u32,
        /// What they should be.
        expected: u32,
    },
    /// The file ends too early.
    #[error("truncated: its header asks for {expected} bytes, and {found} follow")]
    Truncated {
        /// Bytes that the header asks for.
        expected: u64,
        /// Bytes that follow it.
        found: u64,
    },
    /// The file ends within its header.
    #[error("truncated: it ends within its header")]
    Header,
    /// The file goes on after its end.
    #[error("more than the {expected} bytes that its header asks for")]
    Trailing {
        /// Bytes that the header asks for.
        expected: u64,
    },
    /// There is nothing in it.
    #[error("it holds no images")]
    Empty,
    /// There is too much in it.
    #[error("it holds {found} images; an epoch takes at most 65536")]
    TooMany {
        /// Images.
        found: u32,
    },
    /// Images of a size that there is no network for.
    #[error("its images are {rows}x{columns}; only 28x28 is supported")]
    Size {
        /// Rows of an image.
        rows: u32,
        /// Columns of an image.
        columns: u32,
    },
    /// As many labels as images are needed.
    #[error("it holds {labels} labels for {images} images")]
    Count {
        /// Labels found.
        labels: u32,
        /// Images in the file beside it.
        images: usize,
    },
    /// A label is not a digit.
    #[error("label {label} at position {index} is not one of 0 to 9")]
    Label {
        /// Position, from 0.
        index: usize,
        /// The label.
        label: u8,
    },
}
