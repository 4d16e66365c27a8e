//! `pods/portforward`: connections to the ports of a pod over one WebSocket.
//!
//! `v4.channel.k8s.io`: channel 2i carries the data of the i-th port asked for and channel 2i+1 its error; both begin with
//! the port's number. `SPDY/3.1+portforward.k8s.io`, which kubectl speaks: SPDY frames in binary messages, two streams
//! (error and data) for each connection. Older clients have the same frames on a connection of their own.

mod connection;
mod tunnel;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::request::Parts;
use axum::response::Response;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::connection::Piece;
use self::tunnel::Wire;
use super::call::Call;
#[cfg(any(test, fuzzing))]
use super::spdy::frames;
use super::spdy::upgrade;
use super::talk::received;
use crate::sim::resource::Key;
use crate::sim::status::Status;
use crate::sim::world::Engine;

/// Reads pieces of a stream of frames and drops what they say.
#[cfg(any(test, fuzzing))]
pub(super) fn read_frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) {
    let mut reader = frames::Reader::new();
    for piece in pieces {
        if reader.read(piece).is_err() {
            return;
        }
    }
}

const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// What the server speaks over SPDY.
const STREAMS: &str = "portforward.k8s.io";
/// What the server speaks, best first.
const PROTOCOLS: [&str; 3] = [TUNNEL, "v4.channel.k8s.io", "v5.channel.k8s.io"];
/// Longest message that is read.
const MESSAGE_MAX: usize = 4 << 20;
/// How many pieces of output may wait.
const QUEUE: usize = 64;
/// How many connections a WebSocket may carry at a time.
const CONNECTIONS: usize = 256;
/// First byte of a message that closes a channel, in `v5`.
const CLOSE: u8 = 255;

/// Answers the upgrade.
pub(super) async fn open(
    engine: &Arc<Engine>,
    stop: CancellationToken,
    parts: &mut Parts,
    call: &Call,
    key: Key,
) -> Result<Response, Status> {
    let pod = engine.with(|w| w.store.get(&key).cloned()).ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
    if pod["status"]["phase"] != "Running" {
        return Err(Status::bad_request(format!(
            "unable to forward port because pod is not running. Current status={}",
            pod["status"]["phase"].as_str().unwrap_or_default()
        )));
    }
    let asked: Vec<String> = call.params("ports").iter().flat_map(|p| p.split(',')).map(|p| p.trim().to_owned()).collect();
    let ports: Vec<u16> = asked.iter().filter_map(|p| p.parse().ok().filter(|p| *p > 0)).collect();
    if ports.len() != asked.len() || ports.len() > usize::from(CLOSE) / 2 {
        return Err(Status::bad_request(format!("unable to parse \"{}\" as a port", asked.join(","))));
    }
    if upgrade::wanted(&parts.headers) {
        let (response, promise) = upgrade::agree(parts, &[STREAMS])?;
        let engine = Arc::clone(engine);
        promise.then(stop, move |line| tunnel::run(Wire::Line(line), engine, key));
        return Ok(response);
    }
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &()).await.map_err(|_| Status::bad_request("Upgrade request required"))?;
    let upgrade = upgrade.protocols(PROTOCOLS).max_message_size(MESSAGE_MAX);
    let tunnelled = upgrade.selected_protocol().is_some_and(|p| p.as_bytes() == TUNNEL.as_bytes());
    if !tunnelled && ports.is_empty() {
        return Err(Status::bad_request("query parameter \"ports\" is required"));
    }
    let engine = Arc::clone(engine);
    Ok(upgrade.on_upgrade(move |socket| async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = async {
                if tunnelled { tunnel::run(Wire::Socket(Box::new(socket)), engine, key).await } else { channels(socket, engine, key, &ports).await }
            } => {}
        }
    }))
}

async fn channels(mut socket: WebSocket, engine: Arc<Engine>, key: Key, ports: &[u16]) {
    let (out, mut pieces) = mpsc::channel(QUEUE);
    let mut inputs = BTreeMap::new();
    for (channel, port) in (0u8..).step_by(2).zip(ports) {
        for channel in [channel, channel + 1] {
            if !send(&mut socket, channel, &port.to_le_bytes()).await {
                return;
            }
        }
        inputs.insert(u32::from(channel), connection::open(Arc::clone(&engine), key.clone(), *port, channel.into(), out.clone()));
    }
    let mut left = inputs.len();
    while left > 0 {
        tokio::select! {
            biased;
            piece = pieces.recv() => {
                let Some((id, piece)) = piece else { return };
                let channel = u8::try_from(id).unwrap_or(CLOSE);
                let sent = match piece {
                    Piece::Data(data) => send(&mut socket, channel, &data).await,
                    Piece::Failed(text) => send(&mut socket, channel + 1, text.as_bytes()).await,
                    Piece::End => {
                        inputs.remove(&id);
                        left -= 1;
                        true
                    }
                };
                if !sent {
                    return;
                }
            }
            message = received(&mut socket) => match message {
                Some(Ok(Message::Binary(data))) => match data.as_ref() {
                    [CLOSE, channel] => drop(inputs.remove(&u32::from(*channel))),
                    [channel, rest @ ..] if !rest.is_empty() => {
                        // A connection that has ended takes nothing.
                        if let Some(input) = inputs.get(&u32::from(*channel)) {
                            let _ended = input.send(rest.to_vec()).await;
                        }
                    }
                    _ => {}
                },
                Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        }
    }
    let closed = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    // Whoever has gone needs no goodbye.
    let _gone = socket.send(Message::Close(Some(closed))).await;
}

async fn send(socket: &mut WebSocket, channel: u8, bytes: &[u8]) -> bool {
    let mut data = Vec::with_capacity(bytes.len() + 1);
    data.push(channel);
    data.extend_from_slice(bytes);
    socket.send(Message::Binary(data.into())).await.is_ok()
}
