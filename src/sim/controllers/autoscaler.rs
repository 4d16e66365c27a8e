//! `HorizontalPodAutoscaler` controller: replicas by the CPU and memory that the pods were measured to use.
//!
//! Every 15 seconds. Input: the last samples of the target's ready pods and their requests. Output: the target's
//! `spec.replicas`, and the autoscaler's status. Metrics other than resources are not there, and said to be missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::events::{self, Report, Source};
use super::kinds::PODS;
use super::measuring::{self, Problem, Proposal};
use super::object::{self, int};
use super::scaling::{Decision, Past};
use crate::sim::registry::{self, Part};
use crate::sim::resource::{Key, Resource};
use crate::sim::world::{Event, World};

/// How often it looks.
pub const PERIOD: Duration = Duration::from_secs(15);
const SELF: Source<'static> = Source { component: "horizontal-pod-autoscaler", host: "" };

/// What was recommended and done lately, for each autoscaler.
pub type Memory = BTreeMap<Key, Past>;

fn target_key(hpa: &Value, namespace: &str) -> Option<Key> {
    let reference = &hpa["spec"]["scaleTargetRef"];
    let plural = match reference["kind"].as_str()? {
        "Deployment" => "deployments",
        "ReplicaSet" => "replicasets",
        "StatefulSet" => "statefulsets",
        "ReplicationController" => "replicationcontrollers",
        _ => return None,
    };
    let group = reference["apiVersion"].as_str().unwrap_or_default().rsplit_once('/').map_or("", |(g, _)| g);
    Some(Key::new(&Resource::new(group, plural), namespace, reference["name"].as_str()?))
}

