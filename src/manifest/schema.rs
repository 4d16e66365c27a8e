//! JSON Schemas of the manifests, from their types, and the walk that finds every mistake of shape in a file.
//!
//! serde stops at the first mistake; the walk reports all unknown and missing keys, wrong types and wrong words, each at
//! its place. It knows the schemas that our types yield, not JSON Schema at large.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::kind::Kind;
use super::spans::{child, item};
use crate::diagnostic::{closest, did_you_mean};

/// The JSON Schema of a kind of manifest.
pub fn of(kind: Kind) -> Value {
    match kind {
        Kind::System => schemars::schema_for!(super::SystemManifest),
        Kind::Fault => schemars::schema_for!(super::FaultManifest),
        Kind::Pipeline => schemars::schema_for!(super::PipelineManifest),
        Kind::Sequence => schemars::schema_for!(super::SequenceManifest),
        Kind::Experiment => schemars::schema_for!(super::ExperimentManifest),
        Kind::Model => schemars::schema_for!(crate::model::ModelSpec),
    }
    .to_value()
}

static ALL: LazyLock<BTreeMap<Kind, Value>> = LazyLock::new(|| Kind::ALL.into_iter().map(|k| (k, of(k))).collect());

/// Every mistake of shape in a manifest of a kind.
pub fn check_kind(kind: Kind, value: &Value) -> Vec<Mistake> {
    ALL.get(&kind).map(|schema| check(schema, value)).unwrap_or_default()
}

/// The schema of a file as it stands on disk. It differs from [`of`] where files may leave something to another one: a model
/// that extends another may lack every key but its name.
pub fn of_file(kind: Kind) -> Value {
    let whole = of(kind);
    if kind == Kind::Model { with_parents(whole) } else { whole }
}

/// The text of schemas/KIND.json.
pub fn text(kind: Kind) -> String {
    serde_json::to_string_pretty(&of_file(kind)).unwrap_or_default() + "\n"
}

/// Moves what a table demands to where it holds: in files without `extends`.
fn with_parents(mut schema: Value) -> Value {
    let provider = schema.pointer("/$defs/Provider/oneOf").and_then(Value::as_array).into_iter().flatten();
    let variants = provider.filter_map(|variant| variant["properties"].as_object()).flatten();
    let demands = |table: &Value| {
        let name = table["$ref"].as_str()?.strip_prefix("#/$defs/")?;
        let required = schema.pointer(&format!("/$defs/{name}/required"))?;
        Some((name.to_owned(), json!({ "required": required })))
    };
    let mut moved = BTreeSet::new();
    let mut note = |table: &Value| {
        demands(table).map(|(name, required)| {
            moved.insert(name);
            required
        })
    };
    let providers: Map<String, Value> = variants.filter_map(|(tag, table)| Some((tag.clone(), note(table)?))).collect();
    let price = note(&json!({ "$ref": "#/$defs/Price" })).unwrap_or_else(|| json!({}));
    for name in &moved {
        if let Some(table) = schema.pointer_mut(&format!("/$defs/{name}")).and_then(Value::as_object_mut) {
            table.remove("required");
        }
    }
    if let Some(file) = schema.as_object_mut() {
        file.insert("required".to_owned(), json!(["name"]));
        file.insert("if".to_owned(), json!({ "not": { "required": ["extends"] } }));
        let properties = json!({ "provider": { "properties": providers }, "price": price });
        file.insert("then".to_owned(), json!({ "required": ["provider"], "properties": properties }));
    }
    schema
}

/// A mistake of shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Code without its prefix.
    pub code: &'static str,
    /// Key path.
    pub path: String,
    /// Whether the key is to be shown, rather than the value.
    pub on_key: bool,
    /// What is wrong.
    pub message: String,
    /// Beside the caret.
    pub label: String,
    /// Advice.
    pub help: Option<String>,
    /// An unknown key in the place of one that must be there: without it, nothing is left that could be read.
    pub leaves_hole: bool,
}

/// Every mistake of shape in a value.
pub fn check(schema: &Value, value: &Value) -> Vec<Mistake> {
    let mut walk = Walk { root: schema, mistakes: Vec::new() };
    walk.value(schema, value, "");
    walk.mistakes
}

struct Walk<'a> {
    root: &'a Value,
    mistakes: Vec<Mistake>,
}

impl<'a> Walk<'a> {
    fn add(&mut self, code: &'static str, path: &str, message: String) -> &mut Mistake {
        let mistake = Mistake { code, path: path.to_owned(), on_key: false, message, label: String::new(), help: None, leaves_hole: false };
        self.mistakes.push(mistake);
        let last = self.mistakes.len() - 1;
        &mut self.mistakes[last]
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let reference = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#'));
        reference.and_then(|r| self.root.pointer(r)).unwrap_or(schema)
    }

