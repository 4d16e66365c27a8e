//! What a kubelet does not take, or gives up: pods that are bound to it without room, and those whose time is over.

use std::time::Duration;

use serde_json::Value;

use super::lifecycle::tell;
use super::runtime::PodRun;
use super::{quantity, stop};
use crate::sim::controllers::events::Report;
use crate::sim::controllers::kinds::NODES;
use crate::sim::controllers::{object, placement, preemption, scheduler};
use crate::sim::resource::Key;
use crate::sim::schema::quantity::Quantity;
use crate::sim::world::World;

/// Grace of pods that have used too much of their node.
const EVICTION: Duration = Duration::from_secs(1);

/// Why a node has no room for a pod that somebody has bound to it. The pod is not among those of the runtime yet.
#[expect(clippy::cast_possible_truncation, reason = "amounts of a node fit")]
pub(super) fn refusal(world: &World, pod: &Value) -> Option<(&'static str, String)> {
    let name = pod["spec"]["nodeName"].as_str()?;
    let node = world.store.get(&Key::new(&NODES, "", name))?;
    if object::ended(pod) {
        return None;
    }
    if placement::lacks_ports(world, pod, name) {
        let text = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return Some(("NodePorts", text.to_owned()));
    }
    let (cpu, memory, pods) = world.runtime.requested().get(name).copied().unwrap_or_default();
    let (more_cpu, more_memory) = scheduler::requests(pod);
    let there = |what: &str| quantity::parse(&node["status"]["allocatable"][what]).unwrap_or(f64::MAX);
    let all = [
        ("OutOfpods", "pods", 1.0, f64::from(pods), 1.0),
        ("OutOfcpu", "cpu", more_cpu, cpu, 1000.0),
        ("OutOfmemory", "memory", more_memory, memory, 1.0),
    ];
    let (reason, what, wanted, used, unit) =
        all.into_iter().find(|(_, what, wanted, used, _)| *wanted > 0.0 && used + wanted > there(what) + 1e-9)?;
    let number = |n: f64| (n * unit).round() as i64;
    let (wanted, used, there) = (number(wanted), number(used), number(there(what)));
    Some((reason, format!("Node didn't have enough resource: {what}, requested: {wanted}, used: {used}, capacity: {there}")))
}

/// Turns a pod away.
pub(super) fn reject(world: &mut World, key: &Key, reason: &'static str, text: &str) {
    let Some(pod) = world.runtime.pods.get_mut(key) else { return };
    pod.failed = Some((reason, format!("Pod was rejected: {text}")));
    pod.dirty = true;
    let node = pod.model.node.clone();
    tell(world, key, &node, Report::warning(reason, text));
}

/// Gives up a pod that has run for as long as it may.
pub(super) fn expire(world: &mut World, key: &Key, pod: &mut PodRun) {
    let over = pod.model.deadline.is_some_and(|d| pod.bound.after(d) <= world.now);
    if !over || pod.failed.is_some() || pod.terminating.is_some() || pod.ended() {
        return;
    }
    let text = "Pod was active on the node longer than the specified deadline";
    pod.failed = Some(("DeadlineExceeded", text.to_owned()));
    pod.dirty = true;
    let (node, grace) = (pod.model.node.clone(), pod.model.grace);
    tell(world, key, &node, Report::normal("DeadlineExceeded", text));
    stop::all(world, key, pod, grace);
}

/// A quantity as it is written.
fn written(limit: &Value) -> String {
    limit.as_str().map_or_else(|| limit.to_string(), str::to_owned)
}

/// An `emptyDir` that holds more than it may.
fn full(pod: &PodRun) -> Option<String> {
    pod.model.volumes.iter().find_map(|(name, volume)| {
        let limit = &volume["emptyDir"]["sizeLimit"];
        let most = quantity::bytes(limit).filter(|b| *b > 0)?;
        let used = pod.volumes.get(name)?.size();
        (used > most).then(|| format!("Usage of EmptyDir volume \"{name}\" exceeds the limit \"{}\". ", written(limit)))
    })
}

/// A pod or container that has written more to its node's disk than its limits on `ephemeral-storage` allow: into its own files, and for
/// the pod as a whole into its `emptyDir`s, too.
fn swollen(stored: &Value, pod: &PodRun) -> Option<String> {
    let limits: Vec<(&str, &Value, u64)> = stored["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| {
            let limit = &c["resources"]["limits"]["ephemeral-storage"];
            Some((c["name"].as_str()?, limit, quantity::bytes(limit).filter(|b| *b > 0)?))
        })
        .collect();
    if limits.is_empty() {
        return None;
    }
    let own = |name: &str| pod.index(name).and_then(|i| pod.containers.get(i)).map_or(0, |c| c.files.volume_size("/"));
    let on_disk =
        |name: &str| pod.model.volumes.get(name).is_some_and(|v| v["emptyDir"].is_object() && v["emptyDir"]["medium"] != "Memory");
    let shared: u64 = pod.volumes.iter().filter(|(name, _)| on_disk(name)).map(|(_, v)| v.size()).sum();
    let used: u64 = pod.model.containers.iter().map(|m| own(&m.name)).sum::<u64>() + shared;
    let total: u64 = limits.iter().map(|(_, _, most)| most).sum();
    if used > total {
        let sum = limits.iter().filter_map(|(_, limit, _)| Quantity::from_json(limit)).reduce(Quantity::plus)?;
        return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {sum}. "));
    }
    let over = limits.iter().find(|(name, _, most)| own(name) > *most)?;
    Some(format!("Container {} exceeded its local ephemeral storage limit \"{}\". ", over.0, written(over.1)))
}

