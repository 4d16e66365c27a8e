//! `DaemonSet` controller: one pod on every node that takes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::events::{self, Report, Source};
use super::kinds::{DAEMON_SETS, NODES, PODS};
use super::object::{self, int};
use super::{fit, revisions};
use crate::sim::registry::{self, DeleteOptions, Part};
use crate::sim::resource::Key;
use crate::sim::world::{Event, World};

const SELF: Source<'static> = Source { component: "daemonset-controller", host: "" };
const HASH: &str = "controller-revision-hash";

/// The pods of a node that are not on their way out.
#[derive(Default)]
struct OnNode {
    new: Vec<(Key, Arc<Value>)>,
    old: Vec<(Key, Arc<Value>)>,
    /// Whether pods are still ending.
    ending: bool,
}

/// What is to be done, and what to report.
#[derive(Default)]
struct Plan {
    create: Vec<String>,
    delete: Vec<Key>,
}

/// Creates missing pods, deletes surplus and outdated ones, and reports the status.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(set) = world.store.get(key).cloned() else { return };
    if object::deleting(&set) {
        return;
    }
    let (hash, _) = revisions::revision(world, key, &set);
    let pods = object::owned(world, &PODS, key, &set);
    let mut live: Vec<String> = pods.iter().filter_map(|(_, p)| p["metadata"]["labels"][HASH].as_str().map(str::to_owned)).collect();
    live.push(hash.clone());
    revisions::truncate(world, key, &set, &live);
    let mut by_node: BTreeMap<String, OnNode> = BTreeMap::new();
    for (k, p) in pods {
        let on = by_node.entry(node_of(&p)).or_default();
        if object::deleting(&p) {
            on.ending = true;
        } else if object::ended(&p) {
            on.ending = true;
            kill(world, key, &set, &k, &p);
        } else if p["metadata"]["labels"][HASH] == hash.as_str() {
            on.new.push((k, p));
        } else {
            on.old.push((k, p));
        }
    }
    let mut probe = object::pod_from_template(&set["spec"]["template"], &DAEMON_SETS, &set);
    tolerate(&mut probe);
    let nodes: Vec<Arc<Value>> = world.store.list(&NODES, None).map(|(_, n)| Arc::clone(n)).collect();
    let wanted: Vec<String> = nodes.iter().filter(|n| runs_on(&probe, n)).map(|n| object::name(n).to_owned()).collect();
    let mut plan = Plan::default();
    for (node, on) in &by_node {
        if !wanted.contains(node) {
            plan.delete.extend(on.new.iter().chain(&on.old).map(|(k, _)| k.clone()));
            // Pods of nodes that are gone go with them.
        }
        for surplus in [&on.new, &on.old] {
            let mut oldest: Vec<&(Key, Arc<Value>)> = surplus.iter().collect();
            oldest.sort_by_key(|(k, p)| (object::created(p), k.clone()));
            plan.delete.extend(oldest.into_iter().skip(1).map(|(k, _)| k.clone()));
        }
    }
    let mut misplaced = 0;
    for (node, on) in &by_node {
        misplaced +=
            i64::from(!wanted.contains(node) && nodes.iter().any(|n| object::name(n) == node) && !(on.new.is_empty() && on.old.is_empty()));
    }
    for node in &wanted {
        let on = by_node.entry(node.clone()).or_default();
        if on.new.is_empty() && on.old.is_empty() && !on.ending {
            plan.create.push(node.clone());
        }
    }
    if set["spec"]["updateStrategy"]["type"] != "OnDelete" {
        roll(world, &set, &wanted, &by_node, &mut plan);
    }
    plan.delete.sort();
    plan.delete.dedup();
    for k in &plan.delete {
        delete(world, key, &set, k);
    }
    for node in &plan.create {
        create(world, key, &set, &probe, node, &hash);
    }
    report(world, key, &wanted, misplaced, &hash);
}

/// The node that a pod is on, or is meant for.
fn node_of(pod: &Value) -> String {
    let terms = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    pod["spec"]["nodeName"].as_str().or(terms[0]["matchFields"][0]["values"][0].as_str()).unwrap_or_default().to_owned()
}

fn runs_on(probe: &Value, node: &Value) -> bool {
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    fit::affine(probe, node) && taints.filter(|t| t["effect"] != "PreferNoSchedule").all(|t| fit::tolerates(probe, t))
}

