//! A model behind an endpoint on the network, whatever format it speaks.
//!
//! Input: the endpoint's description, its key, and one [`ChatRequest`]. Output: the answer in our own shape. What goes
//! wrong on the way is retried within bounds; what the model says is handed on as it is, however bad.

mod attempt;
mod connection;
mod events;
mod gate;
mod key;
mod retry;
mod servers;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::wire::{self, Answer, Call, Wire, split_reasoning};
use super::{
    ChatModel, ChatReply, ChatRequest, Endpoint, Message, ModelError, ModelSpec, Problem, Role, ToolCall, Usage, dialect, parse_arguments,
};
use attempt::Failure;
use gate::{Gate, Leave};
use key::Key;
pub use key::Secrets;
pub use servers::Servers;
use settings::{Settings, Tools};

/// An endpoint that is ready to be asked.
#[derive(Debug)]
pub(super) struct EndpointModel {
    description: Endpoint,
    settings: Settings,
    wire: &'static dyn Wire,
    /// Address for messages.
    endpoint: String,
    client: Client,
    /// All headers, the key among them.
    headers: HeaderMap,
    key: Key,
    /// Shared with all models of the same server and key.
    gate: Arc<Gate>,
}

/// What is wrong with a description, by paths within it.
pub(super) fn problems(spec: &ModelSpec, description: &Endpoint) -> Vec<Problem> {
    Settings::read(&spec.provider, description).err().unwrap_or_default()
}

impl EndpointModel {
    /// Checks the description, looks up the key and builds the client. Nothing is sent.
    pub(super) fn open(
        spec: &ModelSpec,
        description: &Endpoint,
        env: &dyn Fn(&str) -> Option<String>,
        servers: &Servers,
    ) -> Result<Self, ModelError> {
        let settings = Settings::read(&spec.provider, description).map_err(|problems| {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            ModelError::BadSpec(all.join("; "))
        })?;
        let key = Key::find(description, env)?;
        let mut headers = settings.headers.clone();
        if let Some(secret) = key.expose() {
            let (name, value) = settings.wire.key_header(secret);
            headers.insert(HeaderName::from_static(name), sensitive(&value, description)?);
        }
        Ok(Self {
            wire: settings.wire,
            endpoint: settings.endpoint(),
            client: connection::client(&settings.url)?,
            headers,
            gate: servers.gate(&settings.server, &key, spec.limits.unwrap_or_default()),
            key,
            description: description.clone(),
            settings,
        })
    }

    /// The request body: what the format makes of the conversation, and over it the options of the model file.
    fn body(&self, request: &ChatRequest) -> Value {
        let mut body = match self.settings.tools {
            Tools::Native | Tools::Auto => self.wire.body(&self.description, request, None),
            Tools::Text => {
                let described = dialect::describe(&request.tools, request.tool_choice);
                self.wire.body(&self.description, &wire::without_tools(request, &described), None)
            }
            Tools::Schema => {
                let schema = dialect::call_schema(&request.tools, request.tool_choice);
                let described = schema.as_ref().map(|_| dialect::describe_as_json(&request.tools)).unwrap_or_default();
                self.wire.body(&self.description, &wire::without_tools(request, &described), schema.as_ref())
            }
        };
        merge(&mut body, self.description.options.iter());
        Value::Object(body)
    }

    async fn ask(&self, request: &ChatRequest) -> Result<ChatReply, ModelError> {
        let body = self.body(request).to_string();
        let expected = Usage::estimate(request.characters(), 0).prompt;
        let mut retries = Vec::new();
        for attempt in 1..=self.settings.backoff.attempts {
            let Some(leave) = self.gate.enter(expected).await else {
                return Err(self.unavailable(attempt, "the limits of the server's model files leave no room for a call".to_owned()));
            };
            let started = tokio::time::Instant::now();
            let failure = match self.attempt(&body).await {
                Ok(answer) => return Ok(self.reply(request, answer, retries, started.elapsed(), &leave)),
                Err(failure) => failure,
            };
            let (what, wait, limited) = match failure {
                Failure::Refused { status, body } => {
                    return Err(ModelError::Refused { endpoint: self.endpoint.clone(), status, body: self.shown(&body) });
                }
                Failure::Hopeless(what) => return Err(self.unavailable(attempt, self.shown(&what))),
                Failure::Transient { what, wait, limited } => (self.shown(&what), wait, limited),
            };
            let Some(pause) = self.settings.backoff.pause(attempt, wait, body.as_bytes()) else {
                return Err(self.unavailable(attempt, what));
            };
            if limited {
                self.gate.slow_down(pause);
            }
            drop(leave);
            tracing::debug!(endpoint = self.endpoint, attempt, ?pause, what, "asking the model again");
            retries.push(what);
            tokio::time::sleep(pause).await;
        }
        // Not reached: the last attempt has no pause after it.
        Err(self.unavailable(self.settings.backoff.attempts, "no attempt was made".to_owned()))
    }

    fn unavailable(&self, attempts: u32, last: String) -> ModelError {
        ModelError::Unavailable { endpoint: self.endpoint.clone(), attempts, last }
    }

    /// What may be shown of a text that came from outside.
    fn shown(&self, text: &str) -> String {
        attempt::start(&self.key.redact(text))
    }

