//! Reading a whole reply of the chat-completions API.
//!
//! Input: the body. Output: an [`Answer`]; what servers spell differently (content in parts, arguments as an object,
//! reasoning under several names, numbers as text) is levelled here.

use serde_json::Value;

use super::super::answer::{arguments_of, check_error, count, filled, text_of};
use super::{Answer, BadReply};
use crate::model::Usage;
use crate::model::wire::Call;

/// Reads a body that is one JSON object.
pub(super) fn read(reply: &Value) -> Result<Answer, BadReply> {
    check_error(reply)?;
    let choice = reply.pointer("/choices/0").ok_or_else(|| BadReply::lacks("choices"))?;
    let message = choice.get("message").filter(|message| message.is_object()).ok_or_else(|| BadReply::lacks("message"))?;
    let calls = message.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Ok(Answer {
        content: text_of(message.get("content")),
        reasoning: reasoning_of(message),
        calls: calls.iter().map(call_of).collect(),
        opaque: details_of(message),
        usage: usage_of(reply.get("usage")),
        finish_reason: choice.get("finish_reason").and_then(Value::as_str).map(str::to_owned),
    })
}

/// Reasoning given apart from the answer, under either of its names.
pub(super) fn reasoning_of(message: &Value) -> Option<String> {
    ["reasoning_content", "reasoning"].iter().map(|name| text_of(message.get(name))).find(|text| !text.is_empty())
}

/// Signed or encrypted reasoning that a gateway wants back.
pub(super) fn details_of(message: &Value) -> Vec<Value> {
    message.get("reasoning_details").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn call_of(call: &Value) -> Call {
    let function = call.get("function").unwrap_or(call);
    Call {
        id: filled(call, "id"),
        name: function.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        arguments: arguments_of(function.get("arguments")),
    }
}

/// Token counts, where both main ones were reported.
pub(super) fn usage_of(usage: Option<&Value>) -> Option<Usage> {
    let usage = usage?;
    let count = |pointer: &str| count(usage, pointer);
    Some(Usage {
        prompt: count("/prompt_tokens")?,
        completion: count("/completion_tokens")?,
        cached: count("/prompt_tokens_details/cached_tokens").or_else(|| count("/prompt_cache_hit_tokens")).unwrap_or(0),
        reasoning: count("/completion_tokens_details/reasoning_tokens").unwrap_or(0),
        estimated: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_shapes_of_content_arguments_and_reasoning_are_read() {
        let answer = read(&json!({
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
        assert_eq!(read(&reply).unwrap(), Answer::default());
    }

    #[test]
    fn replies_without_an_answer_are_malformed() {
        for (body, part) in [(json!({}), "no choices"), (json!({ "choices": [{}] }), "no message")] {
            let BadReply::Malformed(text) = read(&body).unwrap_err() else { panic!("{body}") };
            assert!(text.contains(part), "{text}");
        }
    }
}
