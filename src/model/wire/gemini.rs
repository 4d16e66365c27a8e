//! `generateContent` of Google's Gemini API: `POST {base_url}/models/MODEL:generateContent`.
//!
//! Calls and results are parts of contents; the model's role is `model`. A thought's signature belongs to the part beside
//! it and must come back with it, so the parts of an answer are kept and sent as they came.

use reqwest::Url;
use serde_json::{Map, Value, json};

use super::answer::{check_error, count, filled, joined};
use super::{Answer, BadReply, Call, Stream, Wire, append, arguments, system_text};
use crate::model::{ChatRequest, Endpoint, Message, Role, ToolChoice, ToolSpec, Usage};

/// The keywords of JSON Schema that the API's own kind of schema has.
const KEYWORDS: [&str; 22] = [
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "maxItems",
    "minItems",
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "example",
    "anyOf",
    "propertyOrdering",
    "default",
    "items",
    "minimum",
    "maximum",
];

/// The format.
#[derive(Debug)]
pub(super) struct Gemini;

impl Wire for Gemini {
    fn locate(&self, endpoint: &Endpoint, url: &mut Url) {
        let model = endpoint.model.trim_start_matches("models/");
        if endpoint.stream {
            append(url, &format!("/models/{model}:streamGenerateContent"));
            url.query_pairs_mut().append_pair("alt", "sse");
        } else {
            append(url, &format!("/models/{model}:generateContent"));
        }
    }

    fn own_path(&self) -> &'static str {
        ":generateContent"
    }

    fn key_header(&self, key: &str) -> (&'static str, String) {
        ("x-goog-api-key", key.to_owned())
    }

    fn headers(&self, _endpoint: &Endpoint) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn body(&self, _endpoint: &Endpoint, request: &ChatRequest, _schema: Option<&Value>) -> Map<String, Value> {
        let mut body = Map::new();
        let system = system_text(request);
        if !system.is_empty() {
            body.insert("systemInstruction".to_owned(), json!({ "parts": [{ "text": system }] }));
        }
        body.insert("contents".to_owned(), contents(request));
        if !request.tools.is_empty() {
            let tool = |t: &ToolSpec| json!({ "name": t.name, "description": t.description, "parameters": schema(&t.parameters) });
            let declarations: Value = request.tools.iter().map(tool).collect();
            body.insert("tools".to_owned(), json!([{ "functionDeclarations": declarations }]));
            let mode = if request.tool_choice == ToolChoice::Required { "ANY" } else { "AUTO" };
            body.insert("toolConfig".to_owned(), json!({ "functionCallingConfig": { "mode": mode } }));
        }
        if let Some(seed) = request.seed {
            // Seeds are 32-bit and signed there.
            body.insert("generationConfig".to_owned(), json!({ "seed": seed & 0x7fff_ffff }));
        }
        body
    }

    fn read(&self, reply: &Value) -> Result<Answer, BadReply> {
        let mut assembly = Box::<Assembly>::default();
        assembly.event(reply)?;
        assembly.finish(false).ok_or_else(|| BadReply::lacks("candidates"))
    }

    fn stream(&self) -> Box<dyn Stream> {
        Box::<Assembly>::default()
    }
}

fn contents(request: &ChatRequest) -> Value {
    let mut out: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in request.messages.iter().filter(|message| message.role != Role::System) {
        let role = if message.role == Role::Assistant { "model" } else { "user" };
        let parts = parts(message, request);
        match out.last_mut() {
            Some((last, all)) if *last == role => all.extend(parts),
            _ => out.push((role, parts)),
        }
    }
    out.into_iter()
        .map(|(role, parts)| {
            let parts = if parts.is_empty() { vec![json!({ "text": "(no answer)" })] } else { parts };
            json!({ "role": role, "parts": parts })
        })
        .collect()
}