/// Replaces pods of earlier revisions: a few at a time, before or after their successors have come.
fn roll(world: &World, set: &Value, wanted: &[String], by_node: &BTreeMap<String, OnNode>, plan: &mut Plan) {
    let rolling = &set["spec"]["updateStrategy"]["rollingUpdate"];
    let total = i64::try_from(wanted.len()).unwrap_or(i64::MAX);
    let surge = object::int_or_percent(&rolling["maxSurge"], total, true, "0");
    let mut most = object::int_or_percent(&rolling["maxUnavailable"], total, true, "1");
    if surge == 0 && most == 0 {
        most = 1;
    }
    let min = int(&set["spec"]["minReadySeconds"], 0);
    let available = |p: &Value| object::available(p, min, world.now).0;
    let (mut busy, mut replaced, mut candidates) = (0, Vec::new(), Vec::new());
    for (node, on) in by_node.iter().filter(|(node, _)| wanted.contains(node)) {
        match (on.new.as_slice(), on.old.as_slice(), surge > 0) {
            ([(_, new)], [], false) => busy += i64::from(!available(new)),
            ([], [(k, old)], false) if available(old) => candidates.push((node.clone(), k.clone())),
            // Whoever is not well is replaced in any case.
            ([], [(k, old)], _) if !available(old) => {
                busy += i64::from(surge == 0);
                replaced.push((node.clone(), k.clone()));
            }
            ([], [(k, _)], true) => candidates.push((node.clone(), k.clone())),
            ([(_, new)], [(k, _)], true) if available(new) => plan.delete.push(k.clone()),
            (_, [], true) => {}
            _ => busy += 1,
        }
    }
    let room = usize::try_from(if surge > 0 { surge } else { most } - busy).unwrap_or(0);
    for (node, k) in replaced.into_iter().chain(candidates.into_iter().take(room)) {
        if surge > 0 {
            plan.create.push(node);
        } else {
            plan.delete.push(k);
        }
    }
}

fn create(world: &mut World, key: &Key, set: &Value, probe: &Value, node: &str, hash: &str) {
    let mut pod = probe.clone();
    pod["metadata"]["labels"][HASH] = hash.into();
    if let Some(generation) = set["metadata"]["annotations"][registry::TEMPLATE_GENERATION].as_str() {
        pod["metadata"]["labels"]["pod-template-generation"] = generation.into();
    }
    let field = json!([{"key": "metadata.name", "operator": "In", "values": [node]}]);
    let required = &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    match required["nodeSelectorTerms"].as_array_mut() {
        Some(terms) => terms.iter_mut().for_each(|t| t["matchFields"] = field.clone()),
        None => *required = json!({"nodeSelectorTerms": [{"matchFields": field}]}),
    }
    match registry::create(world, &PODS, &key.namespace, pod) {
        Ok(p) => {
            let text = format!("Created pod: {}", object::name(&p));
            events::emit(world, key, set, SELF, Report::normal("SuccessfulCreate", text));
        }
        Err(e) => {
            events::emit(world, key, set, SELF, Report::warning("FailedCreate", format!("Error creating: {}", e.message)));
            // Quotas may free up.
            world.agenda.at(world.now.after(std::time::Duration::from_secs(5)), Event::Reconcile(key.clone()));
        }
    }
}

/// A pod that has ended by itself makes room for another.
fn kill(world: &mut World, key: &Key, set: &Value, pod: &Key, object: &Value) {
    let place = format!("{}/{} on node {}", pod.namespace, pod.name, node_of(object));
    let report = if object["status"]["phase"] == "Failed" {
        Report::warning("FailedDaemonPod", format!("Found failed daemon pod {place}, will try to kill it"))
    } else {
        Report::normal("SucceededDaemonPod", format!("Found succeeded daemon pod {place}, will try to delete it"))
    };
    events::emit(world, key, set, SELF, report);
    delete(world, key, set, pod);
}

fn delete(world: &mut World, key: &Key, set: &Value, pod: &Key) {
    if registry::delete(world, pod, &DeleteOptions::default()).is_ok() {
        events::emit(world, key, set, SELF, Report::normal("SuccessfulDelete", format!("Deleted pod: {}", pod.name)));
    }
}

fn report(world: &mut World, key: &Key, wanted: &[String], misplaced: i64, hash: &str) {
    let Some(now) = world.store.get(key).cloned() else { return };
    let min = int(&now["spec"]["minReadySeconds"], 0);
    let pods = object::owned(world, &PODS, key, &now);
    let mut later = None;
    let (mut current, mut ready, mut available, mut updated) = (0, 0, 0, 0);
    for node in wanted {
        let mut here: Vec<&Arc<Value>> = pods.iter().map(|(_, p)| p).filter(|p| node_of(p) == *node && !object::deleting(p)).collect();
        if here.is_empty() {
            continue;
        }
        current += 1;
        // The oldest stands for the node, but for one that is ready.
        here.sort_by_key(|p| (!object::ready(p), object::created(p)));
        let found = here.iter().map(|p| object::available(p, min, world.now)).collect::<Vec<_>>();
        ready += i64::from(here.iter().any(|p| object::ready(p)));
        available += i64::from(found.iter().any(|(yes, _)| *yes));
        later = found.iter().filter_map(|(_, at)| *at).chain(later).min();
        updated += i64::from(here.iter().any(|p| p["metadata"]["labels"][HASH] == hash));
    }
    if let Some(at) = later {
        world.agenda.at(at, Event::Reconcile(key.clone()));
    }
    let desired = i64::try_from(wanted.len()).unwrap_or(i64::MAX);
    let mut status = json!({
        "currentNumberScheduled": current, "desiredNumberScheduled": desired, "numberAvailable": available, "numberMisscheduled": misplaced,
        "numberReady": ready, "numberUnavailable": desired - available, "updatedNumberScheduled": updated,
        "observedGeneration": int(&now["metadata"]["generation"], 1),
    });
    if let Some(s) = status.as_object_mut() {
        s.retain(|k, v| *v != 0 || !matches!(k.as_str(), "numberAvailable" | "numberUnavailable" | "updatedNumberScheduled"));
    }
    if now["status"] != status {
        let mut new = (*now).clone();
        new["status"] = status;
        // Nobody else writes in between: the world is ours.
        let _written = registry::update(world, key, new, Part::Status);
    }
}

