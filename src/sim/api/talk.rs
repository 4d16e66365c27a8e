//! The conversation with a client about a command: numbered channels, over a WebSocket or over SPDY.
//!
//! Channels: 0 input, 1 output, 2 error output, 3 the final `Status`, 4 the size of the client's window. A message of a WebSocket starts
//! with its channel; in `v5.channel.k8s.io`, `255 N` closes channel N.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use serde_json::Value;

use super::spdy::channels::Channels;

/// How long a finished command waits for the client to say goodbye.
const GOODBYE: Duration = Duration::from_millis(500);

pub(super) const STDIN: u8 = 0;
pub(super) const STDOUT: u8 = 1;
pub(super) const STDERR: u8 = 2;
pub(super) const STATUS: u8 = 3;
pub(super) const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// What came from a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Bytes of a channel.
    Bytes(u8, Vec<u8>),
    /// A channel's end.
    End(u8),
    /// Nothing of the command's: it may be answered now ([`Talk::settle`]).
    Aside,
    /// The client has gone.
    Gone,
}

/// A conversation.
pub(super) enum Talk {
    /// Over a WebSocket; `plain`: in the first version of the protocol, which has no `Status`.
    Socket { socket: Box<WebSocket>, plain: bool },
    /// Over SPDY.
    Streams(Box<Channels>),
}

/// The next message of a WebSocket; text counts as bytes, as which Python's client means it.
pub(super) async fn received(socket: &mut WebSocket) -> Option<Result<Message, axum::Error>> {
    Some(match socket.recv().await? {
        Ok(Message::Text(text)) => Ok(Message::Binary(text.into())),
        other => other,
    })
}

impl Talk {
    /// What comes next. May be dropped before it is done: nothing is lost.
    pub(super) async fn receive(&mut self) -> Said {
        let socket = match self {
            Self::Streams(channels) => return channels.receive().await,
            Self::Socket { socket, .. } => socket,
        };
        match received(socket).await {
            Some(Ok(Message::Binary(data))) => match data.as_ref() {
                [CLOSE, channel] => Said::End(*channel),
                [channel, rest @ ..] if !rest.is_empty() => Said::Bytes(*channel, rest.to_vec()),
                _ => Said::Aside,
            },
            Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => Said::Aside,
            Some(Ok(Message::Close(_)) | Err(_)) | None => Said::Gone,
        }
    }

    /// Answers what was said beside the command; whether the client is still there.
    pub(super) async fn settle(&mut self) -> bool {
        match self {
            Self::Streams(channels) => channels.settle().await,
            Self::Socket { .. } => true,
        }
    }

    /// Sends bytes of a channel; whether the client is still there.
    pub(super) async fn tell(&mut self, channel: u8, bytes: &[u8]) -> bool {
        match self {
            Self::Streams(channels) => channels.tell(channel, bytes).await,
            Self::Socket { socket, .. } => {
                let mut data = Vec::with_capacity(bytes.len() + 1);
                data.push(channel);
                data.extend_from_slice(bytes);
                socket.send(Message::Binary(data.into())).await.is_ok()
            }
        }
    }

    /// Sends how the command has ended, and ends the conversation.
    pub(super) async fn end(mut self, status: &Value) {
        let told = match &self {
            Self::Socket { plain: true, .. } if status["status"] == "Success" => true,
            Self::Socket { plain: true, .. } => {
                let text = status["message"].as_str().unwrap_or_default().to_owned();
                self.tell(STATUS, text.as_bytes()).await
            }
            _ => self.tell(STATUS, status.to_string().as_bytes()).await,
        };
        if !told {
            return;
        }
        match self {
            Self::Streams(mut channels) => channels.end().await,
            Self::Socket { mut socket, .. } => {
                let closed = CloseFrame { code: close_code::NORMAL, reason: "".into() };
                if socket.send(Message::Close(Some(closed))).await.is_ok() {
                    let goodbye = async { while socket.recv().await.is_some_and(|m| m.is_ok()) {} };
                    // A client that does not answer is left alone.
                    let _late = tokio::time::timeout(GOODBYE, goodbye).await;
                }
            }
        }
    }
}
