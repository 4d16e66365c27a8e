//! `Deployment` controller: revisions, rolling and recreating updates, pause, progress, clean-up of old revisions.

mod proportion;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::events::{self, Report, Source};
use super::kinds::{DEPLOYMENTS, PODS, REPLICA_SETS};
use super::object::{self, int};
use crate::sim::registry::{self, DeleteOptions, Part};
use crate::sim::resource::Key;
use crate::sim::time::parse_rfc3339;
use crate::sim::world::{Event, World};

const SELF: Source<'static> = Source { component: "deployment-controller", host: "" };
const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const HASH: &str = "pod-template-hash";

type Set = (Key, Arc<Value>);

/// What one look at a deployment works with.
struct Rollout<'a> {
    key: &'a Key,
    deployment: Arc<Value>,
    desired: i64,
    surge: i64,
    unavailable: i64,
    recreate: bool,
    new: Option<Set>,
    old: Vec<Set>,
}

/// Takes the next step of a rollout and reports the status.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(deployment) = world.store.get(key).cloned() else { return };
    let sets = object::owned(world, &REPLICA_SETS, key, &deployment);
    let template = plain_template(&deployment);
    let mut new: Option<Set> = None;
    let mut old = Vec::new();
    let mut sets: Vec<Set> = sets.into_iter().filter(|(_, s)| !object::deleting(s)).collect();
    sets.sort_by_key(|(k, s)| (object::created(s), k.clone()));
    for set in sets {
        if new.is_none() && plain_template(&set.1) == template {
            new = Some(set);
        } else {
            old.push(set);
        }
    }
    let spec = &deployment["spec"];
    let desired = int(&spec["replicas"], 1);
    let rolling = &spec["strategy"]["rollingUpdate"];
    let surge = object::int_or_percent(&rolling["maxSurge"], desired, true, "25%");
    let mut unavailable = object::int_or_percent(&rolling["maxUnavailable"], desired, false, "25%").min(desired);
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    let recreate = spec["strategy"]["type"] == "Recreate";
    let (surge, unavailable) = if recreate { (0, desired) } else { (surge, unavailable) };
    let mut rollout = Rollout { key, deployment, desired, surge, unavailable, recreate, new, old };
    if !object::deleting(&rollout.deployment) {
        if rollout.deployment["spec"]["paused"] == true || rollout.resized() {
            rollout.resize(world);
        } else {
            rollout.proceed(world);
        }
    }
    rollout.refresh(world);
    rollout.report(world);
}

fn plain_template(owner: &Value) -> Value {
    let mut template = owner["spec"]["template"].clone();
    if let Some(m) = template["metadata"].as_object_mut() {
        m.retain(|k, v| k != "creationTimestamp" && !v.is_null());
    }
    if let Some(l) = template["metadata"]["labels"].as_object_mut() {
        l.remove(HASH);
    }
    template
}

