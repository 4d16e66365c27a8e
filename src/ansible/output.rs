//! The output of a child, capped: the head and the tail are kept, what lies between is counted.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes kept of the start and of the end of each stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputCap {
    /// From the start.
    pub head: usize,
    /// From the end.
    pub tail: usize,
}

impl Default for OutputCap {
    fn default() -> Self {
        Self { head: 256 * 1024, tail: 256 * 1024 }
    }
}

/// What was read so far.
#[derive(Debug, Default)]
pub(crate) struct CappedOutput {
    cap: OutputCap,
    head: Vec<u8>,
    tail: Vec<u8>,
    dropped: u64,
}

impl CappedOutput {
    pub(crate) fn new(cap: OutputCap) -> Self {
        Self { cap, ..Self::default() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let room = self.cap.head.saturating_sub(self.head.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        self.head.extend_from_slice(first);
        self.tail.extend_from_slice(rest);
        // Trimmed in big steps only, so that a chatty child costs little.
        if self.tail.len() > 2 * self.cap.tail + 4096 {
            self.trim();
        }
    }

    fn trim(&mut self) {
        let surplus = self.tail.len().saturating_sub(self.cap.tail);
        self.tail.drain(..surplus);
        self.dropped += surplus as u64;
    }

    /// The text and the number of bytes left out; bytes that are no UTF-8 are replaced.
    pub(crate) fn finish(mut self) -> (String, u64) {
        self.trim();
        let mut bytes = self.head;
        if self.dropped > 0 {
            bytes.extend_from_slice(format!("\n[... {} bytes left out ...]\n", self.dropped).as_bytes());
        }
        bytes.extend_from_slice(&self.tail);
        (String::from_utf8_lossy(&bytes).into_owned(), self.dropped)
    }
}

/// Reads a stream to its end into `into`. A read error ends it as an end of file does: the child is judged by its exit.
pub(crate) async fn drain(mut from: impl AsyncRead + Unpin, into: &std::sync::Mutex<CappedOutput>) {
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        let mut output = into.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        output.push(chunk.get(..n).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capped(cap: OutputCap, pieces: &[&str]) -> (String, u64) {
        let mut out = CappedOutput::new(cap);
        for p in pieces {
            out.push(p.as_bytes());
        }
        out.finish()
    }

    #[test]
    fn short_output_is_kept_whole() {
        assert_eq!(capped(OutputCap { head: 4, tail: 4 }, &["ab", "cdef"]), ("abcdef".to_owned(), 0));
    }

    #[test]
    fn long_output_keeps_head_and_tail() {
        let (text, dropped) = capped(OutputCap { head: 4, tail: 3 }, &["abcdefghij", "klmnop"]);
        assert_eq!(text, "abcd\n[... 9 bytes left out ...]\nnop");
        assert_eq!(dropped, 9);
    }

    #[test]
    fn a_flood_stays_small() {
        let mut out = CappedOutput::new(OutputCap { head: 10, tail: 10 });
        for _ in 0..10_000 {
            out.push(&[b'x'; 100]);
        }
        assert!(out.tail.len() < 5000, "{}", out.tail.len());
        assert_eq!(out.finish().1, 1_000_000 - 20);
    }
}
