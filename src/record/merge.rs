//! Joining the runs of several shards (`run --shard I/N`) into one.
//!
//! Input: folders of runs that belong together: same experiment, seed, program, tools and kind of cluster, and no trial
//! settled in two of them. Output: a new run folder that reports and resumes as if it had been one run from the
//! beginning. Everything is checked before anything is written, and the new folder gets its name when it is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};

use super::fold::RunState;
use super::layout::{LayoutError, RunDir, RunHead};
use super::reader::{JournalError, JournalReader};
use super::writer::{JournalWriter, WriteError};
use crate::event::{Event, JOURNAL_VERSION, RunStarted};
use crate::ids::TrialId;

/// Why runs could not be joined.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A folder is no run, or a new one could not be made.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The new journal cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Somebody is writing one of them.
    #[error("failed to join {path}: it is being written; wait for it, or stop it")]
    Busy {
        /// The run.
        path: Utf8PathBuf,
    },
    /// They are parts of different things.
    #[error("failed to join runs that do not belong together:\n{}", reasons.join("\n"))]
    Strangers {
        /// All differences.
        reasons: Vec<String>,
    },
    /// A file could not be copied.
    #[error("failed to copy {path}")]
    Copy {
        /// The file.
        path: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

struct Part {
    run: RunDir,
    head: RunHead,
    state: RunState,
    start: RunStarted,
    begun_at: String,
}

/// Joins the runs in these folders into a new one in the folder `out`.
pub fn merge(dirs: &[Utf8PathBuf], out: &Utf8Path) -> Result<RunDir, MergeError> {
    let parts = dirs.iter().map(|dir| read(dir)).collect::<Result<Vec<_>, _>>()?;
    let reasons = differences(&parts);
    let (Some(first), []) = (parts.first(), reasons.as_slice()) else { return Err(MergeError::Strangers { reasons }) };
    let earliest = parts.iter().filter_map(|p| p.begun_at.parse().ok()).min().unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let named = RunDir::create(out, &first.head.experiment, earliest)?;
    // Whole or not at all: built beside its place, and moved there in one step.
    let copy_failed = |path: &Utf8Path, source| MergeError::Copy { path: path.to_owned(), source };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".merge-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o777));
    }
    let built = builder.tempdir_in(out).map_err(|e| copy_failed(out, e));
    let finished = built.and_then(|folder| {
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned())
            .map_err(|p| copy_failed(Utf8Path::new(&p.to_string_lossy()), std::io::ErrorKind::InvalidFilename.into()))?;
        build(&parts, first, &RunDir::at(&path))?;
        fs_err::rename(&path, named.path()).map_err(|e| copy_failed(&path, e))
    });
    if let Err(error) = finished {
        // Empty, or gone: the error that brought us here is the one to tell.
        let _removed = fs_err::remove_dir(named.path());
        return Err(error);
    }
    Ok(named)
}

fn read(dir: &Utf8Path) -> Result<Part, MergeError> {
    let run = RunDir::open(dir)?;
    let head = run.read_head()?;
    let events = run.events();
    let file = fs_err::File::open(&events).map_err(|source| JournalError::Io { path: events.clone(), source })?;
    if matches!(file.file().try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)) {
        return Err(MergeError::Busy { path: dir.to_owned() });
    }
    let (mut state, mut begun_at) = (RunState::default(), String::new());
    for record in JournalReader::open(&events)? {
        let record = record?;
        if begun_at.is_empty() {
            begun_at.clone_from(&record.at);
        }
        state.apply(&record.event);
    }
    let Some(start) = state.head.clone() else { return Err(LayoutError::NoRun { path: dir.to_owned() }.into()) };
    Ok(Part { run, head, state, start, begun_at })
}

