//! Server-sent events: bytes as they arrive, handed to the format event by event.

use serde_json::Value;

use crate::model::wire::{Answer, BadReply, Stream};

/// A stream being read.
pub(super) struct Events {
    /// Bytes of a line whose end has not come yet.
    line: Vec<u8>,
    stream: Box<dyn Stream>,
    /// The mark of the end has come.
    ended: bool,
}

impl Events {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self { line: Vec::new(), stream, ended: false }
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), BadReply> {
        let mut parts = bytes.split(|byte| *byte == b'\n');
        if let Some(first) = parts.next() {
            self.line.extend_from_slice(first);
        }
        for next in parts {
            let line = std::mem::replace(&mut self.line, next.to_vec());
            self.line(&line)?;
        }
        Ok(())
    }

    /// Whether nothing more comes.
    pub(super) fn is_done(&self) -> bool {
        self.ended || self.stream.is_done()
    }

    /// The answer, provided that the stream is complete.
    pub(super) fn finish(mut self) -> Result<Answer, BadReply> {
        let rest = std::mem::take(&mut self.line);
        self.line(&rest)?;
        let answer = self.stream.finish(self.ended);
        answer.ok_or_else(|| BadReply::Malformed("the stream ended before the answer did".to_owned()))
    }

    fn line(&mut self, line: &[u8]) -> Result<(), BadReply> {
        // Comments, event names and empty lines carry nothing that is needed.
        let Some(data) = line.strip_prefix(b"data:") else { return Ok(()) };
        let data = data.trim_ascii();
        if data.is_empty() || self.is_done() {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.ended = true;
            return Ok(());
        }
        let event: Value =
            serde_json::from_slice(data).map_err(|error| BadReply::Malformed(format!("an event of the stream is no JSON: {error}")))?;
        self.stream.event(&event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Provider, wire};

    fn read(text: &str, chunk: usize) -> Result<Answer, BadReply> {
        let provider = Provider::Openai(toml::from_str("base_url = 'http://x/v1'\nmodel = 'm'").unwrap());
        let mut events = Events::new(wire::of(&provider).unwrap().stream());
        for bytes in text.as_bytes().chunks(chunk) {
            events.feed(bytes)?;
        }
        events.finish()
    }

    const WHOLE: &str = ": keep-alive\r\n\r\nevent: x\ndata: {\"choices\": [{\"delta\": {\"content\": \"grüß\"}}]}\n\n\
                         data: {\"choices\": [{\"delta\": {}, \"finish_reason\": \"stop\"}]}\n\ndata: [DONE]\n\ndata: no JSON\n\n";

    #[test]
    fn events_are_read_however_the_bytes_arrive() {
        for chunk in [1, 7, 100_000] {
            assert_eq!(read(WHOLE, chunk).unwrap().content, "grüß");
        }
    }

    #[test]
    fn a_stream_is_complete_by_its_mark_or_by_its_finish_reason() {
        let (start, _) = WHOLE.split_once("data: [DONE]").unwrap();
        assert!(read(start, 10).is_ok());
        let (start, _) = start.split_once(", \"finish_reason\"").unwrap();
        assert!(matches!(read(start, 10), Err(BadReply::Malformed(text)) if text.contains("no JSON")));
        let content = "data: {\"choices\": [{\"delta\": {\"content\": \"half\"}}]}\n\n";
        assert!(matches!(read(content, 10), Err(BadReply::Malformed(text)) if text.contains("ended before")));
        assert_eq!(read(&format!("{content}data: [DONE]\n\n"), 10).unwrap().content, "half");
    }
}
