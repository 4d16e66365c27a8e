//! Reading a journal. Input: events.jsonl; output: records in order, and whether the last line was torn off by a crash.

use std::io::{BufRead, BufReader};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use super::fold::RunState;
use crate::event::{Event, JOURNAL_VERSION, Record};

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file could not be opened or read.
    #[error("failed to read the journal {path}")]
    Io {
        /// The journal.
        path: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A line that is no record, and no torn end either.
    #[error("failed to understand line {line} of the journal {path}")]
    Line {
        /// The journal.
        path: Utf8PathBuf,
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Lines are missing, doubled or out of order.
    #[error("failed to follow the journal {path}: line {line} holds event {found} where event {expected} belongs")]
    Order {
        /// The journal.
        path: Utf8PathBuf,
        /// Number of the line, from 1.
        line: u64,
        /// The event's number.
        found: u64,
        /// The number due.
        expected: u64,
    },
    /// Written by another version of this program.
    #[error("failed to read the journal {path}: its format is version {found}, this program reads version {JOURNAL_VERSION}")]
    Version {
        /// The journal.
        path: Utf8PathBuf,
        /// Its version.
        found: u64,
    },
}

/// A journal in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Journal {
    /// All whole records.
    pub records: Vec<Record>,
    /// Whether a crash left half a line behind them.
    pub torn: bool,
}

/// Reads a whole journal.
pub fn read_journal(path: &Utf8Path) -> Result<Journal, JournalError> {
    let mut reader = JournalReader::open(path)?;
    let records = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
    Ok(Journal { records, torn: reader.torn() })
}

/// Folds a journal while reading it, so that one of any size can be reported; also says whether its end was torn.
pub fn read_state(path: &Utf8Path) -> Result<(RunState, bool), JournalError> {
    let mut reader = JournalReader::open(path)?;
    let mut state = RunState::default();
    for record in reader.by_ref() {
        state.apply(&record?.event);
    }
    Ok((state, reader.torn()))
}

/// Reads a journal record by record, for journals that need not fit into memory. Ends at the first error.
pub struct JournalReader {
    path: Utf8PathBuf,
    source: Box<dyn BufRead + Send>,
    line: u64,
    next: u64,
    good_bytes: u64,
    torn: bool,
    done: bool,
}

impl JournalReader {
    /// Opens a journal; takes no lock, so that a running experiment can be looked at.
    pub fn open(path: &Utf8Path) -> Result<Self, JournalError> {
        let file = fs_err::File::open(path).map_err(|source| JournalError::Io { path: path.to_owned(), source })?;
        Ok(Self::new(path, BufReader::new(file)))
    }

    /// Reads from anywhere; `path` is for messages.
    pub fn new(path: &Utf8Path, source: impl BufRead + Send + 'static) -> Self {
        Self { path: path.to_owned(), source: Box::new(source), line: 0, next: 0, good_bytes: 0, torn: false, done: false }
    }

    /// Whether the end was torn; known when the iteration is over.
    pub fn torn(&self) -> bool {
        self.torn
    }

    /// Length of the records read so far.
    pub fn good_bytes(&self) -> u64 {
        self.good_bytes
    }

