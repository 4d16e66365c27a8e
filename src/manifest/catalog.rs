//! The catalog: every manifest of a root, read and checked.
//!
//! Input: a [`Root`]; outputs: the manifests by name, the texts they refer to, and every mistake found. A manifest with a
//! mistake of shape is not in the catalog, but its name is known, so that nothing else complains about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kind::Kind;
use super::source::{Root, SourceFile};
use super::spans::{SpanIndex, child, item, parse_toml, parse_yaml};
use super::{ExperimentManifest, FaultManifest, PipelineManifest, SequenceManifest, SystemManifest, extends, schema, semantic};
use crate::diagnostic::{Diagnostic, Diagnostics, did_you_mean};
use crate::model::ModelSpec;

/// The pipeline around every trial.
pub const TRIAL_PIPELINE: &str = "trial";

/// Everything that a root holds.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Systems by name.
    pub systems: BTreeMap<String, SystemManifest>,
    /// Faults by name.
    pub faults: BTreeMap<String, FaultManifest>,
    /// Pipelines by name: methods, and the trial's own, `trial`.
    pub pipelines: BTreeMap<String, PipelineManifest>,
    /// Sequences by name.
    pub sequences: BTreeMap<String, SequenceManifest>,
    /// Experiments by name.
    pub experiments: BTreeMap<String, ExperimentManifest>,
    /// Models by name.
    pub models: BTreeMap<String, ModelSpec>,
    /// Every text by path below the root (`prompts/a/b.md.j2`).
    pub files: BTreeMap<String, SourceFile>,
    origins: BTreeMap<(Kind, String), String>,
    spans: BTreeMap<String, SpanIndex>,
}

impl Catalog {
    /// Reads and checks everything. All mistakes are returned; the catalog holds what could be read.
    pub fn load(root: &Root) -> (Self, Diagnostics) {
        let (files, mut diagnostics) = root.read();
        let mut catalog = Self { files, ..Self::default() };
        let paths: Vec<String> = catalog.files.keys().cloned().collect();
        for path in paths {
            if let Some((kind, name)) = Kind::of_path(&path) {
                catalog.load_file(&path, kind, &name, &mut diagnostics);
            }
        }
        semantic::check(&catalog, &mut diagnostics);
        (catalog, diagnostics)
    }

    /// Names of a kind, those of broken manifests included.
    pub fn names(&self, kind: Kind) -> BTreeSet<&str> {
        self.origins.keys().filter(|(k, _)| *k == kind).map(|(_, n)| n.as_str()).collect()
    }

    /// The methods: every pipeline but the trial's.
    pub fn methods(&self) -> BTreeSet<&str> {
        self.names(Kind::Pipeline).into_iter().filter(|n| *n != TRIAL_PIPELINE).collect()
    }

    /// Path below the root of a manifest's file.
    pub fn origin(&self, kind: Kind, name: &str) -> Option<&str> {
        self.origins.get(&(kind, name.to_owned())).map(String::as_str)
    }

