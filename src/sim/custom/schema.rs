//! Structural schemas of definitions: unknown fields, defaults and validation.

use serde_json::Value;

use crate::sim::schema::Cause;

/// Deeper than any object that a schema describes, shallower than the stack.
const MAX_DEPTH: usize = 64;
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// Drops the fields that the schema does not know and names them (`spec.x`).
pub fn prune(schema: &Value, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    prune_in(schema, object, "", true, 0, &mut unknown);
    unknown
}

fn prune_in(schema: &Value, value: &mut Value, path: &str, root: bool, depth: usize, unknown: &mut Vec<String>) {
    if depth > MAX_DEPTH || schema.is_null() {
        return;
    }
    let embedded = schema["x-kubernetes-embedded-resource"] == true;
    match value {
        Value::Object(map) => {
            let rest = &schema["additionalProperties"];
            let open = schema[PRESERVE] == true || *rest == true;
            map.retain(|key, inner| {
                if (root || embedded) && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                    return true;
                }
                let here = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let known = &schema["properties"][key.as_str()];
                let next = if known.is_object() { known } else { rest };
                if next.is_object() {
                    prune_in(next, inner, &here, false, depth + 1, unknown);
                } else if !open {
                    unknown.push(here);
                    return false;
                }
                true
            });
        }
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                prune_in(&schema["items"], item, &format!("{path}[{i}]"), false, depth + 1, unknown);
            }
        }
        _ => {}
    }
}

/// Sets the defaults.
pub fn complete(schema: &Value, value: &mut Value) {
    complete_in(schema, value, 0);
}

fn complete_in(schema: &Value, value: &mut Value, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
                let missing = map.get(key).is_none_or(|v| v.is_null() && inner["nullable"] != true);
                if missing && !inner["default"].is_null() {
                    map.insert(key.clone(), inner["default"].clone());
                }
                if let Some(v) = map.get_mut(key) {
                    complete_in(inner, v, depth + 1);
                }
            }
            let rest = &schema["additionalProperties"];
            if rest.is_object() {
                map.iter_mut()
                    .filter(|(k, _)| schema["properties"][k.as_str()].is_null())
                    .for_each(|(_, v)| complete_in(rest, v, depth + 1));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| complete_in(&schema["items"], item, depth + 1)),
        _ => {}
    }
}

/// What does not fit the schema.
pub fn validate(schema: &Value, object: &Value) -> Vec<Cause> {
    let mut out = Vec::new();
    check(schema, object, "", 0, &mut out);
    out
}

fn cause(reason: &'static str, field: &str, message: String) -> Cause {
    Cause { reason, message, field: if field.is_empty() { "<nil>".to_owned() } else { field.to_owned() } }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check(schema: &Value, value: &Value, path: &str, depth: usize, out: &mut Vec<Cause>) {
    if depth > MAX_DEPTH || !schema.is_object() || (value.is_null() && schema["nullable"] == true) {
        return;
    }
    let shown = || if value.is_object() || value.is_array() { format!("{:?}", type_of(value)) } else { value.to_string() };
    if let Some(wanted) = schema["type"].as_str() {
        let is = type_of(value);
        let either = schema["x-kubernetes-int-or-string"] == true;
        if is != wanted && !(wanted == "number" && is == "integer") && !either {
            let message = format!("Invalid value: {is:?}: {path} in body must be of type {wanted}: {is:?}");
            out.push(cause("FieldValueTypeInvalid", path, message));
            return;
        }
    }
    composed(schema, value, path, depth, out);
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let list: Vec<String> = allowed.iter().map(Value::to_string).collect();
        out.push(cause("FieldValueNotSupported", path, format!("Unsupported value: {}: supported values: {}", shown(), list.join(", "))));
    }
    numbers(schema, value, path, out);
    if let Some(pattern) = schema["pattern"].as_str()
        && let (Some(text), Ok(rule)) = (value.as_str(), regex::Regex::new(pattern))
        && !rule.is_match(text)
    {
        out.push(cause("FieldValueInvalid", path, format!("Invalid value: {}: {path} in body should match '{pattern}'", shown())));
    }
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    if let Some(map) = value.as_object() {
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !map.contains_key(key) {
                out.push(cause("FieldValueRequired", &below(key), "Required value".to_owned()));
            }
        }
        let limit = |name: &str| schema[name].as_u64().and_then(|n| usize::try_from(n).ok());
        for (bound, word) in
            [(limit("minProperties").filter(|n| map.len() < *n), "least"), (limit("maxProperties").filter(|n| map.len() > *n), "most")]
        {
            if let Some(n) = bound {
                out.push(cause(
                    "FieldValueInvalid",
                    path,
                    format!("Invalid value: {value}: {path} in body should have at {word} {n} properties"),
                ));
            }
        }
        for (key, inner) in map {
            let known = &schema["properties"][key.as_str()];
            let next = if known.is_object() { known } else { &schema["additionalProperties"] };
            check(next, inner, &below(key), depth + 1, out);
        }
    }
    alone(schema, value, path, out);
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], item, &format!("{path}[{i}]"), depth + 1, out);
    }
}

