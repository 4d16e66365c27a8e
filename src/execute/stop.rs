//! Why a pipeline ends before its last step.

use crate::cluster::ClusterError;
use crate::event::Outcome;

/// A reason to leave the pipeline. Not every one is an error.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Stop {
    /// The trial has an outcome that is not about the model's repair (`unhealthy_before`, `injection_failed`).
    #[error("{1}")]
    Outcome(Outcome, String),
    /// A budget of the method is used up: the method ends, the trial goes on to its verdicts.
    #[error("{0}")]
    Budget(String),
    /// Something of ours failed: never the model's fault.
    #[error("{0}")]
    Infra(String),
    /// The journal cannot be written: the run must end.
    #[error("{0}")]
    Journal(String),
    /// Interrupted.
    #[error("interrupted")]
    Cancelled,
}

impl From<ClusterError> for Stop {
    fn from(e: ClusterError) -> Self {
        Self::Infra(e.to_string())
    }
}
