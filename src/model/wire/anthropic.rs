//! The Messages API of Anthropic: `POST {base_url}/messages`.
//!
//! Its own shape of everything: the system text beside the messages, tools with `input_schema`, calls and results as
//! blocks. Thoughts come as signed blocks and must be sent back as they came, before the call that they led to.

use std::collections::BTreeMap;

use reqwest::Url;
use serde_json::{Map, Value, json};

use super::answer::{check_error, count, filled, joined};
use super::turns::{UsageNames, turns, usage};
use super::{Answer, BadReply, Call, Stream, Wire, append, arguments, system_text};
use crate::model::{ChatRequest, Endpoint, Message, Role, ToolChoice, ToolSpec};

/// The version asked for where the model file names none.
const API_VERSION: &str = "2023-06-01";

/// The API demands a bound; a model file may give another.
const MAX_TOKENS: u32 = 8192;

const USAGE: UsageNames = UsageNames {
    fresh: "input_tokens",
    written: "cache_creation_input_tokens",
    read: "cache_read_input_tokens",
    completion: "output_tokens",
};

/// The format.
#[derive(Debug)]
pub(super) struct Anthropic;

impl Wire for Anthropic {
    fn locate(&self, _endpoint: &Endpoint, url: &mut Url) {
        append(url, self.own_path());
    }

    fn own_path(&self) -> &'static str {
        "/messages"
    }

    fn key_header(&self, key: &str) -> (&'static str, String) {
        ("x-api-key", key.to_owned())
    }

    fn headers(&self, endpoint: &Endpoint) -> Vec<(&'static str, String)> {
        vec![("anthropic-version", endpoint.api_version.clone().unwrap_or_else(|| API_VERSION.to_owned()))]
    }

    fn body(&self, endpoint: &Endpoint, request: &ChatRequest, _schema: Option<&Value>) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(endpoint.model));
        body.insert("max_tokens".to_owned(), json!(MAX_TOKENS));
        let system = system_text(request);
        if !system.is_empty() {
            body.insert("system".to_owned(), json!(system));
        }
        body.insert("messages".to_owned(), turns(request, blocks, text));
        if !request.tools.is_empty() {
            let tool = |t: &ToolSpec| json!({ "name": t.name, "description": t.description, "input_schema": t.parameters });
            body.insert("tools".to_owned(), request.tools.iter().map(tool).collect());
            // A call cannot be demanded of a model that thinks.
            let thinks = endpoint.options.get("thinking").is_some_and(|t| t.get("type").is_some_and(|kind| kind != "disabled"));
            let choice = if request.tool_choice == ToolChoice::Required && !thinks { "any" } else { "auto" };
            body.insert("tool_choice".to_owned(), json!({ "type": choice, "disable_parallel_tool_use": true }));
        }
        if endpoint.stream {
            body.insert("stream".to_owned(), json!(true));
        }
        body
    }

    fn read(&self, reply: &Value) -> Result<Answer, BadReply> {
        check_error(reply)?;
        let blocks = reply.get("content").and_then(Value::as_array).ok_or_else(|| BadReply::lacks("content"))?;
        let mut answer = answer(blocks.iter());
        answer.usage = reply.get("usage").and_then(|u| usage(u, &USAGE));
        answer.finish_reason = filled(reply, "stop_reason");
        Ok(answer)
    }

    fn stream(&self) -> Box<dyn Stream> {
        Box::<Assembly>::default()
    }
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn blocks(message: &Message) -> Vec<Value> {
    let text = (!message.content.trim().is_empty()).then(|| text(message.content.trim_end()));
    match (message.role, &message.tool_call_id) {
        (Role::Tool, Some(id)) => vec![json!({ "type": "tool_result", "tool_use_id": id, "content": message.content })],
        (Role::Assistant, _) => {
            let calls = message
                .tool_calls
                .iter()
                .map(|call| json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": arguments(call) }));
            message.opaque.iter().cloned().chain(text).chain(calls).collect()
        }
        _ => text.into_iter().collect(),
    }
}

fn answer<'a>(blocks: impl Iterator<Item = &'a Value>) -> Answer {
    let mut answer = Answer::default();
    let mut thoughts = Vec::new();
    for block in blocks {
        match block.get("type").and_then(Value::as_str).unwrap_or_default() {
            "text" => answer.content.push_str(block.get("text").and_then(Value::as_str).unwrap_or_default()),
            "tool_use" => answer.calls.push(Call {
                id: filled(block, "id"),
                name: filled(block, "name").unwrap_or_default(),
                arguments: super::answer::arguments_of(block.get("input")),
            }),
            "thinking" | "redacted_thinking" => {
                thoughts.extend(filled(block, "thinking"));
                answer.opaque.push(block.clone());
            }
            _ => {}
        }
    }
    answer.reasoning = joined(&thoughts);
    answer
}

