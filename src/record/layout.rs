//! Where the files of a run lie. Inputs: an output folder, an experiment's name, a time; output: paths.
//!
//! ```text
//! results/<experiment>-<UTC time>/  run.json  events.jsonl  events.torn
//!     trials/<trial-id>/            transcript.json  playbook-N.yml  ansible-N.json  probes.jsonl  samples.csv
//!     calls/<digest>.json           what a model was asked, and its reply
//!     report/                       summary.md  trials.csv  summary.csv  results.json  tables.tex  index.html
//! ```

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::atomic::{AtomicWriteError, write_atomically};
use crate::ids::TrialId;

/// How many runs of one experiment may start in the same second.
const SAME_SECOND: u32 = 1000;

/// Why a run's folder could not be made or found.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A folder could not be made.
    #[error("failed to create the run folder {path}")]
    Create {
        /// The folder.
        path: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// All names of this second are taken.
    #[error("failed to find a free name for the run folder: {path} and {SAME_SECOND} more exist")]
    Taken {
        /// The first name tried.
        path: Utf8PathBuf,
    },
    /// No journal there.
    #[error("failed to find a run in {path}: it holds no events.jsonl")]
    NoRun {
        /// The folder.
        path: Utf8PathBuf,
    },
    /// run.json could not be read.
    #[error("failed to read {path}")]
    Head {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// run.json: how the run was started. For people and for `resume`; a report does not need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHead {
    /// Version of this program.
    pub program: String,
    /// Experiment's name.
    pub experiment: String,
    /// SHA-256 of the experiment's text, hexadecimal.
    pub experiment_digest: String,
    /// Arguments after the program's name.
    pub command_line: Vec<String>,
    /// Seed of the plan.
    pub seed: u64,
    /// Versions of the tools.
    pub tools: BTreeMap<String, String>,
    /// What this is a part of, for a run with `--shard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Whole>,
}

/// The plan that the runs of several shards make up together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// Trials of all shards.
    pub trials: u64,
    /// SHA-256 of their identities in order, hexadecimal.
    pub digest: String,
}

/// The folder of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    root: Utf8PathBuf,
}

