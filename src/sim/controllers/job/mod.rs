//! `Job` controller: runs pods until enough of them have succeeded or too many have failed.
//!
//! Pods are held by a finalizer until they have been counted in the status, once each. A job that is over first says so in an
//! interim condition, and in its last one when no pod of its is left.

mod indexes;
mod manage;
mod pods;
mod policy;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use self::indexes::Indexes;
use self::policy::Failure;
use super::events::{self, Report, Source};
use super::kinds::PODS;
use super::object::{self, int};
use crate::sim::registry::{self, DeleteOptions, Part, Propagation};
use crate::sim::resource::Key;
use crate::sim::time::{SimTime, parse_rfc3339};
use crate::sim::world::{Event, World};

const SELF: Source<'static> = Source { component: "job-controller", host: "" };

/// Holds pods until they have been counted.
pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// What the controller remembers of each job beside its status.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<Key, Record>);

/// Failures of a job's pods since the last success.
#[derive(Debug, Default, Clone)]
struct Record {
    uid: String,
    failures: u32,
    last: SimTime,
    /// How often in a row a pod was refused.
    refused: u32,
}

/// Why a job is over.
#[derive(Debug, Clone)]
struct Verdict {
    met: bool,
    reason: String,
    message: String,
}

impl Verdict {
    fn met(reason: &str, message: impl Into<String>) -> Self {
        Self { met: true, reason: reason.to_owned(), message: message.into() }
    }

    fn lost(reason: &str, message: impl Into<String>) -> Self {
        Self { met: false, reason: reason.to_owned(), message: message.into() }
    }

    /// The interim condition, and the last one.
    fn kinds(&self) -> (&'static str, &'static str) {
        if self.met { ("SuccessCriteriaMet", "Complete") } else { ("FailureTarget", "Failed") }
    }
}

/// A job and its pods, as they are at the moment.
struct Round {
    key: Key,
    job: Arc<Value>,
    pods: Vec<(Key, Arc<Value>)>,
    /// Pods that succeeded, by index, with those that are not yet in the status.
    succeeded: Indexes,
    /// Indexes that have failed for good.
    failed: Indexes,
}

impl Round {
    fn completions(&self) -> Option<i64> {
        self.job["spec"]["completions"].as_i64()
    }

    fn indexed(&self) -> bool {
        self.job["spec"]["completionMode"] == "Indexed"
    }

    /// How often each index may fail, where they are counted one by one.
    fn limit_per_index(&self) -> Option<i64> {
        self.job["spec"]["backoffLimitPerIndex"].as_i64().filter(|_| self.indexed())
    }

    fn suspended(&self) -> bool {
        self.job["spec"]["suspend"] == true
    }

    /// Whether pods are replaced only when they have ended, and not when they begin to.
    fn only_ended(&self) -> bool {
        self.job["spec"]["podReplacementPolicy"] == "Failed" || self.job["spec"]["podFailurePolicy"].is_object()
    }

    /// Whether a pod counts as failed: those that somebody deletes do, too.
    fn has_failed(&self, pod: &Value) -> bool {
        let phase = &pod["status"]["phase"];
        phase == "Failed" || (!self.only_ended() && object::deleting(pod) && phase != "Succeeded")
    }

    fn failure(&self, pod: &Value) -> Failure {
        policy::failure(&self.job["spec"]["podFailurePolicy"], pod)
    }

    /// The index of a pod, if it is one of the job's.
    fn index(&self, pod: &Value) -> Option<i64> {
        pods::index(pod).filter(|i| self.completions().is_some_and(|n| (0..n).contains(i)))
    }

    fn active(&self) -> impl Iterator<Item = &(Key, Arc<Value>)> {
        self.pods.iter().filter(|(_, p)| object::active(p))
    }

    fn uncounted(&self) -> impl Iterator<Item = &(Key, Arc<Value>)> {
        self.pods.iter().filter(|(_, p)| object::has_finalizer(p, TRACKING))
    }

    /// How many pods have succeeded.
    fn successes(&self) -> i64 {
        if self.indexed() {
            return self.succeeded.total();
        }
        int(&self.job["status"]["succeeded"], 0) + length(self.uncounted().filter(|(_, p)| p["status"]["phase"] == "Succeeded").count())
    }

