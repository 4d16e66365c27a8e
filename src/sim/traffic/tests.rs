use std::time::Duration;

use serde_json::json;

use crate::sim::SimConfig;
use crate::sim::config::{Call, EntryLoad, Profile, WorkloadModel};
use crate::sim::controllers::tests::{NS, advance, deploy, with};
use crate::sim::registry;
use crate::sim::resource::Resource;
use crate::sim::time::SimTime;
use crate::sim::world::World;

fn busy() -> World {
    let model = |name: &str, calls| WorkloadModel {
        container: Some(name.to_owned()),
        profile: Profile { cpu_per_request_s: 0.004, ..Profile::default() },
        calls,
        ..WorkloadModel::default()
    };
    let call = Call { service: "back".to_owned(), port: 5000, path: "/time".to_owned(), timeout: Duration::from_secs(2), on: Vec::new() };
    let load = EntryLoad { namespace: NS.to_owned(), service: "front".to_owned(), port: 5000, path: "/hello".to_owned(), rate: 10.0 };
    let mut w = with(SimConfig {
        workloads: vec![model("front", vec![call]), model("back", Vec::new())],
        traffic: vec![load],
        ..SimConfig::default()
    });
    deploy(&mut w, "front", 1);
    deploy(&mut w, "back", 1);
    advance(&mut w, 60.0);
    w
}

/// Requests, error share and mean latency of a service over the last 20 seconds.
fn last(w: &World, service: &str) -> (f64, f64, f64) {
    let all = w.traffic.series(NS, service, SimTime(w.now.0 - 20_000), w.now);
    let requests: f64 = all.iter().map(|p| p.requests).sum();
    let errors: f64 = all.iter().map(|p| p.errors).sum();
    (requests, errors / requests, all.iter().map(|p| p.latency_ms).sum::<f64>() / f64::from(u32::try_from(all.len()).unwrap()))
}

fn chaos(w: &mut World, plural: &str, kind: &str, target: &str, mut spec: serde_json::Value) {
    spec["mode"] = "one".into();
    spec["selector"] = json!({"namespaces": [NS], "labelSelectors": {"app": target}});
    let object = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
    registry::create(w, &Resource::new("chaos-mesh.org", plural), NS, object).unwrap();
    w.settle();
    advance(w, 30.0);
}

#[test]
fn requests_flow_to_the_services_behind() {
    let w = busy();
    let (requests, errors, latency) = last(&w, "front");
    assert!((requests - 200.0).abs() <= 10.0 && errors < 1e-9, "{requests} {errors}");
    assert!(latency > 5.0 && latency < 100.0, "{latency}");
    assert!((last(&w, "back").0 - 200.0).abs() <= 10.0);
    let totals: std::collections::BTreeMap<&str, _> = w.traffic.totals().map(|((_, service), total)| (service.as_str(), *total)).collect();
    let (front, back) = (totals["front"], totals["back"]);
    assert!(front.requests > 300.0 && (front.requests - front.errors - back.requests).abs() < 5.0, "{totals:?}");
    assert!(front.seconds > back.seconds && front.last.requests > 5.0, "{totals:?}");
}

#[test]
fn stress_behind_is_felt_in_front() {
    let mut w = busy();
    let before = last(&w, "front").2;
    chaos(&mut w, "stresschaos", "StressChaos", "back", json!({"stressors": {"cpu": {"workers": 10, "load": 100}}}));
    assert!(last(&w, "front").2 > before * 3.0, "{before} {:?}", last(&w, "front"));
}

#[test]
fn a_paused_backend_makes_errors_in_front() {
    let mut w = busy();
    chaos(&mut w, "podchaos", "PodChaos", "back", json!({"action": "pod-failure"}));
    advance(&mut w, 20.0);
    assert!(last(&w, "front").1 > 0.99, "{:?}", last(&w, "front"));
    let front = crate::sim::controllers::tests::pods(&w, "front").remove(0).0;
    let log = crate::sim::kubelet::logs(&w, &front, "front", false).unwrap();
    assert!(log.iter().any(|l| l.text.contains("connection refused")), "{log:?}");
}

#[test]
fn loss_at_a_caller_reaches_its_name_lookups() {
    let mut w = busy();
    chaos(&mut w, "networkchaos", "NetworkChaos", "front", json!({"action": "loss", "loss": {"loss": "80"}, "direction": "to"}));
    let front = crate::sim::controllers::tests::pods(&w, "front").remove(0).0;
    let log = crate::sim::kubelet::logs(&w, &front, "front", false).unwrap();
    assert!(log.iter().any(|l| l.text.contains("temporary failure in name resolution")), "{log:?}");
}

