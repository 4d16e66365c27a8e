//! The main table of a paper: methods with models down, levels and systems across, both verdicts in every cell, and what
//! was not scored in a note. Input: [`Results`]; output: cells that `markdown`, `html` and `latex` lay out.

use std::collections::{BTreeMap, BTreeSet};

use super::number::{count, fixed};
use super::overview::label;
use super::results::{Results, Verdict};
use super::stats::Rate;
use super::summary::Summary;
use super::table::Table;
use super::{group::GroupKey, number::percent};
use crate::event::TrialFinished;

/// The table before it has a format.
pub(super) struct MainTable {
    /// Sequences, in the order of the experiment, each with its systems.
    pub(super) columns: Vec<(String, Vec<String>)>,
    /// Method, model, and for each system of each sequence its numbers.
    pub(super) rows: Vec<(String, String, Vec<Option<Summary>>)>,
    /// What was not scored.
    pub(super) note: String,
}

/// Names in the order of the experiment's axis; those that it does not know come last.
fn ordered(results: &Results, axis: &str, of: impl Fn(&TrialFinished) -> &str) -> Vec<String> {
    let met: BTreeSet<&str> = results.rows.iter().map(of).collect();
    let known = results.axes.get(axis).map(Vec::as_slice).unwrap_or_default();
    let first = known.iter().map(String::as_str).filter(|n| met.contains(n));
    first.chain(met.iter().copied().filter(|n| !known.iter().any(|k| k == n))).map(str::to_owned).collect()
}

/// Method as shown: whether the injector was hidden is part of it, where it was for some.
fn method_of(row: &TrialFinished) -> String {
    if row.spec.sees_injector { row.spec.method.clone() } else { format!("{}, injector hidden", row.spec.method) }
}

pub(super) fn main_table(results: &Results) -> MainTable {
    let systems = ordered(results, "system", |r| &r.spec.system);
    let sequences = ordered(results, "sequence", |r| &r.spec.sequence);
    let methods = ordered(results, "method", |r| &r.spec.method);
    let models = ordered(results, "model", |r| &r.spec.model);
    let mut cells: BTreeMap<(String, &str, &str, &str), Vec<&TrialFinished>> = BTreeMap::new();
    for row in &results.rows {
        let s = &row.spec;
        cells.entry((method_of(row), &s.model, &s.sequence, &s.system)).or_default().push(row);
    }
    let columns: Vec<(String, Vec<String>)> = sequences
        .iter()
        .map(|sequence| {
            let met = |system: &&String| results.rows.iter().any(|r| r.spec.sequence == *sequence && r.spec.system == **system);
            (sequence.clone(), systems.iter().filter(met).cloned().collect())
        })
        .collect();
    let mut rows = Vec::new();
    let shown = methods.iter().flat_map(|m| [m.clone(), format!("{m}, injector hidden")]);
    for method in shown {
        for model in &models {
            if !cells.keys().any(|(m, n, _, _)| *m == method && n == model) {
                continue;
            }
            let of = |sequence: &str, system: &str| {
                let trials = cells.get(&(method.clone(), model.as_str(), sequence, system))?;
                Some(Summary::of(Vec::new(), trials.iter().copied()))
            };
            let numbers = columns.iter().flat_map(|(sequence, systems)| systems.iter().map(move |system| (sequence, system)));
            rows.push((method.clone(), label(results, GroupKey::Model, model), numbers.map(|(q, s)| of(q, s)).collect()));
        }
    }
    MainTable { columns, rows, note: note(results) }
}

/// Which trials are left out of n, by cell and outcome.
fn note(results: &Results) -> String {
    let mut lost: BTreeMap<(String, &str, &str, &str), BTreeMap<&str, u64>> = BTreeMap::new();
    for row in results.rows.iter().filter(|r| !r.outcome.scored()) {
        let s = &row.spec;
        *lost.entry((method_of(row), &s.model, &s.sequence, &s.system)).or_default().entry(row.outcome.name()).or_default() += 1;
    }
    let total: u64 = lost.values().flat_map(BTreeMap::values).sum();
    if total == 0 {
        return "Every trial was scored.".to_owned();
    }
    let cells: Vec<String> = lost
        .iter()
        .map(|((method, model, sequence, system), outcomes)| {
            let outcomes: Vec<String> = outcomes.iter().map(|(o, n)| format!("{o} {n}")).collect();
            format!("{method} / {model} on {system}, {sequence}: {}", outcomes.join(", "))
        })
        .collect();
    format!(
        "{} not scored and left out of n: {}.",
        if total == 1 { "1 trial was".to_owned() } else { format!("{} were", count(total, "trial")) },
        cells.join("; ")
    )
}

impl MainTable {
    /// With a line for each verdict: for pages.
    pub(super) fn as_table(&self) -> Table {
        let heads: Vec<String> = self.columns.iter().flat_map(|(q, systems)| systems.iter().map(move |s| format!("{q}: {s}"))).collect();
        let mut table = Table::new(["method", "model", "verdict"], heads.iter().map(String::as_str));
        for (method, model, cells) in &self.rows {
            for verdict in Verdict::ALL {
                let mut row = vec![method.clone(), model.clone(), verdict.name().to_owned()];
                row.extend(cells.iter().map(|c| match c.as_ref().map(|s| s.rate(verdict)) {
                    Some(rate) if rate.n > 0 => format!("{} (n = {})", percent(&rate), rate.n),
                    _ => "-".to_owned(),
                }));
                table.rows.push(row);
            }
        }
        table
    }

