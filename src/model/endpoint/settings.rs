//! The description of an endpoint, read and checked.
//!
//! Input: the table of a model file. Output: its parts in the types that are used, or everything that is wrong with it.
//! No key and no environment: `check` reads model files of people who have no key.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::retry::Backoff;
use crate::model::wire::{self, Wire};
use crate::model::{Endpoint, Problem, Provider};

/// How tools are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tools {
    /// By the protocol only.
    Native,
    /// Described in the text, called in the text.
    Text,
    /// Described in the text, called by an answer that is constrained to be a call.
    Schema,
    /// By the protocol; calls in the text are accepted.
    Auto,
}

/// What is needed to ask, but for the key.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// Where requests go, with everything that the base URL had.
    pub(super) url: Url,
    /// The base URL, always spelt the same: what models of the same server have in common.
    pub(super) server: String,
    pub(super) wire: &'static dyn Wire,
    pub(super) tools: Tools,
    /// Without the key.
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    pub(super) backoff: Backoff,
}

impl Settings {
    /// Reads all fields, so that all mistakes are found.
    pub(super) fn read(provider: &Provider, description: &Endpoint) -> Result<Self, Vec<Problem>> {
        let wire = wire::of(provider).ok_or_else(|| vec![Problem::new("base_url", "this provider has no endpoint")])?;
        let mut problems = Vec::new();
        let url = note(&mut problems, address(wire, description));
        let tools = note(&mut problems, tools(&description.tools, wire));
        let timeout = note(&mut problems, duration("timeout", &description.timeout));
        let pause = note(&mut problems, duration("retry.pause", &description.retry.pause));
        let pause_max = note(&mut problems, duration("retry.pause_max", &description.retry.pause_max));
        if description.retry.attempts == 0 {
            problems.push(Problem::new("retry.attempts", "must be at least 1"));
        }
        if description.stream && !wire.streams() {
            problems.push(Problem::new("stream", "this provider's streams cannot be read; leave it out"));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let own = wire.headers(description);
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in own.chain(description.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))) {
            if let Some((name, value)) = note(&mut problems, header(name, value)) {
                headers.insert(name, value);
            }
        }
        match (url, tools, timeout, pause, pause_max) {
            (Some(url), Some(tools), Some(timeout), Some(pause), Some(pause_max)) if problems.is_empty() => {
                let backoff = Backoff { attempts: description.retry.attempts, pause, pause_max };
                Ok(Self { url, server: server(description), wire, tools, headers, timeout, backoff })
            }
            _ => Err(problems),
        }
    }

    /// The address for messages: without user, password and query.
    pub(super) fn endpoint(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}{}", self.url.scheme(), self.url.host_str().unwrap_or_default(), self.url.path())
    }
}

fn note<T>(problems: &mut Vec<Problem>, read: Result<T, Problem>) -> Option<T> {
    read.map_err(|problem| problems.push(problem)).ok()
}

fn address(wire: &dyn Wire, description: &Endpoint) -> Result<Url, Problem> {
    let wrong = |why: &str| Problem::new("base_url", format!("must be an http or https address, such as https://HOST/v1: {why}"));
    let mut url = Url::parse(&description.base_url).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(&format!("{} is neither", url.scheme())));
    }
    if url.path().trim_end_matches('/').ends_with(wire.own_path()) {
        return Err(wrong(&format!("leave out {}", wire.own_path())));
    }
    wire.locate(description, &mut url);
    Ok(url)
}

fn server(description: &Endpoint) -> String {
    let spelt = Url::parse(&description.base_url).map_or_else(|_| description.base_url.clone(), String::from);
    spelt.trim_end_matches('/').to_owned()
}

fn tools(text: &str, wire: &dyn Wire) -> Result<Tools, Problem> {
    match text {
        "schema" if wire.constrains() => Ok(Tools::Schema),
        "schema" => Err(Problem::new("tools", "this provider cannot constrain its output by a schema; use native, text or auto")),
        "native" => Ok(Tools::Native),
        "text" => Ok(Tools::Text),
        "auto" => Ok(Tools::Auto),
        other => Err(Problem::new("tools", format!("must be native, text, schema or auto, not {other}"))),
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Problem> {
    let wrong = |why: &str| Problem::new(format!("headers.{name}"), why.to_owned());
    let header = HeaderName::try_from(name).map_err(|_| wrong("is no name of a header"))?;
    Ok((header, HeaderValue::try_from(value).map_err(|_| wrong("has a value that cannot be sent"))?))
}

fn duration(field: &str, text: &str) -> Result<Duration, Problem> {
    let wrong = || Problem::new(field, format!("must be a time such as 90s, not {text:?}"));
    let signed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, Vec<Problem>> {
        let description: Endpoint = toml::from_str(text).unwrap();
        Settings::read(&Provider::Openai(description.clone()), &description)
    }

    #[test]
    fn a_query_of_the_address_is_sent_but_not_shown() {
        let settings = read("base_url = 'https://user:pass@models.example:8443/v1/?key=hidden'\nmodel = 'm'").unwrap();
        assert_eq!(settings.url.query(), Some("key=hidden"));
        assert_eq!(settings.endpoint(), "https://models.example:8443/v1/chat/completions");
    }

    #[test]
    fn a_server_is_the_same_however_its_address_is_spelt() {
        let server = |url: &str| read(&format!("base_url = '{url}'\nmodel = 'm'")).unwrap().server;
        assert_eq!(server("https://Models.example:443/v1/"), server("https://models.example/v1"));
        assert_ne!(server("http://models.example/v1"), server("http://models.example/v2"));
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("timeout", "300s").unwrap(), Duration::from_mins(5));
        assert_eq!(duration("timeout", "2m").unwrap(), Duration::from_mins(2));
        assert_eq!(duration("timeout", "20ms").unwrap(), Duration::from_millis(20));
        assert!(duration("timeout", "-1s").is_err() && duration("timeout", "300").is_err());
    }

    #[test]
    fn all_mistakes_are_found_with_their_place() {
        let problems = read(
            "base_url = 'ftp://x/v1'\nmodel = 'm'\ntools = 'telepathy'\ntimeout = 'soon'\nheaders = { 'a b' = 'c', ok = \"x\\ny\" }\n\
             retry = { attempts = 0, pause = '-1s', pause_max = '1' }",
        )
        .unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            ["base_url", "tools", "timeout", "retry.pause", "retry.pause_max", "retry.attempts", "headers.a b", "headers.ok"]
        );
        let whole = read("base_url = 'http://x/v1/chat/completions'\nmodel = 'm'").unwrap_err();
        assert!(whole[0].message.contains("leave out"), "{whole:?}");
    }
}
