//! What all formats read into, and what they read alike.

use reqwest::StatusCode;
use serde_json::Value;

use crate::model::Usage;

/// What a provider answered, before tool calls are looked for in the text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) content: String,
    pub(crate) reasoning: Option<String>,
    pub(crate) calls: Vec<Call>,
    /// What has to be sent back as it came.
    pub(crate) opaque: Vec<Value>,
    pub(crate) usage: Option<Usage>,
    pub(crate) finish_reason: Option<String>,
}

/// A tool call as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    /// As text, whatever it was.
    pub(crate) arguments: String,
}

/// Why a successful response holds no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadReply {
    /// Cut off, or not what the API promises.
    Malformed(String),
    /// An error in the place of an answer.
    Error { status: Option<StatusCode>, text: String },
}

impl BadReply {
    /// A reply that lacks something.
    pub(super) fn lacks(what: &str) -> Self {
        Self::Malformed(format!("the answer has no {what}"))
    }
}

/// Gateways report an error of the provider behind them with HTTP 200, and streams have no other way.
pub(super) fn check_error(reply: &Value) -> Result<(), BadReply> {
    let Some(error) = reply.get("error").filter(|error| !error.is_null()) else { return Ok(()) };
    let code = error.get("code").and_then(number).and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    let status = code.filter(|status| status.is_client_error() || status.is_server_error()).or_else(|| named_status(error));
    let text = error.get("message").and_then(Value::as_str).map_or_else(|| error.to_string(), str::to_owned);
    Err(BadReply::Error { status, text })
}

/// The status that an error's name stands for.
fn named_status(error: &Value) -> Option<StatusCode> {
    let name = ["type", "code"].iter().find_map(|key| error.get(*key)?.as_str())?;
    match name {
        "invalid_request_error" => Some(StatusCode::BAD_REQUEST),
        "authentication_error" => Some(StatusCode::UNAUTHORIZED),
        "permission_error" => Some(StatusCode::FORBIDDEN),
        "not_found_error" => Some(StatusCode::NOT_FOUND),
        "rate_limit_error" | "rate_limit_exceeded" => Some(StatusCode::TOO_MANY_REQUESTS),
        "api_error" | "server_error" => Some(StatusCode::INTERNAL_SERVER_ERROR),
        "overloaded_error" => Some(StatusCode::SERVICE_UNAVAILABLE),
        _ => None,
    }
}

/// Text that is a string, nothing, or a list of parts.
pub(super) fn text_of(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part.as_str().or_else(|| part.get("text")?.as_str())).collect(),
        _ => String::new(),
    }
}

/// Arguments as text, whether they came as text or as an object.
pub(super) fn arguments_of(arguments: Option<&Value>) -> String {
    match arguments {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A text field that is there and not empty.
pub(super) fn filled(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A count, also where it was written as text.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The count at a pointer.
pub(super) fn count(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer).and_then(number)
}

/// Text and reasoning gathered from the parts of a message; none where there was none.
pub(super) fn joined(parts: &[String]) -> Option<String> {
    (!parts.is_empty()).then(|| parts.join("\n"))
}

/// Moves reasoning that a server left in the text (`<think>...</think>` at its start) to where it belongs. Where the
/// chat template already opened the block, only its end is in the text.
pub(crate) fn split_reasoning(reasoning: Option<String>, content: String) -> (Option<String>, String) {
    const OPEN: &str = "<think>";
    const CLOSE: &str = "</think>";
    let (thought, rest) = match (content.trim_start().strip_prefix(OPEN), content.split_once(CLOSE)) {
        (Some(opened), Some(_)) => opened.split_once(CLOSE).unwrap_or((opened, "")),
        // Cut off while thinking.
        (Some(opened), None) => (opened, ""),
        (None, Some((before, after))) if !before.contains(OPEN) => (before, after),
        _ => return (reasoning, content),
    };
    let parts: Vec<&str> = reasoning.as_deref().into_iter().chain([thought.trim()]).filter(|part| !part.is_empty()).collect();
    ((!parts.is_empty()).then(|| parts.join("\n")), rest.trim_start().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reasoning_in_the_text_is_moved() {
        let split = |text: &str| {
            let (reasoning, content) = split_reasoning(None, text.to_owned());
            (reasoning.unwrap_or_default(), content)
        };
        let pair = |reasoning: &str, content: &str| (reasoning.to_owned(), content.to_owned());
        assert_eq!(split("<think>\nhm\n</think>\n\nyes"), pair("hm", "yes"));
        assert_eq!(split("hm\n</think>yes"), pair("hm", "yes"));
        assert_eq!(split("<think></think>yes"), pair("", "yes"));
        assert_eq!(split("<think>cut off"), pair("cut off", ""));
        assert_eq!(split("the tag <think>a</think> is quoted"), pair("", "the tag <think>a</think> is quoted"));
        assert_eq!(split("plain"), pair("", "plain"));
        let both = split_reasoning(Some("first".to_owned()), "<think>second</think>x".to_owned());
        assert_eq!(both, (Some("first\nsecond".to_owned()), "x".to_owned()));
    }

    #[test]
    fn errors_inside_a_success_keep_their_status() {
        let error = check_error(&json!({ "error": { "code": 429, "message": "slow down" } })).unwrap_err();
        assert_eq!(error, BadReply::Error { status: Some(StatusCode::TOO_MANY_REQUESTS), text: "slow down".to_owned() });
        let error = check_error(&json!({ "type": "error", "error": { "type": "overloaded_error", "message": "busy" } })).unwrap_err();
        assert_eq!(error, BadReply::Error { status: Some(StatusCode::SERVICE_UNAVAILABLE), text: "busy".to_owned() });
        let error = check_error(&json!({ "error": "broken" })).unwrap_err();
        assert_eq!(error, BadReply::Error { status: None, text: "\"broken\"".to_owned() });
    }
}
