//! `extends` of model files: a file adds to another one, which is a model or a base (models/bases/NAME.toml).
//!
//! Input: a file's value and all texts; output: the value with what it inherits, or the mistakes met on the way, each at
//! the `extends` that leads to it. Bases are no models: they may lack what every model needs, and cannot be run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::source::SourceFile;
use super::spans::{Document, SpanIndex, parse_toml, parse_yaml};
use crate::diagnostic::{Diagnostic, did_you_mean};

/// The key.
pub(super) const KEY: &str = "extends";

/// What belongs to one file alone.
const OWN: [&str; 3] = ["name", "role", KEY];

/// The table whose one key says which provider it is.
const PROVIDER: &str = "provider";

/// The value of the model file at `path`, with everything that it inherits.
pub(super) fn resolve(files: &BTreeMap<String, SourceFile>, path: &str, document: &Document) -> Result<Value, Box<Diagnostic>> {
    let mut value = document.value.clone();
    let mut seen = vec![path.to_owned()];
    let mut next = parent_of(files, path, &document.value, &document.spans)?;
    while let Some((parent, named_by)) = next {
        if let Some(first) = seen.iter().position(|earlier| *earlier == parent) {
            let round: Vec<&str> = seen.iter().skip(first).chain([&parent]).map(String::as_str).collect();
            return Err(named_by.say("extends_itself", format!("these files extend each other: {}", round.join(" -> ")), None));
        }
        let Some(source) = files.get(&parent) else { break };
        let read = if is_toml(&parent) { parse_toml(&source.text) } else { parse_yaml(&source.text) };
        let inherited = match read {
            Ok(document) => document,
            Err(error) => return Err(named_by.say("broken_base", format!("{parent} cannot be read: {}", error.message), None)),
        };
        next = parent_of(files, &parent, &inherited.value, &inherited.spans)?;
        value = inherit(value, &inherited.value);
        seen.push(parent);
    }
    Ok(value)
}

/// Where a parent was named.
struct Named {
    file: SourceFile,
    span: Option<std::ops::Range<usize>>,
}

impl Named {
    fn say(self, code: &str, message: String, help: Option<String>) -> Box<Diagnostic> {
        Box::new(Diagnostic::new(code, &self.file.shown, Arc::clone(&self.file.text), message).at(self.span, "").help(help))
    }
}

/// The path of the file that `value` extends, and where it says so; none when it extends none.
fn parent_of(
    files: &BTreeMap<String, SourceFile>,
    path: &str,
    value: &Value,
    spans: &SpanIndex,
) -> Result<Option<(String, Named)>, Box<Diagnostic>> {
    let (Some(name), Some(file)) = (value.get(KEY).and_then(Value::as_str), files.get(path)) else { return Ok(None) };
    let named = Named { file: file.clone(), span: spans.value(KEY) };
    let found = ["models/bases", "models"].iter().flat_map(|folder| ["toml", "yaml", "yml"].map(|e| format!("{folder}/{name}.{e}")));
    // A model may have the name of its base.
    if let Some(parent) = found.into_iter().find(|found| found != path && files.contains_key(found)) {
        return Ok(Some((parent, named)));
    }
    let own = stem(path);
    if own == Some(name) {
        return Err(named.say("extends_itself", format!("`{name}` extends itself"), None));
    }
    let known: BTreeSet<&str> = files.keys().filter_map(|file| stem(file)).filter(|known| Some(*known) != own).collect();
    let help = did_you_mean(name, known.iter().copied()).unwrap_or_else(|| {
        let bases: Vec<&str> = files.keys().filter_map(|file| stem(file.strip_prefix("models/bases/")?)).collect();
        format!("bases: `{}`", bases.join("`, `"))
    });
    Err(named.say("unknown_base", format!("there is no model or base `{name}`"), Some(help)))
}

fn is_toml(path: &str) -> bool {
    std::path::Path::new(path).extension().is_some_and(|extension| extension == "toml")
}

/// The name of a model or base file.
fn stem(path: &str) -> Option<&str> {
    let file = path.strip_prefix("models/").unwrap_or(path);
    let (stem, extension) = file.strip_prefix("bases/").unwrap_or(file).rsplit_once('.')?;
    (!stem.contains('/') && ["toml", "yaml", "yml"].contains(&extension)).then_some(stem)
}

