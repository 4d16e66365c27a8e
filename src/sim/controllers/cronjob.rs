//! `CronJob` controller: makes jobs when they are due, and removes old ones.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::events::{self, Report, Source};
use super::kinds::{JOBS, kind_of};
use super::object::{self, int};
use super::schedule::Schedule;
use crate::sim::registry::{self, DeleteOptions, Part};
use crate::sim::resource::Key;
use crate::sim::time::{self, EPOCH_UNIX_S, SimTime, parse_rfc3339};
use crate::sim::world::{Event, World};

const SELF: Source<'static> = Source { component: "cronjob-controller", host: "" };
/// So many missed times are looked through.
const MISSED_MAX: usize = 100;
/// The most times that are looked at, for irregular schedules.
const LOOKED_MAX: usize = 1000;

fn finished(job: &Value) -> Option<&'static str> {
    ["Complete", "Failed"].into_iter().find(|kind| object::condition_true(job, kind))
}

/// Looks at one cron job.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(cron) = world.store.get(key).cloned() else { return };
    if object::deleting(&cron) {
        return;
    }
    let uid = object::uid(&cron).to_owned();
    let mut jobs: Vec<(Key, Arc<Value>)> = world
        .store
        .list(&JOBS, Some(&key.namespace))
        .filter(|(_, j)| object::controlled_by(j, &uid) && !object::deleting(j))
        .map(|(k, j)| (k.clone(), Arc::clone(j)))
        .collect();
    jobs.sort_by_key(|(k, j)| (object::created(j), k.clone()));
    let mut status = cron["status"].clone();
    forget_finished(world, key, &cron, &mut status, &jobs);
    for (field, kind, default) in [("successfulJobsHistoryLimit", "Complete", 3), ("failedJobsHistoryLimit", "Failed", 1)] {
        let old: Vec<&Key> = jobs.iter().filter(|(_, j)| finished(j) == Some(kind)).map(|(k, _)| k).collect();
        let keep = usize::try_from(int(&cron["spec"][field], default)).unwrap_or(0);
        for job in old.iter().take(old.len().saturating_sub(keep)) {
            remove(world, key, &cron, job);
        }
    }
    let schedule = cron["spec"]["schedule"].as_str().and_then(Schedule::parse);
    let zone = cron["spec"]["timeZone"].as_str();
    let Some(found) = time::zone(zone) else {
        let text = format!("invalid timeZone: {:?}: unknown time zone {}", zone.unwrap_or_default(), zone.unwrap_or_default());
        events::emit(world, key, &cron, SELF, Report::warning("UnknownTimeZone", text));
        return;
    };
    if let Some(schedule) = schedule.filter(|_| cron["spec"]["suspend"] != true) {
        let next = |after: SimTime| schedule.next(after, &found);
        due(world, key, &cron, &mut status, &next);
        if let Some(at) = next(world.now) {
            world.agenda.at(at, Event::Reconcile(key.clone()));
        } else {
            // A 31 February: the real controller compares two times that it does not find.
            let why = "time difference between two schedules is less than 1 second";
            let text = format!("invalid schedule: {} : {why}", cron["spec"]["schedule"].as_str().unwrap_or_default());
            events::emit(world, key, &cron, SELF, Report::warning("InvalidSchedule", text));
        }
    }
    if status["active"].as_array().is_some_and(Vec::is_empty)
        && let Some(s) = status.as_object_mut()
    {
        s.remove("active");
    }
    if cron["status"] != status {
        let mut new = (*cron).clone();
        new["status"] = status;
        // Nobody else writes in between: the world is ours.
        let _written = registry::update(world, key, new, Part::Status);
    }
}

/// Takes jobs that have ended or gone out of the list of active ones.
fn forget_finished(world: &mut World, key: &Key, cron: &Value, status: &mut Value, jobs: &[(Key, Arc<Value>)]) {
    let active = cron["status"]["active"].as_array().cloned().unwrap_or_default();
    let mut left = Vec::new();
    for reference in active {
        let Some((_, job)) = jobs.iter().find(|(_, j)| reference["uid"] == *object::uid(j)) else {
            let text = format!("Active job went missing: {}", reference["name"].as_str().unwrap_or_default());
            events::emit(world, key, cron, SELF, Report::normal("MissingJob", text));
            continue;
        };
        let Some(how) = finished(job) else {
            left.push(reference);
            continue;
        };
        let text = format!("Saw completed job: {}, condition: {how}", object::name(job));
        events::emit(world, key, cron, SELF, Report::normal("SawCompletedJob", text));
        if how == "Complete" && job["status"]["completionTime"].is_string() {
            status["lastSuccessfulTime"] = job["status"]["completionTime"].clone();
        }
    }
    status["active"] = left.into();
}