fn parts(message: &Message, request: &ChatRequest) -> Vec<Value> {
    let text = (!message.content.is_empty()).then(|| json!({ "text": message.content }));
    match (message.role, &message.tool_call_id) {
        (Role::Tool, Some(id)) => {
            let calls = request.messages.iter().flat_map(|m| &m.tool_calls);
            let name = calls.rev().find(|call| call.id == *id).map(|call| call.name.as_str()).unwrap_or_default();
            vec![json!({ "functionResponse": { "name": name, "response": { "result": message.content } } })]
        }
        (Role::Assistant, _) if !message.opaque.is_empty() => as_they_came(message),
        (Role::Assistant, _) => {
            let calls = message.tool_calls.iter().map(|c| json!({ "functionCall": { "name": c.name, "args": arguments(c) } }));
            text.into_iter().chain(calls).collect()
        }
        _ => text.into_iter().collect(),
    }
}

/// The parts of an answer, but for calls that were dropped: a call without an answer is refused.
fn as_they_came(message: &Message) -> Vec<Value> {
    let mut left = message.tool_calls.len();
    let keep = |part: &&Value| {
        if part.get("functionCall").is_none() {
            return true;
        }
        let kept = left > 0;
        left = left.saturating_sub(1);
        kept
    };
    message.opaque.iter().filter(keep).cloned().collect()
}

/// A schema without the keywords that the API refuses.
fn schema(value: &Value) -> Value {
    let Some(object) = value.as_object() else { return value.clone() };
    let kept = object.iter().filter(|(key, _)| KEYWORDS.contains(&key.as_str()));
    let inner = |key: &str, value: &Value| match (key, value) {
        ("properties", Value::Object(all)) => Value::Object(all.iter().map(|(name, value)| (name.clone(), schema(value))).collect()),
        ("items", value) => schema(value),
        ("anyOf", Value::Array(all)) => all.iter().map(schema).collect(),
        _ => value.clone(),
    };
    Value::Object(kept.map(|(key, value)| (key.clone(), inner(key, value))).collect())
}

/// A reply, whole or in pieces: each piece is a reply with further parts, and a whole one is one piece.
#[derive(Debug, Default)]
struct Assembly {
    answer: Answer,
    thoughts: String,
}