/// Looks at one autoscaler, and again later.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(hpa) = world.store.get(key).cloned() else {
        world.controllers.autoscaling.remove(key);
        return;
    };
    world.agenda.at(world.now.after(PERIOD), Event::Reconcile(key.clone()));
    let mut status = hpa["status"].clone();
    status["observedGeneration"] = hpa["metadata"]["generation"].clone();
    let found = target_key(&hpa, &key.namespace).and_then(|k| Some((k.clone(), world.store.get(&k).cloned()?)));
    let Some((at, target)) = found else {
        let reference = &hpa["spec"]["scaleTargetRef"];
        let kind = reference["kind"].as_str().unwrap_or_default().to_lowercase();
        let name = reference["name"].as_str().unwrap_or_default();
        let text = format!("the HPA controller was unable to get the target's current scale: {kind}s \"{name}\" not found");
        events::emit(world, key, &hpa, SELF, Report::warning("FailedGetScale", text.clone()));
        condition(world, &mut status, "AbleToScale", false, "FailedGetScale", &text);
        return write(world, key, &hpa, status);
    };
    let current = int(&target["spec"]["replicas"], 1);
    status["currentReplicas"] = int(&target["status"]["replicas"], 0).into();
    if current == 0 {
        status["desiredReplicas"] = 0.into();
        let text = "scaling is disabled since the replica count of the target is zero";
        condition(
            world,
            &mut status,
            "AbleToScale",
            true,
            "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        );
        condition(world, &mut status, "ScalingActive", false, "ScalingDisabled", text);
        return write(world, key, &hpa, status);
    }
    let (low, high) = (int(&hpa["spec"]["minReplicas"], 1), int(&hpa["spec"]["maxReplicas"], 1));
    let (mut wanted, mut why) = (current, String::new());
    if current > high {
        (wanted, why) = (high, "Current number of replicas above Spec.MaxReplicas".to_owned());
    } else if current < low {
        (wanted, why) = (low, "Current number of replicas below Spec.MinReplicas".to_owned());
    } else {
        let found = proposals(world, key, &hpa, &target, current);
        status["currentMetrics"] =
            found.iter().map(|f| f.as_ref().map_or_else(|_| json!({"type": ""}), |p| p.current.clone())).collect::<Vec<_>>().into();
        for problem in found.iter().filter_map(|f| f.as_ref().err()) {
            events::emit(world, key, &hpa, SELF, Report::warning(problem.reason, problem.text.clone()));
        }
        let most = found.iter().flatten().fold(None, |most: Option<&Proposal>, p| match most {
            Some(m) if m.replicas >= p.replicas => Some(m),
            _ => Some(p),
        });
        let first = found.iter().find_map(|f| f.as_ref().err());
        // Metrics that are missing could have asked for more: there is no scaling down without them.
        if let Some(problem) = first.filter(|_| most.is_none_or(|m| m.replicas < current)) {
            let (wrong, all) = (found.iter().filter(|f| f.is_err()).count(), found.len());
            let text = format!("invalid metrics ({wrong} invalid out of {all}), first error is: {}{}", problem.behind, problem.text);
            events::emit(world, key, &hpa, SELF, Report::warning("FailedComputeMetricsReplicas", text));
            let able = "the HPA controller was able to get the target's current scale";
            condition(world, &mut status, "AbleToScale", true, "SucceededGetScale", able);
            let text = format!("the HPA was unable to compute the replica count: {}", problem.text);
            condition(world, &mut status, "ScalingActive", false, problem.reason, &text);
            status["desiredReplicas"] = current.into();
            return write(world, key, &hpa, status);
        }
        if let Some(most) = most {
            let text = format!("the HPA was able to successfully calculate a replica count from {}", most.what);
            condition(world, &mut status, "ScalingActive", true, "ValidMetricFound", &text);
            wanted = most.replicas;
            why = if wanted > current { format!("{} above target", most.what) } else { "All metrics below target".to_owned() };
        }
        wanted = bounded(world, key, &hpa, &mut status, current, wanted, (low, high));
    }
    status["desiredReplicas"] = wanted.into();
    if wanted != current {
        let mut new = (*target).clone();
        new["spec"]["replicas"] = wanted.into();
        if registry::update(world, &at, new, Part::Main).is_ok() {
            let now = world.now;
            world.controllers.autoscaling.entry(key.clone()).or_default().scaled(now, current, wanted);
            let text = format!("New size: {wanted}; reason: {why}");
            events::emit(world, key, &hpa, SELF, Report::normal("SuccessfulRescale", text));
            status["lastScaleTime"] = world.now.rfc3339().into();
            let text = format!("the HPA controller was able to update the target scale to {wanted}");
            condition(world, &mut status, "AbleToScale", true, "SucceededRescale", &text);
        }
    }
    write(world, key, &hpa, status);
}

/// Keeps a recommendation within what limits, windows and policies allow.
fn bounded(world: &mut World, key: &Key, hpa: &Value, status: &mut Value, current: i64, wanted: i64, range: (i64, i64)) -> i64 {
    let now = world.now;
    let past = world.controllers.autoscaling.entry(key.clone()).or_default();
    let Decision { replicas, able, limited } = past.decide(&hpa["spec"]["behavior"], now, current, wanted, range);
    for (kind, (holds, reason, message)) in [("AbleToScale", able), ("ScalingLimited", limited)] {
        condition(world, status, kind, holds, reason, message);
    }
    replicas
}

/// What each metric asks for.
fn proposals(world: &World, key: &Key, hpa: &Value, target: &Value, current: i64) -> Vec<Result<Proposal, Problem>> {
    let selector = &target["spec"]["selector"];
    let plain = selector["matchLabels"].is_null() && selector["matchExpressions"].is_null();
    let selector = if plain { json!({"matchLabels": selector}) } else { selector.clone() };
    let pods: Vec<(&Key, &Arc<Value>)> = world
        .store
        .list(&PODS, Some(&key.namespace))
        .filter(|(_, p)| object::active(p) && object::selects(&selector, &p["metadata"]["labels"]))
        .collect();
    let metrics = hpa["spec"]["metrics"].as_array().into_iter().flatten();
    metrics.map(|m| measuring::propose(world, hpa, m, &pods, current)).collect()
}

