//! `ReplicaSet` controller, which serves `ReplicationController`s too: as many pods as wanted.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::events::{self, Report, Source};
use super::kinds::PODS;
use super::object;
use crate::sim::registry::{self, DeleteOptions, Part};
use crate::sim::resource::Key;
use crate::sim::world::{Event, World};

/// Bounds of the delay after a pod was refused.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(1000);
/// Most pods created or deleted in one go.
const BURST: usize = 500;

/// Creates or deletes pods until the number is right, and reports the status.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(mut set) = world.store.get(key).cloned() else { return };
    let replication = &*key.resource.plural == "replicationcontrollers";
    if replication {
        // Its selector is a plain map.
        let mut normal = (*set).clone();
        normal["spec"]["selector"] = json!({"matchLabels": set["spec"]["selector"]});
        set = Arc::new(normal);
    }
    let source = Source { component: if replication { "replication-controller" } else { "replicaset-controller" }, host: "" };
    let pods = object::owned(world, &PODS, key, &set);
    let mut active: Vec<(Key, Arc<Value>)> = pods.iter().filter(|(_, p)| object::active(p)).cloned().collect();
    let terminating = pods.iter().filter(|(_, p)| object::deleting(p) && !object::ended(p)).count();
    let wanted = usize::try_from(object::int(&set["spec"]["replicas"], 1)).unwrap_or(0);
    let mut failure = None;
    if !object::deleting(&set) {
        if active.len() < wanted {
            for _ in 0..(wanted - active.len()).min(BURST) {
                let pod = object::pod_from_template(&set["spec"]["template"], &key.resource, &set);
                match registry::create(world, &PODS, &key.namespace, pod) {
                    Ok(p) => {
                        let text = format!("Created pod: {}", object::name(&p));
                        events::emit(world, key, &set, source, Report::normal("SuccessfulCreate", text));
                        active.push((Key::new(&PODS, &key.namespace, object::name(&p)), p));
                    }
                    Err(e) => {
                        events::emit(world, key, &set, source, Report::warning("FailedCreate", format!("Error creating: {}", e.message)));
                        failure = Some(e.message);
                        break;
                    }
                }
            }
        } else if active.len() > wanted {
            active.sort_by_key(|(k, p)| deletion_rank(k, p));
            let excess: Vec<Key> = active.drain(..active.len() - wanted).map(|(k, _)| k).take(BURST).collect();
            for k in excess {
                if registry::delete(world, &k, &DeleteOptions::default()).is_ok() {
                    events::emit(world, key, &set, source, Report::normal("SuccessfulDelete", format!("Deleted pod: {}", k.name)));
                }
            }
        }
    }
    if failure.is_some() {
        // Quotas may free up: try again. Waiting as long as it has failed already doubles the delay, as the real back-off does.
        let since = object::condition(&set["status"], "ReplicaFailure").and_then(|c| c["lastTransitionTime"].as_str().map(str::to_owned));
        let age = since.as_deref().and_then(crate::sim::time::parse_rfc3339).map(|at| world.now.since(at)).unwrap_or_default();
        world.agenda.at(world.now.after(age.clamp(RETRY_MIN, RETRY_MAX)), Event::Reconcile(key.clone()));
    }
    report(world, key, &set, &active, terminating, failure);
}

/// Those that are deleted first sort first: unbound, pending, not ready, youngest.
fn deletion_rank(key: &Key, pod: &Value) -> (bool, bool, bool, std::cmp::Reverse<crate::sim::time::SimTime>, Key) {
    let bound = pod["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty());
    let running = pod["status"]["phase"] == "Running";
    (bound, running, object::ready(pod), std::cmp::Reverse(object::created(pod)), key.clone())
}

fn report(world: &mut World, key: &Key, set: &Value, active: &[(Key, Arc<Value>)], terminating: usize, failure: Option<String>) {
    let Some(current) = world.store.get(key).cloned() else { return };
    let min = object::int(&set["spec"]["minReadySeconds"], 0);
    let template_labels = &set["spec"]["template"]["metadata"]["labels"];
    let (mut ready, mut available, mut labelled) = (0, 0, 0);
    let mut again = None;
    for (_, p) in active {
        labelled += i64::from(object::contains_all(template_labels, &p["metadata"]["labels"]));
        ready += i64::from(object::ready(p));
        let (yes, at) = object::available(p, min, world.now);
        available += i64::from(yes);
        again = again.into_iter().chain(at).min();
    }
    if let Some(at) = again {
        world.agenda.at(at, Event::Reconcile(key.clone()));
    }
    let mut status = json!({
        "replicas": active.len(), "fullyLabeledReplicas": labelled, "readyReplicas": ready, "availableReplicas": available,
        "observedGeneration": current["metadata"]["generation"],
    });
    if &*key.resource.plural == "replicasets" {
        status["terminatingReplicas"] = terminating.into();
    }
    for field in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
        if status[field] == 0
            && let Some(s) = status.as_object_mut()
        {
            s.remove(field);
        }
    }
    if let Some(message) = failure {
        // As long as it fails the first failure is shown: a new message would be a change, and a reason to try again at once.
        let now = world.now.rfc3339();
        let new =
            || json!({"type": "ReplicaFailure", "status": "True", "lastTransitionTime": now, "reason": "FailedCreate", "message": message});
        let condition = object::condition(&current["status"], "ReplicaFailure").cloned().unwrap_or_else(new);
        status["conditions"] = json!([condition]);
    }
    if current["status"] != status {
        let mut new = (*current).clone();
        new["status"] = status;
        // Nobody else writes in between: the world is ours.
        let _written = registry::update(world, key, new, Part::Status);
    }
}
