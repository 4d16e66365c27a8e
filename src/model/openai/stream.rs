//! Reading a reply that comes as server-sent events.
//!
//! Input: the bytes as they arrive. Output: an [`Answer`], with tool calls joined from their fragments by index. A
//! stream that ends before the model did is no answer.

use std::collections::BTreeMap;

use serde_json::Value;

use super::reply::{self, Answer, BadReply, Call};

/// A reply under construction.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// Bytes of a line whose end has not come yet.
    line: Vec<u8>,
    answer: Answer,
    calls: BTreeMap<u64, Call>,
    done: bool,
}

impl Assembly {
    /// Takes the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), BadReply> {
        let mut parts = bytes.split(|byte| *byte == b'\n');
        if let Some(first) = parts.next() {
            self.line.extend_from_slice(first);
        }
        for next in parts {
            let line = std::mem::replace(&mut self.line, next.to_vec());
            self.line(&line)?;
        }
        Ok(())
    }

    /// Whether the server said that nothing more comes.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The answer, provided that the stream is complete.
    pub(super) fn finish(mut self) -> Result<Answer, BadReply> {
        let rest = std::mem::take(&mut self.line);
        self.line(&rest)?;
        if !self.done && self.answer.finish_reason.is_none() {
            return Err(BadReply::Malformed("the stream ended before the answer did".to_owned()));
        }
        self.answer.calls = self.calls.into_values().collect();
        Ok(self.answer)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), BadReply> {
        // Comments, event names and empty lines carry nothing that is needed.
        let Some(data) = line.strip_prefix(b"data:") else { return Ok(()) };
        let data = data.trim_ascii();
        if data.is_empty() || self.done {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let event: Value =
            serde_json::from_slice(data).map_err(|error| BadReply::Malformed(format!("an event of the stream is no JSON: {error}")))?;
        reply::check_error(&event)?;
        if let Some(usage) = reply::usage_of(event.get("usage")) {
            self.answer.usage = Some(usage);
        }
        let Some(choice) = event.pointer("/choices/0") else { return Ok(()) };
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            self.answer.finish_reason = Some(reason.to_owned());
        }
        if let Some(delta) = choice.get("delta") {
            self.delta(delta);
        }
        Ok(())
    }

    fn delta(&mut self, delta: &Value) {
        self.answer.content.push_str(&reply::text_of(delta.get("content")));
        if let Some(reasoning) = reply::reasoning_of(delta) {
            self.answer.reasoning.get_or_insert_default().push_str(&reasoning);
        }
        for fragment in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            self.fragment(fragment);
        }
    }

    fn fragment(&mut self, fragment: &Value) {
        let id = fragment.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
        let last = self.calls.keys().next_back().copied();
        // Some servers leave the index out: then an id that is new opens a call.
        let index = fragment.get("index").and_then(Value::as_u64).unwrap_or_else(|| match (id, last) {
            (_, None) => 0,
            (Some(id), Some(last)) if self.calls.get(&last).is_some_and(|call| call.id.as_deref() != Some(id)) => last.saturating_add(1),
            (_, Some(last)) => last,
        });
        let call = self.calls.entry(index).or_default();
        if call.id.is_none() {
            call.id = id.map(str::to_owned);
        }
        let function = fragment.get("function").unwrap_or(&Value::Null);
        // Some servers repeat the name in every fragment.
        if let Some(name) = function.get("name").and_then(Value::as_str).filter(|name| *name != call.name) {
            call.name.push_str(name);
        }
        call.arguments.push_str(&reply::arguments_of(function.get("arguments")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(delta: &Value, finish_reason: Option<&str>) -> String {
        format!("data: {}\n\n", json!({ "choices": [{ "delta": delta, "finish_reason": finish_reason }] }))
    }

    fn assemble(text: &str, chunk: usize) -> Result<Answer, BadReply> {
        let mut assembly = Assembly::default();
        for bytes in text.as_bytes().chunks(chunk) {
            assembly.feed(bytes)?;
        }
        assembly.finish()
    }

    fn whole() -> String {
        [
            ": keep-alive\r\n\r\n".to_owned(),
            event(&json!({ "role": "assistant", "content": "" }), None),
            event(&json!({ "reasoning_content": "h" }), None),
            event(&json!({ "reasoning_content": "m" }), None),
            event(&json!({ "content": "grüß" }), None),
            event(&json!({ "tool_calls": [{ "index": 1, "id": "b", "function": { "name": "u", "arguments": "{}" } }] }), None),
            event(&json!({ "tool_calls": [{ "index": 0, "id": "a", "function": { "name": "t", "arguments": "{\"x\"" } }] }), None),
            event(&json!({ "tool_calls": [{ "index": 0, "function": { "arguments": ": 1}" } }] }), None),
            event(&json!({}), Some("tool_calls")),
            format!("data: {}\n\n", json!({ "choices": [], "usage": { "prompt_tokens": 3, "completion_tokens": 2 } })),
            "data: [DONE]\n\n".to_owned(),
        ]
        .concat()
    }

    #[test]
    fn fragments_are_joined_by_index_however_the_bytes_arrive() {
        for chunk in [1, 7, 100_000] {
            let answer = assemble(&whole(), chunk).unwrap();
            assert_eq!(answer.content, "grüß");
            assert_eq!(answer.reasoning.as_deref(), Some("hm"));
            assert_eq!(answer.calls.len(), 2);
            assert_eq!((answer.calls[0].name.as_str(), answer.calls[0].arguments.as_str()), ("t", "{\"x\": 1}"));
            assert_eq!(answer.calls[1].id.as_deref(), Some("b"));
            assert_eq!(answer.usage.unwrap().prompt, 3);
            assert_eq!(answer.finish_reason.as_deref(), Some("tool_calls"));
        }
    }

    #[test]
    fn fragments_without_index_are_told_apart_by_id() {
        let text = [
            event(&json!({ "tool_calls": [{ "id": "a", "function": { "name": "t", "arguments": "{\"x\"" } }] }), None),
            event(&json!({ "tool_calls": [{ "id": "a", "function": { "name": "t", "arguments": ":1}" } }] }), None),
            event(&json!({ "tool_calls": [{ "id": "b", "function": { "name": "t", "arguments": {} } }] }), Some("stop")),
        ]
        .concat();
        let answer = assemble(&text, 50).unwrap();
        let calls: Vec<_> = answer.calls.iter().map(|call| (call.name.as_str(), call.arguments.as_str())).collect();
        assert_eq!(calls, [("t", "{\"x\":1}"), ("t", "{}")]);
    }

    #[test]
    fn a_stream_that_ends_early_is_no_answer() {
        let text = event(&json!({ "content": "half" }), None);
        assert!(matches!(assemble(&text, 10), Err(BadReply::Malformed(text)) if text.contains("ended before")));
        let cut = whole().replace("data: [DONE]\n\n", "");
        assert!(assemble(&cut, 10).is_ok(), "a finish reason ends it as well");
        let torn = "data: {\"choices\": [{\"del";
        assert!(matches!(assemble(torn, 10), Err(BadReply::Malformed(text)) if text.contains("no JSON")));
    }

    #[test]
    fn errors_in_the_stream_are_errors() {
        let text = format!("data: {}\n\n", json!({ "error": { "message": "overloaded" } }));
        assert_eq!(assemble(&text, 10), Err(BadReply::Error { status: None, text: "overloaded".to_owned() }));
    }
}
