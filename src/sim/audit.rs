//! Every request that the cluster served.
//!
//! Users, verbs and paths recur, so each text is kept once. Of a cluster that has served very many requests, the later ones
//! are kept.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::time::SimTime;

/// So many requests are kept; a trial makes thousands.
const MAX: usize = 50_000;

/// One API request.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// When.
    pub at: SimTime,
    /// Who (`runner`, `agent`, `verifier`, `system:...`).
    pub user: Arc<str>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `exec`, ...
    pub verb: Arc<str>,
    /// Path without query.
    pub path: Arc<str>,
    /// HTTP status.
    pub code: u16,
}

/// The audit log.
#[derive(Debug, Default)]
pub struct Audit {
    entries: VecDeque<AuditEntry>,
    texts: BTreeSet<Arc<str>>,
}

impl Audit {
    /// Keeps a request. When the log is full, the older half goes.
    pub fn note(&mut self, at: SimTime, user: &str, verb: &str, path: &str, code: u16) {
        if self.entries.len() >= MAX {
            self.entries.drain(..MAX / 2);
            self.texts.retain(|text| Arc::strong_count(text) > 1);
        }
        let entry = AuditEntry { at, user: self.text(user), verb: self.text(verb), path: self.text(path), code };
        self.entries.push_back(entry);
    }

    /// The requests, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &AuditEntry> {
        self.entries.iter()
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_requests_are_kept_and_texts_are_shared() {
        let mut audit = Audit::default();
        for n in 0..MAX + 10 {
            audit.note(SimTime(0), "runner", "get", &format!("/api/{n}"), 200);
        }
        assert_eq!(audit.iter().count(), MAX / 2 + 10);
        assert_eq!(audit.iter().last().map(|e| e.path.to_string()), Some(format!("/api/{}", MAX + 9)));
        assert_eq!(audit.texts.len(), MAX / 2 + 10 + 2);
    }
}
