//! Checks that a file's shape does not show: names that lead nowhere, values that are none, templates and expressions that
//! cannot work. Each reports a key path; the catalog knows the place.

mod experiment;
mod fault;
mod model;
mod pipeline;
mod scope;
mod system;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::catalog::Catalog;
use super::kind::Kind;
use super::spans::child;
use super::{duration, quantity};
use crate::diagnostic::{Diagnostic, Diagnostics, did_you_mean};
use crate::template::{self, TemplateError};

/// Every mistake that a file's shape does not show.
pub(super) fn check(catalog: &Catalog, diagnostics: &mut Diagnostics) {
    system::check(catalog, diagnostics);
    fault::check(catalog, diagnostics);
    pipeline::check(catalog, diagnostics);
    experiment::check(catalog, diagnostics);
    model::check(catalog, diagnostics);
}

/// A manifest being checked.
struct Subject<'a> {
    catalog: &'a Catalog,
    diagnostics: &'a mut Diagnostics,
    file: &'a str,
}

impl<'a> Subject<'a> {
    fn new(catalog: &'a Catalog, diagnostics: &'a mut Diagnostics, kind: Kind, name: &str) -> Self {
        Self { catalog, diagnostics, file: catalog.origin(kind, name).unwrap_or_default() }
    }

    fn add(&mut self, path: &str, code: &str, message: impl Into<String>, help: Option<String>) {
        self.diagnostics.push(self.catalog.at(self.file, path, code, message).help(help));
    }

    /// A name that must be one of those known.
    fn named<'n>(&mut self, path: &str, word: &str, name: &str, known: impl IntoIterator<Item = &'n str>) {
        if let Some(diagnostic) = self.unknown(path, word, name, known) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// A key that must be one of the names known.
    fn named_key<'n>(&mut self, path: &str, word: &str, name: &str, known: impl IntoIterator<Item = &'n str>) {
        if let Some(diagnostic) = self.unknown(path, word, name, known) {
            let key = self.catalog.key_span(self.file, path);
            self.diagnostics.push(diagnostic.at(key, ""));
        }
    }

    fn unknown<'n>(&self, path: &str, word: &str, name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<Diagnostic> {
        let known: BTreeSet<&str> = known.into_iter().collect();
        if known.contains(name) {
            return None;
        }
        let help = did_you_mean(name, known.iter().copied()).or_else(|| {
            let list = known.iter().copied().take(12).collect::<Vec<_>>().join("`, `");
            (!list.is_empty()).then(|| format!("known: `{list}`"))
        });
        let code = format!("unknown_{}", word.replace(' ', "_"));
        Some(self.catalog.at(self.file, path, &code, format!("there is no {word} `{name}`")).help(help))
    }

    /// A word of a fixed set.
    fn word(&mut self, path: &str, word: &str, words: &[&str]) {
        if !words.contains(&word) {
            let help = did_you_mean(word, words.iter().copied()).unwrap_or_else(|| format!("one of `{}`", words.join("`, `")));
            self.add(path, "unknown_value", format!("unknown value `{word}`"), Some(help));
        }
    }

    fn duration(&mut self, path: &str, text: &str) {
        if let Err(e) = duration::parse(text) {
            self.add(path, "bad_duration", e.to_string(), None);
        }
    }

    /// A duration that must not be zero: a pause between polls, a window.
    fn pause(&mut self, path: &str, text: &str) {
        match duration::parse(text) {
            Err(e) => self.add(path, "bad_duration", e.to_string(), None),
            Ok(d) if d.is_zero() => self.add(path, "bad_duration", "this duration must not be zero", None),
            Ok(_) => {}
        }
    }

    fn quantity(&mut self, path: &str, text: &str) {
        if let Err(e) = quantity::parse(text) {
            self.add(path, "bad_quantity", e.to_string(), None);
        }
    }

    fn not_empty(&mut self, path: &str, count: usize, what: &str) {
        if count == 0 {
            self.add(path, "empty", format!("at least one {what} is needed here"), None);
        }
    }

    fn once<'n>(&mut self, path: impl Fn(usize) -> String, word: &str, names: impl IntoIterator<Item = &'n str>) {
        let mut seen = BTreeSet::new();
        for (i, name) in names.into_iter().enumerate() {
            if !seen.insert(name) {
                self.add(&path(i), "duplicate_name", format!("the {word} `{name}` is named twice"), None);
            }
        }
    }

    /// An expression in a manifest; true when nothing is wrong with it.
    fn expression(&mut self, path: &str, expression: &str, scope: &Value) -> bool {
        match template::undeclared_in_expression(expression) {
            Err(e) => {
                self.add(path, "bad_expression", format!("`{expression}` is no expression: {}", e.message), None);
                false
            }
            Ok(names) => self.variables(path, names, scope),
        }
    }

    /// A template in a manifest.
    fn inline_template(&mut self, path: &str, text: &str, scope: &Value) {
        match template::undeclared("template", text) {
            Err(e) => self.add(path, "bad_template", format!("`{text}` is no template: {}", e.message), None),
            Ok(names) => {
                self.variables(path, names, scope);
            }
        }
    }

    fn variables(&mut self, path: &str, names: BTreeSet<String>, scope: &Value) -> bool {
        let mut fine = true;
        for name in names {
            if let Err(help) = scope::find(&name, scope) {
                fine = false;
                self.add(path, "unknown_variable", format!("the variable `{name}` is not known here"), help);
            }
        }
        fine
    }

    /// A template file that yields roles.
    fn roles(&mut self, file: &str, scope: &Value) {
        let Some(source) = self.catalog.files.get(file) else { return };
        let text = match template::render(file, &source.text, scope) {
            Ok(text) => text,
            Err(e) => return self.diagnostics.push(located("bad_template", source, &e)),
        };
        let wrong = match serde_saphyr::from_multiple::<Value>(&text) {
            Err(e) => Some(format!("it yields no valid YAML: {e}")),
            Ok(documents) => documents
                .iter()
                .filter(|d| !d.is_null())
                .find(|d| d["kind"] != "Role" && d["kind"] != "ClusterRole" || !d["metadata"]["name"].is_string() || !d["rules"].is_array())
                .map(|d| format!("{} is no Role or ClusterRole with a name and rules", d["kind"])),
        };
        if let Some(message) = wrong {
            let help = "rights are roles; microremed binds them to the agent's account".to_owned();
            self.diagnostics.push(Diagnostic::new("bad_roles", &source.shown, Arc::clone(&source.text), message).help(Some(help)));
        }
    }

    /// A template file that a manifest names; true when nothing is wrong with it.
    fn template_file(&mut self, path: &str, file: &str, scope: &Value) -> bool {
        let Some(source) = self.catalog.files.get(file) else {
            let folder = file.rsplit_once('/').map_or("", |(f, _)| f);
            let known = self.catalog.files.keys().filter(|k| k.starts_with(folder)).map(String::as_str);
            let help = did_you_mean(file, known);
            self.add(path, "missing_file", format!("there is no file {file}"), help);
            return false;
        };
        let about = |code: &str, message: String| Diagnostic::new(code, &source.shown, Arc::clone(&source.text), message);
        let reader = self.catalog.files.get(self.file).map(|f| format!("read by {}", f.shown)).unwrap_or_default();
        match template::undeclared(file, &source.text) {
            Err(e) => {
                self.diagnostics.push(located("bad_template", source, &e));
                false
            }
            Ok(names) => {
                let mut fine = true;
                for name in names {
                    if let Err(help) = scope::find(&name, scope) {
                        fine = false;
                        let message = format!("the variable `{name}` is not known here");
                        self.diagnostics
                            .push(about("unknown_variable", message).at(find_word(&source.text, &name), reader.as_str()).help(help));
                    }
                }
                fine
            }
        }
    }
}