    /// A text by its path below the root.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(|f| &*f.text)
    }

    /// The text of a prompt (`sologen/system`).
    pub fn prompt(&self, name: &str) -> Option<&str> {
        self.text(&prompt_path(name))
    }

    /// Names of all prompts.
    pub fn prompts(&self) -> BTreeSet<&str> {
        self.files.keys().filter_map(|p| p.strip_prefix("prompts/")?.strip_suffix(".md.j2")).collect()
    }

    /// A diagnostic about a key path of a manifest.
    pub(super) fn at(&self, file: &str, path: &str, code: &str, message: impl Into<String>) -> Diagnostic {
        let span = self.spans.get(file).and_then(|s| s.value(path));
        match self.files.get(file) {
            Some(source) => Diagnostic::new(code, &source.shown, Arc::clone(&source.text), message).at(span, ""),
            None => Diagnostic::new(code, file, "".into(), message),
        }
    }

    /// The place of a key of a manifest.
    pub(super) fn key_span(&self, file: &str, path: &str) -> Option<std::ops::Range<usize>> {
        self.spans.get(file).and_then(|s| s.key(path))
    }

    fn load_file(&mut self, path: &str, kind: Kind, name: &str, diagnostics: &mut Diagnostics) {
        let Some(file) = self.files.get(path).cloned() else { return };
        let about = |code: &str, message: String| Diagnostic::new(code, &file.shown, Arc::clone(&file.text), message);
        if let Some(other) = self.origins.insert((kind, name.to_owned()), path.to_owned()) {
            diagnostics.push(about("duplicate_name", format!("the {} `{name}` is also described in {other}", kind.name())));
        }
        let parsed = if std::path::Path::new(path).extension().is_some_and(|e| e == "toml") {
            parse_toml(&file.text)
        } else {
            parse_yaml(&file.text)
        };
        let document = match parsed {
            Ok(document) => document,
            Err(e) => return diagnostics.push(about("syntax", e.message).at(e.span, "")),
        };
        let inherited = if kind == Kind::Model { extends::resolve(&self.files, path, &document) } else { Ok(document.value) };
        let mut spans = document.spans;
        let value = match inherited {
            Ok(value) => {
                if kind == Kind::Model {
                    spans.owe(&value, extends::KEY);
                }
                value
            }
            Err(diagnostic) => return diagnostics.push(*diagnostic),
        };
        let mistakes = schema::check_kind(kind, &value);
        for mistake in &mistakes {
            let span = if mistake.path.is_empty() {
                Some(0..file.text.lines().next().map_or(0, str::len))
            } else if mistake.on_key {
                spans.key(&mistake.path)
            } else {
                spans.value(&mistake.path)
            };
            diagnostics.push(about(mistake.code, mistake.message.clone()).at(span, mistake.label.clone()).help(mistake.help.clone()));
        }
        if let Some(said) = value["name"].as_str().filter(|n| *n != name) {
            let message = format!("the name is `{said}`, but the {} says `{name}`", if kind == Kind::System { "folder" } else { "file" });
            diagnostics.push(
                about("name_differs", message).at(spans.value("name"), format!("`{name}` is expected")).help(did_you_mean(said, [name])),
            );
        }
        self.spans.insert(path.to_owned(), spans);
        // What is left without the unknown keys is still checked, so that one round of edits mends everything.
        if mistakes.iter().any(|m| m.code != "unknown_key" || m.leaves_hole) {
            return;
        }
        let unknown: BTreeSet<&str> = mistakes.iter().map(|m| m.path.as_str()).collect();
        let value = without(value, &unknown, "");
        let name = name.to_owned();
        let stored = match kind {
            Kind::System => typed(value).map(|m| self.systems.insert(name, m).is_some()),
            Kind::Fault => typed(value).map(|m| self.faults.insert(name, m).is_some()),
            Kind::Pipeline => typed(value).map(|m| self.pipelines.insert(name, m).is_some()),
            Kind::Sequence => typed(value).map(|m| self.sequences.insert(name, m).is_some()),
            Kind::Experiment => typed(value).map(|m| self.experiments.insert(name, m).is_some()),
            Kind::Model => typed(value).map(|m| self.models.insert(name, m).is_some()),
        };
        if let Err(e) = stored {
            diagnostics.push(about("wrong_value", e.to_string()));
        }
    }
}

/// A value without the keys at some paths.
fn without(value: Value, paths: &BTreeSet<&str>, path: &str) -> Value {
    if paths.is_empty() {
        return value;
    }
    match value {
        Value::Object(map) => {
            let kept =
                map.into_iter().map(|(key, inner)| (child(path, &key), key, inner)).filter(|(below, ..)| !paths.contains(below.as_str()));
            Value::Object(kept.map(|(below, key, inner)| (key, without(inner, paths, &below))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().enumerate().map(|(i, v)| without(v, paths, &item(path, i))).collect()),
        other => other,
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, serde_json::Error> {
    serde_json::from_value(value)
}

/// Path below the root of the agent's rights.
pub(super) fn rights_path(name: &str) -> String {
    format!("pipelines/rights/{name}.yaml.j2")
}

/// Path below the root of a prompt.
pub fn prompt_path(name: &str) -> String {
    format!("prompts/{name}.md.j2")
}
