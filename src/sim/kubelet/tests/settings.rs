//! What a pod's specification says of its containers, and what comes of it.

use super::*;

fn make(w: &mut World, name: &str, spec: impl Into<Value>) -> Key {
    let spec = spec.into();
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
    registry::create(w, &PODS, NS, object).unwrap();
    w.settle();
    advance(w, 10.0);
    Key::new(&PODS, NS, name)
}

fn waiting(w: &World, name: &str) -> Value {
    pods(w, name).remove(0).1["status"]["containerStatuses"][0]["state"]["waiting"].clone()
}

#[test]
fn official_images_are_not_run_as_somebody_else_by_themselves() {
    let mut w = world();
    for (name, image, context, why) in [
        ("a", "nginx", json!({"runAsNonRoot": true}), "container has runAsNonRoot and image will run as root"),
        ("b", "nginx", json!({"runAsNonRoot": true, "runAsUser": 0}), "container's runAsUser breaks non-root policy"),
        ("c", "nginx", json!({"runAsNonRoot": true, "runAsUser": 1000}), ""),
        ("d", "some/one", json!({"runAsNonRoot": true}), ""),
    ] {
        make(&mut w, name, json!({"securityContext": context, "containers": [{"name": "c", "image": image}]}));
        let said = waiting(&w, name);
        if why.is_empty() {
            assert_eq!(said, Value::Null, "{name}");
        } else {
            assert_eq!(said["reason"], "CreateContainerConfigError");
            let message = said["message"].as_str().unwrap();
            assert!(message.starts_with(why) && message.ends_with("container: c)"), "{message}");
        }
    }
}

#[test]
fn hooks_delay_the_end_and_logs_tell_of_it() {
    let mut w = world();
    let hook = json!({"preStop": {"exec": {"command": ["sh", "-c", "sleep 12; nginx -s quit"]}}});
    let key = make(&mut w, "slow", json!({"containers": [{"name": "c", "image": "nginx", "lifecycle": hook}]}));
    registry::delete(&mut w, &key, &DeleteOptions::default()).unwrap();
    w.settle();
    advance(&mut w, 11.0);
    assert!(w.store.get(&key).is_some());
    advance(&mut w, 3.0);
    assert!(w.store.get(&key).is_none());
    let bad = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox", "terminationMessagePolicy": "FallbackToLogsOnError", "command": ["sh", "-c", "echo no way; exit 3"]}]});
    make(&mut w, "bad", bad);
    let ended = pods(&w, "bad").remove(0).1["status"]["containerStatuses"][0]["state"]["terminated"].clone();
    assert_eq!((&ended["exitCode"], &ended["message"]), (&json!(3), &json!("no way\n")));
}

#[test]
fn secrets_for_pulling_that_are_not_there_are_told_of() {
    let mut w = world();
    make(&mut w, "p", json!({"imagePullSecrets": [{"name": "regcred"}], "containers": [{"name": "c", "image": "nginx"}]}));
    let told = w
        .store
        .list(&EVENTS, Some(NS))
        .any(|(_, e)| e["reason"] == "FailedToRetrieveImagePullSecret" && e["message"].as_str().unwrap().contains("(regcred)"));
    assert!(told && object::ready(&pods(&w, "p").remove(0).1));
}