    fn value(&mut self, schema: &'a Value, value: &Value, path: &str) {
        let schema = self.resolve(schema);
        if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
            let nullable = any.iter().any(|s| s["type"] == "null");
            if nullable && value.is_null() {
                return;
            }
            if let Some(inner) = any.iter().find(|s| s["type"] != "null") {
                self.value(inner, value, path);
            }
            return;
        }
        if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
            return self.choice(choices, value, path);
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            return self.word(&words, value, path);
        }
        if !self.type_fits(schema, value, path) {
            return;
        }
        match value {
            Value::Object(map) => self.object(schema, map, path),
            Value::Array(list) => {
                if let Some(items) = schema.get("items") {
                    for (i, element) in list.iter().enumerate() {
                        self.value(items, element, &item(path, i));
                    }
                }
            }
            Value::Number(n) => self.range(schema, n, path),
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
    }

    fn type_fits(&mut self, schema: &Value, value: &Value, path: &str) -> bool {
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(t)) => vec![t.as_str()],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => return true,
        };
        let fits = types.iter().any(|t| match *t {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "null" => value.is_null(),
            _ => true,
        });
        if !fits {
            let wanted = types.iter().filter(|t| **t != "null").map(|t| said(t)).collect::<Vec<_>>().join(" or ");
            let message = format!("{} must be {wanted}, not {}", named(path), kind_of(value));
            self.add("wrong_type", path, message).label = format!("{wanted} is expected");
        }
        fits
    }

    fn range(&mut self, schema: &Value, number: &serde_json::Number, path: &str) {
        let value = number.as_f64().unwrap_or(f64::NAN);
        let unsigned = schema["format"].as_str().is_some_and(|f| f.starts_with("uint"));
        let low = schema["minimum"].as_f64().or(unsigned.then_some(0.0));
        let high = schema["maximum"].as_f64().or_else(|| match schema["format"].as_str() {
            Some("uint32") => Some(f64::from(u32::MAX)),
            Some("uint16") => Some(f64::from(u16::MAX)),
            _ => None,
        });
        if low.is_some_and(|l| value < l) || high.is_some_and(|h| value > h) {
            let bounds = match (low, high) {
                (Some(l), Some(h)) => format!("between {l} and {h}"),
                (Some(l), None) => format!("at least {l}"),
                (_, Some(h)) => format!("at most {h}"),
                (None, None) => String::new(),
            };
            let message = format!("{} must be {bounds}", named(path));
            self.add("out_of_range", path, message).label = format!("{number} is out of range");
        }
    }

    fn word(&mut self, words: &[&str], value: &Value, path: &str) {
        let all = words.join("`, `");
        match value.as_str() {
            Some(w) if words.contains(&w) => {}
            Some(w) => {
                let help = did_you_mean(w, words.iter().copied()).unwrap_or_else(|| format!("one of `{all}`"));
                let message = format!("unknown value `{w}` for {}", named(path));
                let mistake = self.add("unknown_value", path, message);
                mistake.help = Some(help);
                mistake.label = String::from("not one of the values known");
            }
            None => {
                let message = format!("{} must be one of `{all}`, not {}", named(path), kind_of(value));
                self.add("wrong_type", path, message);
            }
        }
    }

    /// Enums: words with documentation, or externally tagged tables with one key.
    fn choice(&mut self, choices: &'a [Value], value: &Value, path: &str) {
        let words: Vec<&str> = choices.iter().filter_map(|c| c["const"].as_str()).collect();
        if !words.is_empty() {
            return self.word(&words, value, path);
        }
        let tags: Vec<(&str, &'a Value)> = choices
            .iter()
            .filter_map(|c| c["properties"].as_object())
            .filter_map(|p| p.iter().next())
            .map(|(tag, schema)| (tag.as_str(), schema))
            .collect();
        let all = tags.iter().map(|t| t.0).collect::<Vec<_>>().join("`, `");
        let Some(map) = value.as_object() else {
            let message = format!("{} must be a table with one of the keys `{all}`, not {}", named(path), kind_of(value));
            self.add("wrong_type", path, message);
            return;
        };
        if map.len() != 1 {
            let found = map.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
            let found = if map.is_empty() { "none".to_owned() } else { format!("`{found}`") };
            let message = format!("{} must have exactly one of the keys `{all}`, and has {found}", named(path));
            self.add("wrong_variant", path, message);
            return;
        }
        for (tag, inner) in map {
            match tags.iter().find(|t| t.0 == tag) {
                Some((_, schema)) => self.value(schema, inner, &child(path, tag)),
                None => self.unknown(tag, path, tags.iter().map(|t| t.0).collect()).leaves_hole = true,
            }
        }
    }

    fn object(&mut self, schema: &'a Value, map: &serde_json::Map<String, Value>, path: &str) {
        let properties = schema["properties"].as_object();
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut missing: BTreeSet<&str> = required.filter(|key| !map.contains_key(*key)).collect();
        let absent = missing.clone();
        for (key, inner) in map {
            let below = child(path, key);
            if let Some(known) = properties.and_then(|p| p.get(key)) {
                self.value(known, inner, &below);
                continue;
            }
            match schema.get("additionalProperties") {
                Some(Value::Bool(false)) => {
                    let known: Vec<&str> = properties.map(|p| p.keys().map(String::as_str).collect()).unwrap_or_default();
                    // A misspelt key that must be there is one mistake, not an unknown key and a missing one.
                    let meant = closest(key, known.iter().copied()).filter(|meant| absent.contains(meant));
                    let mistake = self.unknown(key, path, known);
                    if let Some(meant) = meant {
                        mistake.leaves_hole = true;
                        missing.remove(meant);
                    }
                }
                Some(other) => self.value(other, inner, &below),
                None => {}
            }
        }
        for required in missing {
            let place = if path.is_empty() { "at the top of the file".to_owned() } else { format!("in `{path}`") };
            let mistake = self.add("missing_key", path, format!("the key `{required}` is missing {place}"));
            mistake.on_key = true;
            mistake.label = format!("`{required}` is missing");
        }
    }

    fn unknown(&mut self, key: &str, path: &str, known: Vec<&str>) -> &mut Mistake {
        let all = known.join("`, `");
        let help = did_you_mean(key, known);
        let mistake = self.add("unknown_key", &child(path, key), format!("unknown key `{key}`"));
        mistake.on_key = true;
        mistake.label = String::from("not known here");
        mistake.help =
            Some(help.unwrap_or_else(|| if all.is_empty() { "no keys are known here".to_owned() } else { format!("known keys: `{all}`") }));
        mistake
    }
}

