//! A terminal between a client's keys and the programs of one `exec`.
//!
//! [`Terminal::pump`] takes what the client sends, shows it ([`discipline`]), and passes lines on; the shell asks for its
//! commands with [`Terminal::line`]. Line ends of what is shown are the business of whoever sends it to the client.

mod discipline;
pub(crate) mod prompt;

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

pub(crate) use discipline::INTERRUPT;
use discipline::{Discipline, Event, Mode};

use super::host::{Host, Output};
use super::process::{Machine, Process, Source};

/// One terminal.
#[derive(Debug)]
pub struct Terminal {
    discipline: Mutex<Discipline>,
    /// Counts interruptions.
    interrupts: watch::Sender<u64>,
    /// How many shells with a prompt, and programs in their foreground, there are.
    depth: watch::Sender<usize>,
    columns: AtomicU16,
    rows: AtomicU16,
    /// The directory of the shell that asks for a command, for completing names.
    directory: Mutex<String>,
}

/// What came of a prompt.
pub(crate) enum Typed {
    /// A line with its end.
    Line(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D, or the client has gone.
    End,
}

impl Default for Terminal {
    fn default() -> Self {
        Self {
            discipline: Mutex::default(),
            interrupts: watch::Sender::default(),
            depth: watch::Sender::default(),
            columns: AtomicU16::new(80),
            rows: AtomicU16::new(24),
            directory: Mutex::new("/".to_owned()),
        }
    }
}

impl Terminal {
    /// The client's window has so many columns and rows; nothing changes where one is zero.
    pub fn resize(&self, columns: u16, rows: u16) {
        if columns > 0 && rows > 0 {
            self.columns.store(columns, Ordering::Relaxed);
            self.rows.store(rows, Ordering::Relaxed);
        }
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.columns.load(Ordering::Relaxed).into(), self.rows.load(Ordering::Relaxed).into())
    }

    /// Passes keys on until the client has no more, or nobody is there to read.
    pub(super) async fn pump<H: Host>(
        &self,
        machine: &Machine<H>,
        mut keys: mpsc::Receiver<Vec<u8>>,
        input: mpsc::Sender<Vec<u8>>,
        out: &mpsc::Sender<Output>,
    ) {
        let complete = |text: &str| {
            let directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner).clone();
            prompt::complete(machine, &directory, text)
        };
        while let Some(bytes) = keys.recv().await {
            let (echo, events) = self.with(|d| d.feed(&bytes, &complete));
            if !echo.is_empty() && out.send(Output::Stdout(echo)).await.is_err() {
                return;
            }
            for event in events {
                match event {
                    Event::Input(bytes) => {
                        if input.send(bytes).await.is_err() {
                            return;
                        }
                    }
                    Event::Interrupt => self.interrupts.send_modify(|n| *n += 1),
                }
            }
        }
    }

    /// Shows a prompt and waits for a line.
    pub(crate) async fn line<H: Host>(&self, process: &mut Process<H>, prompt: &str) -> Typed {
        let Source::Client(input) = process.io.input.clone() else { return Typed::End };
        process.cwd.clone_into(&mut *self.directory.lock().unwrap_or_else(PoisonError::into_inner));
        process.print(prompt);
        let mut input = input.lock().await;
        // What was typed before the prompt came is there already; what was typed of an unfinished line goes on.
        if let Ok(bytes) = input.0.try_recv() {
            process.print(&bytes);
            let _ = process.flush().await;
            return Self::read(Some(&bytes));
        }
        let typed = self.with(|d| {
            d.mode = Mode::Edit;
            prompt.rsplit('\n').next().unwrap_or_default().clone_into(&mut d.prompt);
            d.typed()
        });
        process.print(typed);
        let _ = process.flush().await;
        Self::read(input.0.recv().await.as_deref())
    }

    fn read(bytes: Option<&[u8]>) -> Typed {
        match bytes {
            Some(INTERRUPT) => Typed::Interrupt,
            None | Some([]) => Typed::End,
            Some(line) => Typed::Line(String::from_utf8_lossy(line).into_owned()),
        }
    }

    /// Somebody is in the foreground until [`Terminal::leave`]: only the last one who came is interrupted.
    pub(crate) fn enter(&self) -> usize {
        self.depth.send_modify(|d| *d += 1);
        *self.depth.borrow()
    }

    /// The foreground is again whose it was before number `mine`.
    pub(crate) fn leave(&self, mine: usize) {
        self.depth.send_modify(|d| *d = mine.saturating_sub(1));
    }

    /// Waits until number `mine` is interrupted while it is in the foreground.
    pub(crate) async fn interrupted(&self, mine: usize) {
        let mut interrupts = self.interrupts.subscribe();
        while interrupts.changed().await.is_ok() {
            if *self.depth.borrow() == mine {
                return;
            }
        }
    }

    /// Keys come one by one, without being shown, until the guard goes.
    pub(crate) fn raw(self: &Arc<Self>) -> Raw {
        self.with(|d| d.mode = Mode::Raw);
        Raw(Arc::clone(self))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Discipline) -> T) -> T {
        f(&mut self.discipline.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A terminal whose keys come one by one.
pub(crate) struct Raw(Arc<Terminal>);

impl Drop for Raw {
    fn drop(&mut self) {
        self.0.with(|d| d.mode = Mode::Cooked);
    }
}
