//! A model behind an OpenAI-compatible endpoint (`POST {base_url}/chat/completions`).
//!
//! Input: the endpoint's description, its key, and one [`ChatRequest`]. Output: the answer in our own shape. What goes
//! wrong on the way is retried within bounds; what the model says is handed on as it is, however bad.

mod attempt;
mod reply;
mod request;
mod retry;
mod settings;
mod stream;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};

use super::{ChatModel, ChatReply, ChatRequest, Message, ModelError, OpenAi, Problem, Role, ToolCall, Usage, dialect, parse_arguments};
use attempt::Failure;
use reply::{Answer, Call};
use settings::{Settings, Tools};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Shorter keys are placeholders of servers without keys; replacing them would tear up innocent text.
const SHORTEST_SECRET: usize = 6;

/// An endpoint that is ready to be asked.
#[derive(Debug)]
pub(super) struct OpenAiModel {
    description: OpenAi,
    settings: Settings,
    /// Address for messages.
    endpoint: String,
    client: Client,
    /// All headers, the key among them.
    headers: HeaderMap,
    key: Option<SecretString>,
}

/// What is wrong with a description, by paths within it.
pub(super) fn problems(description: &OpenAi) -> Vec<Problem> {
    Settings::read(description).err().unwrap_or_default()
}

