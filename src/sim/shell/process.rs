//! A running program: its arguments, streams, environment and limits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::files::{Content, FileError, Files, absolute};
use super::host::{Host, Output};
use super::terminal::Terminal;
use super::{image, synthetic};

/// Most commands of one `exec`.
pub(crate) const STEPS_MAX: u64 = 100_000;
/// So many commands are run in a row.
const TURN: u64 = 64;
/// Most bytes of output, of one file read and of one pipe.
pub(crate) const BYTES_MAX: usize = 16 << 20;
/// Longest simulated run of one `exec`.
pub(crate) const TIME_MAX: SignedDuration = SignedDuration::from_hours(1);
/// Deepest nesting of shells, functions and programs that start programs.
pub(crate) const DEPTH_MAX: usize = 24;

/// What all processes of one `exec` share.
pub(crate) struct Machine<H: Host> {
    pub(crate) host: Arc<H>,
    pub(crate) family: String,
    /// What is taken for `/`; empty for the container's own root.
    root: String,
    steps: AtomicU64,
    output: AtomicU64,
    gone: AtomicBool,
    /// What the client types at and looks at, if it is one.
    pub(crate) terminal: Option<Arc<Terminal>>,
}

impl<H: Host> Machine<H> {
    pub(crate) fn new(host: Arc<H>, terminal: Option<Arc<Terminal>>) -> Arc<Self> {
        let family = host.family();
        Arc::new(Self {
            host,
            family,
            root: String::new(),
            steps: AtomicU64::new(0),
            output: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            terminal,
        })
    }

    /// The same machine for a program whose root is `directory`, an absolute path without links. What it prints is counted anew.
    pub(crate) fn rooted(&self, directory: &str) -> Arc<Self> {
        let root = format!("{}{}", self.root, directory.trim_end_matches('/'));
        let busybox = self.files(|files| files.rooted(directory).node("/bin/busybox").is_some());
        Arc::new(Self {
            host: Arc::clone(&self.host),
            family: if busybox { "busybox" } else { "debian" }.to_owned(),
            root,
            steps: AtomicU64::new(self.steps.load(Ordering::Relaxed)),
            output: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            terminal: self.terminal.clone(),
        })
    }

    /// Runs `f` on the files at the present time.
    pub(crate) fn files<T>(&self, f: impl FnOnce(&mut Files) -> T) -> T {
        let now = self.host.now();
        self.host.with_files(|files| {
            files.now = now;
            if self.root.is_empty() { f(files) } else { f(&mut files.rooted(&self.root)) }
        })
    }

    pub(crate) fn busybox(&self) -> bool {
        image::is_busybox(&self.family)
    }

    /// Counts one command. Now and then others get their turn: a loop that does nothing must not keep them waiting.
    pub(crate) async fn step(&self) {
        if self.steps.fetch_add(1, Ordering::Relaxed) % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
    }

    /// Which budget is exhausted, if any.
    pub(crate) fn exhausted(&self) -> Option<&'static str> {
        if self.steps.load(Ordering::Relaxed) > STEPS_MAX {
            Some("too many commands")
        } else if self.output.load(Ordering::Relaxed) > BYTES_MAX as u64 {
            Some("too much output")
        } else if self.gone.load(Ordering::Relaxed) {
            Some("client has gone")
        } else {
            None
        }
    }

    /// Where a program of this name is, searching `path`.
    pub(crate) fn find_program(&self, name: &str, path: &str) -> Option<String> {
        if name.is_empty() {
            return None;
        }
        let found = self.files(|files| {
            path.split(':').map(|d| format!("{d}/{name}")).find(|p| files.stat(p).is_ok_and(|n| !n.is_directory() && n.mode & 0o111 != 0))
        });
        if !self.root.is_empty() {
            return found;
        }
        found.or_else(|| self.host.programs().iter().any(|p| p == name).then(|| format!("/usr/local/bin/{name}")))
    }
}

/// The client's standard input: channel, and what was received and not yet read.
pub(crate) type ClientInput = (mpsc::Receiver<Vec<u8>>, Vec<u8>);

/// Where input comes from.
#[derive(Clone)]
pub(crate) enum Source {
    /// Nothing.
    Empty,
    /// Bytes and how many of them have been read.
    Bytes(Arc<Mutex<(Vec<u8>, usize)>>),
    /// The client's.
    Client(Arc<tokio::sync::Mutex<ClientInput>>),
}

impl Source {
    pub(crate) fn bytes(bytes: Vec<u8>) -> Self {
        Self::Bytes(Arc::new(Mutex::new((bytes, 0))))
    }

