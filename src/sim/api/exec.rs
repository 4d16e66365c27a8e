//! `pods/exec`: the shell's input, output and exit code, in a conversation over a WebSocket or SPDY ([`super::talk`]).
//!
//! The host of the command keeps the clock still while it computes.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::request::Parts;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::call::Call;
use super::spdy::channels::Channels;
use super::spdy::upgrade;
use super::talk::{RESIZE, STATUS, STDERR, STDIN, STDOUT, Said, Talk};
use crate::sim::shell::{self, Exit, Host, Output, Terminal};
use crate::sim::status::Status;

/// What the server speaks, best first.
const PROTOCOLS: [&str; 3] = ["v5.channel.k8s.io", "v4.channel.k8s.io", PLAIN];
/// The first version: a command's failure is told as a text, and its success not at all.
const PLAIN: &str = "channel.k8s.io";
/// What it speaks over SPDY.
const STREAMS: &str = "v4.channel.k8s.io";
/// Longest message that is read.
const MESSAGE_MAX: usize = 4 << 20;
/// How many pieces of input or output may wait.
const QUEUE: usize = 64;
/// How long a command whose client has gone may work off what that has sent.
const GOODBYE: Duration = Duration::from_millis(500);

/// What the query asks for.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag of the query")]
pub(super) struct Wish {
    argv: Vec<String>,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Wish {
    /// Reads the query.
    pub(super) fn of(call: &Call) -> Result<Self, Status> {
        let wish = Self {
            argv: call.params("command"),
            stdin: call.flag("stdin"),
            stdout: call.flag("stdout"),
            stderr: call.flag("stderr"),
            tty: call.flag("tty"),
        };
        if !(wish.stdin || wish.stdout || wish.stderr) {
            return Err(Status::bad_request("you must specify at least one of stdin, stdout, stderr"));
        }
        Ok(wish)
    }
}

/// Runs the command of the query in the container of `host`, and answers the upgrade.
pub(super) async fn open<H: Host>(parts: &mut Parts, call: &Call, host: Arc<H>, stop: CancellationToken) -> Result<Response, Status> {
    let wish = Wish::of(call)?;
    if wish.argv.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    let argv = wish.argv.clone();
    begin(parts, wish, stop, move |input, out, terminal| async move {
        match terminal {
            Some(terminal) => shell::run_at(terminal, host, argv, input, out).await,
            None => shell::run(host, argv, input, out).await,
        }
    })
    .await
}

/// Answers the upgrade with a conversation with what `run` makes of input and output.
pub(super) async fn begin<F, R>(parts: &mut Parts, wish: Wish, stop: CancellationToken, run: R) -> Result<Response, Status>
where
    F: Future<Output = Exit> + Send + 'static,
    R: FnOnce(mpsc::Receiver<Vec<u8>>, mpsc::Sender<Output>, Option<Arc<Terminal>>) -> F + Send + 'static,
{
    if upgrade::wanted(&parts.headers) {
        let (response, promise) = upgrade::agree(parts, &[STREAMS])?;
        let channels = [(STDIN, wish.stdin), (STDOUT, wish.stdout), (STDERR, wish.stderr && !wish.tty), (STATUS, true), (RESIZE, wish.tty)];
        let wanted: Vec<u8> = channels.into_iter().filter(|(_, asked)| *asked).map(|(channel, _)| channel).collect();
        promise.then(stop, move |line| async move {
            if let Some(channels) = Channels::open(line, &wanted).await {
                converse(Talk::Streams(Box::new(channels)), wish, run).await;
            }
        });
        return Ok(response);
    }
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &()).await.map_err(|_| Status::bad_request("Upgrade request required"))?;
    let upgrade = upgrade.protocols(PROTOCOLS).max_message_size(MESSAGE_MAX);
    // Who names none means the first.
    let plain = upgrade.selected_protocol().is_none_or(|p| p.as_bytes() == PLAIN.as_bytes());
    Ok(upgrade.on_upgrade(move |socket| async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = converse(Talk::Socket { socket: Box::new(socket), plain }, wish, run) => {}
        }
    }))
}

