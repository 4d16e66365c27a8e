//! Reading a reply that comes as server-sent events.
//!
//! Input: the events' data. Output: an [`Answer`], with tool calls joined from their fragments by index. A stream that
//! ends before the model did is no answer.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::answer::{arguments_of, check_error, text_of};
use super::{Answer, BadReply, Stream, reply};
use crate::model::wire::Call;

/// A reply under construction.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    answer: Answer,
    calls: BTreeMap<u64, Call>,
}

impl Stream for Assembly {
    fn event(&mut self, event: &Value) -> Result<(), BadReply> {
        check_error(event)?;
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

    /// Usage comes after the last choice: only `[DONE]` or the end of the body says that nothing more does.
    fn is_done(&self) -> bool {
        false
    }

    fn finish(mut self: Box<Self>, ended: bool) -> Option<Answer> {
        if !ended && self.answer.finish_reason.is_none() {
            return None;
        }
        self.answer.calls = self.calls.into_values().collect();
        Some(self.answer)
    }
}

impl Assembly {
    fn delta(&mut self, delta: &Value) {
        self.answer.content.push_str(&text_of(delta.get("content")));
        if let Some(reasoning) = reply::reasoning_of(delta) {
            self.answer.reasoning.get_or_insert_default().push_str(&reasoning);
        }
        self.answer.opaque.extend(reply::details_of(delta));
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
        call.arguments.push_str(&arguments_of(function.get("arguments")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(delta: &Value, finish_reason: Option<&str>) -> Value {
        json!({ "choices": [{ "delta": delta, "finish_reason": finish_reason }] })
    }

    fn assemble(events: &[Value]) -> Result<Option<Answer>, BadReply> {
        let mut assembly = Box::<Assembly>::default();
        for event in events {
            assembly.event(event)?;
        }
        Ok(assembly.finish(false))
    }

    #[test]
    fn fragments_are_joined_by_index() {
        let answer = assemble(&[
            event(&json!({ "role": "assistant", "content": "" }), None),
            event(&json!({ "reasoning_content": "h" }), None),
            event(&json!({ "reasoning_content": "m" }), None),
            event(&json!({ "content": "grüß" }), None),
            event(&json!({ "tool_calls": [{ "index": 1, "id": "b", "function": { "name": "u", "arguments": "{}" } }] }), None),
            event(&json!({ "tool_calls": [{ "index": 0, "id": "a", "function": { "name": "t", "arguments": "{\"x\"" } }] }), None),
            event(&json!({ "tool_calls": [{ "index": 0, "function": { "arguments": ": 1}" } }] }), None),
            event(&json!({}), Some("tool_calls")),
            json!({ "choices": [], "usage": { "prompt_tokens": 3, "completion_tokens": 2 } }),
        ]);
        let answer = answer.unwrap().unwrap();
        assert_eq!((answer.content.as_str(), answer.reasoning.as_deref()), ("grüß", Some("hm")));
        assert_eq!(answer.calls.len(), 2);
        assert_eq!((answer.calls[0].name.as_str(), answer.calls[0].arguments.as_str()), ("t", "{\"x\": 1}"));
        assert_eq!(answer.calls[1].id.as_deref(), Some("b"));
        assert_eq!(answer.usage.unwrap().prompt, 3);
        assert_eq!(answer.finish_reason.as_deref(), Some("tool_calls"));
    }

    #[test]
    fn fragments_without_index_are_told_apart_by_id() {
        let answer = assemble(&[
            event(&json!({ "tool_calls": [{ "id": "a", "function": { "name": "t", "arguments": "{\"x\"" } }] }), None),
            event(&json!({ "tool_calls": [{ "id": "a", "function": { "name": "t", "arguments": ":1}" } }] }), None),
            event(&json!({ "tool_calls": [{ "id": "b", "function": { "name": "t", "arguments": {} } }] }), Some("stop")),
        ]);
        let answer = answer.unwrap().unwrap();
        let calls: Vec<_> = answer.calls.iter().map(|call| (call.name.as_str(), call.arguments.as_str())).collect();
        assert_eq!(calls, [("t", "{\"x\":1}"), ("t", "{}")]);
    }

    #[test]
    fn a_stream_that_ends_early_is_no_answer() {
        assert_eq!(assemble(&[event(&json!({ "content": "half" }), None)]), Ok(None));
    }

    #[test]
    fn errors_in_the_stream_are_errors() {
        let error = assemble(&[json!({ "error": { "message": "overloaded" } })]);
        assert_eq!(error, Err(BadReply::Error { status: None, text: "overloaded".to_owned() }));
    }
}