/// A streamed reply: blocks by index, each grown by its deltas.
#[derive(Debug, Default)]
struct Assembly {
    blocks: BTreeMap<u64, Value>,
    /// Arguments of calls come as pieces of JSON text.
    inputs: BTreeMap<u64, String>,
    usage: Map<String, Value>,
    stop_reason: Option<String>,
    done: bool,
}

impl Stream for Assembly {
    fn event(&mut self, event: &Value) -> Result<(), BadReply> {
        check_error(event)?;
        let index = count(event, "/index").unwrap_or(0);
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "message_start" => self.count(event.pointer("/message/usage")),
            "content_block_start" => {
                self.blocks.insert(index, event.get("content_block").cloned().unwrap_or_default());
            }
            "content_block_delta" => self.delta(index, event.get("delta").unwrap_or(&Value::Null)),
            "message_delta" => {
                self.count(event.get("usage"));
                self.stop_reason = event.get("delta").and_then(|delta| filled(delta, "stop_reason")).or(self.stop_reason.take());
            }
            "message_stop" => self.done = true,
            _ => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(mut self: Box<Self>, _ended: bool) -> Option<Answer> {
        self.stop_reason.as_ref()?;
        for (index, input) in std::mem::take(&mut self.inputs) {
            if let Some(block) = self.blocks.get_mut(&index).and_then(Value::as_object_mut) {
                block.insert("input".to_owned(), Value::String(input));
            }
        }
        let mut answer = answer(self.blocks.values());
        answer.usage = usage(&Value::Object(self.usage), &USAGE);
        answer.finish_reason = self.stop_reason;
        Some(answer)
    }
}

impl Assembly {
    /// Later counts replace earlier ones: they are totals.
    fn count(&mut self, usage: Option<&Value>) {
        for (name, value) in usage.and_then(Value::as_object).into_iter().flatten() {
            if !value.is_null() {
                self.usage.insert(name.clone(), value.clone());
            }
        }
    }

