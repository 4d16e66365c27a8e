//! The body of a request.
//!
//! Input: the conversation in our shape. Output: JSON of the chat-completions API.

use serde_json::{Map, Value, json};

use crate::model::{ChatRequest, Endpoint, Message, ToolCall, ToolChoice, ToolSpec};

/// The request body, options apart.
pub(super) fn body(endpoint: &Endpoint, request: &ChatRequest, schema: Option<&Value>) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(endpoint.model));
    body.insert("messages".to_owned(), request.messages.iter().map(message).collect());
    if !request.tools.is_empty() {
        body.insert("tools".to_owned(), tools(request));
        let choice = match request.tool_choice {
            ToolChoice::Auto => "auto",
            ToolChoice::Required => "required",
        };
        body.insert("tool_choice".to_owned(), json!(choice));
    }
    if let Some(schema) = schema {
        let format = json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema } });
        body.insert("response_format".to_owned(), format);
    }
    if endpoint.stream {
        body.insert("stream".to_owned(), json!(true));
        body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    if let Some(seed) = request.seed {
        body.insert("seed".to_owned(), json!(seed));
    }
    body
}

fn tools(request: &ChatRequest) -> Value {
    let function = |tool: &ToolSpec| json!({ "type": "function", "function": { "name": tool.name, "description": tool.description, "parameters": tool.parameters } });
    request.tools.iter().map(function).collect()
}

fn message(message: &Message) -> Value {
    let mut out = Map::new();
    out.insert("role".to_owned(), json!(message.role));
    let no_text = message.content.is_empty() && !message.tool_calls.is_empty();
    out.insert("content".to_owned(), if no_text { Value::Null } else { json!(message.content) });
    if !message.tool_calls.is_empty() {
        out.insert("tool_calls".to_owned(), message.tool_calls.iter().map(call).collect());
    }
    if !message.opaque.is_empty() {
        out.insert("reasoning_details".to_owned(), json!(message.opaque));
    }
    if let Some(id) = &message.tool_call_id {
        out.insert("tool_call_id".to_owned(), json!(id));
    }
    Value::Object(out)
}

fn call(call: &ToolCall) -> Value {
    let arguments = match &call.arguments {
        Ok(_) => call.arguments_text(),
        // Many servers parse the arguments of earlier calls and fail on what is no JSON.
        Err(malformed) => json!({ "malformed_arguments": malformed.text }).to_string(),
    };
    json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": arguments } })
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{conversation, endpoint};
    use super::*;
    use crate::model::{MalformedArguments, Role};

    #[test]
    fn the_native_body_has_tools_and_seed() {
        let body = Value::Object(body(&endpoint("stream = true"), &conversation(), None));
        assert_eq!(body["tools"][0]["function"]["name"], "probe");
        assert_eq!(body["tool_choice"], "required");
        assert_eq!(body["seed"], 7);
        assert_eq!(body["stream_options"], json!({ "include_usage": true }));
        assert_eq!(body["messages"][2]["content"], Value::Null);
        assert_eq!(body["messages"][2]["tool_calls"][0]["function"]["arguments"], "{}");
        assert_eq!(body["messages"][3], json!({ "role": "tool", "content": "three pods", "tool_call_id": "c1" }));
        let text = body.to_string();
        assert!(!text.contains("private") && !text.contains("secret repair"), "{text}");
    }

    #[test]
    fn plain_requests_send_nothing_that_was_not_asked_for() {
        let request = ChatRequest { messages: vec![Message::new(Role::User, "hi")], ..ChatRequest::default() };
        let body = Value::Object(body(&endpoint(""), &request, None));
        assert_eq!(body, json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] }));
    }

    #[test]
    fn malformed_arguments_are_sent_as_json() {
        let malformed = MalformedArguments { text: "{\"a".to_owned(), error: "EOF".to_owned() };
        let sent = call(&ToolCall { id: "c".to_owned(), name: "t".to_owned(), arguments: Err(malformed) });
        let arguments: Value = serde_json::from_str(sent["function"]["arguments"].as_str().unwrap()).unwrap();
        assert_eq!(arguments, json!({ "malformed_arguments": "{\"a" }));
    }
}
