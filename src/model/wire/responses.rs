//! The Responses API of `OpenAI`: `POST {base_url}/responses`.
//!
//! A conversation is a list of items: messages, calls, their outputs and reasoning. Nothing is stored at the provider;
//! encrypted reasoning is asked for where the model file sets `reasoning`, and sent back.

use reqwest::Url;
use serde_json::{Map, Value, json};

use super::answer::{check_error, count, filled, joined};
use super::{Answer, BadReply, Call, Stream, Wire, append};
use crate::model::{ChatRequest, Endpoint, Message, Role, ToolCall, ToolChoice, ToolSpec, Usage};

/// The format.
#[derive(Debug)]
pub(super) struct Responses;

impl Wire for Responses {
    fn locate(&self, _endpoint: &Endpoint, url: &mut Url) {
        append(url, self.own_path());
    }

    fn own_path(&self) -> &'static str {
        "/responses"
    }

    fn key_header(&self, key: &str) -> (&'static str, String) {
        ("authorization", format!("Bearer {key}"))
    }

    fn headers(&self, _endpoint: &Endpoint) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn body(&self, endpoint: &Endpoint, request: &ChatRequest, schema: Option<&Value>) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(endpoint.model));
        body.insert("input".to_owned(), request.messages.iter().flat_map(items).collect());
        body.insert("store".to_owned(), json!(false));
        if !request.tools.is_empty() {
            let tool = |t: &ToolSpec| json!({ "type": "function", "name": t.name, "description": t.description, "parameters": t.parameters, "strict": false });
            body.insert("tools".to_owned(), request.tools.iter().map(tool).collect());
            let choice = if request.tool_choice == ToolChoice::Required { "required" } else { "auto" };
            body.insert("tool_choice".to_owned(), json!(choice));
            body.insert("parallel_tool_calls".to_owned(), json!(false));
        }
        if let Some(schema) = schema {
            body.insert(
                "text".to_owned(),
                json!({ "format": { "type": "json_schema", "name": "answer", "schema": schema, "strict": false } }),
            );
        }
        if endpoint.options.contains_key("reasoning") {
            body.insert("include".to_owned(), json!(["reasoning.encrypted_content"]));
        }
        if endpoint.stream {
            body.insert("stream".to_owned(), json!(true));
        }
        body
    }

    fn constrains(&self) -> bool {
        true
    }

    fn read(&self, reply: &Value) -> Result<Answer, BadReply> {
        check_error(reply)?;
        let items = reply.get("output").and_then(Value::as_array).ok_or_else(|| BadReply::lacks("output"))?;
        let mut answer = Answer::default();
        let mut thoughts = Vec::new();
        for item in items {
            match item.get("type").and_then(Value::as_str).unwrap_or_default() {
                "message" => {
                    for part in item.get("content").and_then(Value::as_array).into_iter().flatten() {
                        answer.content.push_str(&filled(part, "text").or_else(|| filled(part, "refusal")).unwrap_or_default());
                    }
                }
                "function_call" => answer.calls.push(Call {
                    id: filled(item, "call_id"),
                    name: filled(item, "name").unwrap_or_default(),
                    arguments: super::answer::arguments_of(item.get("arguments")),
                }),
                "reasoning" => {
                    let parts = ["summary", "content"].iter().filter_map(|key| item.get(*key)?.as_array()).flatten();
                    thoughts.extend(parts.filter_map(|part| filled(part, "text")));
                    answer.opaque.extend(kept(item));
                }
                _ => {}
            }
        }
        answer.reasoning = joined(&thoughts);
        answer.usage = reply.get("usage").and_then(usage);
        let why = reply.get("incomplete_details").and_then(|details| filled(details, "reason"));
        answer.finish_reason = why.or_else(|| filled(reply, "status"));
        Ok(answer)
    }

    fn stream(&self) -> Box<dyn Stream> {
        Box::<Whole>::default()
    }
}

/// Reasoning can be sent back only where it carries itself.
fn kept(item: &Value) -> Option<Value> {
    let encrypted = filled(item, "encrypted_content")?;
    let summary = item.get("summary").cloned().unwrap_or_else(|| json!([]));
    Some(json!({ "type": "reasoning", "id": item.get("id"), "summary": summary, "encrypted_content": encrypted }))
}

fn items(message: &Message) -> Vec<Value> {
    let text = || json!({ "role": message.role, "content": message.content });
    match (message.role, &message.tool_call_id) {
        (Role::Tool, Some(id)) => vec![json!({ "type": "function_call_output", "call_id": id, "output": message.content })],
        (Role::Tool, None) => vec![json!({ "role": "user", "content": message.content })],
        (Role::Assistant, _) => {
            let said = (!message.content.is_empty()).then(text);
            message.opaque.iter().cloned().chain(said).chain(message.tool_calls.iter().map(call)).collect()
        }
        _ => vec![text()],
    }
}

