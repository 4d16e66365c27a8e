//! Rollouts, deletions, scheduling, determinism: what controllers do over time.

use std::time::Instant;

use serde_json::json;

use super::kinds::{CONFIG_MAPS, DEPLOYMENTS, EVENTS, NAMESPACES, NODES, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, SERVICE_ACCOUNTS};
use super::object;
use super::tests::{NS, advance, deploy, deployment, edit, get, pods, with, world};
use crate::sim::SimConfig;
use crate::sim::config::{Profile, WorkloadModel};
use crate::sim::registry::{self, DeleteOptions, Part, Propagation};
use crate::sim::resource::{Key, Resource};
use crate::sim::world::World;

fn events(w: &World, reason: &str) -> Vec<String> {
    w.store.list(&EVENTS, Some(NS)).filter(|(_, e)| e["reason"] == reason).map(|(_, e)| e["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_rolling_update_replaces_the_pod_only_when_the_new_one_is_ready() {
    let mut w = world();
    deploy(&mut w, "web", 1);
    advance(&mut w, 10.0);
    let (old, _) = pods(&w, "web").remove(0);
    edit(&mut w, "web", |d| d["spec"]["template"]["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/restartedAt": "now"}));
    advance(&mut w, 1.0);
    assert_eq!(pods(&w, "web").len(), 2, "one surge pod beside the old one");
    assert!(!object::deleting(w.store.get(&old).unwrap()));
    advance(&mut w, 60.0);
    let all = pods(&w, "web");
    assert_eq!(all.len(), 1);
    assert_ne!(all[0].0, old);
    let d = get(&w, "web");
    assert_eq!(object::annotation(&d, "deployment.kubernetes.io/revision"), Some("2"));
    assert_eq!(w.store.list(&REPLICA_SETS, Some(NS)).count(), 2);
    assert!(
        events(&w, "ScalingReplicaSet").iter().any(|m| m.starts_with("Scaled down replica set")),
        "{:?}",
        events(&w, "ScalingReplicaSet")
    );
}

#[test]
fn an_undone_rollout_makes_the_old_set_the_newest_revision() {
    let mut w = world();
    deploy(&mut w, "web", 1);
    advance(&mut w, 10.0);
    let before = get(&w, "web")["spec"]["template"].clone();
    edit(&mut w, "web", |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = "python:3.10-slim".into());
    advance(&mut w, 60.0);
    edit(&mut w, "web", |d| d["spec"]["template"] = before);
    advance(&mut w, 60.0);
    assert_eq!(object::annotation(&get(&w, "web"), "deployment.kubernetes.io/revision"), Some("3"));
    assert_eq!(w.store.list(&REPLICA_SETS, Some(NS)).count(), 2);
    assert_eq!(pods(&w, "web")[0].1["spec"]["containers"][0]["image"], "python:3.9-slim");
}

#[test]
fn starved_of_cpu_a_pod_never_becomes_ready_while_the_old_one_stays() {
    let profile = Profile { startup_cpu_s: 10.0, cpu_per_request_s: 0.002, ..Profile::default() };
    let model = WorkloadModel { container: Some("web".to_owned()), profile, ..WorkloadModel::default() };
    let mut w = with(SimConfig { workloads: vec![model], ..SimConfig::default() });
    deploy(&mut w, "web", 1);
    advance(&mut w, 40.0);
    let healthy = get(&w, "web");
    edit(&mut w, "web", |d| {
        d["spec"]["template"]["spec"]["containers"][0]["resources"] =
            json!({"requests": {"cpu": "1m", "memory": "100Mi"}, "limits": {"cpu": "2m", "memory": "200Mi"}});
    });
    advance(&mut w, 900.0);
    let all = pods(&w, "web");
    assert_eq!(all.len(), 2);
    assert_eq!(all.iter().filter(|(_, p)| object::ready(p)).count(), 1);
    let d = get(&w, "web");
    assert_eq!(object::condition(&d["status"], "Progressing").unwrap()["reason"], "ProgressDeadlineExceeded", "{:#}", d["status"]);
    edit(&mut w, "web", |d| d["spec"]["template"] = healthy["spec"]["template"].clone());
    advance(&mut w, 60.0);
    let all = pods(&w, "web");
    assert_eq!(all.len(), 1);
    assert!(object::ready(&all[0].1));
}

#[test]
fn recreate_stops_the_old_pods_first() {
    let mut w = world();
    let mut d = deployment("web", 2);
    d["spec"]["strategy"] = json!({"type": "Recreate"});
    registry::create(&mut w, &DEPLOYMENTS, NS, d).unwrap();
    w.settle();
    advance(&mut w, 10.0);
    edit(&mut w, "web", |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = "python:3.10-slim".into());
    advance(&mut w, 5.0);
    assert!(pods(&w, "web").iter().all(|(_, p)| object::deleting(p)));
    advance(&mut w, 45.0);
    assert_eq!(pods(&w, "web").iter().filter(|(_, p)| object::ready(p)).count(), 2);
}

#[test]
fn scaling_and_pausing() {
    let mut w = world();
    deploy(&mut w, "web", 1);
    advance(&mut w, 10.0);
    edit(&mut w, "web", |d| d["spec"]["replicas"] = 3.into());
    advance(&mut w, 10.0);
    assert_eq!(pods(&w, "web").len(), 3);
    edit(&mut w, "web", |d| {
        d["spec"]["paused"] = true.into();
        d["spec"]["replicas"] = 1.into();
        d["spec"]["template"]["spec"]["containers"][0]["image"] = "python:3.10-slim".into();
    });
    advance(&mut w, 60.0);
    let all = pods(&w, "web");
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].1["spec"]["containers"][0]["image"], "python:3.9-slim");
    assert_eq!(object::condition(&get(&w, "web")["status"], "Progressing").unwrap()["reason"], "DeploymentPaused");
}

