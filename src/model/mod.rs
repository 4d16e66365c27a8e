//! Language models: one conversation turn in, one reply out, whatever the provider.
//!
//! Knows nothing of faults, systems or methods. Input: a [`ModelSpec`] (from models/*.toml, by way of `manifest`) and
//! [`ChatRequest`]s; output: [`ChatReply`]s with what the provider reported. Infrastructure errors are retried here;
//! a bad answer never is.

mod arguments;
mod chat;
pub mod dialect;
mod endpoint;
mod identity;
mod playbooks;
mod problem;
mod scripted;
mod spec;
mod wire;

pub use arguments::parse_arguments;
pub use chat::{ChatReply, ChatRequest, MalformedArguments, Message, Role, ToolCall, ToolChoice, ToolSpec, Usage};
pub use endpoint::{Secrets, Servers};
pub use identity::identity;
pub use problem::Problem;
pub use spec::{Endpoint, Limits, ModelSpec, Playbooks, Price, Provider, Retry, Role as ReferenceRole, Scripted, Turn};

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A model that can be talked to. Object safe: the executor holds `Arc<dyn ChatModel>`.
pub trait ChatModel: Send + Sync {
    /// One turn. Cancel by dropping the future: requests in flight are aborted.
    fn chat<'a>(&'a self, request: &'a ChatRequest) -> Pin<Box<dyn Future<Output = Result<ChatReply, ModelError>> + Send + 'a>>;
}

/// Opens the model that `spec` describes. `env` looks up environment variables, of which a spec holds names only. Models
/// opened with the same `servers` share what a server allows.
pub fn open(spec: &ModelSpec, env: &dyn Fn(&str) -> Option<String>, servers: &Servers) -> Result<Arc<dyn ChatModel>, ModelError> {
    match &spec.provider {
        Provider::Openai(e)
        | Provider::OpenaiResponses(e)
        | Provider::Anthropic(e)
        | Provider::Gemini(e)
        | Provider::Azure(e)
        | Provider::Bedrock(e) => Ok(Arc::new(endpoint::EndpointModel::open(spec, e, env, servers)?)),
        Provider::Scripted(policy) => Ok(Arc::new(scripted::ScriptedModel::new(policy.clone()))),
        Provider::Playbooks(playbooks) => Ok(Arc::new(playbooks::PlaybooksModel::open(playbooks)?)),
    }
}

/// What is wrong with the values of `spec`, all of it; needs neither a key nor a network.
pub fn problems(spec: &ModelSpec) -> Vec<Problem> {
    let found = match &spec.provider {
        Provider::Openai(e)
        | Provider::OpenaiResponses(e)
        | Provider::Anthropic(e)
        | Provider::Gemini(e)
        | Provider::Azure(e)
        | Provider::Bedrock(e) => endpoint::problems(spec, e),
        Provider::Scripted(policy) => scripted::problems(policy),
        Provider::Playbooks(_) => Vec::new(),
    };
    found.into_iter().map(|problem| problem.within(&format!("provider.{}", spec.provider.name()))).collect()
}

/// Why no reply could be had. Never about the quality of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum ModelError {
    /// The provider stayed unreachable or broken after all retries.
    #[error("the model endpoint {endpoint} did not answer properly after {attempts} attempts: {last}")]
    Unavailable {
        /// Address without secrets.
        endpoint: String,
        /// How many attempts were made.
        attempts: u32,
        /// What the last one met.
        last: String,
    },
    /// The provider refused the request for good (401, 403, 404, 400).
    #[error("the model endpoint {endpoint} refused the request with HTTP {status}: {body}")]
    Refused {
        /// Address without secrets.
        endpoint: String,
        /// HTTP status.
        status: u16,
        /// The start of the body, keys removed.
        body: String,
    },
    /// The environment variable that should hold the key is unset.
    #[error("the environment variable {0} is not set; it must hold the API key of this model")]
    NoKey(String),
    /// The description cannot be used as it is.
    #[error("failed to open the model: {0}")]
    BadSpec(String),
    /// A recorded run holds no reply to this request.
    #[error("the recorded run holds no reply to this request: {0}")]
    NotRecorded(String),
    /// A reply could not be stored or read back.
    #[error("failed to keep the model's replies: {0}")]
    Store(String),
    /// No playbook was handed in for this trial.
    #[error("no playbook was handed in for this trial: {0}")]
    NoPlaybook(String),
    /// A scripted model's template failed.
    #[error("the scripted model's turn could not be rendered: {0}")]
    Script(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> ModelSpec {
        toml::from_str(text).unwrap()
    }

    fn opening_error(text: &str, key: Option<&str>) -> String {
        match open(&spec(text), &|_| key.map(str::to_owned), &Servers::default()) {
            Ok(_) => panic!("must not open"),
            Err(error) => error.to_string(),
        }
    }

    const ENDPOINT: &str = "name = 'm'\n[provider.openai]\nbase_url = 'http://127.0.0.1:9/v1'\nmodel = 'm'\nkey_env = 'THE_KEY'\n";

    #[test]
    fn a_missing_or_empty_key_is_named_at_opening() {
        for key in [None, Some(""), Some("  ")] {
            let message = opening_error(ENDPOINT, key);
            assert!(message.contains("THE_KEY is not set"), "{message}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_sent_is_refused_without_being_shown() {
        let message = opening_error(ENDPOINT, Some("sk-secret\nvalue"));
        assert!(message.contains("THE_KEY"), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }

    #[test]
    fn only_the_named_variable_is_looked_up() {
        let asked = std::cell::RefCell::new(Vec::new());
        let opened = open(
            &spec(ENDPOINT),
            &|name| {
                asked.borrow_mut().push(name.to_owned());
                Some("sk-123456789".to_owned())
            },
            &Servers::default(),
        );
        assert!(opened.is_ok());
        assert_eq!(*asked.borrow(), ["THE_KEY"]);
    }

    #[test]
    fn servers_without_keys_need_no_variable() {
        let text = ENDPOINT.replace("key_env = 'THE_KEY'\n", "");
        assert!(open(&spec(&text), &|_| panic!("no variable is named"), &Servers::default()).is_ok());
    }

    #[test]
    fn problems_have_the_path_of_the_file() {
        let found = problems(&spec(&ENDPOINT.replace("'http:", "'gopher:")));
        assert_eq!(found[0].path, "provider.openai.base_url");
        let found = problems(&spec("name = 's'\n[provider.scripted]\nturns = [{ when = '1 +' }, { text = '{{ x' }]"));
        let paths: Vec<&str> = found.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["provider.scripted.turns[0].when", "provider.scripted.turns[1].text"]);
        assert!(problems(&spec(ENDPOINT)).is_empty());
    }

    #[test]
    fn wrong_limits_and_addresses_are_refused_at_opening() {
        for (line, part) in [
            ("timeout = 'soon'", "timeout"),
            ("tools = 'telepathy'", "telepathy"),
            ("retry = { pause = '-1s' }", "retry.pause"),
            ("headers = { 'a b' = 'c' }", "headers"),
        ] {
            let message = opening_error(&format!("{ENDPOINT}{line}\n"), Some("sk-123456789"));
            assert!(message.contains(part), "{message}");
        }
        let message = opening_error(&ENDPOINT.replace("http://127.0.0.1:9", "nowhere"), Some("sk-123456789"));
        assert!(message.contains("base_url"), "{message}");
    }
}
