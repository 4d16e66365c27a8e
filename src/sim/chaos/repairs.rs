//! Each kind of fault on a two-service system: it bites, a rollout restart heals it, and so does its removal.

use std::time::Duration;

use serde_json::{Value, json};

use crate::sim::SimConfig;
use crate::sim::config::{Call, EntryLoad, Profile, WorkloadModel};
use crate::sim::controllers::object;
use crate::sim::controllers::tests::{NS, advance, deploy, edit, pods, with};
use crate::sim::kubelet::{self, network};
use crate::sim::registry::{self, DeleteOptions};
use crate::sim::resource::{Key, Resource};
use crate::sim::time::SimTime;
use crate::sim::world::World;

const TARGET: &str = "time-service";

fn system() -> World {
    let model = |name: &str, calls| WorkloadModel {
        namespace: Some(NS.to_owned()),
        container: Some(name.to_owned()),
        profile: Profile {
            startup_cpu_s: 0.4,
            idle_cpu: 0.003,
            cpu_per_request_s: 0.002,
            latency: Duration::from_millis(3),
            memory: 28 << 20,
            ..Profile::default()
        },
        calls,
        ..WorkloadModel::default()
    };
    let call = Call { service: TARGET.to_owned(), port: 5000, path: "/time".to_owned(), timeout: Duration::from_secs(2), on: Vec::new() };
    let load =
        EntryLoad { namespace: NS.to_owned(), service: "hello-service".to_owned(), port: 5000, path: "/hello".to_owned(), rate: 5.0 };
    let workloads = vec![model("hello-service", vec![call]), model(TARGET, Vec::new())];
    let mut w = with(SimConfig { workloads, traffic: vec![load], ..SimConfig::default() });
    deploy(&mut w, TARGET, 1);
    deploy(&mut w, "hello-service", 1);
    advance(&mut w, 60.0);
    w
}

/// What the published checks and an operator would find.
fn symptoms(w: &World) -> Vec<&'static str> {
    let mut out = Vec::new();
    let all = pods(w, TARGET);
    if all.len() != 1 || all.iter().any(|(_, p)| !object::ready(p)) {
        out.push("not ready");
    }
    for (k, _) in &all {
        let Some(m) = kubelet::metrics(w, k) else {
            out.push("no metrics");
            continue;
        };
        let run = w.runtime.pod(k).unwrap();
        let limits = &run.model.containers[0];
        let (_, cpu, memory) = m.containers[0].clone();
        if cpu / limits.cpu_limit.unwrap() >= 0.5 {
            out.push("cpu");
        }
        if memory * 2 >= limits.memory_limit.unwrap() {
            out.push("memory");
        }
        let faults = network::egress(run, None);
        if faults.loss > 0.0 {
            out.push("loss");
        }
        if faults.delay > 0.0 {
            out.push("delay");
        }
        if !run.io.is_empty() {
            out.push("disk");
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

fn errors(w: &World) -> f64 {
    let all = w.traffic.series(NS, "hello-service", SimTime(w.now.0 - 20_000), w.now);
    all.iter().map(|p| p.errors).sum::<f64>() / all.iter().map(|p| p.requests).sum::<f64>()
}

fn faults() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("cpu", "StressChaos", json!({"stressors": {"cpu": {"workers": 10, "load": 100}}})),
        ("memory", "StressChaos", json!({"stressors": {"memory": {"workers": 1, "size": "1280MiB"}}})),
        ("loss", "NetworkChaos", json!({"action": "loss", "direction": "to", "loss": {"loss": "50", "correlation": "0"}})),
        ("delay", "NetworkChaos", json!({"action": "delay", "direction": "to", "delay": {"latency": "1000ms", "correlation": "0"}})),
        (
            "disk",
            "IOChaos",
            json!({"action": "latency", "volumePath": "/var/log/mysql", "path": "/var/log/mysql/**/*", "delay": "5s", "percent": 50}),
        ),
        ("not ready", "PodChaos", json!({"action": "pod-failure", "duration": "1200s", "gracePeriod": 0})),
    ]
}

fn inject(w: &mut World, kind: &str, mut spec: Value) -> Key {
    let key = Key::new(&Resource::new("chaos-mesh.org", &kind.to_lowercase()), NS, "fault");
    spec["mode"] = "one".into();
    spec["selector"] = json!({"namespaces": [NS], "labelSelectors": {"app": TARGET}});
    let object = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": kind, "metadata": {"name": "fault"}, "spec": spec});
    registry::create(w, &key.resource, NS, object).unwrap();
    w.settle();
    advance(w, 45.0);
    key
}

fn remove(w: &mut World, key: &Key) {
    registry::delete(w, key, &DeleteOptions::default()).unwrap();
    w.settle();
    advance(w, 60.0);
    assert!(w.store.get(key).is_none(), "{:#}", w.store.get(key).unwrap());
}

fn restart(w: &mut World) {
    let now = w.now.rfc3339();
    edit(w, TARGET, |d| d["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = now.into());
    advance(w, 120.0);
}

#[test]
fn every_fault_bites_and_goes_with_its_object() {
    for (symptom, kind, spec) in faults() {
        let mut w = system();
        assert!(symptoms(&w).is_empty() && errors(&w) < 1e-9, "{symptom}: {:?} {}", symptoms(&w), errors(&w));
        let key = inject(&mut w, kind, spec);
        assert!(symptoms(&w).contains(&symptom), "{symptom}: {:?}", symptoms(&w));
        remove(&mut w, &key);
        assert!(symptoms(&w).is_empty(), "{symptom} stays: {:?}", symptoms(&w));
        assert!(errors(&w) < 1e-9, "{symptom}");
    }
}

#[test]
fn a_rollout_restart_heals_every_pod_fault_and_the_object_can_be_deleted_afterwards() {
    for (symptom, kind, spec) in faults() {
        let mut w = system();
        let key = inject(&mut w, kind, spec);
        restart(&mut w);
        assert!(symptoms(&w).is_empty(), "{symptom} survives a restart: {:?}", symptoms(&w));
        assert!(errors(&w) < 1e-9, "{symptom}");
        remove(&mut w, &key);
        assert!(symptoms(&w).is_empty(), "{symptom}");
    }
}

#[test]
fn starved_limits_show_and_a_restart_does_not_help() {
    let mut w = system();
    let starved = json!({"requests": {"cpu": "1m", "memory": "100Mi"}, "limits": {"cpu": "2m", "memory": "200Mi"}});
    let before = crate::sim::controllers::tests::get(&w, TARGET)["spec"]["template"].clone();
    edit(&mut w, TARGET, |d| d["spec"]["template"]["spec"]["containers"][0]["resources"] = starved);
    advance(&mut w, 30.0);
    assert_eq!(symptoms(&w), ["cpu", "not ready"]);
    assert!(errors(&w) < 1e-9, "the old pod serves on");
    // A hundredth of a core, the least that a limit leaves, starts it after all; it is not enough for the load.
    advance(&mut w, 600.0);
    assert_eq!(symptoms(&w), ["cpu"]);
    assert!(errors(&w) > 0.1, "{}", errors(&w));
    restart(&mut w);
    assert!(symptoms(&w).contains(&"cpu"));
    edit(&mut w, TARGET, |d| d["spec"]["template"] = before);
    advance(&mut w, 120.0);
    assert!(symptoms(&w).is_empty(), "{:?}", symptoms(&w));
}
