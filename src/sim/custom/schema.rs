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
        for (key, inner) in map {
            let known = &schema["properties"][key.as_str()];
            let next = if known.is_object() { known } else { &schema["additionalProperties"] };
            check(next, inner, &below(key), depth + 1, out);
        }
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], item, &format!("{path}[{i}]"), depth + 1, out);
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
        if let Some(least) = schema["minimum"].as_f64().filter(|least| n < *least) {
            bad(format!("Invalid value: {value}: {path} in body should be greater than or equal to {least}"));
        }
        if let Some(most) = schema["maximum"].as_f64().filter(|most| n > *most) {
            bad(format!("Invalid value: {value}: {path} in body should be less than or equal to {most}"));
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
}
