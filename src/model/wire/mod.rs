//! The formats in which providers are spoken to, a file or folder each.
//!
//! Input: a conversation in our shape; output: the JSON of a request. And back: the bytes of a reply, whole or streamed,
//! into an [`Answer`]. No network, no key, no clock: sending is the business of `endpoint`.

mod answer;
mod anthropic;
mod azure;
mod bedrock;
mod chat;
mod gemini;
mod responses;
mod text;
mod turns;

use reqwest::Url;
use serde_json::{Map, Value};

use super::{ChatRequest, Endpoint, Provider};
pub(super) use answer::{Answer, BadReply, Call, split_reasoning};
pub(super) use text::without_tools;

/// A format.
pub(super) trait Wire: Send + Sync + std::fmt::Debug {
    /// Completes the base URL, whose path does not end in a slash.
    fn locate(&self, endpoint: &Endpoint, url: &mut Url);

    /// The path that users tend to leave in the base URL.
    fn own_path(&self) -> &'static str;

    /// The header that carries the key.
    fn key_header(&self, key: &str) -> (&'static str, String);

    /// Headers that the format demands.
    fn headers(&self, endpoint: &Endpoint) -> Vec<(&'static str, String)>;

    /// The request body, options of the model file apart. `schema`: what the text of the answer must conform to.
    fn body(&self, endpoint: &Endpoint, request: &ChatRequest, schema: Option<&Value>) -> Map<String, Value>;

    /// Whether the format can constrain the text of an answer by a schema.
    fn constrains(&self) -> bool {
        false
    }

    /// Whether the format's streams are server-sent events, which can be read.
    fn streams(&self) -> bool {
        true
    }

    /// Reads a whole reply.
    fn read(&self, reply: &Value) -> Result<Answer, BadReply>;

    /// Reads a streamed reply.
    fn stream(&self) -> Box<dyn Stream>;
}

/// A streamed reply under construction.
pub(super) trait Stream: Send {
    /// Takes the data of the next event.
    fn event(&mut self, event: &Value) -> Result<(), BadReply>;

    /// Whether the server said that nothing more comes.
    fn is_done(&self) -> bool;

    /// The answer; none when the stream ended before the answer did. `ended`: the server sent the mark of the end (`[DONE]`).
    fn finish(self: Box<Self>, ended: bool) -> Option<Answer>;
}

/// The format of a provider; none for policies that need no network.
pub(super) fn of(provider: &Provider) -> Option<&'static dyn Wire> {
    match provider {
        Provider::Openai(_) => Some(&chat::Chat),
        Provider::OpenaiResponses(_) => Some(&responses::Responses),
        Provider::Anthropic(_) => Some(&anthropic::Anthropic),
        Provider::Gemini(_) => Some(&gemini::Gemini),
        Provider::Azure(_) => Some(&azure::Azure),
        Provider::Bedrock(_) => Some(&bedrock::Bedrock),
        Provider::Scripted(_) | Provider::Playbooks(_) => None,
    }
}

/// Appends to the path of a URL.
fn append(url: &mut Url, path: &str) {
    let whole = format!("{}{path}", url.path().trim_end_matches('/'));
    url.set_path(&whole);
}

/// The arguments of an earlier call as an object, for formats that demand one.
fn arguments(call: &super::ToolCall) -> Value {
    match &call.arguments {
        Ok(arguments) => Value::Object(arguments.clone()),
        Err(malformed) => serde_json::json!({ "malformed_arguments": malformed.text }),
    }
}

/// The system messages as one text.
fn system_text(request: &ChatRequest) -> String {
    let texts = request.messages.iter().filter(|message| message.role == super::Role::System).map(|message| message.content.as_str());
    texts.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod fixture;
