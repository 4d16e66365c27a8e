//! Which pods a job has made, and which it stops.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::policy::Failure;
use super::{Round, SELF, length, pods};
use crate::sim::controllers::events::{self, Report};
use crate::sim::controllers::kinds::PODS;
use crate::sim::controllers::object::{self, int};
use crate::sim::registry::{self, DeleteOptions};
use crate::sim::resource::Key;
use crate::sim::time::SimTime;
use crate::sim::world::{Event, World};

/// Wait after the first failure in a row, doubled by each further one, and the longest one: the real controller's numbers.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(10));
/// The same after pods were refused.
const REFUSED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// Most pods created or deleted in one go.
const BURST: usize = 500;

/// The time until there may be another pod, after so many failures.
fn back_off((first, longest): (Duration, Duration), failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(n) => first.saturating_mul(2_u32.saturating_pow(n)).min(longest),
    }
}

/// Ends pods that are not wanted: they count for nothing.
fn dismiss(world: &mut World, round: &Round, unwanted: &[Key]) {
    for key in unwanted {
        pods::untrack(world, key);
    }
    stop(world, round, unwanted);
}

/// Ends pods, and says so.
pub(super) fn stop(world: &mut World, round: &Round, pods: &[Key]) {
    for k in pods {
        if registry::delete(world, k, &DeleteOptions::default()).is_ok() {
            events::emit(world, &round.key, &round.job, SELF, Report::normal("SuccessfulDelete", format!("Deleted pod: {}", k.name)));
        }
    }
}

/// Makes pods that are missing, or stops those that are too many.
pub(super) fn manage(world: &mut World, round: &Round) {
    let active: Vec<&(Key, Arc<Value>)> = round.active().collect();
    if round.suspended() {
        let all: Vec<Key> = active.iter().map(|(k, _)| k.clone()).collect();
        dismiss(world, round, &all);
        return;
    }
    let running = length(active.len());
    let parallelism = int(&round.job["spec"]["parallelism"], 1);
    let wanted = match round.completions() {
        Some(n) => (n - round.successes()).min(parallelism).max(0),
        // Once one has succeeded, no other is begun.
        None if round.successes() > 0 => running,
        None => parallelism,
    };
    let excess = excess(round, &active, usize::try_from(running - wanted).unwrap_or(0));
    if !excess.is_empty() {
        dismiss(world, round, &excess);
        return;
    }
    let ending = if round.only_ended() { round.pods.iter().filter(|(_, p)| object::deleting(p) && !object::ended(p)).count() } else { 0 };
    let missing = usize::try_from(wanted - running - length(ending)).unwrap_or(0).min(BURST);
    if missing == 0 {
        return;
    }
    if round.indexed() {
        let free = free(round, missing);
        if round.limit_per_index().is_some() {
            begin_again(world, round, &free);
        } else if rested(world, round) {
            free.iter().all(|i| create(world, round, Some(*i), None));
        }
    } else if rested(world, round) {
        (0..missing).all(|_| create(world, round, None, None));
    }
}

/// Whether no failure keeps the job from making another pod; if one does, it is looked at again in time.
fn rested(world: &mut World, round: &Round) -> bool {
    let Some(record) = world.controllers.jobs.0.get(&round.key) else { return true };
    wait(world, round, record.last.after(back_off(BACK_OFF, record.failures)))
}

fn wait(world: &mut World, round: &Round, until: SimTime) -> bool {
    if until > world.now {
        world.agenda.at(until, Event::Reconcile(round.key.clone()));
    }
    until <= world.now
}