    fn delta(&mut self, index: u64, delta: &Value) {
        for (kind, field) in [("text_delta", "text"), ("thinking_delta", "thinking"), ("signature_delta", "signature")] {
            if delta.get("type").is_some_and(|is| is == kind)
                && let (Some(more), Some(block)) = (filled(delta, field), self.blocks.get_mut(&index).and_then(Value::as_object_mut))
            {
                let before = block.get(field).and_then(Value::as_str).unwrap_or_default();
                let whole = format!("{before}{more}");
                block.insert(field.to_owned(), Value::String(whole));
            }
        }
        if let Some(json) = delta.get("partial_json").and_then(Value::as_str) {
            self.inputs.entry(index).or_default().push_str(json);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{assemble, body, conversation};
    use super::*;
    use crate::model::Usage;

    #[test]
    fn the_body_has_the_shape_of_the_api() {
        let mut request = conversation();
        request.messages[2].opaque = vec![json!({ "type": "thinking", "thinking": "hm", "signature": "s" })];
        request.messages.push(Message::new(Role::User, "go on"));
        let body = body(&Anthropic, "", &request);
        assert_eq!((&body["system"], &body["max_tokens"]), (&json!("be good"), &json!(MAX_TOKENS)));
        assert_eq!(body["tools"][0]["input_schema"]["type"], "object");
        assert_eq!(body["tool_choice"], json!({ "type": "any", "disable_parallel_tool_use": true }));
        assert_eq!(
            body["messages"],
            json!([
                { "role": "user", "content": [{ "type": "text", "text": "repair" }] },
                { "role": "assistant", "content": [
                    { "type": "thinking", "thinking": "hm", "signature": "s" },
                    { "type": "tool_use", "id": "c1", "name": "probe", "input": {} },
                ] },
                { "role": "user", "content": [
                    { "type": "tool_result", "tool_use_id": "c1", "content": "three pods" },
                    { "type": "text", "text": "go on" },
                ] },
            ])
        );
        assert!(body.get("seed").is_none() && !body.to_string().contains("private"));
    }

    #[test]
    fn a_model_that_thinks_is_not_forced_to_call() {
        let body = body(&Anthropic, "options = { thinking = { type = 'enabled', budget_tokens = 2048 } }", &conversation());
        assert_eq!(body["tool_choice"]["type"], "auto");
    }

    #[test]
    fn a_reply_is_read_with_its_thoughts_apart() {
        let answer = Anthropic
            .read(&json!({
                "type": "message", "role": "assistant", "stop_reason": "tool_use",
                "content": [
                    { "type": "thinking", "thinking": "hm", "signature": "s" },
                    { "type": "redacted_thinking", "data": "x" },
                    { "type": "text", "text": "I look." },
                    { "type": "tool_use", "id": "t1", "name": "probe", "input": { "cmds": "ls" } },
                ],
                "usage": { "input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 20, "output_tokens": 7 },
            }))
            .unwrap();
        assert_eq!((answer.content.as_str(), answer.reasoning.as_deref(), answer.opaque.len()), ("I look.", Some("hm"), 2));
        assert_eq!(
            answer.calls[0],
            Call { id: Some("t1".to_owned()), name: "probe".to_owned(), arguments: "{\"cmds\":\"ls\"}".to_owned() }
        );
        assert_eq!(answer.usage, Some(Usage { prompt: 35, completion: 7, cached: 20, reasoning: 0, estimated: false }));
        assert!(Anthropic.read(&json!({ "type": "message" })).is_err());
    }

    fn events() -> Vec<Value> {
        vec![
            json!({ "type": "message_start", "message": { "usage": { "input_tokens": 10, "output_tokens": 1 } } }),
            json!({ "type": "ping" }),
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "thinking", "thinking": "", "signature": "" } }),
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "thinking_delta", "thinking": "hm" } }),
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "signature_delta", "signature": "s" } }),
            json!({ "type": "content_block_start", "index": 1, "content_block": { "type": "text", "text": "" } }),
            json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "text_delta", "text": "I " } }),
            json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "text_delta", "text": "look." } }),
            json!({ "type": "content_block_start", "index": 2, "content_block": { "type": "tool_use", "id": "t", "name": "probe", "input": {} } }),
            json!({ "type": "content_block_delta", "index": 2, "delta": { "type": "input_json_delta", "partial_json": "{\"cmds\":" } }),
            json!({ "type": "content_block_delta", "index": 2, "delta": { "type": "input_json_delta", "partial_json": " \"ls\"}" } }),
            json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use" }, "usage": { "output_tokens": 9 } }),
            json!({ "type": "message_stop" }),
        ]
    }

    #[test]
    fn a_stream_is_joined_block_by_block() {
        let answer = assemble(&Anthropic, &events()).unwrap().unwrap();
        assert_eq!((answer.content.as_str(), answer.reasoning.as_deref()), ("I look.", Some("hm")));
        assert_eq!(answer.opaque, [json!({ "type": "thinking", "thinking": "hm", "signature": "s" })]);
        assert_eq!((answer.calls[0].name.as_str(), answer.calls[0].arguments.as_str()), ("probe", "{\"cmds\": \"ls\"}"));
        assert_eq!(answer.usage.unwrap(), Usage { prompt: 10, completion: 9, ..Usage::default() });
        assert_eq!(assemble(&Anthropic, &events()[..11]), Ok(None), "cut off");
        let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "busy" } });
        assert!(assemble(&Anthropic, &[error]).is_err());
    }
}
