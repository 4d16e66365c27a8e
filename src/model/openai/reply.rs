//! Reading a whole reply of the chat-completions API.
//!
//! Input: the body. Output: an [`Answer`]; what servers spell differently (content in parts, arguments as an object,
//! reasoning under several names, numbers as text) is levelled here.

use reqwest::StatusCode;
use serde_json::Value;

use super::Usage;

/// What a provider answered, before tool calls are looked for in the text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) content: String,
    pub(super) reasoning: Option<String>,
    pub(super) calls: Vec<Call>,
    pub(super) usage: Option<Usage>,
    pub(super) finish_reason: Option<String>,
}

/// A tool call as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) id: Option<String>,
    pub(super) name: String,
    /// As text, whatever it was.
    pub(super) arguments: String,
}

/// Why a successful response holds no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BadReply {
    /// Cut off, or not what the API promises.
    Malformed(String),
    /// An error in the place of an answer.
    Error { status: Option<StatusCode>, text: String },
}

/// Reads a body that is one JSON object.
pub(super) fn read(body: &[u8]) -> Result<Answer, BadReply> {
    let reply: Value =
        serde_json::from_slice(body).map_err(|error| BadReply::Malformed(format!("the answer is cut off or no JSON: {error}")))?;
    check_error(&reply)?;
    let choice = reply.pointer("/choices/0").ok_or_else(|| BadReply::Malformed("the answer has no choices".to_owned()))?;
    let message = choice
        .get("message")
        .filter(|message| message.is_object())
        .ok_or_else(|| BadReply::Malformed("the answer has no message".to_owned()))?;
    let calls = message.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Ok(Answer {
        content: text_of(message.get("content")),
        reasoning: reasoning_of(message),
        calls: calls.iter().map(call_of).collect(),
        usage: usage_of(reply.get("usage")),
        finish_reason: choice.get("finish_reason").and_then(Value::as_str).map(str::to_owned),
    })
}

/// Some gateways report an error of the provider behind them with HTTP 200.
pub(super) fn check_error(reply: &Value) -> Result<(), BadReply> {
    let Some(error) = reply.get("error").filter(|error| !error.is_null()) else { return Ok(()) };
    let status = error.get("code").and_then(number).and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    let text = error.get("message").and_then(Value::as_str).map_or_else(|| error.to_string(), str::to_owned);
    Err(BadReply::Error { status: status.filter(|status| status.is_client_error() || status.is_server_error()), text })
}

/// Text that is a string, nothing, or a list of parts.
pub(super) fn text_of(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part.as_str().or_else(|| part.get("text")?.as_str())).collect(),
        _ => String::new(),
    }
}

/// Reasoning given apart from the answer, under either of its names.
pub(super) fn reasoning_of(message: &Value) -> Option<String> {
    ["reasoning_content", "reasoning"].iter().map(|name| text_of(message.get(name))).find(|text| !text.is_empty())
}

