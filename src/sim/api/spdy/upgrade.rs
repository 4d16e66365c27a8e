//! From a request that asks for SPDY to a connection that speaks it.

use std::io;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::sim::status::Status;

/// What clients ask for, and are told.
const SPDY: &str = "SPDY/3.1";
const PROTOCOL: &str = "x-stream-protocol-version";
/// Bytes read at once.
const PIECE: usize = 32 << 10;

/// Whether a request wants its connection to become one of SPDY.
pub(in crate::sim::api) fn wanted(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(SPDY.as_bytes()))
}

/// The answer that agrees to it, and the connection that it becomes. The protocol is the first of `spoken` that the client knows.
pub(in crate::sim::api) fn agree(parts: &mut Parts, spoken: &[&str]) -> Result<(Response, Promise), Status> {
    let offered: Vec<&str> =
        parts.headers.get_all(PROTOCOL).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim).collect();
    let Some(protocol) = spoken.iter().find(|p| offered.contains(p)) else {
        let text = format!("unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {spoken:?}");
        return Err(Status::new(403, "Forbidden", text));
    };
    let promise = parts.extensions.remove::<OnUpgrade>().ok_or_else(|| Status::bad_request("unable to upgrade connection"))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
    if let Ok(value) = HeaderValue::from_str(protocol) {
        headers.insert(PROTOCOL, value);
    }
    Ok((response, Promise(promise)))
}

/// A connection that will be there when the answer has been sent.
pub(in crate::sim::api) struct Promise(OnUpgrade);

impl Promise {
    /// Talks over the connection when it is there, beside the caller and until `stop`.
    pub(in crate::sim::api) fn then<F: Future<Output = ()> + Send>(
        self,
        stop: CancellationToken,
        talk: impl FnOnce(Line) -> F + Send + 'static,
    ) {
        tokio::spawn(async move {
            let kept = async {
                // A client that has gone meanwhile has nothing more to hear.
                if let Ok(upgraded) = self.0.await {
                    talk(Line { io: TokioIo::new(upgraded), buffer: vec![0; PIECE] }).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = kept => {}
            }
        });
    }
}

/// A connection.
pub(in crate::sim::api) struct Line {
    io: TokioIo<Upgraded>,
    buffer: Vec<u8>,
}

impl Line {
    /// The next bytes; `None`: the client has gone. May be dropped before it is done: nothing is lost.
    pub(in crate::sim::api) async fn receive(&mut self) -> Option<Vec<u8>> {
        let read: io::Result<usize> = self.io.read(&mut self.buffer).await;
        let bytes = self.buffer.get(..read.ok()?)?;
        (!bytes.is_empty()).then(|| bytes.to_vec())
    }

    /// Sends bytes; whether the client is still there.
    pub(in crate::sim::api) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.io.write_all(bytes).await.is_ok() && self.io.flush().await.is_ok()
    }

    /// Says that nothing more comes.
    pub(in crate::sim::api) async fn end(&mut self) {
        // Whoever has gone needs no goodbye.
        let _gone = self.io.shutdown().await;
    }
}
