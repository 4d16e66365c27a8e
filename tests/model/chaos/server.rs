//! An HTTP server of a few lines on bare sockets, so that it can misbehave below HTTP too: resets, bodies that end early.
//!
//! What it does with a request depends on the conversation's number and on how often it was asked, drawn from a seed, and
//! not on the order in which requests arrive. It keeps count of what it did.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::answer::{Say, answer};

/// Longer than the time limit of an attempt.
const SILENCE: Duration = Duration::from_secs(30);

/// The conversation in which it once falls silent: one, since that costs a time limit.
const SILENT: u64 = 334;

/// 10 MB.
const LONG: usize = 10 << 20;

/// What becomes of a conversation, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// A proper call in the end.
    Good,
    /// A proper call with 10 MB of arguments.
    Long,
    /// Arguments that are no JSON object.
    Malformed,
    /// Words in place of a call.
    Words,
    /// The provider never answers properly.
    Down,
    /// The provider refuses for good.
    Refused,
}

impl Fate {
    pub(super) fn of(number: u64) -> Self {
        match number % 100 {
            7 | 57 => Self::Down,
            13 => Self::Refused,
            20..30 => Self::Malformed,
            40..50 => Self::Words,
            _ if number % 250 == 99 => Self::Long,
            _ => Self::Good,
        }
    }
}

/// What was done in a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) faults: u64,
    pub(super) answers: u64,
    pub(super) refusals: u64,
}

/// Everything that was done, by conversation, and the faults by kind.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) conversations: BTreeMap<u64, Done>,
    pub(super) kinds: BTreeMap<&'static str, u64>,
}

/// What is done with one request.
enum Act {
    Answer(Say<'static>, Pace),
    Refuse,
    Fault(&'static str),
}

#[derive(Clone, Copy)]
enum Pace {
    Fast,
    Slow,
}

/// All faults of infrastructure; `silence` apart.
const FAULTS: [&str; 17] = [
    "reset before the answer",
    "reset in the head",
    "reset in the body",
    "closed without a word",
    "body shorter than promised",
    "stream cut in an event",
    "stream cut after an event",
    "429 without a time",
    "429 with seconds",
    "429 with a date",
    "408",
    "503",
    "529",
    "no JSON",
    "empty body",
    "another JSON",
    "10 MB of something",
];

/// The running server; it ends with the runtime of the test.
pub(super) struct Server {
    pub(super) address: String,
    ledger: Arc<Mutex<Ledger>>,
}

impl Server {
    pub(super) async fn start(seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}/v1", listener.local_addr().unwrap());
        let ledger: Arc<Mutex<Ledger>> = Arc::default();
        let shared = Arc::clone(&ledger);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let ledger = Arc::clone(&shared);
                // An error here is a client that went away.
                tokio::spawn(async move { drop(connection(socket, seed, &ledger).await) });
            }
        });
        Self { address, ledger }
    }

    pub(super) fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connection(mut socket: TcpStream, seed: u64, ledger: &Mutex<Ledger>) -> std::io::Result<()> {
    let mut read = Vec::new();
    while let Some((path, body)) = request(&mut socket, &mut read).await? {
        let number = body.split("number<").nth(1).and_then(|rest| rest.split('>').next()).and_then(|n| n.parse().ok()).unwrap_or(0);
        let streamed = body.contains("\"stream\":true") || path.contains("stream");
        let act = decide(seed, number, ledger);
        let again = match act {
            Act::Answer(say, pace) => proper(&mut socket, &path, streamed, number, say, pace).await?,
            Act::Refuse => {
                send(&mut socket, "401 Unauthorized", "application/json", "", b"{\"error\": {\"message\": \"no such key\"}}").await?;
                true
            }
            Act::Fault(kind) => fault(&mut socket, kind, &path, streamed, number).await?,
        };
        if !again {
            return Ok(());
        }
    }
    Ok(())
}

/// The next request: its path and body.
async fn request(socket: &mut TcpStream, read: &mut Vec<u8>) -> std::io::Result<Option<(String, String)>> {
    let head_end = loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(read).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&read[..head_end]).to_lowercase();
    let path = String::from_utf8_lossy(&read[..head_end]).split(' ').nth(1).unwrap_or_default().to_owned();
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    while read.len() < head_end + length {
        if socket.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
    let body = String::from_utf8_lossy(&read[head_end..head_end + length]).into_owned();
    read.drain(..head_end + length);
    Ok(Some((path, body)))
}

/// Draws what is done, and writes it down.
fn decide(seed: u64, number: u64, ledger: &Mutex<Ledger>) -> Act {
    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    let done = ledger.conversations.entry(number).or_default();
    let asked = done.faults + done.answers + done.refusals;
    let mut dice = ChaCha8Rng::seed_from_u64(seed ^ (number << 16) ^ asked);
    let fate = Fate::of(number);
    let storm = number % 200 < 20 && asked < 2;
    let mut draw = |of: usize| usize::try_from(dice.next_u32()).unwrap_or(0) % of;
    let kind = if storm {
        Some(["429 without a time", "429 with seconds", "429 with a date"][draw(3)])
    } else if number == SILENT && asked == 0 {
        Some("silence")
    } else if fate == Fate::Down || draw(100) < 30 {
        Some(FAULTS[draw(FAULTS.len())])
    } else {
        None
    };
    if let Some(kind) = kind {
        done.faults += 1;
        *ledger.kinds.entry(kind).or_default() += 1;
        return Act::Fault(kind);
    }
    if fate == Fate::Refused {
        done.refusals += 1;
        return Act::Refuse;
    }
    done.answers += 1;
    let pace = if draw(100) < 5 { Pace::Slow } else { Pace::Fast };
    Act::Answer(
        match fate {
            Fate::Malformed => Say::Call("{\"code\": \"- hosts"),
            Fate::Words => Say::Text("I would rather not."),
            _ => Say::Call(""),
        },
        pace,
    )
}

