use std::sync::Arc;

use serde_json::{Value, json};

use crate::sim::controllers::object;
use crate::sim::controllers::tests::{NS, advance, deploy, pods, world};
use crate::sim::kubelet;
use crate::sim::registry::{self, DeleteOptions};
use crate::sim::resource::{Key, Resource};
use crate::sim::world::World;

fn key(plural: &str, name: &str) -> Key {
    Key::new(&Resource::new("chaos-mesh.org", plural), NS, name)
}

/// A world with a ready target and its first metrics.
fn healthy() -> World {
    let mut w = world();
    deploy(&mut w, "web", 1);
    advance(&mut w, 40.0);
    assert!(object::ready(&pods(&w, "web")[0].1));
    w
}

fn inject(w: &mut World, kind: &str, name: &str, mut spec: Value) -> Key {
    let k = key(&kind.to_lowercase(), name);
    spec["mode"] = "one".into();
    spec["selector"] = json!({"namespaces": [NS], "labelSelectors": {"app": "web"}});
    let object = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    registry::create(w, &k.resource, NS, object).unwrap();
    w.settle();
    advance(w, 3.0);
    let c = w.store.get(&k).unwrap();
    assert!(object::condition_true(c, "AllInjected"), "{c:#}");
    k
}

fn remove(w: &mut World, k: &Key) {
    registry::delete(w, k, &DeleteOptions::default()).unwrap();
    w.settle();
    advance(w, 5.0);
    assert!(w.store.get(k).is_none(), "{:#}", w.store.get(k).unwrap());
}

fn usage(w: &World) -> (f64, u64) {
    let (k, _) = pods(w, "web").remove(0);
    let m = kubelet::metrics(w, &k).unwrap();
    (m.containers[0].1, m.containers[0].2)
}

fn ready(w: &World) -> Arc<Value> {
    let (_, p) = pods(w, "web").remove(0);
    p
}

#[test]
fn cpu_stress_fills_the_limit_until_it_is_deleted() {
    let mut w = healthy();
    let k = inject(&mut w, "StressChaos", "cpu", json!({"stressors": {"cpu": {"workers": 10, "load": 100}}}));
    advance(&mut w, 30.0);
    assert!(usage(&w).0 / 0.5 > 0.9, "{:?}", usage(&w));
    remove(&mut w, &k);
    advance(&mut w, 30.0);
    assert!(usage(&w).0 / 0.5 < 0.1, "{:?}", usage(&w));
}

#[test]
fn memory_stress_shows_and_beyond_the_limit_it_kills() {
    let mut w = healthy();
    let k = inject(&mut w, "StressChaos", "memory", json!({"stressors": {"memory": {"workers": 1, "size": "1280MiB"}}}));
    advance(&mut w, 16.0);
    assert!(usage(&w).1 > 1280 << 20);
    assert_eq!(ready(&w)["status"]["containerStatuses"][1]["restartCount"], 0);
    remove(&mut w, &k);
    inject(&mut w, "StressChaos", "more", json!({"stressors": {"memory": {"workers": 1, "size": "3GB"}}}));
    advance(&mut w, 10.0);
    let p = ready(&w);
    let status = &p["status"]["containerStatuses"][1];
    assert_eq!(status["lastState"]["terminated"]["reason"], "OOMKilled", "{status:#}");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 137);
    assert_eq!(status["restartCount"], 1);
}

#[test]
fn delay_breaks_probes_and_goes_with_the_experiment() {
    let mut w = healthy();
    let k = inject(
        &mut w,
        "NetworkChaos",
        "delay",
        json!({"action": "delay", "direction": "to", "delay": {"latency": "1000ms", "correlation": "0"}}),
    );
    advance(&mut w, 20.0);
    assert!(!object::ready(&ready(&w)));
    remove(&mut w, &k);
    advance(&mut w, 5.0);
    assert!(object::ready(&ready(&w)));
}

#[test]
fn pod_failure_pauses_every_container_and_recovers() {
    let mut w = healthy();
    let k = inject(&mut w, "PodChaos", "fail", json!({"action": "pod-failure", "duration": "1200s"}));
    advance(&mut w, 10.0);
    let p = ready(&w);
    assert!(!object::ready(&p));
    assert_eq!(p["spec"]["containers"][1]["image"], "gcr.io/google-containers/pause:latest");
    advance(&mut w, 60.0);
    assert!(!object::ready(&ready(&w)));
    remove(&mut w, &k);
    advance(&mut w, 10.0);
    let p = ready(&w);
    assert!(object::ready(&p), "{:#}", p["status"]);
    assert_eq!(p["spec"]["containers"][0]["image"], "python:3.9-slim");
}

