//! Documents as Markdown.

use super::document::{Block, Document};
use super::table::Table;

/// A whole page.
pub(super) fn markdown(document: &Document) -> String {
    let title = format!("# {}\n", inline(&document.title));
    std::iter::once(title).chain(document.blocks.iter().map(block)).collect::<Vec<_>>().join("\n")
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading(title) => format!("## {}\n", inline(title)),
        Block::Text(paragraph) => format!("{}\n", inline(paragraph)),
        Block::Table(table) => markdown_table(table),
        Block::List(items) => items.iter().map(|item| format!("- {}\n", inline(item))).collect::<Vec<_>>().concat(),
    }
}

/// A table whose source is aligned, too: summaries are read in terminals as often as anywhere.
pub(super) fn markdown_table(table: &Table) -> String {
    let cells: Vec<Vec<String>> =
        std::iter::once(&table.head).chain(&table.rows).map(|row| row.iter().map(|c| inline(c)).collect()).collect();
    let width = |column: usize| cells.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..table.head.len()).map(width).collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column < table.numbers_from { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") }
        });
        cells.collect::<String>() + "|\n"
    };
    let rule = widths.iter().enumerate().map(|(column, width)| {
        let dashes = "-".repeat(width - 1);
        if column < table.numbers_from { format!("| {dashes}- ") } else { format!("| {dashes}: ") }
    });
    let mut lines = cells.iter().map(|row| line(row));
    let head = lines.next().unwrap_or_default();
    head + &rule.collect::<String>() + "|\n" + &lines.collect::<String>()
}

/// Text that stays in its line and its cell. A `*` is only special in pairs or before a word, and ours stand alone.
fn inline(text: &str) -> String {
    text.replace(['\n', '\r'], " ").replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cannot_break_out() {
        let mut table = Table::new(["name"], ["n"]);
        table.rows.push(vec!["a|b\nc<br>".to_owned(), "1".to_owned()]);
        let text = markdown_table(&table);
        insta::assert_snapshot!(text, @r"
        | name          |   n |
        | ------------- | --: |
        | a\|b c&lt;br> |   1 |
        ");
    }
}
