//! Whole jobs: objects in, time passes, pods and statuses are as the real controller leaves them.

use super::*;
use crate::sim::controllers::kinds::{EVENTS, JOBS};
use crate::sim::controllers::tests::{NS, advance, world};
use crate::sim::kubelet;

fn job(w: &mut World, name: &str, mut spec: Value) -> Key {
    let command = spec["command"].take();
    spec.as_object_mut().map(|s| s.remove("command"));
    spec["template"] =
        json!({"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox", "command": command}]}});
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
    registry::create(&mut w, &JOBS, NS, json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec})).unwrap();
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

fn status(w: &World, key: &Key) -> Value {
    w.store.get(key).unwrap()["status"].clone()
}

/// Kinds and reasons of a job's conditions, in their order.
fn conditions(w: &World, key: &Key) -> Vec<String> {
    let all = status(w, key)["conditions"].as_array().cloned().unwrap_or_default();
    all.iter().map(|c| format!("{} {}", c["type"].as_str().unwrap(), c["reason"].as_str().unwrap())).collect()
}

/// Ends the pods of an index that run.
fn end(w: &mut World, index: i64, code: i32) {
    let of = |p: &Value| pods::index(p) == Some(index) && p["status"]["phase"] == "Running" && !object::deleting(p);
    let all: Vec<Key> = w.store.list(&PODS, Some(NS)).filter(|(_, p)| of(p)).map(|(k, _)| k.clone()).collect();
    assert!(!all.is_empty(), "index {index}");
    for key in all {
        kubelet::kill(w, &key, "c", code);
    }
    w.settle();
    advance(w, 1.0);
}

