//! Documents as Markdown.

use super::document::{Block, Document};
use super::table::Table;

/// A whole page.
pub(super) fn markdown(document: &Document) -> String {
    let mut text = format!("# {}\n", inline(&document.title));
    for block in &document.blocks {
        text.push('\n');
        match block {
            Block::Heading(title) => text.push_str(&format!("## {}\n", inline(title))),
            Block::Text(paragraph) => text.push_str(&format!("{}\n", inline(paragraph))),
            Block::Table(table) => text.push_str(&markdown_table(table)),
            Block::List(items) => items.iter().for_each(|item| text.push_str(&format!("- {}\n", inline(item)))),
        }
    }
    text
}

fn markdown_table(table: &Table) -> String {
    let cells: Vec<Vec<String>> =
        std::iter::once(&table.head).chain(&table.rows).map(|row| row.iter().map(|c| inline(c)).collect()).collect();
    let width = |column: usize| cells.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..table.head.len()).map(width).collect();
    let mut text = String::new();
    for (number, row) in cells.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let width = *width;
            text.push_str(&if column < table.numbers_from { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") });
        }
        text.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width - 1);
                text.push_str(&if column < table.numbers_from { format!("| {dashes}- ") } else { format!("| {dashes}: ") });
            }
            text.push_str("|\n");
        }
    }
    text
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
