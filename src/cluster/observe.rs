//! What a cluster can tell beyond the Kubernetes API: traffic, the audit log, and objects without a request. Optional: a
//! real cluster may offer none of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One second of requests to a service.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrafficSecond {
    /// Second of the cluster's time.
    pub second: u64,
    /// Requests.
    pub requests: f64,
    /// Of these, failed.
    pub errors: f64,
    /// Mean latency of the answered ones, in ms.
    pub latency_ms: f64,
}

/// One request to the API server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Milliseconds of the cluster's time.
    pub at_ms: u64,
    /// Who.
    pub user: String,
    /// `create`, `patch`, `delete`, ...
    pub verb: String,
    /// Path.
    pub path: String,
    /// HTTP status.
    pub code: u16,
}

/// Gives the traffic of a service between two seconds of the cluster's time: `(namespace, service, from, to)`.
pub(super) type TrafficSource = Arc<dyn Fn(&str, &str, u64, u64) -> Vec<TrafficSecond> + Send + Sync>;
/// Gives the audit log so far.
pub(super) type AuditSource = Arc<dyn Fn() -> Vec<AuditRecord> + Send + Sync>;

/// What is read from the store.
pub(super) struct Stored<'a> {
    /// As a request names it (`apps/v1`).
    pub(super) api_version: &'a str,
    /// `deployments`.
    pub(super) plural: &'a str,
    /// Empty: all, and what lives in none.
    pub(super) namespace: &'a str,
    /// Takes as much of the cluster's time as a request.
    pub(super) charged: bool,
}

/// Gives the stored objects of a resource type without a copy of any; `None` where a server would answer with others than
/// it has stored.
pub(super) type ObjectSource = Arc<dyn Fn(&Stored<'_>) -> Option<Vec<Arc<Value>>> + Send + Sync>;

/// Takes in roles and bindings without a request.
pub(super) type RoleSink = Arc<dyn Fn(&[Value]) -> Result<(), String> + Send + Sync>;

/// The optional sources.
#[derive(Clone, Default)]
pub struct Observations {
    /// Traffic.
    pub traffic: Option<TrafficSource>,
    /// Audit log.
    pub audit: Option<AuditSource>,
    /// Objects as they are stored.
    pub(super) objects: Option<ObjectSource>,
    /// Takes in the agent's rights.
    pub(super) install: Option<RoleSink>,
}
