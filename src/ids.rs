//! Identifiers that appear in files and on screen. No inputs; imported by everything.

use serde::{Deserialize, Serialize};

/// Identity of a trial: the first 16 hexadecimal digits of the SHA-256 digest of everything that can change its result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrialId(pub String);

impl std::fmt::Display for TrialId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
