//! Reading the arguments of a tool call.
//!
//! Input: what a model wrote where JSON was asked for. Output: a JSON object, or the text kept together with what is
//! wrong with it, which is a result of the model and no error of ours.

use serde_json::{Map, Value};

use super::MalformedArguments;

/// Reads the arguments that a provider reports as text. No text at all stands for no arguments; JSON text wrapped in
/// a JSON string, which some servers send, is unwrapped once.
pub fn parse_arguments(text: &str) -> Result<Map<String, Value>, MalformedArguments> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let malformed = |error: String| MalformedArguments { text: text.to_owned(), error };
    let value = match serde_json::from_str(text.trim()) {
        Ok(Value::String(inner)) => serde_json::from_str(inner.trim()).unwrap_or(Value::String(inner)),
        Ok(value) => value,
        Err(error) => return Err(malformed(error.to_string())),
    };
    match value {
        Value::Object(arguments) => Ok(arguments),
        Value::Null => Ok(Map::new()),
        other => Err(malformed(format!("arguments must be a JSON object, not {}", kind(&other)))),
    }
}

/// As [`parse_arguments`], for JSON that a model wrote into its text by hand: line breaks and tabs inside strings,
/// which JSON forbids and models write all the same, are taken as they are.
pub(super) fn parse_handwritten(text: &str) -> Result<Map<String, Value>, MalformedArguments> {
    parse_arguments(text).or_else(|error| parse_arguments(&escape_controls(text)).map_err(|_| error))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The JSON value at the start of `text` up to its closing bracket, brackets in strings not counted.
pub(super) fn balanced(text: &str) -> Option<&str> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return text.get(..=at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Writes line breaks and tabs inside of strings the way JSON wants them.
pub(super) fn escape_controls(text: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' if in_string => out.push_str("\\n"),
            '\r' if in_string => out.push_str("\\r"),
            '\t' if in_string => out.push_str("\\t"),
            other => out.push(other),
        }
        match character {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_read_also_when_wrapped_in_a_string() {
        for text in [r#"{"code": "a"}"#, r#" "{\"code\": \"a\"}" "#] {
            assert_eq!(Value::Object(parse_arguments(text).unwrap()), json!({ "code": "a" }));
        }
        assert!(parse_arguments(" ").unwrap().is_empty());
        assert!(parse_arguments("null").unwrap().is_empty());
    }

    #[test]
    fn malformed_arguments_keep_the_text() {
        for (text, part) in [("{\"code\": \"a", "EOF"), ("[1]", "an array"), ("\"no json\"", "a string"), ("7", "a number")] {
            let malformed = parse_arguments(text).unwrap_err();
            assert_eq!(malformed.text, text);
            assert!(malformed.error.contains(part), "{}", malformed.error);
        }
    }

    #[test]
    fn line_breaks_in_strings_are_taken_from_handwritten_json_only() {
        let text = "{\"code\": \"- hosts: all\n\ttasks: \\\"x\\\"\"}";
        assert!(parse_arguments(text).is_err());
        assert_eq!(parse_handwritten(text).unwrap()["code"], "- hosts: all\n\ttasks: \"x\"");
    }

    #[test]
    fn balanced_stops_at_the_closing_bracket() {
        assert_eq!(balanced(r#"{"a": "}\"", "b": [1, {"c": 2}]} and more"#), Some(r#"{"a": "}\"", "b": [1, {"c": 2}]}"#));
        assert_eq!(balanced(r#"{"a": "#), None);
        assert_eq!(balanced("]"), None);
    }
}
