//! Requests with their answers, for whoever looks on: a test, or somebody who wants to know what a client was told.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};

/// So much of an answer is kept: it may be a stream that does not end.
const KEPT: usize = 1 << 20;

/// One request and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// HTTP status.
    pub status: u16,
    /// The beginning of the answer's body, as far as it was sent.
    pub answer: Vec<u8>,
}

/// Is told of every exchange when its answer has ended.
#[derive(Clone)]
pub struct Onlooker(Arc<dyn Fn(Exchange) + Send + Sync>);

impl Onlooker {
    /// One who does `tell` with each.
    pub fn new(tell: impl Fn(Exchange) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }
}

impl fmt::Debug for Onlooker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Onlooker")
    }
}

/// Lets an onlooker see a request and its answer.
pub(super) async fn seen(State(onlooker): State<Onlooker>, request: Request, next: Next) -> Response {
    let path = request.uri().path_and_query().map_or_else(String::new, |p| p.as_str().to_owned());
    let method = request.method().to_string();
    let response = next.run(request).await;
    let exchange = Exchange { method, path, status: response.status().as_u16(), answer: Vec::new() };
    response.map(|inner| Body::new(Seen { inner, exchange: Some(exchange), onlooker }))
}

struct Seen {
    inner: Body,
    exchange: Option<Exchange>,
    onlooker: Onlooker,
}

impl Drop for Seen {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            (self.onlooker.0)(exchange);
        }
    }
}

impl HttpBody for Seen {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && let Some(exchange) = &mut self.exchange
        {
            let room = KEPT.saturating_sub(exchange.answer.len()).min(data.len());
            exchange.answer.extend(data.iter().take(room));
        }
        polled
    }

    // Both are passed on so that the answer keeps its Content-Length.
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
