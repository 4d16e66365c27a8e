//! Diagnostics: mistakes in data files, each with a stable code, a place and, where there is one, advice.
//!
//! Inputs: what the checks of `manifest` found; outputs: text with a caret under the place, plain lines, or JSON.
//! Nothing is printed here.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use camino::Utf8PathBuf;

/// One mistake in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code, `microremed::unknown_key`.
    pub code: String,
    /// What is wrong, one line.
    pub message: String,
    /// The file, as people would type it.
    pub file: Utf8PathBuf,
    /// Bytes of the place in the file; none: the file as a whole.
    pub span: Option<Range<usize>>,
    /// Written beside the caret; may be empty.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Text of the file.
    pub source: Arc<str>,
}

impl Diagnostic {
    /// A diagnostic about a whole file; `code` goes without its prefix.
    pub fn new(code: &str, file: impl Into<Utf8PathBuf>, source: Arc<str>, message: impl Into<String>) -> Self {
        Self {
            code: format!("microremed::{code}"),
            message: message.into(),
            file: file.into(),
            span: None,
            label: String::new(),
            help: None,
            source,
        }
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, span: Option<Range<usize>>, label: impl Into<String>) -> Self {
        self.span = span.map(|s| s.start.min(self.source.len())..s.end.min(self.source.len()));
        self.label = label.into();
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// Line and column of the place, both from 1, in characters.
    pub fn position(&self) -> Option<(usize, usize)> {
        let start = self.span.as_ref()?.start;
        let before = self.source.get(..start)?;
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        Some((line, column))
    }

    /// One line: `file:line:col: message (help) [code]`.
    pub fn plain(&self) -> String {
        let place = self.position().map_or_else(|| self.file.to_string(), |(l, c)| format!("{}:{l}:{c}", self.file));
        let help = self.help.as_ref().map_or_else(String::new, |h| format!(" ({h})"));
        format!("{place}: {}{help} [{}]", self.message, self.code)
    }

    /// As JSON, for `--json` and editors.
    pub fn json(&self) -> serde_json::Value {
        let position = self.position();
        serde_json::json!({
            "code": self.code,
            "message": self.message,
            "file": self.file.as_str(),
            "line": position.map(|p| p.0),
            "column": position.map(|p| p.1),
            "start": self.span.as_ref().map(|s| s.start),
            "end": self.span.as_ref().map(|s| s.end),
            "label": self.label,
            "help": self.help,
        })
    }
}

/// The shape that miette draws.
#[derive(Debug)]
struct Drawn<'a> {
    inner: &'a Diagnostic,
    source: miette::NamedSource<Arc<str>>,
}

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inner.span.is_none() {
            write!(f, "{}: ", self.inner.file)?;
        }
        f.write_str(&self.inner.message)
    }
}

impl std::error::Error for Drawn<'_> {}

impl miette::Diagnostic for Drawn<'_> {
    fn code<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        Some(Box::new(&self.inner.code))
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        self.inner.help.as_ref().map(|h| Box::new(h) as Box<dyn fmt::Display + 'b>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.inner.span.as_ref().map(|_| &self.source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        let span = self.inner.span.clone()?;
        // A span over several lines is drawn as a bracket around all of them; its first line says enough.
        let text = self.inner.source.get(span.clone()).unwrap_or_default();
        let length = text.lines().next().map_or(0, str::len);
        let label = if self.inner.label.is_empty() { "here".to_owned() } else { self.inner.label.clone() };
        Some(Box::new(std::iter::once(miette::LabeledSpan::new(Some(label), span.start, length))))
    }
}

