//! JSON values of the wrong type, in the words of the server's decoder.

use serde_json::{Map, Value};

use crate::sim::schema::quantity::{INVALID, Quantity};
use crate::sim::schema::table::{Entry, Table, Type};

/// Deeper than any Kubernetes object, shallower than the stack.
const MAX_DEPTH: usize = 64;

/// Why a built-in kind cannot be decoded: the text behind `Deployment in version "v1" cannot be handled as a Deployment: `.
/// Custom resources decode always; their schema is a matter of validation.
pub fn decode_error(api_version: &str, kind: &str, object: &Value) -> Option<String> {
    let entry = Table::get().kind(api_version, kind).filter(|entry| !entry.is_custom())?;
    structure(entry, object.as_object()?, "", 0)
}

fn structure(entry: &Entry, map: &Map<String, Value>, path: &str, depth: usize) -> Option<String> {
    if depth > MAX_DEPTH {
        return Some("exceeded max depth".to_owned());
    }
    map.iter().find_map(|(key, item)| {
        let field = entry.fields.get(key.as_str())?;
        let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        value(&field.kind, item, entry, &at, depth)
    })
}

fn value(kind: &Type, value: &Value, owner: &Entry, path: &str, depth: usize) -> Option<String> {
    let wanted = match (kind, value) {
        (Type::Quantity, Value::String(_) | Value::Number(_)) => {
            return if Quantity::from_json(value).is_some() { None } else { Some(INVALID.to_owned()) };
        }
        (Type::Bytes, Value::String(text)) => return base64_error(text),
        (Type::Time | Type::MicroTime, Value::String(text)) => return time_error(text),
        (_, Value::Null)
        | (Type::String, Value::String(_))
        | (Type::Boolean, Value::Bool(_))
        | (Type::Number, Value::Number(_))
        | (Type::IntOrString, Value::String(_) | Value::Number(_))
        | (Type::Any, _) => return None,
        (Type::Int32, Value::Number(number)) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => return None,
        (Type::Int64, Value::Number(number)) if number.is_i64() => return None,
        (Type::Structure(number), _) => {
            let entry = Table::get().entry(*number);
            match (&entry.alias, value) {
                (Some(alias), _) => return self::value(alias, value, owner, path, depth + 1),
                (None, Value::Object(map)) => return structure(entry, map, path, depth + 1),
                (None, _) => go_name(entry),
            }
        }
        (Type::List(inner), Value::Array(items)) => return items.iter().find_map(|item| self::value(inner, item, owner, path, depth + 1)),
        (Type::Map(inner), Value::Object(map)) => return map.values().find_map(|item| self::value(inner, item, owner, path, depth + 1)),
        (kind, _) => go_type(kind),
    };
    let given = match value {
        Value::Bool(_) => "bool",
        Value::Number(number) if matches!(kind, Type::Int32 | Type::Int64) => &format!("number {number}"),
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Null | Value::Object(_) => "object",
    };
    let owner = owner.name.rsplit('.').next().unwrap_or_default();
    Some(format!("json: cannot unmarshal {given} into Go struct field {owner}.{path} of type {wanted}"))
}

fn base64_error(text: &str) -> Option<String> {
    use base64::{DecodeError, Engine};
    // Go's decoder passes over line ends.
    let text: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    let place = match base64::engine::general_purpose::STANDARD.decode(&text).err()? {
        DecodeError::InvalidByte(place, _) | DecodeError::InvalidLastSymbol(place, _) => place,
        DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len() / 4 * 4,
    };
    Some(format!("illegal base64 data at input byte {place}"))
}

fn time_error(text: &str) -> Option<String> {
    const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
    text.parse::<jiff::Timestamp>().err().map(|_| format!("parsing time {text:?} as {LAYOUT:?}: cannot parse {text:?} as \"2006\""))
}

fn go_name(entry: &Entry) -> String {
    let mut parts = entry.name.rsplit('.');
    let (name, version) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{version}.{name}")
}

fn go_type(kind: &Type) -> String {
    match kind {
        Type::String => "string".to_owned(),
        Type::Bytes => "[]uint8".to_owned(),
        Type::Boolean => "bool".to_owned(),
        Type::Int32 => "int32".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Number => "float64".to_owned(),
        Type::IntOrString => "intstr.IntOrString".to_owned(),
        Type::Time => "v1.Time".to_owned(),
        Type::MicroTime => "v1.MicroTime".to_owned(),
        Type::Quantity => "resource.Quantity".to_owned(),
        Type::Any => "map[string]interface {}".to_owned(),
        Type::Structure(number) => go_name(Table::get().entry(*number)),
        Type::List(inner) => format!("[]{}", go_type(inner)),
        Type::Map(inner) => format!("map[string]{}", go_type(inner)),
    }
}