    fn look(&mut self, world: &mut World) {
        self.pods = object::owned(world, &PODS, &self.key, &self.job);
    }
}

fn length(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Starts, counts and stops the pods of one job.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(job) = world.store.get(key).cloned() else {
        world.controllers.jobs.0.remove(key);
        pods::release(world, key);
        return;
    };
    if job["spec"]["managedBy"].as_str().is_some_and(|m| m != "kubernetes.io/job-controller") {
        return;
    }
    let over = ["Complete", "Failed"].iter().find_map(|kind| object::condition(&job["status"], kind).filter(|c| c["status"] == "True"));
    if let Some(over) = over {
        world.controllers.jobs.0.remove(key);
        let ended = over["lastTransitionTime"].as_str().and_then(parse_rfc3339);
        if let Some((ended, ttl)) = ended.zip(job["spec"]["ttlSecondsAfterFinished"].as_u64()).filter(|_| !object::deleting(&job)) {
            expire(world, key, ended.after(Duration::from_secs(ttl)));
        }
        return;
    }
    let mut round = Round { key: key.clone(), pods: Vec::new(), succeeded: Indexes::default(), failed: Indexes::default(), job };
    round.look(world);
    remember(world, &round);
    count_indexes(&mut round);
    let mut status = round.job["status"].clone();
    if !status.is_object() {
        status = json!({});
    }
    let now = world.now.rfc3339();
    if status["startTime"].is_null() && !round.suspended() {
        status["startTime"] = now.as_str().into();
    }
    let mut verdict = verdict(world, &round);
    let mut stopped = Vec::new();
    if verdict.is_some() {
        stopped.extend(round.active().map(|(k, _)| k.clone()));
        manage::stop(world, &round, &stopped);
    } else {
        if !object::deleting(&round.job) {
            manage::manage(world, &round);
        }
        round.look(world);
        let (done, idle) = (round.successes(), round.active().next().is_none());
        if idle && round.completions().map_or(done > 0, |n| done >= n) {
            verdict = Some(Verdict::met("CompletionsReached", "Reached expected number of succeeded pods"));
        } else if !object::deleting(&round.job) {
            suspension(world, &round, &mut status);
        }
    }
    wait_for_deadline(world, &round, &status);
    round.look(world);
    let counted = count(&round, verdict.as_ref(), &stopped, &mut status);
    report(&round, &mut status);
    if let Some(v) = &verdict {
        let interim = json!({"type": v.kinds().0, "status": "True", "reason": v.reason, "message": v.message});
        if object::condition(&status, v.kinds().0).is_none() {
            conclude(&mut status, interim, &now);
        }
    }
    write(world, &round, &status);
    for pod in &counted {
        pods::untrack(world, pod);
    }
    round.look(world);
    if let Some(v) = verdict.filter(|_| round.pods.iter().all(|(_, p)| !object::deleting(p) || object::ended(p))) {
        report(&round, &mut status);
        conclude(&mut status, json!({"type": v.kinds().1, "status": "True", "reason": v.reason, "message": v.message}), &now);
        if v.met {
            status["completionTime"] = now.as_str().into();
        }
        write(world, &round, &status);
        tell_end(world, &round, &v);
    }
}

fn tell_end(world: &mut World, round: &Round, v: &Verdict) {
    let mut tell = |report: Report<'_>| events::emit(world, &round.key, &round.job, SELF, report);
    if !v.met {
        tell(Report::warning(&v.reason, v.message.clone()));
        return;
    }
    if round.completions().is_some_and(|n| round.successes() > n) {
        tell(Report::warning("TooManySucceededPods", "Too many succeeded pods running after completion count reached"));
    }
    tell(Report::normal("Completed", "Job completed"));
}

/// Notes how pods have ended that have not been counted, for the back-off.
fn remember(world: &mut World, round: &Round) {
    let uid = object::uid(&round.job);
    let mut record = world.controllers.jobs.0.get(&round.key).filter(|r| r.uid == uid).cloned().unwrap_or_default();
    uid.clone_into(&mut record.uid);
    let news = round.uncounted().filter(|(_, p)| p["status"]["phase"] == "Succeeded" || round.has_failed(p));
    let mut news: Vec<(SimTime, bool)> = news.map(|(_, p)| (pods::finished_at(p), round.has_failed(p))).collect();
    news.sort_unstable();
    for (at, failed) in news {
        record.failures = if failed { record.failures.saturating_add(1) } else { 0 };
        record.last = at;
    }
    world.controllers.jobs.0.insert(round.key.clone(), record);
}