    /// Everything that is left, up to [`BYTES_MAX`].
    pub(crate) async fn read_all(&self) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Bytes(shared) => {
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let rest = shared.0.get(shared.1..).unwrap_or_default().to_vec();
                shared.1 = shared.0.len();
                rest
            }
            Self::Client(shared) => {
                let mut shared = shared.lock().await;
                let mut bytes = std::mem::take(&mut shared.1);
                while bytes.len() < BYTES_MAX {
                    match shared.0.recv().await {
                        // A terminal says so when its user ends the input.
                        Some(more) if !more.is_empty() => bytes.extend_from_slice(&more),
                        _ => break,
                    }
                }
                bytes
            }
        }
    }

    /// The next line with its newline; `None` at the end.
    pub(crate) async fn read_line(&self) -> Option<Vec<u8>> {
        match self {
            Self::Empty => None,
            Self::Bytes(shared) => {
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let rest = shared.0.get(shared.1..).unwrap_or_default();
                let end = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |at| at + 1);
                let line = rest.get(..end).unwrap_or_default().to_vec();
                shared.1 += end;
                (!line.is_empty()).then_some(line)
            }
            Self::Client(shared) => {
                let mut shared = shared.lock().await;
                loop {
                    if let Some(at) = shared.1.iter().position(|b| *b == b'\n') {
                        let rest = shared.1.split_off(at + 1);
                        return Some(std::mem::replace(&mut shared.1, rest));
                    }
                    match shared.0.recv().await {
                        Some(more) if shared.1.len() < BYTES_MAX && !more.is_empty() => shared.1.extend_from_slice(&more),
                        _ => break,
                    }
                }
                let rest = std::mem::take(&mut shared.1);
                (!rest.is_empty()).then_some(rest)
            }
        }
    }
}

/// Where output goes.
#[derive(Clone)]
pub(crate) enum Sink {
    /// Nowhere.
    Null,
    /// `/dev/full`.
    Full,
    /// The client, as standard error or output.
    Client(mpsc::Sender<Output>, bool),
    /// A pipe or a substitution.
    Buffer(Arc<Mutex<Vec<u8>>>),
    /// A file, by absolute path; opening has truncated it when that was asked.
    File(String),
}

/// The streams of a process.
#[derive(Clone)]
pub(crate) struct Io {
    pub(crate) input: Source,
    pub(crate) output: Sink,
    pub(crate) error: Sink,
    /// Descriptors above 2.
    pub(crate) others: BTreeMap<u32, Sink>,
}

/// One running program.
pub(crate) struct Process<H: Host> {
    pub(crate) machine: Arc<Machine<H>>,
    pub(crate) args: Vec<String>,
    pub(crate) io: Io,
    pub(crate) cwd: String,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) deadline: Timestamp,
    pub(crate) depth: usize,
    pending: Vec<Output>,
}

impl<H: Host> Clone for Process<H> {
    fn clone(&self) -> Self {
        Self {
            machine: Arc::clone(&self.machine),
            args: self.args.clone(),
            io: self.io.clone(),
            cwd: self.cwd.clone(),
            environment: self.environment.clone(),
            deadline: self.deadline,
            depth: self.depth,
            pending: Vec::new(),
        }
    }
}

impl<H: Host> Process<H> {
    pub(crate) fn new(machine: Arc<Machine<H>>, args: Vec<String>, io: Io) -> Self {
        let environment: BTreeMap<String, String> = machine.host.environment().into_iter().collect();
        let cwd = absolute("/", &machine.host.workdir());
        let deadline = machine.host.now().saturating_add(TIME_MAX).unwrap_or(Timestamp::MAX);
        Self { machine, args, io, cwd, environment, deadline, depth: 0, pending: Vec::new() }
    }

    pub(crate) fn host(&self) -> &H {
        &self.machine.host
    }

    pub(crate) fn path(&self, path: &str) -> String {
        absolute(&self.cwd, path)
    }