/// Taints that a daemon's pod puts up with; that of a network that is not there yet, if it has its node's.
fn tolerate(pod: &mut Value) {
    let mut all = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    let mut taints = vec![
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    ];
    if pod["spec"]["hostNetwork"] == true {
        taints.push(("network-unavailable", "NoSchedule"));
    }
    for (key, effect) in taints {
        let toleration = json!({"effect": effect, "key": format!("node.kubernetes.io/{key}"), "operator": "Exists"});
        if !all.contains(&toleration) {
            all.push(toleration);
        }
    }
    pod["spec"]["tolerations"] = all.into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::controllers::kinds::REVISIONS;
    use crate::sim::controllers::tests::{NS, advance, world};

    fn set(w: &mut World, strategy: &Value) -> Key {
        let template = json!({"metadata": {"labels": {"app": "agent"}}, "spec": {"terminationGracePeriodSeconds": 5, "containers": [{"name": "c", "image": "nginx:1.21"}]}});
        let spec = json!({"selector": {"matchLabels": {"app": "agent"}}, "template": template, "updateStrategy": strategy, "revisionHistoryLimit": 1});
        registry::create(
            w,
            &DAEMON_SETS,
            NS,
            json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": spec}),
        )
        .unwrap();
        w.settle();
        advance(w, 30.0);
        Key::new(&DAEMON_SETS, NS, "agent")
    }

    fn image(w: &mut World, key: &Key, image: &str) {
        let mut new = (**w.store.get(key).unwrap()).clone();
        new["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        registry::update(w, key, new, Part::Main).unwrap();
        w.settle();
    }

    /// How many pods have an image and are ready, and how many are on their way out.
    fn count(w: &World, image: &str) -> (usize, usize) {
        let of = w.store.list(&PODS, Some(NS)).filter(|(_, p)| p["spec"]["containers"][0]["image"] == image);
        let (dying, alive): (Vec<_>, Vec<_>) = of.partition(|(_, p)| object::deleting(p));
        (alive.iter().filter(|(_, p)| object::ready(p)).count(), dying.len())
    }

    #[test]
    fn pods_are_replaced_a_few_at_a_time() {
        let mut w = world();
        let key = set(&mut w, &json!({"rollingUpdate": {"maxUnavailable": "50%"}}));
        image(&mut w, &key, "nginx:1.22");
        advance(&mut w, 0.1);
        assert_eq!(count(&w, "nginx:1.21"), (1, 2));
        advance(&mut w, 60.0);
        assert_eq!((count(&w, "nginx:1.21"), count(&w, "nginx:1.22")), ((0, 0), (3, 0)));
        image(&mut w, &key, "nginx:1.23");
        advance(&mut w, 90.0);
        assert_eq!(count(&w, "nginx:1.23"), (3, 0));
        assert_eq!(w.store.list(&REVISIONS, Some(NS)).count(), 2);
    }

    #[test]
    fn a_surge_brings_the_new_pod_before_the_old_one_goes() {
        let mut w = world();
        let key = set(&mut w, &json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}));
        image(&mut w, &key, "nginx:1.22");
        let mut least = 3;
        for _ in 0..60 {
            advance(&mut w, 1.0);
            least = least.min(count(&w, "nginx:1.21").0 + count(&w, "nginx:1.22").0);
        }
        assert_eq!((least, count(&w, "nginx:1.22").0), (3, 3));
        assert_eq!(w.store.get(&key).unwrap()["status"]["numberAvailable"], 3);
    }

    #[test]
    fn on_delete_waits_and_labels_decide() {
        let mut w = world();
        let key = set(&mut w, &json!({"type": "OnDelete"}));
        image(&mut w, &key, "nginx:1.22");
        advance(&mut w, 60.0);
        assert_eq!(count(&w, "nginx:1.21").0, 3);
        let pod = w.store.list(&PODS, Some(NS)).next().unwrap().0.clone();
        registry::delete(&mut w, &pod, &DeleteOptions::default()).unwrap();
        w.settle();
        advance(&mut w, 30.0);
        assert_eq!((count(&w, "nginx:1.21").0, count(&w, "nginx:1.22").0), (2, 1));
        let mut new = (**w.store.get(&key).unwrap()).clone();
        let term = json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-2"]}]});
        new["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"] =
            json!([term]);
        registry::update(&mut w, &key, new, Part::Main).unwrap();
        w.settle();
        advance(&mut w, 30.0);
        let left: Vec<String> = w.store.list(&PODS, Some(NS)).map(|(_, p)| node_of(p)).collect();
        assert_eq!(left, ["node-2"]);
    }
}