#[tokio::test]
async fn names_are_resolved_as_the_pod_says() {
    let (engine, web, stop) = engine();
    let ports = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "open"}, "spec": {"type": "NodePort", "selector": {"app": "web"},
        "ports": [{"port": 80, "targetPort": 5000, "nodePort": 30080}]}});
    engine.with(|w| registry::create(w, &Resource::new("", "services"), NS, ports).unwrap());
    engine.charge(Duration::from_secs(5));
    let image =
        || json!([{"name": "c", "image": "busybox", "command": ["sleep", "3600"], "securityContext": {"readOnlyRootFilesystem": true}}]);
    let lookup = "nslookup web | grep -c 'Address.*10.43\\|Address.*10.96.[^0]'";
    for (name, spec, line, wanted) in [
        (
            "node",
            json!({"dnsPolicy": "Default"}),
            "grep -c cluster.local /etc/resolv.conf; wget -q -T 2 -O- http://web:5000/",
            "0\nwget: bad address 'web:5000'\n",
        ),
        (
            "none",
            json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.96.0.10"], "searches": ["simple-micro.svc.cluster.local"]}}),
            lookup,
            "1\n",
        ),
        (
            "alias",
            json!({"hostAliases": [{"ip": "10.9.8.7", "hostnames": ["db"]}]}),
            "tail -1 /etc/hosts; ping -c 1 -W 1 db | head -1",
            "10.9.8.7\tdb\nPING db (10.9.8.7): 56 data bytes\n",
        ),
        (
            "sealed",
            json!({}),
            "echo x > /home/file; echo $?; wget -q -T 2 -O- http://192.168.64.11:30080/ | head -1",
            "sh: can't create /home/file: Read-only file system\n1\nOK\n",
        ),
    ] {
        let mut spec = spec;
        spec["containers"] = image();
        let key = engine.with(|w| make(w, name, spec));
        assert_eq!(run(&engine, &key, "c", line).await.1, wanted, "{name}");
    }
    drop(web);
    stop.cancel();
}

#[test]
fn pods_of_ones_own_are_looked_at_when_they_say() {
    let mut w = with(SimConfig { start_up: StartUp::Prompt, ..SimConfig::default() });
    let probe = json!({"tcpSocket": {"port": 80}, "initialDelaySeconds": 15});
    let object = json!({"metadata": {"name": "p", "labels": {"app": "p"}}, "spec": {"containers": [{"name": "c", "image": "nginx", "readinessProbe": probe}]}});
    registry::create(&mut w, &PODS, NS, object).unwrap();
    w.settle();
    for (after, ready) in [(14.0, false), (2.0, true)] {
        advance(&mut w, after);
        assert_eq!(object::ready(&pods(&w, "p").remove(0).1), ready);
    }
}

#[test]
fn variables_name_directories_of_volumes() {
    let mut w = world();
    let pod = |value: &str, expression: &str| {
        json!({"volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "c", "image": "nginx", "env": [{"name": "A", "value": value}],
            "volumeMounts": [{"name": "v", "mountPath": "/all"}, {"name": "v", "mountPath": "/one", "subPathExpr": expression}]}]})
    };
    for (name, value, expression, why) in [
        ("a", "/abs", "$(A)", "error SubPath `/abs` must not be an absolute path"),
        ("b", "..", "x/$(A)", "unable to provision SubPath `x/..`: must not contain '..'"),
        ("c", "", "$(B)", "missing value for \"B\""),
    ] {
        make(&mut w, name, pod(value, expression));
        let said = waiting(&w, name);
        assert_eq!((&said["reason"], &said["message"]), (&json!("CreateContainerConfigError"), &json!(why)));
    }
    let key = make(&mut w, "d", pod("mine", "x/$(A)"));
    let files = super::super::files::of(&mut w, &key, "c").unwrap();
    files.write("/one/f", &crate::sim::shell::files::Content { head: b"text".to_vec(), zeros: 0 }, false).unwrap();
    assert_eq!(files.read("/all/x/mine/f").unwrap().bytes(9), b"text");
}

#[test]
fn commands_have_their_variables() {
    let mut w = world();
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox", "env": [{"name": "A", "value": "one"}],
        "command": ["sh", "-c"], "args": ["A=two; echo \"$(A) $A $(nope) $$(A)\""]}]});
    w.config = Arc::new(SimConfig { programs: true, ..SimConfig::default() });
    make(&mut w, "p", spec);
    let argv = w.runtime.started.iter().map(|p| p.argv.join(" ")).next();
    assert_eq!(argv.as_deref(), Some("sh -c A=two; echo \"one $A $(nope) $(A)\""));
}

