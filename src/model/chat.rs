//! The conversation, in the shape that all providers share.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions.
    System,
    /// The harness.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// Visible text.
    pub content: String,
    /// Tool calls of an assistant message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// For tool messages: the call answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Reasoning text that the provider gave apart from the answer; recorded, never shown to agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
}

impl Message {
    /// A plain message.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None, reasoning: None }
    }
}

/// A request of the model to run a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Provider's id, or `call-N` where it gave none.
    pub id: String,
    /// Tool name as the model wrote it.
    pub name: String,
    /// Arguments as JSON. Where the model's text was no JSON object: `Err` with the text and what is wrong with it.
    pub arguments: Result<serde_json::Map<String, serde_json::Value>, MalformedArguments>,
}

/// Tool arguments that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MalformedArguments {
    /// What the model wrote.
    pub text: String,
    /// Why it is no JSON object.
    pub error: String,
}

/// A tool offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Name.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: serde_json::Value,
}

/// Whether the model must call a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// It must call one of the tools.
    #[default]
    Required,
}

/// One turn asked of a model.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Tools offered.
    pub tools: Vec<ToolSpec>,
    /// Whether one must be called.
    pub tool_choice: ToolChoice,
    /// Seed for providers that take one.
    pub seed: Option<u64>,
    /// What a *scripted* policy may know (the trial's facts and the reference repair). Never sent to a provider.
    #[serde(skip)]
    pub reference: serde_json::Value,
}

/// Token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens.
    pub prompt: u64,
    /// Completion tokens, reasoning included.
    pub completion: u64,
    /// Cached prompt tokens, of `prompt`.
    #[serde(default)]
    pub cached: u64,
    /// Reasoning tokens, of `completion`.
    #[serde(default)]
    pub reasoning: u64,
    /// True when the provider reported nothing and these are estimated as characters / 4.
    pub estimated: bool,
}

/// One reply.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChatReply {
    /// The assistant's message.
    pub message: Message,
    /// Tokens.
    pub usage: Usage,
    /// `stop`, `tool_calls`, `length`, ... as the provider said.
    pub finish_reason: String,
    /// How the tool call was found: `native`, `text`, `none`.
    pub dialect: String,
    /// Failed attempts before this one, with their errors.
    pub retries: Vec<String>,
    /// Real time of the successful call.
    pub took: Duration,
}