/// The child, and what it leaves to its parent. A child with another provider inherits nothing of the parent's.
fn inherit(child: Value, parent: &Value) -> Value {
    let (Value::Object(child), Value::Object(parent)) = (child, parent) else { return Value::Null };
    let mut out: Map<String, Value> =
        parent.iter().filter(|(key, _)| !OWN.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
    let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<BTreeSet<_>>());
    if let (Some(own), Some(theirs)) = (child.get(PROVIDER).and_then(keys), out.get(PROVIDER).and_then(keys))
        && own.is_disjoint(&theirs)
    {
        out.remove(PROVIDER);
    }
    merge(&mut out, child);
    Value::Object(out)
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(more)) => merge(inner, more),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(files: &[(&str, &str)], path: &str) -> Result<Value, Box<Diagnostic>> {
        let files: BTreeMap<String, SourceFile> =
            files.iter().map(|(path, text)| ((*path).to_owned(), SourceFile::new((*path).into(), text))).collect();
        resolve(&files, path, &parse_toml(&files[path].text).unwrap())
    }

    const BASE: (&str, &str) = (
        "models/bases/cloud.toml",
        "price = { prompt = 1.0, completion = 2.0 }\n[provider.openai]\nbase_url = 'u'\nkey_env = 'K'\noptions = { temperature = 0.0, top_p = 1.0 }",
    );

    #[test]
    fn fields_of_the_child_win_and_tables_are_merged_over_generations() {
        let files = [
            BASE,
            (
                "models/a.toml",
                "name = 'a'\nrole = 'floor'\nextends = 'cloud'\n[provider.openai]\nmodel = 'm'\noptions = { temperature = 0.7 }",
            ),
            ("models/b.toml", "name = 'b'\nextends = 'a'\n[provider.openai]\noptions = { max_tokens = 5 }"),
        ];
        let b = resolved(&files, "models/b.toml").unwrap();
        let openai = &b["provider"]["openai"];
        assert_eq!((&b["name"], &b["extends"], b.get("role")), (&"b".into(), &"a".into(), None));
        assert_eq!((&openai["base_url"], &openai["model"], &openai["key_env"]), (&"u".into(), &"m".into(), &"K".into()));
        assert_eq!(openai["options"], serde_json::json!({ "temperature": 0.7, "top_p": 1.0, "max_tokens": 5 }));
        assert_eq!(b["price"]["completion"], 2.0);
    }

    #[test]
    fn another_provider_replaces_the_inherited_one() {
        let files = [BASE, ("models/a.toml", "name = 'a'\nextends = 'cloud'\n[provider.gemini]\nmodel = 'm'")];
        assert_eq!(resolved(&files, "models/a.toml").unwrap()["provider"], serde_json::json!({ "gemini": { "model": "m" } }));
    }

    #[test]
    fn cycles_and_unknown_bases_are_shown_where_they_are_named() {
        let files = [
            ("models/a.toml", "name = 'a'\nextends = 'b'"),
            ("models/b.toml", "name = 'b'\nextends = 'a'"),
            ("models/c.toml", "name = 'c'\nextends = 'c'"),
            ("models/d.toml", "name = 'd'\nextends = 'clout'"),
            ("models/e.toml", "name = 'e'\nextends = 'broken'"),
            ("models/bases/broken.toml", "= 1"),
            BASE,
        ];
        for (path, part, place) in [
            ("models/a.toml", "extend each other: models/a.toml -> models/b.toml -> models/a.toml", "models/b.toml:2:11"),
            ("models/c.toml", "`c` extends itself", "models/c.toml:2:11"),
            ("models/d.toml", "did you mean `cloud`?", "models/d.toml:2:11"),
            ("models/e.toml", "models/bases/broken.toml cannot be read", "models/e.toml:2:11"),
        ] {
            let shown = format!("{} {:?}", resolved(&files, path).unwrap_err().plain(), resolved(&files, path).unwrap_err());
            assert!(shown.contains(part) && shown.contains(place), "{shown}");
        }
    }

    #[test]
    fn a_model_may_have_the_name_of_its_base() {
        let files = [BASE, ("models/cloud.toml", "name = 'cloud'\nextends = 'cloud'\n[provider.openai]\nmodel = 'm'")];
        assert_eq!(resolved(&files, "models/cloud.toml").unwrap()["provider"]["openai"]["base_url"], "u");
    }
}