/// All mistakes found, sorted by file and place when rendered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.items.push(diagnostic);
    }

    /// Adds all of another collection.
    pub fn extend(&mut self, other: Self) {
        self.items.extend(other.items);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// In the order of files and places; the same mistake is kept once.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut all: Vec<&Diagnostic> = self.items.iter().collect();
        all.sort_by(|a, b| {
            let place = |d: &Diagnostic| d.span.as_ref().map_or((0, 0), |s| (s.start + 1, s.end));
            (&a.file, place(a), &a.code, &a.message).cmp(&(&b.file, place(b), &b.code, &b.message))
        });
        all.dedup();
        all
    }

    /// With carets, for a terminal.
    pub fn render(&self, colour: bool, width: usize) -> String {
        let theme = if colour { miette::GraphicalTheme::unicode() } else { miette::GraphicalTheme::unicode_nocolor() };
        let handler = miette::GraphicalReportHandler::new_themed(theme).with_links(false).with_width(width.max(40));
        let mut text = String::new();
        for inner in self.sorted() {
            let source = miette::NamedSource::new(inner.file.as_str(), Arc::clone(&inner.source));
            if handler.render_report(&mut text, &Drawn { inner, source }).is_err() {
                text.push_str(&inner.plain());
            }
            text.push('\n');
        }
        text
    }

    /// One line each.
    pub fn plain(&self) -> String {
        self.sorted().iter().fold(String::new(), |text, d| text + &d.plain() + "\n")
    }

    /// As JSON values, in order.
    pub fn json(&self) -> Vec<serde_json::Value> {
        self.sorted().into_iter().map(Diagnostic::json).collect()
    }
}

/// `did you mean "x"?` for the candidate closest to `wrong`, when one is close enough.
pub fn did_you_mean<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    closest(wrong, candidates).map(|c| format!("did you mean `{c}`?"))
}

/// The candidate that somebody who wrote `wrong` may have meant.
pub fn closest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = wrong.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&lower, &c.to_lowercase()), c))
        .filter(|(distance, c)| *distance <= 1 + wrong.chars().count().min(c.chars().count()) / 4)
        .min()
        .map(|(_, c)| c)
}

/// An error with its causes, each once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Diagnostic {
        Diagnostic::new("unknown_key", "faults/a.toml", "name = \"a\"\nnmae = 1\n".into(), "unknown key `nmae`")
            .at(Some(11..15), "not a key of a fault")
            .help(did_you_mean("nmae", ["title", "name"]))
    }

    #[test]
    fn positions_count_characters() {
        let d = Diagnostic::new("x", "f", "é = 1\nüü b".into(), "m").at(Some(12..13), "");
        assert_eq!(d.position(), Some((2, 4)));
    }

    #[test]
    fn plain_has_place_help_and_code() {
        assert_eq!(sample().plain(), "faults/a.toml:2:1: unknown key `nmae` (did you mean `name`?) [microremed::unknown_key]");
    }

    #[test]
    fn the_drawing_has_a_caret_and_the_place() {
        let mut all = Diagnostics::new();
        all.push(sample());
        let text = all.render(false, 100);
        assert!(text.contains("faults/a.toml:2:1"), "{text}");
        assert!(text.contains("not a key of a fault"), "{text}");
        assert!(text.contains("did you mean `name`?"), "{text}");
    }

    #[test]
    fn far_words_are_not_suggested() {
        assert_eq!(did_you_mean("zebra", ["cpu-stress", "pod-fail"]), None);
        assert_eq!(did_you_mean("cpu-stres", ["cpu-stress", "pod-fail"]).as_deref(), Some("did you mean `cpu-stress`?"));
    }

    #[test]
    fn sorted_by_file_and_place_and_said_once() {
        let mut all = Diagnostics::new();
        let late = Diagnostic::new("x", "b", "abc".into(), "late").at(Some(2..3), "");
        for d in [late.clone(), Diagnostic::new("x", "b", "abc".into(), "early").at(Some(0..1), ""), sample(), late] {
            all.push(d);
        }
        let messages: Vec<&str> = all.sorted().iter().map(|d| d.message.as_str()).collect();
        assert_eq!(messages, ["early", "late", "unknown key `nmae`"]);
    }
}
