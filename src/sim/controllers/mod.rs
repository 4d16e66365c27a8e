//! Controllers: what follows from objects. Input: changes in the store; output: more changes and scheduled events.

pub mod autoscaler;
mod balancer;
pub mod bootstrap;
pub mod budget;
mod certificates;
pub mod claims;
mod credentials;
pub mod cronjob;
pub mod daemonset;
pub mod deployment;
pub mod endpoints;
pub mod events;
mod fit;
pub mod garbage;
pub mod job;
pub mod kinds;
mod measuring;
pub mod namespace;
mod nodes;
pub mod object;
pub(super) mod placement;
pub(super) mod preemption;
mod preference;
pub mod quota;
mod reclaim;
pub mod replicaset;
mod revisions;
mod scaling;
#[cfg(test)]
mod scenarios;
pub mod schedule;
pub mod scheduler;
pub mod statefulset;
pub mod taints;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

pub use bootstrap::bootstrap;
use serde_json::Value;

use self::kinds::{CLAIMS, DAEMON_SETS, JOBS, NODES, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, SERVICES, STATEFUL_SETS};
use super::resource::Key;
use super::store::{Change, ChangeKind};
use super::world::{Event, World};

/// How long a controller takes to notice a change.
const NOTICE: Duration = Duration::from_millis(5);

/// What controllers remember beside the store.
#[derive(Debug, Default)]
pub struct State {
    queued: BTreeSet<Key>,
    pub(super) unschedulable: BTreeSet<Key>,
    pub(super) events: events::Index,
    pub(super) autoscaling: autoscaler::Memory,
    pub(super) tainted: taints::Deadlines,
    pub(super) jobs: job::Memory,
}

/// Looks at the changes since [`World::observed`] and schedules reactions.
pub fn observe(world: &mut World) {
    let changes: Vec<Change> = match world.store.changes_after(world.observed, |_| true) {
        Ok(changes) => changes.collect(),
        // The log was overrun: look at everything anew.
        Err(_) => world
            .store
            .iter()
            .map(|(k, o)| Change {
                revision: world.store.revision(),
                kind: ChangeKind::Modified,
                key: k.clone(),
                object: std::sync::Arc::clone(o),
                previous: None,
                told: std::sync::Arc::default(),
            })
            .collect(),
    };
    world.observed = world.store.revision();
    for change in &changes {
        react(world, change);
    }
}

/// Asks for an object to be looked at soon; asking twice is asking once.
pub fn enqueue(world: &mut World, key: &Key) {
    if world.controllers.queued.insert(key.clone()) {
        world.agenda.at(world.now.after(NOTICE), Event::Reconcile(key.clone()));
    }
}

