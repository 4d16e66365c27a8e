//! What the harness itself costs: runs trials of the quickstart through the built program, one at a time, and prints the
//! medians of `overhead_ms` and of each stage from the journal. `cargo bench --bench overhead [-- REPEATS]`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

#[path = "support/measured.rs"]
mod measured;

use measured::{Problem, report};

const REPEATS: u32 = 3;

fn main() -> ExitCode {
    report(REPEATS, measure)
}

fn measure(repeats: u32) -> Result<String, Problem> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir()?;
    let begun = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_microremed"))
        .args(["run", "quickstart", "--method", "sologen", "--model", "gold", "-j", "1", "--repeats", &repeats.to_string(), "--out"])
        .arg(out.path())
        .current_dir(root)
        .env("MICROREMED_TOOLS", root.join("target/tools"))
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(format!("the run ended with {status}").into());
    }
    let wall = begun.elapsed().as_secs_f64();
    let run = std::fs::read_dir(out.path())?.next().ok_or("no run folder")??.path();
    let (mut overhead, mut total, mut stages) = (Vec::new(), Vec::new(), BTreeMap::<String, Vec<f64>>::new());
    let mut order: Vec<String> = Vec::new();
    for line in std::fs::read_to_string(run.join("events.jsonl"))?.lines() {
        let record: serde_json::Value = serde_json::from_str(line)?;
        let trial = &record["event"]["trial_finished"];
        if trial["outcome"] != "recovered" {
            continue;
        }
        overhead.extend(trial["overhead_ms"].as_f64());
        total.extend(trial["total_s"].as_f64().map(|s| s * 1000.0));
        for stage in trial["stages_ms"].as_array().into_iter().flatten() {
            if let (Some(name), Some(ms)) = (stage[0].as_str(), stage[1].as_f64()) {
                if !stages.contains_key(name) {
                    order.push(name.to_owned());
                }
                stages.entry(name.to_owned()).or_default().push(ms);
            }
        }
    }
    if overhead.is_empty() {
        return Err("no trial recovered".into());
    }
    let n = overhead.len();
    let mut text = format!(
        "{n} trials in {wall:.1} s, one at a time\n\nmedian of a trial   {:.0} ms\nmedian overhead_ms  {:.0} ms (everything but the model, Ansible and its kubectl, and waits for the cluster)\n\nstage      median ms  share\n",
        median(&mut total),
        median(&mut overhead)
    );
    let medians: Vec<(String, f64)> = order.into_iter().map(|s| (s.clone(), stages.get_mut(&s).map_or(0.0, |v| median(v)))).collect();
    let sum: f64 = medians.iter().map(|(_, m)| m).sum();
    for (stage, ms) in medians {
        writeln!(text, "{stage:<9} {ms:>10.1}  {:>4.1} %", 100.0 * ms / sum)?;
    }
    Ok(text)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    if values.len().is_multiple_of(2) { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) } else { at(middle) }
}
