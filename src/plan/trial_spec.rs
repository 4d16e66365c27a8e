//! One trial, as planned.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::TrialId;

/// One cell of the matrix: everything that identifies a trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialSpec {
    /// Its identity: digest of everything that can change its result.
    pub id: TrialId,
    /// System.
    pub system: String,
    /// Sequence.
    pub sequence: String,
    /// Position in the sequence, from 0.
    pub index: u32,
    /// Fault.
    pub fault: String,
    /// Service it hits; drawn from the seed, the system, the sequence and the index alone.
    pub target: String,
    /// Method.
    pub method: String,
    /// Model.
    pub model: String,
    /// Repeat, from 0.
    pub repeat: u32,
    /// Seed of the embedded cluster: the same for every method and model.
    pub seed: u64,
    /// Fault parameters that the matrix goes through.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, serde_json::Value>,
    /// Whether the model's playbooks and probes may see the injector.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub sees_injector: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(flag: &bool) -> bool {
    *flag
}
