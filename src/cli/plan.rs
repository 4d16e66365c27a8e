//! `plan`: the trials of an experiment. Touches nothing.

use std::time::Duration;

use super::args::{PlanFormat, SelectArgs};
use super::failure::Failure;
use super::places::Global;
use super::{count, load, print, select, tell};
use crate::ansible::{Toolchain, ToolsStatus};
use crate::plan::TrialSpec;

/// Rows printed as a table before it is cut off: for people, who ask for CSV when they want them all.
const TABLE_ROWS: u64 = 200;
/// Trials whose worst case is summed up exactly.
const SUMMED: u64 = 100_000;

pub(super) fn plan(global: &Global, args: &SelectArgs, format: PlanFormat) -> Result<(), Failure> {
    let catalog = load::catalog(global)?;
    let plan = select::plan(&catalog, args, &tool_versions(global))?;
    match if global.json { PlanFormat::Json } else { format } {
        PlanFormat::Json => {
            for spec in plan.iter() {
                print(&serde_json::to_string(&spec).map_err(|e| Failure::harness(e.to_string()))?)?;
            }
        }
        PlanFormat::Csv => {
            print("trial_id,system,sequence,index,fault,target,method,model,repeat,seed")?;
            for t in plan.iter() {
                print(&format!(
                    "{},{},{},{},{},{},{},{},{},{}",
                    t.id, t.system, t.sequence, t.index, t.fault, t.target, t.method, t.model, t.repeat, t.seed
                ))?;
            }
        }
        PlanFormat::Table => {
            let rows: Vec<TrialSpec> = plan.iter().take(usize::try_from(TABLE_ROWS).unwrap_or(usize::MAX)).collect();
            print(&table(&rows))?;
            if plan.len() > TABLE_ROWS {
                print(&format!("... and {} more (--format csv prints all)", plan.len() - TABLE_ROWS))?;
            }
        }
    }
    let worst: Duration = plan.iter().take(usize::try_from(SUMMED).unwrap_or(usize::MAX)).map(|t| plan.worst_case(&t)).sum();
    let more = if plan.len() > SUMMED { " for the first 100000" } else { "" };
    tell(&format!(
        "{}; at most {:.1} hours of the cluster's time one after the other{more} (every wait and time limit used up)",
        count(plan.len(), "trial"),
        worst.as_secs_f64() / 3600.0
    ));
    Ok(())
}

/// Versions of the tools as they are part of identities: those installed, or none before the first run.
pub(super) fn tool_versions(global: &Global) -> String {
    let Ok(base) = global.tools_folder() else { return String::new() };
    match Toolchain::status(base.as_std_path()) {
        ToolsStatus::Installed { versions, .. } => identity(&versions.map()),
        ToolsStatus::Broken { .. } | ToolsStatus::Missing { .. } => String::new(),
    }
}

pub(super) fn identity(versions: &std::collections::BTreeMap<String, String>) -> String {
    versions.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" ")
}

fn table(rows: &[TrialSpec]) -> String {
    let cells: Vec<[String; 8]> =
        std::iter::once(["TRIAL", "SYSTEM", "SEQUENCE", "FAULT", "TARGET", "METHOD", "MODEL", "REPEAT"].map(str::to_owned))
            .chain(rows.iter().map(|t| {
                [
                    t.id.to_string(),
                    t.system.clone(),
                    format!("{}#{}", t.sequence, t.index + 1),
                    t.fault.clone(),
                    t.target.clone(),
                    t.method.clone(),
                    t.model.clone(),
                    (t.repeat + 1).to_string(),
                ]
            }))
            .collect();
    let mut widths = [0usize; 8];
    for row in &cells {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(console::measure_text_width(cell));
        }
    }
    let mut text = String::new();
    for row in &cells {
        let line: Vec<String> = row.iter().zip(widths).map(|(c, w)| format!("{c:w$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}
