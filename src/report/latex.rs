//! Tables for papers: booktabs, to be included with `\input`. Needs `\usepackage{booktabs}`.

use super::compare::comparisons;
use super::group::GroupKey;
use super::main_table::main_table;
use super::overview::{pair_table, rate_table};
use super::results::Results;
use super::table::Table;

/// All tables of a paper: the `main` one, and one grouped by `by`.
pub(super) fn latex(results: &Results, by: &[GroupKey], main: bool) -> String {
    let mut text =
        format!("% {}; digest of the results: {}\n% needs \\usepackage{{booktabs}}\n", one_line(&results.title()), results.digest());
    if main {
        text.push_str(&main_table(results).as_latex(escape));
    }
    text.push_str(&latex_table(
        &rate_table(results, by),
        "Trials recovered (strict and compatible verdict, Wilson 95\\,\\% intervals).",
        "rates",
    ));
    let all = comparisons(results);
    if !all.is_empty() {
        let caption = "Paired comparisons (McNemar's exact test, Holm-adjusted).";
        text.push_str(&latex_table(&pair_table(&all), caption, "pairs"));
    }
    text
}

fn latex_table(table: &Table, caption: &str, name: &str) -> String {
    let line = |row: &[String]| format!("    {} \\\\\n", row.iter().map(|c| escape(c)).collect::<Vec<_>>().join(" & "));
    let columns: String = (0..table.head.len()).map(|c| if c < table.numbers_from { 'l' } else { 'r' }).collect();
    let rows: String = table.rows.iter().map(|row| line(row)).collect();
    format!(
        "\n\\begin{{table}}\n  \\centering\n  \\caption{{{caption}}}\n  \\label{{tab:microremed-{name}}}\n  \\begin{{tabular}}{{{columns}}}\n    \\toprule\n{}    \\midrule\n{rows}    \\bottomrule\n  \\end{{tabular}}\n\\end{{table}}\n",
        line(&table.head)
    )
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in one_line(text).chars() {
        match c {
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            // A bracket at the start of a row would be taken for an option of the line break before it.
            '[' => escaped.push_str("{[}"),
            '<' => escaped.push_str("\\textless{}"),
            '>' => escaped.push_str("\\textgreater{}"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(c);
            }
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(escape("a_b & 5 % [1]\n\\x"), "a\\_b \\& 5 \\% {[}1] \\textbackslash{}x");
    }
}
