//! A page before it has a format: what [`super::overview`] says and `markdown` and `html` lay out.

use super::table::Table;

/// A part of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Block {
    /// A heading below the title.
    Heading(String),
    /// A paragraph of plain text.
    Text(String),
    /// A table.
    Table(Table),
    /// A list.
    List(Vec<String>),
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    /// The title.
    pub(super) title: String,
    /// Its parts.
    pub(super) blocks: Vec<Block>,
}
