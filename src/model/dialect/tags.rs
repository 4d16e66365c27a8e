//! Calls between tags: `<tool_call>{...}</tool_call>` and `<function=NAME><parameter=P>...</parameter></function>`.
//!
//! The tags leave no doubt that a call is meant, so that names that were not offered are reported as well.

use serde_json::{Map, Value};

use super::super::arguments::parse_handwritten;
use super::super::{MalformedArguments, ToolSpec};
use super::{Found, json, offered, offered_name};

/// More calls in one answer are not looked at.
const MOST_CALLS: usize = 64;

pub(super) fn find(text: &str, tools: &[ToolSpec]) -> Vec<Found> {
    let functions: Vec<Found> = blocks(text, "<function=", "</function>").filter_map(|block| function(block, tools)).collect();
    if !functions.is_empty() {
        return functions;
    }
    blocks(text, "<tool_call>", "</tool_call>").map(|block| tool_call(block, tools)).collect()
}

/// What is between the tags; the last may lack its end.
fn blocks<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(open)?;
        let (block, next) = after.split_once(close).unwrap_or((after, ""));
        rest = next;
        Some(block)
    })
    .take(MOST_CALLS)
}

fn function(block: &str, tools: &[ToolSpec]) -> Option<Found> {
    let (name, body) = block.split_once('>')?;
    let name = name.trim();
    let tool = offered(name, tools);
    let mut arguments = Map::new();
    for parameter in blocks(body, "<parameter=", "</parameter>") {
        let Some((parameter, value)) = parameter.split_once('>') else { continue };
        let parameter = parameter.trim();
        arguments.insert(parameter.to_owned(), typed(tool, parameter, value));
    }
    let arguments = if arguments.is_empty() { parse_handwritten(body) } else { Ok(arguments) };
    Some(Found { name: tool.map_or(name, |tool| tool.name.as_str()).to_owned(), arguments })
}

/// The text between the tags without the line breaks next to them, as JSON where the schema wants no string.
fn typed(tool: Option<&ToolSpec>, parameter: &str, value: &str) -> Value {
    let value = value.strip_prefix("\r\n").or_else(|| value.strip_prefix('\n')).unwrap_or(value);
    let value = value.strip_suffix('\n').unwrap_or(value);
    let kind = tool.and_then(|tool| tool.parameters.get("properties")?.get(parameter)?.get("type")?.as_str());
    match kind {
        None | Some("string") => Value::String(value.to_owned()),
        Some(_) => serde_json::from_str(value.trim()).unwrap_or_else(|_| Value::String(value.to_owned())),
    }
}

fn tool_call(block: &str, tools: &[ToolSpec]) -> Found {
    let parsed = match parse_handwritten(block) {
        Ok(object) => Value::Object(object),
        Err(malformed) => return malformed_call(block, tools, malformed),
    };
    let found = json::call(&parsed, tools);
    found.unwrap_or_else(|| {
        let name = json::name_of(&parsed).unwrap_or_default().to_owned();
        Found { name, arguments: json::arguments_of(&parsed, None) }
    })
}

/// A call that is no JSON: its name may still be legible.
fn malformed_call(block: &str, tools: &[ToolSpec], malformed: MalformedArguments) -> Found {
    let written = block.split_once("\"name\"").and_then(|(_, after)| after.split('"').nth(1)).unwrap_or_default();
    Found { name: offered_name(written, tools).unwrap_or(written).to_owned(), arguments: Err(malformed) }
}
