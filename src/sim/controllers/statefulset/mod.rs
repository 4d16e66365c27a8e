//! `StatefulSet` controller: pods with stable names, made and replaced in order.

mod claims;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::events::{self, Report, Source};
use super::kinds::{PODS, STATEFUL_SETS};
use super::object::{self, int};
use super::revisions;
use crate::sim::registry::{self, DeleteOptions, Part};
use crate::sim::resource::Key;
use crate::sim::world::{Event, World};

const SELF: Source<'static> = Source { component: "statefulset-controller", host: "" };
const HASH: &str = "controller-revision-hash";

/// A set, its revisions, and its pods by ordinal.
struct Round {
    key: Key,
    set: Arc<Value>,
    /// Names of the revisions that the set comes from and goes to.
    current: String,
    update: String,
    pods: BTreeMap<i64, (Key, Arc<Value>)>,
}

impl Round {
    fn first(&self) -> i64 {
        int(&self.set["spec"]["ordinals"]["start"], 0)
    }

    fn replicas(&self) -> i64 {
        int(&self.set["spec"]["replicas"], 1)
    }

    fn ordinals(&self) -> std::ops::Range<i64> {
        self.first()..self.first() + self.replicas()
    }

    fn in_order(&self) -> bool {
        self.set["spec"]["podManagementPolicy"] != "Parallel"
    }

    fn min_ready(&self) -> i64 {
        int(&self.set["spec"]["minReadySeconds"], 0)
    }

    fn available(&self, world: &World, pod: &Value) -> bool {
        !object::deleting(pod) && running(pod) && object::available(pod, self.min_ready(), world.now).0
    }

    fn look(&mut self, world: &mut World) {
        let ordinal = |k: &Key| k.name.rsplit_once('-').and_then(|(_, i)| i.parse::<i64>().ok());
        let all = object::owned(world, &PODS, &self.key, &self.set);
        self.pods = all.into_iter().filter_map(|(k, p)| Some((ordinal(&k)?, (k, p)))).collect();
    }
}

fn running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running" && object::ready(pod)
}

/// Takes the next step in the order of the pods, and reports the status.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(set) = world.store.get(key).cloned() else { return };
    let (_, update) = revisions::revision(world, key, &set);
    let current = set["status"]["currentRevision"].as_str().filter(|r| !r.is_empty()).unwrap_or(&update).to_owned();
    let mut round = Round { key: key.clone(), set, current, update, pods: BTreeMap::new() };
    round.look(world);
    if !object::deleting(&round.set) {
        advance(world, &round);
        round.look(world);
        claims::retain(world, &round);
        let mut live: Vec<String> =
            round.pods.values().filter_map(|(_, p)| p["metadata"]["labels"][HASH].as_str().map(str::to_owned)).collect();
        live.extend([round.current.clone(), round.update.clone()]);
        revisions::truncate(world, key, &round.set, &live);
    }
    report(world, &round);
}

/// Makes, ends and replaces pods, as far as the order lets it.
fn advance(world: &mut World, round: &Round) {
    let in_order = round.in_order();
    for i in round.ordinals() {
        let Some((k, p)) = round.pods.get(&i) else {
            create(world, round, i);
            if in_order {
                return;
            }
            continue;
        };
        if object::ended(p) {
            if !object::deleting(p) {
                delete(world, round, k);
            }
            // It is made anew when it is gone.
            if in_order {
                return;
            }
            continue;
        }
        if p["status"]["phase"] == "Pending" {
            claims::make(world, round, &k.name);
        }
        if in_order && !round.available(world, p) {
            return;
        }
    }
    let surplus: Vec<&(Key, Arc<Value>)> =
        round.pods.iter().rev().filter(|(i, _)| !round.ordinals().contains(i)).map(|(_, pod)| pod).collect();
    // The lowest of those that are too many may go though it is not well, if all others are.
    let first_unwell = surplus.iter().rev().find(|(_, p)| !round.available(world, p)).map(|(k, _)| k.clone());
    for (k, p) in surplus {
        if object::deleting(p) {
            if in_order {
                return;
            }
            continue;
        }
        if in_order && !round.available(world, p) && first_unwell.as_ref() != Some(k) {
            return;
        }
        delete(world, round, k);
        if in_order {
            return;
        }
    }
    if round.set["spec"]["updateStrategy"]["type"] != "OnDelete" {
        roll(world, round);
    }
}

