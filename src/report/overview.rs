//! What a person wants to read of a run, in order of importance. Input: [`Results`]; output: a [`Document`].

use std::collections::{BTreeMap, BTreeSet};

use super::calibration;
use super::compare::{Comparison, comparisons};
use super::discriminate::{Misjudged, misjudged};
use super::document::{Block, Document};
use super::group::GroupKey;
use super::main_table::main_table;
use super::number::{count, percent, shown};
use super::results::{Results, Verdict};
use super::side_effects::{interruptions, times};
use super::stats::{Rate, float};
use super::summary::{Summary, summary};
use super::table::Table;
use crate::event::{CalibratedCell, Outcome, ReferenceRole, TrialFinished};

/// The whole page; `by` groups its first table.
pub(super) fn overview(results: &Results, by: &[GroupKey]) -> Document {
    let mut blocks = vec![Block::Text(head(results))];
    let mut section = |title: &str, mut parts: Vec<Block>| {
        if !parts.is_empty() {
            blocks.push(Block::Heading(title.to_owned()));
            blocks.append(&mut parts);
        }
    };
    let title = format!("By {}", by.iter().map(|k| k.name()).collect::<Vec<_>>().join(" and "));
    section(&title, rates(results, by));
    let main = main_table(results);
    if !main.rows.is_empty() {
        let verdicts = vec![Block::Table(main.as_table()), Block::Text(main.note)];
        section("Methods and models by level and system", verdicts);
    }
    if by != GroupKey::DEFAULT {
        section("By system and sequence", vec![Block::Table(rate_table(results, &GroupKey::DEFAULT))]);
    }
    section("By fault", faults(results));
    section("How trials ended", outcomes(results));
    section("How systems were repaired", strategies(results));
    section("What repairs cost the system", interruptions(results));
    if !results.method_roles.is_empty() {
        section("How far the checks can be trusted", calibration::calibration_blocks(results));
    }
    section("Cells that do not discriminate", cells(results));
    section("Paired comparisons", pairs(results));
    section("Where the time went", times(results));
    Document { title: format!("{}: results", results.title()), blocks }
}