/// Which indexes have succeeded or failed by now.
fn count_indexes(round: &mut Round) {
    let Some(completions) = round.completions().filter(|_| round.indexed()) else { return };
    let read = |field: &str| Indexes::read(round.job["status"][field].as_str().unwrap_or_default(), completions);
    let (mut succeeded, mut failed) = (read("completedIndexes"), read("failedIndexes"));
    for (_, pod) in round.uncounted() {
        let Some(i) = round.index(pod) else { continue };
        if pod["status"]["phase"] == "Succeeded" {
            succeeded.add(i);
        } else if let Some(limit) = round.limit_per_index().filter(|_| round.has_failed(pod)) {
            match round.failure(pod) {
                Failure::FailsIndex => failed.add(i),
                Failure::Ignored => {}
                _ if pods::failures(pod).0 >= limit => failed.add(i),
                _ => {}
            }
        }
    }
    (round.succeeded, round.failed) = (succeeded, failed);
}

/// Whether the job is over, and why; but for that all pods have succeeded.
fn verdict(world: &World, round: &Round) -> Option<Verdict> {
    let (job, spec) = (&round.job, &round.job["spec"]);
    for (kind, met) in [("SuccessCriteriaMet", true), ("FailureTarget", false)] {
        if let Some(c) = object::condition(&job["status"], kind).filter(|c| c["status"] == "True") {
            let text = |field: &str| c[field].as_str().unwrap_or_default().to_owned();
            return Some(Verdict { met, reason: text("reason"), message: text("message") });
        }
    }
    let failed = || round.pods.iter().filter(|(_, p)| round.has_failed(p));
    if let Some(text) = failed().find_map(|(_, p)| match round.failure(p) {
        Failure::FailsJob(text) => Some(text),
        _ => None,
    }) {
        return Some(Verdict::lost("PodFailurePolicy", text));
    }
    let limit = int(&spec["backoffLimit"], 6);
    let counted = round.uncounted().filter(|(_, p)| round.has_failed(p) && round.failure(p) != Failure::Ignored).count();
    if int(&job["status"]["failed"], 0) + length(counted) > limit || restarted_too_often(round, limit) {
        return Some(Verdict::lost("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    if deadline(round, &job["status"]).is_some_and(|at| at <= world.now) {
        return Some(Verdict::lost("DeadlineExceeded", "Job was active longer than specified deadline"));
    }
    let completions = round.completions().filter(|_| round.indexed())?;
    if round.limit_per_index().is_some() {
        if spec["maxFailedIndexes"].as_i64().is_some_and(|max| round.failed.total() > max) {
            return Some(Verdict::lost("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"));
        }
        if round.failed.total() > 0 && round.failed.total() + round.succeeded.total() >= completions {
            return Some(Verdict::lost("FailedIndexes", "Job has failed indexes"));
        }
    }
    policy::success(&spec["successPolicy"], completions, &round.succeeded).map(|text| Verdict::met("SuccessPolicy", text))
}

/// Containers that are restarted in place count by their restarts.
fn restarted_too_often(round: &Round, limit: i64) -> bool {
    if round.job["spec"]["template"]["spec"]["restartPolicy"] != "OnFailure" {
        return false;
    }
    let there = round.pods.iter().filter(|(_, p)| !object::ended(p));
    let lists = there.flat_map(|(_, p)| ["initContainerStatuses", "containerStatuses"].map(|list| &p["status"][list]));
    let restarts: i64 = lists.filter_map(Value::as_array).flatten().map(|c| int(&c["restartCount"], 0)).sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

/// When a job must be over.
fn deadline(round: &Round, status: &Value) -> Option<SimTime> {
    let seconds = round.job["spec"]["activeDeadlineSeconds"].as_u64().filter(|_| !round.suspended())?;
    Some(status["startTime"].as_str().and_then(parse_rfc3339)?.after(Duration::from_secs(seconds)))
}

fn wait_for_deadline(world: &mut World, round: &Round, status: &Value) {
    if status["startTime"] != round.job["status"]["startTime"]
        && let Some(at) = deadline(round, status).filter(|at| *at > world.now)
    {
        world.agenda.at(at, Event::Reconcile(round.key.clone()));
    }
}

/// Says that a job is suspended, or is no longer.
fn suspension(world: &mut World, round: &Round, status: &mut Value) {
    let now = world.now.rfc3339();
    let was = object::condition_true(&round.job, "Suspended");
    if was == round.suspended() {
        return;
    }
    let (value, reason, text, event) =
        if was { ("False", "JobResumed", "Job resumed", "Resumed") } else { ("True", "JobSuspended", "Job suspended", "Suspended") };
    if was {
        status["startTime"] = now.as_str().into();
    } else if let Some(s) = status.as_object_mut() {
        s.remove("startTime");
    }
    conclude(status, json!({"type": "Suspended", "status": value, "reason": reason, "message": text}), &now);
    events::emit(world, &round.key, &round.job, SELF, Report::normal(event, text));
}

/// Sets a condition in its place, or as the last one.
fn conclude(status: &mut Value, mut condition: Value, now: &str) {
    condition["lastProbeTime"] = now.into();
    condition["lastTransitionTime"] = now.into();
    let mut all = status["conditions"].as_array().cloned().unwrap_or_default();
    match all.iter_mut().find(|c| c["type"] == condition["type"]) {
        Some(known) => *known = condition,
        None => all.push(condition),
    }
    status["conditions"] = all.into();
}

/// Counts the pods that have ended, and those that the end of the job ends; gives those that may go.
fn count(round: &Round, verdict: Option<&Verdict>, stopped: &[Key], status: &mut Value) -> Vec<Key> {
    let (mut succeeded, mut failed) = (int(&status["succeeded"], 0), int(&status["failed"], 0));
    let going = object::deleting(&round.job) || verdict.is_some();
    let held: Vec<&Key> = manage::replaced(round).into_values().map(|(k, _)| k).collect();
    let mut counted = Vec::new();
    for (key, pod) in round.uncounted() {
        let success = pod["status"]["phase"] == "Succeeded";
        let loss = round.has_failed(pod) && !stopped.contains(key);
        if !(going || success || (loss && !held.contains(&key))) {
            continue;
        }
        if success {
            succeeded += 1;
        } else if loss || verdict.is_some_and(|v| !v.met) {
            failed += i64::from(round.failure(pod) != Failure::Ignored && (!round.indexed() || round.index(pod).is_some()));
        }
        counted.push(key.clone());
    }
    status["succeeded"] = if round.indexed() { round.succeeded.total() } else { succeeded }.into();
    status["failed"] = failed.into();
    if round.indexed() {
        status["completedIndexes"] = round.succeeded.to_string().into();
    }
    if round.limit_per_index().is_some() {
        status["failedIndexes"] = round.failed.to_string().into();
    }
    counted
}

/// What is true of the pods at the moment.
fn report(round: &Round, status: &mut Value) {
    let terminating = round.pods.iter().filter(|(_, p)| object::deleting(p) && !object::ended(p)).count();
    status["active"] = round.active().count().into();
    status["ready"] = round.active().filter(|(_, p)| object::ready(p)).count().into();
    status["terminating"] = terminating.into();
    status["uncountedTerminatedPods"] = json!({});
    if let Some(s) = status.as_object_mut() {
        s.retain(|k, v| (*v != 0 && *v != "") || matches!(k.as_str(), "ready" | "terminating" | "failedIndexes"));
    }
}

fn write(world: &mut World, round: &Round, status: &Value) {
    let Some(stored) = world.store.get(&round.key).filter(|j| j["status"] != *status) else { return };
    let mut new = (**stored).clone();
    new["status"] = status.clone();
    // Nobody else writes in between: the world is ours.
    let _written = registry::update(world, &round.key, new, Part::Status);
}

/// Deletes a job that is over, with its pods, when it has been so for long enough.
fn expire(world: &mut World, key: &Key, at: SimTime) {
    if at > world.now {
        world.agenda.at(at, Event::Reconcile(key.clone()));
        return;
    }
    let options = DeleteOptions { propagation: Propagation::Foreground, ..DeleteOptions::default() };
    let _gone = registry::delete(world, key, &options);
}
