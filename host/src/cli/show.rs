//! Outcomes as text.

use crate::data::DataSet;
use crate::error::Result;
use crate::report::shown;
use crate::training::{Evaluation, Outcome, Settings};
use selvedge_core::DType;
use serde::Serialize;
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;

/// A line for each type.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let mut out = format!(
        "{:<5} {:>9} {:>13} {:>8} {:>10}  {}\n",
        "type", "accuracy", "training RAM", "flash", "samples/s", "fingerprint"
    );
    for outcome in outcomes {
        let _ = writeln!(
            out,
            "{:<5} {:>7.2} % {:>11} B {:>6} B {:>10.0}  {:.16}",
            outcome.dtype.name(),
            100.0 * outcome.accuracy(),
            outcome.ram_bytes,
            outcome.flash_bytes,
            outcome.samples_per_second,
            outcome.fingerprint,
        );
    }
    out
}

/// Digits of a line.
const PER_LINE: usize = 4;
/// From paper to ink.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// Some test images, two characters a pixel, with what they were read as; nothing where samples are none.
pub(super) fn digits(set: &DataSet, outcome: &Outcome) -> String {
    let Some([rows, columns]) = set.test.image_size() else {
        return String::new();
    };
    let mut out = format!("Test images as the {} network reads them:\n", outcome.dtype);
    let width = 2 * columns;
    // The last ones are misread, if any are.
    let mut indices = shown(&outcome.test);
    indices.drain(
        PER_LINE
            ..indices
                .len()
                .saturating_sub(PER_LINE)
                .max(PER_LINE)
                .min(indices.len()),
    );
    for line in indices.chunks(PER_LINE) {
        let images: Vec<_> = line
            .iter()
            .filter_map(|&index| Some((set.test.image(index)?, outcome.test.class(index)?)))
            .collect();
        for row in 0..rows {
            for ((pixels, _), _) in &images {
                let pixels = pixels.chunks(columns.max(1)).nth(row).unwrap_or_default();
                for &ink in pixels {
                    let shade = SHADES
                        .get(usize::from(ink) * SHADES.len() / 256)
                        .copied()
                        .unwrap_or(' ');
                    out.extend([shade, shade]);
                }
                out += "   ";
            }
            out.truncate(out.trim_end().len());
            out += "\n";
        }
        for ((_, label), class) in &images {
            let mark = if label == class { "" } else { ", wrong" };
            let _ = write!(
                out,
                "{:<width$}   ",
                format!("{label} read as {class}{mark}")
            );
        }
        out.truncate(out.trim_end().len());
        out += "\n\n";
    }
    out
}

/// Classes of the largest matrix that a terminal shows.
const MOST_CLASSES: usize = 32;

/// The confusion matrix.
pub(super) fn confusion(dtype: DType, evaluation: &Evaluation) -> String {
    let confusion = evaluation.confusion().unwrap_or_default();
    if confusion.is_empty() || confusion.len() > MOST_CLASSES {
        return format!("Confusion of {dtype}: too many classes for a terminal\n");
    }
    let mut out =
        format!("Confusion of {dtype} (row: what it is, column: what it was read as):\n    ");
    for class in 0..confusion.len() {
        let _ = write!(out, "{class:>5}");
    }
    for (label, row) in confusion.iter().enumerate() {
        let _ = write!(out, "\n{label:>4}");
        for count in row {
            let text = if *count == 0 {
                "·".to_owned()
            } else {
                count.to_string()
            };
            let _ = write!(out, "{text:>5}");
        }
    }
    out += "\n";
    out
}

#[derive(Serialize)]
struct Summary<'a> {
    data: &'a str,
    seed: u32,
    epochs: u32,
    train: usize,
    test: usize,
    runs: Vec<Row<'a>>,
    report: Option<String>,
}

#[derive(Serialize)]
struct Row<'a> {
    dtype: &'a str,
    accuracy: f64,
    train_ram_bytes: usize,
    flash_bytes: usize,
    samples_per_s: f64,
    fingerprint: String,
    loss: &'a [f64],
    test_accuracy: &'a [f64],
    confusion: Option<Vec<Vec<u32>>>,
}

/// One object with everything.
pub(super) fn runs(
    set: &DataSet,
    settings: Settings,
    outcomes: &[Outcome],
    report: Option<&Path>,
) -> Result<String> {
    let runs = outcomes
        .iter()
        .map(|outcome| Row {
            dtype: outcome.dtype.name(),
            accuracy: outcome.accuracy(),
            train_ram_bytes: outcome.ram_bytes,
            flash_bytes: outcome.flash_bytes,
            samples_per_s: outcome.samples_per_second,
            fingerprint: outcome.fingerprint.to_string(),
            loss: &outcome.losses,
            test_accuracy: &outcome.accuracies,
            confusion: outcome.test.confusion(),
        })
        .collect();
    let summary = Summary {
        data: &set.name,
        seed: settings.seed,
        epochs: settings.epochs,
        train: set.train.len(),
        test: set.test.len(),
        runs,
        report: report.map(|path| path.display().to_string()),
    };
    Ok(serde_json::to_string_pretty(&summary)?)
}

/// One object with everything of a described network, and the files that were written.
pub(super) fn trained(
    set: &DataSet,
    settings: Settings,
    outcome: &Outcome,
    [out, report]: [Option<&Path>; 2],
) -> Result<String> {
    let path = |path: Option<&Path>| path.map(|path| path.display().to_string());
    let object = json!({
        "data": set.name,
        "dtype": outcome.dtype.name(),
        "seed": settings.seed,
        "epochs": settings.epochs,
        "train": set.train.len(),
        "test": set.test.len(),
        "accuracy": outcome.accuracy(),
        "loss": outcome.losses.last(),
        "accuracies": outcome.accuracies,
        "losses": outcome.losses,
        "confusion": outcome.test.confusion(),
        "train_ram_bytes": outcome.ram_bytes,
        "flash_bytes": outcome.flash_bytes,
        "samples_per_s": outcome.samples_per_second,
        "fingerprint": outcome.fingerprint.to_string(),
        "out": path(out),
        "report": path(report),
    });
    Ok(serde_json::to_string_pretty(&object)?)
}
