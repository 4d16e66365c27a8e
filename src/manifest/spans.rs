//! One span index for TOML and YAML: a key path (`steps[0].ask.tools[1]`) leads to the bytes of its key and its value.
//!
//! Input: the text of a data file; output: its value as JSON and the index, or the place where reading stopped. The types
//! of the manifests stay plain that way, and checks report a path.

use std::collections::BTreeMap;
use std::ops::Range;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

/// Deepest nesting read.
const DEEPEST: usize = 64;

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Bytes of the key, or of the value where there is no key.
    pub key: Range<usize>,
    /// Bytes of the value.
    pub value: Range<usize>,
}

/// Places by key path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpanIndex {
    places: BTreeMap<String, Place>,
}

impl SpanIndex {
    /// Bytes of the value at a path, or of its closest parent in the file.
    pub fn value(&self, path: &str) -> Option<Range<usize>> {
        self.closest(path).map(|p| p.value.clone())
    }

    /// Bytes of the key at a path, or of its closest parent in the file.
    pub fn key(&self, path: &str) -> Option<Range<usize>> {
        self.closest(path).map(|p| p.key.clone())
    }

    /// Gives everything in `value` that has no place of its own the place of the key `from`, to which it is owed.
    pub fn owe(&mut self, value: &Value, from: &str) {
        if let Some(place) = self.places.get(from).cloned() {
            self.owe_below(value, "", &place);
        }
    }

    fn owe_below(&mut self, value: &Value, path: &str, place: &Place) {
        let inner: Vec<(String, &Value)> = match value {
            Value::Object(map) => map.iter().map(|(key, value)| (child(path, key), value)).collect(),
            Value::Array(list) => list.iter().enumerate().map(|(index, value)| (item(path, index), value)).collect(),
            _ => Vec::new(),
        };
        for (path, value) in inner {
            self.owe_below(value, &path, place);
            self.places.entry(path).or_insert_with(|| place.clone());
        }
    }

    /// All paths, in the order of their names.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    fn closest(&self, path: &str) -> Option<&Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(place);
            }
            path = path.get(..path.rfind(['.', '['])?)?;
        }
    }

    fn insert(&mut self, path: String, key: Range<usize>, value: Range<usize>) {
        self.places.insert(path, Place { key, value });
    }
}

/// The path of a key of a table.
pub fn child(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The path of an element of a list.
pub fn item(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// A data file, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its value: always a table.
    pub value: Value,
    /// Its places.
    pub spans: SpanIndex,
}

/// Why a file could not be read at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Option<Range<usize>>,
}

fn wrong(message: impl Into<String>, span: Option<Range<usize>>) -> SyntaxError {
    SyntaxError { message: message.into(), span }
}

/// Reads TOML.
pub fn parse_toml(text: &str) -> Result<Document, SyntaxError> {
    let table = DeTable::parse(text).map_err(|e| wrong(e.message().lines().next().unwrap_or("no TOML"), e.span()))?;
    let mut spans = SpanIndex::default();
    let value = toml_table(table.get_ref(), "", &mut spans, 0)?;
    Ok(Document { value, spans })
}

fn toml_table(table: &DeTable<'_>, path: &str, spans: &mut SpanIndex, depth: usize) -> Result<Value, SyntaxError> {
    let mut map = Map::new();
    for (key, value) in table {
        let path = child(path, key.get_ref());
        spans.insert(path.clone(), key.span(), value.span());
        map.insert(key.get_ref().to_string(), toml_value(value.get_ref(), &path, spans, (depth + 1, value.span()))?);
    }
    Ok(Value::Object(map))
}

fn toml_value(value: &DeValue<'_>, path: &str, spans: &mut SpanIndex, at: (usize, Range<usize>)) -> Result<Value, SyntaxError> {
    let (depth, span) = at;
    if depth > DEEPEST {
        return Err(wrong("nested too deeply", Some(span)));
    }
    Ok(match value {
        DeValue::String(s) => Value::String(s.to_string()),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Datetime(d) => Value::String(d.to_string()),
        DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix())
            .map(Value::from)
            .or_else(|_| u64::from_str_radix(i.as_str(), i.radix()).map(Value::from))
            .map_err(|_| wrong("this integer is too large", Some(span)))?,
        DeValue::Float(f) => f
            .as_str()
            .parse::<f64>()
            .ok()
            .and_then(Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| wrong("this number is not finite", Some(span)))?,
        DeValue::Array(list) => {
            let mut items = Vec::new();
            for (i, element) in list.iter().enumerate() {
                let path = item(path, i);
                spans.insert(path.clone(), element.span(), element.span());
                items.push(toml_value(element.get_ref(), &path, spans, (depth + 1, element.span()))?);
            }
            Value::Array(items)
        }
        DeValue::Table(table) => toml_table(table, path, spans, depth)?,
    })
}