fn named(path: &str) -> String {
    if path.is_empty() { "the file".to_owned() } else { format!("`{path}`") }
}

fn said(json_type: &str) -> &str {
    match json_type {
        "object" => "a table",
        "array" => "a list",
        "string" => "text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        other => other,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(n) if n.is_f64() => "a number with a fraction",
        Value::Number(_) => "a whole number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn codes(kind: Kind, value: &Value) -> Vec<(&'static str, String)> {
        check(&of(kind), value).into_iter().map(|m| (m.code, m.path)).collect()
    }

    #[test]
    fn every_mistake_is_found() {
        let found = codes(
            Kind::Pipeline,
            &json!({ "nmae": "x", "steps": [{ "aks": {} }, { "ask": { "tools": "t", "tool_choice": "must" } }, { "wait": {}, "say": {} }, 3] }),
        );
        assert_eq!(
            found,
            [
                ("unknown_key", "nmae".to_owned()),
                ("unknown_key", "steps[0].aks".to_owned()),
                ("unknown_value", "steps[1].ask.tool_choice".to_owned()),
                ("wrong_type", "steps[1].ask.tools".to_owned()),
                ("wrong_variant", "steps[2]".to_owned()),
                ("wrong_type", "steps[3]".to_owned()),
            ]
        );
    }

    #[test]
    fn a_misspelt_key_that_must_be_there_is_one_mistake() {
        let one = codes(Kind::Sequence, &json!({ "nmae": "x", "faults": [] }));
        assert_eq!(one, [("unknown_key", "nmae".to_owned())]);
        // Nothing of it looks like the missing key.
        let two = codes(Kind::Sequence, &json!({ "zebra": "x", "faults": [] }));
        assert_eq!(two, [("unknown_key", "zebra".to_owned()), ("missing_key", String::new())]);
        // The key is there, and something like it besides.
        let beside = codes(Kind::Sequence, &json!({ "name": "x", "nmae": "y", "faults": [] }));
        assert_eq!(beside, [("unknown_key", "nmae".to_owned())]);
    }

    #[test]
    fn numbers_have_bounds() {
        let value = json!({ "name": "a", "faults": [] });
        assert!(codes(Kind::Sequence, &value).is_empty());
        let bad = json!({ "name": "m", "provider": { "openai": { "base_url": "u", "model": "m", "retry": { "attempts": -1 } } } });
        assert_eq!(codes(Kind::Model, &bad), [("out_of_range", "provider.openai.retry.attempts".to_owned())]);
    }

    #[test]
    fn a_file_that_extends_another_may_leave_everything_to_it() {
        let schema = of_file(Kind::Model);
        let partial = json!({ "name": "m", "extends": "b", "provider": { "openai": { "options": {} } }, "price": { "cached": 1.0 } });
        assert_eq!(check(&schema, &partial), []);
        assert_eq!(schema["if"], json!({ "not": { "required": ["extends"] } }));
        let then = &schema["then"];
        assert_eq!((&then["required"], &schema["required"]), (&json!(["provider"]), &json!(["name"])));
        let provider = &then["properties"]["provider"]["properties"];
        assert_eq!(provider["openai"]["required"], json!(["base_url", "model"]));
        assert_eq!(provider["playbooks"]["required"], json!(["folder"]));
        assert_eq!(then["properties"]["price"]["required"], json!(["prompt", "completion"]));
        // What is loaded is whole, and demands everything.
        assert_eq!(check(&of(Kind::Model), &partial).len(), 4);
    }

    #[test]
    fn optional_keys_may_be_absent_and_numbers_whole() {
        let value =
            json!({ "name": "m", "provider": { "scripted": { "turns": [{ "when": "x" }] } }, "price": { "prompt": 1, "completion": 2.5 } });
        assert_eq!(codes(Kind::Model, &value), []);
    }
}
