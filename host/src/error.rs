//! What can go wrong on a host, and in which file.

use selvedge_core::DType;
use selvedge_core::image::Role;
use selvedge_core::network;
use std::io;
use std::path::{Path, PathBuf};

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
        source: network::Error,
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
    /// There is no built-in network for samples of this shape.
    #[error(
        "no network for samples of {found}: there is one for 8x8 and one for 28x28; --config FILE describes others"
    )]
    Size {
        /// Extents of a sample.
        found: String,
    },
    /// The training part does not fill a batch.
    #[error("{found} samples to train on do not fill a batch of {batch}")]
    TooFew {
        /// Samples of the training part.
        found: usize,
        /// Samples of a batch.
        batch: usize,
    },
    /// The training part is too large.
    #[error("{found} samples to train on; an epoch takes at most {most}")]
    TooMany {
        /// Samples of the training part.
        found: usize,
        /// Samples of an epoch.
        most: usize,
    },
    /// A network takes or gives what samples with a class each do not have.
    #[error("{}: {reason}", path.display())]
    Unfit {
        /// The description, or the image.
        path: PathBuf,
        /// Why.
        reason: ModelFault,
    },
    /// The network refused.
    #[error("training: {0}")]
    Network(#[from] selvedge_core::Error),
    /// The session refused.
    #[error("{}: {source}", path.display())]
    Session {
        /// The description, or the image.
        path: PathBuf,
        /// Why.
        source: selvedge_core::session::Error,
    },
    /// The loss is no number any more.
    #[error("the loss of epoch {epoch} is {loss}: a lower --rate may help")]
    Diverged {
        /// Which, from 1.
        epoch: u32,
        /// Mean over its samples.
        loss: f64,
    },
    /// The outcome cannot be written as JSON.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Options that do not go together.
    #[error("{0}")]
    Usage(String),
    /// A training thread ended early.
    #[error("a training thread panicked")]
    Thread,
}

/// Says which description could not be compiled.
pub(crate) fn compile_refused(path: &Path) -> impl Fn(network::Error) -> Error + '_ {
    move |source| Error::Compile {
        path: path.to_owned(),
        source,
    }
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
    #[error("it holds no {of}")]
    Empty {
        /// Of what.
        of: &'static str,
    },
    /// There is too much in it.
    #[error("it holds {found} images; an epoch takes at most {most}")]
    TooMany {
        /// Images.
        found: usize,
        /// The most.
        most: usize,
    },
    /// Images of another size.
    #[error("its images are {}x{}; expected {expected}", .found[0], .found[1])]
    Size {
        /// Rows and columns of an image.
        found: [usize; 2],
        /// What they may be.
        expected: String,
    },
    /// As many labels as samples are needed.
    #[error("it holds {labels} labels for {samples} {of}")]
    Count {
        /// Labels found.
        labels: usize,
        /// Samples in the file beside it.
        samples: usize,
        /// What these are.
        of: &'static str,
    },
    /// A label is no class of the network.
    #[error("label {label} at position {index} is not one of 0 to {}", .classes.saturating_sub(1))]
    Label {
        /// Position, from 0.
        index: usize,
        /// The label.
        label: u16,
        /// Classes of the network.
        classes: usize,
    },
    /// The network takes samples of another size.
    #[error("its samples have {found} features; the network takes {expected}")]
    Features {
        /// Elements of an input of the network.
        expected: usize,
        /// Elements of a sample.
        found: usize,
    },
    /// A file is no table.
    #[error("{0}")]
    Csv(#[from] csv::Error),
    /// A table lacks a column.
    #[error("no column `{column}`; there are {columns}")]
    Column {
        /// The column that was asked for.
        column: String,
        /// Those that there are.
        columns: String,
    },
    /// A cell of a table holds something else.
    #[error("line {line}, column `{column}`: expected {expected}, found `{found}`")]
    Cell {
        /// Line of the file, from 1.
        line: u64,
        /// The column.
        column: String,
        /// What a cell of it holds.
        expected: &'static str,
        /// What it holds.
        found: String,
    },
    /// A file is no array of NumPy.
    #[error("no NumPy array: it does not begin with a header of one")]
    NoArray,
    /// Elements of a type that is not read.
    #[error("its elements are `{found}`; whole numbers and floats are read, of up to 8 bytes")]
    Elements {
        /// As NumPy names it.
        found: String,
    },
    /// The elements lie column by column.
    #[error("its elements are in Fortran order; numpy.ascontiguousarray brings them to C's")]
    Fortran,
    /// An element is no number.
    #[error("element {index} is {value}; expected a finite number")]
    NotFinite {
        /// Position, from 0, row-major.
        index: usize,
        /// The element.
        value: f64,
    },
    /// An element is no class.
    #[error("element {index} is {value}; expected a class from 0 to 65535")]
    Class {
        /// Position, from 0, row-major.
        index: usize,
        /// The element.
        value: f64,
    },
    /// An array has other extents than a model takes.
    #[error(
        "its shape is {found:?}; the model takes samples of {expected} elements behind the first axis"
    )]
    Shape {
        /// Elements of a sample.
        expected: usize,
        /// Extents of the array.
        found: Vec<usize>,
    },
    /// An array has elements that a model does not take.
    #[error("its elements are {found}; the model takes its own {expected}, or floats")]
    ElementsOfModel {
        /// Of the model.
        expected: DType,
        /// Of the array.
        found: DType,
    },
}

/// Why a network is not fed or read as it would have to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelFault {
    /// It has no program of this role.
    #[error("the image has no program `{}`", .0.name())]
    Program(Role),
    /// It takes tokens.
    #[error("its input are tokens, which samples of numbers are not")]
    Tokens,
    /// It takes more than samples.
    #[error("it takes {found} inputs; samples are one")]
    Inputs {
        /// Inputs.
        found: usize,
    },
    /// An output asks for more than a label says: it has several rows, or is no class each.
    #[error("an output is asked for {got} numbers of each sample, where a label makes {expected}")]
    Asked {
        /// What a label makes.
        expected: usize,
        /// What is asked for.
        got: usize,
    },
    /// Its samples are the positions of one sequence.
    #[error(
        "its samples are up to {positions} positions of one sequence: samples by themselves, or more positions, would see each other"
    )]
    Sequence {
        /// Positions of a run.
        positions: usize,
    },
    /// Pieces of an input have exponents of their own.
    #[error(
        "it has not been trained, so that each run of {samples} samples would have exponents of its own; `selvedge convert --samples N` makes an image that takes more"
    )]
    Pieces {
        /// Samples of a run.
        samples: usize,
    },
}
