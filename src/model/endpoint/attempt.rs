//! One attempt to get an answer: send the request, read the body within its limits, sort what went wrong.
//!
//! Input: the request body. Output: the provider's [`Answer`], or a [`Failure`] that says whether asking again can help.
//! What the bytes mean is the format's business ([`crate::model::wire`]).

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};

use super::connection::chain;
use super::events::Events;
use super::{EndpointModel, retry};
use crate::model::wire::{Answer, BadReply, Wire};

/// Longest body accepted; beyond it is no answer but a fault of the server.
const LONGEST_BODY: usize = 32 << 20;

/// Longest silence in the middle of a body.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);

/// How much of an error's body is read: more than is kept, so that a key is not cut in half before it is removed.
const BODY_READ: usize = 16 << 10;

/// How many characters of it are kept.
const BODY_START: usize = 600;

/// Why an attempt gave no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// May be better next time.
    Transient {
        /// What was met; may quote the key.
        what: String,
        /// Patience the server asked for.
        wait: Option<Duration>,
        /// It was asked too often.
        limited: bool,
    },
    /// The server will say the same again.
    Refused {
        /// HTTP status.
        status: u16,
        /// The body, as far as it was read; may quote the key.
        body: String,
    },
    /// Asking again is pointless, though the server did not refuse.
    Hopeless(String),
}

impl Failure {
    fn transient(what: impl Into<String>) -> Self {
        Self::Transient { what: what.into(), wait: None, limited: false }
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_builder() { Self::Hopeless(chain(&error)) } else { Self::transient(chain(&error)) }
    }
}

impl From<BadReply> for Failure {
    fn from(bad: BadReply) -> Self {
        match bad {
            BadReply::Malformed(what) => Self::transient(what),
            BadReply::Error { status: Some(status), text } if !retryable(status) => {
                Self::Refused { status: status.as_u16(), body: start(&text) }
            }
            BadReply::Error { status, text } => Self::Transient {
                what: format!("the server answered with an error: {text}"),
                wait: None,
                limited: status == Some(StatusCode::TOO_MANY_REQUESTS),
            },
        }
    }
}

impl EndpointModel {
    /// One attempt, within the time limit of attempts.
    pub(super) async fn attempt(&self, body: &str) -> Result<Answer, Failure> {
        let exchange = self.exchange(body.to_owned());
        tokio::time::timeout(self.settings.timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(Failure::transient(format!("no complete answer within {}", self.description.timeout))))
    }

    async fn exchange(&self, body: String) -> Result<Answer, Failure> {
        let response = self.client.post(self.settings.url.clone()).headers(self.headers.clone()).body(body).send().await?;
        let status = response.status();
        if status.is_success() {
            return read_answer(response, self.wire).await;
        }
        let wait = retry::retry_after(response.headers());
        let text = read_start(response).await;
        if retryable(status) {
            let limited = status == StatusCode::TOO_MANY_REQUESTS;
            return Err(Failure::Transient { what: format!("HTTP {}: {text}", status.as_u16()), wait, limited });
        }
        Err(Failure::Refused { status: status.as_u16(), body: text })
    }
}

fn retryable(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS)
        || status.is_server_error()
}

/// What came is decided by the content type and not by what was asked for: some servers stream never, some always.
async fn read_answer(mut response: Response, wire: &dyn Wire) -> Result<Answer, Failure> {
    let streamed = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if streamed {
        let mut events = Events::new(wire.stream());
        let mut length = 0_usize;
        while let Some(chunk) = next_chunk(&mut response, &mut length).await? {
            events.feed(&chunk)?;
            if events.is_done() {
                break;
            }
        }
        return Ok(events.finish()?);
    }
    let mut body = Vec::new();
    let mut length = 0_usize;
    while let Some(chunk) = next_chunk(&mut response, &mut length).await? {
        body.extend_from_slice(&chunk);
    }
    let reply = serde_json::from_slice(&body).map_err(|error| Failure::transient(format!("the answer is cut off or no JSON: {error}")))?;
    Ok(wire.read(&reply)?)
}

/// The next piece of the body; none at its end. `length` counts all pieces.
async fn next_chunk(response: &mut Response, length: &mut usize) -> Result<Option<Vec<u8>>, Failure> {
    let chunk = tokio::time::timeout(IDLE_TIMEOUT, response.chunk())
        .await
        .map_err(|_| Failure::transient(format!("the answer stopped for {} s", IDLE_TIMEOUT.as_secs())))??;
    let chunk = chunk.map(|chunk| chunk.to_vec());
    *length = length.saturating_add(chunk.as_ref().map_or(0, Vec::len));
    if *length > LONGEST_BODY {
        return Err(Failure::Hopeless(format!("the answer is longer than {} MiB", LONGEST_BODY >> 20)));
    }
    Ok(chunk)
}

/// The start of an error's body; how it ends, or whether it does, is of no interest.
async fn read_start(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < BODY_READ {
        match tokio::time::timeout(IDLE_TIMEOUT, response.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            _ => break,
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// The start of a text that was not ours, once the key is out of it.
pub(super) fn start(text: &str) -> String {
    let text = text.trim();
    if text.chars().count() <= BODY_START { text.to_owned() } else { text.chars().take(BODY_START).chain("...".chars()).collect() }
}