/// All reasons why these are not parts of one run.
fn differences(parts: &[Part]) -> Vec<String> {
    let Some(first) = parts.first() else { return vec!["  there is nothing to join".to_owned()] };
    let unsharded = parts.iter().filter(|p| p.head.whole.is_none());
    let mut reasons: Vec<String> =
        unsharded.map(|p| format!("  {} is no shard of anything: it was run without --shard", p.run.path())).collect();
    let whole = |p: &Part| p.head.whole.as_ref().map_or_else(String::new, |w| format!("{} ({:.12})", w.trials, w.digest));
    for other in parts.iter().skip(1) {
        let tools = |p: &Part| p.head.tools.iter().map(|(n, v)| format!("{n} {v}")).collect::<Vec<_>>().join(", ");
        let digest = |p: &Part| p.head.experiment_digest.chars().take(12).collect::<String>();
        for (what, one, two) in [
            ("experiment", first.head.experiment.clone(), other.head.experiment.clone()),
            ("content of the experiment", digest(first), digest(other)),
            ("trials of the whole", whole(first), whole(other)),
            ("seed", first.head.seed.to_string(), other.head.seed.to_string()),
            ("program", first.head.program.clone(), other.head.program.clone()),
            ("tools", tools(first), tools(other)),
            ("cluster", first.start.cluster.clone(), other.start.cluster.clone()),
        ] {
            if one != two {
                reasons.push(format!("  {what}: {one} in {}, {two} in {}", first.run.path(), other.run.path()));
            }
        }
    }
    let mut seen: BTreeMap<&TrialId, &Part> = BTreeMap::new();
    let mut twice: BTreeSet<(&Utf8Path, &Utf8Path)> = BTreeSet::new();
    for part in parts {
        for trial in part.state.finished.keys().filter(|t| part.state.settled(t)) {
            if let Some(earlier) = seen.insert(trial, part)
                && twice.insert((earlier.run.path(), part.run.path()))
            {
                reasons.push(format!("  trial {} ended in {} and in {}", trial.0, earlier.run.path(), part.run.path()));
            }
        }
    }
    reasons
}

fn build(parts: &[Part], first: &Part, into: &RunDir) -> Result<(), MergeError> {
    for part in parts {
        for folder in ["trials", "calls"] {
            copy(&part.run.path().join(folder), &into.path().join(folder))?;
        }
    }
    let head = RunHead { command_line: without_shard(&first.head.command_line), whole: None, ..first.head.clone() };
    into.write_head(&head).map_err(|e| MergeError::Copy { path: e.path, source: e.source })?;
    // The events keep the times at which they happened.
    let at = Arc::new(Mutex::new(jiff::Timestamp::UNIX_EPOCH));
    let shown = Arc::clone(&at);
    let mut writer = JournalWriter::create(into, Box::new(move || *shown.lock().unwrap_or_else(PoisonError::into_inner)))?;
    let set = |text: &str| {
        if let Ok(time) = text.parse() {
            *at.lock().unwrap_or_else(PoisonError::into_inner) = time;
        }
    };
    set(&first.begun_at);
    let start = RunStarted {
        version: JOURNAL_VERSION,
        planned: first.head.whole.as_ref().map_or(first.start.planned, |w| w.trials),
        resumed: false,
        roles: parts.iter().flat_map(|p| p.start.roles.clone()).collect(),
        ..first.start.clone()
    };
    writer.append(Event::RunStarted(start))?;
    for part in parts {
        for record in JournalReader::open(&part.run.events())? {
            let record = record?;
            if !matches!(record.event, Event::RunStarted(_) | Event::RunFinished { .. }) {
                set(&record.at);
                writer.append(record.event)?;
            }
        }
    }
    let settled = parts.iter().flat_map(|p| p.state.finished.keys().filter(|t| p.state.settled(t))).count() as u64;
    let done = first.head.whole.as_ref().is_some_and(|w| w.trials == settled);
    writer.append(Event::RunFinished { how: if done { "done" } else { "interrupted" }.to_owned() })?;
    Ok(())
}

/// The whole run's command line: `resume` then runs what no part has run.
fn without_shard(words: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--shard" {
            rest.next();
        } else if !word.starts_with("--shard=") {
            kept.push(word.clone());
        }
    }
    kept
}

/// Copies a folder's files. What is there already stays: files of replies are named by their content, and a trial has
/// settled in one part only, while what is left of attempts in others is told apart by nobody.
fn copy(from: &Utf8Path, to: &Utf8Path) -> Result<(), MergeError> {
    if !from.is_dir() {
        return Ok(());
    }
    let failed = |path: &Utf8Path, source| MergeError::Copy { path: path.to_owned(), source };
    fs_err::create_dir_all(to).map_err(|e| failed(to, e))?;
    for entry in from.read_dir_utf8().map_err(|e| failed(from, e))? {
        let entry = entry.map_err(|e| failed(from, e))?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(|e| failed(entry.path(), e))?.is_dir() {
            copy(entry.path(), &target)?;
        } else if !target.exists() {
            fs_err::copy(entry.path(), &target).map_err(|e| failed(entry.path(), e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
