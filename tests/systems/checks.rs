//! The published checks and injections, number by number, against the `compat` sets and templates that are shipped.

use microremed::manifest::{Check, Stage, duration};
use microremed::plan::{Injection, Selection, TrialInputs, expand};
use serde_json::{Value, json};

use crate::facts::catalog;

fn published() -> serde_json::Map<String, Value> {
    serde_json::from_str(include_str!("checks.json")).unwrap()
}

fn seconds(text: &str) -> u64 {
    duration::parse(text).unwrap().as_secs()
}

/// A shipped stage in the words of the facts.
fn in_facts(stage: &Stage) -> Value {
    let mut facts = json!({"window_s": seconds(&stage.window), "poll_s": seconds(&stage.poll)});
    assert_eq!((stage.need, stage.all.len()), (1, 1), "one clean round passes, and a round is one check");
    match &stage.all[0] {
        Check::Usage(u) => {
            // A container without a limit is left out, the limit is the present one, usage is what kubectl prints.
            // CPU is read for the selector, of pods that are listed once, so that nobody misses a pod or container without a
            // row; for memory pods are listed in each round and asked for one by one.
            let pods = if u.resource == "cpu" { "frozen" } else { "fresh" };
            assert_eq!((u.without_limit.as_str(), u.limit.as_str(), u.pods.as_str()), ("skip", "current", pods));
            assert!(u.rounded);
            assert_eq!(u.skip_containers, ["sidecar", "busybox"]);
            facts["usage"] = json!({"resource": u.resource, "below": u.below});
        }
        Check::Ready(r) => {
            assert!(r.metrics && !r.full, "metrics must be there; the number of pods is not looked at");
            facts["ready"] = json!({});
        }
        Check::Ping(p) => {
            assert_eq!((p.container.as_deref(), p.fallback_container.as_deref()), (None, Some("sidecar-busybox")));
            facts["ping"] = json!({"host": p.host, "packets": p.count, "reply_wait_s": p.wait_s,
                "max_loss_percent": whole(p.max_loss_percent), "max_avg_latency_ms": whole(p.max_average_ms)});
        }
        Check::Exec(e) => {
            let command = e.command.last().unwrap();
            assert!(command.contains("oflag=direct") && command.contains("if=/dev/zero"), "{command}");
            assert!(command.ends_with("; true"), "whether dd succeeds is not looked at: {command}");
            assert_eq!((e.container.as_deref(), e.from.as_str()), (None, "target"), "the pod's default container");
            let number = |key: &str| -> u64 {
                let rest = command.split(key).nth(1).unwrap();
                rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
            };
            let file = command.split("of=").nth(1).unwrap().split(' ').next().unwrap();
            let limit: u64 = e.pass.strip_prefix("value <= ").unwrap().parse().unwrap();
            facts["write"] =
                json!({"file": file, "mb": number("bs=") * number("count="), "call_timeout_s": seconds(&e.timeout), "at_most_ms": limit});
        }
        other => panic!("the published program has no such check: {other:?}"),
    }
    facts
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small whole numbers")]
fn whole(value: f64) -> u64 {
    assert!((value - value.round()).abs() < f64::EPSILON);
    value as u64
}

#[test]
fn compat_sets_have_the_published_thresholds_and_windows() {
    let catalog = catalog();
    for (name, wanted) in published() {
        let set = &catalog.faults[&name].checks["compat"];
        let stages: Vec<Value> = set.stages.iter().map(in_facts).collect();
        assert_eq!(Value::from(stages), wanted["stages"], "{name}");
        assert_eq!(seconds(&set.settle), 0, "{name}: nothing is waited for beforehand");
        for stage in set.stages.iter().skip(1) {
            assert_eq!(stage.ready_wait.as_deref().map(seconds), Some(300), "{name}: each check waits anew");
        }
        let wait = set.ready_wait.as_deref().map(|w| (seconds(w), seconds(&set.ready_poll)));
        assert_eq!(wait, wanted["ready_wait"].as_bool().unwrap().then_some((300, 10)), "{name}: wait until ready");
    }
    // Nothing is added to it, by the trial or by a method.
    assert!(catalog.pipelines.values().all(|p| !p.checks.contains_key("compat")));
}

#[test]
fn injections_have_the_published_parameters() {
    let catalog = catalog();
    let plan = expand(&catalog, &catalog.experiments["quickstart"], &Selection::default(), "").unwrap();
    let published = published();
    for spec in plan.iter() {
        let inputs = TrialInputs::resolve(&catalog, &spec, plan.experiment()).unwrap();
        let wanted = &published[&spec.fault];
        let (name, namespace, target) = (&spec.fault, &inputs.system.namespace, &spec.target);
        match inputs.render_injection().unwrap().remove(0) {
            Injection::Objects(objects) => {
                let mut object = objects[0].clone();
                let selector = object["spec"].as_object_mut().unwrap().remove("selector").unwrap();
                assert_eq!(selector, json!({"namespaces": [namespace], "labelSelectors": {"app": target}}), "{name}");
                assert_eq!((&object["kind"], &object["spec"]), (&wanted["object"]["kind"], &wanted["object"]["spec"]), "{name}");
                assert_eq!(object["metadata"], json!({"name": name, "namespace": namespace}));
            }
            Injection::Patch { patch, .. } => {
                assert_eq!(patch["spec"]["template"]["spec"]["containers"][0]["resources"], wanted["patch"], "{name}");
            }
            Injection::Evict(_) => panic!("{name} evicts"),
        }
    }
}
