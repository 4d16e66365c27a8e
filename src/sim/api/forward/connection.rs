//! One forwarded connection: what the process behind a pod's port makes of the bytes that it is sent.
//!
//! Input: the client's bytes. Output: [`Piece`]s. HTTP requests are answered as the traffic model answers them; whatever
//! else is sent comes back as it was.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::mpsc;

use crate::sim::clock::Hold;
use crate::sim::resource::Key;
use crate::sim::traffic::{self, Ask, Failure};
use crate::sim::world::Engine;

/// How long the forwarder waits for a connection or an answer, in seconds.
const PATIENCE: f64 = 60.0;
/// How many pieces may wait in either direction.
const QUEUE: usize = 64;
/// Longest head of a request, and longest body that is taken before the connection is given up.
const HEAD_MAX: usize = 64 << 10;
const BODY_MAX: usize = 8 << 20;

const METHODS: [&str; 8] = ["GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE ", "OPTIONS ", "TRACE "];

/// What comes back over a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes.
    Data(Vec<u8>),
    /// It could not be made.
    Failed(String),
    /// It is closed.
    End,
}

/// Opens a connection to a port of a pod. `id` comes back with each piece; the connection ends when the sender is dropped.
pub(super) fn open(engine: Arc<Engine>, key: Key, port: u16, id: u32, out: mpsc::Sender<(u32, Piece)>) -> mpsc::Sender<Vec<u8>> {
    let (input, received) = mpsc::channel(QUEUE);
    let connection = Connection { engine, key, port };
    tokio::spawn(async move {
        // Nobody listens any more when a piece cannot be sent.
        let _gone = connection.converse(received, id, &out).await;
        let _gone = out.send((id, Piece::End)).await;
    });
    input
}

struct Connection {
    engine: Arc<Engine>,
    key: Key,
    port: u16,
}

type Sent = Result<(), mpsc::error::SendError<(u32, Piece)>>;