    fn reply(&self, request: &ChatRequest, answer: Answer, retries: Vec<String>, took: Duration, leave: &Leave<'_>) -> ChatReply {
        let (reasoning, content) = split_reasoning(answer.reasoning, answer.content);
        let mut message = Message::new(Role::Assistant, self.key.redact(&content));
        message.reasoning = reasoning.map(|text| self.key.redact(&text));
        message.opaque = answer.opaque.iter().map(|value| self.key.redact_value(value)).collect();
        message.tool_calls = self.native_calls(request, answer.calls);
        let mut found = "native".to_owned();
        if message.tool_calls.is_empty() {
            "none".clone_into(&mut found);
            if self.settings.tools != Tools::Native {
                message.tool_calls = dialect::find_tool_calls(&message.content, &request.tools, calls_so_far(request));
            }
            if !message.tool_calls.is_empty() {
                "text".clone_into(&mut found);
            }
        }
        for note in dialect::mend(&mut message.tool_calls, &request.tools) {
            found = format!("{found}+{note}");
        }
        let usage = answer.usage.unwrap_or_else(|| {
            let thought = message.reasoning.as_deref().unwrap_or_default().chars().count();
            Usage::estimate(request.characters(), message.characters() + thought)
        });
        leave.succeeded(usage.prompt.saturating_add(usage.completion));
        let finish_reason = self.key.redact(&answer.finish_reason.unwrap_or_default());
        ChatReply { message, usage, finish_reason, dialect: found, retries, took }
    }

    fn native_calls(&self, request: &ChatRequest, calls: Vec<Call>) -> Vec<ToolCall> {
        let before = calls_so_far(request);
        calls
            .into_iter()
            .enumerate()
            .map(|(index, call)| ToolCall {
                id: call.id.map_or_else(|| format!("call-{}", before + index + 1), |id| self.key.redact(&id)),
                name: dialect::offered_name(&call.name, &request.tools).map_or_else(|| self.key.redact(&call.name), str::to_owned),
                arguments: parse_arguments(&self.key.redact(&call.arguments)),
            })
            .collect()
    }
}

impl ChatModel for EndpointModel {
    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ModelError>> {
        self.ask(request).boxed()
    }
}

fn calls_so_far(request: &ChatRequest) -> usize {
    request.messages.iter().map(|message| message.tool_calls.len()).sum()
}

fn sensitive(value: &str, description: &Endpoint) -> Result<HeaderValue, ModelError> {
    let from = description.key_env.as_deref().or(description.key_file.as_deref()).unwrap_or_default();
    let mut value =
        HeaderValue::try_from(value).map_err(|_| ModelError::BadSpec(format!("the key of {from} cannot be sent as a header")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Puts options over a body: tables are merged, everything else is replaced.
fn merge<'a>(body: &mut Map<String, Value>, options: impl Iterator<Item = (&'a String, &'a Value)>) {
    for (name, value) in options {
        match (body.get_mut(name), value) {
            (Some(Value::Object(inner)), Value::Object(more)) => merge(inner, more.iter()),
            _ => {
                body.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ToolSpec;
    use serde_json::json;

    fn open(text: &str) -> EndpointModel {
        let spec: ModelSpec = toml::from_str(&format!("name = 'm'\n{text}")).unwrap();
        let endpoint = spec.provider.endpoint().unwrap().clone();
        EndpointModel::open(&spec, &endpoint, &|_| Some("sk-topsecret".to_owned()), &Servers::default()).unwrap()
    }

    #[test]
    fn debug_output_and_address_hold_no_secret() {
        let text = "[provider.openai]\nbase_url = 'http://user:pass@models.example:8443/v1/?key=hidden'\nmodel = 'm'\nkey_env = 'K'";
        let model = open(text);
        assert!(!format!("{model:?}").contains("topsecret"), "{model:?}");
        assert_eq!(model.endpoint, "http://models.example:8443/v1/chat/completions");
        assert_eq!(model.shown("your key sk-topsecret is wrong"), "your key [key] is wrong");
    }

    #[test]
    fn options_are_put_over_the_body_and_tables_are_merged() {
        let model = open(
            "[provider.gemini]\nbase_url = 'http://x/v1beta'\nmodel = 'm'\n\
             options = { generationConfig = { temperature = 0.5 }, toolConfig = { functionCallingConfig = { mode = 'AUTO' } } }",
        );
        let tool = ToolSpec { name: "t".to_owned(), description: String::new(), parameters: json!({ "type": "object" }) };
        let request = ChatRequest { seed: Some(3), tools: vec![tool], ..ChatRequest::default() };
        let body = model.body(&request);
        assert_eq!(body["generationConfig"], json!({ "seed": 3, "temperature": 0.5 }));
        assert_eq!(body["toolConfig"]["functionCallingConfig"]["mode"], "AUTO");
    }

    #[test]
    fn a_schema_constrains_the_answer_to_a_call() {
        let model = open("[provider.openai]\nbase_url = 'http://x/v1'\nmodel = 'm'\ntools = 'schema'");
        let parameters = json!({ "type": "object", "properties": { "code": { "type": "string" } } });
        let tool = ToolSpec { name: "t".to_owned(), description: String::new(), parameters };
        let body = model.body(&ChatRequest { tools: vec![tool], ..ChatRequest::default() });
        let schema = &body["response_format"]["json_schema"]["schema"];
        assert_eq!(schema["properties"]["action"]["enum"], json!(["t"]));
        // The name of the tool comes first where a server follows the order of the text.
        let text = body.to_string();
        assert!(text.find("\"action\":{") < text.find("\"input\":{"), "{text}");
        assert!(body.get("tools").is_none() && body["messages"][0]["content"].as_str().unwrap().contains("\"input\""));
    }
}
