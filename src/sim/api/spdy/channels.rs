//! The streams of a command: `error` for its end, `stdin`, `stdout`, `stderr`, `resize`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::frames::{self, Heard, Reader};
use super::upgrade::Line;
use crate::sim::api::talk::Said;

/// Most bytes of input that wait for a client to open its other streams.
const EARLY_MAX: usize = 1 << 20;
/// How long a client may take to open its streams.
const OPENING: Duration = Duration::from_secs(30);
/// The streams' types, by the number of their channel in [`super::super::talk`].
const TYPES: [&str; 5] = ["stdin", "stdout", "stderr", "error", "resize"];

/// The streams of one client.
pub(in crate::sim::api) struct Channels {
    line: Line,
    reader: Reader,
    heard: VecDeque<Heard>,
    /// Streams by channel.
    streams: BTreeMap<u8, u32>,
    greeted: bool,
    /// What is to be sent beside the command's output.
    aside: Vec<u8>,
}

impl Channels {
    /// Waits until a client has opened the streams of these channels; `None`: it has not.
    pub(in crate::sim::api) async fn open(line: Line, wanted: &[u8]) -> Option<Self> {
        let streams = BTreeMap::new();
        let mut own = Self { line, reader: Reader::new(), heard: VecDeque::new(), streams, greeted: false, aside: Vec::new() };
        let opening = async {
            let mut early = 0;
            while !wanted.iter().all(|c| own.streams.contains_key(c)) {
                let bytes = own.line.receive().await?;
                for heard in own.reader.read(&bytes).ok()? {
                    match heard {
                        Heard::Open(stream, headers) => own.begin(stream, &headers),
                        // Input that comes before all streams are there waits for them, frames without any too.
                        other => {
                            early += if let Heard::Data(_, bytes, _) = &other { bytes.len() + 64 } else { 64 };
                            own.heard.push_back(other);
                        }
                    }
                }
                (own.settle().await && early <= EARLY_MAX).then_some(())?;
            }
            Some(())
        };
        tokio::time::timeout(OPENING, opening).await.ok()??;
        Some(own)
    }

    /// Accepts a stream.
    fn begin(&mut self, stream: u32, headers: &[(String, String)]) {
        self.aside.extend(frames::accept(stream, !std::mem::replace(&mut self.greeted, true)));
        let kind = headers.iter().find(|(k, _)| k == "streamtype").map(|(_, v)| v.as_str());
        let channel = TYPES.iter().position(|t| Some(*t) == kind).and_then(|c| u8::try_from(c).ok());
        self.streams.extend(channel.map(|c| (c, stream)));
    }

    /// What comes next. May be dropped before it is done: nothing is lost.
    pub(in crate::sim::api) async fn receive(&mut self) -> Said {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                let channel = |stream: u32| self.streams.iter().find(|(_, s)| **s == stream).map(|(c, _)| *c);
                match heard {
                    Heard::Open(stream, headers) => {
                        self.begin(stream, &headers);
                        return Said::Aside;
                    }
                    Heard::Ping(number) => {
                        self.aside.extend(frames::pong(number));
                        return Said::Aside;
                    }
                    Heard::Data(stream, bytes, last) => match (channel(stream), bytes.is_empty(), last) {
                        (Some(channel), false, false) => return Said::Bytes(channel, bytes),
                        (Some(channel), false, true) => {
                            self.heard.push_front(Heard::Data(stream, Vec::new(), true));
                            return Said::Bytes(channel, bytes);
                        }
                        (Some(channel), true, true) => return Said::End(channel),
                        _ => {}
                    },
                    Heard::Reset(stream) => {
                        if let Some(channel) = channel(stream) {
                            return Said::End(channel);
                        }
                    }
                    Heard::Goodbye => return Said::Gone,
                }
                continue;
            }
            let Some(bytes) = self.line.receive().await else { return Said::Gone };
            match self.reader.read(&bytes) {
                Ok(heard) => self.heard.extend(heard),
                Err(_) => return Said::Gone,
            }
        }
    }

    /// Sends what is to be said beside the output; whether the client is still there.
    pub(in crate::sim::api) async fn settle(&mut self) -> bool {
        let aside = std::mem::take(&mut self.aside);
        aside.is_empty() || self.line.send(&aside).await
    }

    /// Sends bytes of a channel; whether the client is still there. Channels that it has not opened are passed over.
    pub(in crate::sim::api) async fn tell(&mut self, channel: u8, bytes: &[u8]) -> bool {
        match self.streams.get(&channel) {
            Some(stream) => self.line.send(&frames::data(*stream, bytes, false)).await,
            None => true,
        }
    }

    /// Ends all streams, and the connection.
    pub(in crate::sim::api) async fn end(&mut self) {
        let last: Vec<u8> = self.streams.values().flat_map(|stream| frames::data(*stream, b"", true)).collect();
        if self.line.send(&last).await {
            self.line.end().await;
        }
    }
}