fn revision(object: &Value) -> i64 {
    object::annotation(object, REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}

fn replicas(set: &Set) -> i64 {
    int(&set.1["spec"]["replicas"], 1)
}

fn status(set: &Set, field: &str) -> i64 {
    int(&set.1["status"][field], 0)
}

impl Rollout<'_> {
    fn proceed(&mut self, world: &mut World) {
        if self.recreate {
            let mut scaled = false;
            for i in 0..self.old.len() {
                scaled |= self.scale_old(world, i, 0);
            }
            if scaled || self.old_pods_run(world) {
                return;
            }
        }
        self.ensure_new(world);
        let scaled = self.scale_new(world);
        if !scaled && !self.recreate {
            self.scale_down_old(world);
        }
        self.clean_up(world);
    }

    fn old_pods_run(&self, world: &World) -> bool {
        let new = self.new.as_ref().map(|(_, s)| object::uid(s).to_owned());
        let ids: Vec<&str> = self.old.iter().map(|(_, s)| object::uid(s)).collect();
        world.store.list(&PODS, Some(&self.key.namespace)).any(|(_, p)| {
            !object::ended(p)
                && object::controller(p).and_then(|c| c["uid"].as_str()).is_some_and(|u| ids.contains(&u) && Some(u) != new.as_deref())
        })
    }

    fn ensure_new(&mut self, world: &mut World) {
        let next = self.old.iter().map(|(_, s)| revision(s)).max().unwrap_or(0) + 1;
        if let Some((k, s)) = &self.new {
            let mut set = (**s).clone();
            let mut changed = false;
            if revision(s) < next {
                let before = object::annotation(&set, REVISION).map(str::to_owned);
                changed |= object::annotate(&mut set, REVISION, &next.to_string());
                if let Some(before) = before {
                    let history = object::annotation(&set, "deployment.kubernetes.io/revision-history")
                        .map_or(before.clone(), |h| format!("{h},{before}"));
                    object::annotate(&mut set, "deployment.kubernetes.io/revision-history", &history);
                }
            }
            changed |= self.copy_annotations(&mut set);
            if changed && let Ok(stored) = registry::update(world, k, set, Part::Main) {
                self.new = Some((k.clone(), stored));
            }
        } else {
            self.create_new(world, next);
        }
        let Some((_, s)) = &self.new else { return };
        let now = revision(s).to_string();
        let mut d = (*self.deployment).clone();
        if object::annotate(&mut d, REVISION, &now)
            && let Ok(stored) = registry::update(world, self.key, d, Part::Main)
        {
            self.deployment = stored;
        }
    }

    fn copy_annotations(&self, set: &mut Value) -> bool {
        let mut changed = false;
        if let Some(all) = self.deployment["metadata"]["annotations"].as_object() {
            for (k, v) in all {
                let own = k.starts_with("deployment.kubernetes.io/") || k == "kubectl.kubernetes.io/last-applied-configuration";
                if !own && let Some(v) = v.as_str() {
                    changed |= object::annotate(set, k, v);
                }
            }
        }
        changed
    }

    fn create_new(&mut self, world: &mut World, next: i64) {
        let template = plain_template(&self.deployment);
        let mut collisions = int(&self.deployment["status"]["collisionCount"], 0);
        // A handful of tries: each collision changes the hash.
        for _ in 0..5 {
            let hash = object::template_hash(&template, collisions);
            let name = format!("{}-{hash}", self.key.name);
            let mut template = template.clone();
            template["metadata"]["labels"][HASH] = hash.as_str().into();
            let mut selector = self.deployment["spec"]["selector"].clone();
            selector["matchLabels"][HASH] = hash.as_str().into();
            let mut set = json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {"name": name, "labels": template["metadata"]["labels"],
                             "ownerReferences": [object::owner_reference(&DEPLOYMENTS, &self.deployment)]},
                "spec": {"replicas": 0, "selector": selector, "template": template},
                "status": {"replicas": 0},
            });
            if let Some(min) = self.deployment["spec"].get("minReadySeconds") {
                set["spec"]["minReadySeconds"] = min.clone();
            }
            self.copy_annotations(&mut set);
            object::annotate(&mut set, REVISION, &next.to_string());
            object::annotate(&mut set, DESIRED, &self.desired.to_string());
            object::annotate(&mut set, MAX, &(self.desired + self.surge).to_string());
            let wanted = self.room_for_new(0);
            set["spec"]["replicas"] = wanted.into();
            match registry::create(world, &REPLICA_SETS, &self.key.namespace, set) {
                Ok(stored) => {
                    let text = format!("Scaled up replica set {name} from 0 to {wanted}");
                    if wanted > 0 {
                        events::emit(world, self.key, &self.deployment, SELF, Report::normal("ScalingReplicaSet", text));
                    }
                    self.new = Some((Key::new(&REPLICA_SETS, &self.key.namespace, &name), stored));
                    self.progress(world, "True", "NewReplicaSetCreated", format!("Created new replica set \"{name}\""));
                    return;
                }
                Err(e) if e.reason == "AlreadyExists" => collisions += 1,
                Err(e) => {
                    let text = format!("Failed to create new replica set \"{name}\": {}", e.message);
                    events::emit(world, self.key, &self.deployment, SELF, Report::warning("ReplicaSetCreateError", text));
                    return;
                }
            }
        }
    }

    /// How many replicas the new set may have, given that it has `now`.
    fn room_for_new(&self, now: i64) -> i64 {
        if self.recreate {
            return self.desired;
        }
        let total: i64 = self.old.iter().map(replicas).sum::<i64>() + now;
        let room = self.desired + self.surge - total;
        if room <= 0 { now } else { now + room.min(self.desired - now) }
    }

    fn scale_new(&mut self, world: &mut World) -> bool {
        let Some(new) = self.new.clone() else { return false };
        let now = replicas(&new);
        let wanted = if now > self.desired { self.desired } else { self.room_for_new(now) };
        self.new = Some(self.scale(world, &new, wanted));
        wanted != now
    }

    fn scale_down_old(&mut self, world: &mut World) {
        let Some(new) = self.new.clone() else { return };
        let all: i64 = self.old.iter().map(replicas).sum::<i64>() + replicas(&new);
        if all == replicas(&new) {
            return;
        }
        let minimum = self.desired - self.unavailable;
        let new_unavailable = replicas(&new) - status(&new, "availableReplicas");
        let mut budget = all - minimum - new_unavailable;
        if budget <= 0 {
            return;
        }
        // Those that do not serve anyway go first.
        let mut cleaned = 0;
        for i in 0..self.old.len() {
            let Some(set) = self.old.get(i) else { continue };
            let unhealthy = replicas(set) - status(set, "availableReplicas");
            if budget > 0 && unhealthy > 0 {
                let down = unhealthy.min(budget);
                let to = replicas(set) - down;
                self.scale_old(world, i, to);
                budget -= down;
                cleaned += down;
            }
        }
        let available: i64 =
            self.old.iter().map(|s| status(s, "availableReplicas").min(replicas(s))).sum::<i64>() + status(&new, "availableReplicas");
        let mut spare = (available - minimum).min(all - cleaned - minimum);
        for i in 0..self.old.len() {
            let Some(set) = self.old.get(i) else { continue };
            if spare > 0 && replicas(set) > 0 {
                let down = replicas(set).min(spare);
                let to = replicas(set) - down;
                self.scale_old(world, i, to);
                spare -= down;
            }
        }
    }

    fn scale_old(&mut self, world: &mut World, i: usize, to: i64) -> bool {
        let Some(set) = self.old.get(i).cloned() else { return false };
        let from = replicas(&set);
        let stored = self.scale(world, &set, to);
        if let Some(slot) = self.old.get_mut(i) {
            *slot = stored;
        }
        from != to
    }

    fn scale(&self, world: &mut World, set: &Set, to: i64) -> Set {
        let from = replicas(set);
        let mut new = (*set.1).clone();
        let mut changed = from != to;
        if to > 0 || from > 0 {
            changed |= object::annotate(&mut new, DESIRED, &self.desired.to_string());
            changed |= object::annotate(&mut new, MAX, &(self.desired + self.surge).to_string());
        }
        if !changed {
            return set.clone();
        }
        new["spec"]["replicas"] = to.into();
        let Ok(stored) = registry::update(world, &set.0, new, Part::Main) else { return set.clone() };
        if from != to {
            let way = if to > from { "up" } else { "down" };
            let text = format!("Scaled {way} replica set {} from {from} to {to}", set.0.name);
            events::emit(world, self.key, &self.deployment, SELF, Report::normal("ScalingReplicaSet", text));
        }
        (set.0.clone(), stored)
    }

    fn clean_up(&mut self, world: &mut World) {
        let limit = usize::try_from(int(&self.deployment["spec"]["revisionHistoryLimit"], 10)).unwrap_or(0);
        let complete = self.new.as_ref().is_some_and(|n| status(n, "availableReplicas") >= self.desired);
        if !complete || self.old.len() <= limit {
            return;
        }
        let mut old = self.old.clone();
        old.sort_by_key(|(_, s)| revision(s));
        for (k, s) in old.iter().take(old.len() - limit) {
            if replicas(&(k.clone(), Arc::clone(s))) == 0 && int(&s["status"]["replicas"], 0) == 0 {
                // Gone already is as good.
                let _gone = registry::delete(world, k, &DeleteOptions::default());
                self.old.retain(|(o, _)| o != k);
            }
        }
    }

    fn refresh(&mut self, world: &World) {
        let fresh = |(k, _): &Set| world.store.get(k).map(|s| (k.clone(), Arc::clone(s)));
        self.new = self.new.as_ref().and_then(fresh);
        self.old = self.old.iter().filter_map(fresh).collect();
        if let Some(d) = world.store.get(self.key) {
            self.deployment = Arc::clone(d);
        }
    }

    /// Writes the `Progressing` condition at once.
    fn progress(&mut self, world: &mut World, state: &str, reason: &str, message: String) {
        let mut d = (*self.deployment).clone();
        let mut conditions = d["status"]["conditions"].as_array().cloned().unwrap_or_default();
        set_condition(&mut conditions, world, "Progressing", state, reason, message);
        d["status"]["conditions"] = conditions.into();
        if let Ok(stored) = registry::update(world, self.key, d, Part::Status) {
            self.deployment = stored;
        }
    }

    fn report(&self, world: &mut World) {
        let sum = |field: &str| self.old.iter().chain(&self.new).map(|s| status(s, field)).sum::<i64>();
        let (total, ready, available) = (sum("replicas"), sum("readyReplicas"), sum("availableReplicas"));
        let updated = self.new.as_ref().map_or(0, |n| status(n, "replicas"));
        let wanted: i64 = self.old.iter().chain(&self.new).map(replicas).sum();
        let before = &self.deployment["status"];
        let mut out = json!({
            "observedGeneration": self.deployment["metadata"]["generation"], "replicas": total, "updatedReplicas": updated,
            "readyReplicas": ready, "availableReplicas": available, "unavailableReplicas": (wanted - available).max(0),
            "terminatingReplicas": sum("terminatingReplicas"), "collisionCount": before["collisionCount"],
        });
        if let Some(o) = out.as_object_mut() {
            o.retain(|k, v| !v.is_null() && (k == "terminatingReplicas" || *v != 0));
        }
        let mut conditions = before["conditions"].as_array().cloned().unwrap_or_default();
        if available >= self.desired - self.unavailable {
            set_condition(
                &mut conditions,
                world,
                "Available",
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.".into(),
            );
        } else {
            let text = "Deployment does not have minimum availability.".into();
            set_condition(&mut conditions, world, "Available", "False", "MinimumReplicasUnavailable", text);
        }
        self.judge_progress(world, &mut conditions, total, updated, available);
        let failure = self.new.as_ref().and_then(|(_, s)| object::condition(&s["status"], "ReplicaFailure")).cloned();
        conditions.retain(|c| c["type"] != "ReplicaFailure");
        if let Some(mut f) = failure {
            f["lastUpdateTime"] = f["lastTransitionTime"].clone();
            conditions.push(f);
        }
        out["conditions"] = conditions.into();
        if *before != out {
            let mut d = (*self.deployment).clone();
            d["status"] = out;
            // Nobody else writes in between: the world is ours.
            let _written = registry::update(world, self.key, d, Part::Status);
        }
    }

    fn judge_progress(&self, world: &mut World, conditions: &mut Vec<Value>, total: i64, updated: i64, available: i64) {
        let paused = self.deployment["spec"]["paused"] == true;
        let current = conditions.iter().find(|c| c["type"] == "Progressing").cloned();
        let reason = current.as_ref().and_then(|c| c["reason"].as_str()).unwrap_or_default().to_owned();
        if paused {
            if reason != "DeploymentPaused" {
                set_condition(conditions, world, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused".into());
            }
            return;
        }
        if reason == "DeploymentPaused" {
            set_condition(conditions, world, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed".into());
        }
        if total == updated && reason == "NewReplicaSetAvailable" {
            return;
        }
        let label = match &self.new {
            Some((k, _)) => format!("ReplicaSet \"{}\"", k.name),
            None => format!("Deployment \"{}\"", self.key.name),
        };
        let before = &self.deployment["status"];
        let (old_updated, old_total) = (int(&before["updatedReplicas"], 0), int(&before["replicas"], 0));
        let grew = updated > old_updated
            || total - updated < old_total - old_updated
            || self.old.iter().chain(&self.new).map(|s| status(s, "readyReplicas")).sum::<i64>() > int(&before["readyReplicas"], 0)
            || available > int(&before["availableReplicas"], 0);
        let complete = updated == self.desired && total == self.desired && available == self.desired;
        let deadline = Duration::from_secs(u64::try_from(int(&self.deployment["spec"]["progressDeadlineSeconds"], 600)).unwrap_or(600));
        if complete {
            set_condition(
                conditions,
                world,
                "Progressing",
                "True",
                "NewReplicaSetAvailable",
                format!("{label} has successfully progressed."),
            );
        } else if grew {
            set_condition(conditions, world, "Progressing", "True", "ReplicaSetUpdated", format!("{label} is progressing."));
            world.agenda.at(world.now.after(deadline + Duration::from_secs(1)), Event::Reconcile(self.key.clone()));
        } else if reason != "ProgressDeadlineExceeded"
            && let Some(since) = current.as_ref().and_then(|c| c["lastUpdateTime"].as_str()).and_then(parse_rfc3339)
        {
            if world.now.since(since) > deadline {
                let text = format!("{label} has timed out progressing.");
                set_condition(conditions, world, "Progressing", "False", "ProgressDeadlineExceeded", text);
            } else if reason == "NewReplicaSetCreated" || reason == "DeploymentResumed" || reason == "FoundNewReplicaSet" {
                world.agenda.at(since.after(deadline + Duration::from_secs(2)), Event::Reconcile(self.key.clone()));
            }
        } else if current.is_none() && self.new.is_some() {
            set_condition(conditions, world, "Progressing", "True", "FoundNewReplicaSet", format!("Found new replica set {label}"));
        }
    }
}

/// Sets a condition: the update time moves with every call that changes something, the transition time with the status.
#[expect(clippy::needless_pass_by_value, reason = "built in place by every caller")]
fn set_condition(conditions: &mut Vec<Value>, world: &World, kind: &str, state: &str, reason: &str, message: String) {
    let now = world.now.rfc3339();
    let existing = conditions.iter().position(|c| c["type"] == kind);
    let mut since = now.clone();
    if let Some(c) = existing.and_then(|i| conditions.get(i)) {
        // Progress itself counts as an update, repeated availability does not.
        if c["status"] == state
            && c["reason"] == reason
            && (c["message"] == message.as_str() || kind == "Available")
            && reason != "ReplicaSetUpdated"
        {
            return;
        }
        if c["status"] == state {
            c["lastTransitionTime"].as_str().unwrap_or(&now).clone_into(&mut since);
        }
    }
    conditions.retain(|c| c["type"] != kind);
    conditions.push(
        json!({"type": kind, "status": state, "lastUpdateTime": now, "lastTransitionTime": since, "reason": reason, "message": message}),
    );
}
