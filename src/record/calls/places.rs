//! Places and times of one machine and one run, taken out of what was asked: a replay has other ones.
//!
//! Input: a request as JSON, and the folder in which a run keeps the private folders of its trials; output: the same
//! with that folder, ports of loopback, times of the day and numbered temporary folders under fixed names. The model
//! itself is shown the true ones.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// What stands for the folder.
const FOLDER: &str = "/microremed";

/// What differs from run to run, and what stands for it.
const VARYING: [(&str, &str); 4] = [
    // An address on loopback with a port that the system chose.
    (r"(127\.0\.0\.1|localhost|\[::1\]):[0-9]{2,5}", "$1:PORT"),
    // A moment, as programs print it.
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T])[0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?", "DATE${1}TIME"),
    // How long a command took, as Ansible prints it.
    (r"\b[0-9]+:[0-9]{2}:[0-9]{2}\.[0-9]{3,6}", "DURATION"),
    (r"ansible-tmp-[0-9.]+-[0-9]+-[0-9]+", "ansible-tmp"),
];

static PATTERNS: LazyLock<Vec<(Regex, &str)>> =
    LazyLock::new(|| VARYING.iter().filter_map(|(pattern, name)| Some((Regex::new(pattern).ok()?, *name))).collect());

/// The places of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    folder: String,
}

impl Places {
    /// Of a run whose trials work below `folder`.
    pub fn new(folder: impl Into<String>) -> Self {
        Self { folder: folder.into() }
    }

    /// Takes the places out of every text of a value.
    pub(super) fn take_out(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.plain(text),
            Value::Array(list) => list.iter_mut().for_each(|inner| self.take_out(inner)),
            Value::Object(map) => map.values_mut().for_each(|inner| self.take_out(inner)),
            _ => {}
        }
    }

    fn plain(&self, text: &str) -> String {
        let moved = if self.folder.is_empty() { text.to_owned() } else { text.replace(&self.folder, FOLDER) };
        PATTERNS.iter().fold(moved, |text, (pattern, name)| match pattern.replace_all(&text, *name) {
            std::borrow::Cow::Borrowed(_) => text,
            std::borrow::Cow::Owned(named) => named,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_patterns_are_regular_expressions() {
        assert_eq!(PATTERNS.len(), VARYING.len());
    }

    #[test]
    fn moments_and_durations_get_fixed_names() {
        let text =
            r#"{"delta": "0:00:00.053089", "end": "2026-11-24 23:34:09.497183"} 2026-01-01T00:00:05Z ansible-tmp-17.4-9-3/x 10:30:05"#;
        let plain = Places::default().plain(text);
        assert_eq!(plain, r#"{"delta": "DURATION", "end": "DATE TIME"} DATETTIMEZ ansible-tmp/x 10:30:05"#);
    }

    #[test]
    fn folders_and_ports_get_fixed_names_and_nothing_else_changes() {
        let mut value =
            json!({ "a": ["KUBECONFIG=/tmp/microremed-x1/ab/config", "https://127.0.0.1:38291/api localhost:99 10.0.0.1:80"], "n": 1 });
        Places::new("/tmp/microremed-x1").take_out(&mut value);
        assert_eq!(
            value,
            json!({ "a": ["KUBECONFIG=/microremed/ab/config", "https://127.0.0.1:PORT/api localhost:PORT 10.0.0.1:80"], "n": 1 })
        );
    }
}