/// Arguments as text, whether they came as text or as an object.
pub(super) fn arguments_of(arguments: Option<&Value>) -> String {
    match arguments {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn call_of(call: &Value) -> Call {
    let function = call.get("function").unwrap_or(call);
    Call {
        id: call.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned),
        name: function.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        arguments: arguments_of(function.get("arguments")),
    }
}

/// Token counts, where both main ones were reported.
pub(super) fn usage_of(usage: Option<&Value>) -> Option<Usage> {
    let usage = usage?;
    let count = |pointer: &str| usage.pointer(pointer).and_then(number);
    Some(Usage {
        prompt: count("/prompt_tokens")?,
        completion: count("/completion_tokens")?,
        cached: count("/prompt_tokens_details/cached_tokens").or_else(|| count("/prompt_cache_hit_tokens")).unwrap_or(0),
        reasoning: count("/completion_tokens_details/reasoning_tokens").unwrap_or(0),
        estimated: false,
    })
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// Moves reasoning that a server left in the text (`<think>...</think>` at its start) to where it belongs. Where the
/// chat template already opened the block, only its end is in the text.
pub(super) fn split_reasoning(reasoning: Option<String>, content: String) -> (Option<String>, String) {
    const OPEN: &str = "<think>";
    const CLOSE: &str = "</think>";
    let (thought, rest) = match (content.trim_start().strip_prefix(OPEN), content.split_once(CLOSE)) {
        (Some(opened), Some(_)) => opened.split_once(CLOSE).unwrap_or((opened, "")),
        // Cut off while thinking.
        (Some(opened), None) => (opened, ""),
        (None, Some((before, after))) if !before.contains(OPEN) => (before, after),
        _ => return (reasoning, content),
    };
    let parts: Vec<&str> = reasoning.as_deref().into_iter().chain([thought.trim()]).filter(|part| !part.is_empty()).collect();
    ((!parts.is_empty()).then(|| parts.join("\n")), rest.trim_start().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_value(reply: &Value) -> Result<Answer, BadReply> {
        read(reply.to_string().as_bytes())
    }

    #[test]
    fn all_shapes_of_content_arguments_and_reasoning_are_read() {
        let answer = read_value(&json!({
            "choices": [{ "finish_reason": "tool_calls", "message": {
                "content": [{ "type": "text", "text": "I " }, "will"],
                "reasoning": "hm",
                "tool_calls": [
                    { "id": "a", "type": "function", "function": { "name": "t", "arguments": "{\"x\": 1}" } },
                    { "id": "", "function": { "name": "u", "arguments": { "y": 2 } } },
                    { "function": { "name": "v" } },
                ],
            }}],
            "usage": { "prompt_tokens": 10, "completion_tokens": "5", "prompt_tokens_details": { "cached_tokens": 4 },
                       "completion_tokens_details": { "reasoning_tokens": 3 } },
        }))
        .unwrap();
        assert_eq!(answer.content, "I will");
        assert_eq!(answer.reasoning.as_deref(), Some("hm"));
        assert_eq!(answer.calls[0], Call { id: Some("a".to_owned()), name: "t".to_owned(), arguments: "{\"x\": 1}".to_owned() });
        assert_eq!(answer.calls[1], Call { id: None, name: "u".to_owned(), arguments: "{\"y\":2}".to_owned() });
        assert_eq!(answer.calls[2].arguments, "");
        assert_eq!(answer.usage, Some(Usage { prompt: 10, completion: 5, cached: 4, reasoning: 3, estimated: false }));
        assert_eq!(answer.finish_reason.as_deref(), Some("tool_calls"));
    }

    #[test]
    fn missing_counts_are_no_usage() {
        let reply = json!({ "choices": [{ "message": { "content": null } }], "usage": { "total_tokens": 4 } });
        assert_eq!(read_value(&reply).unwrap(), Answer::default());
    }

    #[test]
    fn replies_without_an_answer_are_malformed() {
        for (body, part) in
            [("{\"choices\": [", "cut off"), ("<html>", "no JSON"), ("{}", "no choices"), (r#"{"choices": [{}]}"#, "no message")]
        {
            let BadReply::Malformed(text) = read(body.as_bytes()).unwrap_err() else { panic!("{body}") };
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn errors_inside_a_success_keep_their_status() {
        let error = read_value(&json!({ "error": { "code": 429, "message": "slow down" } })).unwrap_err();
        assert_eq!(error, BadReply::Error { status: Some(StatusCode::TOO_MANY_REQUESTS), text: "slow down".to_owned() });
        let error = read_value(&json!({ "error": "broken" })).unwrap_err();
        assert_eq!(error, BadReply::Error { status: None, text: "\"broken\"".to_owned() });
    }

    #[test]
    fn reasoning_in_the_text_is_moved() {
        let split = |text: &str| {
            let (reasoning, content) = split_reasoning(None, text.to_owned());
            (reasoning.unwrap_or_default(), content)
        };
        let pair = |reasoning: &str, content: &str| (reasoning.to_owned(), content.to_owned());
        assert_eq!(split("<think>\nhm\n</think>\n\nyes"), pair("hm", "yes"));
        assert_eq!(split("hm\n</think>yes"), pair("hm", "yes"));
        assert_eq!(split("<think></think>yes"), pair("", "yes"));
        assert_eq!(split("<think>cut off"), pair("cut off", ""));
        assert_eq!(split("the tag <think>a</think> is quoted"), pair("", "the tag <think>a</think> is quoted"));
        assert_eq!(split("plain"), pair("", "plain"));
        let both = split_reasoning(Some("first".to_owned()), "<think>second</think>x".to_owned());
        assert_eq!(both, (Some("first\nsecond".to_owned()), "x".to_owned()));
    }
}