fn remove(world: &mut World, key: &Key, cron: &Value, job: &Key) {
    if registry::delete(world, job, &DeleteOptions::default()).is_ok() {
        events::emit(world, key, cron, SELF, Report::normal("SuccessfulDelete", format!("Deleted job {}", job.name)));
    }
}

/// The latest time after `since` that is not in the future, and how many there are: those beyond a few are jumped over.
fn latest(since: SimTime, now: SimTime, next: &dyn Fn(SimTime) -> Option<SimTime>) -> (Option<SimTime>, usize) {
    let (mut at, mut look, mut missed) = (None, since, 0);
    while let Some(t) = next(look).filter(|t| *t <= now && missed <= LOOKED_MAX) {
        missed += 1;
        if missed == MISSED_MAX + 1 {
            // Two of its steps before the present there is one more time at least.
            let step = t.since(look).as_millis();
            let near = SimTime(now.0.saturating_sub(u64::try_from(step.saturating_mul(2)).unwrap_or(u64::MAX)));
            look = t.max(near);
            at = Some(t);
            continue;
        }
        (look, at) = (t, Some(t));
    }
    (at, missed)
}

/// Makes the job that is due, if one is.
fn due(world: &mut World, key: &Key, cron: &Value, status: &mut Value, next: &dyn Fn(SimTime) -> Option<SimTime>) {
    let since = cron["status"]["lastScheduleTime"].as_str().and_then(parse_rfc3339).unwrap_or_else(|| object::created(cron));
    let patience = cron["spec"]["startingDeadlineSeconds"].as_u64().map(Duration::from_secs);
    // Times before the deadline are not looked at.
    let earliest =
        patience.map_or(since, |d| since.max(SimTime(world.now.0.saturating_sub(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))));
    let (at, missed) = latest(earliest, world.now, next);
    if missed > MISSED_MAX {
        let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        events::emit(world, key, cron, SELF, Report::warning("TooManyMissedTimes", text));
    }
    let Some(at) = at else { return };
    if patience.is_some_and(|d| world.now.since(at) > d) {
        let text = format!("Missed scheduled time to start a job: {}", at.timestamp().strftime("%a, %d %b %Y %H:%M:%S +0000"));
        events::emit(world, key, cron, SELF, Report::warning("MissSchedule", text));
        return;
    }
    let active = status["active"].as_array().cloned().unwrap_or_default();
    match cron["spec"]["concurrencyPolicy"].as_str() {
        Some("Forbid") if !active.is_empty() => {
            let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
            events::emit(world, key, cron, SELF, Report::normal("JobAlreadyActive", text));
            return;
        }
        Some("Replace") => {
            for name in active.iter().filter_map(|a| a["name"].as_str()) {
                remove(world, key, cron, &Key::new(&JOBS, &key.namespace, name));
            }
            status["active"] = json!([]);
        }
        _ => {}
    }
    let made = registry::create(world, &JOBS, &key.namespace, job(key, cron, at));
    if let Err(e) = &made
        && e.reason != "AlreadyExists"
    {
        events::emit(world, key, cron, SELF, Report::warning("FailedCreate", format!("Error creating job: {}", e.message)));
        return;
    }
    if let Ok(made) = made {
        let text = format!("Created job {}", object::name(&made));
        events::emit(world, key, cron, SELF, Report::normal("SuccessfulCreate", text));
        let reference = json!({"apiVersion": "batch/v1", "kind": "Job", "name": object::name(&made), "namespace": &*key.namespace,
            "uid": object::uid(&made), "resourceVersion": made["metadata"]["resourceVersion"]});
        if let Some(active) = status["active"].as_array_mut() {
            active.push(reference);
        }
    }
    status["lastScheduleTime"] = at.rfc3339().into();
}

