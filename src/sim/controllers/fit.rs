//! Whether a node takes a pod, for itself: its resources, taints, labels. What other pods say is [`super::placement`]'s.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::object;
use crate::sim::kubelet::quantity;

/// What is taken on a node: CPU in cores, memory in bytes, pods, and whatever else pods ask for.
#[derive(Debug, Clone, Default)]
pub(super) struct Taken {
    pub(super) cpu: f64,
    pub(super) memory: f64,
    pub(super) pods: u32,
    pub(super) others: BTreeMap<String, f64>,
}

impl Taken {
    /// With another pod, or (`sign` -1) without it.
    pub(super) fn count(&mut self, pod: &Value, sign: f64) {
        let (cpu, memory) = requests(pod);
        self.cpu += sign * cpu;
        self.memory += sign * memory;
        self.pods = if sign > 0.0 { self.pods + 1 } else { self.pods.saturating_sub(1) };
        for (what, amount) in others(pod) {
            *self.others.entry(what).or_default() += sign * amount;
        }
    }
}

/// Why a node does not take a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The scheduler's words, one for each reason.
    pub(super) reasons: Vec<String>,
    /// Whether it could help if other pods went.
    pub(super) curable: bool,
}

impl Refusal {
    pub(super) fn of(reason: &str, curable: bool) -> Self {
        Self { reasons: vec![reason.to_owned()], curable }
    }
}

/// CPU in cores and memory in bytes that a pod requests.
pub fn requests(pod: &Value) -> (f64, f64) {
    (total(pod, "cpu"), total(pod, "memory"))
}

/// What a pod requests of a resource: its containers and sidecars together, or an init container with the sidecars that have
/// been started before it, whichever is more; or what the pod says for itself; and the overhead of its runtime.
fn total(pod: &Value, what: &str) -> f64 {
    let read = |r: &Value| quantity::parse(&r["requests"][what]).or_else(|| quantity::parse(&r["limits"][what]));
    let spec = &pod["spec"];
    let list = |field: &str| spec[field].as_array().into_iter().flatten();
    let (mut sidecars, mut peak) = (0.0, 0.0_f64);
    for init in list("initContainers") {
        let own = read(&init["resources"]).unwrap_or(0.0);
        if init["restartPolicy"] == "Always" {
            sidecars += own;
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + own);
        }
    }
    let main: f64 = list("containers").map(|c| read(&c["resources"]).unwrap_or(0.0)).sum();
    let own = if spec["resources"].is_object() { read(&spec["resources"]) } else { None };
    own.unwrap_or_else(|| peak.max(main + sidecars)) + quantity::parse(&spec["overhead"][what]).unwrap_or(0.0)
}

/// What a pod requests beside CPU and memory.
pub(super) fn others(pod: &Value) -> BTreeMap<String, f64> {
    let lists = ["containers", "initContainers"].into_iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
    let parts = lists.flat_map(|c| ["requests", "limits"].map(|part| &c["resources"][part])).filter_map(Value::as_object);
    let names = parts.flat_map(serde_json::Map::keys).filter(|what| !matches!(what.as_str(), "cpu" | "memory"));
    names.map(|what| (what.clone(), total(pod, what))).filter(|(_, amount)| *amount > 0.0).collect()
}

/// What keeps a pod from a node.
pub(super) fn obstacle(node: &Value, pod: &Value, taken: &Taken) -> Option<Refusal> {
    if node["spec"]["unschedulable"] == true && !tolerates(pod, &json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}))
    {
        return Some(Refusal::of("node(s) were unschedulable", false));
    }
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    if taints.filter(|t| t["effect"] != "PreferNoSchedule").any(|t| !tolerates(pod, t)) {
        return Some(Refusal::of("node(s) had untolerated taint(s)", false));
    }
    if !affine(pod, node) {
        return Some(Refusal::of("node(s) didn't match Pod's node affinity/selector", false));
    }
    None.or_else(|| room(node, pod, taken))
}

