//! Proper answers of every format. Input: the address, and what to say; output: the whole reply, and the same as events.

use serde_json::{Value, json};

/// What the model says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Say<'a> {
    /// A call with these arguments, whether they are JSON or not.
    Call(&'a str),
    /// Words.
    Text(&'a str),
}

/// An answer in the format that `path` belongs to, whole and as events. Every answer counts 5 tokens in, 7 out.
pub(super) fn answer(path: &str, say: Say<'_>) -> (Value, Vec<Value>) {
    if path.contains("/converse") {
        bedrock(say)
    } else if path.ends_with("/messages") {
        messages(say)
    } else if path.ends_with("/responses") {
        responses(say)
    } else if path.contains("enerateContent") {
        gemini(say)
    } else {
        completions(say)
    }
}

/// Arguments for formats that carry them as an object: what is no JSON is a string there.
fn object(arguments: &str) -> Value {
    serde_json::from_str(arguments).unwrap_or_else(|_| json!(arguments))
}

fn bedrock(say: Say<'_>) -> (Value, Vec<Value>) {
    let (block, reason) = match say {
        Say::Call(arguments) => (json!({ "toolUse": { "toolUseId": "t", "name": "play", "input": object(arguments) } }), "tool_use"),
        Say::Text(text) => (json!({ "text": text }), "end_turn"),
    };
    let message = json!({ "role": "assistant", "content": [block] });
    let usage = json!({ "inputTokens": 5, "outputTokens": 7, "totalTokens": 12 });
    (json!({ "output": { "message": message }, "stopReason": reason, "usage": usage, "metrics": { "latencyMs": 1 } }), Vec::new())
}

fn messages(say: Say<'_>) -> (Value, Vec<Value>) {
    let (block, start, delta, reason) = match say {
        Say::Call(arguments) => (
            json!({ "type": "tool_use", "id": "t", "name": "play", "input": object(arguments) }),
            json!({ "type": "tool_use", "id": "t", "name": "play", "input": {} }),
            json!({ "type": "input_json_delta", "partial_json": arguments }),
            "tool_use",
        ),
        Say::Text(text) => (
            json!({ "type": "text", "text": text }),
            json!({ "type": "text", "text": "" }),
            json!({ "type": "text_delta", "text": text }),
            "end_turn",
        ),
    };
    let usage = json!({ "input_tokens": 5, "output_tokens": 7 });
    let whole = json!({ "type": "message", "content": [block], "stop_reason": reason, "usage": usage });
    let events = vec![
        json!({ "type": "message_start", "message": { "usage": { "input_tokens": 5, "output_tokens": 1 } } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": start }),
        json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
        json!({ "type": "message_delta", "delta": { "stop_reason": reason }, "usage": { "output_tokens": 7 } }),
        json!({ "type": "message_stop" }),
    ];
    (whole, events)
}

fn responses(say: Say<'_>) -> (Value, Vec<Value>) {
    let item = match say {
        Say::Call(arguments) => json!({ "type": "function_call", "call_id": "t", "name": "play", "arguments": arguments }),
        Say::Text(text) => json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": text }] }),
    };
    let whole = json!({ "status": "completed", "output": [item], "usage": { "input_tokens": 5, "output_tokens": 7 } });
    let events = vec![json!({ "type": "response.created" }), json!({ "type": "response.completed", "response": whole })];
    (whole, events)
}

fn gemini(say: Say<'_>) -> (Value, Vec<Value>) {
    let part = match say {
        Say::Call(arguments) => json!({ "functionCall": { "name": "play", "args": object(arguments) } }),
        Say::Text(text) => json!({ "text": text }),
    };
    let usage = json!({ "promptTokenCount": 5, "candidatesTokenCount": 7 });
    let whole = json!({ "candidates": [{ "content": { "parts": [part] }, "finishReason": "STOP" }], "usageMetadata": usage });
    let start = json!({ "candidates": [{ "content": { "parts": [part] } }] });
    let events = vec![start, json!({ "candidates": [{ "content": {}, "finishReason": "STOP" }], "usageMetadata": usage })];
    (whole, events)
}

fn completions(say: Say<'_>) -> (Value, Vec<Value>) {
    let (message, reason) = match say {
        Say::Call(arguments) => {
            let call = json!({ "index": 0, "id": "t", "function": { "name": "play", "arguments": arguments } });
            (json!({ "content": null, "tool_calls": [call] }), "tool_calls")
        }
        Say::Text(text) => (json!({ "content": text }), "stop"),
    };
    let usage = json!({ "prompt_tokens": 5, "completion_tokens": 7 });
    let whole = json!({ "choices": [{ "message": message, "finish_reason": reason }], "usage": usage });
    let events = vec![
        json!({ "choices": [{ "delta": message }] }),
        json!({ "choices": [{ "delta": {}, "finish_reason": reason }] }),
        json!({ "choices": [], "usage": usage }),
    ];
    (whole, events)
}
