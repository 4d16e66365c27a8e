//! Tool calls in plain text: for servers without tool calling, and for models that answer with text all the same.
//!
//! Input: the visible text of an answer and the tools offered. Output: the calls meant by it, in whichever of the usual
//! notations; nothing where there is none. Malformed arguments are kept as what they are. Also the other direction: how
//! tools are described to such a model.

mod action;
mod json;
mod mend;
mod tags;

pub use mend::mend;

use serde_json::{Map, Value};

use super::{MalformedArguments, ToolCall, ToolChoice, ToolSpec};

/// Text beyond this is not searched.
const LONGEST_TEXT: usize = 1 << 20;

/// The parameter that a fenced playbook stands for.
pub(super) const CODE: &str = "code";

/// One way to write calls.
type Notation = fn(&str, &[ToolSpec]) -> Vec<Found>;

/// A call as it was found.
struct Found {
    name: String,
    arguments: Result<Map<String, Value>, MalformedArguments>,
}

/// Finds the tool calls that `text` means. Ids continue after the `earlier` calls of the conversation.
pub fn find_tool_calls(text: &str, tools: &[ToolSpec], earlier: usize) -> Vec<ToolCall> {
    let text = shortened(text);
    if tools.is_empty() || text.trim().is_empty() {
        return Vec::new();
    }
    // From the most to the least explicit notation; the first that says anything is the one the model uses.
    let notations: [Notation; 5] = [tags::find, action::find, json::find_fenced, json::find_bare, find_playbook];
    let found = notations.iter().map(|find| find(text, tools)).find(|found| !found.is_empty()).unwrap_or_default();
    found
        .into_iter()
        .enumerate()
        .map(|(index, call)| ToolCall { id: format!("call-{}", earlier + index + 1), name: call.name, arguments: call.arguments })
        .collect()
}

/// The offered tool that `name` means: letter case, `-`, `_`, quotes and a leading `functions.` make no difference.
pub fn offered_name<'a>(name: &str, tools: &'a [ToolSpec]) -> Option<&'a str> {
    let exact = tools.iter().find(|tool| tool.name == name);
    let meant = normalized(name);
    exact.or_else(|| tools.iter().find(|tool| normalized(&tool.name) == meant)).map(|tool| tool.name.as_str())
}

/// What a model is told about the tools when the protocol has no place for them; empty without tools.
pub fn describe(tools: &[ToolSpec], choice: ToolChoice) -> String {
    if tools.is_empty() {
        return String::new();
    }
    let mut text = String::from("You can use these tools:\n");
    for tool in tools {
        text.push_str(&format_tool(tool));
    }
    text.push_str("\nTo use one, write its name and its arguments as one JSON object, in exactly this form, and stop there:\n\n");
    text.push_str(&write_call("NAME", "{\"PARAMETER\": \"VALUE\"}"));
    text.push_str(match choice {
        ToolChoice::Required => "\n\nEvery answer must use one tool.",
        ToolChoice::Auto => "\n\nUse a tool only when you need it.",
    });
    text
}

/// What a model is told about the tools when its answer is constrained to be a call.
pub fn describe_as_json(tools: &[ToolSpec]) -> String {
    let mut text = String::from("You can use these tools:\n");
    for tool in tools {
        text.push_str(&format_tool(tool));
    }
    text.push_str("\nAnswer with one JSON object: {\"action\": \"NAME\", \"input\": {\"PARAMETER\": \"VALUE\"}}");
    text
}

/// The JSON Schema of an answer that is a call of one of the tools; none where the model may answer otherwise.
///
/// Servers that build a grammar of it have the keys written in their order here, which is that of the alphabet: `action`
/// before `input`, so that a model chooses the tool before it writes what goes in, and a call that is cut off is known as one.
pub fn call_schema(tools: &[ToolSpec], choice: ToolChoice) -> Option<Value> {
    if tools.is_empty() || choice == ToolChoice::Auto {
        return None;
    }
    let mut calls: Vec<Value> = tools
        .iter()
        .map(|tool| {
            serde_json::json!({
                "type": "object",
                "properties": { "action": { "type": "string", "enum": [tool.name] }, "input": tool.parameters },
                "required": ["action", "input"],
                "additionalProperties": false,
            })
        })
        .collect();
    // Not every server knows alternatives at the top.
    if calls.len() == 1 { calls.pop() } else { Some(serde_json::json!({ "anyOf": calls })) }
}