#[test]
fn calls_depend_on_the_path_and_may_pass_it_on() {
    let call = |service: &str, path: &str, on: &str| Call {
        service: service.to_owned(),
        port: 5000,
        path: path.to_owned(),
        timeout: Duration::from_secs(2),
        on: vec![on.to_owned()],
    };
    let model = |name: &str, paths: &[&str], calls| WorkloadModel {
        container: Some(name.to_owned()),
        profile: Profile { paths: paths.iter().map(|p| (*p).to_owned()).collect(), ..Profile::default() },
        calls,
        ..WorkloadModel::default()
    };
    let load =
        |path: &str| EntryLoad { namespace: NS.to_owned(), service: "gate".to_owned(), port: 5000, path: path.to_owned(), rate: 2.0 };
    let mut w = with(SimConfig {
        workloads: vec![
            model("gate", &[], vec![call("left", "*", "/left/*"), call("right", "/x", "/right/*")]),
            model("left", &["/healthz", "/left/*"], Vec::new()),
            model("right", &["/healthz", "/y"], Vec::new()),
        ],
        traffic: vec![load("/left/1"), load("/right/1"), load("/other")],
        ..SimConfig::default()
    });
    for name in ["gate", "left", "right"] {
        deploy(&mut w, name, 1);
    }
    advance(&mut w, 60.0);
    let (requests, errors, _) = last(&w, "gate");
    assert!((requests - 120.0).abs() <= 6.0, "{requests}");
    // The right one does not know the path that it is asked for, and the gate fails for it.
    assert!((errors - 1.0 / 3.0).abs() < 0.05, "{errors}");
    assert!((last(&w, "left").0 - 40.0).abs() <= 2.0 && (last(&w, "right").0 - 40.0).abs() <= 2.0);
    assert!(last(&w, "left").1 < 1e-9);
}

#[test]
fn a_process_that_does_not_listen_refuses() {
    let silent = Profile { listens: false, ..Profile::default() };
    let workloads = vec![WorkloadModel { container: Some("web".to_owned()), profile: silent, ..WorkloadModel::default() }];
    let load = EntryLoad { namespace: NS.to_owned(), service: "web".to_owned(), port: 5000, path: "/".to_owned(), rate: 2.0 };
    let mut w = with(SimConfig { workloads, traffic: vec![load], ..SimConfig::default() });
    deploy(&mut w, "web", 1);
    advance(&mut w, 60.0);
    assert!((last(&w, "web").1 - 1.0).abs() < 1e-9);
}

fn policy(w: &mut World, name: &str, spec: impl Into<serde_json::Value>) {
    let spec = spec.into();
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec});
    registry::create(w, &Resource::new("networking.k8s.io", "networkpolicies"), NS, object).unwrap();
    w.settle();
    advance(w, 30.0);
}

#[test]
fn policies_refuse_what_they_do_not_allow() {
    let to_back =
        |from: serde_json::Value| json!({"podSelector": {"matchLabels": {"app": "back"}}, "policyTypes": ["Ingress"], "ingress": [from]});
    let app = |name: &str| json!({"podSelector": {"matchLabels": {"app": name}}});
    // Nobody may come in to where nothing is allowed.
    let mut w = busy();
    policy(&mut w, "deny", json!({"podSelector": {"matchLabels": {"app": "back"}}, "policyTypes": ["Ingress"]}));
    assert!(last(&w, "front").1 > 0.99, "{:?}", last(&w, "front"));
    let front = crate::sim::controllers::tests::pods(&w, "front").remove(0).0;
    let log = crate::sim::kubelet::logs(&w, &front, "front", false).unwrap();
    assert!(log.iter().any(|l| l.text.contains("connection refused")), "{log:?}");
    // Policies add up.
    policy(&mut w, "others", to_back(json!({"from": [app("other")]})));
    assert!(last(&w, "front").1 > 0.99);
    policy(&mut w, "wrong-port", to_back(json!({"from": [app("front")], "ports": [{"port": 80}]})));
    assert!(last(&w, "front").1 > 0.99);
    policy(&mut w, "allow", to_back(json!({"from": [app("front")], "ports": [{"port": 5000, "endPort": 5001}]})));
    assert!(last(&w, "front").1 < 0.01, "{:?}", last(&w, "front"));
}

#[test]
fn who_may_send_nothing_cannot_ask_for_names() {
    let mut w = busy();
    let out =
        |rules: serde_json::Value| json!({"podSelector": {"matchLabels": {"app": "front"}}, "policyTypes": ["Egress"], "egress": rules});
    policy(&mut w, "back", out(json!([{"to": [{"podSelector": {"matchLabels": {"app": "back"}}}]}])));
    assert!(last(&w, "front").1 > 0.99);
    let front = crate::sim::controllers::tests::pods(&w, "front").remove(0).0;
    let log = crate::sim::kubelet::logs(&w, &front, "front", false).unwrap();
    assert!(log.iter().any(|l| l.text.contains("name resolution")), "{log:?}");
    let system = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}});
    policy(&mut w, "names", out(json!([{"to": [system], "ports": [{"port": 53, "protocol": "UDP"}]}])));
    assert!(last(&w, "front").1 < 0.01, "{:?}", last(&w, "front"));
}

#[test]
fn names_need_the_name_server() {
    let mut w = with(SimConfig { system_pods: true, ..SimConfig::default() });
    deploy(&mut w, "web", 1);
    advance(&mut w, 30.0);
    let key = crate::sim::controllers::tests::pods(&w, "web").remove(0).0;
    let answered = |w: &mut World| super::with_graph(w, |w, graph| super::answers(w, graph, &key));
    assert!(answered(&mut w));
    let server = crate::sim::resource::Key::new(&Resource::new("apps", "deployments"), "kube-system", "coredns");
    for (replicas, wanted) in [(0, false), (1, true)] {
        let mut new = (**w.store.get(&server).unwrap()).clone();
        new["spec"]["replicas"] = replicas.into();
        registry::update(&mut w, &server, new, registry::Part::Main).unwrap();
        advance(&mut w, 30.0);
        assert_eq!(answered(&mut w), wanted);
    }
}
