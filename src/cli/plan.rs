//! `plan`: the trials of an experiment, and what earlier runs say that they cost. Touches nothing.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::args::{PlanFormat, SelectArgs};
use super::estimate::{Estimates, Guess, Total};
use super::failure::Failure;
use super::places::Global;
use super::{count, load, print, select, tell};
use crate::ansible::{Toolchain, ToolsStatus};
use crate::plan::TrialSpec;

/// Rows printed as a table before it is cut off: for people, who ask for CSV when they want them all.
const TABLE_ROWS: u64 = 200;
/// Trials whose worst case is summed up exactly.
const SUMMED: u64 = 100_000;

/// A line of JSON.
#[derive(serde::Serialize)]
struct Planned<'a> {
    #[serde(flatten)]
    spec: &'a TrialSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<serde_json::Value>,
}

pub(super) fn plan(global: &Global, args: &SelectArgs, format: Option<PlanFormat>, from: &[Utf8PathBuf]) -> Result<(), Failure> {
    let format = global.format(format, PlanFormat::Json)?.unwrap_or(PlanFormat::Table);
    let catalog = load::catalog(global)?;
    let plan = select::plan(&catalog, args, &tool_versions(global))?;
    let results = plan.experiment().runner.save_path.as_deref().unwrap_or("results");
    let estimates = Estimates::read(&catalog, &plan, from, Utf8Path::new(results))?;
    match format {
        PlanFormat::Json => {
            for spec in plan.iter() {
                let guess = estimates.guess(&catalog, &spec.method, &spec.model).map(|guess| guess.json());
                let line = serde_json::to_string(&Planned { spec: &spec, estimate: guess }).map_err(|e| Failure::harness(e.to_string()))?;
                print(&line)?;
            }
        }
        PlanFormat::Csv => {
            print(
                "trial_id,system,sequence,index,fault,target,method,model,repeat,seed,\
                 estimated_prompt_tokens,estimated_completion_tokens,estimated_cost_usd,estimated_s,estimated_from",
            )?;
            for t in plan.iter() {
                let guess = estimates.guess(&catalog, &t.method, &t.model).map_or_else(|| ",,,,".to_owned(), |g| csv_cells(&g));
                print(&format!(
                    "{},{},{},{},{},{},{},{},{},{},{guess}",
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
    let summed = usize::try_from(SUMMED).unwrap_or(usize::MAX);
    let worst: Duration = plan.iter().take(summed).map(|t| plan.worst_case(&t)).sum();
    let more = if plan.len() > SUMMED { " for the first 100000" } else { "" };
    tell(&format!(
        "{}; at most {:.1} hours of the cluster's time one after the other{more} (every wait and time limit used up)",
        count(plan.len(), "trial"),
        worst.as_secs_f64() / 3600.0
    ));
    if !estimates.runs().is_empty() {
        let total = estimates.total(&catalog, plan.iter().take(summed));
        tell(&estimated(&estimates, &total, more));
    }
    Ok(())
}

/// The columns of an estimate.
fn csv_cells(guess: &Guess) -> String {
    let cost = guess.cost_usd.map(|cost| format!("{cost:.6}")).unwrap_or_default();
    format!("{:.0},{:.0},{cost},{:.1},{}", guess.prompt_tokens, guess.completion_tokens, guess.total_s, guess.basis())
}

/// What earlier runs say, as a table and a line.
fn estimated(estimates: &Estimates, total: &Total, more: &str) -> String {
    let dollars = |cost: Option<f64>| cost.map_or_else(|| "-".to_owned(), |cost| format!("{cost:.4}"));
    let head = ["METHOD", "MODEL", "TRIALS", "TOKENS IN", "OUT", "COST $", "SECONDS", "ESTIMATED FROM"].map(str::to_owned);
    let rows = total.cells.iter().map(|((method, model), cell)| {
        let (mut tokens_in, mut tokens_out, mut cost, mut seconds) = Default::default();
        let mut from = "no earlier run".to_owned();
        if let Some(guess) = &cell.guess {
            tokens_in = format!("{:.0}", guess.prompt_tokens);
            tokens_out = format!("{:.0}", guess.completion_tokens);
            cost = dollars(guess.cost_usd);
            seconds = format!("{:.1}", guess.total_s);
            from = format!("{} of {}", count(guess.trials, "trial"), if guess.borrowed { "other models" } else { "the same model" });
        }
        [method.clone(), model.clone(), cell.trials.to_string(), tokens_in, tokens_out, cost, seconds, from]
    });
    let cells: Vec<[String; 8]> = std::iter::once(head).chain(rows).collect();
    let (tokens_in, tokens_out) = total.tokens();
    let cost = total.cost_usd().map_or_else(|| "no price known".to_owned(), |cost| format!("about ${cost:.2}"));
    let rest = total.trials - total.guessed;
    let unknown = if rest > 0 { format!("; nothing is known of {}", count(rest, "trial")) } else { String::new() };
    let names: Vec<&str> = estimates.runs().iter().map(|dir| dir.file_name().unwrap_or(dir.as_str())).collect();
    format!(
        "\nestimated, means of a trial:\n{}estimated{more}: {cost}, {tokens_in:.0} tokens in and {tokens_out:.0} out, {:.1} hours one after the other{unknown}; from {}",
        aligned(&cells),
        total.seconds() / 3600.0,
        names.join(", ")
    )
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
    aligned(&cells)
}

/// Columns as wide as their widest cell.
fn aligned(cells: &[[String; 8]]) -> String {
    let mut widths = [0usize; 8];
    for row in cells {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(console::measure_text_width(cell));
        }
    }
    let mut text = String::new();
    for row in cells {
        let line: Vec<String> = row.iter().zip(widths).map(|(c, w)| format!("{c:w$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}
