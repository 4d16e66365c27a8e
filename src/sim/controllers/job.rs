//! `Job` controller: runs pods until enough of them have succeeded or too many have failed.

use std::time::Duration;

use serde_json::{Value, json};

use super::events::{self, Report, Source};
use super::kinds::{JOBS, PODS};
use super::object::{self, int};
use crate::sim::registry::{self, DeleteOptions, Part, Propagation};
use crate::sim::resource::Key;
use crate::sim::time::{SimTime, parse_rfc3339};
use crate::sim::world::{Event, World};

/// Wait after the first failure in a row, doubled by each further one, and the longest one: the real controller's numbers.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(10));

const SELF: Source<'static> = Source { component: "job-controller", host: "" };

/// Starts, counts and stops the pods of one job.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(job) = world.store.get(key).cloned() else { return };
    if object::deleting(&job) {
        return;
    }
    if let Some(over) =
        ["Complete", "Failed"].iter().find_map(|kind| object::condition(&job["status"], kind).filter(|c| c["status"] == "True"))
    {
        let ended = over["lastTransitionTime"].as_str().and_then(parse_rfc3339);
        if let Some((ended, ttl)) = ended.zip(job["spec"]["ttlSecondsAfterFinished"].as_u64()) {
            expire(world, key, ended.after(Duration::from_secs(ttl)));
        }
        return;
    }
    let pods = object::owned(world, &PODS, key, &job);
    let count = |phase: &str| i64::try_from(pods.iter().filter(|(_, p)| p["status"]["phase"] == phase).count()).unwrap_or(0);
    let (succeeded, failed) = (count("Succeeded"), count("Failed"));
    let active: Vec<Key> = pods.iter().filter(|(_, p)| object::active(p)).map(|(k, _)| k.clone()).collect();
    let running = i64::try_from(active.len()).unwrap_or(0);
    let wanted = int(&job["spec"]["completions"], 1);
    let now = world.now.rfc3339();
    let mut status = json!({
        "startTime": job["status"]["startTime"].as_str().unwrap_or(&now), "succeeded": succeeded, "failed": failed, "active": running,
        "ready": pods.iter().filter(|(_, p)| object::active(p) && object::ready(p)).count(), "terminating": 0,
        "uncountedTerminatedPods": {},
    });
    let finished = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "lastProbeTime": now, "lastTransitionTime": now, "reason": reason, "message": message});
    let began = job["status"]["startTime"].as_str().and_then(parse_rfc3339).unwrap_or(world.now);
    let suspended = job["spec"]["suspend"] == true;
    let deadline = job["spec"]["activeDeadlineSeconds"].as_u64().filter(|_| !suspended).map(|s| began.after(Duration::from_secs(s)));
    let lost = if failed > int(&job["spec"]["backoffLimit"], 6) {
        Some(("BackoffLimitExceeded", "Job has reached the specified backoff limit"))
    } else if deadline.is_some_and(|at| at <= world.now) && succeeded < wanted {
        Some(("DeadlineExceeded", "Job was active longer than specified deadline"))
    } else {
        None
    };
    if let Some((reason, text)) = lost {
        stop(world, &active);
        status["active"] = 0.into();
        status["conditions"] = json!([finished("FailureTarget", reason, text), finished("Failed", reason, text)]);
        events::emit(world, key, &job, SELF, Report::warning(reason, text));
    } else if succeeded >= wanted {
        let text = "Reached expected number of succeeded pods";
        status["completionTime"] = now.as_str().into();
        status["conditions"] =
            json!([finished("SuccessCriteriaMet", "CompletionsReached", text), finished("Complete", "CompletionsReached", text)]);
        events::emit(world, key, &job, SELF, Report::normal("Completed", "Job completed"));
    } else if suspended {
        stop(world, &active);
        status["active"] = 0.into();
        status["ready"] = 0.into();
        if let Some(s) = status.as_object_mut() {
            s.remove("startTime");
        }
        let known = object::condition(&job["status"], "Suspended").filter(|c| c["status"] == "True").cloned();
        if known.is_none() {
            events::emit(world, key, &job, SELF, Report::normal("Suspended", "Job suspended"));
        }
        status["conditions"] = json!([known.unwrap_or_else(|| finished("Suspended", "JobSuspended", "Job suspended"))]);
    } else {
        if object::condition_true(&job, "Suspended") {
            events::emit(world, key, &job, SELF, Report::normal("Resumed", "Job resumed"));
            let mut resumed = finished("Suspended", "JobResumed", "Job resumed");
            resumed["status"] = "False".into();
            status["conditions"] = json!([resumed]);
        } else if job["status"]["conditions"].is_array() {
            status["conditions"] = job["status"]["conditions"].clone();
        }
        if let Some(at) = deadline.filter(|_| job["status"]["startTime"].is_null()) {
            world.agenda.at(at, Event::Reconcile(key.clone()));
        }
        let mut room = int(&job["spec"]["parallelism"], 1).min(wanted - succeeded) - running;
        if let Some(at) = resting(pods.iter().map(|(_, p)| &**p)).filter(|at| *at > world.now && room > 0) {
            room = 0;
            world.agenda.at(at, Event::Reconcile(key.clone()));
        }
        for _ in 0..room.clamp(0, 500) {
            let Ok(pod) = registry::create(world, &PODS, &key.namespace, pod(&job, key)) else { break };
            let text = format!("Created pod: {}", object::name(&pod));
            events::emit(world, key, &job, SELF, Report::normal("SuccessfulCreate", text));
            status["active"] = (int(&status["active"], 0) + 1).into();
        }
    }
    if let Some(s) = status.as_object_mut() {
        s.retain(|k, v| *v != 0 || matches!(k.as_str(), "ready" | "terminating"));
    }
    if job["status"] != status {
        let mut new = (*job).clone();
        new["status"] = status;
        // Nobody else writes in between: the world is ours.
        let _written = registry::update(world, key, new, Part::Status);
    }
}

