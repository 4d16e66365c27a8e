//! Field by field: what is rendered against `facts.json`, which lists the published objects.

use std::collections::{BTreeMap, BTreeSet};

use microremed::manifest::{Catalog, Root};
use microremed::plan::system_manifests;
use serde_json::{Value, json};

const SYSTEMS: [&str; 3] = ["simple-micro", "online-boutique", "train-ticket"];

pub(crate) fn catalog() -> Catalog {
    let (catalog, diagnostics) = Catalog::load(&Root::built_in());
    assert!(diagnostics.is_empty(), "{}", diagnostics.render(false, 140));
    catalog
}

fn facts() -> Value {
    serde_json::from_str(include_str!("facts.json")).unwrap()
}

fn list(v: &Value) -> &[Value] {
    v.as_array().map_or(&[], Vec::as_slice)
}

fn text(v: &Value) -> &str {
    v.as_str().unwrap_or_default()
}

/// What does not agree, a line each.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn expect(&mut self, place: &str, found: &Value, wanted: &Value) {
        if found != wanted {
            self.0.push(format!("{place}: {found}, published is {wanted}"));
        }
    }
}

#[test]
fn every_field_of_the_published_objects_is_rendered() {
    let catalog = catalog();
    let facts = facts();
    let mut d = Differences::default();
    for name in SYSTEMS {
        let objects = system_manifests(&catalog, &catalog.systems[name]).unwrap();
        let published = list(&facts[name]["workloads"]);
        for wanted in published {
            let place = format!("{name}/{}", text(&wanted["name"]));
            match objects.iter().find(|o| o["kind"] == wanted["kind"] && o["metadata"]["name"] == wanted["name"]) {
                None => d.0.push(format!("{place}: not rendered")),
                Some(found) => workload(&mut d, &place, found, wanted),
            }
        }
        let workloads = objects.iter().filter(|o| ["Deployment", "StatefulSet"].contains(&text(&o["kind"]))).count();
        assert_eq!(workloads, published.len(), "{name} has more workloads than published");
        for wanted in list(&facts[name]["services"]) {
            let place = format!("{name}/service {}", text(&wanted["name"]));
            match objects.iter().find(|o| o["kind"] == "Service" && o["metadata"]["name"] == wanted["name"]) {
                None => d.0.push(format!("{place}: not rendered")),
                Some(found) => service(&mut d, &place, found, wanted),
            }
        }
        for object in &objects {
            assert_eq!(object["metadata"]["namespace"], name, "{object}");
        }
    }
    assert!(d.0.is_empty(), "{} differences:\n{}", d.0.len(), d.0.join("\n"));
}

fn workload(d: &mut Differences, place: &str, found: &Value, wanted: &Value) {
    let pod = &found["spec"]["template"]["spec"];
    let replicas = wanted["replicas"].as_u64().unwrap_or(1);
    d.expect(&format!("{place} replicas"), &found["spec"]["replicas"], &replicas.into());
    let labels = &found["spec"]["template"]["metadata"]["labels"];
    for (key, value) in wanted["pod_labels"].as_object().into_iter().flatten() {
        // Where the facts explain a value, its first word is the value.
        let value = text(value).split_whitespace().next().unwrap_or_default();
        d.expect(&format!("{place} label {key}"), &labels[key], &value.into());
    }
    assert_eq!(labels["app"], found["metadata"]["name"], "{place}: faults select by this label");
    for (key, value) in wanted["pod_annotations"].as_object().into_iter().flatten() {
        d.expect(&format!("{place} annotation"), &found["spec"]["template"]["metadata"]["annotations"][key], value);
    }
    for (key, path) in [("termination_grace_s", "terminationGracePeriodSeconds"), ("service_account", "serviceAccountName")] {
        if !wanted[key].is_null() {
            d.expect(&format!("{place} {key}"), &pod[path], &wanted[key]);
        }
    }
    if !wanted["pod_management"].is_null() {
        d.expect(&format!("{place} pod management"), &found["spec"]["podManagementPolicy"], &wanted["pod_management"]);
    }
    for (key, path) in [("containers", "containers"), ("init_containers", "initContainers")] {
        let (found, wanted) = (list(&pod[path]), list(&wanted[key]));
        let names = |l: &[Value]| l.iter().map(|c| text(&c["name"]).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(found), names(wanted), "{place} {key}");
        for (f, w) in found.iter().zip(wanted) {
            container(d, &format!("{place}/{}", text(&w["name"])), f, w);
        }
    }
    let claims = list(&found["spec"]["volumeClaimTemplates"]).iter().map(|c| (text(&c["metadata"]["name"]), claim(c)));
    let volumes = list(&pod["volumes"]).iter().map(|v| (text(&v["name"]), volume(v))).chain(claims).collect::<BTreeMap<_, _>>();
    let wanted = list(&wanted["volumes"]).iter().map(|v| (text(&v["name"]), text(&v["type"]).to_owned())).collect::<BTreeMap<_, _>>();
    assert_eq!(volumes, wanted, "{place} volumes");
}

