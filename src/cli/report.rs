//! `report`: the reports of a run, anew from its journal.

use camino::{Utf8Path, Utf8PathBuf};

use super::args::ReportFormat;
use super::failure::{Failure, chain};
use super::places::Global;
use super::{print, tell};
use crate::event::Record;
use crate::record::{RunDir, read_journal};
use crate::report::{Format, GroupKey, Results, render, terminal_table, write_all};

pub(super) fn report(global: &Global, run_dirs: &[Utf8PathBuf], format: ReportFormat, by: &[String]) -> Result<(), Failure> {
    let mut runs: Vec<Vec<Record>> = Vec::new();
    for dir in run_dirs {
        let (run, records) = read(dir)?;
        write_all(&run, &records).map_err(|e| Failure::input(chain(&e)))?;
        runs.push(records);
    }
    let keys: Vec<GroupKey> =
        by.iter().map(|k| k.parse()).collect::<Result<_, crate::report::UnknownGroupKey>>().map_err(|e| Failure::input(chain(&e)))?;
    let results = Results::from_runs(runs.iter().map(Vec::as_slice));
    let format = if global.json { ReportFormat::Json } else { format };
    let text = match format {
        ReportFormat::Text => terminal_table(&results, width(), console::colors_enabled()),
        ReportFormat::Md => draw(Format::Markdown, &results, &keys)?,
        ReportFormat::Csv => draw(Format::Csv, &results, &keys)?,
        ReportFormat::Json => draw(Format::Json, &results, &keys)?,
        ReportFormat::Latex => draw(Format::Latex, &results, &keys)?,
    };
    print(&text)
}

fn draw(format: Format, results: &Results, by: &[GroupKey]) -> Result<String, Failure> {
    render(format, results, by).map_err(|e| Failure::input(chain(&e)))
}

/// A run folder and its journal.
pub(super) fn read(dir: &Utf8Path) -> Result<(RunDir, Vec<Record>), Failure> {
    let help = "name the folder of a run: results/<experiment>-<time>";
    let run = RunDir::open(dir).map_err(|e| Failure::input(chain(&e)).help(help))?;
    let journal = read_journal(&run.events()).map_err(|e| Failure::input(chain(&e)).help(help))?;
    if journal.torn {
        tell(&format!("{}: the last line of the journal was cut off by a crash and is left out", run.path()));
    }
    Ok((run, journal.records))
}

/// Columns of the terminal.
pub(super) fn width() -> usize {
    console::Term::stdout().size_checked().map_or(110, |(_, columns)| usize::from(columns).clamp(60, 200))
}
