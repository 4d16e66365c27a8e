//! trials.csv and summary.csv. Their columns are a contract: other programs read them.

use super::group::GroupKey;
use super::number::fixed;
use super::results::Results;
use super::stats::Rate;
use super::summary::summary;
use crate::event::{Outcome, TrialFinished};

/// Columns of trials.csv.
pub const TRIAL_COLUMNS: [&str; 29] = [
    "trial_id",
    "system",
    "sequence",
    "index",
    "fault",
    "target",
    "method",
    "model",
    "repeat",
    "seed",
    "outcome",
    "compat",
    "strict",
    "strategy",
    "attempts",
    "probes",
    "prompt_tokens",
    "completion_tokens",
    "tokens_estimated",
    "cost_usd",
    "model_s",
    "playbook_s",
    "remediation_s",
    "total_s",
    "downtime_s",
    "collateral",
    "error",
    "params",
    "sees_injector",
];

/// trials.csv: a row a trial. Booleans are `true`, `false` or empty; collateral is joined by `;`.
pub fn trials_csv(results: &Results) -> Result<Vec<u8>, csv::Error> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(TRIAL_COLUMNS)?;
    for row in &results.rows {
        csv.write_record(trial(row))?;
    }
    finish(csv)
}

fn trial(row: &TrialFinished) -> [String; 29] {
    let s = &row.spec;
    let boolean = |b: Option<bool>| b.map(|b| b.to_string()).unwrap_or_default();
    [
        s.id.to_string(),
        s.system.clone(),
        s.sequence.clone(),
        s.index.to_string(),
        s.fault.clone(),
        s.target.clone(),
        s.method.clone(),
        s.model.clone(),
        s.repeat.to_string(),
        s.seed.to_string(),
        row.outcome.name().to_owned(),
        boolean(row.compat),
        boolean(row.strict),
        row.strategy.clone(),
        row.attempts.to_string(),
        row.probes.to_string(),
        row.usage.prompt.to_string(),
        row.usage.completion.to_string(),
        row.usage.estimated.to_string(),
        // A call can cost a small fraction of a cent: three places would be zero.
        fixed(row.cost_usd, 6),
        fixed(Some(row.model_s), 3),
        fixed(Some(row.playbook_s), 3),
        fixed(Some(row.remediation_s), 3),
        fixed(Some(row.total_s), 3),
        fixed(row.downtime_s, 3),
        row.collateral.join(";"),
        row.error.replace(['\n', '\r'], " "),
        s.params.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(";"),
        s.sees_injector.to_string(),
    ]
}

/// summary.csv: a row a group. Where nothing was scored, numbers are empty.
pub(super) fn summary_csv(results: &Results, by: &[GroupKey]) -> Result<Vec<u8>, csv::Error> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut head: Vec<String> = by.iter().map(|k| k.name().to_owned()).collect();
    head.extend(["n", "excluded"].map(str::to_owned));
    head.extend(Outcome::ALL.map(|o| o.name().to_owned()));
    for verdict in ["compat", "strict"] {
        head.extend(["n", "recovered", "rate", "low", "high"].map(|column| format!("{verdict}_{column}")));
    }
    head.extend(
        [
            "strict_rate_if_excluded_failed",
            "strict_rate_if_excluded_passed",
            "mean_attempts",
            "mean_remediation_s",
            "median_remediation_s",
            "mean_downtime_s",
            "prompt_tokens",
            "completion_tokens",
            "tokens_estimated",
            "cost_usd",
        ]
        .map(str::to_owned),
    );
    csv.write_record(&head)?;
    for s in summary(results, by) {
        let mut row = s.key.clone();
        row.extend([s.n, s.excluded].map(|n| n.to_string()));
        row.extend(Outcome::ALL.map(|o| s.count(o).to_string()));
        row.extend(rate(&s.compat));
        row.extend(rate(&s.strict));
        row.extend([
            fixed(s.strict_bounds.map(|b| b.0), 3),
            fixed(s.strict_bounds.map(|b| b.1), 3),
            fixed(s.mean_attempts, 3),
            fixed(s.mean_remediation_s, 3),
            fixed(s.median_remediation_s, 3),
            fixed(s.mean_downtime_s, 3),
            s.prompt_tokens.to_string(),
            s.completion_tokens.to_string(),
            s.tokens_estimated.to_string(),
            fixed(s.cost_usd, 6),
        ]);
        csv.write_record(&row)?;
    }
    finish(csv)
}

fn rate(r: &Rate) -> [String; 5] {
    [r.n.to_string(), r.hits.to_string(), fixed(r.rate, 3), fixed(r.low, 3), fixed(r.high, 3)]
}

fn finish(csv: csv::Writer<Vec<u8>>) -> Result<Vec<u8>, csv::Error> {
    csv.into_inner().map_err(|e| e.into_error().into())
}
