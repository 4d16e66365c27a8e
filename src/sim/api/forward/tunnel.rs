//! kubectl's port-forward: SPDY streams inside a WebSocket.
//!
//! For each connection the client opens an error stream and then a data stream, which belong together by `requestid`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use tokio::sync::mpsc;

use super::connection::{self, Piece};
use super::spdy::{self, Heard, Reader};
use super::{CONNECTIONS, QUEUE};
use crate::sim::api::exec::received;
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

/// Serves a client until it leaves.
pub(super) async fn run(mut socket: WebSocket, engine: Arc<Engine>, key: Key) {
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
            message = received(&mut socket) => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let Ok(heard) = reader.read(&bytes) else { return };
                    let mut reply = Vec::new();
                    for h in heard {
                        match tunnel.hear(h).await {
                            Some(bytes) => reply.extend_from_slice(&bytes),
                            None => return,
                        }
                    }
                    reply
                }
                Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => Vec::new(),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        };
        if !reply.is_empty() && socket.send(Message::Binary(reply.into())).await.is_err() {
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
            Heard::Ping(number) => Some(spdy::pong(number)),
            Heard::Goodbye => None,
        }
    }

    fn open(&mut self, stream: u32, headers: &[(String, String)]) -> Vec<u8> {
        let header = |name: &str| headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str()).unwrap_or_default();
        let request = header("requestid").to_owned();
        let mut reply = spdy::accept(stream, !std::mem::replace(&mut self.greeted, true));
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
                    reply.extend_from_slice(&spdy::data(
                        error,
                        format!("unable to parse \"{}\" as a port", header("port")).as_bytes(),
                        true,
                    ));
                }
                reply.extend_from_slice(&spdy::data(stream, b"", true));
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
            Piece::Data(bytes) => spdy::data(stream, bytes, false),
            Piece::Failed(text) => {
                self.streams.get_mut(&stream).and_then(|s| s.1.take()).map_or_else(Vec::new, |e| spdy::data(e, text.as_bytes(), true))
            }
            Piece::End => match self.streams.remove(&stream) {
                Some((_, error)) => {
                    let mut bytes = spdy::data(stream, b"", true);
                    bytes.extend_from_slice(&error.map_or_else(Vec::new, |e| spdy::data(e, b"", true)));
                    bytes
                }
                None => Vec::new(),
            },
        }
    }
}