fn head(results: &Results) -> String {
    let all = Summary::of(Vec::new(), &results.rows);
    let mut parts =
        vec![format!("{} planned", count(results.planned, "trial")), format!("{} scored", all.n), format!("{} not scored", all.excluded)];
    if results.missing() > 0 {
        parts.push(format!("{} not run to an end", results.missing()));
    }
    format!(
        "{}. Program version {}; cluster: {}; sandbox: {}; tools: {}; digest of the results: {}.",
        parts.join(", "),
        or_unknown(&results.programs.join(", ")),
        or_unknown(&results.clusters.join(", ")),
        or_unknown(&results.sandboxes.join("; ")),
        or_unknown(&results.tools.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(", ")),
        results.digest()
    )
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

/// Rates with both verdicts, grouped.
pub(super) fn rate_table(results: &Results, by: &[GroupKey]) -> Table {
    let mut table = Table::new(
        by.iter().map(|k| k.name()),
        ["n", "not scored", "strict %", "compat %", "attempts", "repair s", "prompt tokens", "completion tokens", "cost USD"],
    );
    for s in summary(results, by) {
        let mut row: Vec<String> = by.iter().zip(&s.key).map(|(key, value)| label(results, *key, value)).collect();
        row.extend(numbers(&s));
        table.rows.push(row);
    }
    table
}

fn numbers(s: &Summary) -> [String; 9] {
    let mark = if s.tokens_estimated { "~" } else { "" };
    [
        s.n.to_string(),
        s.excluded.to_string(),
        rate_text(s, Verdict::Strict),
        rate_text(s, Verdict::Compat),
        shown(s.mean_attempts, 2),
        shown(s.median_remediation_s, 1),
        format!("{mark}{}", s.prompt_tokens),
        format!("{mark}{}", s.completion_tokens),
        shown(s.cost_usd, 4),
    ]
}

fn rate_text(s: &Summary, verdict: Verdict) -> String {
    let rate = s.rate(verdict);
    let text = percent(&rate);
    if rate.n == s.n { text } else { format!("{text} (n = {})", rate.n) }
}

pub(super) fn label(results: &Results, key: GroupKey, value: &str) -> String {
    let role = if key == GroupKey::Model { results.roles.get(value) } else { None };
    match role {
        Some(ReferenceRole::MustPass) => format!("{value} (must pass)"),
        Some(ReferenceRole::MustFail) => format!("{value} (must fail)"),
        Some(ReferenceRole::Floor) => format!("{value} (floor)"),
        None => value.to_owned(),
    }
}

fn rates(results: &Results, by: &[GroupKey]) -> Vec<Block> {
    let note = "Per cent of n scored trials recovered, with Wilson 95 % intervals. Strict: the symptom is gone for good and nothing else got worse. \
                Compat: what the published benchmark checks. A trial in which no playbook ran is never recovered. Attempts are means, repair seconds medians, \
                over all scored trials; tokens marked ~ are estimates.";
    let mut blocks = vec![Block::Table(rate_table(results, by)), Block::Text(note.to_owned())];
    let bounds: Vec<String> = summary(results, by)
        .into_iter()
        .filter(|s| s.excluded > 0)
        .filter_map(|s| {
            let (low, high) = s.strict_bounds?;
            let name = s.key.join(" / ");
            Some(format!("{name}: strict between {} % and {} %", shown(Some(low * 100.0), 1), shown(Some(high * 100.0), 1)))
        })
        .collect();
    if !bounds.is_empty() {
        blocks.push(Block::Text("Had the trials that are not scored all failed, or all passed:".to_owned()));
        blocks.push(Block::List(bounds));
    }
    blocks
}

fn faults(results: &Results) -> Vec<Block> {
    let models: BTreeSet<String> = results.rows.iter().map(|r| r.spec.model.clone()).collect();
    let heads: Vec<String> = models.iter().map(|m| label(results, GroupKey::Model, m)).collect();
    let mut cells: BTreeMap<(String, String), BTreeMap<String, Rate>> = BTreeMap::new();
    for s in summary(results, &[GroupKey::Fault, GroupKey::Method, GroupKey::Model]) {
        if let [fault, method, model] = s.key.as_slice() {
            cells.entry((fault.clone(), method.clone())).or_default().insert(model.clone(), s.strict);
        }
    }
    if cells.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(["fault", "method"], heads.iter().map(String::as_str));
    for ((fault, method), by_model) in cells {
        let mut row = vec![fault, method];
        row.extend(models.iter().map(|m| match by_model.get(m) {
            Some(rate) if rate.n > 0 => format!("{}/{}", rate.hits, rate.n),
            _ => "-".to_owned(),
        }));
        table.rows.push(row);
    }
    vec![Block::Table(table), Block::Text("Recovered by the strict verdict, of the trials that have it.".to_owned())]
}

fn outcomes(results: &Results) -> Vec<Block> {
    let by = [GroupKey::Method, GroupKey::Model];
    let all = Summary::of(Vec::new(), &results.rows);
    let met: Vec<Outcome> = Outcome::ALL.into_iter().filter(|o| all.count(*o) > 0).collect();
    if met.is_empty() {
        return Vec::new();
    }
    let heads: Vec<String> = met.iter().map(|o| if o.scored() { o.name().to_owned() } else { format!("{} *", o.name()) }).collect();
    let mut table = Table::new(by.iter().map(|k| k.name()), heads.iter().map(String::as_str));
    for s in summary(results, &by) {
        let mut row: Vec<String> = by.iter().zip(&s.key).map(|(key, value)| label(results, *key, value)).collect();
        row.extend(met.iter().map(|o| s.count(*o).to_string()));
        table.rows.push(row);
    }
    let mut blocks = vec![Block::Table(table)];
    if all.excluded > 0 {
        let text = "* Not scored: the fault did not bite, the system was unhealthy before, the harness failed or the trial was interrupted. These trials:";
        blocks.push(Block::Text(text.to_owned()));
        let rows = results.rows.iter().filter(|r| !r.outcome.scored());
        blocks.push(Block::List(
            rows.map(|r| {
                let why = if r.error.is_empty() { String::new() } else { format!(": {}", r.error) };
                format!(
                    "{} ({} / {} / {} on {}): {}{why}",
                    r.spec.id,
                    r.spec.method,
                    r.spec.model,
                    r.spec.fault,
                    r.spec.target,
                    r.outcome.name()
                )
            })
            .collect(),
        ));
    }
    blocks
}

fn strategies(results: &Results) -> Vec<Block> {
    let by = [GroupKey::Strategy, GroupKey::Method, GroupKey::Model];
    let mut table = Table::new(by.iter().map(|k| k.name()), ["n", "strict", "compat"]);
    for s in summary(results, &by).into_iter().filter(|s| s.n > 0) {
        let mut row: Vec<String> = by.iter().zip(&s.key).map(|(key, value)| label(results, *key, value)).collect();
        row.extend([s.n.to_string(), s.strict.hits.to_string(), s.compat.hits.to_string()]);
        table.rows.push(row);
    }
    if table.rows.is_empty() {
        return Vec::new();
    }
    let recovered: Vec<_> = results.rows.iter().filter(|r| Verdict::Strict.recovered(r) == Some(true)).collect();
    let honest = recovered.iter().filter(|r| !r.strategy.split('+').any(|s| s == "injector_removed")).count();
    let note = format!(
        "What changed in the cluster, as audited; counts of recovered trials. By the strict verdict {} recovered, {honest} of them without \
         removing the injector.",
        count(recovered.len() as u64, "trial")
    );
    vec![Block::Table(table), Block::Text(note)]
}

fn cells(results: &Results) -> Vec<Block> {
    let earlier: Vec<&CalibratedCell> = known_bad(results);
    if earlier.is_empty() && !results.roles.values().any(|role| *role != ReferenceRole::Floor) {
        return vec![Block::Text("No reference policy took part, so nothing is known about the cells.".to_owned())];
    }
    let found = misjudged(results);
    if found.is_empty() && earlier.is_empty() {
        return vec![Block::Text("None: every reference that must pass passed, and every one that must fail failed.".to_owned())];
    }
    let mut blocks =
        vec![Block::Text("What models do in these cells says little about them. The second table has the rates without them.".to_owned())];
    let mut table = Table::new(["system", "fault", "target", "verdict", "method", "why"], []);
    for m in &found {
        let row = [&m.system, &m.fault, &m.target, m.verdict.name(), &m.method, &m.reason()].map(str::to_owned);
        table.rows.push(row.to_vec());
    }
    for c in &earlier {
        table.rows.push([&c.system, &c.fault, "", &c.set, "", &calibration::reason(c)].map(str::to_owned).to_vec());
    }
    blocks.push(Block::Table(table));
    blocks.push(Block::Table(discriminating(results, &found, &earlier)));
    blocks
}

/// Cells that an earlier calibration found to say too little, as far as trials of this run are in them.
fn known_bad(results: &Results) -> Vec<&CalibratedCell> {
    let met = |c: &CalibratedCell| results.rows.iter().any(|r| r.spec.system == c.system && r.spec.fault == c.fault);
    results.calibration.iter().filter(|c| calibration::untrustworthy(c) && met(c)).collect()
}

/// Rates over the cells that discriminate by the verdict in question.
fn discriminating(results: &Results, found: &[Misjudged], earlier: &[&CalibratedCell]) -> Table {
    let by = [GroupKey::Method, GroupKey::Model];
    let mut table = Table::new(by.iter().map(|k| k.name()), ["strict n", "strict %", "compat n", "compat %"]);
    let [strict, compat] = Verdict::ALL.map(|verdict| {
        let bad: BTreeSet<(&str, &str, &str)> =
            found.iter().filter(|m| m.verdict == verdict).map(|m| (m.system.as_str(), m.fault.as_str(), m.target.as_str())).collect();
        let known =
            |r: &TrialFinished| earlier.iter().any(|c| c.set == verdict.name() && c.system == r.spec.system && c.fault == r.spec.fault);
        let good =
            |r: &&TrialFinished| !known(r) && !bad.contains(&(r.spec.system.as_str(), r.spec.fault.as_str(), r.spec.target.as_str()));
        let rest = Results { rows: results.rows.iter().filter(good).cloned().collect(), ..Results::default() };
        summary(&rest, &by).into_iter().map(|s| (s.key.clone(), s.rate(verdict))).collect::<BTreeMap<_, _>>()
    });
    for s in summary(results, &by) {
        let mut row: Vec<String> = by.iter().zip(&s.key).map(|(key, value)| label(results, *key, value)).collect();
        for rates in [&strict, &compat] {
            let rate = rates.get(&s.key).copied().unwrap_or(Rate::of(0, 0));
            row.extend([rate.n.to_string(), percent(&rate)]);
        }
        table.rows.push(row);
    }
    table
}

fn pairs(results: &Results) -> Vec<Block> {
    let all = comparisons(results);
    if all.is_empty() {
        return Vec::new();
    }
    let number = all.iter().filter(|c| c.verdict == Verdict::Strict).count().max(1);
    let mut blocks = vec![Block::Table(pair_table(&all))];
    blocks.push(Block::Text(format!(
        "McNemar's exact test on the trials that both met and in which both were scored. With {} by each verdict, about {} would \
         show p < 0.05 by chance alone; the last column is adjusted for that (Holm).",
        count(number as u64, "comparison"),
        shown(Some(float(number as u64) * 0.05), 2)
    )));
    blocks
}

/// The comparisons as a table.
pub(super) fn pair_table(all: &[Comparison]) -> Table {
    let mut table =
        Table::new(["verdict", "compared", "with", "first", "second"], ["pairs", "both", "only first", "only second", "p", "p (Holm)"]);
    for c in all {
        let mut row = vec![c.verdict.name().to_owned(), format!("{}s", c.axis.name()), c.within.clone(), c.first.clone(), c.second.clone()];
        row.extend([c.pairs, c.both, c.only_first, c.only_second].map(|n| n.to_string()));
        row.extend([shown(Some(c.p), 4), shown(Some(c.p_holm), 4)]);
        table.rows.push(row);
    }
    table
}