#[test]
fn deleting_a_deployment_takes_its_dependents_in_each_way() {
    for way in [Propagation::Background, Propagation::Foreground, Propagation::Orphan] {
        let mut w = world();
        deploy(&mut w, "web", 1);
        advance(&mut w, 10.0);
        let key = Key::new(&DEPLOYMENTS, NS, "web");
        registry::delete(&mut w, &key, &DeleteOptions { propagation: way, ..DeleteOptions::default() }).unwrap();
        w.settle();
        if way == Propagation::Foreground {
            advance(&mut w, 1.0);
            assert!(w.store.get(&key).is_some(), "waits for its dependents");
        }
        advance(&mut w, 60.0);
        assert!(w.store.get(&key).is_none(), "{way:?}");
        let left = usize::from(way == Propagation::Orphan);
        assert_eq!(pods(&w, "web").len(), left, "{way:?}");
        assert_eq!(w.store.list(&REPLICA_SETS, Some(NS)).count(), left, "{way:?}");
    }
}

#[test]
fn an_object_stays_that_somebody_else_owns_too() {
    for way in [Propagation::Background, Propagation::Foreground] {
        let mut w = world();
        for name in ["going", "staying"] {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
            registry::create(&mut w, &CONFIG_MAPS, NS, map).unwrap();
        }
        let owner = |w: &World, name: &str| {
            let uid = w.store.get(&Key::new(&CONFIG_MAPS, NS, name)).unwrap()["metadata"]["uid"].clone();
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": true})
        };
        let (going, staying) = (owner(&w, "going"), owner(&w, "staying"));
        for (name, owners) in [("one", json!([going])), ("both", json!([going, staying]))] {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": owners}});
            registry::create(&mut w, &CONFIG_MAPS, NS, map).unwrap();
        }
        let key = |name: &str| Key::new(&CONFIG_MAPS, NS, name);
        registry::delete(&mut w, &key("going"), &DeleteOptions { propagation: way, ..DeleteOptions::default() }).unwrap();
        w.settle();
        advance(&mut w, 5.0);
        assert!(w.store.get(&key("going")).is_none() && w.store.get(&key("one")).is_none(), "{way:?}");
        assert_eq!(w.store.get(&key("both")).unwrap()["metadata"]["ownerReferences"], json!([staying]), "{way:?}");
    }
}

