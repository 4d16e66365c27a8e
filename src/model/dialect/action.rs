//! Calls as two labelled lines: `Action: NAME` and `Action Input: ...`, the input being JSON over any number of lines
//! or one raw block. What follows (`Observation:` and further actions) is what the model imagines, and is left out.

use super::super::arguments::{balanced, parse_handwritten};
use super::super::{MalformedArguments, ToolSpec};
use super::{Found, fences, offered, one_argument, sole_text_parameter};

/// Labels that end an input.
const LABELS: [&str; 5] = ["action", "action input", "observation", "thought", "final answer"];

pub(super) fn find(text: &str, tools: &[ToolSpec]) -> Vec<Found> {
    first(text, tools).into_iter().collect()
}

/// The first action that names an offered tool, with its input.
fn first(text: &str, tools: &[ToolSpec]) -> Option<Found> {
    let mut tool = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        match labelled(line) {
            Some(("action", name)) => tool = offered(name, tools).or(tool),
            Some(("action input", same_line)) if tool.is_some() => {
                let rest = text.get(at..).unwrap_or_default();
                let input = format!("{same_line}\n{}", until_label(rest));
                return tool.map(|tool| Found { name: tool.name.clone(), arguments: arguments(&input, tool) });
            }
            _ => {}
        }
    }
    // An action without any input: right for a tool that needs none.
    tool.map(|tool| Found { name: tool.name.clone(), arguments: parse_handwritten("") })
}

/// A line `Label: value`, with the label in lower case; asterisks and hashes of Markdown do not count.
fn labelled(line: &str) -> Option<(&'static str, &str)> {
    let (label, value) = line.split_once(':')?;
    let label = label.trim_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '#' | '_')).to_ascii_lowercase();
    let label = LABELS.iter().find(|known| **known == label)?;
    Some((label, value.trim().trim_start_matches("**").trim_start()))
}

fn until_label(text: &str) -> &str {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        // Indented lines are part of the input whatever they look like.
        if !line.starts_with([' ', '\t']) && labelled(line).is_some() {
            break;
        }
        end += line.len();
    }
    text.get(..end).unwrap_or(text)
}

fn arguments(input: &str, tool: &ToolSpec) -> Result<serde_json::Map<String, serde_json::Value>, MalformedArguments> {
    let trimmed = input.trim();
    let inner = if trimmed.starts_with("```") { fences(input).into_iter().next().map_or(trimmed, |fence| fence.body) } else { input };
    let trimmed = inner.trim();
    if trimmed.starts_with('{') {
        return parse_handwritten(balanced(trimmed).unwrap_or(trimmed));
    }
    match sole_text_parameter(tool) {
        Some(_) if trimmed.is_empty() => Ok(serde_json::Map::new()),
        Some(parameter) => Ok(one_argument(parameter, inner.trim_matches('\n'))),
        None => parse_handwritten(trimmed),
    }
}