/// Ends the pods that run.
fn stop(world: &mut World, active: &[Key]) {
    for k in active {
        // Gone already is as good.
        let _gone = registry::delete(world, k, &DeleteOptions::default());
    }
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

/// Until when no pod is made, because the last ones have failed.
fn resting<'a>(pods: impl Iterator<Item = &'a Value>) -> Option<SimTime> {
    let ended = |p: &Value| {
        let statuses = p["status"]["containerStatuses"].as_array().into_iter().flatten();
        statuses.filter_map(|c| parse_rfc3339(c["state"]["terminated"]["finishedAt"].as_str()?)).max()
    };
    let of = |p: &'a Value| {
        let failed = match p["status"]["phase"].as_str()? {
            "Failed" => true,
            "Succeeded" => false,
            _ => return None,
        };
        Some((ended(p)?, failed))
    };
    let mut all: Vec<(SimTime, bool)> = pods.filter_map(of).collect();
    all.sort_unstable();
    let failures = all.iter().rev().take_while(|(_, failed)| *failed).count();
    let (last, _) = all.last().filter(|_| failures > 0)?;
    let doubled = 2_u32.saturating_pow(u32::try_from(failures - 1).unwrap_or(u32::MAX));
    Some(last.after(BACK_OFF.0.saturating_mul(doubled).min(BACK_OFF.1)))
}

fn pod(job: &Value, key: &Key) -> Value {
    let mut pod = object::pod_from_template(&job["spec"]["template"], &JOBS, job);
    let uid = object::uid(job).to_owned();
    let labels = &mut pod["metadata"]["labels"];
    for (k, v) in [
        ("batch.kubernetes.io/controller-uid", uid.as_str()),
        ("batch.kubernetes.io/job-name", &*key.name),
        ("controller-uid", uid.as_str()),
        ("job-name", &*key.name),
    ] {
        labels[k] = v.into();
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::controllers::tests::{NS, advance, world};

    fn job(w: &mut World, name: &str, mut spec: Value) -> Key {
        let command = spec["command"].take();
        spec.as_object_mut().map(|s| s.remove("command"));
        spec["template"] = json!({"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox", "command": command}]}});
        registry::create(w, &JOBS, NS, json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})).unwrap();
        w.settle();
        advance(w, 10.0);
        Key::new(&JOBS, NS, name)
    }

    fn condition(w: &World, key: &Key, kind: &str) -> Option<(Value, Value)> {
        let job = w.store.get(key).unwrap();
        object::condition(&job["status"], kind).map(|c| (c["status"].clone(), c["reason"].clone()))
    }

    fn running(w: &World) -> usize {
        w.store.list(&PODS, Some(NS)).filter(|(_, p)| object::active(p)).count()
    }

    #[test]
    fn failed_pods_are_followed_by_others_ever_later() {
        let mut w = world();
        let container = json!({"name": "c", "image": "busybox", "command": ["false"]});
        let spec = json!({"backoffLimit": 2, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}});
        registry::create(&mut w, &JOBS, NS, json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec}))
            .unwrap();
        w.settle();
        let mut pods = Vec::new();
        for _ in 0..5 {
            advance(&mut w, 8.0);
            pods.push(w.store.list(&PODS, Some(NS)).count());
        }
        // Ten seconds after the first, twenty after the second; the third is one too many.
        assert_eq!(pods, [1, 2, 2, 2, 3]);
        advance(&mut w, 200.0);
        assert_eq!(w.store.list(&PODS, Some(NS)).count(), 3);
        let job = w.store.get(&Key::new(&JOBS, NS, "j")).unwrap();
        assert!(object::condition_true(job, "Failed"), "{job}");
    }

    #[test]
    fn a_deadline_ends_a_job_and_its_pods() {
        let mut w = world();
        let key = job(&mut w, "slow", json!({"activeDeadlineSeconds": 30, "command": ["sleep", "3600"]}));
        assert_eq!((condition(&w, &key, "Failed"), running(&w)), (None, 1));
        advance(&mut w, 90.0);
        assert_eq!((condition(&w, &key, "Failed"), running(&w)), (Some((json!("True"), json!("DeadlineExceeded"))), 0));
    }

    #[test]
    fn a_job_that_is_over_goes_when_it_should() {
        let mut w = world();
        let key = job(&mut w, "brief", json!({"ttlSecondsAfterFinished": 60, "command": ["true"]}));
        advance(&mut w, 20.0);
        assert_eq!(condition(&w, &key, "Complete"), Some((json!("True"), json!("CompletionsReached"))));
        advance(&mut w, 90.0);
        assert!(w.store.get(&key).is_none());
        assert_eq!(w.store.list(&PODS, Some(NS)).count(), 0);
    }

    #[test]
    fn a_suspended_job_has_no_pods_until_it_is_resumed() {
        let mut w = world();
        let key = job(&mut w, "later", json!({"suspend": true, "command": ["sleep", "3600"]}));
        assert_eq!((condition(&w, &key, "Suspended"), running(&w)), (Some((json!("True"), json!("JobSuspended"))), 0));
        for (suspend, pods, status) in [(false, 1, "False"), (true, 0, "True")] {
            let mut new = (**w.store.get(&key).unwrap()).clone();
            new["spec"]["suspend"] = suspend.into();
            registry::update(&mut w, &key, new, Part::Main).unwrap();
            w.settle();
            advance(&mut w, 60.0);
            assert_eq!((condition(&w, &key, "Suspended").unwrap().0, running(&w)), (json!(status), pods));
        }
    }
}