#[test]
fn where_starts_are_prompt_nothing_waits_for_processes() {
    let profile = Profile { startup_cpu_s: 60.0, startup_delay: Duration::from_secs(9), ..Profile::default() };
    let models = vec![WorkloadModel { profile, ..WorkloadModel::default() }];
    let probe = json!({"tcpSocket": {"port": 80}, "initialDelaySeconds": 20, "periodSeconds": 15});
    for (start_up, soon) in [(StartUp::Prompt, true), (StartUp::Modelled, false)] {
        let mut w = with(SimConfig { start_up, workloads: models.clone(), ..SimConfig::default() });
        let object = json!({"metadata": {"name": "p", "labels": {"app": "p"}}, "spec": {"containers": [
            {"name": "c", "image": "nginx", "ports": [{"containerPort": 80}], "readinessProbe": probe, "livenessProbe": probe}]}});
        registry::create(&mut w, &PODS, NS, object).unwrap();
        w.settle();
        let ready = |w: &World| pods(w, "p").remove(0).1["status"]["containerStatuses"][0]["ready"] == true;
        advance(&mut w, 0.4);
        assert_eq!(ready(&w), soon, "{start_up:?}");
        // The liveness probe waits as it is told to: nothing is restarted meanwhile.
        advance(&mut w, 100.0);
        let status = pods(&w, "p").remove(0).1["status"]["containerStatuses"][0].clone();
        let unharmed = status["ready"] == true && status["restartCount"] == 0;
        assert_eq!(unharmed, soon, "a minute of work is too long for this probe, {start_up:?}: {status}");
    }
}

#[tokio::test]
async fn containers_may_see_each_others_processes() {
    let (engine, _, stop) = engine();
    let key = engine.with(|w| {
        let containers = json!([{"name": "web", "image": "nginx"}, {"name": "c", "image": "busybox", "command": ["sleep", "3600"]}]);
        make(w, "shared", json!({"shareProcessNamespace": true, "containers": containers}))
    });
    let (code, text, _) = run(&engine, &key, "c", "ps | grep -c 'pause\\|nginx\\|sleep 3600' && kill -9 $(pidof nginx)").await;
    assert_eq!((code, text.as_str()), (0, "3\n"));
    engine.charge(Duration::from_secs(5));
    let restarts = |e: &Arc<Engine>| e.with(|w| w.store.get(&key).unwrap()["status"]["containerStatuses"][1]["restartCount"].clone());
    assert_eq!(restarts(&engine), 1);
    stop.cancel();
}

#[tokio::test]
async fn ports_of_a_node_are_open_where_the_pod_says() {
    let (engine, _web, stop) = engine();
    let address = super::super::runtime::node_address("node-2");
    for (name, port, on) in [("open", 8080, address.to_string()), ("closed", 8081, "127.0.0.1".to_owned())] {
        let ports = json!([{"containerPort": 80, "hostPort": port, "hostIP": on}]);
        let spec = json!({"nodeName": "node-2", "containers": [{"name": "c", "image": "nginx", "ports": ports}]});
        engine.with(|w| make(w, name, spec));
    }
    let spec =
        json!({"hostNetwork": true, "nodeName": "node-2", "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "3600"]}]});
    let key = engine.with(|w| make(w, "beside", spec));
    engine.charge(Duration::from_secs(5));
    let asked = format!("for p in 8080 8081; do wget -q -T 2 -O /dev/null http://{address}:$p/; echo $?; done; cat /etc/hosts");
    let wanted = format!(
        "0\nwget: can't connect to remote host ({address}): Connection refused\n1\n# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n{address} node-2\n"
    );
    assert_eq!(run(&engine, &key, "c", &asked).await.1, wanted);
    stop.cancel();
}

#[tokio::test]
async fn commands_run_as_whom_the_pod_says() {
    let (engine, _web, stop) = engine();
    let spec = json!({"securityContext": {"runAsUser": 1000, "fsGroup": 2000}, "containers": [
        {"name": "a", "image": "busybox", "command": ["sleep", "3600"]},
        {"name": "b", "image": "debian", "command": ["sleep", "3600"], "securityContext": {"runAsUser": 65534, "runAsGroup": 65534}}]});
    let key = engine.with(|w| make(w, "who", spec));
    engine.charge(Duration::from_secs(5));
    let asked = "id; id -u; id -un; whoami; id -G";
    assert_eq!(
        run(&engine, &key, "a", asked).await.1,
        "uid=1000 gid=0(root) groups=0(root),2000\n1000\nid: unknown ID 1000\nwhoami: unknown uid 1000\n0 2000\n"
    );
    assert_eq!(
        run(&engine, &key, "b", asked).await.1,
        "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup),2000\n65534\nnobody\nnobody\n65534 2000\n"
    );
    stop.cancel();
}
