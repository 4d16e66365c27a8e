//! Custom resources: what their `OpenAPI` schema says.

use serde_json::{Map, Value};

use super::Causes;
use crate::sim::schema::table::{Entry, Field, Table, Type};

/// Deeper than any such object, shallower than the stack.
const MAX_DEPTH: usize = 64;

pub(super) fn structure(entry: &Entry, map: &Map<String, Value>, path: &str, depth: usize, causes: &mut Causes) {
    if depth > MAX_DEPTH {
        return;
    }
    for (name, field) in &entry.fields {
        let at = if path.is_empty() { (*name).to_owned() } else { format!("{path}.{name}") };
        // Names are checked elsewhere, and controllers write statuses.
        if path.is_empty() && matches!(*name, "metadata" | "status") {
            continue;
        }
        match map.get(*name) {
            None | Some(Value::Null) if field.required => causes.required(at, ""),
            None | Some(Value::Null) => {}
            Some(value) => self::value(&field.kind, field, value, &at, depth, causes),
        }
    }
}

fn value(kind: &Type, field: &Field, value: &Value, at: &str, depth: usize, causes: &mut Causes) {
    if let Some((wanted, given)) = mismatch(kind, value) {
        let message = format!("Invalid value: {given:?}: {at} in body must be of type {wanted}: {given:?}");
        causes.push("FieldValueTypeInvalid", message, at);
        return;
    }
    match (kind, value) {
        (Type::String, Value::String(text)) if !field.allowed.is_empty() && !field.allowed.contains(&text.as_str()) => {
            causes.unsupported(at, value, &field.allowed);
        }
        (Type::Structure(number), Value::Object(map)) => structure(Table::get().entry(*number), map, at, depth + 1, causes),
        (Type::List(inner), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                self::value(inner, field, item, &format!("{at}[{index}]"), depth + 1, causes);
            }
        }
        (Type::Map(inner), Value::Object(map)) => {
            for (key, item) in map {
                self::value(inner, field, item, &format!("{at}.{key}"), depth + 1, causes);
            }
        }
        _ => {}
    }
}

/// The type wanted and the type given, when they differ.
fn mismatch(kind: &Type, value: &Value) -> Option<(&'static str, &'static str)> {
    let given = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let wanted = match kind {
        Type::String | Type::Bytes | Type::Time | Type::MicroTime => "string",
        Type::Boolean => "boolean",
        Type::Int32 | Type::Int64 => "integer",
        Type::Number if given == "integer" => return None,
        Type::Number => "number",
        Type::List(_) => "array",
        Type::Map(_) | Type::Structure(_) => "object",
        Type::Quantity | Type::IntOrString | Type::Any => return None,
    };
    (wanted != given).then_some((wanted, given))
}