/// The active pods that are too many: of indexes that there are not or that have one already, then those that lose the least.
fn excess(round: &Round, active: &[&(Key, Arc<Value>)], at_least: usize) -> Vec<Key> {
    let mut rest: Vec<&(Key, Arc<Value>)> = active.to_vec();
    let rank = |p: &Value| {
        let bound = p["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty());
        (bound, p["status"]["phase"] == "Running", object::ready(p), Reverse(object::created(p)))
    };
    rest.sort_by_key(|(k, p)| (rank(p), k.clone()));
    let mut out = Vec::new();
    if round.indexed() {
        let mut seen = BTreeSet::new();
        // The one that has come furthest stays.
        rest.reverse();
        rest.retain(|(k, p)| {
            let stays = round.index(p).is_some_and(|i| seen.insert(i));
            if !stays {
                out.push(k.clone());
            }
            stays
        });
        rest.reverse();
    }
    let more = at_least.saturating_sub(out.len());
    out.extend(rest.into_iter().take(more).map(|(k, _)| k.clone()));
    out.truncate(BURST);
    out
}

/// The first indexes that nobody works on and that are not done.
fn free(round: &Round, count: usize) -> Vec<i64> {
    let waits = |p: &Value| object::active(p) || (round.only_ended() && object::deleting(p) && !object::ended(p));
    let taken: BTreeSet<i64> = round.pods.iter().filter(|(_, p)| waits(p)).filter_map(|(_, p)| round.index(p)).collect();
    let open = |i: &i64| !taken.contains(i) && !round.succeeded.has(*i) && !round.failed.has(*i);
    (0..round.completions().unwrap_or(0)).filter(open).take(count).collect()
}

/// The last failed pod of each index that is to be tried again, by index: it is kept until the next one has taken over its count.
pub(super) fn replaced(round: &Round) -> BTreeMap<i64, (&Key, &Value)> {
    let mut out: BTreeMap<i64, (&Key, &Value)> = BTreeMap::new();
    if round.limit_per_index().is_none() {
        return out;
    }
    let active: BTreeSet<i64> = round.active().filter_map(|(_, p)| round.index(p)).collect();
    let total = |p: &Value| {
        let (counted, ignored) = pods::failures(p);
        counted + ignored
    };
    for (key, pod) in round.uncounted().filter(|(_, p)| round.has_failed(p)) {
        let Some(i) = round.index(pod) else { continue };
        let open = !active.contains(&i) && !round.succeeded.has(i) && !round.failed.has(i);
        if open && out.get(&i).is_none_or(|(_, other)| total(other) <= total(pod)) {
            out.insert(i, (key, pod));
        }
    }
    out
}

/// Makes pods for indexes that rest each for themselves.
fn begin_again(world: &mut World, round: &Round, free: &[i64]) {
    let last = replaced(round);
    for i in free {
        let failures = last.get(i).map_or((0, 0), |(_, pod)| {
            let (counted, ignored) = pods::failures(pod);
            if round.failure(pod) == Failure::Ignored { (counted, ignored + 1) } else { (counted + 1, ignored) }
        });
        let rest = back_off(BACK_OFF, u32::try_from(failures.0 + failures.1).unwrap_or(u32::MAX));
        let until = last.get(i).map_or(world.now, |(_, pod)| pods::finished_at(pod).after(rest));
        if wait(world, round, until) && !create(world, round, Some(*i), Some(failures)) {
            return;
        }
    }
}

/// Makes one pod; whether it was let in.
fn create(world: &mut World, round: &Round, index: Option<i64>, failures: Option<(i64, i64)>) -> bool {
    let (key, job) = (&round.key, &round.job);
    let made = registry::create(world, &PODS, &key.namespace, pods::make(job, key, index, failures));
    let report = match &made {
        Ok(pod) => Report::normal("SuccessfulCreate", format!("Created pod: {}", object::name(pod))),
        Err(e) => Report::warning("FailedCreate", format!("Error creating: {}", e.message)),
    };
    events::emit(world, key, job, SELF, report);
    let Some(record) = world.controllers.jobs.0.get_mut(key) else { return made.is_ok() };
    record.refused = if made.is_ok() { 0 } else { record.refused.saturating_add(1) };
    let again = world.now.after(back_off(REFUSED, record.refused));
    if made.is_err() {
        world.agenda.at(again, Event::Reconcile(key.clone()));
    }
    made.is_ok()
}
