//! Writing a journal. Input: events, from one task; output: numbered lines of events.jsonl, each handed to the system
//! before `append` returns, so that only a crash of the whole machine can lose one.

use std::io::Write as _;

use camino::Utf8PathBuf;

use super::fold::RunState;
use super::layout::RunDir;
use super::reader::{Journal, JournalError, JournalReader};
use crate::event::{Event, Record};

/// Where time stamps come from. This module has no clock.
pub type Clock = Box<dyn Fn() -> jiff::Timestamp + Send>;

/// Why an event could not be recorded, or a journal not be opened for it.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another process has it.
    #[error("failed to lock the journal {path}: another microremed is writing this run; wait for it or stop it")]
    Locked {
        /// The journal.
        path: Utf8PathBuf,
    },
    /// The file system failed.
    #[error("failed to write the journal {path}")]
    Io {
        /// The journal.
        path: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An event that nobody could read again, such as one with a number that is not finite.
    #[error("failed to record an event of the journal {path}: it could not be read back")]
    Unreadable {
        /// The journal.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The journal to be continued is broken.
    #[error("failed to continue the run")]
    Journal(#[source] JournalError),
}

/// The one writer of a run's journal. Holds an exclusive lock until dropped.
pub struct JournalWriter {
    path: Utf8PathBuf,
    file: fs_err::File,
    length: u64,
    next: u64,
    clock: Clock,
}

impl JournalWriter {
    /// Starts the journal of a new run; an existing one is never touched.
    pub fn create(run: &RunDir, clock: Clock) -> Result<Self, WriteError> {
        let path = run.events();
        let file = fs_err::OpenOptions::new()
            .create_new(true)
            .append(true)
            .read(true)
            .open(&path)
            .map_err(|source| WriteError::Io { path: path.clone(), source })?;
        lock(&path, &file)?;
        let folder = fs_err::File::open(run.path()).and_then(|folder| folder.sync_all());
        folder.map_err(|source| WriteError::Io { path: path.clone(), source })?;
        Ok(Self { path, file, length: 0, next: 0, clock })
    }

    /// Continues the journal of an earlier start and returns what it holds. Half a line at its end is cut off, after a
    /// copy went to events.torn; files that an earlier writer was killed over are removed.
    pub fn open(run: &RunDir, clock: Clock) -> Result<(Self, Journal), WriteError> {
        let mut records = Vec::new();
        let (writer, torn) = Self::reopen(run, clock, |record| records.push(record))?;
        Ok((writer, Journal { records, torn }))
    }

    /// The same, folded while it is read: a journal of any size can be continued.
    pub fn open_folded(run: &RunDir, clock: Clock) -> Result<(Self, RunState), WriteError> {
        let mut state = RunState::default();
        let (writer, _) = Self::reopen(run, clock, |record| state.apply(&record.event))?;
        Ok((writer, state))
    }

    fn reopen(run: &RunDir, clock: Clock, mut take: impl FnMut(Record)) -> Result<(Self, bool), WriteError> {
        let path = run.events();
        let io = |source| WriteError::Io { path: path.clone(), source };
        let file = fs_err::OpenOptions::new().append(true).read(true).open(&path).map_err(io)?;
        // Locked before it is read: what a live writer is just writing would look torn.
        lock(&path, &file)?;
        super::atomic::sweep(run.path()).map_err(io)?;
        let mut reader = JournalReader::open(&path).map_err(WriteError::Journal)?;
        for record in reader.by_ref() {
            take(record.map_err(WriteError::Journal)?);
        }
        let (length, next, torn) = (reader.good_bytes(), reader.next_number(), reader.torn());
        if torn {
            keep_torn(run, &path, length).and_then(|()| file.set_len(length)).and_then(|()| file.sync_data()).map_err(io)?;
        }
        Ok((Self { path, file, length, next, clock }, torn))
    }

    /// Records an event. It is with the system when this returns, and on the disk if losing it would hurt.
    pub fn append(&mut self, event: Event) -> Result<Record, WriteError> {
        let durable = matches!(
            event,
            Event::RunStarted(_) | Event::RunFinished { .. } | Event::TrialFinished(_) | Event::UndoOwed { .. } | Event::UndoPaid { .. }
        );
        let record = Record { n: self.next, at: format!("{:.3}", (self.clock)()), event };
        let unreadable = |source| WriteError::Unreadable { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(&record).map_err(unreadable)?;
        serde_json::from_slice::<Record>(&line).map_err(unreadable)?;
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| if durable { self.file.sync_data() } else { Ok(()) });
        if let Err(source) = written {
            // Half a line in the middle would make the journal unreadable if a later event still fitted in.
            let cut = self.file.set_len(self.length);
            return Err(WriteError::Io { path: self.path.clone(), source: cut.err().unwrap_or(source) });
        }
        self.length += line.len() as u64;
        self.next += 1;
        Ok(record)
    }

    /// Number of the next event.
    pub fn next_number(&self) -> u64 {
        self.next
    }
}

fn lock(path: &Utf8PathBuf, file: &fs_err::File) -> Result<(), WriteError> {
    match file.file().try_lock() {
        Ok(()) => Ok(()),
        Err(std::fs::TryLockError::WouldBlock) => Err(WriteError::Locked { path: path.clone() }),
        Err(std::fs::TryLockError::Error(source)) => Err(WriteError::Io { path: path.clone(), source }),
    }
}

fn keep_torn(run: &RunDir, path: &Utf8PathBuf, length: u64) -> std::io::Result<()> {
    let bytes = fs_err::read(path)?;
    let tail = usize::try_from(length).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
    let mut aside = fs_err::OpenOptions::new().create(true).append(true).open(run.torn())?;
    aside.write_all(tail)?;
    aside.write_all(b"\n")?;
    aside.sync_data()
}

#[cfg(test)]
mod tests;
