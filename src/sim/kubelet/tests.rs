mod hooks;
mod settings;
mod volumes;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::sim::SimConfig;
use crate::sim::clock::Clock;
use crate::sim::config::{Profile, StartUp, WorkloadModel};
use crate::sim::controllers::kinds::{EVENTS, NAMESPACES, PODS};
use crate::sim::controllers::object;
use crate::sim::controllers::tests::{NS, advance, deploy, pods, with, world};
use crate::sim::registry::{self, DeleteOptions};
use crate::sim::resource::{Key, Resource};
use crate::sim::shell::{self, Exit, Host as _, HttpCall, Output};
use crate::sim::time::SimTime;
use crate::sim::world::{Engine, World};

#[test]
fn metrics_appear_with_the_first_scrape() {
    metrics_appear(world());
    // A cluster that comes up at any moment of the calendar keeps its beat.
    let start = SimTime(28_338_123_457);
    let w = with(SimConfig { start, ..SimConfig::default() });
    assert_eq!(w.now, start.after(Duration::from_secs(1)));
    assert_eq!(object::created(w.store.get(&Key::new(&NAMESPACES, "", NS)).unwrap()), SimTime(start.0 / 1000 * 1000));
    metrics_appear(w);
}

fn metrics_appear(mut w: World) {
    deploy(&mut w, "web", 1);
    w.advance_to(w.now.after(Duration::from_secs(5)));
    let (key, pod) = pods(&w, "web").remove(0);
    assert!(object::ready(&pod));
    assert_eq!(key.resource, *PODS);
    assert_eq!(super::metrics(&w, &key), None);
    w.advance_to(w.now.after(Duration::from_secs(15)));
    let m = super::metrics(&w, &key).unwrap();
    assert_eq!(m.containers.len(), 2);
    assert!(m.containers[0].2 > 1 << 20, "{m:?}");
    assert!(super::node_metrics(&w, "node-1").is_some());
}

#[test]
fn a_bad_image_waits_and_a_killed_container_comes_back() {
    let mut w = world();
    let pod = |name: &str, image: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": image}]}})
    };
    registry::create(&mut w, &PODS, NS, pod("bad", "pyhton:3.9")).unwrap();
    registry::create(&mut w, &PODS, NS, pod("good", "nginx:1")).unwrap();
    w.settle();
    advance(&mut w, 30.0);
    let (key, p) = pods(&w, "bad").remove(0);
    assert_eq!(p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "ImagePullBackOff");
    assert!(super::logs(&w, &key, "c", false).unwrap_err().message.ends_with("trying and failing to pull image"));
    let (key, _) = pods(&w, "good").remove(0);
    super::kill(&mut w, &key, "c", 137);
    advance(&mut w, 5.0);
    let (_, p) = pods(&w, "good").remove(0);
    assert_eq!(p["status"]["containerStatuses"][0]["restartCount"], 1);
    assert!(object::ready(&p), "{:#}", p["status"]);
    // What ends at once was never seen to be ready.
    registry::create(&mut w, &PODS, NS, pod("brief", "busybox")).unwrap();
    for _ in 0..100 {
        w.settle();
        advance(&mut w, 0.1);
        assert!(!object::ready(&pods(&w, "brief").remove(0).1));
    }
    let (_, p) = pods(&w, "brief").remove(0);
    assert!(p["status"]["containerStatuses"][0]["restartCount"].as_u64() >= Some(1), "{:#}", p["status"]);
}

#[test]
fn init_containers_come_first_and_end() {
    let mut w = world();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "p"}}, "spec": {
        "initContainers": [
            {"name": "pause", "image": "busybox:1.35", "command": ["sleep", "20"]},
            {"name": "wait", "image": "busybox:1.35", "command": ["/bin/sh", "-c", "set -e\nwhile ! wget -q db; do sleep 1; done"]}],
        "containers": [{"name": "c", "image": "nginx:1"}]}});
    registry::create(&mut w, &PODS, NS, pod).unwrap();
    w.settle();
    advance(&mut w, 10.0);
    let (_, p) = pods(&w, "p").remove(0);
    assert_eq!(p["status"]["phase"], "Pending");
    assert!(p["status"]["initContainerStatuses"][0]["state"]["running"].is_object(), "{:#}", p["status"]);
    assert_eq!(p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    advance(&mut w, 20.0);
    let (_, p) = pods(&w, "p").remove(0);
    assert!(object::ready(&p), "{:#}", p["status"]);
    assert_eq!(p["status"]["initContainerStatuses"][1]["state"]["terminated"]["exitCode"], 0);
}

