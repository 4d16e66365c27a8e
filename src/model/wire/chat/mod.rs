//! The chat-completions API of `OpenAI` and of everybody who is compatible with it: `POST {base_url}/chat/completions`.

mod reply;
mod request;
mod stream;

use reqwest::Url;
use serde_json::{Map, Value};

use super::{Answer, BadReply, Stream, Wire, append};
use crate::model::{ChatRequest, Endpoint};

/// The format.
#[derive(Debug)]
pub(super) struct Chat;

impl Wire for Chat {
    fn locate(&self, _endpoint: &Endpoint, url: &mut Url) {
        append(url, self.own_path());
    }

    fn own_path(&self) -> &'static str {
        "/chat/completions"
    }

    fn key_header(&self, key: &str) -> (&'static str, String) {
        ("authorization", format!("Bearer {key}"))
    }

    fn headers(&self, _endpoint: &Endpoint) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn body(&self, endpoint: &Endpoint, request: &ChatRequest, schema: Option<&Value>) -> Map<String, Value> {
        request::body(endpoint, request, schema)
    }

    fn constrains(&self) -> bool {
        true
    }

    fn read(&self, reply: &Value) -> Result<Answer, BadReply> {
        reply::read(reply)
    }

    fn stream(&self) -> Box<dyn Stream> {
        Box::<stream::Assembly>::default()
    }
}
