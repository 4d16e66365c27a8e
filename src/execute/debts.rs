//! What interrupted trials left in a cluster that outlives them, taken back before anything else is run.
//!
//! Input: debts as the journal holds them, and connections; effect: injected objects are gone, patched ones and nodes as they
//! were, and the system's namespace is gone, so that the next trial makes its own.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::dispatcher::Events;
use super::leases::Place;
use super::stop::Stop;
use crate::cluster::{Cluster, ClusterError, ObjectRef, connect};
use crate::event::Event;
use crate::ids::TrialId;

/// How long an object that is deleted may stay, before its finalizers are emptied.
const OBJECT_GOES: Duration = Duration::from_secs(30);
/// How long a namespace may take to go.
const NAMESPACE_GOES: Duration = Duration::from_mins(5);
const LOOK: Duration = Duration::from_millis(500);

/// A side effect of an earlier trial that is still owed.
#[derive(Debug, Clone, PartialEq)]
pub struct Owed {
    /// The trial.
    pub trial: TrialId,
    /// Name of the debt, unique in its trial.
    pub debt: String,
    /// How to take it back: the `undo` of [`Event::UndoOwed`].
    pub undo: Value,
}

/// [`Event::UndoOwed`]'s `undo`.
#[derive(Debug, Deserialize)]
struct Bill {
    cluster: String,
    namespace: String,
    undo: Parts,
}

#[derive(Debug, Deserialize)]
struct Parts {
    #[serde(default)]
    delete: Vec<ObjectRef>,
    #[serde(default)]
    restore: Vec<Patched>,
    /// What nodes were like where they may be changed: merge patches.
    #[serde(default)]
    nodes: Vec<(ObjectRef, Value)>,
}

#[derive(Debug, Deserialize)]
struct Patched {
    object: ObjectRef,
    spec: Value,
}

/// Pays all debts. One of a cluster that is not among the places cannot be paid: the run must not begin.
pub(super) async fn pay(owed: Vec<Owed>, places: &[Place], events: &Events) -> Result<(), Stop> {
    let mut open = Vec::new();
    for one in owed {
        let bill: Bill = serde_json::from_value(one.undo.clone())
            .map_err(|e| Stop::Journal(format!("the journal does not say how to take back what trial {} did: {e}", one.trial.0)))?;
        open.push((one, bill));
    }
    for place in places {
        if open.is_empty() {
            return Ok(());
        }
        let Place::Leased(lease) = place else {
            // Embedded clusters ended with their runner.
            for (one, _) in open.drain(..) {
                settle(one, events).await?;
            }
            return Ok(());
        };
        let cluster = connect(&lease.target(false)).await?;
        // In the order given, which is the last first.
        let (here, elsewhere): (Vec<_>, Vec<_>) = open.into_iter().partition(|(_, bill)| bill.cluster == cluster.address());
        open = elsewhere;
        for (one, bill) in here {
            let trial = one.trial.0.clone();
            take_back(&cluster, &bill)
                .await
                .map_err(|e| Stop::Infra(format!("what trial {trial} did to {} cannot be taken back: {e}", bill.cluster)))?;
            settle(one, events).await?;
        }
        cluster.close().await;
    }
    match open.first() {
        None => Ok(()),
        Some((one, bill)) => Err(Stop::Infra(format!(
            "trial {} was interrupted and its fault is still in the cluster {}, which is none of those that this run was given",
            one.trial.0, bill.cluster
        ))),
    }
}

async fn settle(one: Owed, events: &Events) -> Result<(), Stop> {
    events.send(Event::UndoPaid { trial: one.trial, debt: one.debt }).await
}

async fn take_back(cluster: &Cluster, bill: &Bill) -> Result<(), ClusterError> {
    for at in &bill.undo.delete {
        remove(cluster, at, OBJECT_GOES).await?;
    }
    for Patched { object, spec } in &bill.undo.restore {
        bring_back(cluster, object, spec).await?;
    }
    for (node, placing) in &bill.undo.nodes {
        match cluster.patch(node, "merge", placing).await {
            // A node that is gone is not to be brought back.
            Err(e) if e.code() != Some(404) => return Err(e),
            _ => {}
        }
    }
    // What a playbook did before the end is not known.
    let namespace = ObjectRef::new("v1", "Namespace", "", &bill.namespace);
    if cluster.delete(&namespace).await? && !gone(cluster, &namespace, NAMESPACE_GOES).await? {
        return Err(ClusterError::Connect(format!("the namespace {} was not gone in time", bill.namespace)));
    }
    Ok(())
}

/// Gives a patched object the specification that it had.
pub(super) async fn bring_back(cluster: &Cluster, at: &ObjectRef, spec: &Value) -> Result<(), ClusterError> {
    if let Some(mut object) = cluster.get(at).await?
        && object["spec"] != *spec
    {
        object["spec"] = spec.clone();
        if let Some(o) = object.as_object_mut() {
            o.remove("status");
        }
        cluster.replace(&object, &at.namespace).await?;
    }
    Ok(())
}

/// Deletes an object; when a finalizer keeps it longer than `limit`, the finalizers are emptied.
pub(super) async fn remove(cluster: &Cluster, at: &ObjectRef, limit: Duration) -> Result<(), ClusterError> {
    let deleted = match cluster.delete(at).await {
        // Its kind is gone with its definition, and it with them.
        Err(ClusterError::UnknownKind { .. }) => return Ok(()),
        other => other?,
    };
    if deleted && !gone(cluster, at, limit).await? {
        cluster.patch(at, "merge", &json!({"metadata": {"finalizers": null}})).await?;
    }
    Ok(())
}

/// Waits until there is no such object; false: it is still there.
async fn gone(cluster: &Cluster, at: &ObjectRef, limit: Duration) -> Result<bool, ClusterError> {
    let pace = cluster.pace();
    let end = pace.now_ms().saturating_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    while cluster.get(at).await?.is_some() {
        if pace.now_ms() >= end {
            return Ok(false);
        }
        pace.sleep(LOOK).await;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_is_read_as_it_is_written() {
        let at = ObjectRef::new("v1", "Pod", "n", "p");
        let undo = json!({"cluster": "https://c", "namespace": "n", "undo": {
            "delete": [at], "restore": [{"object": at, "spec": {"a": 1}}], "nodes": [[at, {"spec": {"unschedulable": null}}]]}});
        let bill: Bill = serde_json::from_value(undo).unwrap();
        assert_eq!((bill.undo.delete.len(), bill.undo.restore.len(), bill.undo.nodes.len()), (1, 1, 1));
        // Journals of before there were nodes in it.
        let old = json!({"cluster": "https://c", "namespace": "n", "undo": {"delete": [], "restore": []}});
        assert!(serde_json::from_value::<Bill>(old).unwrap().undo.nodes.is_empty());
    }
}
