//! JSON as values of the language, typed by a schema where there is one.

use std::collections::HashMap;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelOptional, CelString, CelUInt};
use cel::common::value::Val;
use serde_json::Value;

use super::moments::{Moment, Span};

/// Deeper than any schema describes.
const MAX_DEPTH: usize = 64;

/// A value that an expression is given.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// JSON that nothing is known of.
    Json(&'a Value),
    /// JSON with its schema.
    Typed(&'a Value, &'a Value),
    /// `optional.none()`, or an optional with JSON and its schema.
    Optional(Option<(&'a Value, &'a Value)>),
}

impl Input<'_> {
    pub(super) fn to_val(self) -> Box<dyn Val> {
        match self {
            Self::Json(value) => val(value, &Value::Null, 0),
            Self::Typed(value, schema) => val(value, schema, 0),
            Self::Optional(None) => Box::new(CelOptional::none()),
            Self::Optional(Some((value, schema))) => Box::new(CelOptional::of(val(value, schema, 0))),
        }
    }
}

fn val(value: &Value, schema: &Value, depth: usize) -> Box<dyn Val> {
    if depth > MAX_DEPTH {
        return Box::new(CelNull);
    }
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(yes) => Box::new(CelBool::from(*yes)),
        Value::Number(number) => {
            let whole = number.as_i64().filter(|_| schema["type"] != "number");
            match (whole, number.as_u64()) {
                (Some(whole), _) => Box::new(CelInt::from(whole)),
                (None, Some(large)) if schema["type"] != "number" => Box::new(CelUInt::from(large)),
                _ => Box::new(CelDouble::from(number.as_f64().unwrap_or_default())),
            }
        }
        Value::String(text) => text_of(text, schema),
        Value::Array(items) => {
            let items: Vec<Box<dyn Val>> = items.iter().map(|item| val(item, &schema["items"], depth + 1)).collect();
            Box::new(CelList::from(items))
        }
        Value::Object(fields) => {
            let mut map: HashMap<CelMapKey<'static>, Box<dyn Val>> = HashMap::with_capacity(fields.len());
            for (name, inner) in fields {
                let known = &schema["properties"][name.as_str()];
                let known = if known.is_object() { known } else { &schema["additionalProperties"] };
                // A null is as good as nothing there, unless the schema wants to know of it.
                if !inner.is_null() || known["nullable"] == true {
                    map.insert(super::budget::key(name), val(inner, known, depth + 1));
                }
            }
            Box::new(CelMap::from(map))
        }
    }
}

fn text_of(text: &str, schema: &Value) -> Box<dyn Val> {
    let plain = || -> Box<dyn Val> { Box::new(CelString::from(text.to_owned())) };
    match schema["format"].as_str() {
        Some("date-time" | "date") => Moment::parse(text).map_or_else(plain, |moment| Box::new(moment)),
        Some("duration") => Span::parse(text).map_or_else(plain, |span| Box::new(span)),
        _ => plain(),
    }
}
