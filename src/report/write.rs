//! The files of a report. Inputs: a run's folder and its records; outputs: the files of `report/`, or one format as text.

use std::str::FromStr;

use camino::{Utf8Path, Utf8PathBuf};

use super::calibration::{calibration, calibration_page};
use super::compare::comparisons_between;
use super::csv_files::{summary_csv, trials_csv};
use super::group::GroupKey;
use super::html::html;
use super::json::json;
use super::latex::latex;
use super::markdown::{markdown, markdown_table};
use super::overview::{overview, pair_table};
use super::results::Results;
use crate::event::Record;
use crate::record::{AtomicWriteError, RunDir, write_atomically};

/// What the tables that people read are grouped by.
const FOR_PEOPLE: [GroupKey; 2] = [GroupKey::Method, GroupKey::Model];

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// CSV.
    #[error("failed to lay out a CSV table")]
    Csv(#[from] csv::Error),
    /// JSON.
    #[error("failed to lay out the results as JSON")]
    Json(#[from] serde_json::Error),
    /// A table that is not UTF-8 came out of the CSV writer.
    #[error("failed to read a table as text")]
    Text(#[from] std::string::FromUtf8Error),
    /// A file.
    #[error(transparent)]
    Write(#[from] AtomicWriteError),
}

/// A format of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A page in Markdown.
    Markdown,
    /// The summary as CSV.
    Csv,
    /// Everything as JSON.
    Json,
    /// Tables for a paper.
    Latex,
    /// A self-contained page.
    Html,
}

/// A name that is no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to write a report as `{0}`: the formats are {names}", names = Format::ALL.map(Format::name).join(", "))]
pub struct UnknownFormat(pub String);

impl Format {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::Markdown, Self::Csv, Self::Json, Self::Latex, Self::Html];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Markdown => "md",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Latex => "latex",
            Self::Html => "html",
        }
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|f| f.name() == text).ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

/// The report in one format. An empty `group_by` is the format's own choice.
pub fn render(format: Format, results: &Results, group_by: &[GroupKey]) -> Result<String, ReportError> {
    let or = |default: &'static [GroupKey]| if group_by.is_empty() { default.to_vec() } else { group_by.to_vec() };
    Ok(match format {
        Format::Markdown => markdown(&overview(results, &or(&FOR_PEOPLE))),
        Format::Html => html(&overview(results, &or(&FOR_PEOPLE))),
        Format::Latex => latex(results, &or(&FOR_PEOPLE), group_by.is_empty()),
        Format::Csv => String::from_utf8(summary_csv(results, &or(&GroupKey::DEFAULT))?)?,
        Format::Json => String::from_utf8(json(results, &or(&GroupKey::DEFAULT))?)?,
    })
}

/// Two methods or models against each other, as a Markdown table; none when they have no trial in common.
pub fn render_comparison(results: &Results, one: &str, other: &str) -> Option<String> {
    let found = comparisons_between(results, one, other);
    if found.is_empty() { None } else { Some(markdown_table(&pair_table(&found))) }
}

/// Writes all files of the report and returns their paths. The same records give the same bytes.
pub fn write_all(run: &RunDir, records: &[Record]) -> Result<Vec<Utf8PathBuf>, ReportError> {
    write_results(run, &Results::from_records(records))
}

/// The same from results that are at hand.
pub fn write_results(run: &RunDir, results: &Results) -> Result<Vec<Utf8PathBuf>, ReportError> {
    let folder = run.report("");
    write_into(&folder, results)
}

/// Writes all files of the report into a folder.
pub fn write_into(folder: &Utf8Path, results: &Results) -> Result<Vec<Utf8PathBuf>, ReportError> {
    let mut files = vec![
        ("summary.md", render(Format::Markdown, results, &[])?.into_bytes()),
        ("trials.csv", trials_csv(results)?),
        ("summary.csv", render(Format::Csv, results, &[])?.into_bytes()),
        ("results.json", render(Format::Json, results, &[])?.into_bytes()),
        ("tables.tex", render(Format::Latex, results, &[])?.into_bytes()),
        ("index.html", render(Format::Html, results, &[])?.into_bytes()),
    ];
    if !results.method_roles.is_empty() {
        let mut bytes = serde_json::to_vec_pretty(&calibration(results))?;
        bytes.push(b'\n');
        files.extend([("calibration.json", bytes), ("calibration.md", calibration_page(results).into_bytes())]);
    }
    let mut paths = Vec::new();
    for (name, bytes) in files {
        let path = folder.join(name);
        write_atomically(&path, &bytes)?;
        paths.push(path);
    }
    Ok(paths)
}

#[cfg(test)]
mod tests;
