//! Walks an object along the table: unknown fields, pruning, and the form in which Go would print it.

use serde_json::{Map, Value};

use super::quantity;
use super::table::{Entry, Field, Table, Type};

/// Deeper than any Kubernetes object, shallower than the stack.
const MAX_DEPTH: usize = 64;
/// As many as a server lists before it stops.
const MAX_UNKNOWN: usize = 100;

/// The texts of strict decoding: `unknown field "spec.replcas"`. Empty for kinds that the table does not know.
pub fn unknown_fields(api_version: &str, kind: &str, object: &Value) -> Vec<String> {
    let mut out = Vec::new();
    if let (Some(entry), Some(map)) = (Table::get().kind(api_version, kind), object.as_object()) {
        find(entry, map, "", 0, &mut out);
    }
    out
}

/// The paths of required fields that are not there (null counts as there: Go prints it for a nil list). Strict clients, such as
/// the Python client, refuse an answer that lacks one; tests of answers call this.
pub fn missing_required(api_version: &str, kind: &str, object: &Value) -> Vec<String> {
    let mut out = Vec::new();
    if let (Some(entry), Some(map)) = (Table::get().kind(api_version, kind), object.as_object()) {
        missing(entry, map, "", 0, &mut out);
    }
    out
}

fn missing(entry: &Entry, map: &Map<String, Value>, path: &str, depth: usize, out: &mut Vec<String>) {
    if depth > MAX_DEPTH || entry.alias.is_some() {
        return;
    }
    for (name, field) in &entry.fields {
        let here = if path.is_empty() { (*name).to_owned() } else { format!("{path}.{name}") };
        match map.get(*name) {
            None if field.required => out.push(here),
            None => {}
            Some(value) => missing_in(&field.kind, value, &here, depth + 1, out),
        }
    }
}

fn missing_in(kind: &Type, value: &Value, path: &str, depth: usize, out: &mut Vec<String>) {
    match (kind, value) {
        (Type::Structure(number), Value::Object(map)) => missing(Table::get().entry(*number), map, path, depth, out),
        (Type::List(inner), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                missing_in(inner, item, &format!("{path}[{index}]"), depth, out);
            }
        }
        (Type::Map(inner), Value::Object(map)) => {
            for (key, item) in map {
                missing_in(inner, item, &format!("{path}.{key}"), depth, out);
            }
        }
        _ => {}
    }
}

/// Drops the fields that the kind does not have.
pub fn prune(api_version: &str, kind: &str, object: &mut Value) {
    if let (Some(entry), Some(map)) = (Table::get().kind(api_version, kind), object.as_object_mut()) {
        walk(entry, map, 0, &mut |entry, map| {
            if entry.alias.is_none() {
                map.retain(|key, _| entry.fields.contains_key(key.as_str()));
            }
        });
    }
}

/// Canonical quantities; no nulls, no empty values that Go leaves out.
pub(super) fn tidy(api_version: &str, kind: &str, object: &mut Value) {
    if let (Some(entry), Some(map)) = (Table::get().kind(api_version, kind), object.as_object_mut()) {
        walk(entry, map, 0, &mut |entry, map| {
            map.retain(|key, value| entry.fields.get(key.as_str()).is_none_or(|field| is_printed(entry, field, value)));
            for (key, value) in map.iter_mut() {
                if let Some(field) = entry.fields.get(key.as_str()) {
                    canonical(&field.kind, value);
                }
            }
        });
    }
}

/// A status with the numbers that the kind requires.
pub(super) fn fill_status(api_version: &str, kind: &str, root: &mut Map<String, Value>) {
    let Some(field) = Table::get().kind(api_version, kind).filter(|e| !e.is_custom()).and_then(|e| e.fields.get("status")) else { return };
    let Type::Structure(number) = field.kind else { return };
    let status = root.entry("status").or_insert_with(|| Value::Object(Map::new()));
    let Some(status) = status.as_object_mut() else { return };
    for (name, field) in &Table::get().entry(number).fields {
        if field.required && matches!(field.kind, Type::Int32 | Type::Int64) && !status.contains_key(*name) {
            status.insert((*name).to_owned(), 0.into());
        }
    }
    for name in always_printed(kind) {
        status.entry(*name).or_insert(0.into());
    }
}

/// Numbers of a status that Go prints although the schema calls them optional.
fn always_printed(kind: &str) -> &'static [&'static str] {
    match kind {
        "StatefulSet" => &["availableReplicas"],
        "PodDisruptionBudget" => &["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"],
        _ => &[],
    }
}

