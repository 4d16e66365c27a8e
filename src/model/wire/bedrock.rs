//! The Converse API of Amazon Bedrock: `POST {base_url}/model/MODEL/converse`, with an API key of Bedrock as bearer token.
//!
//! One shape for all models behind it: content is a list of blocks, each a table with one key that says what it is.
//! Requests are not signed (AWS calls that `SigV4`), and its streams, which are no server-sent events, are not asked for.

use reqwest::Url;
use serde_json::{Map, Value, json};

use super::answer::{check_error, filled, joined};
use super::turns::{UsageNames, turns, usage};
use super::{Answer, BadReply, Call, Stream, Wire, arguments, system_text};
use crate::model::{ChatRequest, Endpoint, Message, Role, ToolChoice, ToolSpec};

const USAGE: UsageNames =
    UsageNames { fresh: "inputTokens", written: "cacheWriteInputTokens", read: "cacheReadInputTokens", completion: "outputTokens" };

/// The format.
#[derive(Debug)]
pub(super) struct Bedrock;

impl Wire for Bedrock {
    fn locate(&self, endpoint: &Endpoint, url: &mut Url) {
        // A model may be an ARN, whose slashes are part of its name.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["model", &endpoint.model, "converse"]);
        }
    }

    fn own_path(&self) -> &'static str {
        "/converse"
    }

    fn key_header(&self, key: &str) -> (&'static str, String) {
        ("authorization", format!("Bearer {key}"))
    }

    fn headers(&self, _endpoint: &Endpoint) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn body(&self, endpoint: &Endpoint, request: &ChatRequest, _schema: Option<&Value>) -> Map<String, Value> {
        let mut body = Map::new();
        let system = system_text(request);
        if !system.is_empty() {
            body.insert("system".to_owned(), json!([{ "text": system }]));
        }
        body.insert("messages".to_owned(), turns(request, blocks, text));
        if !request.tools.is_empty() {
            let tools: Value = request.tools.iter().map(tool).collect();
            let mut config = Map::from_iter([("tools".to_owned(), tools)]);
            // The choice is a table with one key: options could add a second one, but not replace the first.
            if endpoint.options.get("toolConfig").and_then(|own| own.get("toolChoice")).is_none() {
                let demanded = request.tool_choice == ToolChoice::Required && !thinks(endpoint);
                config.insert("toolChoice".to_owned(), if demanded { json!({ "any": {} }) } else { json!({ "auto": {} }) });
            }
            body.insert("toolConfig".to_owned(), Value::Object(config));
        }
        body
    }

    fn streams(&self) -> bool {
        false
    }

    fn read(&self, reply: &Value) -> Result<Answer, BadReply> {
        check_error(reply)?;
        let blocks = reply.pointer("/output/message/content").and_then(Value::as_array).ok_or_else(|| BadReply::lacks("output"))?;
        let mut answer = answer(blocks);
        answer.usage = reply.get("usage").and_then(|u| usage(u, &USAGE));
        answer.finish_reason = filled(reply, "stopReason");
        Ok(answer)
    }

    fn stream(&self) -> Box<dyn Stream> {
        Box::<Whole>::default()
    }
}

/// A call cannot be demanded of a model that thinks.
fn thinks(endpoint: &Endpoint) -> bool {
    let thinking = endpoint.options.get("additionalModelRequestFields").and_then(|fields| fields.get("thinking"));
    thinking.is_some_and(|thinking| thinking.get("type").is_some_and(|kind| kind != "disabled"))
}

fn tool(tool: &ToolSpec) -> Value {
    let mut spec = Map::from_iter([("name".to_owned(), json!(tool.name)), ("inputSchema".to_owned(), json!({ "json": tool.parameters }))]);
    // An empty description is refused.
    if !tool.description.is_empty() {
        spec.insert("description".to_owned(), json!(tool.description));
    }
    json!({ "toolSpec": spec })
}

fn text(text: &str) -> Value {
    json!({ "text": text })
}

fn blocks(message: &Message) -> Vec<Value> {
    let text = (!message.content.trim().is_empty()).then(|| text(message.content.trim_end()));
    match (message.role, &message.tool_call_id) {
        (Role::Tool, Some(id)) => {
            let result = if message.content.trim().is_empty() { "(nothing)" } else { message.content.as_str() };
            vec![json!({ "toolResult": { "toolUseId": id, "content": [self::text(result)] } })]
        }
        (Role::Assistant, _) => {
            let call = |call| -> Value {
                let call: &crate::model::ToolCall = call;
                json!({ "toolUse": { "toolUseId": call.id, "name": call.name, "input": arguments(call) } })
            };
            message.opaque.iter().cloned().chain(text).chain(message.tool_calls.iter().map(call)).collect()
        }
        _ => text.into_iter().collect(),
    }
}