fn call(call: &ToolCall) -> Value {
    json!({ "type": "function_call", "call_id": call.id, "name": call.name, "arguments": super::arguments(call).to_string() })
}

fn usage(usage: &Value) -> Option<Usage> {
    Some(Usage {
        prompt: count(usage, "/input_tokens")?,
        completion: count(usage, "/output_tokens")?,
        cached: count(usage, "/input_tokens_details/cached_tokens").unwrap_or(0),
        reasoning: count(usage, "/output_tokens_details/reasoning_tokens").unwrap_or(0),
        estimated: false,
    })
}

/// A streamed reply: its last event holds the whole.
#[derive(Debug, Default)]
struct Whole {
    answer: Option<Answer>,
}

impl Stream for Whole {
    fn event(&mut self, event: &Value) -> Result<(), BadReply> {
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "response.completed" | "response.incomplete" => {
                self.answer = Some(Responses.read(event.get("response").unwrap_or(&Value::Null))?);
                Ok(())
            }
            "response.failed" => {
                check_error(event.get("response").unwrap_or(&Value::Null))?;
                Err(BadReply::Malformed("the answer failed".to_owned()))
            }
            // An error event is flat.
            "error" => check_error(&json!({ "error": event.get("error").unwrap_or(event) })),
            _ => check_error(event),
        }
    }

    fn is_done(&self) -> bool {
        self.answer.is_some()
    }

    fn finish(self: Box<Self>, _ended: bool) -> Option<Answer> {
        self.answer
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{assemble, body, conversation};
    use super::*;

    #[test]
    fn the_body_has_the_shape_of_the_api() {
        let mut request = conversation();
        request.messages[2].opaque = vec![json!({ "type": "reasoning", "encrypted_content": "x" })];
        let body = body(&Responses, "options = { reasoning = { effort = 'low' } }", &request);
        assert_eq!((&body["store"], &body["tool_choice"]), (&json!(false), &json!("required")));
        assert_eq!(body["tools"][0]["name"], "probe");
        assert_eq!(body["include"], json!(["reasoning.encrypted_content"]));
        assert_eq!(
            body["input"],
            json!([
                { "role": "system", "content": "be good" },
                { "role": "user", "content": "repair" },
                { "type": "reasoning", "encrypted_content": "x" },
                { "type": "function_call", "call_id": "c1", "name": "probe", "arguments": "{}" },
                { "type": "function_call_output", "call_id": "c1", "output": "three pods" },
            ])
        );
    }

    fn response() -> Value {
        json!({
            "status": "completed", "error": null, "incomplete_details": null,
            "output": [
                { "type": "reasoning", "id": "r", "summary": [{ "type": "summary_text", "text": "hm" }], "encrypted_content": "x", "status": null },
                { "type": "message", "content": [{ "type": "output_text", "text": "I look." }] },
                { "type": "function_call", "call_id": "f", "name": "probe", "arguments": "{\"cmds\": \"ls\"}" },
            ],
            "usage": { "input_tokens": 10, "output_tokens": 5, "input_tokens_details": { "cached_tokens": 4 }, "output_tokens_details": { "reasoning_tokens": 3 } },
        })
    }

    #[test]
    fn a_reply_is_read_whole_and_streamed() {
        let whole = Responses.read(&response()).unwrap();
        assert_eq!((whole.content.as_str(), whole.reasoning.as_deref()), ("I look.", Some("hm")));
        assert_eq!((whole.calls[0].id.as_deref(), whole.opaque.len()), (Some("f"), 1));
        assert_eq!(whole.usage, Some(Usage { prompt: 10, completion: 5, cached: 4, reasoning: 3, estimated: false }));
        let events = [
            json!({ "type": "response.output_text.delta", "delta": "I" }),
            json!({ "type": "response.completed", "response": response() }),
        ];
        assert_eq!(assemble(&Responses, &events).unwrap(), Some(whole));
        assert_eq!(assemble(&Responses, &events[..1]), Ok(None));
    }

    #[test]
    fn failures_are_errors_and_cut_answers_are_answers() {
        let failed = json!({ "type": "response.failed", "response": { "error": { "code": "server_error", "message": "oh" } } });
        assert!(assemble(&Responses, &[failed]).is_err());
        assert!(assemble(&Responses, &[json!({ "type": "error", "code": "rate_limit_exceeded", "message": "slow" })]).is_err());
        let cut = json!({ "status": "incomplete", "incomplete_details": { "reason": "max_output_tokens" }, "output": [] });
        assert_eq!(Responses.read(&cut).unwrap().finish_reason.as_deref(), Some("max_output_tokens"));
    }
}
