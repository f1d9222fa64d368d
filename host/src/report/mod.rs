//! What a training has come to, as one HTML file that needs nothing else.

pub(crate) mod map;
mod plot;

use crate::data::DataSet;
use crate::error::{Error, Result};
use crate::files::Target;
use crate::training::{Evaluation, Outcome, Settings};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// How many test images a report shows.
const SHOWN: usize = 20;

/// A report that is going to be written: its place is known to be writable, and nothing stands
/// there before [`Report::write`].
#[derive(Debug)]
pub struct Report(Target);

impl Report {
    /// Makes the folder of `path`, and tries to make a file in it.
    ///
    /// # Errors
    /// [`Error::Report`] if that fails, or if `path` is a folder.
    pub fn new(path: &Path) -> Result<Self> {
        Target::new(path).map(Self).map_err(refused(path))
    }

    /// Where it will stand.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes the report; it appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Report`] if writing or renaming fails, [`Error::Plot`] for a plot.
    pub fn write(self, set: &DataSet, settings: Settings, outcomes: &[Outcome]) -> Result<()> {
        let text = html(set, settings, outcomes)?;
        self.0.write(text.as_bytes()).map_err(refused(self.path()))
    }
}

fn refused(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |source| Error::Report {
        path: path.to_owned(),
        source,
    }
}

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Selvedge: a training</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd; }
td.hit { background: #d8f0d8; } td.miss { background: #f6d0d0; }
code { font-size: 90%; } svg { max-width: 100%; height: auto; }
figure { display: inline-block; margin: .3em; text-align: center; } figcaption { font-size: 80%; }
</style>
";

fn html(set: &DataSet, settings: Settings, outcomes: &[Outcome]) -> Result<String> {
    let mut out = HEAD.to_owned();
    let Settings { epochs, seed } = settings;
    let (train, test) = (set.train.len(), set.test.len());
    out += &format!(
        "<h1>Selvedge: a training</h1>\n<p>{}: {train} training samples, {test} test samples; {epochs} epochs, \
         seed {seed}. The same source in each element type; the integer types are trained with integers only.</p>\n",
        escape(&set.name)
    );
    out += "<h2>Results</h2>\n<table><tr><th>type<th>test accuracy<th>RAM for training<th>flash<th>samples/s<th>fingerprint</tr>\n";
    for outcome in outcomes {
        out += &format!(
            "<tr><td>{}<td>{:.2} %<td>{} B<td>{} B<td>{:.0}<td><code>{}</code></tr>\n",
            outcome.dtype,
            100.0 * outcome.accuracy(),
            outcome.ram_bytes,
            outcome.flash_bytes,
            outcome.samples_per_second,
            outcome.fingerprint,
        );
    }
    out += "</table>\n<h2>Curves</h2>\n";
    let losses: Vec<_> = outcomes
        .iter()
        .map(|o| (o.dtype.name(), o.losses.clone()))
        .collect();
    out += &plot::curves("training loss, nats", &losses)?;
    let shares: Vec<_> = outcomes
        .iter()
        .map(|o| {
            (
                o.dtype.name(),
                o.accuracies.iter().map(|share| 100.0 * share).collect(),
            )
        })
        .collect();
    out += &plot::curves("test accuracy, percent", &shares)?;
    if let Some(outcome) = outcomes.first() {
        out += &images(set, outcome)?;
        out += &confusion(outcome);
    }
    out += "</html>\n";
    Ok(out)
}

/// Some test images with what they were read as; nothing where samples are none.
fn images(set: &DataSet, outcome: &Outcome) -> Result<String> {
    let Some([rows, columns]) = set.test.image_size() else {
        return Ok(String::new());
    };
    let mut out = format!("<h2>Test images, {}</h2>\n", outcome.dtype);
    for index in shown(&outcome.test) {
        let (Some((pixels, label)), Some(class)) =
            (set.test.image(index), outcome.test.class(index))
        else {
            continue;
        };
        let mark = if label == class { "" } else { " ✗" };
        let image = plot::image(rows, columns, pixels)?;
        let _ = writeln!(
            out,
            "<figure>{image}<figcaption>{label} read as {class}{mark}</figcaption></figure>"
        );
    }
    Ok(out)
}

/// The confusion matrix; nothing where there are too many classes for one.
fn confusion(outcome: &Outcome) -> String {
    let Some(confusion) = outcome.test.confusion() else {
        return String::new();
    };
    let mut out = format!(
        "<h2>Confusion, {}</h2>\n<p>Rows: what it is. Columns: what it was taken for.</p>\n<table><tr><th>",
        outcome.dtype
    );
    for class in 0..confusion.len() {
        let _ = write!(out, "<th>{class}");
    }
    out += "</tr>\n";
    for (label, row) in confusion.iter().enumerate() {
        let _ = write!(out, "<tr><th>{label}");
        for (class, &count) in row.iter().enumerate() {
            let (kind, text) = match (count, class == label) {
                (0, _) => ("", String::new()),
                (_, true) => (" class=hit", count.to_string()),
                (_, false) => (" class=miss", count.to_string()),
            };
            let _ = write!(out, "<td{kind}>{text}");
        }
        out += "</tr>\n";
    }
    out += "</table>\n";
    out
}

/// Indices of samples worth a look: the first that were misread, up to a quarter, then the first of all.
#[must_use]
pub fn shown(test: &Evaluation) -> Vec<usize> {
    let is_wrong = |&index: &usize| test.label(index) != test.class(index);
    let all = 0..test.len();
    let wrong: Vec<_> = all.clone().filter(is_wrong).take(SHOWN / 4).collect();
    let right = all
        .filter(|index| !is_wrong(index))
        .take(SHOWN - wrong.len());
    right.chain(wrong.iter().copied()).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{Report, escape, html};
    use crate::data::DataSet;
    use crate::training::{Settings, train};
    use selvedge_core::DType;

    #[test]
    fn a_report_names_what_was_measured_and_needs_no_other_file() {
        let mut set = DataSet::digits();
        set.name = "<b>&".to_owned();
        let settings = Settings { epochs: 1, seed: 3 };
        let outcome = train(DType::I8, &set, settings, &|_| ()).unwrap();
        let text = html(&set, settings, std::slice::from_ref(&outcome)).unwrap();
        assert!(text.contains(&outcome.fingerprint.to_string()));
        assert!(text.contains("&lt;b&gt;&amp;") && !text.contains("<b>"));
        assert!(text.matches("<svg").count() > 20);
        for other in ["src=", "href=", "@import", "url("] {
            assert!(!text.contains(other), "{other}");
        }
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a<b & \"c\">"), "a&lt;b &amp; &quot;c&quot;&gt;");
    }

    #[test]
    fn a_report_that_is_not_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(Report::new(&folder.path().join("report.html")).unwrap());
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}
