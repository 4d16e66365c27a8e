//! What `exec` runs: a POSIX shell and the usual programs over a modelled container.
//!
//! Generic over [`Host`], which is one container; nothing here knows pods or the API. Input: [`run`]'s arguments and
//! standard input. Output: pieces of [`Output`] and an [`Exit`].
//!
//! [`parser`] makes commands of text, [`interpreter`] (with [`expand`], [`arithmetic`], [`pattern`] and [`builtins`])
//! runs them, [`terminal`] and [`interactive`] are for people who type, [`applets`] are the programs, [`image`] says which a family has, [`files`] is the file system.
//! Everything is bounded: commands, output, nesting and simulated time (see [`process`]). The stages of a pipeline and
//! background commands run one after the other, which keeps the order of events reproducible.

mod applets;
mod arithmetic;
mod builtins;
mod expand;
pub mod files;
mod host;
mod image;
mod interactive;
mod interpreter;
mod parser;
mod pattern;
mod process;
mod redirect;
mod synthetic;
mod terminal;
#[cfg(test)]
mod tests;
mod volume;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

pub use host::{ApiCall, ConnectError, CpuUse, Exit, Host, HttpAnswer, HttpCall, Output, Pending, Ping, ProcessInfo, ResolveError};
use process::{Io, Machine, Process, Sink, Source};
pub use terminal::Terminal;

/// How many lines may be typed ahead.
const TYPED: usize = 256;

/// Parses a script and drops it.
#[cfg(any(test, fuzzing))]
pub fn parse_only(text: &str) {
    let _parsed = parser::parse(text);
}

/// Runs a command line in a container.
///
/// `stdin` yields the client's input and is closed at its end; output is sent as it is made. When the receiver of
/// `out` is dropped, the command ends soon.
pub async fn run<H: Host>(host: Arc<H>, argv: Vec<String>, stdin: mpsc::Receiver<Vec<u8>>, out: mpsc::Sender<Output>) -> Exit {
    let machine = Machine::new(host, None);
    conduct(machine, argv, stdin, out).await
}

/// Like [`run`], at a terminal: `keys` is what its user types.
pub async fn run_at<H: Host>(
    terminal: Arc<Terminal>,
    host: Arc<H>,
    argv: Vec<String>,
    keys: mpsc::Receiver<Vec<u8>>,
    out: mpsc::Sender<Output>,
) -> Exit {
    let machine = Machine::new(host, Some(Arc::clone(&terminal)));
    let (input, stdin) = mpsc::channel(TYPED);
    let echo = out.clone();
    let pump = async {
        terminal.pump(&machine, keys, input, &echo).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        exit = conduct(Arc::clone(&machine), argv, stdin, out) => exit,
        () = terminal.interrupted(0) => Exit::Code(interactive::INTERRUPTED),
        () = pump => Exit::Code(0),
    }
}

async fn conduct<H: Host>(machine: Arc<Machine<H>>, argv: Vec<String>, stdin: mpsc::Receiver<Vec<u8>>, out: mpsc::Sender<Output>) -> Exit {
    let io = Io {
        input: Source::Client(Arc::new(tokio::sync::Mutex::new((stdin, Vec::new())))),
        output: Sink::Client(out.clone(), false),
        error: Sink::Client(out.clone(), true),
        others: BTreeMap::new(),
    };
    synthetic::provide_etc(&machine);
    let name = argv.first().cloned().unwrap_or_default();
    let process = Process::new(Arc::clone(&machine), argv, io);
    if let Err(missing) = applets::locate(&process) {
        let reason = match (missing, name.contains('/')) {
            (true, false) => format!("exec: \"{name}\": executable file not found in $PATH"),
            (true, true) => format!("exec: \"{name}\": stat {name}: no such file or directory"),
            (false, _) => format!("exec: \"{name}\": permission denied"),
        };
        return Exit::NotFound(format!("OCI runtime exec failed: exec failed: unable to start container process: {reason}"));
    }
    let deadline = process.deadline;
    let code = applets::start(process).await;
    let limit = machine.exhausted().or((machine.host.now() >= deadline).then_some("an hour has passed"));
    match limit {
        None => Exit::Code(code),
        Some(reason) => {
            let _ = out.send(Output::Stderr(format!("{name}: stopped: {reason}\n").into_bytes())).await;
            Exit::Code(137)
        }
    }
}