/// A template's error, at its place in the template.
fn located(code: &str, source: &super::source::SourceFile, error: &TemplateError) -> Diagnostic {
    let span = error.range.clone().or_else(|| {
        let line = error.line?.checked_sub(1)?;
        let start = source.text.split_inclusive('\n').take(line).map(str::len).sum::<usize>();
        let length = source.text.get(start..)?.lines().next().map_or(0, str::len);
        Some(start..start + length)
    });
    Diagnostic::new(code, &source.shown, Arc::clone(&source.text), error.message.clone()).at(span, "")
}

/// The first place where a variable stands as a word of its own.
fn find_word(text: &str, name: &str) -> Option<std::ops::Range<usize>> {
    let wordy = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let found = text.match_indices(name).find(|(i, _)| {
        let before = text.get(..*i).and_then(|t| t.chars().next_back());
        let after = text.get(i + name.len()..).and_then(|t| t.chars().next());
        !before.is_some_and(wordy) && !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
    });
    found.map(|(i, _)| i..i + name.len())
}

/// Whether a text can name an object of Kubernetes.
fn is_dns_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !text.is_empty() && text.len() <= 63 && text.chars().all(|c| plain(c) || c == '-') && text.starts_with(plain) && text.ends_with(plain)
}

fn quantities(subject: &mut Subject<'_>, path: &str, q: &super::system::Quantities) {
    for (key, text) in [("request", &q.request), ("limit", &q.limit)] {
        if !text.is_empty() {
            subject.quantity(&child(path, key), text);
        }
    }
    if let (Ok(request), Ok(limit)) = (quantity::parse(&q.request), quantity::parse(&q.limit))
        && request > limit
    {
        subject.add(path, "request_above_limit", format!("the request {} is above the limit {}", q.request, q.limit), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole() {
        let text = "{{ fault.names }} {{ fault.name }} xfault.name";
        assert_eq!(find_word(text, "fault.name"), Some(21..31));
        assert_eq!(find_word(text, "other"), None);
    }

    #[test]
    fn labels() {
        assert!(is_dns_label("simple-micro") && is_dns_label("a"));
        assert!(!is_dns_label("") && !is_dns_label("-a") && !is_dns_label("A") && !is_dns_label("a.b"));
    }
}