/// Replaces pods of other revisions, from the highest ordinal down to the partition.
fn roll(world: &mut World, round: &Round) {
    let rolling = &round.set["spec"]["updateStrategy"]["rollingUpdate"];
    let replicas: Vec<&(Key, Arc<Value>)> = round.ordinals().filter_map(|i| round.pods.get(&i)).collect();
    let partition = usize::try_from(int(&rolling["partition"], 0)).unwrap_or(0);
    let outdated = |p: &Value| p["metadata"]["labels"][HASH] != round.update.as_str() && !object::deleting(p);
    let candidates = replicas.iter().enumerate().skip(partition).rev().map(|(_, pod)| *pod);
    if rolling["maxUnavailable"].is_null() {
        for (k, p) in candidates {
            if outdated(p) {
                delete(world, round, k);
                return;
            }
            if !round.available(world, p) {
                return;
            }
        }
        return;
    }
    let most = object::int_or_percent(&rolling["maxUnavailable"], round.replicas(), false, "1").max(1);
    let away = replicas.iter().filter(|(_, p)| !round.available(world, p)).count();
    let room = usize::try_from(most).unwrap_or(1).saturating_sub(away);
    for (k, _) in candidates.filter(|(_, p)| outdated(p)).take(room) {
        delete(world, round, k);
    }
}

/// A new pod is of the old revision below the partition, where the set is rolled.
fn create(world: &mut World, round: &Round, i: i64) {
    let (key, set) = (&round.key, &round.set);
    let strategy = &set["spec"]["updateStrategy"];
    let partition = strategy["rollingUpdate"]["partition"].as_i64().filter(|_| strategy["type"] != "OnDelete").unwrap_or(0);
    let old = revisions::template(world, &key.namespace, &round.current).filter(|_| i < round.first() + partition);
    let revision = if old.is_some() { &round.current } else { &round.update };
    let mut pod = object::pod_from_template(old.as_ref().unwrap_or(&set["spec"]["template"]), &STATEFUL_SETS, set);
    let name = format!("{}-{i}", key.name);
    if let Some(m) = pod["metadata"].as_object_mut() {
        m.remove("generateName");
    }
    pod["metadata"]["name"] = name.as_str().into();
    pod["metadata"]["labels"][HASH] = revision.as_str().into();
    pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] = name.as_str().into();
    pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] = i.to_string().into();
    pod["spec"]["hostname"] = name.as_str().into();
    if let Some(s) = set["spec"]["serviceName"].as_str().filter(|s| !s.is_empty()) {
        pod["spec"]["subdomain"] = s.into();
    }
    claims::mount(set, &mut pod, &name);
    if claims::stale(world, round, &name) {
        return;
    }
    claims::make(world, round, &name);
    match registry::create(world, &PODS, &key.namespace, pod) {
        Ok(_) => {
            let text = format!("create Pod {name} in StatefulSet {} successful", key.name);
            events::emit(world, key, set, SELF, Report::normal("SuccessfulCreate", text));
        }
        Err(e) => {
            let text = format!("create Pod {name} in StatefulSet {} failed error: {}", key.name, e.message);
            events::emit(world, key, set, SELF, Report::warning("FailedCreate", text));
            // Quotas may free up.
            world.agenda.at(world.now.after(std::time::Duration::from_secs(5)), Event::Reconcile(key.clone()));
        }
    }
}

fn delete(world: &mut World, round: &Round, pod: &Key) {
    if registry::delete(world, pod, &DeleteOptions::default()).is_ok() {
        let text = format!("delete Pod {} in StatefulSet {} successful", pod.name, round.key.name);
        events::emit(world, &round.key, &round.set, SELF, Report::normal("SuccessfulDelete", text));
    }
}

fn report(world: &mut World, round: &Round) {
    let Some(now) = world.store.get(&round.key).cloned() else { return };
    let count = |f: &dyn Fn(&Value) -> bool| round.pods.values().filter(|(_, p)| f(p)).count();
    let of = |revision: &str| count(&|p| !object::deleting(p) && p["metadata"]["labels"][HASH] == *revision);
    let (replicas, ready, updated) = (round.pods.len(), count(&running), of(&round.update));
    let available = count(&|p| running(p) && object::available(p, round.min_ready(), world.now).0);
    let done = round.set["spec"]["updateStrategy"]["type"] != "OnDelete" && updated == replicas && ready == replicas;
    let current = if done { &round.update } else { &round.current };
    let mut status = json!({
        "replicas": replicas, "readyReplicas": ready, "availableReplicas": available, "updatedReplicas": updated,
        "currentReplicas": of(current), "currentRevision": current, "updateRevision": round.update,
        "observedGeneration": now["metadata"]["generation"], "collisionCount": 0,
    });
    if let Some(s) = status.as_object_mut() {
        s.retain(|k, v| *v != 0 || matches!(k.as_str(), "replicas" | "availableReplicas" | "collisionCount"));
    }
    let later = round.pods.values().filter_map(|(_, p)| object::available(p, round.min_ready(), world.now).1).min();
    if let Some(at) = later {
        world.agenda.at(at, Event::Reconcile(round.key.clone()));
    }
    if now["status"] != status {
        let mut new = (*now).clone();
        new["status"] = status;
        // Nobody else writes in between: the world is ours.
        let _written = registry::update(world, &round.key, new, Part::Status);
    }
}