/// What there is too little of.
fn room(node: &Value, pod: &Value, taken: &Taken) -> Option<Refusal> {
    let there = |what: &str| quantity::parse(&node["status"]["allocatable"][what]).unwrap_or(0.0);
    let mut lacking = Refusal { reasons: Vec::new(), curable: true };
    if f64::from(taken.pods) + 1.0 > there("pods") {
        lacking.reasons.push("Too many pods".to_owned());
    }
    let (cpu, memory) = requests(pod);
    let others = others(pod);
    let mut wanted = vec![("cpu", cpu, taken.cpu), ("memory", memory, taken.memory)];
    wanted.extend(others.iter().map(|(what, n)| (what.as_str(), *n, taken.others.get(what).copied().unwrap_or(0.0))));
    for (what, amount, used) in wanted {
        if amount > 0.0 && used + amount > there(what) + 1e-9 {
            lacking.reasons.push(format!("Insufficient {what}"));
            lacking.curable &= amount <= there(what);
        }
    }
    (!lacking.reasons.is_empty()).then_some(lacking)
}

/// Whether a pod's node selector and required node affinity name a node.
pub(super) fn affine(pod: &Value, node: &Value) -> bool {
    let terms = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    object::contains_all(&pod["spec"]["nodeSelector"], &node["metadata"]["labels"])
        && terms.as_array().is_none_or(|all| all.iter().any(|t| term_holds(t, node)))
}

/// Whether a term of node affinity holds for a node.
pub(super) fn term_holds(term: &Value, node: &Value) -> bool {
    let expressions = term["matchExpressions"].as_array().into_iter().flatten();
    let fields = term["matchFields"].as_array().into_iter().flatten();
    let by_name = json!({"metadata.name": node["metadata"]["name"]});
    let empty = |field: &str| term[field].as_array().is_none_or(Vec::is_empty);
    // An empty term holds for nothing.
    !(empty("matchExpressions") && empty("matchFields"))
        && expressions.into_iter().all(|e| node_expression(e, &node["metadata"]["labels"]))
        && fields.into_iter().all(|e| node_expression(e, &by_name))
}

/// An expression over nodes' labels: as others, and numbers can be compared.
fn node_expression(expression: &Value, labels: &Value) -> bool {
    let number = |v: &Value| v.as_str().and_then(|s| s.parse::<i64>().ok());
    let label = || number(&labels[expression["key"].as_str().unwrap_or_default()]);
    let pair = || label().zip(number(&expression["values"][0]));
    match expression["operator"].as_str() {
        Some("Gt") => pair().is_some_and(|(have, bound)| have > bound),
        Some("Lt") => pair().is_some_and(|(have, bound)| have < bound),
        _ => object::expression_holds(expression, labels),
    }
}

/// Whether a pod tolerates a taint.
pub fn tolerates(pod: &Value, taint: &Value) -> bool {
    pod["spec"]["tolerations"].as_array().is_some_and(|all| {
        all.iter().any(|t| {
            let effect = t["effect"].as_str().is_none_or(|e| e.is_empty() || taint["effect"] == e);
            let key = t["key"].as_str().is_none_or(|k| k.is_empty() || taint["key"] == k);
            effect && key && (t["operator"] == "Exists" || t["value"].as_str().unwrap_or("") == taint["value"].as_str().unwrap_or(""))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_count_beside_the_containers_and_before_later_init_containers() {
        let c = |cpu: &str, policy: Value| json!({"restartPolicy": policy, "resources": {"requests": {"cpu": cpu}}});
        let pod = |inits: Vec<Value>| json!({"spec": {"initContainers": inits, "containers": [c("1", Value::Null)]}});
        let always = || json!("Always");
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        near(requests(&pod(vec![c("3", Value::Null)])).0, 3.0);
        near(requests(&pod(vec![c("2", always()), c("3", Value::Null)])).0, 5.0);
        near(requests(&pod(vec![c("3", Value::Null), c("2", always())])).0, 3.0);
        near(requests(&pod(vec![c("2", always())])).0, 3.0);
    }

    #[test]
    fn everything_that_is_lacking_is_named() {
        let node = json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"}}});
        let pod = json!({"spec": {"containers": [{"resources": {"limits": {"example.com/card": "1"}, "requests": {"cpu": "3", "memory": "2Gi"}}}]}});
        let refusal = obstacle(&node, &pod, &Taken::default()).unwrap();
        assert_eq!(refusal.reasons, ["Insufficient cpu", "Insufficient memory", "Insufficient example.com/card"]);
        assert!(!refusal.curable);
        let numbers = |operator: &str| node_expression(&json!({"key": "n", "operator": operator, "values": ["5"]}), &json!({"n": "7"}));
        assert!(numbers("Gt") && !numbers("Lt"));
    }
}
