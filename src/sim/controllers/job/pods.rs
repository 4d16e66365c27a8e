//! Pods of jobs: how they are made, numbered, and held until they have been counted.

use serde_json::{Value, json};

use super::TRACKING;
use crate::sim::controllers::kinds::{JOBS, PODS};
use crate::sim::controllers::object::{self, int};
use crate::sim::registry::{self, Part};
use crate::sim::resource::Key;
use crate::sim::time::{SimTime, parse_rfc3339};
use crate::sim::world::World;

const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// Longest generated name without its random end.
const NAME_MAX: usize = 58;

/// The index that a pod was made for.
pub(super) fn index(pod: &Value) -> Option<i64> {
    object::annotation(pod, INDEX)?.parse().ok()
}

/// How often its index has failed before, and how often that was ignored.
pub(super) fn failures(pod: &Value) -> (i64, i64) {
    let of = |name: &str| object::annotation(pod, name).and_then(|n| n.parse().ok()).unwrap_or(0);
    (of(FAILURES), of(IGNORED))
}

/// A pod as the job makes it; `failures` of its index where those are counted one by one.
pub(super) fn make(job: &Value, key: &Key, index: Option<i64>, failures: Option<(i64, i64)>) -> Value {
    let mut pod = object::pod_from_template(&job["spec"]["template"], &JOBS, job);
    let uid = object::uid(job).to_owned();
    let mut labels = vec![
        ("batch.kubernetes.io/controller-uid", uid.clone()),
        ("batch.kubernetes.io/job-name", key.name.to_string()),
        ("controller-uid", uid),
        ("job-name", key.name.to_string()),
    ];
    if let Some(i) = index {
        labels.push((INDEX, i.to_string()));
        object::annotate(&mut pod, INDEX, &i.to_string());
        let end = format!("-{i}-");
        let mut name = key.name.to_string();
        name.truncate(NAME_MAX - end.len());
        pod["metadata"]["generateName"] = format!("{name}{end}").into();
        pod["spec"]["hostname"] = format!("{}-{i}", key.name).into();
        for list in ["initContainers", "containers"] {
            pod["spec"][list].as_array_mut().into_iter().flatten().for_each(tell_index);
        }
    }
    if let Some((counted, ignored)) = failures {
        object::annotate(&mut pod, FAILURES, &counted.to_string());
        if ignored > 0 {
            object::annotate(&mut pod, IGNORED, &ignored.to_string());
        }
    }
    for (k, v) in labels {
        pod["metadata"]["labels"][k] = v.into();
    }
    let mut finalizers = pod["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|f| f == TRACKING) {
        finalizers.push(TRACKING.into());
    }
    pod["metadata"]["finalizers"] = finalizers.into();
    pod
}

/// Gives a container the variable with its index, unless it has one of that name.
fn tell_index(container: &mut Value) {
    let mut env = container["env"].as_array().cloned().unwrap_or_default();
    if env.iter().all(|v| v["name"] != VARIABLE) {
        let path = format!("metadata.labels['{INDEX}']");
        env.push(json!({"name": VARIABLE, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}));
        container["env"] = env.into();
    }
}

/// When a pod ended, as far as it can be told.
pub(super) fn finished_at(pod: &Value) -> SimTime {
    let statuses = pod["status"]["containerStatuses"].as_array().filter(|s| !s.is_empty());
    let ends = statuses.and_then(|all| {
        let each = all.iter().map(|c| c["state"]["terminated"]["finishedAt"].as_str().and_then(parse_rfc3339));
        each.collect::<Option<Vec<SimTime>>>()?.into_iter().max()
    });
    let unready = || {
        let ready = object::condition(&pod["status"], "Ready").filter(|c| c["status"] == "False")?;
        ready["lastTransitionTime"].as_str().and_then(parse_rfc3339)
    };
    let deleted = || {
        let at = pod["metadata"]["deletionTimestamp"].as_str().and_then(parse_rfc3339)?;
        let grace = u64::try_from(int(&pod["metadata"]["deletionGracePeriodSeconds"], 0)).unwrap_or(0);
        Some(SimTime(at.0.saturating_sub(grace * 1000)))
    };
    ends.or_else(unready).or_else(deleted).unwrap_or_else(|| object::created(pod))
}

/// Lets a pod go, which has been counted.
pub(super) fn untrack(world: &mut World, key: &Key) {
    let Some(pod) = world.store.get(key).filter(|p| object::has_finalizer(p, TRACKING)) else { return };
    let mut new = (**pod).clone();
    object::drop_finalizer(&mut new, TRACKING);
    // Gone already is as good.
    let _done = registry::update(world, key, new, Part::Main);
}

/// Lets the pods of a job go that is no more.
pub(super) fn release(world: &mut World, job: &Key) {
    let of = |p: &Value| p["metadata"]["labels"]["batch.kubernetes.io/job-name"] == *job.name && object::has_finalizer(p, TRACKING);
    let all = world.store.list(&PODS, Some(&job.namespace)).filter(|(_, p)| of(p)).map(|(k, _)| k.clone());
    for key in all.collect::<Vec<_>>() {
        untrack(world, &key);
    }
}