fn is_printed(entry: &Entry, field: &Field, value: &Value) -> bool {
    if value.is_null() {
        return false;
    }
    if field.required || field.keeps_zero || entry.is_custom() {
        return true;
    }
    match (&field.kind, value) {
        (Type::List(_), Value::Array(items)) => !items.is_empty(),
        (Type::Map(_), Value::Object(map)) => !map.is_empty(),
        (Type::String | Type::Bytes, Value::String(text)) => !text.is_empty(),
        (Type::Int32 | Type::Int64, Value::Number(number)) => number.as_i64() != Some(0),
        (Type::Boolean, Value::Bool(yes)) => *yes,
        _ => true,
    }
}

fn canonical(kind: &Type, value: &mut Value) {
    match (kind, value) {
        (Type::Quantity, value @ (Value::String(_) | Value::Number(_))) => {
            if let Some(amount) = quantity::Quantity::from_json(value) {
                *value = amount.to_string().into();
            }
        }
        (Type::List(inner), Value::Array(items)) => items.iter_mut().for_each(|item| canonical(inner, item)),
        (Type::Map(inner), Value::Object(map)) => map.values_mut().for_each(|item| canonical(inner, item)),
        _ => {}
    }
}

fn walk(entry: &Entry, map: &mut Map<String, Value>, depth: usize, run: &mut dyn FnMut(&Entry, &mut Map<String, Value>)) {
    if depth > MAX_DEPTH {
        return;
    }
    run(entry, map);
    for (key, value) in map.iter_mut() {
        if let Some(field) = entry.fields.get(key.as_str()) {
            walk_value(&field.kind, value, depth + 1, run);
        }
    }
}

fn walk_value(kind: &Type, value: &mut Value, depth: usize, run: &mut dyn FnMut(&Entry, &mut Map<String, Value>)) {
    match (kind, value) {
        (Type::Structure(number), Value::Object(map)) => {
            let entry = Table::get().entry(*number);
            match &entry.alias {
                Some(_) => {}
                None => walk(entry, map, depth, run),
            }
        }
        (Type::List(inner), Value::Array(items)) => items.iter_mut().for_each(|item| walk_value(inner, item, depth, run)),
        (Type::Map(inner), Value::Object(map)) => map.values_mut().for_each(|item| walk_value(inner, item, depth, run)),
        _ => {}
    }
}

fn find(entry: &Entry, map: &Map<String, Value>, path: &str, depth: usize, out: &mut Vec<String>) {
    if depth > MAX_DEPTH || entry.alias.is_some() {
        return;
    }
    for (key, value) in map {
        if out.len() >= MAX_UNKNOWN {
            return;
        }
        let here = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match entry.fields.get(key.as_str()) {
            Some(field) => find_value(&field.kind, value, &here, depth + 1, out),
            None => out.push(format!("unknown field {here:?}")),
        }
    }
}

fn find_value(kind: &Type, value: &Value, path: &str, depth: usize, out: &mut Vec<String>) {
    match (kind, value) {
        (Type::Structure(number), Value::Object(map)) => find(Table::get().entry(*number), map, path, depth, out),
        (Type::List(inner), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                find_value(inner, item, &format!("{path}[{index}]"), depth, out);
            }
        }
        (Type::Map(inner), Value::Object(map)) => {
            for (key, item) in map {
                find_value(inner, item, &format!("{path}.{key}"), depth, out);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_have_paths_and_are_pruned() {
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"labels": {"any": "x"}, "nam": "y"},
            "spec": {"replcas": 2, "template": {"spec": {"containers": [{"name": "c", "imagee": "x"}]}}}});
        assert_eq!(
            unknown_fields("apps/v1", "Deployment", &object),
            [
                "unknown field \"metadata.nam\"",
                "unknown field \"spec.replcas\"",
                "unknown field \"spec.template.spec.containers[0].imagee\""
            ]
        );
        prune("apps/v1", "Deployment", &mut object);
        assert_eq!(unknown_fields("apps/v1", "Deployment", &object), Vec::<String>::new());
        assert_eq!(object["metadata"]["labels"]["any"], "x");
        assert_eq!(unknown_fields("v1", "ConfigMap", &json!({"dataa": {}})), ["unknown field \"dataa\""]);
        assert!(unknown_fields("example.com/v1", "Thing", &json!({"spec": 1})).is_empty());
    }

    #[test]
    fn tidy_drops_what_go_would_not_print() {
        let mut object = json!({"metadata": {"creationTimestamp": null, "labels": {}, "name": ""}, "spec": {"replicas": 0, "paused": false,
            "template": {"spec": {"containers": [{"name": "c", "args": [], "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}],
                "automountServiceAccountToken": false}}}});
        tidy("apps/v1", "Deployment", &mut object);
        assert_eq!(
            object,
            json!({"metadata": {}, "spec": {"replicas": 0, "template": {"spec": {
                "containers": [{"name": "c", "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}], "automountServiceAccountToken": false}}}})
        );
    }
}
