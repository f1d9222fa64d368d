//! `selvedge run`.

use crate::data::{Part, features};
use crate::dtype::by_dtype;
use crate::error::{DataFault, Error, Result};
use crate::files::{self, Aligned};
use crate::npy::{self, Array};
use crate::runner::{Given, Runner, description};
use selvedge_core::image::Port;
use selvedge_core::network::Description;
use selvedge_core::{DType, Element};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Run an image on samples.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge run model.svi --input x.npy                   a table
  selvedge run model.svi --input x.npy --output y.npy    for other programs
  selvedge run model.svi --input x.npy --json

The first axis of x.npy counts the samples; the other axes are those of one. More samples than the image takes at a
time are run in pieces. Floats, and uint8 as pixels, become the network's input as `selvedge train` makes them of
npy:X.npy:Y.npy, divided by what the image remembers. An integer network also takes integers of its own type, and
gives integers: an element q stands for q * 2^exponent, or in unsigned types, whose zero is in the middle of their
range, (q - zero) * 2^exponent. Tables and --json say the exponent. NumPy has no bf16: outputs of bf16 are float32.")]
pub(super) struct Run {
    /// The image.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The samples: an array of NumPy.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Write what comes out to this file, an array of NumPy.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What came out.
struct Outputs {
    array: Array,
    /// Of the elements that the network gives.
    dtype: DType,
    exponent: i32,
    /// What the elements stand for, `[samples, elements]`.
    values: Vec<f64>,
}

impl Run {
    pub(super) fn run(&self) -> Result<()> {
        let file = Aligned::new(&files::read(&self.model)?);
        let image = file.image(&self.model)?;
        let mut arena = vec![0; image.arena_bytes()];
        let mut runner = Runner::new(&image, &mut arena, &self.model)?;
        let x = npy::read(&self.input)?;
        let samples = samples_of(&x, runner.input).map_err(refused(&self.input))?;
        let out = self.output.as_deref().map(files::target).transpose()?;

        let description = description(file.bytes());
        runner.check_samples(description.as_ref(), samples, runner.samples)?;
        let exponents = description.as_ref().map(|of| of.input_exponents.clone());
        let exponents = exponents.unwrap_or_default();
        let is_own = runner.input.dtype.is_integer() && runner.input.dtype == x.dtype;
        let part;
        let given = if is_own {
            Given::Own(&x)
        } else {
            runner.check_numbers()?;
            part = numbers(&x, runner.input, &self.input)?;
            Given::Numbers(part.scaled(&exponents))
        };
        let shape = [vec![samples], shape_of(description.as_ref(), runner.output)].concat();
        let outputs = by_dtype!(runner.output.dtype, H => {
            let (elements, exponent) = runner.outputs::<H>(&given)?;
            let unit = f64::from(exponent).exp2();
            Outputs {
                array: Array::new(shape, &elements),
                dtype: H::DTYPE,
                exponent,
                values: elements.iter().map(|element| element.to_f64() * unit).collect(),
            }
        });
        if let Some(out) = out {
            let failed = files::failed(out.path());
            out.write(&outputs.array.to_file()).map_err(failed)?;
        }
        self.print(&outputs)
    }

    fn print(&self, outputs: &Outputs) -> Result<()> {
        let samples = outputs.array.shape.first().copied().unwrap_or(0);
        let each = outputs
            .values
            .len()
            .checked_div(samples)
            .unwrap_or(0)
            .max(1);
        let output = self.output.as_ref().map(|path| path.display().to_string());
        if self.json {
            let values: Vec<_> = outputs.values.chunks(each).collect();
            let object = json!({
                "samples": samples,
                "shape": outputs.array.shape,
                "dtype": outputs.dtype.name(),
                "exponent": outputs.exponent,
                "output": output,
                "values": output.is_none().then_some(values),
            });
            println!("{object}");
            return Ok(());
        }
        let unit = match outputs.dtype.is_integer() {
            true => format!(", an element stands for q * 2^{}", outputs.exponent),
            false => String::new(),
        };
        match output {
            Some(path) => {
                let shape = &outputs.array.shape;
                println!("{path}: {} of {shape:?}{unit}", outputs.dtype);
            }
            None => print!("{}", table(&outputs.values, each, &unit)),
        }
        Ok(())
    }
}

fn refused(path: &Path) -> impl Fn(DataFault) -> Error + '_ {
    move |reason| Error::Data {
        path: path.to_owned(),
        reason,
    }
}

/// How many samples `x` has for an input like this.
fn samples_of(x: &Array, input: Port) -> std::result::Result<usize, DataFault> {
    match x.shape.split_first() {
        Some((0, _)) => Err(DataFault::Empty { of: "samples" }),
        Some((&samples, of_sample)) if of_sample.iter().product::<usize>() == input.len => {
            Ok(samples)
        }
        _ => Err(DataFault::Shape {
            expected: input.len,
            found: x.shape.clone(),
        }),
    }
}

/// The samples of `x` as numbers, which have no labels.
fn numbers(x: &Array, input: Port, path: &Path) -> Result<Part> {
    if x.dtype.is_integer() && x.dtype != DType::U8 {
        return Err(refused(path)(DataFault::ElementsOfModel {
            expected: input.dtype,
            found: x.dtype,
        }));
    }
    Ok(Part {
        file: path.to_owned(),
        shape: x.shape.get(1..).unwrap_or_default().to_vec(),
        features: features(x).map_err(refused(path))?,
        labels: vec![0; x.shape.first().copied().unwrap_or(0)],
    })
}

/// Extents of an output, flat if the image does not say.
fn shape_of(description: Option<&Description>, output: Port) -> Vec<usize> {
    let summary = description.and_then(|of| of.network.summary(of.dtype()?, &of.options).ok());
    let shape = summary.and_then(|layers| Some(layers.last()?.output.clone()));
    let shape = shape.filter(|shape| shape.iter().product::<usize>() == output.len);
    shape.unwrap_or_else(|| vec![output.len])
}

/// Columns of the widest table.
const MOST_COLUMNS: usize = 12;

/// A line for each sample: which output is the largest, and the first ones.
fn table(values: &[f64], each: usize, unit: &str) -> String {
    let mut out = format!("{:>6} {:>7}", "sample", "largest");
    for column in 0..each.min(MOST_COLUMNS) {
        let _ = write!(out, " {column:>9}");
    }
    out += if each > MOST_COLUMNS { " ...\n" } else { "\n" };
    for (sample, row) in values.chunks(each).enumerate() {
        let largest = row
            .iter()
            .enumerate()
            .max_by(|(_, a), (_, b)| a.total_cmp(b));
        let largest = largest.map_or(0, |(index, _)| index);
        let _ = write!(out, "{sample:>6} {largest:>7}");
        for value in row.iter().take(MOST_COLUMNS) {
            let _ = write!(out, " {value:>9.4}");
        }
        out += "\n";
    }
    if !unit.is_empty() {
        let _ = writeln!(out, "\nElements as the numbers that they stand for{unit}");
    }
    out
}
