//! The part of SPDY/3.1 that kubectl speaks: frames in, frames out. No input or output of its own.
//!
//! Header blocks of the client are one zlib stream with a preset dictionary; ours are stored blocks that need none.

use flate2::{Decompress, FlushDecompress};

/// Longest frame that is read.
const FRAME_MAX: usize = 1 << 20;
/// Longest header block, unpacked.
const HEADERS_MAX: usize = 64 << 10;
/// Length of a frame's head.
const HEAD: usize = 8;
/// What a zlib stream starts with when it needs a dictionary: its header and the dictionary's checksum.
const ZLIB_HEAD: usize = 6;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FIN: u8 = 1;

/// Words of the preset dictionary, each written with its length before it.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age \
    allow authorization cache-control connection content-base content-encoding content-language content-length content-location \
    content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match if-range \
    if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after \
    server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get status 200_OK version \
    HTTP/1.1 url public set-cookie keep-alive origin";
/// The rest of it.
const TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found\
    500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 \
    Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,\
    text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// What the client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sim::api) enum Heard {
    /// It opens a stream, with these headers.
    Open(u32, Vec<(String, String)>),
    /// Bytes of a stream, and whether they are the last.
    Data(u32, Vec<u8>, bool),
    /// It gives a stream up.
    Reset(u32),
    /// It wants to hear this number.
    Ping(u32),
    /// It leaves.
    Goodbye,
}

/// What the client sent is not SPDY/3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failed to read a SPDY frame")]
pub(in crate::sim::api) struct Malformed;

/// Reads frames from pieces of any size.
pub(in crate::sim::api) struct Reader {
    pending: Vec<u8>,
    inflate: Option<Decompress>,
}

impl Reader {
    pub(in crate::sim::api) fn new() -> Self {
        Self { pending: Vec::new(), inflate: None }
    }