    /// As LaTeX, with the intervals and n below each rate.
    pub(super) fn as_latex(&self, escape: impl Fn(&str) -> String) -> String {
        let width: usize = self.columns.iter().map(|(_, systems)| systems.len()).sum();
        let (mut levels, mut rules, mut at) = (vec!["    &".to_owned(), String::new()], vec!["   ".to_owned()], 4);
        for (sequence, systems) in &self.columns {
            levels.push(format!("\\multicolumn{{{}}}{{c}}{{{}}}", systems.len(), escape(sequence)));
            rules.push(format!("\\cmidrule(lr){{{at}-{}}}", at + systems.len() - 1));
            at += systems.len();
        }
        let systems = self.columns.iter().flat_map(|(_, systems)| systems).map(|s| escape(s));
        let heads = ["method", "model", "verdict"].map(str::to_owned).into_iter().chain(systems);
        let line = |cells: Vec<String>| format!("    {} \\\\", cells.join(" & "));
        let mut lines: Vec<String> = vec![
            "\n\\begin{table*}\n  \\centering\n  \\footnotesize\n  \\setlength{\\tabcolsep}{3pt}".to_owned(),
            "  \\caption{Trials recovered in per cent, with Wilson 95\\,\\% intervals and n.}\n  \\label{tab:microremed-main}".to_owned(),
            format!("  \\begin{{tabular}}{{lll{}}}\n    \\toprule", "c".repeat(width)),
            format!("{} \\\\", levels.join(" & ")),
            rules.join(" "),
            line(heads.collect()),
        ];
        let mut last = "";
        for (method, model, cells) in &self.rows {
            let first = last != method;
            if first {
                lines.push("    \\midrule".to_owned());
            }
            for verdict in Verdict::ALL {
                let names = match (verdict, first) {
                    (Verdict::Strict, true) => [escape(method), escape(model)],
                    (Verdict::Strict, false) => [String::new(), escape(model)],
                    (Verdict::Compat, _) => [String::new(), String::new()],
                };
                let cells = cells.iter().map(|c| cell(c.as_ref().map(|s| s.rate(verdict))));
                lines.push(line(names.into_iter().chain([verdict.name().to_owned()]).chain(cells).collect()));
            }
            last = method;
        }
        lines.push("    \\bottomrule\n  \\end{tabular}\n\n  \\smallskip".to_owned());
        lines.push(format!("  \\parbox{{\\textwidth}}{{\\scriptsize {}}}\n\\end{{table*}}\n", escape(&self.note)));
        lines.join("\n")
    }
}

fn cell(rate: Option<Rate>) -> String {
    let Some(Rate { rate: Some(p), low: Some(low), high: Some(high), n, .. }) = rate else { return "--".to_owned() };
    let percent = |v: f64| fixed(Some(v * 100.0), 1);
    // The braces keep the bracket from being taken for an option of the line break before it.
    format!("\\shortstack{{{}\\\\{{\\tiny [{}, {}]}}\\\\{{\\tiny n = {n}}}}}", percent(p), percent(low), percent(high))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::event::Outcome;

    #[test]
    fn levels_are_in_the_order_of_the_experiment_and_hidden_injectors_have_rows_of_their_own() {
        let row = |index: u32, sequence: &str, system: &str, sees_injector: bool, outcome: Outcome| {
            let passed = outcome.scored().then_some(outcome == Outcome::Recovered);
            let mut row = fixture::row(index, "solo", "model-a", outcome, passed, passed);
            (row.spec.sequence, row.spec.system, row.spec.sees_injector) = (sequence.to_owned(), system.to_owned(), sees_injector);
            row
        };
        let rows = vec![
            row(0, "hard", "shop", true, Outcome::NotRecovered),
            row(1, "easy", "shop", true, Outcome::Recovered),
            row(2, "easy", "bank", true, Outcome::InjectionFailed),
            row(3, "easy", "shop", false, Outcome::NotRecovered),
        ];
        let order = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let axes = [("sequence".to_owned(), order(&["easy", "medium", "hard"])), ("system".to_owned(), order(&["shop", "bank"]))].into();
        let table = main_table(&Results { axes, rows, ..Results::default() });
        let flat = table.as_table();
        assert_eq!(flat.head, ["method", "model", "verdict", "easy: shop", "easy: bank", "hard: shop"]);
        let firsts: Vec<String> = flat.rows.iter().map(|r| format!("{} {}", r[0], r[2])).collect();
        assert_eq!(firsts, ["solo strict", "solo compat", "solo, injector hidden strict", "solo, injector hidden compat"]);
        assert_eq!(flat.rows[0][3..], ["100.0 [20.7, 100.0] (n = 1)", "-", "0.0 [0.0, 79.3] (n = 1)"]);
        assert_eq!(flat.rows[2][3..], ["0.0 [0.0, 79.3] (n = 1)", "-", "-"]);
        assert_eq!(table.note, "1 trial was not scored and left out of n: solo / model-a on bank, easy: injection_failed 1.");
        let latex = table.as_latex(str::to_owned);
        assert!(latex.contains("\\multicolumn{2}{c}{easy} & \\multicolumn{1}{c}{hard}"), "{latex}");
        assert!(latex.contains("\\cmidrule(lr){4-5} \\cmidrule(lr){6-6}"), "{latex}");
        // As many cells in every line as there are columns.
        let cells = latex.lines().filter(|l| l.ends_with("\\\\") && l.contains(" & ") && !l.contains("multicolumn"));
        assert!(cells.clone().count() == 5 && cells.into_iter().all(|l| l.matches(" & ").count() == 5), "{latex}");
    }
}
