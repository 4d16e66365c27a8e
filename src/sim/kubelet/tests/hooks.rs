//! Hooks, and containers beside others: when they are run, and what comes of their failures.

use super::*;

fn make(w: &mut World, name: &str, spec: &Value) -> Key {
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
    registry::create(w, &PODS, NS, object).unwrap();
    w.settle();
    Key::new(&PODS, NS, name)
}

fn status(w: &World, key: &Key) -> Value {
    w.store.get(key).unwrap()["status"].clone()
}

fn told(w: &World, name: &str) -> Vec<String> {
    let of = |e: &Value| e["involvedObject"]["name"] == name && e["source"]["component"] == "kubelet";
    let mut all: Vec<(String, String)> = w
        .store
        .list(&EVENTS, Some(NS))
        .filter(|(_, e)| of(e))
        .map(|(k, e)| (k.name.to_string(), format!("{} {}", e["reason"].as_str().unwrap(), e["message"].as_str().unwrap())))
        .collect();
    all.sort();
    all.into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_container_is_not_ready_before_its_hook_is_over_and_the_next_one_waits() {
    let mut w = world();
    let hook = json!({"postStart": {"sleep": {"seconds": 20}}});
    let key =
        make(&mut w, "p", &json!({"containers": [{"name": "a", "image": "nginx", "lifecycle": hook}, {"name": "b", "image": "nginx"}]}));
    advance(&mut w, 10.0);
    let s = status(&w, &key);
    assert_eq!((&s["phase"], &s["containerStatuses"][0]["state"]["waiting"]["reason"]), (&json!("Pending"), &json!("ContainerCreating")));
    assert!(s["containerStatuses"][1]["state"]["waiting"].is_object());
    advance(&mut w, 20.0);
    assert!(object::ready(&pods(&w, "p").remove(0).1), "{:#}", status(&w, &key));
}

#[test]
fn a_container_whose_hook_fails_is_killed_and_tried_again() {
    let mut w = world();
    for (name, hook, message) in [
        (
            "exec",
            json!({"exec": {"command": ["sh", "-c", "exit 3"]}}),
            "Exec lifecycle hook ([sh -c exit 3]) for Container \"c\" in Pod \"exec_simple-micro(",
        ),
        ("http", json!({"httpGet": {"port": 81, "path": "x"}}), "HTTP lifecycle hook (/x) for Container \"c\" in Pod \"http_simple-micro("),
    ] {
        let container = json!({"name": "c", "image": "nginx", "ports": [{"containerPort": 80}], "lifecycle": {"postStart": hook}});
        let key = make(&mut w, name, &json!({"containers": [container]}));
        let mut seen = Vec::new();
        for _ in 0..100 {
            advance(&mut w, 0.05);
            let waiting = status(&w, &key)["containerStatuses"][0]["state"]["waiting"].clone();
            seen.extend(waiting["message"].as_str().filter(|_| waiting["reason"] == "PostStartHookError").map(str::to_owned));
        }
        assert!(seen.first().is_some_and(|m| m.starts_with(message)), "{name} {seen:?}");
        advance(&mut w, 5.0);
        let s = status(&w, &key)["containerStatuses"][0].clone();
        assert_eq!(s["state"]["waiting"]["reason"], "CrashLoopBackOff", "{s:#}");
        assert_eq!(s["lastState"]["terminated"]["exitCode"], 137);
        let told = told(&w, name);
        assert!(
            told.iter().any(|t| t == "FailedPostStartHook PostStartHook failed") && told.iter().any(|t| t == "Killing FailedPostStartHook"),
            "{told:?}"
        );
    }
    // Any answer is a good one.
    let container = json!({"name": "c", "image": "nginx", "ports": [{"containerPort": 80}], "lifecycle": {"postStart": {"httpGet": {"port": 80, "path": "/nowhere"}}}});
    make(&mut w, "fine", &json!({"containers": [container]}));
    advance(&mut w, 10.0);
    assert!(object::ready(&pods(&w, "fine").remove(0).1));
}

#[test]
fn a_hook_before_the_end_has_the_grace_and_the_container_two_seconds_more() {
    let mut w = world();
    let hook = json!({"preStop": {"sleep": {"seconds": 8}}});
    let container = json!({"name": "c", "image": "busybox", "command": ["sleep", "3600"], "lifecycle": hook});
    let key = make(&mut w, "p", &json!({"terminationGracePeriodSeconds": 9, "containers": [container]}));
    advance(&mut w, 10.0);
    registry::delete(&mut w, &key, &DeleteOptions::default()).unwrap();
    w.settle();
    advance(&mut w, 9.5);
    assert!(w.store.get(&key).is_some());
    advance(&mut w, 1.0);
    assert!(w.store.get(&key).is_none());
    let failing = json!({"preStop": {"exec": {"command": ["false"]}}});
    let key = make(&mut w, "q", &json!({"containers": [{"name": "c", "image": "nginx", "lifecycle": failing}]}));
    advance(&mut w, 10.0);
    registry::delete(&mut w, &key, &DeleteOptions::default()).unwrap();
    w.settle();
    advance(&mut w, 1.0);
    assert!(w.store.get(&key).is_none());
    assert!(told(&w, "q").contains(&"FailedPreStopHook PreStopHook failed".to_owned()));
}

#[test]
fn sidecars_start_first_end_last_and_keep_no_pod_from_ending() {
    let mut w = world();
    let sidecar = |name: &str| json!({"name": name, "image": "nginx", "restartPolicy": "Always"});
    let spec = json!({"restartPolicy": "Never", "initContainers": [sidecar("s1"), sidecar("s2")],
        "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "20"]}]});
    let key = make(&mut w, "p", &spec);
    advance(&mut w, 12.0);
    let s = status(&w, &key);
    let at = |c: &Value| c["state"]["running"]["startedAt"].as_str().unwrap().to_owned();
    assert!(
        at(&s["initContainerStatuses"][0]) <= at(&s["initContainerStatuses"][1])
            && at(&s["initContainerStatuses"][1]) <= at(&s["containerStatuses"][0])
    );
    assert_eq!(s["phase"], "Running");
    // One that fails comes back.
    super::super::kill(&mut w, &key, "s1", 3);
    advance(&mut w, 3.0);
    assert_eq!(status(&w, &key)["initContainerStatuses"][0]["restartCount"], 1);
    advance(&mut w, 20.0);
    let s = status(&w, &key);
    assert_eq!(s["phase"], "Succeeded", "{s:#}");
    assert!(s["initContainerStatuses"][0]["state"]["terminated"].is_object());
    let ends: Vec<String> = told(&w, "p").into_iter().filter(|t| t.starts_with("Killing")).collect();
    assert_eq!(ends, ["Killing Stopping container s2", "Killing Stopping container s1"]);
}

#[tokio::test]
async fn commands_of_hooks_are_really_run() {
    let engine = Engine::new(SimConfig { programs: true, ..SimConfig::default() });
    let stop = CancellationToken::new();
    tokio::spawn(Clock::start(Arc::clone(&engine), stop.clone()));
    tokio::spawn(super::super::programs::serve(Arc::clone(&engine), engine.programs(), stop.clone()));
    engine.with(|w| {
        registry::create(w, &NAMESPACES, "", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}})).unwrap()
    });
    engine.charge(Duration::from_secs(1));
    let pod = |name: &str, hook: &str, image: &str| {
        let container = json!({"name": "c", "image": image, "command": ["sleep", "3600"], "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", hook]}}}});
        engine.with(|w| make(w, name, &json!({"containers": [container]})))
    };
    let good = pod("good", "echo hello > /tmp/f", "busybox");
    let bad = pod("bad", "echo oh dear >&2; test -e /nothing", "busybox");
    let told_of = |e: &Arc<Engine>| e.with(|w| told(w, "bad").iter().any(|t| t.starts_with("FailedPostStartHook")));
    let mut failed = false;
    for _ in 0..200 {
        engine.charge(Duration::from_millis(100));
        tokio::time::sleep(Duration::from_millis(2)).await;
        failed |= told_of(&engine);
    }
    assert!(failed);
    assert_eq!(run(&engine, &good, "c", "cat /tmp/f").await.1, "hello\n");
    let refused = engine.with(|w| w.store.get(&bad).unwrap()["status"]["containerStatuses"][0].clone());
    assert_eq!(refused["ready"], false, "{refused:#}");
    stop.cancel();
}