/// `anyOf`, `oneOf`, `allOf` and `not`. Of alternatives that all fail, the first tells why.
fn composed(schema: &Value, value: &Value, path: &str, depth: usize, out: &mut Vec<Cause>) {
    // An integer or string says so by alternatives that the type has answered already.
    if schema["x-kubernetes-int-or-string"] == true {
        return;
    }
    let against = |one: &Value| {
        let mut found = Vec::new();
        check(one, value, path, depth + 1, &mut found);
        found
    };
    let told = |what: String| cause("FieldValueInvalid", "", format!("Invalid value: \"\": {path:?} {what}"));
    let all = |name: &str| -> Vec<Vec<Cause>> { schema[name].as_array().into_iter().flatten().map(against).collect() };
    let any = all("anyOf");
    if !any.is_empty() && any.iter().all(|found| !found.is_empty()) {
        out.push(told("must validate at least one schema (anyOf)".to_owned()));
        out.extend(any.into_iter().next().unwrap_or_default());
    }
    let one = all("oneOf");
    let valid = one.iter().filter(|found| found.is_empty()).count();
    if !one.is_empty() && valid != 1 {
        let how = if valid == 0 { "none valid".to_owned() } else { format!("{valid} valid alternatives") };
        out.push(told(format!("must validate one and only one schema (oneOf). Found {how}")));
        out.extend(one.into_iter().find(|found| valid == 0 && !found.is_empty()).unwrap_or_default());
    }
    let every: Vec<Cause> = all("allOf").into_iter().flatten().collect();
    if !every.is_empty() {
        out.extend(every);
        out.push(told("must validate all the schemas (allOf)".to_owned()));
    }
    if schema["not"].is_object() && against(&schema["not"]).is_empty() {
        out.push(told("must not validate the schema (not)".to_owned()));
    }
}

/// Items of sets and of lists with keys that are there twice.
fn alone(schema: &Value, value: &Value, path: &str, out: &mut Vec<Cause>) {
    let Some(items) = value.as_array() else { return };
    let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let identity = |item: &Value| match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => Some(item.clone()),
        Some("map") => Some(Value::Object(keys.iter().filter_map(|k| Some(((*k).to_owned(), item.get(*k)?.clone()))).collect())),
        _ => None,
    };
    let mut seen = std::collections::BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let Some(identity) = identity(item) else { return };
        if !seen.insert(identity.to_string()) {
            out.push(cause("FieldValueDuplicate", &format!("{path}[{i}]"), format!("Duplicate value: {identity}")));
        }
    }
}

