//! The text in which Prometheus reads metrics.

use std::fmt::{Display, Write as _};

/// Metrics, family by family.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
    name: &'static str,
}

impl Exposition {
    /// Begins a family: the samples that follow belong to it.
    pub(super) fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A sample of the current family.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(name, text)| format!("{name}=\"{}\"", escaped(text))).collect();
        self.labelled(&labels.join(","), value);
    }

    /// A sample whose labels are written already.
    pub(super) fn labelled(&mut self, labels: &str, value: impl Display) {
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.text, "{}{braces} {value}", self.name);
    }

    pub(super) fn text(self) -> String {
        self.text
    }
}

/// The value of a label between its quotation marks.
pub(super) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Reads a text as strictly as Prometheus does: each sample's family must have been announced, names and labels must be well
/// formed, and no sample may stand twice.
#[cfg(test)]
pub(super) fn families(text: &str) -> std::collections::BTreeMap<String, Vec<(String, f64)>> {
    let name = |t: &str| !t.is_empty() && t.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
    let mut out = std::collections::BTreeMap::<String, Vec<(String, f64)>>::new();
    let mut seen = std::collections::BTreeSet::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (family, kind) = rest.split_once(' ').unwrap();
            assert!(name(family) && matches!(kind, "counter" | "gauge" | "summary" | "histogram"), "{line}");
            assert!(out.insert(family.to_owned(), Vec::new()).is_none(), "twice: {line}");
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (family, labels) = sample.split_once('{').map_or((sample, ""), |(f, l)| (f, l.strip_suffix('}').unwrap()));
            for label in labels.split("\",").filter(|l| !l.is_empty()) {
                let (key, text) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
                assert!(name(key) && !text.contains('\n'), "{line}");
            }
            assert!(seen.insert(sample.to_owned()), "twice: {line}");
            out.get_mut(family).unwrap_or_else(|| panic!("unannounced: {line}")).push((labels.to_owned(), value.parse().unwrap()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut metrics = Exposition::default();
        metrics.family("a_total", "counter", "Things.");
        metrics.sample(&[("of", "a \"b\\"), ("in", "")], 2);
        metrics.sample(&[], 0.5);
        assert_eq!(metrics.text(), "# HELP a_total Things.\n# TYPE a_total counter\na_total{of=\"a \\\"b\\\\\",in=\"\"} 2\na_total 0.5\n");
    }
}
