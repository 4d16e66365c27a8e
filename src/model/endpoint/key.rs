//! The key of an endpoint: from the environment or a file, never shown.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::model::{Endpoint, ModelError, ModelSpec};

/// Shorter keys are placeholders of servers without keys; replacing them would tear up innocent text.
const SHORTEST_SECRET: usize = 6;

/// A key, or none for servers without keys.
#[derive(Debug, Clone)]
pub(super) struct Key(Option<SecretString>);

impl Key {
    /// Looks it up where the description says.
    pub(super) fn find(description: &Endpoint, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ModelError> {
        let usable = |key: String| Some(key.trim().to_owned()).filter(|key| !key.is_empty());
        let from_env = description.key_env.as_deref().and_then(env).and_then(usable);
        let key = match (from_env, &description.key_file, &description.key_env) {
            (Some(key), ..) => Some(key),
            (None, Some(path), _) => {
                let text = fs_err::read_to_string(path).map_err(|error| ModelError::BadSpec(format!("key_file: {error}")))?;
                Some(usable(text).ok_or_else(|| ModelError::BadSpec(format!("key_file: {path} is empty")))?)
            }
            (None, None, Some(name)) => return Err(ModelError::NoKey(name.clone())),
            (None, None, None) => None,
        };
        Ok(Self(key.map(SecretString::from)))
    }

    /// The key itself, for the one header that carries it.
    pub(super) fn expose(&self) -> Option<&str> {
        self.0.as_ref().map(ExposeSecret::expose_secret)
    }

    /// `text` without the key: servers like to quote what they were sent.
    pub(super) fn redact(&self, text: &str) -> String {
        match self.expose() {
            Some(key) if key.len() >= SHORTEST_SECRET => text.replace(key, "[key]"),
            _ => text.to_owned(),
        }
    }

    /// The same at any depth of a JSON value.
    pub(super) fn redact_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.redact(text)),
            Value::Array(list) => list.iter().map(|inner| self.redact_value(inner)).collect(),
            Value::Object(map) => Value::Object(map.iter().map(|(key, inner)| (self.redact(key), self.redact_value(inner))).collect()),
            other => other.clone(),
        }
    }
}

/// The keys of many models, to be kept out of what children print: a child can read more than it is given.
#[derive(Debug, Default)]
pub struct Secrets(Vec<Key>);

impl Secrets {
    /// Of all models whose key can be found. `env` looks up environment variables.
    pub fn find<'a>(models: impl Iterator<Item = &'a ModelSpec>, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let keys = models.filter_map(|spec| Key::find(spec.provider.endpoint()?, env).ok());
        Self(keys.filter(|key| key.expose().is_some()).collect())
    }

    /// A value without the keys; none when it holds none.
    pub fn redacted(&self, value: &Value) -> Option<Value> {
        let clean = self.0.iter().fold(value.clone(), |value, key| key.redact_value(&value));
        (clean != *value).then_some(clean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(more: &str, value: Option<&str>) -> Result<Key, ModelError> {
        let description: Endpoint = toml::from_str(&format!("base_url = 'http://x/v1'\nmodel = 'm'\n{more}")).unwrap();
        Key::find(&description, &|_| value.map(str::to_owned))
    }

    #[test]
    fn keys_are_taken_out_of_everything() {
        let key = find("key_env = 'K'", Some(" sk-topsecret\n")).unwrap();
        assert!(!format!("{key:?}").contains("topsecret"), "{key:?}");
        let value = serde_json::json!({ "a": ["x sk-topsecret", 1], "sk-topsecret": null });
        assert_eq!(key.redact_value(&value), serde_json::json!({ "a": ["x [key]", 1], "[key]": null }));
        assert_eq!(find("key_env = 'K'", Some("s")).unwrap().redact("success"), "success");
    }

    #[test]
    fn a_file_stands_in_for_the_variable() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), "sk-from-file\n").unwrap();
        let more = format!("key_env = 'K'\nkey_file = '{}'", file.path().display());
        assert_eq!(find(&more, None).unwrap().expose(), Some("sk-from-file"));
        assert_eq!(find(&more, Some("sk-from-env")).unwrap().expose(), Some("sk-from-env"));
        fs_err::write(file.path(), " \n").unwrap();
        assert!(find(&more, None).unwrap_err().to_string().contains("is empty"));
        assert!(matches!(find("key_env = 'K'", None), Err(ModelError::NoKey(name)) if name == "K"));
    }
}