impl Stream for Assembly {
    fn event(&mut self, event: &Value) -> Result<(), BadReply> {
        check_error(event)?;
        if let Some(usage) = event.get("usageMetadata").and_then(usage) {
            self.answer.usage = Some(usage);
        }
        // A prompt that the provider's filter stops is answered with nothing: the model's own doing, as a refusal is.
        if let Some(reason) = event.get("promptFeedback").and_then(|feedback| filled(feedback, "blockReason")) {
            self.answer.finish_reason = Some(reason);
        }
        let Some(candidate) = event.pointer("/candidates/0") else { return Ok(()) };
        for part in candidate.pointer("/content/parts").and_then(Value::as_array).into_iter().flatten() {
            self.part(part);
        }
        if let Some(reason) = filled(candidate, "finishReason") {
            if reason == "MALFORMED_FUNCTION_CALL" && self.answer.content.is_empty() {
                self.answer.content = filled(candidate, "finishMessage").unwrap_or_default();
            }
            self.answer.finish_reason = Some(reason);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        false
    }

    fn finish(mut self: Box<Self>, _ended: bool) -> Option<Answer> {
        self.answer.finish_reason.as_ref()?;
        let thoughts: Vec<String> = Some(self.thoughts).filter(|text| !text.is_empty()).into_iter().collect();
        self.answer.reasoning = joined(&thoughts);
        if self.answer.opaque.iter().all(|part| part.get("thoughtSignature").is_none()) {
            self.answer.opaque.clear();
        }
        Some(self.answer)
    }
}

impl Assembly {
    fn part(&mut self, part: &Value) {
        let text = part.get("text").and_then(Value::as_str).unwrap_or_default();
        if part.get("thought").is_some_and(|thought| thought == true) {
            self.thoughts.push_str(text);
            return;
        }
        self.answer.content.push_str(text);
        if let Some(call) = part.get("functionCall") {
            self.answer.calls.push(Call {
                id: filled(call, "id"),
                name: filled(call, "name").unwrap_or_default(),
                arguments: super::answer::arguments_of(call.get("args")),
            });
        }
        if part != &json!({ "text": "" }) {
            self.answer.opaque.push(part.clone());
        }
    }
}

fn usage(usage: &Value) -> Option<Usage> {
    let part = |name: &str| count(usage, &format!("/{name}"));
    let thoughts = part("thoughtsTokenCount").unwrap_or(0);
    Some(Usage {
        prompt: part("promptTokenCount")?.saturating_add(part("toolUsePromptTokenCount").unwrap_or(0)),
        completion: part("candidatesTokenCount").unwrap_or(0).saturating_add(thoughts),
        cached: part("cachedContentTokenCount").unwrap_or(0),
        reasoning: thoughts,
        estimated: false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{assemble, body, conversation, endpoint};
    use super::*;

    #[test]
    fn the_body_has_the_shape_of_the_api() {
        let body = body(&Gemini, "", &conversation());
        assert_eq!(body["systemInstruction"]["parts"][0]["text"], "be good");
        let declaration = &body["tools"][0]["functionDeclarations"][0];
        assert_eq!(declaration["parameters"], json!({ "type": "object", "properties": { "cmds": { "type": "string" } } }));
        assert_eq!(body["toolConfig"]["functionCallingConfig"]["mode"], "ANY");
        assert_eq!(body["generationConfig"]["seed"], 7);
        assert_eq!(
            body["contents"],
            json!([
                { "role": "user", "parts": [{ "text": "repair" }] },
                { "role": "model", "parts": [{ "functionCall": { "name": "probe", "args": {} } }] },
                { "role": "user", "parts": [{ "functionResponse": { "name": "probe", "response": { "result": "three pods" } } }] },
            ])
        );
    }

    #[test]
    fn signed_parts_go_back_as_they_came_without_dropped_calls() {
        let mut request = conversation();
        let call = json!({ "functionCall": { "name": "probe", "args": {} }, "thoughtSignature": "s" });
        request.messages[2].opaque = vec![json!({ "text": "I look." }), call.clone(), call.clone()];
        assert_eq!(body(&Gemini, "", &request)["contents"][1]["parts"], json!([{ "text": "I look." }, call]));
    }

    #[test]
    fn the_address_says_whether_it_streams() {
        let mut url = Url::parse("https://g.example/v1beta").unwrap();
        Gemini.locate(&endpoint("stream = true"), &mut url);
        assert_eq!(url.as_str(), "https://g.example/v1beta/models/m:streamGenerateContent?alt=sse");
    }

    fn reply(parts: &Value, reason: Option<&str>) -> Value {
        json!({ "candidates": [{ "content": { "role": "model", "parts": parts }, "finishReason": reason }],
                "usageMetadata": { "promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "cachedContentTokenCount": 2 } })
    }

    #[test]
    fn a_reply_is_read_with_its_thoughts_apart() {
        let call = json!({ "functionCall": { "name": "probe", "args": { "cmds": "ls" } }, "thoughtSignature": "s" });
        let answer = Gemini.read(&reply(&json!([{ "text": "hm", "thought": true }, { "text": "I look." }, call]), Some("STOP"))).unwrap();
        assert_eq!((answer.content.as_str(), answer.reasoning.as_deref(), answer.opaque.len()), ("I look.", Some("hm"), 2));
        assert_eq!((answer.calls[0].id.as_deref(), answer.calls[0].arguments.as_str()), (None, "{\"cmds\":\"ls\"}"));
        assert_eq!(answer.usage, Some(Usage { prompt: 10, completion: 7, cached: 2, reasoning: 3, estimated: false }));
        assert!(matches!(Gemini.read(&json!({})), Err(BadReply::Malformed(_))));
    }

    #[test]
    fn what_a_filter_stopped_is_an_answer() {
        let answer = Gemini.read(&json!({ "promptFeedback": { "blockReason": "OTHER" } })).unwrap();
        assert_eq!((answer.finish_reason.as_deref(), answer.content.as_str()), (Some("OTHER"), ""));
        let broken = json!({ "candidates": [{ "finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "print(x" }] });
        assert_eq!(Gemini.read(&broken).unwrap().content, "print(x");
    }

    #[test]
    fn pieces_are_joined() {
        let pieces = [reply(&json!([{ "text": "I " }]), None), reply(&json!([{ "text": "look." }]), None), reply(&json!([]), Some("STOP"))];
        assert_eq!(assemble(&Gemini, &pieces).unwrap().unwrap().content, "I look.");
        assert_eq!(assemble(&Gemini, &pieces[..2]), Ok(None));
    }
}
