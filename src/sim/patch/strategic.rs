//! Strategic merge patch: lists merge by the keys that the schema table names.
//!
//! Directives: `$patch: delete|replace|merge`, `$retainKeys`, `$deleteFromPrimitiveList/f`, `$setElementOrder/f`.

use serde_json::{Map, Value};

use super::go_text::go_text;
use crate::sim::schema::table::{Entry, Field, Table, Type};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_PRIMITIVE: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";
/// Deeper than any Kubernetes object, shallower than the stack.
const MAX_DEPTH: usize = 64;

/// Applies a strategic merge patch to an object of a built-in kind; an error for kinds that the table does not know.
pub fn strategic(api_version: &str, kind: &str, original: &Value, patch: &Value) -> Result<Value, String> {
    let entry = Table::get()
        .kind(api_version, kind)
        .filter(|entry| !entry.is_custom())
        .ok_or_else(|| format!("strategic merge patch is not supported for {api_version} {kind}"))?;
    let empty = Map::new();
    let original = original.as_object().unwrap_or(&empty);
    let patch = patch.as_object().ok_or("the patch must be an object")?;
    merge_map(original, patch, Some(entry), 0).map(Value::Object)
}

/// How the value of a field merges: the structure inside, if there is one, and the field's own rules.
#[derive(Clone, Copy)]
struct Rule<'a> {
    kind: &'a Type,
    merge_key: Option<&'a str>,
    merge: bool,
    replace: bool,
    retain: bool,
}

impl<'a> Rule<'a> {
    fn of(field: &'a Field) -> Self {
        let has = |name: &str| field.strategy.split(',').any(|s| s == name);
        Self { kind: &field.kind, merge_key: field.merge_key, merge: has("merge"), replace: has("replace"), retain: has("retainKeys") }
    }

    fn structure(&self) -> Option<&'static Entry> {
        structure(self.kind)
    }
}

fn structure(kind: &Type) -> Option<&'static Entry> {
    match kind {
        Type::Structure(number) => Some(Table::get().entry(*number)).filter(|entry| entry.alias.is_none()),
        Type::List(inner) => structure(inner),
        _ => None,
    }
}

fn merge_map(
    original: &Map<String, Value>,
    patch: &Map<String, Value>,
    entry: Option<&'static Entry>,
    depth: usize,
) -> Result<Map<String, Value>, String> {
    if depth > MAX_DEPTH {
        return Err("the patch is nested too deeply".to_owned());
    }
    match patch.get(PATCH).map(|d| d.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => return Ok(without_directives(patch)),
        Some("delete") => return Ok(Map::new()),
        Some(other) => return Err(format!("unknown patch type: {other}")),
    }
    let mut out = original.clone();
    if let Some(retain) = patch.get(RETAIN) {
        let keep = retain.as_array().ok_or("invalid patch format of retainKeys list")?;
        let keep: Vec<&str> = keep.iter().filter_map(Value::as_str).collect();
        if let Some(key) = patch.iter().find(|(key, value)| !value.is_null() && !key.starts_with('$') && !keep.contains(&key.as_str())) {
            return Err(format!("{:?} must be present in the retainKeys list", key.0));
        }
        out.retain(|key, _| keep.contains(&key.as_str()));
    }
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix(DELETE_PRIMITIVE) {
            let gone = value.as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(Value::Array(list)) = out.get_mut(field) {
                list.retain(|item| !gone.contains(item));
            }
        }
    }
    for (key, value) in patch {
        if key.starts_with('$') {
            continue;
        }
        let rule = entry.and_then(|e| e.fields.get(key.as_str())).map(Rule::of);
        match value {
            Value::Null => {
                out.remove(key);
            }
            Value::Object(inner) => {
                let replace = rule.is_some_and(|r| r.replace);
                let before = out.get(key).and_then(Value::as_object).filter(|_| !replace);
                let mut merged = match before {
                    Some(before) => merge_map(before, inner, map_entry(rule), depth + 1)?,
                    None => merge_map(&Map::new(), inner, map_entry(rule), depth + 1)?,
                };
                // With retainKeys the client says which keys stay; without the directive nothing is dropped.
                if rule.is_some_and(|r| r.retain) {
                    merged.remove(RETAIN);
                }
                if inner.get(PATCH).and_then(Value::as_str) == Some("delete") {
                    out.remove(key);
                } else {
                    out.insert(key.clone(), Value::Object(merged));
                }
            }
            Value::Array(items) => {
                let order = patch.get(&format!("{ORDER}{key}")).and_then(Value::as_array);
                let before = out.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let merged = merge_list(before, items, rule, order.map(Vec::as_slice), depth + 1).map_err(|e| in_field(key, e))?;
                out.insert(key.clone(), Value::Array(merged));
            }
            scalar => {
                out.insert(key.clone(), scalar.clone());
            }
        }
    }
    // An order without a list still sorts what is there.
    for (key, value) in patch {
        let Some(field) = key.strip_prefix(ORDER).filter(|field| !patch.contains_key(*field)) else { continue };
        let rule = entry.and_then(|e| e.fields.get(field)).map(Rule::of);
        if let (Some(Value::Array(list)), Some(order)) = (out.get(field), value.as_array()) {
            let sorted = sort(list.clone(), list, order, rule.and_then(|r| r.merge_key));
            out.insert(field.to_owned(), Value::Array(sorted));
        }
    }
    Ok(out)
}