/// Gives up pods that have put more on their node's disk than they may. Looked at every ten seconds, as a kubelet does.
pub(super) fn evict(world: &mut World) {
    if !world.now.0.is_multiple_of(10_000) {
        return;
    }
    let live = world.runtime.pods.iter().filter(|(_, p)| p.failed.is_none() && p.terminating.is_none() && !p.ended());
    let over = |k: &Key, p: &PodRun| full(p).or_else(|| swollen(world.store.get(k)?, p));
    let found: Vec<(Key, String)> = live.filter_map(|(k, p)| Some((k.clone(), over(k, p)?))).collect();
    for (key, text) in found {
        let Some(mut pod) = world.runtime.pods.remove(&key) else { continue };
        pod.failed = Some(("Evicted", text.clone()));
        pod.dirty = true;
        let node = pod.model.node.clone();
        tell(world, &key, &node, Report::warning("Evicted", text.clone()));
        stop::all(world, &key, &mut pod, EVICTION);
        world.runtime.pods.insert(key.clone(), pod);
        preemption::mark(world, &key, "TerminationByKubelet", &text);
        super::lifecycle::step(world, &key);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sim::controllers::kinds::{EVENTS, PODS};
    use crate::sim::controllers::tests::{NS, advance, world};
    use crate::sim::registry::{self, Part};

    fn make(w: &mut World, name: &str, spec: &Value) -> Key {
        let mut spec = spec.clone();
        if spec["containers"].is_null() {
            spec["containers"] = json!([{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}]);
        }
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
        registry::create(w, &PODS, NS, pod).unwrap();
        w.settle();
        advance(w, 10.0);
        Key::new(&PODS, NS, name)
    }

    fn status(w: &World, key: &Key) -> Value {
        w.store.get(key).unwrap()["status"].clone()
    }

    #[test]
    fn a_pod_that_is_bound_where_there_is_no_room_fails() {
        let mut w = world();
        let container = json!({"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "9"}}});
        let key = make(&mut w, "p", &json!({"nodeName": "node-1", "containers": [container]}));
        let s = status(&w, &key);
        assert_eq!((&s["phase"], &s["reason"]), (&json!("Failed"), &json!("OutOfcpu")), "{s:#}");
        assert_eq!(s["message"], "Pod was rejected: Node didn't have enough resource: cpu, requested: 9000, used: 0, capacity: 8000");
        assert!(s["containerStatuses"].is_null());
        let key = make(&mut w, "q", &json!({"nodeName": "node-1"}));
        assert_eq!(status(&w, &key)["phase"], "Running");
    }

    #[test]
    fn a_pod_may_run_for_as_long_as_it_says() {
        let mut w = world();
        let key = make(&mut w, "p", &json!({"activeDeadlineSeconds": 30, "terminationGracePeriodSeconds": 5}));
        assert_eq!(status(&w, &key)["phase"], "Running");
        advance(&mut w, 30.0);
        let s = status(&w, &key);
        assert_eq!((&s["phase"], &s["reason"]), (&json!("Failed"), &json!("DeadlineExceeded")), "{s:#}");
        assert!(s["containerStatuses"][0]["state"]["terminated"].is_object());
        assert!(w.store.list(&EVENTS, Some(NS)).any(|(_, e)| e["reason"] == "DeadlineExceeded"));
    }

    #[test]
    fn a_port_of_a_node_is_taken_once() {
        let mut w = world();
        let spec = json!({"nodeName": "node-1", "containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80, "hostPort": 9090}]}]});
        let (first, second) = (make(&mut w, "a", &spec), make(&mut w, "b", &spec));
        assert_eq!(status(&w, &first)["phase"], "Running");
        let s = status(&w, &second);
        assert_eq!((&s["phase"], &s["reason"]), (&json!("Failed"), &json!("NodePorts")), "{s:#}");
        assert_eq!(
            s["message"],
            "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
        );
    }

    #[test]
    fn a_pod_is_ready_when_its_gates_are_open() {
        let mut w = world();
        let key = make(&mut w, "p", &json!({"readinessGates": [{"conditionType": "example.com/lb"}]}));
        let of = |w: &World, kind: &str| object::condition(&status(w, &key), kind).cloned().unwrap();
        assert_eq!((&of(&w, "Ready")["status"], &of(&w, "ContainersReady")["status"]), (&json!("False"), &json!("True")));
        assert_eq!(of(&w, "Ready")["message"], "corresponding condition of pod readiness gate \"example.com/lb\" does not exist.");
        let mut open = (**w.store.get(&key).unwrap()).clone();
        open["status"]["conditions"].as_array_mut().unwrap().push(json!({"type": "example.com/lb", "status": "True"}));
        registry::update(&mut w, &key, open, Part::Status).unwrap();
        w.settle();
        advance(&mut w, 1.0);
        assert_eq!(of(&w, "Ready")["status"], "True");
        assert_eq!(of(&w, "example.com/lb")["status"], "True");
    }

    #[test]
    fn too_much_in_a_container_s_own_files_is_the_end() {
        let mut w = world();
        let one = |name: &str, limit: &str| json!({"name": name, "image": "busybox", "command": ["sleep", "3600"], "resources": {"limits": {"ephemeral-storage": limit}}});
        for (pod, size, message) in [
            ("p", 2 << 20, "Container a exceeded its local ephemeral storage limit \"1Mi\". "),
            ("q", 6 << 20, "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. "),
        ] {
            let key = make(&mut w, pod, &json!({"containers": [one("a", "1Mi"), one("b", "4Mi")]}));
            advance(&mut w, 15.0);
            assert_eq!(status(&w, &key)["phase"], "Running");
            super::super::files::of(&mut w, &key, "a").unwrap().put("/data/f", &vec![0; size], 0o644);
            advance(&mut w, 15.0);
            let s = status(&w, &key);
            assert_eq!((&s["reason"], &s["message"]), (&json!("Evicted"), &json!(message)));
        }
    }

    #[test]
    fn too_much_in_an_empty_directory_is_the_end() {
        let mut w = world();
        let container =
            json!({"name": "c", "image": "busybox", "command": ["sleep", "3600"], "volumeMounts": [{"name": "v", "mountPath": "/data"}]});
        let key = make(&mut w, "p", &json!({"containers": [container], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]}));
        let put = |w: &mut World, size: usize| super::super::files::of(w, &key, "c").unwrap().put("/data/f", &vec![0; size], 0o644);
        put(&mut w, 1 << 19);
        advance(&mut w, 15.0);
        assert_eq!(status(&w, &key)["phase"], "Running");
        put(&mut w, 2 << 20);
        advance(&mut w, 15.0);
        let s = status(&w, &key);
        assert_eq!((&s["phase"], &s["reason"]), (&json!("Failed"), &json!("Evicted")), "{s:#}");
        assert_eq!(s["message"], "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ");
        assert_eq!(object::condition(&s, "DisruptionTarget").unwrap()["reason"], "TerminationByKubelet");
    }

    #[test]
    fn a_pod_with_its_nodes_network_has_its_address_name_and_ports() {
        let mut w = world();
        let key = make(&mut w, "p", &json!({"hostNetwork": true, "nodeName": "node-2"}));
        let s = status(&w, &key);
        assert_eq!((&s["podIP"], &s["hostIP"]), (&json!("192.168.64.11"), &json!("192.168.64.11")));
        assert_eq!(w.store.get(&key).unwrap()["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
        let run = w.runtime.pod(&key).unwrap();
        assert_eq!((run.model.hostname.as_str(), run.model.resolver.in_cluster()), ("node-2", false));
        let found = w.runtime.at_node("192.168.64.11".parse().unwrap(), 80).map(|(k, ..)| k.name.to_string());
        assert_eq!(found.as_deref(), Some("p"));
        // The others find the port taken.
        let at: Vec<String> = (0..3)
            .map(|i| {
                let key = make(&mut w, &format!("q-{i}"), &json!({"hostNetwork": true}));
                w.store.get(&key).unwrap()["spec"]["nodeName"].as_str().unwrap_or("none").to_owned()
            })
            .collect();
        assert_eq!(at, ["node-1", "node-3", "none"]);
    }

    #[test]
    fn what_a_container_leaves_in_its_file_is_its_message() {
        let mut w = world();
        let container = json!({"name": "c", "image": "busybox", "command": ["sleep", "3600"], "terminationMessagePath": "/tmp/last"});
        let key = make(&mut w, "p", &json!({"restartPolicy": "Never", "containers": [container]}));
        super::super::files::of(&mut w, &key, "c").unwrap().put("/tmp/last", b"all is lost", 0o644);
        super::super::kill(&mut w, &key, "c", 1);
        advance(&mut w, 1.0);
        assert_eq!(status(&w, &key)["containerStatuses"][0]["state"]["terminated"]["message"], "all is lost");
    }
}
