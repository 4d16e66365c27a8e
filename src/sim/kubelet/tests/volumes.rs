//! What containers find in their volumes, and pods whose volumes cannot be mounted.

use super::*;

const MAPS: (&str, &str) = ("", "configmaps");

fn create(w: &mut World, (group, plural): (&str, &str), object: Value) -> Key {
    let resource = Resource::new(group, plural);
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    registry::create(w, &resource, NS, object).unwrap();
    w.settle();
    Key::new(&resource, NS, &name)
}

fn change(w: &mut World, key: &Key, change: impl FnOnce(&mut Value)) {
    let mut new = (**w.store.get(key).unwrap()).clone();
    change(&mut new);
    registry::update(w, key, new, registry::Part::Main).unwrap();
    w.settle();
}

fn map(data: impl Into<Value>) -> Value {
    let data = data.into();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data})
}

fn pod(spec: impl Into<Value>) -> Value {
    let spec = spec.into();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "p", "tier": "web"}}, "spec": spec})
}

fn warnings(w: &World) -> Vec<String> {
    let mounts = |v: &Value| (v["reason"] == "FailedMount").then(|| v["message"].as_str().unwrap().to_owned());
    w.store.list(&EVENTS, Some(NS)).filter_map(|(_, v)| mounts(v)).collect()
}

fn phase(w: &World) -> (Value, bool) {
    let p = pods(w, "p").remove(0).1;
    (p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone(), object::ready(&p))
}

#[test]
fn a_pod_waits_for_what_its_volumes_are_made_of() {
    let mut w = world();
    let spec = json!({"volumes": [
            {"name": "config", "configMap": {"name": "settings", "items": [{"key": "a", "path": "a"}]}},
            {"name": "maybe", "secret": {"secretName": "absent", "optional": true}},
            {"name": "unused", "secret": {"secretName": "absent"}}],
        "containers": [{"name": "c", "image": "nginx:1", "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}, {"name": "maybe", "mountPath": "/m"}]}]});
    create(&mut w, ("", "pods"), pod(spec));
    advance(&mut w, 10.0);
    assert_eq!(phase(&w), (json!("ContainerCreating"), false));
    assert_eq!(warnings(&w), ["MountVolume.SetUp failed for volume \"config\" : configmap \"settings\" not found"]);
    let p = pods(&w, "p").remove(0).1;
    assert_eq!((&p["status"]["phase"], &p["status"]["podIP"]), (&json!("Pending"), &Value::Null));
    let key = create(&mut w, MAPS, map(json!({"b": "1"})));
    advance(&mut w, 130.0);
    let told = warnings(&w);
    assert!(told.iter().any(|t| t.ends_with("configmap references non-existent config key: a")), "{told:?}");
    assert!(told.iter().any(|t| t.starts_with("Unable to attach or mount volumes: unmounted volumes=[config]")), "{told:?}");
    change(&mut w, &key, |m| m["data"]["a"] = "1".into());
    advance(&mut w, 130.0);
    assert_eq!(phase(&w), (Value::Null, true));
}

#[test]
fn paths_on_nodes_must_be_what_they_are_said_to_be() {
    for (path, kind, why) in [
        ("/var/log", "Directory", None),
        ("/nowhere", "", None),
        ("/nowhere", "Directory", Some("/nowhere is not a directory")),
        ("/etc/hostname", "File", None),
        ("/etc", "File", Some("/etc is not a file")),
        ("/run/k3s/containerd/containerd.sock", "Socket", None),
    ] {
        let mut w = world();
        let spec = json!({"volumes": [{"name": "h", "hostPath": {"path": path, "type": kind}}],
            "containers": [{"name": "c", "image": "nginx:1", "volumeMounts": [{"name": "h", "mountPath": "/h"}]}]});
        create(&mut w, ("", "pods"), pod(spec));
        advance(&mut w, 10.0);
        assert_eq!(phase(&w).1, why.is_none(), "{path} {kind}");
        let told: Vec<String> =
            why.map(|why| format!("MountVolume.SetUp failed for volume \"h\" : hostPath type check failed: {why}")).into_iter().collect();
        assert_eq!(warnings(&w), told);
    }
}

/// The engine's cluster with a pod `p` of busybox that sleeps.
fn sleeper(engine: &Engine, mut spec: Value) -> Key {
    spec["containers"][0]["name"] = "c".into();
    spec["containers"][0]["image"] = "busybox".into();
    spec["containers"][0]["command"] = json!(["sleep", "3600"]);
    engine.with(|w| {
        let key = create(w, ("", "pods"), pod(spec));
        advance(w, 10.0);
        key
    })
}

async fn sh(engine: &Arc<Engine>, key: &Key, line: &str) -> String {
    let (_, out, _) = run(engine, key, "c", line).await;
    out
}

#[tokio::test]
async fn objects_are_files_that_change_together() {
    let (engine, _, stop) = engine();
    let key = engine.with(|w| create(w, MAPS, map(json!({"app.conf": "one\n", "other": "x"}))));
    engine.with(|w| {
        create(
            w,
            ("", "secrets"),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "geheim"}}),
        );
    });
    let spec = json!({"volumes": [
            {"name": "config", "configMap": {"name": "settings"}},
            {"name": "all", "projected": {"defaultMode": 0o400, "sources": [
                {"secret": {"name": "s", "items": [{"key": "password", "path": "db/password"}]}},
                {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "memory", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}}]}}]}},
            {"name": "work", "emptyDir": {}}],
        "containers": [{"resources": {"limits": {"memory": "64Mi"}}, "volumeMounts": [
            {"name": "config", "mountPath": "/etc/app"}, {"name": "config", "mountPath": "/app.conf", "subPath": "app.conf"},
            {"name": "all", "mountPath": "/all"}, {"name": "work", "mountPath": "/w"}, {"name": "work", "mountPath": "/below", "subPath": "sub/dir"}]}]});
    let at = sleeper(&engine, spec);
    assert_eq!(
        sh(&engine, &at, "ls /etc/app; cat /etc/app/app.conf /app.conf; readlink /etc/app/other").await,
        "app.conf\nother\none\none\n..data/other\n"
    );
    assert_eq!(
        sh(&engine, &at, "ls -a /etc/app | wc -l; cat /all/db/password /all/labels; echo; cat /all/memory").await,
        "6\ngeheimapp=\"p\"\ntier=\"web\"\n64"
    );
    assert_eq!(
        sh(&engine, &at, "stat -L -c %a /all/labels; echo x > /etc/app/new; echo $?").await,
        "400\nsh: can't create /etc/app/new: Read-only file system\n1\n"
    );
    assert_eq!(sh(&engine, &at, "echo 1 > /below/f; cat /w/sub/dir/f; ls /w").await, "1\nsub\n");
    engine.with(|w| change(w, &key, |m| m["data"]["app.conf"] = "two\n".into()));
    engine.charge(Duration::from_secs(61));
    // What is mounted by itself stays as it was.
    assert_eq!(sh(&engine, &at, "cat /etc/app/app.conf /app.conf").await, "two\none\n");
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let token = sh(&engine, &at, &format!("cat {account}/token")).await;
    engine.charge(Duration::from_secs(61));
    assert_eq!(sh(&engine, &at, &format!("cat {account}/token")).await, token);
    assert_eq!(sh(&engine, &at, &format!("ls {account}; cat {account}/namespace")).await, format!("ca.crt\nnamespace\ntoken\n{NS}"));
    stop.cancel();
}