/// An engine with one ready deployment of two containers, its clock running.
fn engine() -> (Arc<Engine>, Key, CancellationToken) {
    let profile = Profile { family: Some("debian-slim".to_owned()), ..Profile::default() };
    let model = WorkloadModel { container: Some("web".to_owned()), profile, ..WorkloadModel::default() };
    let engine = Engine::new(SimConfig { workloads: vec![model], ..SimConfig::default() });
    let key = engine.with(|w| {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}});
        registry::create(w, &NAMESPACES, "", namespace).unwrap();
        w.settle();
        deploy(w, "web", 1);
        advance(w, 30.0);
        pods(w, "web").remove(0).0
    });
    let stop = CancellationToken::new();
    tokio::spawn(Clock::start(Arc::clone(&engine), stop.clone()));
    (engine, key, stop)
}

/// Runs a shell line in a container: exit code, output, simulated time.
async fn run(engine: &Arc<Engine>, key: &Key, container: &str, line: &str) -> (i32, String, Duration) {
    let host = Arc::new(super::exec_host(engine, key, container).unwrap());
    let start = engine.now();
    let (out, mut pieces) = mpsc::channel(64);
    let (_input, stdin) = mpsc::channel(1);
    let collect = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(Output::Stdout(b) | Output::Stderr(b)) = pieces.recv().await {
            all.extend(b);
        }
        String::from_utf8_lossy(&all).into_owned()
    });
    let argv = ["sh", "-c", line].map(str::to_owned).to_vec();
    let exit = shell::run(host, argv, stdin, out).await;
    let code = if let Exit::Code(c) = exit { c } else { -1 };
    (code, collect.await.unwrap(), engine.now().since(start))
}

fn inject(engine: &Engine, kind: &str, mut spec: Value) -> Key {
    let key = Key::new(&Resource::new("chaos-mesh.org", &kind.to_lowercase()), NS, "x");
    spec["mode"] = "one".into();
    spec["selector"] = json!({"labelSelectors": {"app": "web"}});
    let object = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
    engine.with(|w| registry::create(w, &key.resource, NS, object).map(|_| ())).unwrap();
    engine.charge(Duration::from_secs(3));
    assert!(engine.with(|w| object::condition_true(w.store.get(&key).unwrap(), "AllInjected")));
    key
}

fn undo(engine: &Engine, key: &Key) {
    engine.with(|w| registry::delete(w, key, &DeleteOptions::default()).map(|_| ())).unwrap();
    engine.charge(Duration::from_secs(4));
    assert!(engine.with(|w| w.store.get(key).is_none()));
}

#[tokio::test]
async fn ping_shows_loss_and_delay_only_while_they_last() {
    let (engine, key, stop) = engine();
    let line = "ping -c 20 -W 2 8.8.8.8";
    let clean = run(&engine, &key, "sidecar-busybox", line).await;
    assert!(clean.0 == 0 && clean.1.contains(" 0% packet loss"), "{clean:?}");
    let fault = inject(&engine, "NetworkChaos", json!({"action": "loss", "loss": {"loss": "50", "correlation": "0"}, "direction": "to"}));
    let lossy = run(&engine, &key, "sidecar-busybox", line).await;
    assert!(!lossy.1.contains(" 0% packet loss"), "{lossy:?}");
    undo(&engine, &fault);
    let fault = inject(&engine, "NetworkChaos", json!({"action": "delay", "delay": {"latency": "1000ms"}, "direction": "to"}));
    let slow = run(&engine, &key, "sidecar-busybox", "ping -c 3 -W 2 8.8.8.8").await;
    // busybox waits a second for the last one, whose reply takes a little longer.
    assert!(slow.1.contains("/100") && slow.1.contains(" 33% packet loss"), "{slow:?}");
    undo(&engine, &fault);
    assert!(run(&engine, &key, "sidecar-busybox", line).await.1.contains(" 0% packet loss"));
    stop.cancel();
}