impl Connection {
    async fn converse(&self, mut input: mpsc::Receiver<Vec<u8>>, id: u32, out: &mpsc::Sender<(u32, Piece)>) -> Sent {
        if let Err(text) = self.connect().await {
            return out.send((id, Piece::Failed(text))).await;
        }
        let mut pending = Vec::new();
        while let Some(data) = input.recv().await {
            pending.extend_from_slice(&data);
            // Each turn takes something off `pending`.
            loop {
                match take(&mut pending) {
                    Taken::Nothing => break,
                    Taken::Raw(bytes) => out.send((id, Piece::Data(bytes))).await?,
                    Taken::TooLong => return Ok(()),
                    Taken::Request(request) => {
                        let Some(answer) = self.answer(&request).await else { return Ok(()) };
                        out.send((id, Piece::Data(answer))).await?;
                        if request.close {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn ask<'a>(&self, path: &'a str) -> Ask<'a> {
        // The forwarder connects inside the pod's network namespace, which faults on its interface do not touch.
        Ask { from: Some(self.key.clone()), address: Ipv4Addr::LOCALHOST, port: self.port, path, timeout: PATIENCE, weight: 1.0 }
    }

    async fn connect(&self) -> Result<(), String> {
        let hold = self.engine.clock.hold();
        let ask = self.ask("/");
        let done = self.engine.with(|w| traffic::with_graph(w, |w, graph| traffic::connect(w, graph, &ask)));
        let took = match done {
            Ok(took) | Err((_, took)) => took,
        };
        self.pass(took, hold).await;
        let (port, name) = (self.port, &self.key.name);
        done.map(|_| ()).map_err(|(failure, _)| {
            let why = if failure == Failure::Refused { "connection refused" } else { "i/o timeout" };
            format!(
                "error forwarding port {port} to pod {name}, uid : failed to execute portforward in network namespace: failed to connect to localhost:{port} inside namespace, IPv4: dial tcp4 127.0.0.1:{port}: connect: {why}"
            )
        })
    }

    async fn answer(&self, request: &Request) -> Option<Vec<u8>> {
        let hold = self.engine.clock.hold();
        let ask = self.ask(&request.path);
        let outcome = self.engine.with(|w| traffic::with_graph(w, |w, graph| traffic::request(w, graph, &ask, 0)));
        self.pass(outcome.took, hold).await;
        let (code, body) = outcome.result.ok()?;
        Some(response(request, code, &body))
    }

    async fn pass(&self, seconds: f64, hold: Hold) {
        let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let timer = self.engine.clock.timer(self.engine.now().after(took));
        drop(hold);
        // The clock goes only with the engine, which lives here.
        let _hold = timer.await;
    }
}

/// A request that has been read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    method: String,
    path: String,
    close: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Taken {
    Nothing,
    Raw(Vec<u8>),
    Request(Request),
    TooLong,
}

/// Takes what is complete off the beginning of what has arrived.
fn take(pending: &mut Vec<u8>) -> Taken {
    if pending.is_empty() {
        return Taken::Nothing;
    }
    let begins = |m: &&str| pending.starts_with(m.as_bytes());
    let may_begin = |m: &&str| m.as_bytes().starts_with(pending);
    if !METHODS.iter().any(begins) {
        return if METHODS.iter().any(may_begin) { Taken::Nothing } else { Taken::Raw(std::mem::take(pending)) };
    }
    let Some(end) = pending.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else {
        return if pending.len() > HEAD_MAX { Taken::TooLong } else { Taken::Nothing };
    };
    let head = String::from_utf8_lossy(pending.get(..end).unwrap_or_default()).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or("/"));
    let old = first.next() == Some("HTTP/1.0");
    let headers: Vec<(String, &str)> =
        lines.filter_map(|l| l.split_once(':')).map(|(k, v)| (k.trim().to_ascii_lowercase(), v.trim())).collect();
    let header = |name: &str| headers.iter().find(|(k, _)| k == name).map(|(_, v)| *v);
    let body = if header("transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked")) {
        let rest = pending.get(end..).unwrap_or_default();
        let last =
            if rest.starts_with(b"0\r\n\r\n") { Some(5) } else { rest.windows(7).position(|w| w == b"\r\n0\r\n\r\n").map(|at| at + 7) };
        match last {
            Some(length) => length,
            None if rest.len() > BODY_MAX => return Taken::TooLong,
            None => return Taken::Nothing,
        }
    } else {
        header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0)
    };
    if body > BODY_MAX {
        return Taken::TooLong;
    }
    if pending.len() < end + body {
        return Taken::Nothing;
    }
    let close = match header("connection").map(str::to_ascii_lowercase) {
        Some(c) => c == "close" || (old && c != "keep-alive"),
        None => old,
    };
    let request = Request { method: method.to_owned(), path: path.to_owned(), close };
    pending.drain(..end + body);
    Taken::Request(request)
}

fn response(request: &Request, code: u16, body: &str) -> Vec<u8> {
    let reason = StatusCode::from_u16(code).ok().and_then(|s| s.canonical_reason()).unwrap_or_default();
    let kind = content_type(body);
    let connection = if request.close { "close" } else { "keep-alive" };
    let head =
        format!("HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n", body.len());
    let body = if request.method == "HEAD" { "" } else { body };
    [head.as_bytes(), body.as_bytes()].concat()
}

/// The type of a modelled answer.
fn content_type(body: &str) -> &'static str {
    match body.trim_start().get(..1) {
        Some("<") => "text/html",
        Some("{") => "application/json",
        _ => "text/plain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_when_they_are_complete() {
        let mut bytes = b"GE".to_vec();
        assert_eq!(take(&mut bytes), Taken::Nothing);
        bytes.extend_from_slice(b"T /a HTTP/1.1\r\nHost: x\r\n");
        assert_eq!(take(&mut bytes), Taken::Nothing);
        bytes.extend_from_slice(b"\r\nPOST /b HTTP/1.1\r\nconnection: close\r\ncontent-length: 3\r\n\r\nab");
        assert_eq!(take(&mut bytes), Taken::Request(Request { method: "GET".into(), path: "/a".into(), close: false }));
        assert_eq!(take(&mut bytes), Taken::Nothing);
        bytes.push(b'c');
        assert_eq!(take(&mut bytes), Taken::Request(Request { method: "POST".into(), path: "/b".into(), close: true }));
        assert!(bytes.is_empty());
    }

    #[test]
    fn chunked_bodies_end_with_an_empty_chunk() {
        let mut bytes = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n".to_vec();
        assert_eq!(take(&mut bytes), Taken::Nothing);
        bytes.extend_from_slice(b"\r\n");
        assert!(matches!(take(&mut bytes), Taken::Request(_)));
        assert!(bytes.is_empty());
    }

    #[test]
    fn what_is_no_request_comes_back() {
        let mut bytes = b"Test 1".to_vec();
        assert_eq!(take(&mut bytes), Taken::Raw(b"Test 1".to_vec()));
        let mut endless = b"GET /".to_vec();
        endless.resize(HEAD_MAX + 1, b'x');
        assert_eq!(take(&mut endless), Taken::TooLong);
    }
}
