//! The conversation, in the shape that all providers share.

use std::ops::AddAssign;
use std::time::Duration;

use super::Price;
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
    /// What the provider wants back as it came (signed thoughts); means nothing to anybody else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opaque: Vec<serde_json::Value>,
}

impl Message {
    /// A plain message.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None, reasoning: None, opaque: Vec::new() }
    }
}

/// A request of the model to run a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Provider's id, or `call-N` where it gave none.
    pub id: String,
    /// The offered tool's name where the model's spelling differs only in case, `-` and `_`; else as the model wrote it.
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
    /// Which sample this conversation is: two trials that say the same are two samples all the same. Never sent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sample: String,
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
    /// How the tool call was found: `native`, `text`, `none`; `+` and what was done to its arguments to read them
    /// (`unfenced`, `joined`, `as-text`).
    pub dialect: String,
    /// Failed attempts before this one, with their errors.
    pub retries: Vec<String>,
    /// Real time of the successful call.
    pub took: Duration,
}

impl Usage {
    /// Characters that are counted as one token where the provider reports nothing.
    const CHARACTERS_PER_TOKEN: usize = 4;

    /// What a request and its reply probably took, from their number of characters. Marked as an estimate.
    pub fn estimate(request_characters: usize, reply_characters: usize) -> Self {
        let tokens = |characters: usize| u64::try_from(characters.div_ceil(Self::CHARACTERS_PER_TOKEN)).unwrap_or(u64::MAX);
        Self { prompt: tokens(request_characters), completion: tokens(reply_characters), cached: 0, reasoning: 0, estimated: true }
    }

    /// Cost in US dollars. Reasoning tokens are completion tokens; cached ones are prompt tokens at their own price.
    #[expect(clippy::cast_precision_loss, reason = "token counts stay far below 2^52")]
    pub fn cost(&self, price: &Price) -> f64 {
        let cached = self.cached.min(self.prompt);
        let fresh = (self.prompt - cached) as f64 * price.prompt;
        let reused = cached as f64 * price.cached.unwrap_or(price.prompt);
        (fresh + reused + self.completion as f64 * price.completion) / 1e6
    }
}

/// A sum is an estimate as soon as one of its parts is.
impl AddAssign for Usage {
    #[expect(clippy::suspicious_op_assign_impl, reason = "the mark of an estimate is no number: one estimated part marks the sum")]
    fn add_assign(&mut self, other: Self) {
        self.prompt = self.prompt.saturating_add(other.prompt);
        self.completion = self.completion.saturating_add(other.completion);
        self.cached = self.cached.saturating_add(other.cached);
        self.reasoning = self.reasoning.saturating_add(other.reasoning);
        self.estimated |= other.estimated;
    }
}

impl ChatRequest {
    /// Characters of everything a provider would be sent, for estimates.
    pub fn characters(&self) -> usize {
        let messages: usize = self.messages.iter().map(Message::characters).sum();
        let tools: usize = self
            .tools
            .iter()
            .map(|tool| tool.name.chars().count() + tool.description.chars().count() + tool.parameters.to_string().chars().count())
            .sum();
        messages + tools
    }
}

impl Message {
    /// Characters of the text and of the tool calls; reasoning, which is not sent back, is left out.
    pub fn characters(&self) -> usize {
        let calls: usize = self.tool_calls.iter().map(|call| call.name.chars().count() + call.arguments_text().chars().count()).sum();
        self.content.chars().count() + calls
    }
}

impl ToolCall {
    /// The arguments as JSON text; what the model wrote where that was none.
    pub fn arguments_text(&self) -> String {
        match &self.arguments {
            Ok(arguments) => serde_json::Value::Object(arguments.clone()).to_string(),
            Err(malformed) => malformed.text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(prompt: u64, completion: u64, cached: u64, estimated: bool) -> Usage {
        Usage { prompt, completion, cached, reasoning: 0, estimated }
    }

    #[test]
    fn cached_tokens_cost_their_own_price() {
        let price = Price { prompt: 2.0, completion: 10.0, cached: Some(0.5) };
        let cost = usage(1_000_000, 100_000, 400_000, false).cost(&price);
        assert!((cost - (1.2 + 0.2 + 1.0)).abs() < 1e-9, "{cost}");
    }

    #[test]
    fn cached_tokens_without_a_price_cost_as_prompt_tokens() {
        let price = Price { prompt: 2.0, completion: 0.0, cached: None };
        assert!((usage(1_000_000, 0, 900_000, false).cost(&price) - 2.0).abs() < 1e-9);
        assert!((usage(1_000_000, 0, 9_000_000, false).cost(&price) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn sums_keep_the_mark_of_an_estimate() {
        let mut sum = usage(1, 2, 0, false);
        sum += usage(10, 20, 5, false);
        assert_eq!(sum, usage(11, 22, 5, false));
        sum += Usage::estimate(5, 0);
        assert_eq!(sum, usage(13, 22, 5, true));
    }
}