/// A tool's result, for a conversation that has no tool messages.
pub fn describe_result(content: &str) -> String {
    format!("Result of the tool:\n{content}")
}

/// A call in the notation that [`describe`] asks for.
pub fn write_call(name: &str, arguments: &str) -> String {
    format!("Action: {name}\nAction Input: {arguments}")
}

fn format_tool(tool: &ToolSpec) -> String {
    format!("\n{}: {}\nParameters (JSON Schema): {}\n", tool.name, tool.description, tool.parameters)
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

fn normalized(name: &str) -> String {
    let name = name.trim().trim_matches(['`', '"', '\'', '*']);
    name.strip_prefix("functions.").unwrap_or(name).chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

/// The offered tool called `name`, in any spelling.
fn offered<'a>(name: &str, tools: &'a [ToolSpec]) -> Option<&'a ToolSpec> {
    let name = offered_name(name, tools)?;
    tools.iter().find(|tool| tool.name == name)
}

/// The parameter that a raw text can only be meant for: the one required, or else the only one, being a string.
fn sole_text_parameter(tool: &ToolSpec) -> Option<&str> {
    let properties = tool.parameters.get("properties")?.as_object()?;
    let required: Vec<&str> =
        tool.parameters.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let name = match required.as_slice() {
        [one] => *one,
        [] if properties.len() == 1 => properties.keys().next()?,
        _ => return None,
    };
    let (name, schema) = properties.get_key_value(name)?;
    (schema.get("type").and_then(Value::as_str) == Some("string")).then_some(name.as_str())
}

fn one_argument(name: &str, value: &str) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), Value::String(value.to_owned()))])
}

/// A fenced block of text.
struct Fence<'a> {
    /// The word after the opening backticks.
    info: &'a str,
    body: &'a str,
}

/// All fenced blocks; one that is cut off reaches to the end. A fence is closed by at least as many backticks.
fn fences(text: &str) -> Vec<Fence<'_>> {
    let mut out = Vec::new();
    // The open fence: number of backticks, info, where its body starts.
    let mut open: Option<(usize, &str, usize)> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        let ticks = trimmed.len() - trimmed.trim_start_matches('`').len();
        let info = trimmed.trim_start_matches('`');
        match open {
            None if ticks >= 3 && !info.contains('`') => open = Some((ticks, info.trim(), at + line.len())),
            Some((opened, info_word, start)) if ticks >= opened && info.is_empty() => {
                out.push(Fence { info: info_word, body: text.get(start..at).unwrap_or_default() });
                open = None;
            }
            _ => {}
        }
        at += line.len();
    }
    if let Some((_, info, start)) = open {
        out.push(Fence { info, body: text.get(start..).unwrap_or_default() });
    }
    out
}

/// The one tool that takes a single text called `code`.
pub(super) fn playbook_tool(tools: &[ToolSpec]) -> Option<&ToolSpec> {
    let mut takers = tools.iter().filter(|tool| sole_text_parameter(tool) == Some(CODE));
    match (takers.next(), takers.next()) {
        (Some(tool), None) => Some(tool),
        _ => None,
    }
}

/// A fenced list of plays, where just one tool takes a single text called `code`. Of several the last counts: it is
/// what the model settled on.
fn find_playbook(text: &str, tools: &[ToolSpec]) -> Vec<Found> {
    let Some(tool) = playbook_tool(tools) else { return Vec::new() };
    let is_yaml = |info: &str| matches!(info.to_ascii_lowercase().as_str(), "" | "yaml" | "yml" | "ansible");
    let playbook = fences(text).into_iter().rfind(|fence| is_yaml(fence.info) && is_list_of_plays(fence.body));
    playbook.map(|fence| Found { name: tool.name.clone(), arguments: Ok(one_argument(CODE, fence.body)) }).into_iter().collect()
}

/// By its lines and not by parsing it: a playbook with a mistake in it is an answer all the same.
fn is_list_of_plays(body: &str) -> bool {
    let mut lines = body.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#') && line.trim_end() != "---");
    let starts_a_list = lines.next().is_some_and(|line| line.trim_start().starts_with("- "));
    starts_a_list && body.lines().any(|line| line.trim_start().trim_start_matches("- ").starts_with("hosts:"))
}

#[cfg(test)]
mod tests;
