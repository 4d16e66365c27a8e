//! Where events of a run go: the journal and the files beside it, then the screen.

use super::failure::chain;
use super::print;
use super::progress::Progress;
use crate::event::{Artifact, Event, Sink, SinkError};
use crate::record::{Artifacts, JournalWriter};

/// The sink of a run.
pub(super) struct Journal {
    pub(super) writer: JournalWriter,
    pub(super) artifacts: Artifacts,
    pub(super) progress: Progress,
    pub(super) json: bool,
}

impl Sink for Journal {
    fn event(&mut self, event: Event) -> Result<(), SinkError> {
        let record = self.writer.append(event).map_err(|e| SinkError(chain(&e)))?;
        self.artifacts.observe(&record).map_err(|e| SinkError(chain(&e)))?;
        if self.json {
            let line = serde_json::to_string(&record).map_err(|e| SinkError(e.to_string()))?;
            print(&line).map_err(|f| SinkError(f.message))?;
        }
        self.progress.event(&record.event);
        Ok(())
    }

    fn artifact(&mut self, artifact: Artifact) -> Result<(), SinkError> {
        match artifact {
            Artifact::Transcript { trial, messages } => self.artifacts.transcript(&trial, &messages).map_err(|e| SinkError(chain(&e))),
            Artifact::Audit { trial, requests } => self.artifacts.audit(&trial, &requests).map_err(|e| SinkError(chain(&e))),
        }
    }
}
