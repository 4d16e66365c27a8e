//! A server that speaks the chat-completions API, and misbehaves as told.
//!
//! Include it with `#[path = "../support/model_server.rs"] mod model_server;`. Input: the acts, one a request, the last
//! for all further ones. Output: a base URL on loopback, and what was asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use futures::StreamExt as _;
use serde_json::{Value, json};

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Answers with status, headers and body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Promises a body and closes the connection in the midst of it.
    Cut(&'static str, String),
    /// Sends the start of a body, then nothing.
    Stall(String),
    /// Takes the request and says nothing.
    Hang,
}

impl Act {
    /// A proper answer with this message.
    pub(crate) fn message(message: &Value) -> Self {
        Self::json(200, &completion(message))
    }

    /// A proper answer that is one native tool call.
    pub(crate) fn tool_call(name: &str, arguments: &Value) -> Self {
        Self::message(&json!({
            "role": "assistant",
            "content": null,
            "tool_calls": [{ "id": "c-1", "type": "function", "function": { "name": name, "arguments": arguments } }],
        }))
    }

    /// Any JSON with any status.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Answer(status, vec![("content-type", "application/json".to_owned())], body.to_string())
    }

    /// A complete stream of these deltas, with usage at its end.
    pub(crate) fn stream(deltas: &[Value]) -> Self {
        let usage = json!({ "choices": [], "usage": { "prompt_tokens": 30, "completion_tokens": 20 } });
        let end = json!({ "choices": [{ "delta": {}, "finish_reason": "tool_calls" }] });
        let body = format!("{}data: {end}\n\ndata: {usage}\n\ndata: [DONE]\n\n", events(deltas));
        Self::Answer(200, vec![("content-type", "text/event-stream; charset=utf-8".to_owned())], body)
    }

    /// A stream that ends, without an error of the transport, before the model has.
    pub(crate) fn short_stream(deltas: &[Value]) -> Self {
        Self::Answer(200, vec![("content-type", "text/event-stream".to_owned())], events(deltas))
    }

    fn response(self) -> Response {
        let (status, headers, body) = match self {
            Self::Answer(status, headers, body) => (status, headers, Body::from(body)),
            Self::Cut(kind, start) => {
                let cut = async {
                    // Long enough for the start to leave.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Err(std::io::Error::other("cut"))
                };
                let pieces = futures::stream::iter([Ok(Bytes::from(start))]).chain(futures::stream::once(cut));
                (200, vec![("content-type", kind.to_owned())], Body::from_stream(pieces))
            }
            Self::Stall(start) => {
                let pieces = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(start))]).chain(futures::stream::pending());
                (200, Vec::new(), Body::from_stream(pieces))
            }
            Self::Hang => (500, Vec::new(), Body::empty()),
        };
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        response.body(body).unwrap_or_else(|error| {
            let mut response = Response::new(Body::from(format!("the act cannot be played: {error}")));
            *response.status_mut() = StatusCode::IM_A_TEAPOT;
            response
        })
    }
}

/// A whole reply around `message`.
pub(crate) fn completion(message: &Value) -> Value {
    let reason = if message.get("tool_calls").is_some() { "tool_calls" } else { "stop" };
    json!({
        "id": "x",
        "object": "chat.completion",
        "choices": [{ "index": 0, "message": message, "finish_reason": reason }],
        "usage": { "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
                   "prompt_tokens_details": { "cached_tokens": 40 }, "completion_tokens_details": { "reasoning_tokens": 10 } },
    })
}

fn events(deltas: &[Value]) -> String {
    deltas.iter().fold(String::new(), |text, delta| {
        let event = json!({ "choices": [{ "index": 0, "delta": delta }] });
        format!("{text}data: {event}\n\n")
    })
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

#[derive(Debug, Clone)]
struct Stage {
    acts: Arc<Vec<Act>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// The running server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct ModelServer {
    /// What belongs into a model's `base_url`.
    pub(crate) base_url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl ModelServer {
    /// Starts it on a free port of loopback.
    pub(crate) async fn start(acts: Vec<Act>) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let stage = Stage { acts: Arc::new(acts), asked: Arc::default() };
        let asked = Arc::clone(&stage.asked);
        let router = Router::new().route("/v1/chat/completions", post(play)).with_state(stage);
        let task = tokio::spawn(async move {
            // An error here shows in the test as a refused connection.
            drop(axum::serve(listener, router).await);
        });
        Ok(Self { base_url, asked, task })
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn play(State(stage): State<Stage>, headers: HeaderMap, body: Bytes) -> Response {
    let index = {
        let mut asked = stage.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(Asked { headers, body: serde_json::from_slice(&body).unwrap_or_default() });
        asked.len() - 1
    };
    let act = stage.acts.get(index).or_else(|| stage.acts.last()).cloned();
    let act = act.unwrap_or_else(|| Act::json(500, &json!({ "error": "no act is left" })));
    if matches!(act, Act::Hang) {
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    act.response()
}
