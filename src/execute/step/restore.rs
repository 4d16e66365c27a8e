//! After the trial: the namespace as it was at the baseline, or emptied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, ClusterError, ObjectRef};
use crate::execute::baseline::{differences, same};
use crate::execute::judge::{millis, span};
use crate::execute::stop::Stop;
use crate::execute::trial::Trial;
use crate::manifest::pipeline::Restore;

/// Pause between looks at what is being brought back.
const LOOK: Duration = Duration::from_secs(1);
/// Kinds that controllers and the server itself write, without saying so by an owner.
const NOT_SET: [&str; 4] = ["Event", "Endpoints", "EndpointSlice", "Lease"];
/// What a server answers when one may not list a kind, when there is none, and when it cannot be listed.
const UNREADABLE: [u16; 3] = [403, 404, 405];
/// What a server answers to a change of what cannot be changed.
const INVALID: u16 = 422;
/// Taints that follow from what a node is like.
const OF_THE_NODE: &str = "node.kubernetes.io/";

/// Everything that trials share on a cluster that outlives them, by address.
pub(in crate::execute) type Everything = BTreeMap<ObjectRef, Arc<Value>>;

impl Trial {
    /// Brings the cluster back to the baseline. Left out where the cluster ends with the trial.
    pub(super) async fn restore(&mut self, restore: &Restore) -> Result<(), Stop> {
        if self.baseline.everything.is_empty() {
            return Ok(());
        }
        self.enter("restore").await?;
        let namespace = self.inputs.system.namespace.clone();
        let limit = span(&restore.timeout)?;
        let end = self.now_ms().saturating_add(millis(limit));
        self.put_back(&namespace).await?;
        let ready = self.wait_until_ready(limit).await?;
        // What was deleted may take its time to go.
        let left = loop {
            let left = differences(&self.baseline.everything, &everything(&self.cluster, &namespace).await?);
            if left.is_empty() || self.now_ms() >= end {
                break left;
            }
            self.pass(LOOK).await?;
        };
        if ready && left.is_empty() {
            return Ok(());
        }
        // Dirty: the next trial gets a namespace of its own making.
        self.delete_namespace().await.map_err(|e| {
            let why = if left.is_empty() { "the system is not healthy".to_owned() } else { left.join(", ") };
            Stop::Infra(format!("the cluster is not as it was before the trial ({why}), and could not be emptied: {e}"))
        })
    }

    /// Objects as in the baseline. What the cluster refuses is found by the comparison that follows.
    async fn put_back(&mut self, namespace: &str) -> Result<(), Stop> {
        let now = everything(&self.cluster, namespace).await?;
        let baseline = &self.baseline.everything;
        for at in now.keys().filter(|at| !baseline.contains_key(at)) {
            answered(self.cluster.delete(at).await)?;
        }
        for (at, before) in baseline {
            match now.get(at) {
                Some(after) if same(after, before) => {}
                Some(_) if at.kind == "Node" => answered(self.cluster.patch(at, "merge", before).await)?,
                Some(after) => {
                    let mut object = as_set(before);
                    object["metadata"]["resourceVersion"] = after["metadata"]["resourceVersion"].clone();
                    match self.cluster.replace(&object, &at.namespace).await {
                        // Another one of the same name, which differs in what cannot be changed.
                        Err(ClusterError::Api { code: INVALID, .. }) if at.kind != "Namespace" => {
                            answered(self.cluster.delete(at).await)?;
                            answered(self.cluster.create(&fresh(at, before), namespace).await)?;
                        }
                        other => answered(other)?,
                    }
                }
                None => answered(self.cluster.create(&fresh(at, before), namespace).await)?,
            }
        }
        Ok(())
    }
}

/// What trials share: the namespace itself, every object in it that somebody made (others follow from those), and
/// whether pods may be placed on the nodes.
pub(in crate::execute) async fn everything(cluster: &Cluster, namespace: &str) -> Result<Everything, ClusterError> {
    let mut found = Everything::new();
    for (api_version, kind) in cluster.namespaced_kinds().await? {
        if NOT_SET.contains(&kind.as_str()) {
            continue;
        }
        let Some(objects) = readable(cluster.list(&api_version, &kind, namespace, "").await)? else { continue };
        for object in objects {
            // What has an owner comes and goes with it.
            if object["metadata"]["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty()) {
                continue;
            }
            found.insert(ObjectRef::of(&object, namespace), object);
        }
    }
    let own = ObjectRef::new("v1", "Namespace", "", namespace);
    if let Some(object) = cluster.get(&own).await? {
        found.insert(own, object.into());
    }
    for node in readable(cluster.list("v1", "Node", "", "").await)?.unwrap_or_default() {
        found.insert(ObjectRef::of(&node, ""), placing(&node).into());
    }
    Ok(found)
}

/// Whether a node takes pods, as a merge patch that says so.
fn placing(node: &Value) -> Value {
    let taints: Vec<&Value> = node["spec"]["taints"].as_array().into_iter().flatten().collect();
    let set: Vec<&Value> = taints.into_iter().filter(|t| t["key"].as_str().is_some_and(|key| !key.starts_with(OF_THE_NODE))).collect();
    json!({"spec": {
        "unschedulable": if node["spec"]["unschedulable"] == true { true.into() } else { Value::Null },
        "taints": if set.is_empty() { Value::Null } else { json!(set) },
    }})
}

/// `None` for a kind that one may not list, or that has gone meanwhile.
fn readable(listed: Result<Vec<Arc<Value>>, ClusterError>) -> Result<Option<Vec<Arc<Value>>>, ClusterError> {
    match listed {
        Err(ClusterError::UnknownKind { .. }) => Ok(None),
        Err(ClusterError::Api { code, .. }) if UNREADABLE.contains(&code) => Ok(None),
        other => other.map(Some),
    }
}

/// A refusal by the cluster is an answer; that it cannot be reached is none.
fn answered<T>(result: Result<T, ClusterError>) -> Result<(), Stop> {
    match result {
        Err(e) if e.code().is_none() => Err(e.into()),
        _ => Ok(()),
    }
}

/// An object without what the server says of it.
fn as_set(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(o) = object.as_object_mut() {
        o.remove("status");
    }
    object
}

/// An object as it can be created anew: without what the server assigns.
fn fresh(at: &ObjectRef, object: &Value) -> Value {
    let mut object = as_set(object);
    object["metadata"] = json!({
        "name": at.name,
        "namespace": at.namespace,
        "labels": object["metadata"]["labels"],
        "annotations": object["metadata"]["annotations"],
    });
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_what_somebody_made_of_it() {
        let node = |spec: Value| placing(&json!({"metadata": {"name": "n"}, "spec": spec}));
        let plain = node(json!({"podCIDR": "10.0.0.0/24"}));
        assert_eq!(plain, json!({"spec": {"unschedulable": null, "taints": null}}));
        let own = json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
        let theirs = json!({"key": "team", "value": "a", "effect": "NoSchedule"});
        let cordoned = node(json!({"unschedulable": true, "taints": [own, theirs]}));
        assert_eq!(cordoned, json!({"spec": {"unschedulable": true, "taints": [theirs]}}));
    }
}
