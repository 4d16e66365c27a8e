//! The table at the end of a run. Input: [`Results`], the terminal's width; output: text, nothing wider than that.

use console::{Alignment, Style, measure_text_width, pad_str, truncate_str};

use super::discriminate::misjudged;
use super::group::GroupKey;
use super::number::{count, percent, shown};
use super::results::{Results, Verdict};
use super::summary::{Summary, summary};
use crate::event::Outcome;

const BY: [GroupKey; 2] = [GroupKey::Method, GroupKey::Model];
const HEAD: [&str; 7] = ["method", "model", "n", "strict %", "compat %", "attempts", "repair s"];
const GAP: &str = "  ";

/// Rows of method and model: scored trials, both rates, mean attempts, median repair seconds; then a line for everything
/// that somebody should know before believing the numbers.
pub fn terminal_table(results: &Results, width: usize, color: bool) -> String {
    let style = |style: Style| style.force_styling(color);
    let mut lines = vec![HEAD.map(str::to_owned)];
    for s in summary(results, &BY) {
        let key = |at: usize| s.key.get(at).cloned().unwrap_or_default();
        lines.push([
            key(0),
            key(1),
            s.n.to_string(),
            percent(&s.strict),
            percent_alone(&s, Verdict::Compat),
            shown(s.mean_attempts, 1),
            shown(s.median_remediation_s, 1),
        ]);
    }
    let widths = fit(&lines, width);
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let mut cells = Vec::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let alignment = if column < BY.len() { Alignment::Left } else { Alignment::Right };
            cells.push(pad_str(cell, *width, alignment, Some("…")).into_owned());
        }
        let line = cells.join(GAP);
        let line = truncate_str(line.trim_end(), width, "…");
        text.push_str(&if number == 0 { style(Style::new().bold()).apply_to(line).to_string() } else { line.into_owned() });
        text.push('\n');
    }
    for warning in warnings(results) {
        let warning = truncate_str(&warning, width, "…").into_owned();
        text.push_str(&style(Style::new().yellow()).apply_to(warning).to_string());
        text.push('\n');
    }
    text
}

fn percent_alone(s: &Summary, verdict: Verdict) -> String {
    shown(s.rate(verdict).rate.map(|r| r * 100.0), 1)
}

/// Widths of the columns. What is too much comes off the names, then columns at the right go.
fn fit(lines: &[[String; 7]], width: usize) -> Vec<usize> {
    let mut widths: Vec<usize> =
        (0..HEAD.len()).map(|c| lines.iter().filter_map(|l| l.get(c)).map(|t| measure_text_width(t)).max().unwrap_or(0)).collect();
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
    for column in [1, 0] {
        let excess = total(&widths).saturating_sub(width);
        if let Some(w) = widths.get_mut(column) {
            *w = (*w).saturating_sub(excess).max((*w).min(8));
        }
    }
    while total(&widths) > width && widths.len() > BY.len() + 2 {
        widths.pop();
    }
    widths
}

fn warnings(results: &Results) -> Vec<String> {
    let all = Summary::of(Vec::new(), &results.rows);
    let mut lines = Vec::new();
    for outcome in Outcome::ALL.into_iter().filter(|o| !o.scored()) {
        let n = all.count(outcome);
        if n > 0 {
            let why = results.rows.iter().find(|r| r.outcome == outcome && !r.error.is_empty());
            let why = why.map(|r| format!(" ({})", r.error.replace(['\n', '\r'], " "))).unwrap_or_default();
            lines.push(format!("{} not scored: {}{why}", count(n, "trial"), outcome.name()));
        }
    }
    if results.missing() > 0 {
        lines.push(format!("{} of {} planned did not run to an end", results.missing(), count(results.planned, "trial")));
    }
    if results.debts > 0 {
        lines.push(format!("{} not taken back; `resume` does it", count(results.debts, "side effect")));
    }
    for verdict in Verdict::ALL {
        let without = all.n - all.rate(verdict).n;
        if without > 0 {
            lines.push(format!("{} without a {} verdict", count(without, "scored trial"), verdict.name()));
        }
    }
    for cell in misjudged(results) {
        lines.push(format!(
            "{} / {} / {} does not discriminate ({}): {}",
            cell.system,
            cell.fault,
            cell.target,
            cell.verdict.name(),
            cell.reason()
        ));
    }
    if all.tokens_estimated {
        lines.push("some token counts are estimates: the provider reported none".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn wide() {
        insta::assert_snapshot!(terminal_table(&Results::from_records(&fixture::records()), 100, false));
    }

    #[test]
    fn nothing_is_wider_than_the_terminal() {
        let mut records = fixture::trials();
        let long = fixture::row(0, "a-method-with-a-name", &"long".repeat(30), Outcome::Recovered, None, Some(true));
        records.push(vec![crate::event::Event::TrialFinished(Box::new(long))]);
        let results = Results::from_records(&fixture::number(records.into_iter().flatten()));
        for width in [40, 60, 80, 200] {
            let text = terminal_table(&results, width, true);
            for line in text.lines() {
                assert!(measure_text_width(line) <= width, "{width}: {line}");
            }
            assert!(text.contains("\u{1b}["));
        }
    }

    #[test]
    fn an_empty_run_has_a_table_too() {
        let text = terminal_table(&Results::default(), 80, false);
        assert_eq!(text, "method  model  n  strict %  compat %  attempts  repair s\n");
    }
}
