//! A table before it has a format.

/// Columns and rows of text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table {
    /// Heads of the columns.
    pub(super) head: Vec<String>,
    /// Columns from this one on hold numbers and are set flush right.
    pub(super) numbers_from: usize,
    /// Rows; each as long as the head.
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// Without rows yet.
    pub(super) fn new<'a>(labels: impl IntoIterator<Item = &'a str>, numbers: impl IntoIterator<Item = &'a str>) -> Self {
        let mut head: Vec<String> = labels.into_iter().map(str::to_owned).collect();
        let numbers_from = head.len();
        head.extend(numbers.into_iter().map(str::to_owned));
        Self { head, numbers_from, rows: Vec::new() }
    }
}