    pub(crate) fn search_path(&self) -> String {
        self.environment.get("PATH").cloned().unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned())
    }

    /// Its limits begin anew: it waits for somebody.
    pub(crate) fn renew(&mut self) {
        self.machine.steps.store(0, Ordering::Relaxed);
        self.machine.output.store(0, Ordering::Relaxed);
        self.deadline = self.host().now().saturating_add(TIME_MAX).unwrap_or(Timestamp::MAX);
    }

    /// The terminal that it shows its output at, if it does.
    pub(crate) fn screen(&self) -> Option<&Arc<Terminal>> {
        self.machine.terminal.as_ref().filter(|_| matches!(self.io.output, Sink::Client(..)))
    }

    /// Whether it must end: its time is over or a budget is exhausted.
    pub(crate) fn halted(&self) -> bool {
        self.machine.exhausted().is_some() || self.host().now() >= self.deadline
    }

    /// Queues output.
    pub(crate) fn print(&mut self, text: impl AsRef<[u8]>) {
        let bytes = text.as_ref();
        if let Some(Output::Stdout(last)) = self.pending.last_mut() {
            if last.len() < BYTES_MAX {
                last.extend_from_slice(bytes);
            }
        } else {
            self.pending.push(Output::Stdout(bytes.to_vec()));
        }
    }

    /// Queues a line of output.
    pub(crate) fn line(&mut self, text: impl AsRef<[u8]>) {
        self.print(text);
        self.print("\n");
    }

    /// Queues a message, prefixed with the program's name.
    pub(crate) fn complain(&mut self, text: impl AsRef<str>) {
        let name = self.name();
        self.raw_error(format!("{name}: {}\n", text.as_ref()));
    }

    /// Queues error output as it is.
    pub(crate) fn raw_error(&mut self, text: impl AsRef<[u8]>) {
        self.pending.push(Output::Stderr(text.as_ref().to_vec()));
    }

    /// The program's name without its directory.
    pub(crate) fn name(&self) -> String {
        let name = self.args.first().map_or("sh", String::as_str);
        name.rsplit('/').next().unwrap_or(name).to_owned()
    }

    /// Writes what is queued; an error is reported once on standard error.
    pub(crate) async fn flush(&mut self) -> Result<(), FileError> {
        let mut result = Ok(());
        for piece in std::mem::take(&mut self.pending) {
            match piece {
                Output::Stdout(bytes) => {
                    let sink = self.io.output.clone();
                    if let Err(error) = self.write_to(&sink, &bytes).await {
                        result = Err(error);
                    }
                }
                Output::Stderr(bytes) => {
                    let sink = self.io.error.clone();
                    let _ = self.write_to(&sink, &bytes).await;
                }
            }
        }
        if let Err(error) = result {
            let message = format!("{}: write error: {error}\n", self.name());
            let sink = self.io.error.clone();
            let _ = self.write_to(&sink, message.as_bytes()).await;
        }
        result
    }

    async fn write_to(&mut self, sink: &Sink, bytes: &[u8]) -> Result<(), FileError> {
        if bytes.is_empty() {
            return Ok(());
        }
        match sink {
            Sink::Null => Ok(()),
            Sink::Full => Err(FileError::NoSpace),
            Sink::Buffer(buffer) => {
                let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
                if buffer.len() + bytes.len() > BYTES_MAX {
                    self.machine.output.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                }
                let room = BYTES_MAX.saturating_sub(buffer.len()).min(bytes.len());
                buffer.extend_from_slice(bytes.get(..room).unwrap_or_default());
                Ok(())
            }
            Sink::File(path) => self.write_file(path, &Content { head: bytes.to_vec(), zeros: 0 }, true, 1).await,
            Sink::Client(channel, error) => {
                if self.machine.output.fetch_add(bytes.len() as u64, Ordering::Relaxed) > BYTES_MAX as u64 {
                    return Ok(());
                }
                let piece = if *error { Output::Stderr(bytes.to_vec()) } else { Output::Stdout(bytes.to_vec()) };
                if channel.send(piece).await.is_err() {
                    self.machine.gone.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
        }
    }

    /// Flushes and waits; `false` when the process must end instead.
    pub(crate) async fn sleep(&mut self, wanted: Duration) -> bool {
        let _ = self.flush().await;
        self.pause(wanted).await
    }

    /// Waits without flushing.
    async fn pause(&mut self, wanted: Duration) -> bool {
        if self.halted() {
            return false;
        }
        let left = Duration::try_from(self.deadline.duration_since(self.host().now())).unwrap_or_default();
        let waited = wanted.min(left);
        if !waited.is_zero() {
            self.host().sleep(waited).await;
        }
        wanted < left && self.machine.exhausted().is_none()
    }

    /// Waits for a disk operation.
    pub(crate) async fn disk(&mut self, path: &str, bytes: u64, calls: u32, write: bool) -> Result<(), FileError> {
        if path.starts_with("/proc/") || path.starts_with("/sys/") {
            return if write { Err(FileError::Denied) } else { Ok(()) };
        }
        match self.host().disk(path, bytes, calls, write) {
            Ok(took) if took.is_zero() => Ok(()),
            Ok(took) => {
                self.pause(took).await;
                Ok(())
            }
            Err("ENOSPC") => Err(FileError::NoSpace),
            Err("EROFS") => Err(FileError::ReadOnly),
            Err("EACCES" | "EPERM") => Err(FileError::Denied),
            Err(_) => Err(FileError::Io),
        }
    }

    /// Brings generated files up to date when `path` may be one.
    pub(crate) fn refresh(&self, path: &str) {
        if path == "/" || path.starts_with("/proc") || path.starts_with("/sys") {
            synthetic::refresh(&self.machine);
        }
    }

    /// A file's bytes; `path` may be relative.
    pub(crate) async fn read_file(&mut self, path: &str) -> Result<Vec<u8>, FileError> {
        let path = self.path(path);
        if path == "/dev/stdin" || path == "/proc/self/fd/0" {
            return Ok(self.io.input.clone().read_all().await);
        }
        if matches!(path.as_str(), "/dev/zero" | "/dev/urandom" | "/dev/random" | "/dev/full") {
            let byte = if path.ends_with("random") { b'\x5a' } else { 0 };
            return Ok(vec![byte; 1 << 20]);
        }
        self.refresh(&path);
        let content = self.machine.files(|f| f.read(&path))?;
        self.disk(&path, content.len(), 1, false).await?;
        Ok(content.bytes(BYTES_MAX))
    }

    /// Writes a file in `calls` system calls; `path` may be relative.
    pub(crate) async fn write_file(&mut self, path: &str, content: &Content, append: bool, calls: u32) -> Result<(), FileError> {
        let path = self.path(path);
        if matches!(path.as_str(), "/dev/null" | "/dev/zero" | "/dev/tty") {
            return Ok(());
        }
        match path.as_str() {
            "/dev/stdout" | "/proc/self/fd/1" => {
                self.print(content.bytes(BYTES_MAX));
                return Ok(());
            }
            "/dev/stderr" | "/proc/self/fd/2" => {
                self.raw_error(content.bytes(BYTES_MAX));
                return Ok(());
            }
            _ => {}
        }
        if path.starts_with("/proc") || path.starts_with("/sys") {
            self.machine.files(|f| f.stat(&path))?;
            return Err(FileError::ReadOnly);
        }
        self.disk(&path, content.len(), calls, true).await?;
        self.machine.files(|f| f.write(&path, content, append))
    }

    /// Standard input (for `-`) or a file.
    pub(crate) async fn read_input(&mut self, path: &str) -> Result<Vec<u8>, FileError> {
        if path == "-" { Ok(self.io.input.clone().read_all().await) } else { self.read_file(path).await }
    }

    /// The inputs that a filter reads: the files named, or standard input. Missing ones are complained about; the
    /// second value is whether all could be read.
    pub(crate) async fn inputs(&mut self, paths: &[String]) -> (Vec<(String, Vec<u8>)>, bool) {
        let mut inputs = Vec::new();
        let mut fine = true;
        if paths.is_empty() {
            inputs.push(("-".to_owned(), self.io.input.clone().read_all().await));
        }
        for path in paths {
            match self.read_input(path).await {
                Ok(bytes) => inputs.push((path.clone(), bytes)),
                Err(error) => {
                    fine = false;
                    self.file_error(path, "", error);
                }
            }
        }
        (inputs, fine)
    }

    /// Complains about a file as the image's tools do: GNU names the failed action, busybox does not.
    pub(crate) fn file_error(&mut self, path: &str, gnu_action: &str, error: FileError) {
        let name = self.name();
        let busybox = self.machine.busybox();
        if busybox
            && matches!(name.as_str(), "cat" | "head" | "tail" | "wc" | "sort" | "md5sum" | "sha256sum")
            && error == FileError::NoEntry
        {
            self.complain(format!("can't open '{path}': {error}"));
        } else if !busybox && matches!(name.as_str(), "head" | "tail") {
            self.complain(format!("cannot open '{path}' for reading: {error}"));
        } else if !busybox && name == "sort" {
            self.complain(format!("cannot read: {path}: {error}"));
        } else if !busybox && name.ends_with("awk") {
            self.complain(format!("cannot open {path} ({error})"));
        } else if busybox || gnu_action.is_empty() {
            self.complain(format!("{path}: {error}"));
        } else {
            self.complain(format!("{gnu_action} '{path}': {error}"));
        }
    }
}