/// Reads YAML: one document whose root is a mapping.
pub fn parse_yaml(text: &str) -> Result<Document, SyntaxError> {
    // saphyr counts characters; files are read rarely and are small, so one table of all offsets is the simplest way.
    let offsets: Vec<usize> = text.char_indices().map(|(i, _)| i).chain(std::iter::once(text.len())).collect();
    let byte = |index: usize| offsets.get(index).copied().unwrap_or(text.len());
    let documents = MarkedYaml::load_from_str(text).map_err(|e| {
        let start = byte(e.marker().index());
        wrong(e.info(), Some(start..start))
    })?;
    let [root] = documents.as_slice() else {
        return Err(wrong(format!("one YAML document is expected, not {}", documents.len()), None));
    };
    let mut spans = SpanIndex::default();
    let bytes = |node: &MarkedYaml<'_>| byte(node.span.start.index())..byte(node.span.end.index());
    let value = yaml_value(root, "", &mut spans, &(0, &bytes))?;
    if value.is_object() { Ok(Document { value, spans }) } else { Err(wrong("a mapping is expected", Some(bytes(root)))) }
}

type Bytes<'a> = dyn Fn(&MarkedYaml<'_>) -> Range<usize> + 'a;

fn yaml_value(node: &MarkedYaml<'_>, path: &str, spans: &mut SpanIndex, at: &(usize, &Bytes<'_>)) -> Result<Value, SyntaxError> {
    let (depth, bytes) = *at;
    if depth > DEEPEST {
        return Err(wrong("nested too deeply", Some(bytes(node))));
    }
    Ok(match &node.data {
        YamlData::Value(scalar) => match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(b) => Value::Bool(*b),
            Scalar::Integer(i) => Value::from(*i),
            Scalar::FloatingPoint(f) => {
                Number::from_f64(f.0).map(Value::Number).ok_or_else(|| wrong("this number is not finite", Some(bytes(node))))?
            }
            Scalar::String(s) => Value::String(s.to_string()),
        },
        YamlData::Sequence(list) => {
            let mut items = Vec::new();
            for (i, element) in list.iter().enumerate() {
                let path = item(path, i);
                spans.insert(path.clone(), bytes(element), bytes(element));
                items.push(yaml_value(element, &path, spans, &(depth + 1, bytes))?);
            }
            Value::Array(items)
        }
        YamlData::Mapping(mapping) => {
            let mut map = Map::new();
            for (key, value) in mapping {
                let name = match &key.data {
                    YamlData::Value(Scalar::String(s)) => s.to_string(),
                    YamlData::Value(Scalar::Integer(i)) => i.to_string(),
                    _ => return Err(wrong("keys must be plain words", Some(bytes(key)))),
                };
                let path = child(path, &name);
                spans.insert(path.clone(), bytes(key), bytes(value));
                map.insert(name, yaml_value(value, &path, spans, &(depth + 1, bytes))?);
            }
            Value::Object(map)
        }
        _ => return Err(wrong("tags and aliases are not accepted here", Some(bytes(node)))),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn toml_and_yaml_give_the_same_value_and_paths() {
        let toml = parse_toml("name = \"ü\"\n[a]\nx = [1, 2.5]\n[[steps]]\nask = { tools = [\"t\"] }\n").unwrap();
        let yaml = parse_yaml("name: ü\na:\n  x: [1, 2.5]\nsteps:\n  - ask: { tools: [t] }\n").unwrap();
        assert_eq!(toml.value, json!({ "name": "ü", "a": { "x": [1, 2.5] }, "steps": [{ "ask": { "tools": ["t"] } }] }));
        assert_eq!(toml.value, yaml.value);
        assert_eq!(toml.spans.paths().collect::<Vec<_>>(), yaml.spans.paths().collect::<Vec<_>>());
    }

    #[test]
    fn yaml_places_are_bytes() {
        let text = "n: ü\nkey: value\n";
        let yaml = parse_yaml(text).unwrap();
        assert_eq!(&text[yaml.spans.value("key").unwrap()], "value");
        assert_eq!(&text[yaml.spans.key("key").unwrap()], "key");
    }

    #[test]
    fn toml_places() {
        let text = "[[steps]]\nask = { tools = [\"t\", \"u\"] }\n";
        let toml = parse_toml(text).unwrap();
        assert_eq!(&text[toml.spans.value("steps[0].ask.tools[1]").unwrap()], "\"u\"");
        assert_eq!(&text[toml.spans.key("steps[0].ask.tools").unwrap()], "tools");
        assert_eq!(toml.spans.value("steps[0].ask.tools[7].x"), toml.spans.value("steps[0].ask.tools"));
    }

    #[test]
    fn what_cannot_be_read_is_located() {
        assert!(parse_toml("a = \n").unwrap_err().span.is_some());
        assert!(parse_yaml("a: [1\nb: 2\n").unwrap_err().span.is_some());
        assert!(parse_yaml("- a\n").unwrap_err().message.contains("mapping"));
    }
}