/// The text of a proper answer, and its kind.
fn text(path: &str, streamed: bool, number: u64, say: Say<'_>) -> (String, &'static str) {
    let padding = if Fate::of(number) == Fate::Long { "x".repeat(LONG) } else { String::new() };
    let call = json!({ "code": number.to_string(), "padding": padding }).to_string();
    let say = if say == Say::Call("") { Say::Call(&call) } else { say };
    let (whole, events) = answer(path, say);
    if streamed && !events.is_empty() {
        (events.iter().flat_map(|event| ["data: ".to_owned(), event.to_string(), "\n\n".to_owned()]).collect(), "text/event-stream")
    } else {
        (whole.to_string(), "application/json")
    }
}

async fn proper(socket: &mut TcpStream, path: &str, streamed: bool, number: u64, say: Say<'_>, pace: Pace) -> std::io::Result<bool> {
    let (text, kind) = text(path, streamed, number, say);
    match pace {
        Pace::Fast => send(socket, "200 OK", kind, "", text.as_bytes()).await?,
        Pace::Slow => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
            socket.write_all(head.as_bytes()).await?;
            for piece in text.as_bytes().chunks((text.len() / 60).max(7)) {
                let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
                socket.write_all(&chunk).await?;
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
            socket.write_all(b"0\r\n\r\n").await?;
        }
    }
    Ok(true)
}

async fn send(socket: &mut TcpStream, status: &str, kind: &str, more: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n{more}\r\n", body.len());
    socket.write_all(&[head.as_bytes(), body].concat()).await
}

/// Misbehaves; whether the connection is still good.
async fn fault(socket: &mut TcpStream, kind: &str, path: &str, streamed: bool, number: u64) -> std::io::Result<bool> {
    let (good, content) = text(path, streamed, number, Say::Text("never seen in whole"));
    let half = good.as_bytes().get(..good.len() / 2).unwrap_or_default();
    let promise = format!("HTTP/1.1 200 OK\r\ncontent-type: {content}\r\ncontent-length: {}\r\n\r\n", good.len());
    let json = "application/json";
    let limited = b"{\"error\": {\"message\": \"slow down\"}}";
    match kind {
        "reset before the answer" => return reset(socket).await,
        "reset in the head" => {
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-ty").await?;
            return reset(socket).await;
        }
        "reset in the body" => {
            socket.write_all(&[promise.as_bytes(), half].concat()).await?;
            return reset(socket).await;
        }
        "closed without a word" => return Ok(false),
        "body shorter than promised" => {
            socket.write_all(&[promise.as_bytes(), half].concat()).await?;
            return Ok(false);
        }
        // With no length, a body ends with its connection, and nothing below the format knows that something is missing.
        "stream cut in an event" => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            socket.write_all(&[head.as_bytes(), b"data: {\"type\": \"mess"].concat()).await?;
            return Ok(false);
        }
        "stream cut after an event" => {
            let first = answer(path, Say::Text("half an")).1.into_iter().next();
            let event = first.map(|event| format!("data: {event}\n\n")).unwrap_or_default();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            socket.write_all(&[head.as_bytes(), event.as_bytes()].concat()).await?;
            return Ok(false);
        }
        "429 without a time" => send(socket, "429 Too Many Requests", json, "", limited).await?,
        "429 with seconds" => send(socket, "429 Too Many Requests", json, "retry-after: 0.004\r\n", limited).await?,
        "429 with a date" => {
            let dates = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
            send(socket, "429 Too Many Requests", json, dates, limited).await?;
        }
        "408" => send(socket, "408 Request Timeout", json, "", b"").await?,
        "503" => send(socket, "503 Service Unavailable", "text/html", "", b"<html>overloaded</html>").await?,
        "529" => send(socket, "529 Overloaded", json, "", b"{\"type\": \"error\", \"error\": {\"type\": \"overloaded_error\"}}").await?,
        "no JSON" => send(socket, "200 OK", json, "", b"<html>welcome</html>").await?,
        "empty body" => send(socket, "200 OK", json, "", b"").await?,
        "another JSON" => {
            let other: [&[u8]; 3] = [b"[]", b"{\"error\": {\"code\": 502, \"message\": \"upstream\"}}", b"{\"hello\": 1}"];
            send(socket, "200 OK", json, "", other[usize::try_from(number % 3).unwrap_or(0)]).await?;
        }
        "10 MB of something" => {
            let status = if number.is_multiple_of(2) { "200 OK" } else { "500 Internal Server Error" };
            send(socket, status, json, "connection: close\r\n", &vec![b'z'; LONG]).await?;
            return Ok(false);
        }
        _ => {
            socket.write_all(&[promise.as_bytes(), half].concat()).await?;
            tokio::time::sleep(SILENCE).await;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Ends the connection with RST rather than FIN, once what was written has left.
async fn reset(socket: &mut TcpStream) -> std::io::Result<bool> {
    tokio::time::sleep(Duration::from_millis(2)).await;
    socket.set_zero_linger()?;
    Ok(false)
}
