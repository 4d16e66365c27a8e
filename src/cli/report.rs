//! `report`: the reports of a run, anew from its journal.

use camino::{Utf8Path, Utf8PathBuf};

use super::args::ReportFormat;
use super::failure::{Failure, chain};
use super::places::Global;
use super::{print, tell};
use crate::diagnostic::did_you_mean;
use crate::event::Record;
use crate::record::{JournalError, JournalReader, RunDir, RunState, read_state};
use crate::report::{
    Format, GroupKey, Results, UnknownGroupKey, comparisons_between, render, render_comparison, terminal_table, trials_csv, write_results,
};

pub(super) fn report(
    global: &Global,
    run_dirs: &[Utf8PathBuf],
    format: Option<ReportFormat>,
    by: &[String],
    compare: &[String],
) -> Result<(), Failure> {
    let format = global.format(format, ReportFormat::Json)?.unwrap_or(ReportFormat::Text);
    if format == ReportFormat::Trials && !by.is_empty() {
        return Err(Failure::input("--by groups trials, and --format trials prints each").help("leave out one of them"));
    }
    let keys: Vec<GroupKey> = by.iter().map(|k| key(k)).collect::<Result<_, _>>()?;
    let mut runs = Vec::new();
    // All are read before anything is written.
    let found = run_dirs.iter().map(|dir| read_folded(dir)).collect::<Result<Vec<_>, _>>()?;
    for (run, state) in found {
        if let Err(e) = write_results(&run, &Results::from_states([state.clone()])) {
            // Somebody else's results, on a disk that cannot be written to, can still be read.
            tell(&format!("{}: the files of the report were not written: {}", run.path(), chain(&e)));
        }
        runs.push(state);
    }
    let results = Results::from_states(runs);
    if let [one, other] = compare {
        return comparison(global, &results, one, other);
    }
    let text = match format {
        ReportFormat::Text if keys.is_empty() => terminal_table(&results, width(), console::colors_enabled()),
        // Other groups are a page's business.
        ReportFormat::Text | ReportFormat::Md => draw(Format::Markdown, &results, &keys)?,
        ReportFormat::Csv => draw(Format::Csv, &results, &keys)?,
        ReportFormat::Trials => {
            let bytes = trials_csv(&results).map_err(|e| Failure::harness(chain(&e)))?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
        ReportFormat::Json => draw(Format::Json, &results, &keys)?,
        ReportFormat::Latex => draw(Format::Latex, &results, &keys)?,
        ReportFormat::Html => draw(Format::Html, &results, &keys)?,
    };
    // `--json` promises one object a line.
    let text = if global.json { one_line(&text)? } else { text };
    print(&text)
}

fn one_line(text: &str) -> Result<String, Failure> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| Failure::harness(e.to_string()))?;
    Ok(value.to_string())
}

fn key(name: &str) -> Result<GroupKey, Failure> {
    name.parse().map_err(|e: UnknownGroupKey| {
        let failure = Failure::input(chain(&e));
        match did_you_mean(name, GroupKey::ALL.map(GroupKey::name)) {
            Some(help) => failure.help(help),
            None => failure,
        }
    })
}

fn comparison(global: &Global, results: &Results, one: &str, other: &str) -> Result<(), Failure> {
    let mut known: Vec<&str> = results.rows.iter().flat_map(|r| [r.spec.method.as_str(), r.spec.model.as_str()]).collect();
    known.sort_unstable();
    known.dedup();
    for name in [one, other] {
        if !known.contains(&name) {
            let help = did_you_mean(name, known.iter().copied()).unwrap_or_else(|| format!("there are: {}", known.join(", ")));
            return Err(Failure::input(format!("no trial has the method or model {name:?}")).help(help));
        }
    }
    let nothing = || {
        Failure::input(format!("{one} and {other} have no scored trial in common"))
            .help("two methods with the same model, or two models with the same method, can be compared")
    };
    if global.json {
        let found = comparisons_between(results, one, other);
        if found.is_empty() {
            return Err(nothing());
        }
        for comparison in found {
            print(&serde_json::to_string(&comparison).map_err(|e| Failure::harness(e.to_string()))?)?;
        }
        return Ok(());
    }
    print(&render_comparison(results, one, other).ok_or_else(nothing)?)
}

fn draw(format: Format, results: &Results, by: &[GroupKey]) -> Result<String, Failure> {
    render(format, results, by).map_err(|e| Failure::input(chain(&e)))
}

/// A run folder and what its journal amounts to.
pub(super) fn read_folded(dir: &Utf8Path) -> Result<(RunDir, RunState), Failure> {
    let run = RunDir::open(dir).map_err(|e| Failure::input(chain(&e)).help(NAME_A_RUN))?;
    let (state, torn) = read_state(&run.events()).map_err(|e| Failure::input(chain(&e)).help(NAME_A_RUN))?;
    warn_if_torn(&run, torn);
    Ok((run, state))
}

/// Reads a run's journal, record by record.
pub(super) fn each_record(run: &RunDir, mut read: impl FnMut(&Record) -> Result<(), Failure>) -> Result<(), Failure> {
    let unreadable = |e: JournalError| Failure::input(chain(&e)).help(NAME_A_RUN);
    for record in JournalReader::open(&run.events()).map_err(unreadable)? {
        read(&record.map_err(unreadable)?)?;
    }
    Ok(())
}

const NAME_A_RUN: &str = "name the folder of a run: results/<experiment>-<time>";

fn warn_if_torn(run: &RunDir, torn: bool) {
    if torn {
        tell(&format!("{}: the last line of the journal was cut off by a crash and is left out", run.path()));
    }
}

/// Columns of the terminal.
pub(super) fn width() -> usize {
    console::Term::stdout().size_checked().map_or(110, |(_, columns)| usize::from(columns).clamp(40, 200))
}
