//! Stateful sets: in which order their pods come, go and are replaced.

use super::*;
use crate::sim::controllers::kinds::{CLAIMS, REVISIONS};
use crate::sim::controllers::tests::{NS, advance, world};

fn set(w: &mut World, spec: Value) -> Key {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "db"}});
    spec["serviceName"] = "db".into();
    spec["template"] = json!({"metadata": {"labels": {"app": "db"}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "nginx:1.21"}]}});
    let object = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec});
    registry::create(w, &STATEFUL_SETS, NS, object).unwrap();
    w.settle();
    advance(w, 30.0);
    Key::new(&STATEFUL_SETS, NS, "db")
}

fn edit(w: &mut World, key: &Key, change: impl FnOnce(&mut Value)) {
    let mut new = (**w.store.get(key).unwrap()).clone();
    change(&mut new["spec"]);
    registry::update(w, key, new, Part::Main).unwrap();
    w.settle();
}

fn image(spec: &mut Value, image: &str) {
    spec["template"]["spec"]["containers"][0]["image"] = image.into();
}

/// Names and images of the pods.
fn pods(w: &World) -> Vec<String> {
    let text = |p: &Value| format!("{} {}", object::name(p), p["spec"]["containers"][0]["image"].as_str().unwrap());
    w.store.list(&PODS, Some(NS)).filter(|(_, p)| !object::deleting(p)).map(|(_, p)| text(p)).collect()
}

#[test]
fn a_partition_keeps_the_old_revision_below_it_even_for_new_pods() {
    let mut w = world();
    let key = set(&mut w, json!({"replicas": 3, "ordinals": {"start": 5}, "updateStrategy": {"rollingUpdate": {"partition": 1}}}));
    assert_eq!(pods(&w), ["db-5 nginx:1.21", "db-6 nginx:1.21", "db-7 nginx:1.21"]);
    edit(&mut w, &key, |s| image(s, "nginx:1.22"));
    advance(&mut w, 60.0);
    assert_eq!(pods(&w), ["db-5 nginx:1.21", "db-6 nginx:1.22", "db-7 nginx:1.22"]);
    registry::delete(&mut w, &Key::new(&PODS, NS, "db-5"), &DeleteOptions::default()).unwrap();
    w.settle();
    advance(&mut w, 60.0);
    assert_eq!(pods(&w)[0], "db-5 nginx:1.21");
    let status = w.store.get(&key).unwrap()["status"].clone();
    assert_eq!((&status["updatedReplicas"], &status["currentReplicas"]), (&json!(2), &json!(1)));
    assert_ne!(status["currentRevision"], status["updateRevision"]);
}

#[test]
fn a_broken_roll_out_in_order_stays_broken_until_its_pod_is_deleted() {
    let mut w = world();
    let key = set(&mut w, json!({"replicas": 2}));
    edit(&mut w, &key, |s| image(s, "nginx:does-not-exist"));
    advance(&mut w, 60.0);
    edit(&mut w, &key, |s| image(s, "nginx:1.21"));
    advance(&mut w, 120.0);
    // The known issue of the real controller: it waits for the broken pod.
    assert_eq!(pods(&w), ["db-0 nginx:1.21", "db-1 nginx:does-not-exist"]);
    registry::delete(&mut w, &Key::new(&PODS, NS, "db-1"), &DeleteOptions::default()).unwrap();
    w.settle();
    advance(&mut w, 60.0);
    assert_eq!(pods(&w), ["db-0 nginx:1.21", "db-1 nginx:1.21"]);
}

#[test]
fn pods_in_parallel_come_and_go_together_and_on_delete_waits() {
    let mut w = world();
    let key = set(&mut w, json!({"replicas": 0, "podManagementPolicy": "Parallel", "updateStrategy": {"type": "OnDelete"}}));
    edit(&mut w, &key, |s| s["replicas"] = 3.into());
    advance(&mut w, 0.5);
    assert_eq!(pods(&w).len(), 3);
    advance(&mut w, 20.0);
    edit(&mut w, &key, |s| image(s, "nginx:1.22"));
    advance(&mut w, 60.0);
    assert!(pods(&w).iter().all(|p| p.ends_with("nginx:1.21")));
    registry::delete(&mut w, &Key::new(&PODS, NS, "db-1"), &DeleteOptions::default()).unwrap();
    w.settle();
    advance(&mut w, 30.0);
    assert_eq!(pods(&w), ["db-0 nginx:1.21", "db-1 nginx:1.22", "db-2 nginx:1.21"]);
    edit(&mut w, &key, |s| s["replicas"] = 0.into());
    advance(&mut w, 0.5);
    assert_eq!(pods(&w).len(), 0);
}

#[test]
fn several_pods_may_be_replaced_at_a_time_and_old_revisions_go() {
    let mut w = world();
    let key = set(
        &mut w,
        json!({"replicas": 4, "revisionHistoryLimit": 1, "podManagementPolicy": "Parallel",
        "updateStrategy": {"rollingUpdate": {"maxUnavailable": "50%"}}}),
    );
    edit(&mut w, &key, |s| image(s, "nginx:1.22"));
    advance(&mut w, 0.1);
    let going = w.store.list(&PODS, Some(NS)).filter(|(_, p)| object::deleting(p)).map(|(k, _)| k.name.to_string());
    assert_eq!(going.collect::<Vec<_>>(), ["db-2", "db-3"]);
    advance(&mut w, 60.0);
    for tag in ["nginx:1.23", "nginx:1.24", "nginx:1.25"] {
        edit(&mut w, &key, |s| image(s, tag));
        advance(&mut w, 90.0);
    }
    assert_eq!(w.store.list(&REVISIONS, Some(NS)).count(), 2);
}

#[test]
fn claims_stay_or_go_as_the_policy_says() {
    for (scaled, deleted, then, at_last) in [("Retain", "Retain", 2, 2), ("Delete", "Retain", 1, 1), ("Retain", "Delete", 2, 0)] {
        let mut w = world();
        let template = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        let policy = json!({"whenScaled": scaled, "whenDeleted": deleted});
        let key = set(&mut w, json!({"replicas": 2, "volumeClaimTemplates": [template], "persistentVolumeClaimRetentionPolicy": policy}));
        let claims = |w: &World| w.store.list(&CLAIMS, Some(NS)).count();
        assert_eq!(claims(&w), 2);
        edit(&mut w, &key, |s| s["replicas"] = 1.into());
        advance(&mut w, 60.0);
        assert_eq!((claims(&w), pods(&w).len()), (then, 1), "{policy}");
        edit(&mut w, &key, |s| s["replicas"] = 2.into());
        advance(&mut w, 60.0);
        assert_eq!((claims(&w), pods(&w).len()), (2, 2), "{policy}");
        edit(&mut w, &key, |s| s["replicas"] = 1.into());
        advance(&mut w, 60.0);
        registry::delete(&mut w, &key, &DeleteOptions::default()).unwrap();
        w.settle();
        advance(&mut w, 60.0);
        assert_eq!(claims(&w), at_last, "{policy}");
    }
}
