//! Server-side apply in its simple form: who applied what is recorded, what a manager no longer applies is removed;
//! conflicts between managers are not looked for.

use serde_json::{Map, Value, json};

use super::call::Call;
use crate::sim::catalog::Kind;
use crate::sim::patch;

/// The `managedFields` entry of this request.
pub(super) fn entry(call: &Call, kind: &Kind, wanted: &Value, now: &str) -> Value {
    let mut fields = tree(wanted);
    if let Some(m) = fields.as_object_mut() {
        m.remove("f:apiVersion");
        m.remove("f:kind");
        if let Some(meta) = m.get_mut("f:metadata").and_then(Value::as_object_mut) {
            meta.remove("f:name");
            meta.remove("f:namespace");
        }
        if m.get("f:metadata").and_then(Value::as_object).is_some_and(Map::is_empty) {
            m.remove("f:metadata");
        }
    }
    json!({"manager": call.manager, "operation": "Apply", "apiVersion": kind.api_version(), "time": now, "fieldsType": "FieldsV1", "fieldsV1": fields})
}

/// Field sets: maps by key, lists of named items by name, everything else as a leaf.
fn tree(value: &Value) -> Value {
    match value {
        Value::Object(m) => Value::Object(m.iter().map(|(k, v)| (format!("f:{k}"), tree(v))).collect()),
        Value::Array(items) if !items.is_empty() && items.iter().all(|i| i["name"].is_string()) => {
            let named = items.iter().map(|i| {
                let mut fields = tree(i);
                fields["."] = json!({});
                (format!("k:{}", json!({"name": i["name"]})), fields)
            });
            Value::Object(named.collect())
        }
        _ => json!({}),
    }
}

/// The object with the applied configuration merged in.
pub(super) fn merged(call: &Call, kind: &Kind, old: &Value, wanted: &Value, now: &str) -> Result<Value, String> {
    let new_entry = entry(call, kind, wanted, now);
    let mut base = old.clone();
    let mut entries = old["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let own = |e: &Value| e["manager"] == call.manager.as_str() && e["operation"] == "Apply" && e["subresource"].is_null();
    let before = entries.iter().find(|e| own(e)).map(|e| e["fieldsV1"].clone());
    if let Some(before) = &before {
        prune(&mut base, before, &new_entry["fieldsV1"]);
    }
    entries.retain(|e| !own(e));
    let mut change = wanted.clone();
    if let Some(m) = change.as_object_mut() {
        m.remove("apiVersion");
        m.remove("kind");
    }
    let mut new = if kind.custom() {
        patch::merge(&mut base, &change);
        base
    } else {
        patch::strategic(&kind.api_version(), &kind.kind, &base, &change)?
    };
    new["metadata"]["managedFields"] = old["metadata"]["managedFields"].clone();
    // Applying the same again changes nothing, not even the time of the entry.
    let same = new == *old && before.as_ref() == Some(&new_entry["fieldsV1"]);
    if !same {
        entries.push(new_entry);
        new["metadata"]["managedFields"] = entries.into();
    }
    Ok(new)
}

/// Removes from `object` what `before` names and `after` does not.
fn prune(object: &mut Value, before: &Value, after: &Value) {
    for (field, inner) in before.as_object().into_iter().flatten() {
        let kept = &after[field.as_str()];
        if let Some(name) = field.strip_prefix("f:") {
            if kept.is_null() {
                if let Some(m) = object.as_object_mut() {
                    m.remove(name);
                }
            } else if let Some(v) = object.get_mut(name) {
                prune(v, inner, kept);
            }
        } else if let Some(key) = field.strip_prefix("k:").and_then(|k| serde_json::from_str::<Value>(k).ok())
            && let Some(items) = object.as_array_mut()
        {
            if kept.is_null() {
                items.retain(|i| i["name"] != key["name"]);
            } else if let Some(item) = items.iter_mut().find(|i| i["name"] == key["name"]) {
                prune(item, inner, kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_longer_applied_goes() {
        let before = tree(&json!({"data": {"a": "1", "b": "2"}, "list": [{"name": "x", "v": 1}, {"name": "y"}]}));
        let after = tree(&json!({"data": {"a": "1"}, "list": [{"name": "x"}]}));
        let mut o = json!({"data": {"a": "1", "b": "2", "c": "3"}, "list": [{"name": "x", "v": 1}, {"name": "y"}, {"name": "z"}]});
        prune(&mut o, &before, &after);
        assert_eq!(o, json!({"data": {"a": "1", "c": "3"}, "list": [{"name": "x"}, {"name": "z"}]}));
    }
}