#[test]
fn a_circle_of_owners_goes_all_together() {
    let mut w = world();
    let key = |name: &str| Key::new(&CONFIG_MAPS, NS, name);
    for name in ["a", "b", "c"] {
        registry::create(&mut w, &CONFIG_MAPS, NS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})).unwrap();
    }
    for (name, owner) in [("a", "c"), ("b", "a"), ("c", "b")] {
        let uid = w.store.get(&key(owner)).unwrap()["metadata"]["uid"].clone();
        let mut owned = (**w.store.get(&key(name)).unwrap()).clone();
        owned["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid, "controller": true, "blockOwnerDeletion": true}]);
        registry::update(&mut w, &key(name), owned, Part::Main).unwrap();
    }
    registry::delete(&mut w, &key("a"), &DeleteOptions { propagation: Propagation::Foreground, ..DeleteOptions::default() }).unwrap();
    w.settle();
    advance(&mut w, 5.0);
    assert_eq!(["a", "b", "c"].map(|name| w.store.get(&key(name)).is_some()), [false; 3]);
}

#[test]
fn a_namespace_is_filled_and_emptied() {
    let mut w = world();
    assert!(w.store.get(&Key::new(&SERVICE_ACCOUNTS, NS, "default")).is_some());
    deploy(&mut w, "web", 1);
    advance(&mut w, 10.0);
    let key = Key::new(&NAMESPACES, "", NS);
    registry::delete(&mut w, &key, &DeleteOptions::default()).unwrap();
    w.settle();
    advance(&mut w, 5.0);
    assert_eq!(w.store.get(&key).unwrap()["status"]["phase"], "Terminating");
    advance(&mut w, 60.0);
    assert!(w.store.get(&key).is_none());
    assert!(w.store.keys_in_namespace(NS).is_empty());
}

#[test]
fn what_does_not_fit_waits_and_cordoned_nodes_take_nothing() {
    let mut w = world();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "huge"},
        "spec": {"containers": [{"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "500"}}}]}});
    registry::create(&mut w, &PODS, NS, pod).unwrap();
    w.settle();
    advance(&mut w, 2.0);
    let text = &events(&w, "FailedScheduling")[0];
    assert_eq!(
        text,
        "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    for i in 1..=3 {
        let key = Key::new(&NODES, "", &format!("node-{i}"));
        let mut n = (**w.store.get(&key).unwrap()).clone();
        n["spec"]["unschedulable"] = true.into();
        registry::update(&mut w, &key, n, Part::Main).unwrap();
    }
    deploy(&mut w, "web", 1);
    advance(&mut w, 5.0);
    let (_, p) = pods(&w, "web").remove(0);
    assert_eq!(p["status"]["phase"], "Pending");
    let key = Key::new(&NODES, "", "node-2");
    let mut n = (**w.store.get(&key).unwrap()).clone();
    n["spec"]["unschedulable"] = false.into();
    registry::update(&mut w, &key, n, Part::Main).unwrap();
    w.settle();
    advance(&mut w, 10.0);
    let (_, p) = pods(&w, "web").remove(0);
    assert_eq!(p["spec"]["nodeName"], "node-2");
    assert!(object::ready(&p));
}

#[test]
fn stateful_sets_come_up_in_order_and_daemon_sets_everywhere_and_jobs_end() {
    let mut w = world();
    let template =
        |app: &str, container: serde_json::Value| json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [container]}});
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
        "replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
        "template": template("db", json!({"name": "db", "image": "mysql:5.7", "ports": [{"containerPort": 3306}]}))}});
    registry::create(&mut w, &Resource::new("apps", "statefulsets"), NS, set).unwrap();
    let agent = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": {
        "selector": {"matchLabels": {"app": "agent"}},
        "template": template("agent", json!({"name": "c", "image": "nginx:1"}))}});
    registry::create(&mut w, &Resource::new("apps", "daemonsets"), NS, agent).unwrap();
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}, "spec": {
        "backoffLimit": 1, "template": template("once", json!({"name": "c", "image": "busybox:1.35", "command": ["true"]}))}});
    job["spec"]["template"]["spec"]["restartPolicy"] = "Never".into();
    registry::create(&mut w, &Resource::new("batch", "jobs"), NS, job).unwrap();
    w.settle();
    advance(&mut w, 1.0);
    assert_eq!(pods(&w, "db").len(), 1, "the second waits for the first");
    advance(&mut w, 20.0);
    let status =
        |plural: &str, group: &str, name: &str| w.store.get(&Key::new(&Resource::new(group, plural), NS, name)).unwrap()["status"].clone();
    let db = status("statefulsets", "apps", "db");
    assert_eq!(db["readyReplicas"], 2, "{db:#}");
    assert_eq!(db["currentRevision"], db["updateRevision"]);
    assert_eq!(pods(&w, "db")[1].0.name.as_ref(), "db-1");
    assert_eq!(status("daemonsets", "apps", "agent")["numberReady"], 3, "{:#}", status("daemonsets", "apps", "agent"));
    let once = status("jobs", "batch", "once");
    assert_eq!(once["succeeded"], 1, "{once:#}");
    assert!(object::condition(&once, "Complete").is_some());
    // Deleting a pod of the set brings it back under its name.
    registry::delete(&mut w, &Key::new(&PODS, NS, "db-0"), &DeleteOptions::default()).unwrap();
    w.settle();
    advance(&mut w, 60.0);
    assert_eq!(w.store.list(&PODS, Some(NS)).filter(|(k, p)| &*k.name == "db-0" && object::ready(p)).count(), 1);
}