impl OpenAiModel {
    /// Checks the description, looks up the key and builds the client. Nothing is sent.
    pub(super) fn open(description: &OpenAi, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ModelError> {
        let settings = Settings::read(description).map_err(|problems| {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            ModelError::BadSpec(all.join("; "))
        })?;
        let key = match &description.key_env {
            Some(name) => {
                let key = env(name).map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
                Some(SecretString::from(key.ok_or_else(|| ModelError::NoKey(name.clone()))?))
            }
            None => None,
        };
        let mut headers = settings.headers.clone();
        if let (Some(key), Some(name)) = (&key, &description.key_env) {
            headers.insert(AUTHORIZATION, bearer(key, name)?);
        }
        Ok(Self { endpoint: settings.endpoint(), client: client(&settings.url)?, headers, key, description: description.clone(), settings })
    }

    async fn ask(&self, request: &ChatRequest) -> Result<ChatReply, ModelError> {
        let body = request::body(&self.description, request, self.settings.tools == Tools::Text).to_string();
        let mut retries = Vec::new();
        for attempt in 1..=self.settings.backoff.attempts {
            let started = tokio::time::Instant::now();
            let failure = match self.attempt(&body).await {
                Ok(answer) => return Ok(self.reply(request, answer, retries, started.elapsed())),
                Err(failure) => failure,
            };
            let (what, wait) = match failure {
                Failure::Refused { status, body } => {
                    return Err(ModelError::Refused { endpoint: self.endpoint.clone(), status, body: self.shown(&body) });
                }
                Failure::Hopeless(what) => return Err(self.unavailable(attempt, self.shown(&what))),
                Failure::Transient { what, wait } => (self.shown(&what), wait),
            };
            let Some(pause) = self.settings.backoff.pause(attempt, wait, body.as_bytes()) else {
                return Err(self.unavailable(attempt, what));
            };
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

    /// `text` without the key: servers like to quote what they were sent.
    fn redact(&self, text: &str) -> String {
        match &self.key {
            Some(key) if key.expose_secret().len() >= SHORTEST_SECRET => text.replace(key.expose_secret(), "[key]"),
            _ => text.to_owned(),
        }
    }

    /// What may be shown of a text that came from outside.
    fn shown(&self, text: &str) -> String {
        attempt::start(&self.redact(text))
    }

    fn reply(&self, request: &ChatRequest, answer: Answer, retries: Vec<String>, took: Duration) -> ChatReply {
        let (reasoning, content) = reply::split_reasoning(answer.reasoning, answer.content);
        let mut message = Message::new(Role::Assistant, self.redact(&content));
        message.reasoning = reasoning.map(|text| self.redact(&text));
        message.tool_calls = self.native_calls(request, answer.calls);
        let mut found = "native";
        if message.tool_calls.is_empty() {
            found = "none";
            if self.settings.tools != Tools::Native {
                message.tool_calls = dialect::find_tool_calls(&message.content, &request.tools, calls_so_far(request));
            }
            if !message.tool_calls.is_empty() {
                found = "text";
            }
        }
        let usage = answer.usage.unwrap_or_else(|| {
            let thought = message.reasoning.as_deref().unwrap_or_default().chars().count();
            Usage::estimate(request.characters(), message.characters() + thought)
        });
        ChatReply { message, usage, finish_reason: answer.finish_reason.unwrap_or_default(), dialect: found.to_owned(), retries, took }
    }

    fn native_calls(&self, request: &ChatRequest, calls: Vec<Call>) -> Vec<ToolCall> {
        let before = calls_so_far(request);
        calls
            .into_iter()
            .enumerate()
            .map(|(index, call)| ToolCall {
                id: call.id.unwrap_or_else(|| format!("call-{}", before + index + 1)),
                name: dialect::offered_name(&call.name, &request.tools).map_or_else(|| self.redact(&call.name), str::to_owned),
                arguments: parse_arguments(&self.redact(&call.arguments)),
            })
            .collect()
    }
}

impl ChatModel for OpenAiModel {
    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ModelError>> {
        self.ask(request).boxed()
    }
}

fn calls_so_far(request: &ChatRequest) -> usize {
    request.messages.iter().map(|message| message.tool_calls.len()).sum()
}

fn bearer(key: &SecretString, name: &str) -> Result<HeaderValue, ModelError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))
        .map_err(|_| ModelError::BadSpec(format!("the value of the environment variable {name} cannot be sent as a header")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The TLS back end is configured here and not for the whole process, so that no other part depends on the order in
/// which things are opened; and an endpoint without TLS works on machines that have no certificates at all.
fn client(url: &Url) -> Result<Client, ModelError> {
    let failed = |error: &dyn Error| ModelError::BadSpec(format!("the HTTP client cannot be built: {}", chain(error)));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| failed(&e))?;
    let config = if url.scheme() == "https" {
        use rustls_platform_verifier::BuilderVerifierExt as _;
        config.with_platform_verifier().map_err(|e| failed(&e))?
    } else {
        config.with_root_certificates(rustls::RootCertStore::empty())
    };
    let mut builder = Client::builder()
        .tls_backend_preconfigured(config.with_no_client_auth())
        .connect_timeout(CONNECT_TIMEOUT)
        // A redirect would turn the POST into a GET, or carry the key elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("microremed/", env!("CARGO_PKG_VERSION")));
    if matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|e| failed(&e))
}

/// An error with all its causes in one line.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source()).take(8);
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> OpenAi {
        toml::from_str("base_url = 'https://user:pass@models.example:8443/v1/?key=hidden'\nmodel = 'm'\nkey_env = 'K'").unwrap()
    }

    #[test]
    fn debug_output_and_address_hold_no_secret() {
        let description = OpenAi { base_url: "http://user:pass@models.example:8443/v1/".to_owned(), ..description() };
        let model = OpenAiModel::open(&description, &|_| Some("sk-topsecret".to_owned())).unwrap();
        assert!(!format!("{model:?}").contains("topsecret"), "{model:?}");
        assert_eq!(model.endpoint, "http://models.example:8443/v1/chat/completions");
        assert_eq!(model.redact("your key sk-topsecret is wrong"), "your key [key] is wrong");
    }

    #[test]
    fn placeholder_keys_are_not_cut_out_of_words() {
        let description = OpenAi { base_url: "http://127.0.0.1:1/v1".to_owned(), ..description() };
        let model = OpenAiModel::open(&description, &|_| Some("s".to_owned())).unwrap();
        assert_eq!(model.redact("success"), "success");
    }
}