fn indexed(w: &mut World, name: &str, more: &Value) -> Key {
    let mut spec = json!({"completionMode": "Indexed", "completions": 4, "parallelism": 4, "command": ["sleep", "3600"]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job(w, name, spec)
}

#[test]
fn pods_of_an_indexed_job_know_their_index() {
    let mut w = world();
    let key = indexed(&mut w, "rows", &json!({"parallelism": 2}));
    let all: Vec<Arc<Value>> = w.store.list(&PODS, Some(NS)).map(|(_, p)| Arc::clone(p)).collect();
    assert_eq!(all.len(), 2);
    for (i, pod) in all.iter().enumerate() {
        assert!(object::name(pod).starts_with(&format!("rows-{i}-")), "{pod:#}");
        assert_eq!(pod["spec"]["hostname"], format!("rows-{i}"));
        assert_eq!(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"], i.to_string());
        let variable = &pod["spec"]["containers"][0]["env"][0];
        let path = "metadata.labels['batch.kubernetes.io/job-completion-index']";
        assert_eq!((&variable["name"], &variable["valueFrom"]["fieldRef"]["fieldPath"]), (&json!("JOB_COMPLETION_INDEX"), &json!(path)));
        assert!(object::has_finalizer(pod, TRACKING));
    }
    end(&mut w, 1, 0);
    advance(&mut w, 10.0);
    assert_eq!(status(&w, &key)["completedIndexes"], "1");
    end(&mut w, 0, 0);
    advance(&mut w, 10.0);
    end(&mut w, 2, 0);
    let s = status(&w, &key);
    assert_eq!((&s["completedIndexes"], &s["succeeded"], &s["active"]), (&json!("0-2"), &json!(3), &json!(1)));
    end(&mut w, 3, 0);
    assert_eq!(conditions(&w, &key), ["SuccessCriteriaMet CompletionsReached", "Complete CompletionsReached"]);
    assert!(w.store.list(&PODS, Some(NS)).all(|(_, p)| !object::has_finalizer(p, TRACKING)));
}

#[test]
fn indexes_fail_each_for_itself() {
    let mut w = world();
    let key = indexed(&mut w, "rows", &json!({"backoffLimitPerIndex": 1}));
    end(&mut w, 0, 1);
    // Its pod is kept until another has taken over the count.
    assert!(w.store.list(&PODS, Some(NS)).any(|(_, p)| p["status"]["phase"] == "Failed" && object::has_finalizer(p, TRACKING)));
    advance(&mut w, 15.0);
    let again = w.store.list(&PODS, Some(NS)).find(|(_, p)| pods::index(p) == Some(0) && object::active(p)).unwrap().1;
    assert_eq!(pods::failures(again), (1, 0));
    end(&mut w, 0, 1);
    advance(&mut w, 30.0);
    let s = status(&w, &key);
    assert_eq!((&s["failedIndexes"], &s["failed"], &s["active"]), (&json!("0"), &json!(2), &json!(3)));
    for i in 1..4 {
        end(&mut w, i, 0);
    }
    assert_eq!(status(&w, &key)["completedIndexes"], "1-3");
    assert_eq!(conditions(&w, &key), ["FailureTarget FailedIndexes", "Failed FailedIndexes"]);
}

#[test]
fn too_many_failed_indexes_end_the_job_and_its_last_condition_waits_for_the_pods() {
    let mut w = world();
    let key = indexed(&mut w, "rows", &json!({"backoffLimitPerIndex": 0, "maxFailedIndexes": 1}));
    end(&mut w, 0, 1);
    assert_eq!(conditions(&w, &key), [""; 0]);
    end(&mut w, 1, 1);
    assert_eq!(conditions(&w, &key), ["FailureTarget MaxFailedIndexesExceeded"]);
    let s = status(&w, &key);
    assert_eq!((&s["terminating"], &s["active"], &s["failed"]), (&json!(2), &Value::Null, &json!(4)));
    advance(&mut w, 40.0);
    assert_eq!(conditions(&w, &key), ["FailureTarget MaxFailedIndexesExceeded", "Failed MaxFailedIndexesExceeded"]);
    assert_eq!(status(&w, &key)["terminating"], 0);
}

#[test]
fn a_policy_may_call_some_indexes_success() {
    let mut w = world();
    let key = indexed(&mut w, "rows", &json!({"successPolicy": {"rules": [{"succeededIndexes": "0,2", "succeededCount": 1}]}}));
    end(&mut w, 1, 0);
    assert_eq!(conditions(&w, &key), [""; 0]);
    end(&mut w, 2, 0);
    advance(&mut w, 40.0);
    assert_eq!(conditions(&w, &key), ["SuccessCriteriaMet SuccessPolicy", "Complete SuccessPolicy"]);
    let s = status(&w, &key);
    assert_eq!((&s["succeeded"], &s["failed"], &s["completedIndexes"]), (&json!(2), &Value::Null, &json!("1,2")));
    assert_eq!(s["conditions"][0]["message"], "Matched rules at index 0");
}

#[test]
fn a_policy_may_ignore_failures_or_end_the_job_at_once() {
    let mut w = world();
    let policy = json!({"rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [5]}}]});
    let key = indexed(&mut w, "rows", &json!({"podFailurePolicy": policy, "backoffLimit": 0}));
    end(&mut w, 0, 5);
    assert_eq!((conditions(&w, &key).len(), &status(&w, &key)["failed"]), (0, &Value::Null));
    end(&mut w, 1, 42);
    advance(&mut w, 60.0);
    assert_eq!(conditions(&w, &key), ["FailureTarget PodFailurePolicy", "Failed PodFailurePolicy"]);
    let text = status(&w, &key)["conditions"][0]["message"].as_str().unwrap().to_owned();
    assert!(text.ends_with("failed with exit code 42 matching FailJob rule at index 0"), "{text}");
    let told = w.store.list(&EVENTS, Some(NS)).any(|(_, e)| e["reason"] == "PodFailurePolicy" && e["message"] == text.as_str());
    assert!(told);
}

#[test]
fn deleted_pods_count_as_failed_and_are_replaced_as_the_policy_says() {
    for (policy, at_once) in [("TerminatingOrFailed", 1), ("Failed", 0)] {
        let mut w = world();
        let key = job(&mut w, "long", json!({"podReplacementPolicy": policy, "command": ["sleep", "3600"]}));
        let pod = w.store.list(&PODS, Some(NS)).next().unwrap().0.clone();
        registry::delete(&mut w, &pod, &DeleteOptions::default()).unwrap();
        w.settle();
        advance(&mut w, 12.0);
        let s = status(&w, &key);
        assert_eq!((s["terminating"].clone(), running(&w)), (json!(1), at_once), "{policy} {s:#}");
        advance(&mut w, 60.0);
        assert_eq!((&status(&w, &key)["failed"], running(&w)), (&json!(1), 1), "{policy}");
        assert!(w.store.get(&pod).is_none());
    }
}

#[test]
fn pods_of_a_job_that_is_gone_are_let_go() {
    for propagation in [Propagation::Background, Propagation::Foreground, Propagation::Orphan] {
        let mut w = world();
        let key = job(&mut w, "long", json!({"command": ["sleep", "3600"]}));
        registry::delete(&mut w, &key, &DeleteOptions { propagation, ..DeleteOptions::default() }).unwrap();
        w.settle();
        advance(&mut w, 60.0);
        assert!(w.store.get(&key).is_none());
        let left: Vec<_> = w.store.list(&PODS, Some(NS)).collect();
        assert_eq!(left.len(), usize::from(propagation == Propagation::Orphan), "{propagation:?}");
        assert!(left.iter().all(|(_, p)| !object::has_finalizer(p, TRACKING)));
    }
}
