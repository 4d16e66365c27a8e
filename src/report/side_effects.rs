//! Two sections of the page: what repairs did to the system besides repairing it, and where the run's time went.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::document::Block;
use super::group::GroupKey;
use super::number::shown;
use super::overview::label;
use super::results::Results;
use super::stats::{float, mean};
use super::table::Table;
use crate::event::TrialFinished;

/// Interruptions and bystanders, of scored trials in which a playbook ran.
pub(super) fn interruptions(results: &Results) -> Vec<Block> {
    let mut groups: BTreeMap<(&str, &str), Vec<&TrialFinished>> = BTreeMap::new();
    for row in results.rows.iter().filter(|r| r.outcome.scored() && r.attempts > 0) {
        groups.entry((&row.spec.method, &row.spec.model)).or_default().push(row);
    }
    if groups.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(["method", "model"], ["n", "interrupted", "mean downtime s", "failed requests", "others changed"]);
    for ((method, model), rows) in groups {
        let downtimes: Vec<f64> = rows.iter().filter_map(|r| r.downtime_s).collect();
        let failed: Vec<f64> = rows.iter().filter_map(|r| r.failed_requests.map(float)).collect();
        let interrupted = downtimes.iter().filter(|d| **d > 0.0).count();
        table.rows.push(vec![
            method.to_owned(),
            label(results, GroupKey::Model, model),
            rows.len().to_string(),
            if downtimes.is_empty() { "-".to_owned() } else { format!("{interrupted}/{}", downtimes.len()) },
            shown(mean(&downtimes), 1),
            shown(mean(&failed), 1),
            rows.iter().filter(|r| !r.collateral.is_empty()).count().to_string(),
        ]);
    }
    let note = "Trials in which a playbook ran. Interrupted: trials in which the target did not serve for a while after the fault was confirmed, of those \
                in which it was measured; downtime is the cluster's time. Others changed: trials in which a workload besides the target was changed.";
    vec![Block::Table(table), Block::Text(note.to_owned())]
}

/// Mean real time of each stage, and the harness's own share.
pub(super) fn times(results: &Results) -> Vec<Block> {
    let mut stages: IndexMap<&str, Vec<f64>> = IndexMap::new();
    for row in &results.rows {
        for (stage, ms) in &row.stages_ms {
            stages.entry(stage).or_default().push(*ms);
        }
    }
    if stages.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(["stage"], ["trials", "mean s", "sum s"]);
    for (stage, ms) in stages {
        table.rows.push(line(stage, &ms));
    }
    table.rows.push(line("of all: the harness itself", &results.rows.iter().map(|r| r.overhead_ms).collect::<Vec<_>>()));
    vec![Block::Table(table), Block::Text("Real time, all trials, those that are not scored included.".to_owned())]
}

fn line(name: &str, ms: &[f64]) -> Vec<String> {
    let sum = ms.iter().sum::<f64>() / 1000.0;
    vec![name.to_owned(), ms.len().to_string(), shown(mean(ms).map(|m| m / 1000.0), 3), shown(Some(sum), 1)]
}