impl RunDir {
    /// Makes a folder that no other run has: the folder's creation itself decides who has the name.
    pub fn create(out: &Utf8Path, experiment: &str, started: jiff::Timestamp) -> Result<Self, LayoutError> {
        fs_err::create_dir_all(out).map_err(|source| LayoutError::Create { path: out.to_owned(), source })?;
        let name = format!("{}-{}", file_name(experiment), started.strftime("%Y%m%dT%H%M%SZ"));
        let first = out.join(&name);
        for number in 1..=SAME_SECOND {
            let root = if number == 1 { first.clone() } else { out.join(format!("{name}-{number}")) };
            match fs_err::create_dir(&root) {
                Ok(()) => return Ok(Self { root }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(LayoutError::Create { path: root, source }),
            }
        }
        Err(LayoutError::Taken { path: first })
    }

    /// A folder that is to become a run's.
    pub(super) fn at(root: &Utf8Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The folder of an earlier run.
    pub fn open(root: &Utf8Path) -> Result<Self, LayoutError> {
        let run = Self { root: root.to_owned() };
        if run.events().is_file() { Ok(run) } else { Err(LayoutError::NoRun { path: root.to_owned() }) }
    }

    /// The folder.
    pub fn path(&self) -> &Utf8Path {
        &self.root
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.root.file_name().unwrap_or(self.root.as_str())
    }

    /// run.json.
    pub fn run_json(&self) -> Utf8PathBuf {
        self.root.join("run.json")
    }

    /// The journal.
    pub fn events(&self) -> Utf8PathBuf {
        self.root.join("events.jsonl")
    }

    /// What crashes left of half-written lines.
    pub fn torn(&self) -> Utf8PathBuf {
        self.root.join("events.torn")
    }

    /// Files of one trial.
    pub fn trial(&self, trial: &TrialId) -> Utf8PathBuf {
        self.root.join("trials").join(file_name(&trial.0))
    }

    /// The conversation.
    pub fn transcript(&self, trial: &TrialId) -> Utf8PathBuf {
        self.trial(trial).join("transcript.json")
    }

    /// A playbook, numbered from 1.
    pub fn playbook(&self, trial: &TrialId, attempt: u32) -> Utf8PathBuf {
        self.trial(trial).join(format!("playbook-{attempt}.yml"))
    }

    /// What came of that playbook.
    pub fn ansible(&self, trial: &TrialId, attempt: u32) -> Utf8PathBuf {
        self.trial(trial).join(format!("ansible-{attempt}.json"))
    }

    /// Probe commands and their output.
    pub fn probes(&self, trial: &TrialId) -> Utf8PathBuf {
        self.trial(trial).join("probes.jsonl")
    }

    /// Requests that the API server served.
    pub fn audit(&self, trial: &TrialId) -> Utf8PathBuf {
        self.trial(trial).join("audit.jsonl")
    }

    /// Samples of all check sets.
    pub fn samples(&self, trial: &TrialId) -> Utf8PathBuf {
        self.trial(trial).join("samples.csv")
    }

    /// Replies of models, by what was asked.
    pub fn calls(&self) -> Utf8PathBuf {
        self.root.join("calls")
    }

    /// A file of the report.
    pub fn report(&self, file: &str) -> Utf8PathBuf {
        self.root.join("report").join(file)
    }

    /// Writes run.json.
    pub fn write_head(&self, head: &RunHead) -> Result<(), AtomicWriteError> {
        let path = self.run_json();
        let mut bytes = serde_json::to_vec_pretty(head).map_err(|e| AtomicWriteError { path: path.clone(), source: e.into() })?;
        bytes.push(b'\n');
        write_atomically(&path, &bytes)
    }

    /// Reads run.json.
    pub fn read_head(&self) -> Result<RunHead, LayoutError> {
        let path = self.run_json();
        fs_err::read(&path)
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(std::io::Error::from))
            .map_err(|source| LayoutError::Head { path, source })
    }
}

/// A name that stays inside its folder whatever it says.
fn file_name(name: &str) -> String {
    let safe: String = name.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect();
    if safe.is_empty() || safe.starts_with('.') { format!("_{safe}") } else { safe }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        (dir, path)
    }

    #[test]
    fn names_are_unique_within_a_second() {
        let (_keep, out) = folder();
        let at: jiff::Timestamp = "2026-01-02T03:04:05.6Z".parse().unwrap();
        let names: Vec<String> = (0..3).map(|_| RunDir::create(&out.join("results"), "paper", at).unwrap().name().to_owned()).collect();
        assert_eq!(names, ["paper-20260102T030405Z", "paper-20260102T030405Z-2", "paper-20260102T030405Z-3"]);
    }

    #[test]
    fn no_name_leaves_its_folder() {
        let (_keep, out) = folder();
        let run = RunDir::create(&out, "../up/there", jiff::Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(run.name(), "_.._up_there-19700101T000000Z");
        assert_eq!(run.trial(&TrialId("../x".to_owned())).file_name(), Some("_.._x"));
    }

    #[test]
    fn a_folder_without_journal_is_no_run() {
        let (_keep, out) = folder();
        let error = RunDir::open(&out).unwrap_err();
        assert_eq!(error.to_string(), format!("failed to find a run in {out}: it holds no events.jsonl"));
    }

    #[test]
    fn head_comes_back() {
        let (_keep, out) = folder();
        let run = RunDir::create(&out, "a", jiff::Timestamp::UNIX_EPOCH).unwrap();
        let head = RunHead {
            program: "0.1.0".to_owned(),
            experiment: "a".to_owned(),
            experiment_digest: "00".to_owned(),
            command_line: vec!["run".to_owned(), "a".to_owned()],
            seed: u64::MAX,
            tools: BTreeMap::from([("ansible".to_owned(), "2.20".to_owned())]),
            whole: None,
        };
        assert!(matches!(run.read_head(), Err(LayoutError::Head { .. })));
        run.write_head(&head).unwrap();
        assert_eq!(run.read_head().unwrap(), head);
    }
}