fn answer(blocks: &[Value]) -> Answer {
    let mut answer = Answer::default();
    let mut thoughts = Vec::new();
    for block in blocks {
        if let Some(text) = block.get("text").and_then(Value::as_str) {
            answer.content.push_str(text);
        }
        if let Some(call) = block.get("toolUse") {
            answer.calls.push(Call {
                id: filled(call, "toolUseId"),
                name: filled(call, "name").unwrap_or_default(),
                arguments: super::answer::arguments_of(call.get("input")),
            });
        }
        if let Some(reasoning) = block.get("reasoningContent") {
            thoughts.extend(reasoning.get("reasoningText").and_then(|text| filled(text, "text")));
            // Signed, and to be sent back as it came.
            answer.opaque.push(block.clone());
        }
    }
    answer.reasoning = joined(&thoughts);
    answer
}

/// What a gateway streams all the same: a whole reply in one event.
#[derive(Debug, Default)]
struct Whole(Option<Answer>);

impl Stream for Whole {
    fn event(&mut self, event: &Value) -> Result<(), BadReply> {
        self.0 = Some(Bedrock.read(event)?);
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.0.is_some()
    }

    fn finish(self: Box<Self>, _ended: bool) -> Option<Answer> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{assemble, body, conversation, endpoint};
    use super::*;
    use crate::model::Usage;

    #[test]
    fn the_address_has_the_model_even_when_it_is_an_arn() {
        for (model, path) in [
            ("us.vendor.some-model-v1:0", "/model/us.vendor.some-model-v1:0/converse"),
            ("arn:aws:bedrock:us-east-1:1:inference-profile/x", "/model/arn:aws:bedrock:us-east-1:1:inference-profile%2Fx/converse"),
        ] {
            let mut endpoint = endpoint("");
            model.clone_into(&mut endpoint.model);
            for base in ["https://bedrock-runtime.us-east-1.amazonaws.com", "https://bedrock-runtime.us-east-1.amazonaws.com/"] {
                let mut url = Url::parse(base).unwrap();
                Bedrock.locate(&endpoint, &mut url);
                assert_eq!(url.path(), path);
            }
        }
    }

    #[test]
    fn the_body_has_the_shape_of_the_api() {
        let mut request = conversation();
        let thought = json!({ "reasoningContent": { "reasoningText": { "text": "hm", "signature": "s" } } });
        request.messages[2].opaque = vec![thought.clone()];
        request.messages.push(Message::new(Role::User, "go on"));
        let body = body(&Bedrock, "", &request);
        assert_eq!(body["system"], json!([{ "text": "be good" }]));
        let tool = &body["toolConfig"]["tools"][0]["toolSpec"];
        assert_eq!(
            (&tool["name"], &tool["description"], &tool["inputSchema"]["json"]["type"]),
            (&json!("probe"), &json!("looks"), &json!("object"))
        );
        assert_eq!(body["toolConfig"]["toolChoice"], json!({ "any": {} }));
        assert_eq!(
            body["messages"],
            json!([
                { "role": "user", "content": [{ "text": "repair" }] },
                { "role": "assistant", "content": [thought, { "toolUse": { "toolUseId": "c1", "name": "probe", "input": {} } }] },
                { "role": "user", "content": [
                    { "toolResult": { "toolUseId": "c1", "content": [{ "text": "three pods" }] } },
                    { "text": "go on" },
                ] },
            ])
        );
        assert!(body.get("model").is_none() && body.get("seed").is_none() && !body.to_string().contains("private"));
    }

    #[test]
    fn a_call_is_demanded_unless_the_model_thinks_or_the_file_chooses() {
        let choice = |more: &str| body(&Bedrock, more, &conversation())["toolConfig"].get("toolChoice").cloned();
        let thinking = "options = { additionalModelRequestFields = { thinking = { type = 'enabled', budget_tokens = 2048 } } }";
        assert_eq!(choice(thinking), Some(json!({ "auto": {} })));
        assert_eq!(choice("options = { toolConfig = { toolChoice = { auto = {} } } }"), None);
    }

    #[test]
    fn a_reply_is_read_with_its_thoughts_apart() {
        let whole = json!({
            "output": { "message": { "role": "assistant", "content": [
                { "reasoningContent": { "reasoningText": { "text": "hm", "signature": "s" } } },
                { "text": "I look." },
                { "toolUse": { "toolUseId": "t1", "name": "probe", "input": { "cmds": "ls" } } },
            ] } },
            "stopReason": "tool_use",
            "usage": { "inputTokens": 10, "outputTokens": 7, "totalTokens": 17, "cacheReadInputTokens": 20, "cacheWriteInputTokens": 5 },
            "metrics": { "latencyMs": 900 },
        });
        let answer = Bedrock.read(&whole).unwrap();
        assert_eq!((answer.content.as_str(), answer.reasoning.as_deref(), answer.opaque.len()), ("I look.", Some("hm"), 1));
        let call = Call { id: Some("t1".to_owned()), name: "probe".to_owned(), arguments: "{\"cmds\":\"ls\"}".to_owned() };
        assert_eq!((answer.calls.as_slice(), answer.finish_reason.as_deref()), ([call].as_slice(), Some("tool_use")));
        assert_eq!(answer.usage, Some(Usage { prompt: 35, completion: 7, cached: 20, reasoning: 0, estimated: false }));
        assert!(Bedrock.read(&json!({ "message": "no output" })).is_err());
        assert_eq!(assemble(&Bedrock, &[whole]).unwrap(), Some(answer));
        assert_eq!(assemble(&Bedrock, &[]), Ok(None));
    }
}