#[tokio::test]
async fn tc_finds_the_disciplines_of_faults_and_whoever_may_removes_them() {
    let (engine, key, stop) = engine();
    let shown = || engine.with(|w| super::qdisc::show(w, w.runtime.pod(&key).unwrap()));
    let none = ["noqueue 0: root refcnt 2 "];
    assert_eq!(shown(), none);
    let delay = json!({"action": "delay", "delay": {"latency": "1000ms", "jitter": "10ms"}, "direction": "to"});
    let fault = inject(&engine, "NetworkChaos", delay);
    assert_eq!(shown(), ["netem 1: root refcnt 2 limit 1000 delay 1s  10ms"]);
    assert_eq!(engine.with(|w| super::qdisc::remove(w, &key, "sidecar-busybox")), None);
    let slow = run(&engine, &key, "sidecar-busybox", "ping -c 3 -W 2 8.8.8.8").await;
    engine.with(|w| {
        let mut pod = (**w.store.get(&key).unwrap()).clone();
        for container in pod["spec"]["containers"].as_array_mut().unwrap() {
            container["securityContext"] = json!({"capabilities": {"add": ["NET_ADMIN"]}});
        }
        w.store.put(&key, pod);
    });
    assert_eq!(engine.with(|w| super::qdisc::remove(w, &key, "sidecar-busybox")), Some(true));
    assert_eq!(engine.with(|w| super::qdisc::remove(w, &key, "sidecar-busybox")), Some(false));
    let fast = run(&engine, &key, "sidecar-busybox", "ping -c 3 -W 2 8.8.8.8").await;
    assert!(slow.2 > fast.2 + Duration::from_millis(500), "{slow:?} {fast:?}");
    assert_eq!(shown(), none);
    undo(&engine, &fault);
    // A fault on some peers stands below a class of its own; a partition is a packet filter.
    let some = json!({"action": "loss", "loss": {"loss": "50"}, "direction": "to", "externalTargets": ["8.8.8.8"]});
    let fault = inject(&engine, "NetworkChaos", some);
    let lines = shown();
    assert!(lines.len() == 5 && lines[0].starts_with("prio 1: root refcnt 2 bands 4 "), "{lines:?}");
    assert_eq!(lines[4], "netem 5: parent 1:4 limit 1000 loss 50%");
    undo(&engine, &fault);
    let fault = inject(&engine, "NetworkChaos", json!({"action": "partition", "direction": "both"}));
    assert_eq!(shown(), none);
    undo(&engine, &fault);
    stop.cancel();
}

#[tokio::test]
async fn disk_writes_are_slow_while_the_fault_lasts() {
    let (engine, key, stop) = engine();
    let line = "dd if=/dev/zero of=/var/log/mysql/t.tmp bs=1M count=10 oflag=direct";
    let (code, _, took) = run(&engine, &key, "web", line).await;
    assert!(code == 0 && took < Duration::from_secs(1), "{took:?}");
    let fault = inject(
        &engine,
        "IOChaos",
        json!({"action": "latency", "volumePath": "/var/log/mysql", "path": "/var/log/mysql/**/*", "delay": "5s", "percent": 50}),
    );
    assert!(run(&engine, &key, "web", line).await.2 > Duration::from_secs(5));
    // Elsewhere, and in the other container, the disk is as fast as ever.
    assert!(run(&engine, &key, "web", "dd if=/dev/zero of=/tmp/t bs=1M count=10").await.2 < Duration::from_secs(1));
    assert!(run(&engine, &key, "sidecar-busybox", line).await.2 < Duration::from_secs(1));
    undo(&engine, &fault);
    assert!(run(&engine, &key, "web", line).await.2 < Duration::from_secs(1));
    stop.cancel();
}

