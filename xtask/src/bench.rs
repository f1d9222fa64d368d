//! `cargo xtask bench`: the criterion benches, and a table of what they have measured.

use crate::Result;
use crate::run::{check, command};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Run the criterion benches; arguments after `--` go to criterion. Prints a table of all results
/// that there are, also of earlier runs.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Print the table only.
    #[arg(long)]
    table: bool,
    /// Passed on, for example a name to filter by.
    #[arg(last = true)]
    criterion: Vec<String>,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<()> {
        if !self.table {
            let mut cargo = command(
                "cargo",
                &["bench", "--package", "selvedge-benches", "--benches", "--"],
            );
            check(cargo.args(&self.criterion))?;
        }
        print_table(&read(Path::new("target/criterion"))?);
        Ok(())
    }
}

/// The columns: element types.
const TYPES: [&str; 12] = [
    "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "f16", "bf16", "f32", "f64",
];

/// Billions a second, by kernel and type.
type Rates = BTreeMap<String, BTreeMap<String, f64>>;

/// What criterion keeps in `folder`, `kernel/type/new`.
fn read(folder: &Path) -> Result<Rates> {
    let mut rates = Rates::new();
    for kernel in entries(folder)? {
        for of_type in entries(&kernel)? {
            let file = |name| fs::read_to_string(of_type.join("new").join(name)).ok();
            let json = |name| file(name).and_then(|text| serde_json::from_str::<Value>(&text).ok());
            let (Some(benchmark), Some(estimates)) =
                (json("benchmark.json"), json("estimates.json"))
            else {
                continue; // a report
            };
            let elements = benchmark
                .pointer("/throughput/Elements")
                .and_then(Value::as_f64);
            let nanoseconds = estimates
                .pointer("/median/point_estimate")
                .and_then(Value::as_f64);
            let name = |key| {
                benchmark
                    .get(key)
                    .and_then(Value::as_str)
                    .map(str::to_owned)
            };
            if let (Some(elements), Some(nanoseconds), Some(kernel), Some(of_type)) =
                (elements, nanoseconds, name("group_id"), name("function_id"))
            {
                let rate = elements / nanoseconds;
                rates.entry(kernel).or_default().insert(of_type, rate);
            }
        }
    }
    Ok(rates)
}

fn entries(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect())
}

fn print_table(rates: &Rates) {
    println!("\nBillions a second, by the median of each benchmark:\n");
    println!("| kernel | {} | i8 / f32 |", TYPES.join(" | "));
    println!("|---|{}", "---|".repeat(TYPES.len() + 1));
    for (kernel, rates) in rates {
        if !TYPES.iter().any(|name| rates.contains_key(*name)) {
            continue; // of no type
        }
        let cell = |name: &str| {
            rates
                .get(name)
                .map_or_else(|| "-".to_owned(), |&r| digits(r))
        };
        let cells: Vec<String> = TYPES.iter().map(|name| cell(name)).collect();
        let ratio = match (rates.get("i8"), rates.get("f32")) {
            (Some(i8), Some(f32)) => format!("{:.2}", i8 / f32),
            _ => "-".to_owned(),
        };
        println!("| {kernel} | {} | {ratio} |", cells.join(" | "));
    }
}

/// Three significant digits.
fn digits(x: f64) -> String {
    match x {
        x if x >= 99.95 => format!("{x:.0}"),
        x if x >= 9.995 => format!("{x:.1}"),
        x if x >= 0.9995 => format!("{x:.2}"),
        x => format!("{x:.3}"),
    }
}
