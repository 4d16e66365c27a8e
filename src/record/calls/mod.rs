//! Replies of models, kept by what was asked: a file a request, named by the request's digest.
//!
//! Inputs: requests and what came of them; outputs: `calls/<digest>.json`, and what was kept, found again by the same
//! request. [`RecordingModel`] puts this before a model: a run keeps every reply, a replay answers from an earlier run
//! and asks nobody, a cache answers what was asked before.

mod difference;
mod places;
mod recording;

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::atomic::write_atomically;
use crate::model::{ChatReply, ChatRequest, ModelError};
use crate::plan::digest_of;
pub use places::Places;
pub use recording::{Earlier, RecordingModel};

/// A request and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exchange {
    /// The model's description and everything that was asked, as JSON.
    pub request: Value,
    /// The reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<ChatReply>,
    /// Why there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ModelError>,
}

impl Exchange {
    /// The request part: `model` is [`crate::model::identity`].
    pub fn request(model: &Value, request: &ChatRequest, places: &Places) -> Value {
        let mut chat = serde_json::json!(request);
        places.take_out(&mut chat);
        serde_json::json!({ "model": model, "chat": chat })
    }

    /// What came of it.
    pub fn outcome(self) -> Result<ChatReply, ModelError> {
        match (self.reply, self.error) {
            (Some(reply), _) => Ok(reply),
            (None, Some(error)) => Err(error),
            (None, None) => Err(ModelError::Store("a file holds neither a reply nor an error".to_owned())),
        }
    }
}

/// A folder of exchanges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallStore {
    folder: Utf8PathBuf,
}

impl CallStore {
    /// In a folder, which is made when something is kept.
    pub fn new(folder: impl Into<Utf8PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder.
    pub fn folder(&self) -> &Utf8Path {
        &self.folder
    }

    /// Keeps an exchange; an earlier one of the same request is replaced.
    pub fn keep(&self, exchange: &Exchange) -> Result<(), ModelError> {
        let mut bytes = serde_json::to_vec_pretty(exchange).map_err(|e| ModelError::Store(e.to_string()))?;
        bytes.push(b'\n');
        write_atomically(&self.path(&exchange.request), &bytes).map_err(|e| ModelError::Store(format!("{e}: {}", e.source)))
    }

    /// What was kept of a request.
    pub fn find(&self, request: &Value) -> Result<Option<Exchange>, ModelError> {
        let path = self.path(request);
        match fs_err::read(&path) {
            Ok(bytes) => read(&path, &bytes).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(ModelError::Store(e.to_string())),
        }
    }

    /// What the request closest to `request` differs in.
    pub fn closest_difference(&self, request: &Value) -> Result<String, ModelError> {
        let mut kept = BTreeMap::new();
        let entries = match self.folder.read_dir_utf8() {
            Ok(entries) => entries,
            Err(e) => return Err(ModelError::Store(format!("failed to read {}: {e}", self.folder))),
        };
        for entry in entries.flatten().filter(|entry| entry.path().extension() == Some("json")) {
            let path = entry.into_path();
            let bytes = fs_err::read(&path).map_err(|e| ModelError::Store(e.to_string()))?;
            kept.insert(path.clone(), read(&path, &bytes)?.request);
        }
        Ok(difference::closest(request, kept.values()))
    }

    fn path(&self, request: &Value) -> Utf8PathBuf {
        self.folder.join(format!("{}.json", digest_of(request)))
    }
}

fn read(path: &Utf8Path, bytes: &[u8]) -> Result<Exchange, ModelError> {
    serde_json::from_slice(bytes).map_err(|e| ModelError::Store(format!("{path} cannot be read: {e}")))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{Message, Role, Usage};

    pub(super) fn folder() -> (tempfile::TempDir, CallStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = CallStore::new(Utf8Path::from_path(dir.path()).unwrap().join("calls"));
        (dir, store)
    }

    pub(super) fn asked(text: &str) -> ChatRequest {
        ChatRequest { messages: vec![Message::new(Role::User, text)], sample: "a/0".to_owned(), ..ChatRequest::default() }
    }

    pub(super) fn reply(text: &str) -> ChatReply {
        ChatReply {
            message: Message::new(Role::Assistant, text),
            usage: Usage::default(),
            finish_reason: "stop".to_owned(),
            dialect: "none".to_owned(),
            retries: Vec::new(),
            took: std::time::Duration::from_millis(1234),
        }
    }

    #[test]
    fn what_is_kept_is_found_by_the_same_request_alone() {
        let (_dir, store) = folder();
        let model = serde_json::json!({ "name": "m" });
        let request = Exchange::request(&model, &asked("hi"), &Places::default());
        assert!(store.find(&request).unwrap().is_none());
        store.keep(&Exchange { request: request.clone(), reply: Some(reply("yes")), error: None }).unwrap();
        let found = store.find(&request).unwrap().unwrap().outcome().unwrap();
        assert_eq!((found.message.content.as_str(), found.took.as_millis()), ("yes", 1234));
        for other in [ChatRequest { seed: Some(1), ..asked("hi") }, ChatRequest { sample: "a/1".to_owned(), ..asked("hi") }, asked("ho")] {
            assert!(store.find(&Exchange::request(&model, &other, &Places::default())).unwrap().is_none());
        }
        assert!(store.find(&Exchange::request(&serde_json::json!({ "name": "n" }), &asked("hi"), &Places::default())).unwrap().is_none());
    }

    #[test]
    fn a_torn_file_is_named() {
        let (_dir, store) = folder();
        let request = Exchange::request(&Value::Null, &asked("hi"), &Places::default());
        fs_err::create_dir_all(store.folder()).unwrap();
        fs_err::write(store.path(&request), "{\"request\"").unwrap();
        assert!(store.find(&request).unwrap_err().to_string().contains(".json cannot be read"));
    }
}
