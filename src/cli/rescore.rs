//! `rescore`: a run's verdicts again, from its stored samples, by other thresholds. No cluster; the journal is only read.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::failure::{Failure, chain};
use super::places::Global;
use super::{count, print, report, tell};
use crate::diagnostic::did_you_mean;
use crate::report::{Change, RescoreError, Rescoring, Results, terminal_table, write_into};

pub(super) fn rescore_run(
    global: &Global,
    dir: &Utf8Path,
    settings: &[String],
    faults: &[String],
    out: Option<Utf8PathBuf>,
) -> Result<(), Failure> {
    let changes: Vec<Change> = settings.iter().map(|s| s.parse()).collect::<Result<_, RescoreError>>().map_err(|e| failure(&e))?;
    let (run, state) = report::read_folded(dir)?;
    let mut rescoring = Rescoring::new(Results::from_states([state]), &changes, faults).map_err(|e| failure(&e))?;
    report::each_record(&run, |record| rescoring.read(record).map_err(|e| failure(&e)))?;
    let rescored = rescoring.finish().map_err(|e| failure(&e))?;
    let out = out.unwrap_or_else(|| run.path().join("report-rescored"));
    write_into(&out, &rescored.results).map_err(|e| Failure::input(chain(&e)).help("--out names a folder that can be written to"))?;
    if global.json {
        let line =
            serde_json::json!({"changed": rescored.changed, "undecided": rescored.undecided, "judged": rescored.judged, "report": out});
        return print(&line.to_string());
    }
    print(&terminal_table(&rescored.results, report::width(), console::colors_enabled()))?;
    tell(&summary(&rescored.changed, rescored.undecided, rescored.judged));
    tell(&format!("reports: {}", out.join("summary.md")));
    Ok(())
}

fn summary(changed: &BTreeMap<String, u64>, undecided: u64, judged: u64) -> String {
    let total: u64 = changed.values().sum();
    let kinds: Vec<String> = changed.iter().map(|(what, n)| format!("{what}: {n}")).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let open = if undecided == 0 {
        String::new()
    } else {
        format!("; {} cannot be known, since sampling had ended before: they count as not taken", count(undecided, "verdict"))
    };
    format!("{} of {} changed{kinds}{open}", total, count(judged, "verdict"))
}

fn failure(error: &RescoreError) -> Failure {
    let failure = Failure::input(chain(error));
    let help = match error {
        RescoreError::Unknown { name, known, .. } => {
            did_you_mean(name, known.iter().map(String::as_str)).unwrap_or_else(|| format!("there are: {}", known.join(", ")))
        }
        RescoreError::Form(_) => "write for example --set checks.strict.need=5 or --set checks.compat.usage.below=0.6".to_owned(),
        RescoreError::Unfit { .. } | RescoreError::NoSets => return failure,
    };
    failure.help(help)
}