fn volume(v: &Value) -> String {
    match v["configMap"]["name"].as_str() {
        Some(name) => format!("configMap {name}"),
        None if v["emptyDir"].is_object() => "emptyDir".to_owned(),
        None => v.to_string(),
    }
}

fn claim(c: &Value) -> String {
    let spec = &c["spec"];
    let class = if spec["storageClassName"].is_null() { "default storage class" } else { "a storage class" };
    format!("volumeClaimTemplate {} {}, {class}", text(&spec["accessModes"][0]), text(&spec["resources"]["requests"]["storage"]))
}

fn container(d: &mut Differences, place: &str, found: &Value, wanted: &Value) {
    d.expect(&format!("{place} image"), &found["image"], &wanted["image"]);
    if !wanted["image_pull_policy"].is_null() {
        d.expect(&format!("{place} pull policy"), &found["imagePullPolicy"], &wanted["image_pull_policy"]);
    }
    let ports: Vec<Value> = list(&found["ports"]).iter().map(|p| json!([p["name"], p["containerPort"]])).collect();
    let published: Vec<Value> = list(&wanted["ports"]).iter().map(|p| json!([p["name"], p["port"]])).collect();
    d.expect(&format!("{place} ports"), &ports.into(), &published.into());
    environment(d, place, found, wanted);
    for (part, key) in [("requests", "requests"), ("limits", "limits")] {
        let none = json!({});
        let amounts = |v: &Value| if v.is_null() { none.clone() } else { v.clone() };
        d.expect(&format!("{place} {part}"), &amounts(&found["resources"][part]), &amounts(&wanted[key]));
    }
    for (key, path) in [("readiness_probe", "readinessProbe"), ("liveness_probe", "livenessProbe")] {
        probe(d, &format!("{place} {path}"), &found[path], &wanted[key]);
    }
    let mounts: Vec<Value> = list(&found["volumeMounts"]).iter().map(|m| json!([m["name"], m["mountPath"]])).collect();
    let published: Vec<Value> = list(&wanted["mounts"]).iter().map(|m| json!([m["volume"], m["path"]])).collect();
    if !wanted["mounts"].is_null() {
        d.expect(&format!("{place} mounts"), &mounts.into(), &published.into());
    }
    if !wanted["added_capabilities"].is_null() {
        d.expect(&format!("{place} capabilities"), &found["securityContext"]["capabilities"]["add"], &wanted["added_capabilities"]);
    }
}

fn environment(d: &mut Differences, place: &str, found: &Value, wanted: &Value) {
    let rendered = list(&found["env"]);
    if list(&wanted["env"]).iter().all(Value::is_object) {
        let names = |l: &[Value]| l.iter().map(|e| text(&e["name"]).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(rendered), names(list(&wanted["env"])), "{place} env");
    }
    for e in list(&wanted["env"]) {
        // `NAME = value` and `NAME (secret)` in short form.
        let name = e["name"].as_str().unwrap_or_else(|| text(e).split([' ', '=']).next().unwrap_or_default());
        let Some(found) = rendered.iter().find(|f| f["name"] == name) else {
            d.0.push(format!("{place}: no variable {name}"));
            continue;
        };
        match (e["value"].as_str(), e["from"].as_str()) {
            (Some(v), _) if v.starts_with("the three names") => {
                let hosts: Vec<&str> = text(&found["value"]).split(' ').collect();
                let host = |i: usize| format!("nacos-{i}.nacos-headless.train-ticket.svc.cluster.local:8848");
                assert_eq!(hosts, [host(0), host(1), host(2)]);
            }
            (Some(_), _) => d.expect(&format!("{place} {name}"), &found["value"], &e["value"]),
            (_, Some("pod field status.hostIP")) => {
                d.expect(&format!("{place} {name}"), &found["valueFrom"]["fieldRef"]["fieldPath"], &json!("status.hostIP"));
            }
            (_, Some(from)) => {
                let secret = &found["valueFrom"]["secretKeyRef"];
                let spelt = format!("secret {} key {}", text(&secret["name"]), text(&secret["key"]));
                assert!(from.starts_with(&spelt), "{place} {name}: {spelt}, published is {from}");
            }
            _ => {}
        }
    }
    let sources: Vec<Value> = list(&found["envFrom"])
        .iter()
        .map(|s| match s["secretRef"]["name"].as_str() {
            Some(secret) => json!({ "secret": secret }),
            None => json!({ "configmap": s["configMapRef"]["name"] }),
        })
        .collect();
    d.expect(&format!("{place} envFrom"), &sources.into(), &list(&wanted["env_from"]).into());
}

