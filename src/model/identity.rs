//! What of a model's description can change an answer: the key under which replies are kept.
//!
//! Input: a [`ModelSpec`]; output: JSON without keys, time limits, retries and prices. Whatever could hold a secret
//! (values of headers, the query of an address) is in it as a digest.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ModelSpec;

/// Fields of an endpoint that change no answer.
const IRRELEVANT: [&str; 5] = ["key_env", "key_file", "timeout", "retry", "stream"];

/// Digits of a digest.
const DIGITS: usize = 16;

/// The description as it is kept with a reply.
pub fn identity(spec: &ModelSpec) -> Value {
    let mut provider = serde_json::to_value(&spec.provider).unwrap_or_default();
    if let Some(fields) = provider.get_mut(spec.provider.name()).and_then(Value::as_object_mut) {
        for field in IRRELEVANT {
            fields.remove(field);
        }
        if let Some(headers) = fields.remove("headers").filter(|headers| headers.as_object().is_some_and(|map| !map.is_empty())) {
            fields.insert("headers".to_owned(), json!(digest(&headers.to_string())));
        }
        if let Some(address) = fields.get("base_url").and_then(Value::as_str).and_then(shown) {
            fields.insert("base_url".to_owned(), json!(address));
        }
    }
    json!({ "name": spec.name, "provider": provider })
}

/// An address that has a user or a query, without them; none where there is nothing to hide.
fn shown(address: &str) -> Option<String> {
    let url = reqwest::Url::parse(address).ok()?;
    let hides = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let plain = format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path());
    hides.then(|| format!("{plain} {}", digest(address)))
}

fn digest(text: &str) -> String {
    use std::fmt::Write as _;
    let digits = Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut digits, byte| {
        // Writing to a String cannot fail.
        let _written = write!(digits, "{byte:02x}");
        digits
    });
    digits.chars().take(DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(more: &str) -> Value {
        let text = format!("name = 'm'\n[provider.openai]\nbase_url = 'http://u:secret1@h:1/v1?key=secret2'\nmodel = 'x'\n{more}");
        identity(&toml::from_str(&text).unwrap())
    }

    #[test]
    fn only_what_changes_an_answer_counts_and_nothing_secret_is_shown() {
        let plain = of("");
        assert_eq!(of("timeout = '1s'\nkey_env = 'K'\nretry = { attempts = 1 }"), plain);
        assert_ne!(of("options = { temperature = 1.0 }"), plain);
        let with_header = of("headers = { authorization = 'secret3' }");
        assert_ne!(with_header, plain);
        assert!(!with_header.to_string().contains("secret"), "{with_header}");
        assert!(plain["provider"]["openai"]["base_url"].as_str().unwrap().starts_with("http://h:1/v1 "));
    }
}
