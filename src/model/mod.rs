//! Language models: one conversation turn in, one reply out, whatever the provider.
//!
//! Knows nothing of faults, systems or methods. Input: a [`ModelSpec`] (from models/*.toml, by way of `manifest`) and
//! [`ChatRequest`]s; output: [`ChatReply`]s with what the provider reported. Infrastructure errors are retried here;
//! a bad answer never is.

mod chat;
mod spec;

pub use chat::{ChatReply, ChatRequest, Message, Role, ToolCall, ToolChoice, ToolSpec, Usage};
pub use spec::{ModelSpec, OpenAi, Price, Provider, Retry, Scripted, Turn};

use std::future::Future;
use std::pin::Pin;

/// A model that can be talked to. Object safe: the executor holds `Arc<dyn ChatModel>`.
pub trait ChatModel: Send + Sync {
    /// One turn. Cancel by dropping the future: requests in flight are aborted.
    fn chat<'a>(&'a self, request: &'a ChatRequest) -> Pin<Box<dyn Future<Output = Result<ChatReply, ModelError>> + Send + 'a>>;
}

/// Why no reply could be had. Never about the quality of an answer.
#[derive(Debug, Clone, thiserror::Error)]
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
    /// A scripted model's template failed.
    #[error("the scripted model's turn could not be rendered: {0}")]
    Script(String),
}