fn in_field(key: &str, error: String) -> String {
    // Only the innermost field helps the reader.
    if error.contains(" in field ") { error } else { format!("{error} in field {key}") }
}

fn map_entry(rule: Option<Rule<'_>>) -> Option<&'static Entry> {
    rule.and_then(|r| r.structure())
}

fn merge_list(
    before: &[Value],
    items: &[Value],
    rule: Option<Rule<'_>>,
    order: Option<&[Value]>,
    depth: usize,
) -> Result<Vec<Value>, String> {
    let rule = rule.filter(|r| r.merge);
    let replaces = items.iter().any(|item| directive(item) == Some("replace"));
    let Some(rule) = rule.filter(|_| !replaces) else {
        return Ok(items.iter().filter(|item| directive(item).is_none()).map(stripped).collect());
    };
    let Some(key) = rule.merge_key else {
        let mut out = before.to_vec();
        for item in items {
            if !out.contains(item) {
                out.push(item.clone());
            }
        }
        return Ok(match order {
            Some(order) => sort(out, before, order, None),
            None => out,
        });
    };
    let mut out = before.to_vec();
    for item in items {
        let item = item.as_object().ok_or("expected an object in a list that merges by key")?;
        let id = item
            .get(key)
            .ok_or_else(|| format!("map: {} does not contain declared merge key: {key}", go_text(&Value::Object(item.clone()))))?;
        let place = out.iter().position(|old| old.get(key) == Some(id));
        match item.get(PATCH).and_then(Value::as_str) {
            Some("delete") => out.retain(|old| old.get(key) != Some(id)),
            None | Some("merge") => match place.and_then(|p| out.get_mut(p)) {
                Some(Value::Object(old)) => *old = merge_map(old, item, rule.structure(), depth + 1)?,
                Some(other) => *other = Value::Object(without_directives(item)),
                None => out.push(Value::Object(merge_map(&Map::new(), item, rule.structure(), depth + 1)?)),
            },
            Some(other) => return Err(format!("unknown patch type: {other}")),
        }
    }
    Ok(match order {
        Some(order) => sort(out, before, order, Some(key)),
        None => out,
    })
}

fn directive(item: &Value) -> Option<&str> {
    item.get(PATCH).and_then(Value::as_str)
}

fn stripped(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives(map)),
        Value::Array(items) => Value::Array(items.iter().map(stripped).collect()),
        other => other.clone(),
    }
}

fn without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter().filter(|(key, value)| !key.starts_with('$') && !value.is_null()).map(|(k, v)| (k.clone(), stripped(v))).collect()
}