#[test]
fn a_duration_ends_the_fault_by_itself() {
    let mut w = healthy();
    let k = inject(&mut w, "PodChaos", "fail", json!({"action": "pod-failure", "duration": "60s"}));
    advance(&mut w, 90.0);
    let c = w.store.get(&k).unwrap().clone();
    assert!(object::condition_true(&c, "AllRecovered"), "{c:#}");
    assert_eq!(c["status"]["experiment"]["desiredPhase"], "Stop");
    assert!(object::ready(&ready(&w)));
}

#[test]
fn a_recreated_pod_has_no_fault_and_the_experiment_can_still_be_deleted() {
    let mut w = healthy();
    let k = inject(&mut w, "StressChaos", "cpu", json!({"stressors": {"cpu": {"workers": 1, "load": 100}}}));
    let (old, _) = pods(&w, "web").remove(0);
    registry::delete(&mut w, &old, &DeleteOptions::default()).unwrap();
    w.settle();
    advance(&mut w, 60.0);
    assert!(w.store.get(&old).is_none());
    assert!(usage(&w).0 < 0.1);
    remove(&mut w, &k);
}

#[test]
fn the_pause_annotation_takes_the_fault_out_and_back_in() {
    let mut w = healthy();
    let k = inject(&mut w, "NetworkChaos", "delay", json!({"action": "delay", "delay": {"latency": "50ms"}, "direction": "to"}));
    let faulty = |w: &World| !w.runtime.pod(&pods(w, "web")[0].0).unwrap().net.is_empty();
    let mark = |w: &mut World, value: &str| {
        let mut c = (**w.store.get(&k).unwrap()).clone();
        object::annotate(&mut c, "experiment.chaos-mesh.org/pause", value);
        registry::update(w, &k, c, registry::Part::Main).unwrap();
        w.settle();
        advance(w, 5.0);
    };
    assert!(faulty(&w));
    mark(&mut w, "true");
    assert!(!faulty(&w));
    assert!(object::condition_true(w.store.get(&k).unwrap(), "Paused"));
    mark(&mut w, "false");
    assert!(faulty(&w));
    assert!(object::condition_true(w.store.get(&k).unwrap(), "AllInjected"));
}

#[test]
fn kills_are_done_once() {
    let mut w = healthy();
    let (before, _) = pods(&w, "web").remove(0);
    let k = inject(&mut w, "PodChaos", "container", json!({"action": "container-kill", "containerNames": ["web"]}));
    advance(&mut w, 10.0);
    assert_eq!(ready(&w)["status"]["containerStatuses"][1]["restartCount"], 1);
    remove(&mut w, &k);
    let k = inject(&mut w, "PodChaos", "pod", json!({"action": "pod-kill"}));
    advance(&mut w, 10.0);
    let (after, p) = pods(&w, "web").remove(0);
    assert!(after != before && object::ready(&p));
    remove(&mut w, &k);
    assert_eq!(pods(&w, "web")[0].0, after);
}

#[test]
fn nothing_selected_is_said_and_tried_again() {
    let mut w = world();
    let k = key("podchaos", "early");
    let object = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "PodChaos", "metadata": {"name": "early"},
        "spec": {"action": "pod-failure", "mode": "all", "selector": {"namespaces": [NS], "labelSelectors": {"app": "web"}}}});
    registry::create(&mut w, &k.resource, NS, object).unwrap();
    w.settle();
    advance(&mut w, 5.0);
    assert_eq!(object::condition(&w.store.get(&k).unwrap()["status"], "Selected").unwrap()["status"], "False");
    deploy(&mut w, "web", 2);
    advance(&mut w, 30.0);
    let c = w.store.get(&k).unwrap();
    assert!(object::condition_true(c, "AllInjected"), "{c:#}");
    assert_eq!(c["status"]["experiment"]["containerRecords"].as_array().unwrap().len(), 2);
}

#[test]
fn a_fault_between_two_pods_leaves_other_traffic_alone() {
    let mut w = healthy();
    deploy(&mut w, "peer", 1);
    advance(&mut w, 10.0);
    let target = json!({"mode": "all", "selector": {"namespaces": [NS], "labelSelectors": {"app": "peer"}}});
    inject(&mut w, "NetworkChaos", "split", json!({"action": "partition", "direction": "both", "target": target}));
    let run = |app: &str| w.runtime.pod(&pods(&w, app)[0].0).unwrap();
    let (web, peer) = (run("web"), run("peer"));
    let lost = |from: &kubelet::PodRun, to| kubelet::network::egress(from, to).loss > 0.99;
    assert!(lost(web, peer.address) && lost(peer, web.address));
    assert!(!lost(web, None) && !lost(peer, None));
}