#[test]
fn claims_are_bound_and_their_volumes_go_with_them() {
    let mut w = world();
    let claims = Resource::new("", "persistentvolumeclaims");
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    registry::create(&mut w, &claims, NS, claim).unwrap();
    w.settle();
    advance(&mut w, 1.0);
    let key = Key::new(&claims, NS, "data");
    assert_eq!(w.store.get(&key).unwrap()["status"]["phase"], "Bound");
    let volumes = Resource::new("", "persistentvolumes");
    assert_eq!(w.store.list(&volumes, None).count(), 1);
    w.store.remove(&key);
    w.settle();
    advance(&mut w, 1.0);
    assert_eq!(w.store.list(&volumes, None).count(), 0);
}

#[test]
fn a_failing_container_backs_off() {
    let mut w = world();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad", "labels": {"app": "bad"}},
        "spec": {"containers": [{"name": "c", "image": "busybox:1.35", "command": ["sh", "-c", "echo oh; exit 3"]}]}});
    registry::create(&mut w, &PODS, NS, pod).unwrap();
    w.settle();
    advance(&mut w, 60.0);
    let (key, p) = pods(&w, "bad").remove(0);
    let status = &p["status"]["containerStatuses"][0];
    assert_eq!(status["state"]["waiting"]["reason"], "CrashLoopBackOff", "{status:#}");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3);
    assert!((2..=4).contains(&status["restartCount"].as_u64().unwrap()), "{status:#}");
    assert_eq!(crate::sim::kubelet::logs(&w, &key, "c", true).unwrap()[0].text, "oh");
    assert!(!events(&w, "BackOff").is_empty());
}

