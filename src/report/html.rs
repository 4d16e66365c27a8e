//! Documents as one self-contained page: no script, nothing fetched.

use super::document::{Block, Document};
use super::table::Table;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}\
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}th,td{padding:.25rem .7rem;border-bottom:1px solid #ccc;text-align:left;white-space:nowrap}\
th{border-bottom:2px solid #666}.n{text-align:right;font-variant-numeric:tabular-nums}p{overflow-wrap:anywhere}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}td{border-color:#444}}";

/// A whole page.
pub(super) fn html(document: &Document) -> String {
    let title = escape(&document.title);
    let parts: String = document.blocks.iter().map(block).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{parts}</body>\n</html>\n"
    )
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading(heading) => format!("<h2>{}</h2>\n", escape(heading)),
        Block::Text(paragraph) => format!("<p>{}</p>\n", escape(paragraph)),
        Block::Table(table) => html_table(table),
        Block::List(items) => {
            format!("<ul>\n{}</ul>\n", items.iter().map(|i| format!("<li>{}</li>\n", escape(i))).collect::<Vec<_>>().concat())
        }
    }
}

fn html_table(table: &Table) -> String {
    let line = |row: &[String], tag: &str| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let class = if column < table.numbers_from { "" } else { " class=\"n\"" };
            format!("<{tag}{class}>{}</{tag}>", escape(cell))
        });
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows: String = table.rows.iter().map(|row| line(row, "td")).collect();
    format!("<table>\n<thead>\n{}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n", line(&table.head, "th"))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut table = Table::new(["name"], ["n"]);
        table.rows.push(vec!["<script>&".to_owned(), "1".to_owned()]);
        let page = html(&Document { title: "a<b".to_owned(), blocks: vec![Block::Table(table)] });
        assert!(page.contains("<title>a&lt;b</title>"));
        assert!(page.contains("<tr><td>&lt;script&gt;&amp;</td><td class=\"n\">1</td></tr>"));
        assert!(!page.contains("<script>"));
    }
}
