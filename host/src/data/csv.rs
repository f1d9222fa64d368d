//! Tables: a header, then a sample in each row.

use super::{Features, Part};
use crate::error::{DataFault, Error, Result};
use ::csv::{ReaderBuilder, StringRecord, Trim};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The rows of a file.
pub(super) fn read(path: &Path, label: &str) -> Result<Part> {
    let read = || {
        let (features, numbers, labels) = rows(File::open(path)?, label)?;
        Ok(Part {
            file: path.to_owned(),
            shape: vec![features],
            features: Features::Numbers(numbers),
            labels,
        })
    };
    read().map_err(|reason| Error::Data {
        path: path.to_owned(),
        reason,
    })
}

type Rows = (usize, Vec<f32>, Vec<u16>);

/// Numbers of a row, those of all rows, and the classes in the column `label`.
fn rows(file: impl Read, label: &str) -> std::result::Result<Rows, DataFault> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(file);
    let columns = reader.headers()?.clone();
    let class = columns.iter().position(|column| column == label);
    let class = class.ok_or_else(|| DataFault::Column {
        column: label.to_owned(),
        columns: columns.iter().collect::<Vec<_>>().join(", "),
    })?;
    let (mut numbers, mut labels) = (Vec::new(), Vec::new());
    let mut row = StringRecord::new();
    while reader.read_record(&mut row)? {
        let line = row.position().map_or(0, |position| position.line());
        for (at, (column, text)) in columns.iter().zip(&row).enumerate() {
            let cell = |expected| DataFault::Cell {
                line,
                column: column.to_owned(),
                expected,
                found: text.to_owned(),
            };
            if at == class {
                let label = text.parse().ok().and_then(self::class);
                labels.push(label.ok_or_else(|| cell("a class from 0 to 65535"))?);
            } else {
                let number = text.parse().ok().filter(|number: &f32| number.is_finite());
                numbers.push(number.ok_or_else(|| cell("a finite number"))?);
            }
        }
    }
    if labels.is_empty() || numbers.is_empty() {
        return Err(DataFault::Empty { of: "samples" });
    }
    Ok((columns.len() - 1, numbers, labels)) // the class is one of them
}

/// A number as the class that it is.
pub(crate) fn class(number: f64) -> Option<u16> {
    let class = number as u16; // saturates
    (f64::from(class) == number).then_some(class)
}

#[cfg(test)]
mod tests {
    use super::{class, rows};

    #[test]
    fn rows_are_samples() {
        let text = "a, kind ,b\n1,0,-2.5\n 3e2 , 1.0, 4\n";
        let expected = (2, vec![1.0, -2.5, 300.0, 4.0], vec![0, 1]);
        assert_eq!(rows(text.as_bytes(), "kind").unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_column() {
        for (text, parts) in [
            ("a,b\n1,2\n", &["no column `kind`", "a, b"][..]),
            ("a,kind\n1,0\nx,1\n", &["line 3", "`a`", "`x`", "number"]),
            (
                "a,kind\n1,0\nNaN,1\n",
                &["line 3", "`a`", "`NaN`", "finite"],
            ),
            ("a,kind\n1,0\n1e99,1\n", &["line 3", "`1e99`", "finite"]),
            ("a,kind\n1,0\n,1\n", &["line 3", "`a`", "``"]),
            ("a,kind\n1,-1\n", &["line 2", "`kind`", "`-1`", "class"]),
            ("a,kind\n1,1.5\n", &["line 2", "`kind`", "`1.5`"]),
            ("a,kind\n1,65536\n", &["line 2", "`65536`", "65535"]),
            ("a,kind\n1,0\n1\n", &["line: 3"]), // as the reader says it
            ("a,kind\n", &["no samples"]),
            ("kind\n1\n", &["no samples"]),
            ("", &["no column"]),
        ] {
            let error = rows(text.as_bytes(), "kind").unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{text}: {error}");
            }
        }
        assert!(rows(&b"a,kind\n\xFF,1\n"[..], "kind").is_err());
    }

    #[test]
    fn classes_are_whole() {
        assert_eq!(
            [0.0, 9.0, 65_535.0].map(class),
            [Some(0), Some(9), Some(65_535)]
        );
        for number in [-1.0, 0.5, 65_536.0, f64::NAN, f64::INFINITY] {
            assert_eq!(class(number), None);
        }
    }
}
