//! Chat completions as Azure serves them: a path with the deployment's name, a version in the query, its own header for
//! the key. Everything else is [`super::chat`].

use reqwest::Url;
use serde_json::{Map, Value};

use super::chat::Chat;
use super::{Answer, BadReply, Stream, Wire, append};
use crate::model::{ChatRequest, Endpoint};

/// The version asked for where the model file names none.
const API_VERSION: &str = "2024-10-21";

/// The format.
#[derive(Debug)]
pub(super) struct Azure;

impl Wire for Azure {
    fn locate(&self, endpoint: &Endpoint, url: &mut Url) {
        if !url.path().contains("/openai") {
            append(url, "/openai");
        }
        append(url, &format!("/deployments/{}/chat/completions", endpoint.model));
        if url.query_pairs().all(|(name, _)| name != "api-version") {
            url.query_pairs_mut().append_pair("api-version", endpoint.api_version.as_deref().unwrap_or(API_VERSION));
        }
    }

    fn own_path(&self) -> &'static str {
        "/chat/completions"
    }

    fn key_header(&self, key: &str) -> (&'static str, String) {
        ("api-key", key.to_owned())
    }

    fn headers(&self, _endpoint: &Endpoint) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn body(&self, endpoint: &Endpoint, request: &ChatRequest, schema: Option<&Value>) -> Map<String, Value> {
        Chat.body(endpoint, request, schema)
    }

    fn constrains(&self) -> bool {
        true
    }

    fn read(&self, reply: &Value) -> Result<Answer, BadReply> {
        Chat.read(reply)
    }

    fn stream(&self) -> Box<dyn Stream> {
        Chat.stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deployment_and_the_version_are_in_the_address() {
        for (base, more, expected) in [
            (
                "https://mine.openai.azure.com",
                "api_version = '2025-01-01'",
                "https://mine.openai.azure.com/openai/deployments/prod/chat/completions?api-version=2025-01-01",
            ),
            (
                "https://gateway.example/x/openai/",
                "",
                "https://gateway.example/x/openai/deployments/prod/chat/completions?api-version=2024-10-21",
            ),
        ] {
            let endpoint: Endpoint = toml::from_str(&format!("base_url = '{base}'\nmodel = 'prod'\n{more}")).unwrap();
            let mut url = Url::parse(base).unwrap();
            Azure.locate(&endpoint, &mut url);
            assert_eq!(url.as_str(), expected);
        }
    }
}