/// The whole store as text.
fn dump(w: &World) -> String {
    w.store.iter().chain(w.store.list(&EVENTS, None)).map(|(k, o)| format!("{k:?} {o}")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_same_seed_gives_the_same_cluster() {
    let run = |seed| {
        let mut w = with(SimConfig { seed, ..SimConfig::default() });
        deploy(&mut w, "web", 2);
        advance(&mut w, 30.0);
        edit(&mut w, "web", |d| d["spec"]["template"]["metadata"]["annotations"] = json!({"x": "y"}));
        advance(&mut w, 90.0);
        dump(&w)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn twelve_deployments_are_ready_quickly_and_idle_time_is_cheap() {
    let start = Instant::now();
    let mut w = world();
    for i in 0..12 {
        deploy(&mut w, &format!("service-{i}"), 1);
    }
    advance(&mut w, 10.0);
    let took = start.elapsed();
    assert_eq!(w.store.list(&PODS, Some(NS)).filter(|(_, p)| object::ready(p)).count(), 12);
    let idle = Instant::now();
    advance(&mut w, 1000.0);
    // Generous bounds: they catch a quadratic mistake, not a busy machine.
    assert!(took.as_secs() < 5 && idle.elapsed().as_secs() < 10, "{took:?} {:?}", idle.elapsed());
}

#[test]
fn a_quota_holds_pods_back_until_it_is_gone() {
    let mut w = world();
    let quotas = Resource::new("", "resourcequotas");
    registry::create(&mut w, &quotas, NS, json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}})).unwrap();
    deploy(&mut w, "web", 1);
    let before = w.store.revision();
    advance(&mut w, 60.0);
    assert!(pods(&w, "web").is_empty());
    // Trying again is paced: a status that named another pod each time would never come to rest.
    assert!(w.store.revision() - before < 200, "{} changes", w.store.revision() - before);
    assert!(events(&w, "FailedCreate")[0].contains("exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0"));
    registry::delete(&mut w, &Key::new(&quotas, NS, "none"), &DeleteOptions::default()).unwrap();
    advance(&mut w, 30.0);
    assert!(object::ready(&pods(&w, "web").remove(0).1));
}

#[test]
fn revisions_of_two_sets_of_one_name_do_not_meet() {
    let mut w = world();
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}});
    let set = json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, "serviceName": "web"}});
    let mut daemons = set.clone();
    daemons["spec"].as_object_mut().unwrap().remove("serviceName");
    registry::create(&mut w, &Resource::new("apps", "daemonsets"), NS, daemons).unwrap();
    advance(&mut w, 5.0);
    registry::create(&mut w, &Resource::new("apps", "statefulsets"), NS, set).unwrap();
    advance(&mut w, 5.0);
    let revisions = Resource::new("apps", "controllerrevisions");
    let mut owners: Vec<String> =
        w.store.list(&revisions, Some(NS)).map(|(_, r)| r["metadata"]["ownerReferences"][0]["kind"].as_str().unwrap().to_owned()).collect();
    owners.sort();
    assert_eq!(owners, ["DaemonSet", "StatefulSet"]);
}

#[test]
fn pods_change_hands_with_their_labels() {
    let mut w = world();
    let (sets, controllers) = (&*REPLICA_SETS, &*REPLICATION_CONTROLLERS);
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}});
    for (resource, selector) in [(sets, json!({"matchLabels": {"app": "web"}})), (controllers, json!({"app": "web"}))] {
        let spec = json!({"replicas": 1, "selector": selector, "template": template});
        registry::create(&mut w, resource, NS, json!({"metadata": {"name": "r"}, "spec": spec})).unwrap();
        w.settle();
        advance(&mut w, 5.0);
        let (key, pod) = pods(&w, "web").remove(0);
        // An orphan of the same labels is taken back at once.
        let mut orphan = (*pod).clone();
        orphan["metadata"].as_object_mut().unwrap().remove("ownerReferences");
        registry::update(&mut w, &key, orphan, Part::Main).unwrap();
        w.settle();
        advance(&mut w, 1.0);
        let taken = w.store.get(&key).unwrap().clone();
        assert_eq!(taken["metadata"]["ownerReferences"], pod["metadata"]["ownerReferences"], "{resource:?}");
        // One of other labels is let go, and another one made.
        let mut other = (*taken).clone();
        other["metadata"]["labels"]["app"] = "other".into();
        registry::update(&mut w, &key, other, Part::Main).unwrap();
        w.settle();
        advance(&mut w, 1.0);
        let free = w.store.get(&key).unwrap().clone();
        assert!(object::controller(&free).is_none(), "{resource:?}: {:#}", free["metadata"]);
        assert_eq!(pods(&w, "web").len(), 1, "{resource:?}");
        registry::delete(&mut w, &Key::new(resource, NS, "r"), &DeleteOptions::default()).unwrap();
        w.settle();
        advance(&mut w, 60.0);
        assert!(pods(&w, "web").is_empty() && w.store.get(&key).is_some());
    }
}