/// Items of `order` in that order; the others (which only the server has) keep their place relative to their old neighbours.
fn sort(items: Vec<Value>, before: &[Value], order: &[Value], key: Option<&str>) -> Vec<Value> {
    let same = |a: &Value, b: &Value| match key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    };
    let place = |list: &[Value], item: &Value| list.iter().position(|other| same(other, item));
    let (mut ordered, others): (Vec<Value>, Vec<Value>) = items.into_iter().partition(|item| place(order, item).is_some());
    ordered.sort_by_key(|item| place(order, item));
    let mut out: Vec<Value> = Vec::with_capacity(ordered.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in ordered {
        let here = place(before, &item);
        while let Some(other) = others.peek() {
            match (place(before, other), here) {
                (Some(theirs), Some(here)) if theirs < here => out.extend(others.next()),
                _ => break,
            }
        }
        out.push(item);
    }
    out.extend(others);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(containers: &Value) -> Value {
        json!({"spec": {"template": {"spec": {"containers": containers}}}})
    }

    fn deployment(original: &Value, patch: &Value) -> Value {
        strategic("apps/v1", "Deployment", original, patch).unwrap()
    }

    #[test]
    fn lists_merge_by_their_key() {
        let original = pod(&json!([{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}], "args": ["old"],
            "ports": [{"containerPort": 80, "protocol": "TCP"}]}, {"name": "b"}]));
        let patch = pod(&json!([{"name": "a", "image": null, "env": [{"name": "Y", "value": "2"}, {"name": "X", "$patch": "delete"}],
            "args": ["new"], "ports": [{"containerPort": 80, "name": "http"}]}, {"name": "c", "image": "3"}]));
        assert_eq!(
            deployment(&original, &patch),
            pod(&json!([{"name": "a", "env": [{"name": "Y", "value": "2"}], "args": ["new"],
                "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}]}, {"name": "b"}, {"name": "c", "image": "3"}]))
        );
    }

    #[test]
    fn directives() {
        let original = pod(&json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]));
        let patch = pod(&json!([{"$patch": "replace"}, {"name": "z"}]));
        assert_eq!(deployment(&original, &patch), pod(&json!([{"name": "z"}])));
        let patch = json!({"spec": {"template": {"$patch": "replace", "metadata": {"labels": {"a": "b"}}}}});
        assert_eq!(deployment(&original, &patch), json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}));
        let patch = json!({"spec": {"template": {"$patch": "delete"}}});
        assert_eq!(deployment(&original, &patch), json!({"spec": {}}));
        let original = json!({"metadata": {"finalizers": ["a", "b"]}, "spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]},
            "spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
        assert_eq!(
            deployment(&original, &patch),
            json!({"metadata": {"finalizers": ["b", "c"]}, "spec": {"strategy": {"type": "Recreate"}}})
        );
        for bad in [json!({"spec": {"$patch": "explode"}}), pod(&json!([{"image": "no name"}])), json!([1])] {
            assert!(strategic("apps/v1", "Deployment", &original, &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_order_keeps_what_only_the_server_has_in_its_place() {
        let names = |list: &[&str]| pod(&list.iter().map(|name| json!({"name": name})).collect());
        let mut patch = names(&["c"]);
        patch["spec"]["template"]["spec"]["$setElementOrder/containers"] = json!([{"name": "c"}, {"name": "a"}]);
        assert_eq!(deployment(&names(&["server", "a", "b"]), &patch), names(&["c", "server", "a", "b"]));
        let only_order = json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}}});
        assert_eq!(deployment(&names(&["a", "b"]), &only_order), names(&["b", "a"]));
    }

    #[test]
    fn new_parts_lose_their_directives_and_nulls() {
        let patch = pod(&json!([{"name": "a", "image": null, "$setElementOrder/env": [{"name": "X"}], "env": [{"name": "X"}]}]));
        assert_eq!(deployment(&json!({}), &patch), pod(&json!([{"name": "a", "env": [{"name": "X"}]}])));
        assert!(strategic("example.com/v1", "Thing", &json!({}), &json!({})).is_err());
    }
}
