//! The body of a request.
//!
//! Input: the conversation in our shape. Output: JSON of the chat-completions API. For servers without tool calling the
//! tools are described in the text; that text exists in the request only, the conversation is never changed.

use serde_json::{Map, Value, json};

use super::{ChatRequest, Message, OpenAi, Role, ToolCall, dialect};
use crate::model::ToolChoice;

/// The request body. `as_text`: tools are described and answered in the text.
pub(super) fn body(endpoint: &OpenAi, request: &ChatRequest, as_text: bool) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(endpoint.model));
    if as_text {
        body.insert("messages".to_owned(), text_messages(request).iter().map(message).collect());
    } else {
        body.insert("messages".to_owned(), request.messages.iter().map(message).collect());
        if !request.tools.is_empty() {
            body.insert("tools".to_owned(), tools(request));
            let choice = match request.tool_choice {
                ToolChoice::Auto => "auto",
                ToolChoice::Required => "required",
            };
            body.insert("tool_choice".to_owned(), json!(choice));
        }
    }
    if endpoint.stream {
        body.insert("stream".to_owned(), json!(true));
        body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    if let Some(seed) = request.seed {
        body.insert("seed".to_owned(), json!(seed));
    }
    for (name, value) in &endpoint.options {
        body.insert(name.clone(), value.clone());
    }
    Value::Object(body)
}

fn tools(request: &ChatRequest) -> Value {
    let function = |tool: &crate::model::ToolSpec| json!({ "type": "function", "function": { "name": tool.name, "description": tool.description, "parameters": tool.parameters } });
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

/// The conversation for a server that knows no tools: descriptions in the system message, results as user messages.
/// Neighbours of one role are joined, since many chat templates insist on turns.
fn text_messages(request: &ChatRequest) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::new();
    let described = dialect::describe(&request.tools, request.tool_choice);
    if !described.is_empty() && request.messages.first().is_none_or(|first| first.role != Role::System) {
        out.push(Message::new(Role::System, described.as_str()));
    }
    for (index, message) in request.messages.iter().enumerate() {
        let mut next = match message.role {
            Role::Tool => Message::new(Role::User, dialect::describe_result(&message.content)),
            Role::Assistant => Message::new(Role::Assistant, assistant_text(message)),
            role => Message::new(role, message.content.as_str()),
        };
        if index == 0 && next.role == Role::System && !described.is_empty() {
            next.content = format!("{}\n\n{described}", next.content);
        }
        match out.last_mut() {
            Some(last) if last.role == next.role => last.content = format!("{}\n\n{}", last.content, next.content),
            _ => out.push(next),
        }
    }
    out
}

/// What the assistant said. Calls that were found in its text are still there; others are written out.
fn assistant_text(message: &Message) -> String {
    if !message.content.is_empty() {
        return message.content.clone();
    }
    message.tool_calls.iter().map(|call| dialect::write_call(&call.name, &call.arguments_text())).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MalformedArguments, ToolSpec};

    fn endpoint(more: &str) -> OpenAi {
        toml::from_str(&format!("base_url = 'http://127.0.0.1:1/v1'\nmodel = 'm'\n{more}")).unwrap()
    }

    fn conversation() -> ChatRequest {
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
                parameters: json!({ "type": "object", "properties": { "cmds": { "type": "string" } } }),
            }],
            seed: Some(7),
            reference: json!({ "gold": "secret repair" }),
            ..ChatRequest::default()
        }
    }

    #[test]
    fn the_native_body_has_tools_seed_and_options_last() {
        let body =
            body(&endpoint("stream = true\noptions = { temperature = 0.5, tool_choice = 'auto', seed = 1 }"), &conversation(), false);
        assert_eq!(body["tools"][0]["function"]["name"], "probe");
        assert_eq!(body["tool_choice"], "auto");
        assert_eq!(body["seed"], 1);
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
        let body = body(&endpoint(""), &request, false);
        assert_eq!(body, json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] }));
    }

    #[test]
    fn malformed_arguments_are_sent_as_json() {
        let malformed = MalformedArguments { text: "{\"a".to_owned(), error: "EOF".to_owned() };
        let sent = call(&ToolCall { id: "c".to_owned(), name: "t".to_owned(), arguments: Err(malformed) });
        let arguments: Value = serde_json::from_str(sent["function"]["arguments"].as_str().unwrap()).unwrap();
        assert_eq!(arguments, json!({ "malformed_arguments": "{\"a" }));
    }

    #[test]
    fn servers_without_tools_get_text_and_the_conversation_stays_as_it_was() {
        let mut request = conversation();
        request.messages.push(Message::new(Role::User, "go on"));
        let before = request.clone();
        let body = body(&endpoint(""), &request, true);
        assert_eq!(request.messages, before.messages);
        assert!(body.get("tools").is_none() && body.get("tool_choice").is_none());
        let messages = body["messages"].as_array().unwrap();
        let roles: Vec<_> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"]);
        let system = messages[0]["content"].as_str().unwrap();
        assert!(system.starts_with("be good") && system.contains("probe") && system.contains("cmds"), "{system}");
        assert!(messages[2]["content"].as_str().unwrap().contains("Action: probe"));
        let result = messages[3]["content"].as_str().unwrap();
        assert!(result.contains("three pods") && result.ends_with("go on"), "{result}");
    }

    #[test]
    fn descriptions_get_a_system_message_of_their_own_where_there_is_none() {
        let mut request = conversation();
        request.messages.remove(0);
        let body = body(&endpoint(""), &request, true);
        assert_eq!(body["messages"][0]["role"], "system");
        assert_eq!(body["messages"][1]["content"], "repair");
    }
}