async fn converse<F, R>(mut talk: Talk, wish: Wish, run: R)
where
    F: Future<Output = Exit>,
    R: FnOnce(mpsc::Receiver<Vec<u8>>, mpsc::Sender<Output>, Option<Arc<Terminal>>) -> F,
{
    let (input, rx) = mpsc::channel(QUEUE);
    let mut input = Some(input).filter(|_| wish.stdin);
    let (tx, mut output) = mpsc::channel(QUEUE);
    let terminal = wish.tty.then(Arc::<Terminal>::default);
    let mut command = pin!(run(rx, tx, terminal.clone()));
    let mut waiting: VecDeque<Vec<u8>> = VecDeque::new();
    let mut closing = false;
    let exit = loop {
        if closing && waiting.is_empty() {
            input = None;
        }
        let room = async {
            match &input {
                Some(i) if !waiting.is_empty() => i.reserve().await.ok(),
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(piece) = output.recv() => if !send(&mut talk, &wish, piece).await { return },
            exit = &mut command => break Some(exit),
            permit = room => if let (Some(permit), Some(piece)) = (permit, waiting.pop_front()) {
                permit.send(piece);
            } else {
                // The command reads no more.
                waiting.clear();
                closing = true;
            },
            said = talk.receive(), if waiting.len() < QUEUE => match said {
                Said::Bytes(STDIN, bytes) => waiting.push_back(bytes),
                Said::End(STDIN) => closing = true,
                Said::Bytes(RESIZE, size) => resize(terminal.as_deref(), &size),
                Said::Bytes(..) | Said::End(_) => {}
                Said::Aside => if !talk.settle().await { break None },
                Said::Gone => break None,
            },
        }
    };
    let Some(exit) = exit else {
        // The client is gone. What it has sent is still worked off, as by a `tar` that it filled and left; a command that was
        // sent nothing ends with it, so that what it still waits for moves no time.
        if !wish.stdin {
            return;
        }
        let feed = async move {
            for piece in waiting {
                match &input {
                    Some(i) if i.send(piece).await.is_ok() => {}
                    _ => break,
                }
            }
        };
        let drain = async {
            while output.recv().await.is_some() {}
            std::future::pending::<()>().await;
        };
        let finish = async {
            tokio::select! {
                _exit = &mut command => {}
                () = drain => {}
            }
        };
        let _late = tokio::time::timeout(GOODBYE, async { tokio::join!(feed, finish) }).await;
        return;
    };
    while let Ok(piece) = output.try_recv() {
        if !send(&mut talk, &wish, piece).await {
            return;
        }
    }
    talk.end(&status_of(&exit)).await;
}

/// Takes the size of the client's window: `{"Width": 80, "Height": 24}`.
fn resize(terminal: Option<&Terminal>, size: &[u8]) {
    let Ok(size) = serde_json::from_slice::<Value>(size) else { return };
    let side = |name: &str| size[name].as_u64().and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
    if let Some(terminal) = terminal {
        terminal.resize(side("Width"), side("Height"));
    }
}

/// A terminal's lines end with two characters.
fn returned(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for byte in text {
        if *byte == b'\n' {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out
}

async fn send(talk: &mut Talk, wish: &Wish, piece: Output) -> bool {
    match piece {
        // A terminal has one output.
        Output::Stdout(text) | Output::Stderr(text) if wish.tty => !wish.stdout || talk.tell(STDOUT, &returned(&text)).await,
        Output::Stdout(text) if wish.stdout => talk.tell(STDOUT, &text).await,
        Output::Stderr(text) if wish.stderr => talk.tell(STDERR, &text).await,
        Output::Stdout(_) | Output::Stderr(_) => true,
    }
}

/// The `Status` on channel 3.
fn status_of(exit: &Exit) -> Value {
    match exit {
        Exit::Code(0) => json!({"metadata": {}, "status": "Success"}),
        Exit::Code(n) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: command terminated with exit code {n}"),
            "details": {"causes": [{"reason": "ExitCode", "message": n.to_string()}]}
        }),
        Exit::NotFound(text) => {
            let why = format!("error executing command in container: failed to exec in container: {text}: unknown");
            json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
                "message": format!("Internal error occurred: {why}"), "details": {"causes": [{"message": why}]}})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_become_causes() {
        assert_eq!(status_of(&Exit::Code(0)), json!({"metadata": {}, "status": "Success"}));
        assert_eq!(status_of(&Exit::Code(3))["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
        let missing = status_of(&Exit::NotFound("OCI runtime exec failed: exec: \"x\": executable file not found in $PATH".into()));
        assert!(
            missing["message"].as_str().is_some_and(|m| m.contains("executable file not found") && m.contains("OCI runtime exec failed"))
        );
    }
}