    /// Number of the next record.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    fn advance(&mut self) -> Result<Option<Record>, JournalError> {
        let io = |path: &Utf8Path, source| JournalError::Io { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let length = self.source.read_until(b'\n', &mut bytes).map_err(|e| io(&self.path, e))?;
        if length == 0 {
            return Ok(None);
        }
        self.line += 1;
        if bytes.last() != Some(&b'\n') {
            // Without its newline a line was never acknowledged, however whole it looks.
            self.torn = true;
            return Ok(None);
        }
        match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) => {
                self.good_bytes += length as u64;
                self.accept(record).map(Some)
            }
            Err(error) => {
                let last = self.source.fill_buf().map_err(|e| io(&self.path, e))?.is_empty();
                self.torn = last && (error.is_syntax() || error.is_eof()) && serde_json::from_slice::<Value>(&bytes).is_err();
                if self.torn { Ok(None) } else { Err(self.broken(&bytes, error)) }
            }
        }
    }

    fn accept(&mut self, record: Record) -> Result<Record, JournalError> {
        if let Event::RunStarted(head) = &record.event
            && head.version != JOURNAL_VERSION
        {
            return Err(JournalError::Version { path: self.path.clone(), found: u64::from(head.version) });
        }
        if record.n != self.next {
            return Err(JournalError::Order { path: self.path.clone(), line: self.line, found: record.n, expected: self.next });
        }
        self.next += 1;
        Ok(record)
    }

    /// A head of another version may not even have the fields of ours: say so rather than complain about a field.
    fn broken(&self, bytes: &[u8], source: serde_json::Error) -> JournalError {
        let version = serde_json::from_slice::<Value>(bytes).ok().and_then(|v| v.pointer("/event/run_started/version")?.as_u64());
        match version {
            Some(found) if found != u64::from(JOURNAL_VERSION) => JournalError::Version { path: self.path.clone(), found },
            _ => JournalError::Line { path: self.path.clone(), line: self.line, source },
        }
    }
}

impl Iterator for JournalReader {
    type Item = Result<Record, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.advance().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Journal, JournalError> {
        let mut reader = JournalReader::new(Utf8Path::new("j"), std::io::Cursor::new(text.to_owned().into_bytes()));
        let records = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
        Ok(Journal { records, torn: reader.torn() })
    }

    fn line(n: u64) -> String {
        format!("{}\n", serde_json::json!({ "n": n, "at": "t", "event": { "run_finished": { "how": "done" } } }))
    }

    #[test]
    fn any_cut_of_the_last_line_is_only_torn() {
        let text = line(0) + &line(1);
        for cut in line(0).len()..text.len() {
            let journal = read(&text[..cut]).unwrap();
            assert_eq!((journal.records.len(), journal.torn), (1, cut > line(0).len()), "cut at {cut}");
        }
        assert_eq!(read(&text).unwrap().records.len(), 2);
    }

    #[test]
    fn folding_while_reading_gives_the_same_state() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("events.jsonl");
        fs_err::write(&path, line(0) + &line(1) + "{\"n\"").unwrap();
        let journal = read_journal(&path).unwrap();
        assert_eq!(read_state(&path).unwrap(), (RunState::from_records(&journal.records), true));
        assert!(matches!(read_state(&path.with_extension("none")), Err(JournalError::Io { .. })));
    }

    #[test]
    fn zeros_at_the_end_are_torn() {
        let journal = read(&(line(0) + "\0\0\0\0\n")).unwrap();
        assert!(journal.torn);
        assert_eq!(journal.records.len(), 1);
    }

    #[test]
    fn a_broken_line_elsewhere_is_an_error_with_its_number() {
        let error = read(&(line(0) + "{\"n\":1,\n" + &line(2))).unwrap_err();
        assert_eq!(error.to_string(), "failed to understand line 2 of the journal j");
    }

    #[test]
    fn a_last_line_of_good_json_that_is_no_record_is_an_error() {
        assert!(matches!(read(&(line(0) + "{\"n\":1}\n")), Err(JournalError::Line { line: 2, .. })));
    }

    #[test]
    fn gaps_are_noticed() {
        assert!(matches!(read(&(line(0) + &line(2))), Err(JournalError::Order { line: 2, found: 2, expected: 1, .. })));
    }

    #[test]
    fn another_version_is_refused_even_when_its_head_looks_different() {
        let head = serde_json::json!({ "n": 0, "at": "t", "event": { "run_started": { "version": 99, "novel": true } } });
        let error = read(&format!("{head}\n")).unwrap_err();
        assert_eq!(error.to_string(), "failed to read the journal j: its format is version 99, this program reads version 3");
    }
}
