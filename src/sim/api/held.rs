//! Answers that hold the clock until they have been sent.
//!
//! Between the moment an answer is ready and the moment its client can read it, client and server both seem to wait; a
//! crowded machine stretches that moment to many milliseconds, in which time must not run on.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http_body::{Frame, SizeHint};

use crate::sim::clock::Hold;

/// The response, with a hold that is let go when its body has been taken over by the connection.
pub(super) fn until_sent(response: Response, hold: Hold) -> Response {
    response.map(|inner| Body::new(Held { inner, _hold: hold }))
}

struct Held {
    inner: Body,
    _hold: Hold,
}

impl HttpBody for Held {
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