fn job(key: &Key, cron: &Value, at: SimTime) -> Value {
    let template = &cron["spec"]["jobTemplate"];
    let mut metadata = template["metadata"].clone();
    let minutes = (EPOCH_UNIX_S + i64::try_from(at.0 / 1000).unwrap_or(0)) / 60;
    metadata["name"] = format!("{}-{minutes}", key.name).into();
    metadata["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"] = at.rfc3339().into();
    metadata["ownerReferences"] = json!([object::owner_reference(&key.resource, cron)]);
    let (version, kind) = kind_of(&JOBS);
    json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": template["spec"]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::controllers::kinds::CRON_JOBS;
    use crate::sim::controllers::tests::{NS, advance, world};

    fn cron(policy: &str, command: &str) -> Value {
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}, "spec": {
            "schedule": "*/1 * * * *", "concurrencyPolicy": policy, "successfulJobsHistoryLimit": 2,
            "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": "c", "image": "busybox", "command": ["sh", "-c", command]}]}}}}}})
    }

    #[test]
    fn the_latest_of_many_missed_times_counts() {
        let every = |after: SimTime| Some(SimTime((after.0 / 60_000 + 1) * 60_000));
        assert_eq!(latest(SimTime(0), SimTime(59_999), &every), (None, 0));
        assert_eq!(latest(SimTime(0), SimTime(190_000), &every), (Some(SimTime(180_000)), 3));
        let (at, missed) = latest(SimTime(0), SimTime(60_000 * 10_000 + 5), &every);
        assert_eq!((at, missed > MISSED_MAX), (Some(SimTime(60_000 * 10_000)), true));
    }

    fn jobs(w: &World) -> Vec<(bool, String)> {
        w.store.list(&JOBS, Some(NS)).map(|(k, j)| (finished(j).is_some(), k.name.to_string())).collect()
    }

    #[test]
    fn jobs_run_when_they_are_due_and_old_ones_go() {
        let mut w = world();
        registry::create(&mut w, &CRON_JOBS, NS, cron("Allow", "echo hi")).unwrap();
        w.settle();
        advance(&mut w, 4.5 * 60.0);
        assert_eq!(jobs(&w).len(), 2, "{:?}", jobs(&w));
        assert!(jobs(&w).iter().all(|j| j.0));
        let key = Key::new(&CRON_JOBS, NS, "c");
        let status = w.store.get(&key).unwrap()["status"].clone();
        assert!(
            status["lastScheduleTime"].is_string() && status["lastSuccessfulTime"].is_string() && status["active"].is_null(),
            "{status}"
        );
    }

    #[test]
    fn a_day_that_never_comes_is_told() {
        let mut w = world();
        let mut never = cron("Allow", "echo hi");
        never["spec"]["schedule"] = "59 23 31 2 *".into();
        registry::create(&mut w, &CRON_JOBS, NS, never).unwrap();
        w.settle();
        advance(&mut w, 1.0);
        let events = crate::sim::resource::Resource::new("", "events");
        let told: Vec<String> = w.store.list(&events, Some(NS)).map(|(_, e)| format!("{} {}", e["reason"], e["message"])).collect();
        let text = "invalid schedule: 59 23 31 2 * : time difference between two schedules is less than 1 second";
        assert_eq!(told, [format!("\"InvalidSchedule\" \"{text}\"")]);
    }

    #[test]
    fn jobs_are_due_in_their_time_zone() {
        let mut w = world();
        let mut daily = cron("Allow", "echo hi");
        let now = w.now.timestamp().to_zoned(jiff::tz::TimeZone::get("Asia/Kolkata").unwrap()) + jiff::Span::new().minutes(2);
        daily["spec"]["schedule"] = format!("{} {} * * *", now.minute(), now.hour()).into();
        daily["spec"]["timeZone"] = "Asia/Kolkata".into();
        registry::create(&mut w, &CRON_JOBS, NS, daily).unwrap();
        w.settle();
        advance(&mut w, 180.0);
        assert_eq!(jobs(&w).len(), 1);
    }

    #[test]
    fn jobs_that_still_run_forbid_or_give_way() {
        for (policy, same) in [("Forbid", true), ("Replace", false)] {
            let mut w = world();
            registry::create(&mut w, &CRON_JOBS, NS, cron(policy, "sleep 3600")).unwrap();
            w.settle();
            advance(&mut w, 70.0);
            let first = jobs(&w);
            advance(&mut w, 150.0);
            let later = jobs(&w);
            assert_eq!((first.len(), later.len(), first == later), (1, 1, same), "{policy}: {first:?} {later:?}");
        }
    }
}