/// A published probe that starts the gRPC health program in the container is rendered as the kubelet's own gRPC probe of
/// the same port: the program shares the container's CPU limit, so a busy container would be restarted by its probe.
fn probe(d: &mut Differences, place: &str, found: &Value, wanted: &Value) {
    if wanted.is_null() {
        d.expect(place, found, &Value::Null);
        return;
    }
    let port = |action: &str| found[action]["port"].clone();
    match text(&wanted["type"]) {
        "exec" if text(&wanted["what"]).starts_with("gRPC health probe") => {
            let number = text(&wanted["what"]).rsplit(' ').next().and_then(|p| p.parse::<u64>().ok()).unwrap();
            d.expect(place, &port("grpc"), &number.into());
        }
        "exec" => assert!(!list(&found["exec"]["command"]).is_empty(), "{place}"),
        "tcpSocket" => d.expect(place, &port("tcpSocket"), &wanted["port"]),
        "httpGet" => {
            d.expect(place, &port("httpGet"), &wanted["port"]);
            d.expect(place, &found["httpGet"]["path"], &wanted["path"]);
            let headers: BTreeMap<&str, &str> =
                list(&found["httpGet"]["httpHeaders"]).iter().map(|h| (text(&h["name"]), text(&h["value"]))).collect();
            let published: BTreeMap<&str, &str> =
                wanted["headers"].as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), text(v))).collect();
            assert_eq!(headers, published, "{place}");
        }
        other => panic!("{place}: unknown kind of probe {other}"),
    }
    let mut wanted = wanted.clone();
    if let Some(seconds) = wanted["rpc_timeout"].as_str().and_then(|t| t.trim_end_matches('s').parse::<u64>().ok()) {
        // The program's own time limit.
        wanted["timeout_s"] = seconds.into();
    }
    for (key, path) in [
        ("initial_delay_s", "initialDelaySeconds"),
        ("period_s", "periodSeconds"),
        ("timeout_s", "timeoutSeconds"),
        ("success_threshold", "successThreshold"),
        ("failure_threshold", "failureThreshold"),
    ] {
        d.expect(&format!("{place} {path}"), &found[path], &wanted[key]);
    }
}

fn service(d: &mut Differences, place: &str, found: &Value, wanted: &Value) {
    let kind = text(&wanted["type"]).split_whitespace().next().unwrap_or_default();
    d.expect(&format!("{place} type"), &found["spec"]["type"].as_str().unwrap_or("ClusterIP").into(), &kind.into());
    d.expect(&format!("{place} selector"), &found["spec"]["selector"], &wanted["selector"]);
    for (f, w) in list(&found["spec"]["ports"]).iter().zip(list(&wanted["ports"])) {
        for (key, path) in [("name", "name"), ("port", "port"), ("target_port", "targetPort"), ("node_port", "nodePort")] {
            d.expect(&format!("{place} {path}"), &f[path], &w[key]);
        }
        d.expect(&format!("{place} protocol"), &f["protocol"].as_str().unwrap_or("TCP").into(), &w["protocol"]);
    }
    assert_eq!(list(&found["spec"]["ports"]).len(), list(&wanted["ports"]).len(), "{place}");
}

#[test]
fn call_graphs_and_targets_are_the_published_ones() {
    let catalog = catalog();
    let facts = facts();
    for (name, edges) in [("simple-micro", 1), ("online-boutique", 16), ("train-ticket", 131)] {
        let system = &catalog.systems[name];
        let calls: BTreeSet<(&str, &str)> =
            system.services.iter().flat_map(|s| s.calls.iter().map(|c| (s.name.as_str(), c.service.as_str()))).collect();
        let published: BTreeSet<(&str, &str)> = list(&facts[name]["calls"]).iter().map(|c| (text(&c[0]), text(&c[1]))).collect();
        assert_eq!(published.len(), edges);
        assert_eq!(calls, published, "{name}");
        for (fault, targets) in facts[name]["fault_targets"].as_object().unwrap() {
            let ours: BTreeSet<&str> = system.targets_of(fault).into_iter().collect();
            assert_eq!(ours, list(targets).iter().map(text).collect(), "{name} {fault}");
        }
    }
}

#[test]
fn a_database_secret_stands_behind_every_service_that_reads_one() {
    let catalog = catalog();
    let objects = system_manifests(&catalog, &catalog.systems["train-ticket"]).unwrap();
    let secrets: BTreeMap<&str, &Value> = objects
        .iter()
        .filter(|o| o["kind"] == "Secret" && text(&o["metadata"]["name"]).starts_with("ts-"))
        .map(|o| (text(&o["metadata"]["name"]), &o["stringData"]))
        .collect();
    assert_eq!(secrets.len(), 27);
    for (name, data) in secrets {
        let prefix = name.trim_start_matches("ts-").to_uppercase().replace('-', "_");
        let wanted = [("HOST", "tsdb-mysql-leader"), ("PORT", "3306"), ("DATABASE", "ts"), ("USER", "ts"), ("PASSWORD", "Ts_123456")];
        for (key, value) in wanted {
            assert_eq!(data[format!("{prefix}_{key}")], value, "{name}");
        }
    }
}
