//! A conversation and an endpoint for the tests of all formats.

use serde_json::{Map, Value, json};

use super::{Answer, BadReply, Wire};
use crate::model::{ChatRequest, Endpoint, Message, Role, ToolCall, ToolSpec};

pub(super) fn endpoint(more: &str) -> Endpoint {
    toml::from_str(&format!("base_url = 'http://127.0.0.1:1/v1'\nmodel = 'm'\n{more}")).unwrap()
}

/// System, user, a call, its result.
pub(super) fn conversation() -> ChatRequest {
    let mut assistant = Message::new(Role::Assistant, "");
    assistant.reasoning = Some("private".to_owned());
    assistant.tool_calls.push(ToolCall { id: "c1".to_owned(), name: "probe".to_owned(), arguments: Ok(Map::new()) });
    let mut result = Message::new(Role::Tool, "three pods");
    result.tool_call_id = Some("c1".to_owned());
    ChatRequest {
        messages: vec![Message::new(Role::System, "be good"), Message::new(Role::User, "repair"), assistant, result],
        tools: vec![ToolSpec {
            name: "probe".to_owned(),
            description: "looks".to_owned(),
            parameters: json!({ "type": "object", "properties": { "cmds": { "type": "string" } }, "additionalProperties": false }),
        }],
        seed: Some(7),
        reference: json!({ "gold": "secret repair" }),
        ..ChatRequest::default()
    }
}

pub(super) fn body(wire: &dyn Wire, more: &str, request: &ChatRequest) -> Value {
    Value::Object(wire.body(&endpoint(more), request, None))
}

/// What a stream of these events yields.
pub(super) fn assemble(wire: &dyn Wire, events: &[Value]) -> Result<Option<Answer>, BadReply> {
    let mut stream = wire.stream();
    for event in events {
        stream.event(event)?;
    }
    Ok(stream.finish(false))
}
