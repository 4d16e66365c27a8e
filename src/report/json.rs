//! results.json: everything that the other formats say, and the rows in full.

use serde::Serialize;

use super::compare::{Comparison, comparisons};
use super::discriminate::{Misjudged, misjudged};
use super::group::GroupKey;
use super::results::Results;
use super::summary::{Summary, summary};
use crate::event::TrialFinished;

/// Grows whenever a field changes its meaning or goes away.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct ResultsFile<'a> {
    format: u32,
    experiments: &'a [String],
    programs: &'a [String],
    clusters: &'a [String],
    sandboxes: &'a [String],
    tools: &'a std::collections::BTreeMap<String, String>,
    roles: &'a std::collections::BTreeMap<String, crate::event::ReferenceRole>,
    journal_digest: String,
    planned: u64,
    unfinished: u64,
    debts: u64,
    spent: SpentFile,
    grouped_by: Vec<&'static str>,
    summary: Vec<Summary>,
    not_discriminating: Vec<Misjudged>,
    comparisons: Vec<Comparison>,
    trials: &'a [TrialFinished],
}

#[derive(Serialize)]
struct SpentFile {
    calls: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    tokens_estimated: bool,
    cost_usd: f64,
}

/// The file.
pub(super) fn json(results: &Results, by: &[GroupKey]) -> Result<Vec<u8>, serde_json::Error> {
    let spent = results.spent;
    let file = ResultsFile {
        format: FORMAT,
        experiments: &results.experiments,
        programs: &results.programs,
        clusters: &results.clusters,
        sandboxes: &results.sandboxes,
        tools: &results.tools,
        roles: &results.roles,
        journal_digest: results.digest(),
        planned: results.planned,
        unfinished: results.unfinished,
        debts: results.debts,
        spent: SpentFile {
            calls: spent.calls,
            prompt_tokens: spent.usage.prompt,
            completion_tokens: spent.usage.completion,
            tokens_estimated: spent.usage.estimated,
            cost_usd: spent.cost_usd,
        },
        grouped_by: by.iter().map(|k| k.name()).collect(),
        summary: summary(results, by),
        not_discriminating: misjudged(results),
        comparisons: comparisons(results),
        trials: &results.rows,
    };
    let mut bytes = serde_json::to_vec_pretty(&file)?;
    bytes.push(b'\n');
    Ok(bytes)
}