fn react(world: &mut World, change: &Change) {
    let key = &change.key;
    if &*key.resource.plural == "events" {
        return;
    }
    let gone = change.kind == ChangeKind::Deleted;
    for quota in quota::of_namespace(world, &key.namespace) {
        enqueue(world, &quota);
    }
    match (&*key.resource.group, &*key.resource.plural) {
        ("", "pods") => pod_changed(world, change),
        ("", "nodes") => {
            enqueue(world, key);
            retry_scheduling(world);
            let sets: Vec<Key> = world.store.list(&DAEMON_SETS, None).map(|(k, _)| k.clone()).collect();
            for set in &sets {
                enqueue(world, set);
            }
        }
        // The real controller looks every 15 seconds, and for the first time after as long.
        ("autoscaling", "horizontalpodautoscalers") if change.previous.is_none() => {
            world.agenda.at(world.now.after(autoscaler::PERIOD), Event::Reconcile(key.clone()));
        }
        ("apps", "replicasets") | ("batch", "jobs") => {
            enqueue(world, key);
            owner(world, key, &change.object);
        }
        ("", "services") => {
            enqueue(world, key);
            super::traffic::invalidate(world);
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            super::custom::rebuild(world);
            super::custom::settle(world);
            if gone {
                super::custom::forget(world, &change.object);
            } else {
                enqueue(world, key);
            }
        }
        ("admissionregistration.k8s.io", plural) => {
            super::registry::admission::rebuild(world);
            if plural == "validatingadmissionpolicies" && !gone {
                enqueue(world, key);
            }
        }
        ("", "endpoints") | ("networking.k8s.io", "networkpolicies") => super::traffic::invalidate(world),
        ("", "secrets") if !gone && credentials::concerns(&change.object) => enqueue(world, key),
        ("", "serviceaccounts") if gone => {
            for secret in credentials::of_namespace(world, &key.namespace) {
                enqueue(world, &secret);
            }
        }
        ("", "persistentvolumeclaims") => {
            enqueue(world, key);
            retry_scheduling(world);
        }
        ("", "persistentvolumes") | ("storage.k8s.io", "storageclasses") => {
            let waiting = world.store.list(&CLAIMS, None).filter(|(_, c)| c["status"]["phase"] != "Bound").map(|(k, _)| k.clone());
            let waiting: Vec<Key> = waiting.collect();
            for claim in &waiting {
                enqueue(world, claim);
            }
            let had = &change.object["spec"]["claimRef"];
            if let Some((namespace, name)) = had["namespace"].as_str().zip(had["name"].as_str()).filter(|_| gone) {
                enqueue(world, &Key::new(&CLAIMS, namespace, name));
            }
            enqueue(world, key);
        }
        ("", "namespaces" | "replicationcontrollers")
        | ("apps", "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "cronjobs")
        | ("policy", "poddisruptionbudgets")
        | ("certificates.k8s.io", "certificatesigningrequests")
        | ("chaos-mesh.org", _) => {
            enqueue(world, key);
        }
        _ => {}
    }
    let was_deleting = change.previous.as_ref().is_some_and(|p| object::deleting(p));
    if gone {
        world.agenda.at(
            world.now.after(NOTICE),
            Event::Collect { owner: object::uid(&change.object).to_owned(), namespace: key.namespace.clone() },
        );
    }
    // Owners that wait for their dependents learn of each that goes.
    if gone && let Some(owners) = change.object["metadata"]["ownerReferences"].as_array() {
        for o in owners.iter().filter(|o| o["blockOwnerDeletion"] == true) {
            if let Some(k) = garbage::key_of(world, &key.namespace, o) {
                world.agenda.at(world.now.after(NOTICE), Event::Finalize(k));
            }
        }
    }
    if !gone && object::deleting(&change.object) && !was_deleting {
        world.agenda.at(world.now.after(NOTICE), Event::Finalize(key.clone()));
    }
    if gone && !key.namespace.is_empty() && namespace::terminating(world, &key.namespace) {
        enqueue(world, &Key::new(&kinds::NAMESPACES, "", &key.namespace));
    }
}

fn owner(world: &mut World, key: &Key, object: &Value) {
    if let Some(o) = object::controller_key(object, &key.namespace) {
        enqueue(world, &o);
    }
}

/// Tells whoever had a pod that it has it no more, and whoever could have it that nobody has.
fn pod_changes_hands(world: &mut World, change: &Change) {
    let had = change.previous.as_deref().and_then(object::controller);
    let has = object::controller(&change.object);
    let labels = &change.object["metadata"]["labels"];
    let same = change.previous.as_deref().is_some_and(|p| p["metadata"]["labels"] == *labels);
    if let Some(previous) = change.previous.as_deref().filter(|_| had.is_some_and(|h| has.is_none_or(|n| n["uid"] != h["uid"]))) {
        owner(world, &change.key, previous);
    }
    if has.is_some() || (same && had.is_none()) || change.kind == ChangeKind::Deleted {
        return;
    }
    let mut takers = Vec::new();
    for resource in [&*REPLICA_SETS, &*REPLICATION_CONTROLLERS, &*STATEFUL_SETS, &*DAEMON_SETS, &*JOBS] {
        let plain = &*resource.plural == "replicationcontrollers";
        let selects = |o: &Value| {
            let selector = &o["spec"]["selector"];
            selector.is_object() && if plain { object::contains_all(selector, labels) } else { object::selects(selector, labels) }
        };
        takers.extend(world.store.list(resource, Some(&change.key.namespace)).filter(|(_, o)| selects(o)).map(|(k, _)| k.clone()));
    }
    for taker in &takers {
        enqueue(world, taker);
    }
}

fn pod_changed(world: &mut World, change: &Change) {
    let key = &change.key;
    owner(world, key, &change.object);
    pod_changes_hands(world, change);
    let gone = change.kind == ChangeKind::Deleted;
    let labels_then = change.previous.as_ref().map_or(&Value::Null, |p| &p["metadata"]["labels"]);
    let labels = &change.object["metadata"]["labels"];
    if change.previous.as_ref().is_none_or(|p| p["status"] != change.object["status"] || labels_then != labels)
        || gone
        || object::deleting(&change.object)
    {
        let services: Vec<Key> = world
            .store
            .list(&SERVICES, Some(&key.namespace))
            .filter(|(_, s)| {
                let wanted = &s["spec"]["selector"];
                wanted.as_object().is_some_and(|w| !w.is_empty())
                    && (object::contains_all(wanted, labels) || (!labels_then.is_null() && object::contains_all(wanted, labels_then)))
            })
            .map(|(k, _)| k.clone())
            .collect();
        for service in &services {
            enqueue(world, service);
        }
    }
    let budgets: Vec<Key> = world.store.list(&budget::BUDGETS, Some(&key.namespace)).map(|(k, _)| k.clone()).collect();
    for budget in &budgets {
        enqueue(world, budget);
    }
    if gone {
        reclaim::pod_gone(world, key, &change.object);
    } else if change.previous.is_none() {
        reclaim::pod_made(world, key, &change.object);
    }
    super::kubelet::pod_changed(world, change);
    let unbound = change.object["spec"]["nodeName"].as_str().is_none_or(str::is_empty);
    if !gone && unbound && !object::deleting(&change.object) {
        if change.previous.as_ref().is_none_or(|p| p["spec"] != change.object["spec"]) {
            enqueue(world, key);
        }
    } else {
        world.controllers.unschedulable.remove(key);
        if gone || object::ended(&change.object) {
            retry_scheduling(world);
        }
    }
}

fn retry_scheduling(world: &mut World) {
    let waiting: Vec<Key> = world.controllers.unschedulable.iter().cloned().collect();
    for key in &waiting {
        enqueue(world, key);
    }
}

/// Does what an event says.
pub fn happen(world: &mut World, event: Event) {
    match event {
        Event::Reconcile(key) => {
            world.controllers.queued.remove(&key);
            reconcile(world, &key);
        }
        Event::Pod(key) => super::kubelet::step(world, &key),
        Event::Collect { owner, namespace } => garbage::collect(world, &owner, &namespace),
        Event::Finalize(key) => garbage::finalize(world, &key),
        Event::Chaos(key) => super::chaos::step(world, &key),
        Event::Second => second(world),
    }
}

fn second(world: &mut World) {
    world.store.settle();
    super::traffic::second(world);
    super::kubelet::second(world);
    if world.now.0.is_multiple_of(60_000) {
        events::expire(world);
    }
    world.agenda.at(world.now.after(Duration::from_secs(1)), Event::Second);
}

fn reconcile(world: &mut World, key: &Key) {
    match (&*key.resource.group, &*key.resource.plural) {
        ("apps", "deployments") => deployment::reconcile(world, key),
        ("apps", "replicasets") | ("", "replicationcontrollers") => replicaset::reconcile(world, key),
        ("apps", "statefulsets") => statefulset::reconcile(world, key),
        ("apps", "daemonsets") => daemonset::reconcile(world, key),
        ("batch", "jobs") => job::reconcile(world, key),
        ("batch", "cronjobs") => cronjob::reconcile(world, key),
        ("autoscaling", "horizontalpodautoscalers") => autoscaler::reconcile(world, key),
        ("", "services") => {
            balancer::reconcile(world, key);
            endpoints::reconcile(world, key);
        }
        ("", "namespaces") => namespace::reconcile(world, key),
        ("apiextensions.k8s.io", "customresourcedefinitions") => super::custom::reconcile(world, key),
        ("policy", "poddisruptionbudgets") => budget::reconcile(world, key),
        ("", "resourcequotas") => quota::reconcile(world, key),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => super::registry::admission::reconcile(world, key),
        ("certificates.k8s.io", "certificatesigningrequests") => certificates::reconcile(world, key),
        ("", "secrets") => credentials::reconcile(world, key),
        ("", "persistentvolumeclaims") => claims::reconcile(world, key),
        ("", "persistentvolumes") => claims::volume(world, key),
        ("chaos-mesh.org", _) => super::chaos::reconcile(world, key),
        _ if key.resource == *PODS => scheduler::schedule(world, key),
        _ if key.resource == *NODES => {
            taints::reconcile(world, key);
            nodes::reconcile(world, key);
            retry_scheduling(world);
        }
        _ => {}
    }
}