#[tokio::test]
async fn containers_share_volumes_names_resolve_and_stressors_can_be_killed() {
    let (engine, key, stop) = engine();
    run(&engine, &key, "web", "echo hello > /var/log/mysql/note").await;
    assert_eq!(run(&engine, &key, "sidecar-busybox", "cat /var/log/mysql/note").await.1, "hello\n");
    let host = super::exec_host(&engine, &key, "sidecar-busybox").unwrap();
    let address = host.resolve("web").unwrap();
    assert_eq!(host.resolve("web.simple-micro.svc.cluster.local"), Ok(address));
    assert_eq!(host.resolve("nobody"), Err(shell::ResolveError::NoSuchName));
    let timeout = Duration::from_secs(1);
    let call = |path: &str| HttpCall { method: "GET".to_owned(), address, port: 5000, path: path.to_owned(), timeout };
    assert_eq!(host.http(&call("/")).unwrap().status, 200);
    assert_eq!(host.ping(address), shell::Ping::Lost);
    drop(host);
    assert_eq!(run(&engine, &key, "web", "cat /var/run/secrets/kubernetes.io/serviceaccount/namespace").await.1, NS);
    inject(&engine, "StressChaos", json!({"stressors": {"cpu": {"workers": 2, "load": 100}}}));
    engine.charge(Duration::from_secs(2));
    let cpu = |e: &Engine| e.with(|w| w.runtime.pod(&key).unwrap().containers[0].cpu);
    assert!(cpu(&engine) > 0.4);
    let host = super::exec_host(&engine, &key, "web").unwrap();
    assert!(host.processes().iter().any(|p| p.args.first().is_some_and(|a| a == "stress-ng")));
    assert!(host.kill(200, 15) && !host.kill(999, 15));
    drop(host);
    engine.charge(Duration::from_secs(2));
    assert!(cpu(&engine) < 0.1);
    stop.cancel();
}

#[tokio::test]
async fn exec_says_why_it_cannot() {
    let (engine, key, stop) = engine();
    let text = |c: &str| super::exec_host(&engine, &key, c).err().map(|e| e.message).unwrap();
    assert_eq!(text("nope"), format!("container nope is not valid for pod {}", key.name));
    inject(&engine, "PodChaos", json!({"action": "pod-failure"}));
    engine.charge(Duration::from_secs(20));
    assert_eq!(text("web"), "container not found (\"web\")");
    stop.cancel();
}

#[test]
fn a_container_whose_configuration_is_missing_waits_for_it() {
    let mut w = world();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "p"}}, "spec": {"containers": [
        {"name": "c", "image": "nginx:1", "env": [
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "b", "optional": true}}}]}]}});
    registry::create(&mut w, &PODS, NS, pod).unwrap();
    w.settle();
    advance(&mut w, 20.0);
    let waiting = |w: &crate::sim::world::World| pods(w, "p").remove(0).1["status"]["containerStatuses"][0]["state"]["waiting"].clone();
    assert_eq!(waiting(&w), json!({"reason": "CreateContainerConfigError", "message": "configmap \"settings\" not found"}));
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data});
    let maps = Resource::new("", "configmaps");
    registry::create(&mut w, &maps, NS, map(json!({"z": "1"}))).unwrap();
    advance(&mut w, 20.0);
    assert_eq!(waiting(&w)["message"], format!("couldn't find key a in ConfigMap {NS}/settings"));
    let key = Key::new(&maps, NS, "settings");
    let mut stored = (**w.store.get(&key).unwrap()).clone();
    stored["data"]["a"] = "1".into();
    registry::update(&mut w, &key, stored, registry::Part::Main).unwrap();
    advance(&mut w, 20.0);
    assert!(object::ready(&pods(&w, "p").remove(0).1));
}

#[test]
fn a_web_server_answers_probes_with_the_pages_that_it_has() {
    for (path, mount, ready) in [("/", "", true), ("/healthz", "", false), ("/healthz", "/etc/nginx/conf.d", true)] {
        let mut w = world();
        let mut spec = json!({"containers": [{"name": "c", "image": "nginx:1.27",
            "readinessProbe": {"httpGet": {"path": path, "port": 80}, "periodSeconds": 1}}]});
        if !mount.is_empty() {
            spec["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
            spec["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": mount}]);
        }
        registry::create(&mut w, &PODS, NS, json!({"metadata": {"name": "p", "labels": {"app": "p"}}, "spec": spec})).unwrap();
        advance(&mut w, 20.0);
        let (_, pod) = pods(&w, "p").remove(0);
        assert_eq!(object::ready(&pod), ready, "{path} {mount}");
        let failed =
            w.store.list(&EVENTS, Some(NS)).any(|(_, e)| e["message"] == "Readiness probe failed: HTTP probe failed with statuscode: 404");
        assert_eq!(failed, !ready, "{path} {mount}");
    }
}