fn numbers(schema: &Value, value: &Value, path: &str, out: &mut Vec<Cause>) {
    let size = match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    let limit = |name: &str| schema[name].as_u64().and_then(|n| usize::try_from(n).ok());
    let mut bad = |message: String| out.push(cause("FieldValueInvalid", path, message));
    if let Some(n) = value.as_f64() {
        let open = |name: &str| schema[name] == true;
        if let Some(least) = schema["minimum"].as_f64().filter(|least| n < *least || (n <= *least && open("exclusiveMinimum"))) {
            let or = if open("exclusiveMinimum") { "" } else { " or equal to" };
            bad(format!("Invalid value: {value}: {path} in body should be greater than{or} {least}"));
        }
        if let Some(most) = schema["maximum"].as_f64().filter(|most| n > *most || (n >= *most && open("exclusiveMaximum"))) {
            let or = if open("exclusiveMaximum") { "" } else { " or equal to" };
            bad(format!("Invalid value: {value}: {path} in body should be less than{or} {most}"));
        }
        if let Some(factor) = schema["multipleOf"].as_f64().filter(|f| *f > 0.0 && (n / f - (n / f).round()).abs() > 1e-9) {
            bad(format!("Invalid value: {value}: {path} in body should be a multiple of {factor}"));
        }
    }
    let (short, long) = if value.is_array() { ("minItems", "maxItems") } else { ("minLength", "maxLength") };
    if value.is_string() || value.is_array() {
        let what = if value.is_array() { "have at" } else { "be at" };
        let unit = if value.is_array() { "items" } else { "chars long" };
        if let Some(least) = limit(short).filter(|least| size < *least) {
            bad(format!("Invalid value: {value}: {path} in body should {what} least {least} {unit}"));
        }
        if let Some(most) = limit(long).filter(|most| size > *most) {
            bad(format!("Invalid value: {value}: {path} in body should {what} most {most} {unit}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1}, "color": {"type": "string", "default": "red", "enum": ["red", "blue"]},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}}}}}})
    }

    #[test]
    fn unknown_fields_go_and_defaults_come() {
        let mut o = json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "x"}, "spec": {"size": 1, "sise": 2, "any": {"x": 1}, "labels": {"a": "b"}}});
        assert_eq!(prune(&schema(), &mut o), ["spec.sise"]);
        complete(&schema(), &mut o);
        assert_eq!(o["spec"], json!({"size": 1, "color": "red", "any": {"x": 1}, "labels": {"a": "b"}}));
        assert_eq!(o["metadata"]["name"], "x");
    }

    #[test]
    fn mistakes_are_found() {
        let causes = validate(&schema(), &json!({"spec": {"color": "green", "labels": {"a": 1}}}));
        let fields: Vec<(&str, &str)> = causes.iter().map(|c| (c.field.as_str(), c.reason)).collect();
        assert_eq!(
            fields,
            [("spec.size", "FieldValueRequired"), ("spec.color", "FieldValueNotSupported"), ("spec.labels.a", "FieldValueTypeInvalid")]
        );
        assert_eq!(validate(&schema(), &json!({"spec": {"size": 0}})).len(), 1);
        assert!(validate(&schema(), &json!({"spec": {"size": 2}})).is_empty());
    }

    #[test]
    fn alternatives_sets_and_numbers_are_looked_at() {
        let one = |schema: Value, value: Value| -> Vec<String> {
            let whole = json!({"type": "object", "properties": {"spec": schema}});
            validate(&whole, &json!({"spec": value})).iter().map(Cause::text).collect()
        };
        let choice = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
        assert_eq!(
            one(choice.clone(), json!({})),
            [
                "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid",
                "spec.a: Required value"
            ]
        );
        assert_eq!(
            one(choice.clone(), json!({"a": "x", "b": "y"})),
            ["<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives"]
        );
        assert!(one(choice, json!({"b": "y"})).is_empty());
        let port = json!({"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true});
        assert!(one(port.clone(), json!(80)).is_empty() && one(port, json!("http")).is_empty());
        let either = json!({"type": "string", "anyOf": [{"pattern": "^a"}, {"maxLength": 1}], "not": {"enum": ["z"]}});
        assert!(one(either.clone(), json!("abc")).is_empty() && one(either.clone(), json!("x")).is_empty());
        assert!(one(either.clone(), json!("xyz"))[0].contains("must validate at least one schema (anyOf)"));
        assert!(one(either, json!("z"))[0].contains("must not validate the schema (not)"));
        let set = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"});
        assert_eq!(one(set, json!(["x", "y", "x"])), ["spec[2]: Duplicate value: \"x\""]);
        let map = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}}}});
        assert_eq!(one(map, json!([{"name": "a"}, {"name": "b"}, {"name": "a"}])), ["spec[2]: Duplicate value: {\"name\":\"a\"}"]);
        assert_eq!(
            one(json!({"type": "integer", "minimum": 0, "exclusiveMinimum": true, "multipleOf": 5}), json!(0)),
            ["spec: Invalid value: 0: spec in body should be greater than 0"]
        );
        assert_eq!(
            one(json!({"type": "integer", "multipleOf": 5}), json!(7)),
            ["spec: Invalid value: 7: spec in body should be a multiple of 5"]
        );
        assert_eq!(
            one(json!({"type": "object", "minProperties": 1}), json!({})),
            ["spec: Invalid value: {}: spec in body should have at least 1 properties"]
        );
    }
}
