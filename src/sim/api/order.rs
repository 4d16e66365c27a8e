//! The order in which a real server, written in Go, prints the fields of a document. JSON gives it no meaning, but clients show error
//! bodies as they come, and there are tests and eyes that compare them.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

/// What stands first in every document; the rest of nearly every one is alphabetical.
const DOCUMENT: &[&str] = &["kind", "apiVersion", "metadata"];
const STATUS: &[&str] = &["kind", "apiVersion", "metadata", "status", "message", "reason", "details", "code"];
const DETAILS: &[&str] = &["name", "group", "kind", "uid", "causes", "retryAfterSeconds"];
const CAUSE: &[&str] = &["reason", "message", "field"];
const RESOURCE_LIST: &[&str] = &["kind", "apiVersion", "groupVersion", "resources"];
const RESOURCE: &[&str] =
    &["name", "singularName", "namespaced", "group", "version", "kind", "verbs", "shortNames", "categories", "storageVersionHash"];

/// A document, printed in Go's order.
pub(super) struct Ordered<'a>(pub(super) &'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(map) = self.0.as_object() else { return self.0.serialize(serializer) };
        let first = match map.get("kind").and_then(Value::as_str) {
            Some("Status") => STATUS,
            Some("APIResourceList") => RESOURCE_LIST,
            _ => DOCUMENT,
        };
        Named { map, first }.serialize(serializer)
    }
}

/// The beginning of an object's text: `{` with its kind and version, and a comma.
pub(super) fn names(object: &Value) -> Vec<u8> {
    let mut out = vec![b'{'];
    for name in ["kind", "apiVersion"] {
        if let Some(value) = object.get(name) {
            out.extend_from_slice(format!("\"{name}\":{value},").as_bytes());
        }
    }
    out
}

/// The rest of it, but for the last `}`: what an object looks like in a list that says for all what they are.
pub(super) fn rest(object: &Value) -> Vec<u8> {
    // Writing JSON into memory cannot fail.
    let mut out = object.as_object().and_then(|map| serde_json::to_vec(&Rest(map)).ok()).unwrap_or_default();
    out.pop();
    if !out.is_empty() {
        out.remove(0);
    }
    out
}

/// The fields that do not name a kind, metadata first.
struct Rest<'a>(&'a Map<String, Value>);

impl Serialize for Rest<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rest = self.0.iter().filter(|(name, _)| !DOCUMENT.contains(&name.as_str()));
        serializer.collect_map(self.0.get_key_value("metadata").into_iter().chain(rest))
    }
}

/// An object with these fields first.
struct Named<'a> {
    map: &'a Map<String, Value>,
    first: &'static [&'static str],
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(self.map.len()))?;
        let first = self.first.iter().filter_map(|name| self.map.get_key_value(*name));
        let rest = self.map.iter().filter(|(name, _)| !self.first.contains(&name.as_str()));
        for (name, value) in first.chain(rest) {
            match (self.first, name.as_str(), value) {
                (STATUS, "details", Value::Object(map)) => out.serialize_entry(name, &Named { map, first: DETAILS })?,
                (DETAILS, "causes", Value::Array(all)) => out.serialize_entry(name, &All { all, first: CAUSE })?,
                (RESOURCE_LIST, "resources", Value::Array(all)) => out.serialize_entry(name, &All { all, first: RESOURCE })?,
                _ => out.serialize_entry(name, value)?,
            }
        }
        out.end()
    }
}

/// A list of objects, each with these fields first.
struct All<'a> {
    all: &'a [Value],
    first: &'static [&'static str],
}

impl Serialize for All<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let objects = self.all.iter().filter_map(Value::as_object);
        serializer.collect_seq(objects.map(|map| Named { map, first: self.first }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_read_as_a_real_server_writes_them() {
        let status = json!({"apiVersion": "v1", "code": 422, "kind": "Status", "message": "m", "metadata": {}, "reason": "Invalid", "status": "Failure",
            "details": {"causes": [{"field": "f", "message": "m", "reason": "r"}], "group": "apps", "kind": "Deployment", "name": "d"}});
        assert_eq!(
            serde_json::to_string(&Ordered(&status)).unwrap(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"m","reason":"Invalid","details":{"name":"d","group":"apps","kind":"Deployment","causes":[{"reason":"r","message":"m","field":"f"}]},"code":422}"#
        );
    }

    #[test]
    fn documents_begin_with_what_they_are() {
        let map = json!({"apiVersion": "v1", "data": {"a": "b"}, "kind": "ConfigMap", "metadata": {}});
        assert_eq!(
            serde_json::to_string(&Ordered(&map)).unwrap(),
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{},"data":{"a":"b"}}"#
        );
        assert_eq!(rest(&map), br#""metadata":{},"data":{"a":"b"}"#);
        assert_eq!(names(&map), br#"{"kind":"ConfigMap","apiVersion":"v1","#);
        assert_eq!(serde_json::to_string(&Ordered(&json!([1, "a"]))).unwrap(), r#"[1,"a"]"#);
    }
}