#[tokio::test]
async fn a_nodes_files_are_those_of_all_its_pods() {
    let (engine, _, stop) = engine();
    let spec = json!({"automountServiceAccountToken": false, "volumes": [{"name": "root", "hostPath": {"path": "/"}}],
        "containers": [{"volumeMounts": [{"name": "root", "mountPath": "/host"}]}]});
    let at = sleeper(&engine, spec);
    let node = engine.with(|w| w.store.get(&at).unwrap()["spec"]["nodeName"].as_str().unwrap().to_owned());
    assert_eq!(sh(&engine, &at, "cat /host/etc/hostname; ls /var/run/secrets 2>&1 | wc -l").await, format!("{node}\n1\n"));
    assert_eq!(
        sh(&engine, &at, "chroot /host sh -c 'echo new > /srv/note; grep -c Ubuntu /etc/os-release' > /tmp/said; cat /tmp/said").await,
        "2\n"
    );
    assert_eq!(
        sh(&engine, &at, "cat /host/srv/note; chroot /host which curl; chroot /nowhere ls; echo $?").await,
        "new\n/usr/bin/curl\nchroot: can't change root directory to '/nowhere': No such file or directory\n1\n"
    );
    engine.with(|w| {
        registry::delete(w, &at, &DeleteOptions { grace_period_s: Some(0), ..DeleteOptions::default() }).unwrap();
        w.settle();
    });
    let spec = json!({"nodeName": node, "volumes": [{"name": "r", "hostPath": {"path": "/srv"}}], "containers": [{"volumeMounts": [{"name": "r", "mountPath": "/r"}]}]});
    let at = sleeper(&engine, spec);
    assert_eq!(sh(&engine, &at, "cat /r/note").await, "new\n");
    stop.cancel();
}
