//! Answers that keep something until they have been sent: the clock's hold, the place of their connection.
//!
//! Between the moment an answer is ready and the moment its client can read it, client and server both seem to wait; a
//! crowded machine stretches that moment to many milliseconds, in which time must not run on.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http_body::{Frame, SizeHint};

/// The response, with a guard that is dropped when its body has been taken over by the connection.
pub(super) fn until_sent<G: Send + Unpin + 'static>(response: Response, guard: G) -> Response {
    response.map(|inner| Body::new(Guarded { inner, _guard: guard }))
}

struct Guarded<G> {
    inner: Body,
    _guard: G,
}

impl<G: Unpin> HttpBody for Guarded<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    // Both are passed on so that the answer keeps its Content-Length.
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
