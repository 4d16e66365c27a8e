//! Description of a model: the types of models/*.toml.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// A file models/NAME.toml.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Name used on the command line and in tables.
    pub name: String,
    /// What it is, one line.
    #[serde(default)]
    pub description: String,
    /// For reference policies: what they are in an experiment for. Models under test have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// How it is reached.
    pub provider: Provider,
    /// Prices, for cost columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// What the server allows; shared by all trials of a run, and by all models with the same `base_url` and key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// The file that this one adds to: models/NAME.toml or models/bases/NAME.toml. Tables are merged, everything else is
    /// replaced. Resolved when the file is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
}

/// What a server allows. Of files with the same `base_url` and key, the smaller number counts. After a 429 the calls side
/// by side are halved, and grow again with each success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls side by side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// Calls begun in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens, of prompts and completions, in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
}

/// Playbooks written by people or by other programs, handed in as if a model had written them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Playbooks {
    /// The folder: `TRIAL-ID.yml`, `SYSTEM/FAULT/TARGET.yml`, `FAULT/TARGET.yml` or `FAULT.yml`, the first that is there;
    /// a further playbook of the same trial has `.2`, `.3`, ... before its extension.
    pub folder: String,
}

/// What a reference policy is in an experiment for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It must recover every cell: a cell where it fails cannot be solved.
    MustPass,
    /// It must recover no cell: a cell where it passes mends itself.
    MustFail,
    /// What it earns is the floor that a model has to beat.
    Floor,
}

/// How a model is reached. Externally tagged: `[provider.openai]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// OpenAI-compatible chat completions.
    Openai(Endpoint),
    /// The Responses API of `OpenAI`.
    OpenaiResponses(Endpoint),
    /// The Messages API of Anthropic.
    Anthropic(Endpoint),
    /// `generateContent` of Google's Gemini API.
    Gemini(Endpoint),
    /// Chat completions of Azure `OpenAI`: `model` is the deployment's name.
    Azure(Endpoint),
    /// The Converse API of Amazon Bedrock, with an API key of Bedrock.
    Bedrock(Endpoint),
    /// A fixed policy: no network, no key.
    Scripted(Scripted),
    /// Playbooks that somebody else has written, a file a trial: no network, no key.
    Playbooks(Playbooks),
}

impl Provider {
    /// Its key in a model file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Openai(_) => "openai",
            Self::OpenaiResponses(_) => "openai-responses",
            Self::Anthropic(_) => "anthropic",
            Self::Gemini(_) => "gemini",
            Self::Azure(_) => "azure",
            Self::Bedrock(_) => "bedrock",
            Self::Scripted(_) => "scripted",
            Self::Playbooks(_) => "playbooks",
        }
    }

    /// The endpoint on the network; none for policies that need none.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Openai(e) | Self::OpenaiResponses(e) | Self::Anthropic(e) | Self::Gemini(e) | Self::Azure(e) | Self::Bedrock(e) => {
                Some(e)
            }
            Self::Scripted(_) | Self::Playbooks(_) => None,
        }
    }
}

/// An endpoint on the network, whatever it speaks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Base URL: what comes before the path that the API defines (`https://HOST/v1`; for Azure the resource's address).
    pub base_url: String,
    /// Model name sent.
    pub model: String,
    /// Name of the environment variable that holds the key; none for servers without keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// A file that holds the key, when no variable does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// Version of the API, where it wants one (`anthropic-version`, `api-version`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Ask for a stream of server-sent events.
    #[serde(default)]
    pub stream: bool,
    /// `native` tool calling, `text` fallback only, `schema`: output constrained by a JSON Schema, or `auto`: native, and
    /// text when the answer has no tool call.
    #[serde(default = "auto")]
    pub tools: String,
    /// Further fields of the request body (`temperature`, `max_tokens`, ...), sent as they are; tables are merged.
    #[serde(default)]
    pub options: IndexMap<String, serde_json::Value>,
    /// Further request headers.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// Time limit of one attempt.
    #[serde(default = "call_timeout")]
    pub timeout: String,
    /// Retries of infrastructure errors.
    #[serde(default)]
    pub retry: Retry,
}

fn auto() -> String {
    "auto".to_owned()
}

fn call_timeout() -> String {
    "300s".to_owned()
}

/// Retries of infrastructure errors: connection, 408, 409, 429, 5xx, cut-off or malformed bodies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// First pause; doubles each time, with jitter. A `Retry-After` header counts instead when longer.
    pub pause: String,
    /// Longest pause.
    pub pause_max: String,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, pause: "1s".to_owned(), pause_max: "60s".to_owned() }
    }
}

/// A scripted policy: the first turn whose condition holds is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scripted {
    /// Its turns, in order of preference.
    pub turns: Vec<Turn>,
}

/// One possible answer of a scripted policy. Templates see `tools` (names offered), `turn` (how many assistant messages
/// there were), `messages`, and everything that the trial tells reference policies (the gold playbook among it).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// A minijinja expression; none: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The tool called; none: a plain text answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Its arguments: each value is a template.
    #[serde(default)]
    pub arguments: IndexMap<String, String>,
    /// The text: a template.
    #[serde(default)]
    pub text: String,
}

/// Prices in US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Prompt tokens.
    pub prompt: f64,
    /// Completion tokens.
    pub completion: f64,
    /// Cached prompt tokens; default: as prompt tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<f64>,
}