fn condition(world: &World, status: &mut Value, kind: &str, holds: bool, reason: &str, message: &str) {
    let mut all = status["conditions"].as_array().cloned().unwrap_or_default();
    let word = if holds { "True" } else { "False" };
    let since = object::condition(status, kind).filter(|c| c["status"] == word).map(|c| c["lastTransitionTime"].clone());
    let new = json!({"type": kind, "status": word, "reason": reason, "message": message,
        "lastTransitionTime": since.unwrap_or_else(|| world.now.rfc3339().into())});
    match all.iter_mut().find(|c| c["type"] == kind) {
        Some(old) => *old = new,
        None => all.push(new),
    }
    status["conditions"] = all.into();
}

fn write(world: &mut World, key: &Key, hpa: &Value, status: Value) {
    if hpa["status"] != status {
        let mut new = hpa.clone();
        new["status"] = status;
        // Nobody else writes in between: the world is ours.
        let _written = registry::update(world, key, new, Part::Status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::controllers::tests::{NS, advance, deploy, get, world};

    fn hpa(target: u32) -> Value {
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "minReplicas": 1, "maxReplicas": 3,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            "metrics": [{"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": target.to_string()}}}]}})
    }

    #[test]
    fn metrics_are_told_of_each_for_itself_and_what_is_missing_keeps_pods_alive() {
        let mut w = world();
        deploy(&mut w, "web", 2);
        advance(&mut w, 40.0);
        let kind = Resource::new("autoscaling", "horizontalpodautoscalers");
        let mut object = hpa(4_000_000_000);
        let pods = json!({"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "1"}}});
        let container = json!({"type": "ContainerResource", "containerResource": {"name": "memory", "container": "web",
            "target": {"type": "AverageValue", "averageValue": "4G"}}});
        object["spec"]["metrics"].as_array_mut().unwrap().extend([pods, container]);
        registry::create(&mut w, &kind, NS, object).unwrap();
        w.settle();
        advance(&mut w, 60.0);
        let status = w.store.get(&Key::new(&kind, NS, "web")).unwrap()["status"].clone();
        // Two metrics would have fewer pods; the third might have wanted more.
        assert_eq!(get(&w, "web")["spec"]["replicas"], 2, "{status:#}");
        assert_eq!(object::condition(&status, "ScalingActive").unwrap()["reason"], "FailedGetPodsMetric");
        assert_eq!((&status["currentMetrics"][1]["type"], &status["currentMetrics"][2]["type"]), (&json!(""), &json!("ContainerResource")));
        let events = super::super::kinds::EVENTS.clone();
        let told = w.store.list(&events, Some(NS)).any(|(_, e)| {
            e["message"]
                .as_str()
                .is_some_and(|m| m.starts_with("invalid metrics (1 invalid out of 3), first error is: failed to get pods metric value: "))
        });
        assert!(told);
    }

    #[test]
    fn replicas_follow_what_pods_use() {
        for (target, expected) in [(1_000_000, 3), (4_000_000_000, 1)] {
            let mut w = world();
            deploy(&mut w, "web", 2);
            advance(&mut w, 40.0);
            let kind = Resource::new("autoscaling", "horizontalpodautoscalers");
            registry::create(&mut w, &kind, NS, hpa(target)).unwrap();
            w.settle();
            advance(&mut w, 60.0);
            let status = w.store.get(&Key::new(&kind, NS, "web")).unwrap()["status"].clone();
            assert_eq!(get(&w, "web")["spec"]["replicas"], expected, "{status:#}");
            assert_eq!(status["desiredReplicas"], expected);
            assert!(object::condition(&status, "ScalingActive").is_some_and(|c| c["reason"] == "ValidMetricFound"), "{status:#}");
        }
    }
}
