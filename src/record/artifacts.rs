//! The files of each trial, for people: what the journal holds in one line each, unfolded, plus the conversation.
//!
//! Inputs: records as they are written, and transcripts; outputs: trials/<trial-id>/... . Nothing reads these files back.

use std::collections::BTreeMap;
use std::io::Write as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::atomic::{AtomicWriteError, write_atomically};
use super::layout::RunDir;
use crate::cluster::AuditRecord;
use crate::event::{Event, Judged, PlaybookRan, Probed, Record};
use crate::ids::TrialId;
use crate::model::Message;

/// How often the files of one trial may be set aside.
const EARLIER: u32 = 1000;

/// Why a trial's file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// A whole file.
    #[error(transparent)]
    Replace(#[from] AtomicWriteError),
    /// A file that grows, or the folder.
    #[error("failed to write {path}")]
    Io {
        /// The file.
        path: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Writes the files of trials as their events come.
#[derive(Debug)]
pub struct Artifacts {
    run: RunDir,
    /// Check samples so far, rewritten whole: CSV cannot be appended to without knowing whether the header is there.
    samples: BTreeMap<TrialId, Vec<u8>>,
}

const SAMPLE_COLUMNS: [&str; 10] = ["phase", "set", "set_passed", "cluster_ms", "stage", "check", "subject", "value", "passed", "note"];

impl Artifacts {
    /// For a run.
    pub fn new(run: &RunDir) -> Self {
        Self { run: run.clone(), samples: BTreeMap::new() }
    }

    /// Writes what this record adds. When a trial starts again, its earlier files are kept as trials/<trial-id>.N.
    pub fn observe(&mut self, record: &Record) -> Result<(), ArtifactError> {
        match &record.event {
            Event::TrialStarted(spec) => {
                self.samples.remove(&spec.id);
                set_aside(&self.run.trial(&spec.id))
            }
            Event::PlaybookRan(ran) => self.playbook(ran),
            Event::Probed(probed) => self.probe(probed),
            Event::Judged(judged) => self.samples(judged),
            Event::TrialFinished(result) => {
                self.samples.remove(&result.spec.id);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Writes a conversation.
    pub fn transcript(&self, trial: &TrialId, messages: &[Message]) -> Result<(), ArtifactError> {
        write_json(&self.run.transcript(trial), &messages)
    }

    /// Writes the requests that an API server served, a line each.
    pub fn audit(&self, trial: &TrialId, requests: &[AuditRecord]) -> Result<(), ArtifactError> {
        let mut text = String::new();
        for request in requests {
            text.push_str(&serde_json::to_string(request).unwrap_or_default());
            text.push('\n');
        }
        Ok(write_atomically(&self.run.audit(trial), text.as_bytes())?)
    }

    fn playbook(&self, ran: &PlaybookRan) -> Result<(), ArtifactError> {
        write_atomically(&self.run.playbook(&ran.trial, ran.attempt), ran.code.as_bytes())?;
        write_json(&self.run.ansible(&ran.trial, ran.attempt), &ran.outcome)
    }

    fn probe(&self, probed: &Probed) -> Result<(), ArtifactError> {
        let path = self.run.probes(&probed.trial);
        let line = serde_json::json!({ "command": probed.command, "outcome": probed.outcome });
        append_line(&path, &line.to_string()).map_err(|source| ArtifactError::Io { path, source })
    }

    fn samples(&mut self, judged: &Judged) -> Result<(), ArtifactError> {
        let path = self.run.samples(&judged.trial);
        let text = self.samples.entry(judged.trial.clone()).or_default();
        let broken = |e: csv::Error| ArtifactError::Io { path: path.clone(), source: std::io::Error::other(e) };
        let header = text.is_empty();
        let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(std::mem::take(text));
        if header {
            csv.write_record(SAMPLE_COLUMNS).map_err(broken)?;
        }
        for sample in &judged.samples {
            csv.write_record([
                judged.phase.as_str(),
                &judged.set,
                &judged.passed.to_string(),
                &sample.cluster_ms.to_string(),
                &sample.stage.to_string(),
                &sample.check,
                &sample.subject,
                &sample.value.map(|v| v.to_string()).unwrap_or_default(),
                &sample.passed.to_string(),
                &sample.note,
            ])
            .map_err(broken)?;
        }
        *text = csv.into_inner().map_err(|e| broken(e.into_error().into()))?;
        Ok(write_atomically(&path, text)?)
    }
}

fn write_json(path: &Utf8Path, value: &impl serde::Serialize) -> Result<(), ArtifactError> {
    let io = |e: serde_json::Error| ArtifactError::Io { path: path.to_owned(), source: e.into() };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(io)?;
    bytes.push(b'\n');
    Ok(write_atomically(path, &bytes)?)
}

fn append_line(path: &Utf8Path, line: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    fs_err::OpenOptions::new().create(true).append(true).open(path)?.write_all(format!("{line}\n").as_bytes())
}

fn set_aside(folder: &Utf8Path) -> Result<(), ArtifactError> {
    if !folder.exists() {
        return Ok(());
    }
    let free = (1..=EARLIER).map(|n| Utf8PathBuf::from(format!("{folder}.{n}"))).find(|path| !path.exists());
    let done = match free {
        Some(earlier) => fs_err::rename(folder, earlier),
        None => fs_err::remove_dir_all(folder),
    };
    done.map_err(|source| ArtifactError::Io { path: folder.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ansible::{CommandOutcome, Finish, PlaybookOutcome};
    use crate::event::Sample;
    use crate::plan::TrialSpec;

    fn outcome() -> CommandOutcome {
        CommandOutcome {
            finish: Finish::Exited(0),
            stdout: "a\nb".to_owned(),
            stderr: String::new(),
            dropped_bytes: 0,
            real_s: 1.0,
            cluster_s: 2.0,
            contained: Vec::new(),
        }
    }

    fn judged(trial: &TrialId, phase: &str, value: Option<f64>) -> Event {
        let sample = Sample {
            cluster_ms: 1500,
            stage: 0,
            round: 0,
            position: 0,
            check: "usage".to_owned(),
            subject: "a/b".to_owned(),
            value,
            passed: value.is_some(),
            note: "x, \"y\"".to_owned(),
            numbers: std::collections::BTreeMap::new(),
        };
        Event::Judged(Judged {
            trial: trial.clone(),
            phase: phase.to_owned(),
            set: "strict".to_owned(),
            passed: true,
            samples: vec![sample],
        })
    }

    #[test]
    fn files_follow_the_events() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(Utf8Path::from_path(dir.path()).unwrap(), "x", jiff::Timestamp::UNIX_EPOCH).unwrap();
        let mut artifacts = Artifacts::new(&run);
        let trial = TrialId("ab".to_owned());
        let spec = TrialSpec {
            id: trial.clone(),
            system: String::new(),
            sequence: String::new(),
            index: 0,
            fault: String::new(),
            target: String::new(),
            method: String::new(),
            model: String::new(),
            repeat: 0,
            seed: 0,
            params: std::collections::BTreeMap::new(),
            sees_injector: true,
        };
        let ran = PlaybookOutcome { command: outcome(), tasks: Vec::new(), stats: BTreeMap::new(), valid: false };
        let probed = Event::Probed(Probed { trial: trial.clone(), command: "ls".to_owned(), outcome: outcome() });
        let events = [
            Event::TrialStarted(spec.clone()),
            probed.clone(),
            probed,
            Event::PlaybookRan(PlaybookRan {
                trial: trial.clone(),
                attempt: 2,
                code: "- hosts: all\n".to_owned(),
                uses: crate::ansible::Uses::default(),
                approval: None,
                outcome: ran,
            }),
            judged(&trial, "confirm", Some(0.25)),
            judged(&trial, "final", None),
        ];
        for (n, event) in events.into_iter().enumerate() {
            artifacts.observe(&Record { n: n as u64, at: String::new(), event }).unwrap();
        }
        artifacts.transcript(&trial, &[Message::new(crate::model::Role::User, "hello")]).unwrap();

        assert_eq!(fs_err::read_to_string(run.probes(&trial)).unwrap().lines().count(), 2);
        assert_eq!(fs_err::read_to_string(run.playbook(&trial, 2)).unwrap(), "- hosts: all\n");
        assert!(fs_err::read_to_string(run.ansible(&trial, 2)).unwrap().contains("\"valid\": false"));
        let messages: Vec<Message> = serde_json::from_slice(&fs_err::read(run.transcript(&trial)).unwrap()).unwrap();
        assert_eq!(messages.len(), 1);
        insta::assert_snapshot!(fs_err::read_to_string(run.samples(&trial)).unwrap(), @r#"
        phase,set,set_passed,cluster_ms,stage,check,subject,value,passed,note
        confirm,strict,true,1500,0,usage,a/b,0.25,true,"x, ""y"""
        final,strict,true,1500,0,usage,a/b,,false,"x, ""y"""
        "#);

        artifacts.observe(&Record { n: 9, at: String::new(), event: Event::TrialStarted(spec) }).unwrap();
        assert!(!run.trial(&trial).exists());
        assert!(run.path().join("trials/ab.1/samples.csv").is_file());
    }
}
