//! A mistake in the description of a model, with its place. Output only: `manifest` turns the path into line and column.

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Key path, such as `provider.openai.timeout` or `provider.scripted.turns[0].when`.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    /// A mistake at `path`.
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// The same, seen from one or more tables further out.
    pub(super) fn within(self, outer: &str) -> Self {
        Self { path: format!("{outer}.{}", self.path), message: self.message }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}
