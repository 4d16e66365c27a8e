//! A patch may leave an object whose values have the wrong types: the cause that the API server then answers with.

use serde_json::{Map, Value};

use super::go_text::go_text;
use crate::sim::schema::quantity::{INVALID, Quantity};
use crate::sim::schema::table::{Entry, Table, Type};
use crate::sim::schema::{Cause, decode_error};

/// Deeper than any Kubernetes object, shallower than the stack.
const MAX_DEPTH: usize = 64;

/// Why a patched built-in object cannot be decoded: one cause with the field `patch`, for a 422 whose message names no object
/// (` "" is invalid: patch: ...`). `strategic` is the patch body when it was a strategic merge patch.
pub fn result_error(api_version: &str, kind: &str, patched: &Value, strategic: Option<&Value>) -> Option<Cause> {
    let (shown, error) = match strategic {
        Some(patch) => {
            let entry = Table::get().kind(api_version, kind).filter(|entry| !entry.is_custom())?;
            (go_text(patch), structure(entry, patched.as_object()?, 0)?)
        }
        None => (patched.to_string(), decode_error(api_version, kind, patched)?),
    };
    Some(Cause { reason: "FieldValueInvalid", message: format!("Invalid value: {shown:?}: {error}"), field: "patch".to_owned() })
}

fn structure(entry: &Entry, map: &Map<String, Value>, depth: usize) -> Option<String> {
    if depth > MAX_DEPTH {
        return Some("exceeded max depth".to_owned());
    }
    map.iter().find_map(|(key, item)| value(&entry.fields.get(key.as_str())?.kind, item, depth))
}

/// The words of the converter from untyped to typed objects, which strategic merge patches go through.
fn value(kind: &Type, value: &Value, depth: usize) -> Option<String> {
    match (kind, value) {
        (_, Value::Null)
        | (Type::String | Type::Bytes | Type::Time | Type::MicroTime | Type::IntOrString, Value::String(_))
        | (Type::Boolean, Value::Bool(_))
        | (Type::Int32 | Type::Int64 | Type::Number | Type::IntOrString, Value::Number(_))
        | (Type::Any, _) => None,
        (Type::Quantity, _) => Quantity::from_json(value).is_none().then(|| INVALID.to_owned()),
        (Type::Structure(number), _) => {
            let entry = Table::get().entry(*number);
            match (&entry.alias, value) {
                (Some(alias), _) => self::value(alias, value, depth + 1),
                (None, Value::Object(map)) => structure(entry, map, depth + 1),
                (None, _) => Some(format!("cannot restore struct from: {}", go_kind(value))),
            }
        }
        (Type::List(inner), Value::Array(items)) => items.iter().find_map(|item| self::value(inner, item, depth + 1)),
        (Type::List(_), _) => Some(format!("cannot restore slice from {}", go_kind(value))),
        (Type::Map(inner), Value::Object(map)) => map.values().find_map(|item| self::value(inner, item, depth + 1)),
        (Type::Map(_), _) => Some(format!("cannot restore map from {}", go_kind(value))),
        (Type::String, _) => Some("unrecognized type: string".to_owned()),
        (Type::Boolean, _) => Some("unrecognized type: bool".to_owned()),
        (Type::Int32, _) => Some("unrecognized type: int32".to_owned()),
        (Type::Int64, _) => Some("unrecognized type: int64".to_owned()),
        (Type::Number, _) => Some("unrecognized type: float64".to_owned()),
        (Type::Bytes | Type::Time | Type::MicroTime | Type::IntOrString, _) => {
            Some(format!("json: cannot unmarshal {} into Go value of type string", go_kind(value)))
        }
    }
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wrong_types_after_a_patch() {
        let patch = json!({"spec": {"replicas": "two"}});
        let cause = result_error("apps/v1", "Deployment", &patch, Some(&patch)).unwrap();
        assert_eq!(cause.text(), "patch: Invalid value: \"map[spec:map[replicas:two]]\": unrecognized type: int32");
        let cause = result_error("apps/v1", "Deployment", &patch, None).unwrap();
        assert!(cause.message.ends_with("of type int32"), "{}", cause.message);
        let list = json!({"spec": {"template": {"spec": {"containers": "none"}}}});
        assert!(result_error("apps/v1", "Deployment", &list, Some(&list)).unwrap().message.ends_with("cannot restore slice from string"));
        assert_eq!(result_error("apps/v1", "Deployment", &json!({"spec": {"replicas": 2}}), Some(&patch)), None);
        assert_eq!(result_error("example.com/v1", "Thing", &patch, Some(&patch)), None);
    }
}
