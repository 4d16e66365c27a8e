//! kubectl's port-forward: SPDY streams, inside a WebSocket or by themselves.
//!
//! For each connection the client opens an error stream and then a data stream, which belong together by `requestid`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use tokio::sync::mpsc;

use super::connection::{self, Piece};
use super::{CONNECTIONS, QUEUE};
use crate::sim::api::spdy::frames::{self, Heard, Reader};
use crate::sim::api::spdy::upgrade::Line;
use crate::sim::api::talk::received;
use crate::sim::resource::Key;
use crate::sim::world::Engine;

struct Tunnel {
    engine: Arc<Engine>,
    key: Key,
    out: mpsc::Sender<(u32, Piece)>,
    /// Error streams by request.
    errors: BTreeMap<String, u32>,
    /// Data streams, with the error stream of each.
    streams: BTreeMap<u32, (mpsc::Sender<Vec<u8>>, Option<u32>)>,
    greeted: bool,
}

/// Where frames come from and go to.
pub(super) enum Wire {
    /// Messages of a WebSocket.
    Socket(Box<WebSocket>),
    /// A connection that speaks nothing else.
    Line(Line),
}

impl Wire {
    /// The next bytes; `None`: the client has gone. May be dropped before it is done: nothing is lost.
    async fn receive(&mut self) -> Option<Vec<u8>> {
        let socket = match self {
            Self::Line(line) => return line.receive().await,
            Self::Socket(socket) => socket,
        };
        match received(socket).await {
            Some(Ok(Message::Binary(bytes))) => Some(bytes.into()),
            Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => Some(Vec::new()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => None,
        }
    }

    async fn send(&mut self, bytes: Vec<u8>) -> bool {
        match self {
            Self::Line(line) => line.send(&bytes).await,
            Self::Socket(socket) => socket.send(Message::Binary(bytes.into())).await.is_ok(),
        }
    }
}

/// Serves a client until it leaves.
pub(super) async fn run(mut wire: Wire, engine: Arc<Engine>, key: Key) {
    let (out, mut pieces) = mpsc::channel(QUEUE);
    let mut reader = Reader::new();
    let mut tunnel = Tunnel { engine, key, out, errors: BTreeMap::new(), streams: BTreeMap::new(), greeted: false };
    loop {
        let reply = tokio::select! {
            biased;
            piece = pieces.recv() => match piece {
                Some((id, piece)) => tunnel.tell(id, &piece),
                None => return,
            },
            bytes = wire.receive() => {
                let Some(Ok(heard)) = bytes.map(|b| reader.read(&b)) else { return };
                let mut reply = Vec::new();
                for h in heard {
                    match tunnel.hear(h).await {
                        Some(bytes) => reply.extend_from_slice(&bytes),
                        None => return,
                    }
                }
                reply
            }
        };
        if !reply.is_empty() && !wire.send(reply).await {
            return;
        }
    }
}

impl Tunnel {
    /// What to answer; `None` when the client leaves.
    async fn hear(&mut self, heard: Heard) -> Option<Vec<u8>> {
        match heard {
            Heard::Open(stream, headers) => Some(self.open(stream, &headers)),
            Heard::Data(stream, bytes, last) => {
                if let Some((input, _)) = self.streams.get(&stream)
                    && !bytes.is_empty()
                {
                    // A connection that has ended takes nothing.
                    let _ended = input.send(bytes).await;
                }
                if last {
                    self.half_close(stream);
                }
                Some(Vec::new())
            }
            Heard::Reset(stream) => {
                self.streams.remove(&stream);
                Some(Vec::new())
            }
            Heard::Ping(number) => Some(frames::pong(number)),
            Heard::Goodbye => None,
        }
    }

    fn open(&mut self, stream: u32, headers: &[(String, String)]) -> Vec<u8> {
        let header = |name: &str| headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str()).unwrap_or_default();
        let request = header("requestid").to_owned();
        let mut reply = frames::accept(stream, !std::mem::replace(&mut self.greeted, true));
        if header("streamtype") == "error" {
            if self.errors.len() < CONNECTIONS {
                self.errors.insert(request, stream);
            }
            return reply;
        }
        let error = self.errors.remove(&request);
        match header("port").parse() {
            Ok(port) if self.streams.len() < CONNECTIONS => {
                let input = connection::open(Arc::clone(&self.engine), self.key.clone(), port, stream, self.out.clone());
                self.streams.insert(stream, (input, error));
            }
            _ => {
                if let Some(error) = error {
                    reply.extend_from_slice(&frames::data(
                        error,
                        format!("unable to parse \"{}\" as a port", header("port")).as_bytes(),
                        true,
                    ));
                }
                reply.extend_from_slice(&frames::data(stream, b"", true));
            }
        }
        reply
    }

    /// The client sends no more on a stream; what is under way is still answered.
    fn half_close(&mut self, stream: u32) {
        if let Some((input, _)) = self.streams.get_mut(&stream) {
            // A channel without its other end: sending fails, and the connection sees the end of its input.
            *input = mpsc::channel(1).0;
        }
    }

    fn tell(&mut self, stream: u32, piece: &Piece) -> Vec<u8> {
        match piece {
            Piece::Data(bytes) => frames::data(stream, bytes, false),
            Piece::Failed(text) => {
                self.streams.get_mut(&stream).and_then(|s| s.1.take()).map_or_else(Vec::new, |e| frames::data(e, text.as_bytes(), true))
            }
            Piece::End => match self.streams.remove(&stream) {
                Some((_, error)) => {
                    let mut bytes = frames::data(stream, b"", true);
                    bytes.extend_from_slice(&error.map_or_else(Vec::new, |e| frames::data(e, b"", true)));
                    bytes
                }
                None => Vec::new(),
            },
        }
    }
}
