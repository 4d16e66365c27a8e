//! Calls as JSON objects, in a fenced block or bare in the text: `{"name": ..., "arguments": {...}}` in its variants.

use serde_json::{Map, Value};

use super::super::arguments::{balanced, escape_controls, parse_handwritten};
use super::super::{MalformedArguments, ToolSpec};
use super::{Found, fences, offered, one_argument, sole_text_parameter};

/// Opening brackets that are tried in one text.
const MOST_CANDIDATES: usize = 64;

const NAMES: [&str; 6] = ["name", "tool", "tool_name", "function", "action", "function_name"];
const ARGUMENTS: [&str; 7] = ["arguments", "parameters", "input", "args", "action_input", "tool_input", "params"];

pub(super) fn find_fenced(text: &str, tools: &[ToolSpec]) -> Vec<Found> {
    let calls = fences(text).into_iter().map(|fence| calls_at(fence.body.trim_start(), tools));
    calls.take(MOST_CANDIDATES).find(|calls| !calls.is_empty()).unwrap_or_default()
}

pub(super) fn find_bare(text: &str, tools: &[ToolSpec]) -> Vec<Found> {
    let mut rest = text;
    for _ in 0..MOST_CANDIDATES {
        let Some(at) = rest.find(['{', '[']) else { break };
        let candidate = rest.get(at..).unwrap_or_default();
        let calls = calls_at(candidate, tools);
        if !calls.is_empty() {
            return calls;
        }
        // Past a whole value that is no call; else just past its bracket.
        let skip = balanced(candidate).filter(|value| read(value).is_some()).map_or(1, str::len);
        rest = candidate.get(skip..).unwrap_or_default();
    }
    Vec::new()
}

/// The calls in the JSON value that `text` starts with.
fn calls_at(text: &str, tools: &[ToolSpec]) -> Vec<Found> {
    if !text.starts_with(['{', '[']) {
        return Vec::new();
    }
    let Some(value) = balanced(text).and_then(read) else { return broken_call(text, tools).into_iter().collect() };
    let listed = match &value {
        Value::Array(items) => Some(items),
        Value::Object(object) => object.get("tool_calls").and_then(Value::as_array),
        _ => None,
    };
    match listed {
        Some(items) => items.iter().take(MOST_CANDIDATES).filter_map(|item| call(item, tools)).collect(),
        None => call(&value, tools).into_iter().collect(),
    }
}

fn read(text: &str) -> Option<Value> {
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&escape_controls(text))).ok()
}

/// The call of an offered tool that a JSON value means.
pub(super) fn call(value: &Value, tools: &[ToolSpec]) -> Option<Found> {
    let value = unwrapped(value);
    if let Some(tool) = name_of(value).and_then(|name| offered(name, tools)) {
        return Some(Found { name: tool.name.clone(), arguments: arguments_of(value, Some(tool)) });
    }
    // With a single tool its bare arguments are enough.
    let ([tool], Some(object)) = (tools, value.as_object()) else { return None };
    let is_complete = sole_text_parameter(tool).is_some_and(|parameter| object.get(parameter).is_some_and(Value::is_string));
    (is_complete && object.len() == 1).then(|| Found { name: tool.name.clone(), arguments: Ok(object.clone()) })
}

/// The shape of the protocol has name and arguments one level down.
fn unwrapped(value: &Value) -> &Value {
    value.get("function").filter(|function| function.is_object()).unwrap_or(value)
}

pub(super) fn name_of(value: &Value) -> Option<&str> {
    NAMES.iter().find_map(|name| value.get(name)?.as_str())
}

/// The arguments under one of their names, or else all fields but the name.
pub(super) fn arguments_of(value: &Value, tool: Option<&ToolSpec>) -> Result<Map<String, Value>, MalformedArguments> {
    match ARGUMENTS.iter().find_map(|name| value.get(name)) {
        Some(Value::Object(arguments)) => Ok(arguments.clone()),
        Some(Value::String(text)) => parse_handwritten(text).or_else(|malformed| {
            let parameter = tool.and_then(sole_text_parameter).filter(|_| !text.trim_start().starts_with('{'));
            parameter.map(|name| one_argument(name, text)).ok_or(malformed)
        }),
        Some(Value::Null) => Ok(Map::new()),
        Some(other) => parse_handwritten(&other.to_string()),
        None => {
            let fields = value.as_object().into_iter().flatten();
            Ok(fields.filter(|(name, _)| !NAMES.contains(&name.as_str())).map(|(name, value)| (name.clone(), value.clone())).collect())
        }
    }
}

/// A call that is plainly meant but is no JSON: it begins with the name of an offered tool.
fn broken_call(text: &str, tools: &[ToolSpec]) -> Option<Found> {
    let mut words = text.trim_start_matches(['{', '[']).trim_start().split('"');
    let (_, key, _, written) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let tool = NAMES.contains(&key).then(|| offered(written, tools)).flatten()?;
    let error = serde_json::from_str::<Value>(&escape_controls(balanced(text).unwrap_or(text))).err()?.to_string();
    Some(Found { name: tool.name.clone(), arguments: Err(MalformedArguments { text: text.to_owned(), error }) })
}