    /// Takes bytes in and gives what is complete.
    pub(in crate::sim::api) fn read(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, Malformed> {
        self.pending.extend_from_slice(bytes);
        let mut heard = Vec::new();
        // Each turn takes a frame off what is left.
        while let Some(&[a, b, c, d, flags, l2, l1, l0]) = self.pending.get(..HEAD) {
            let length = usize::from(l2) << 16 | usize::from(l1) << 8 | usize::from(l0);
            if length > FRAME_MAX {
                return Err(Malformed);
            }
            if self.pending.len() < HEAD + length {
                break;
            }
            let rest = self.pending.split_off(HEAD + length);
            let frame = std::mem::replace(&mut self.pending, rest);
            let body = frame.get(HEAD..).unwrap_or_default();
            if a & 0x80 == 0 {
                heard.push(Heard::Data(u32::from_be_bytes([a, b, c, d]), body.to_vec(), flags & FIN != 0));
            } else if [a & 0x7f, b] == [0, 3] {
                heard.extend(self.control(u16::from_be_bytes([c, d]), flags, body)?);
            } else {
                return Err(Malformed);
            }
        }
        Ok(heard)
    }

    fn control(&mut self, kind: u16, flags: u8, body: &[u8]) -> Result<Vec<Heard>, Malformed> {
        let number = || number(body).map(|n| n & 0x7fff_ffff).ok_or(Malformed);
        Ok(match kind {
            SYN_STREAM => {
                let stream = number()?;
                let headers = self.headers(body.get(10..).ok_or(Malformed)?)?;
                let mut heard = vec![Heard::Open(stream, headers)];
                if flags & FIN != 0 {
                    heard.push(Heard::Data(stream, Vec::new(), true));
                }
                heard
            }
            RST_STREAM => vec![Heard::Reset(number()?)],
            PING => vec![Heard::Ping(self::number(body).ok_or(Malformed)?)],
            GOAWAY => vec![Heard::Goodbye],
            // Settings, window updates and replies to streams that we never open.
            _ => Vec::new(),
        })
    }

    fn headers(&mut self, block: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
        let (inflate, block) = if let Some(inflate) = &mut self.inflate {
            (inflate, block)
        } else {
            let mut fresh = Decompress::new(false);
            // A stored block puts the dictionary into the window, for any implementation of inflate.
            let dictionary = dictionary();
            let mut out = Vec::with_capacity(dictionary.len() + 1);
            unpack(&mut fresh, &stored(&dictionary), &mut out)?;
            let [_, flags, ..] = block else { return Err(Malformed) };
            // Without the flag the client uses no dictionary.
            let skip = if flags & 0x20 == 0 { 2 } else { ZLIB_HEAD };
            (self.inflate.insert(fresh), block.get(skip..).ok_or(Malformed)?)
        };
        let mut text = Vec::with_capacity(1 << 10);
        unpack(inflate, block, &mut text)?;
        pairs(&text).ok_or(Malformed)
    }
}

fn unpack(inflate: &mut Decompress, mut block: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    // Each turn reads input or makes room for output, up to the limit.
    loop {
        let before = (inflate.total_in(), out.len());
        inflate.decompress_vec(block, out, FlushDecompress::Sync).map_err(|_| Malformed)?;
        let read = usize::try_from(inflate.total_in() - before.0).map_err(|_| Malformed)?;
        block = block.get(read..).ok_or(Malformed)?;
        if out.len() > HEADERS_MAX {
            return Err(Malformed);
        }
        if out.len() == out.capacity() {
            out.reserve(1 << 10);
        } else if block.is_empty() || (read == 0 && out.len() == before.1) {
            return Ok(());
        }
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

fn pairs(text: &[u8]) -> Option<Vec<(String, String)>> {
    let count = number(text)?;
    let mut rest = text.get(4..)?;
    let mut word = || {
        let length = usize::try_from(number(rest)?).ok()?;
        let word = String::from_utf8_lossy(rest.get(4..)?.get(..length)?).into_owned();
        rest = rest.get(4 + length..)?;
        Some(word)
    };
    // Every pair takes eight bytes at least.
    (usize::try_from(count).ok()? <= text.len() / 8).then_some(())?;
    (0..count).map(|_| Some((word()?.to_ascii_lowercase(), word()?))).collect()
}

fn dictionary() -> Vec<u8> {
    let mut out = Vec::new();
    for word in WORDS.split_whitespace().map(|w| w.replace('_', " ")) {
        out.extend_from_slice(&u32::try_from(word.len()).unwrap_or_default().to_be_bytes());
        out.extend_from_slice(word.as_bytes());
    }
    out.extend_from_slice(TEXT.as_bytes());
    out
}

/// A deflate block that is not compressed, and not the last.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or_default();
    let mut out = vec![0];
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(bytes);
    out
}

fn frame(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80, 3];
    out.extend_from_slice(&kind.to_be_bytes());
    out.push(0);
    out.extend_from_slice(u32::try_from(body.len()).unwrap_or_default().to_be_bytes().get(1..).unwrap_or_default());
    out.extend_from_slice(body);
    out
}

/// Accepts a stream, without headers. The first block of a connection starts the zlib stream.
pub(in crate::sim::api) fn accept(stream: u32, first: bool) -> Vec<u8> {
    let mut body = stream.to_be_bytes().to_vec();
    if first {
        body.extend_from_slice(&[0x78, 0x01]);
    }
    body.extend_from_slice(&stored(&[0; 4]));
    // Go's reader hands out what it has when it meets an empty block, and takes the end of input before that for an error.
    body.extend_from_slice(&stored(&[]));
    frame(SYN_REPLY, &body)
}

/// Answers a ping.
pub(in crate::sim::api) fn pong(number: u32) -> Vec<u8> {
    frame(PING, &number.to_be_bytes())
}

/// Bytes of a stream, in frames of a usual size.
pub(in crate::sim::api) fn data(stream: u32, bytes: &[u8], last: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + HEAD);
    let head = |length: usize, fin: bool, out: &mut Vec<u8>| {
        out.extend_from_slice(&(stream & 0x7fff_ffff).to_be_bytes());
        out.push(u8::from(fin));
        out.extend_from_slice(u32::try_from(length).unwrap_or_default().to_be_bytes().get(1..).unwrap_or_default());
    };
    for chunk in bytes.chunks(32 << 10) {
        head(chunk.len(), false, &mut out);
        out.extend_from_slice(chunk);
    }
    if last {
        head(0, true, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of what a real kubectl sends: its first stream.
    fn opening(block: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        body.extend_from_slice(block);
        frame(SYN_STREAM, &body)
    }

    fn block(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut text = u32::try_from(pairs.len()).unwrap().to_be_bytes().to_vec();
        for word in pairs.iter().flat_map(|(k, v)| [k, v]) {
            text.extend_from_slice(&u32::try_from(word.len()).unwrap().to_be_bytes());
            text.extend_from_slice(word.as_bytes());
        }
        text
    }

    #[test]
    fn the_dictionary_is_the_standard_one() {
        let (mut a, mut b) = (1u32, 0u32);
        for byte in dictionary() {
            a = (a + u32::from(byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!(b << 16 | a, 0xe3c6_a7c2);
    }

    #[test]
    fn streams_are_opened_in_pieces() {
        let headers = [("streamtype", "data"), ("port", "80"), ("requestid", "0")];
        let mut bytes = opening(&[&[0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2], stored(&block(&headers)).as_slice()].concat());
        bytes.extend_from_slice(&data(1, b"hello", true));
        let mut reader = Reader::new();
        let heard: Vec<_> = bytes.chunks(3).flat_map(|c| reader.read(c).unwrap()).collect();
        let expected = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(heard, [Heard::Open(1, expected), Heard::Data(1, b"hello".to_vec(), false), Heard::Data(1, Vec::new(), true)]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(head in 0u8..2, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let mut reader = Reader::new();
            // Half of them look like the opening of a stream.
            let given = if head == 0 { bytes } else { opening(&[&[0x78, 0xbb, 0, 0, 0, 0], bytes.as_slice()].concat()) };
            let _heard = reader.read(&given);
            proptest::prop_assert!(reader.pending.len() <= FRAME_MAX + HEAD);
        }
    }

    #[test]
    fn what_we_write_is_read_back() {
        let mut reader = Reader::new();
        assert_eq!(reader.read(&pong(7)), Ok(vec![Heard::Ping(7)]));
        assert_eq!(reader.read(&[0x80, 9, 0, 1, 0, 0, 0, 0]), Err(Malformed));
        assert_eq!(Reader::new().read(&opening(&[1, 2, 3])), Err(Malformed));
        let mut huge = Reader::new();
        assert_eq!(huge.read(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff]), Err(Malformed));
    }
}
