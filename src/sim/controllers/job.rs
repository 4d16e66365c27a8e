//! `Job` controller: runs pods until enough of them have succeeded or too many have failed.

use serde_json::{Value, json};

use super::events::{self, Report, Source};
use super::kinds::{JOBS, PODS};
use super::object::{self, int};
use crate::sim::registry::{self, DeleteOptions, Part};
use crate::sim::resource::Key;
use crate::sim::world::World;

const SELF: Source<'static> = Source { component: "job-controller", host: "" };

/// Starts, counts and stops the pods of one job.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(job) = world.store.get(key).cloned() else { return };
    if object::deleting(&job) || object::condition_true(&job, "Complete") || object::condition_true(&job, "Failed") {
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
    if failed > int(&job["spec"]["backoffLimit"], 6) {
        for k in &active {
            // Gone already is as good.
            let _gone = registry::delete(world, k, &DeleteOptions::default());
        }
        let text = "Job has reached the specified backoff limit";
        status["active"] = 0.into();
        status["conditions"] =
            json!([finished("FailureTarget", "BackoffLimitExceeded", text), finished("Failed", "BackoffLimitExceeded", text)]);
        events::emit(world, key, &job, SELF, Report::warning("BackoffLimitExceeded", text));
    } else if succeeded >= wanted {
        let text = "Reached expected number of succeeded pods";
        status["completionTime"] = now.as_str().into();
        status["conditions"] =
            json!([finished("SuccessCriteriaMet", "CompletionsReached", text), finished("Complete", "CompletionsReached", text)]);
        events::emit(world, key, &job, SELF, Report::normal("Completed", "Job completed"));
    } else if job["spec"]["suspend"] != true {
        let room = int(&job["spec"]["parallelism"], 1).min(wanted - succeeded) - running;
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
