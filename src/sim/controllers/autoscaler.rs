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
use super::object::{self, int};
use super::scaling::{Decision, Past};
use crate::sim::kubelet::{self, quantity};
use crate::sim::registry::{self, Part};
use crate::sim::resource::{Key, Resource};
use crate::sim::world::{Event, World};

/// How often it looks.
pub const PERIOD: Duration = Duration::from_secs(15);
/// Deviations up to a tenth change nothing.
const TOLERANCE: f64 = 0.1;
const SELF: Source<'static> = Source { component: "horizontal-pod-autoscaler", host: "" };

/// What was recommended and done lately, for each autoscaler.
pub type Memory = BTreeMap<Key, Past>;

/// What one metric says.
struct Reading {
    ratio: f64,
    current: Value,
    what: String,
}

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
        match readings(world, key, &hpa, &target) {
            Err((reason, text)) => {
                let whole = format!("the HPA was unable to compute the replica count: {text}");
                events::emit(world, key, &hpa, SELF, Report::warning(reason, text));
                events::emit(
                    world,
                    key,
                    &hpa,
                    SELF,
                    Report::warning(
                        "FailedComputeMetricsReplicas",
                        format!("invalid metrics (1 invalid out of 1), first error is: {whole}"),
                    ),
                );
                let able = "the HPA controller was able to get the target's current scale";
                condition(world, &mut status, "AbleToScale", true, "SucceededGetScale", able);
                condition(world, &mut status, "ScalingActive", false, reason, &whole);
                status["desiredReplicas"] = current.into();
                return write(world, key, &hpa, status);
            }
            Ok(readings) => {
                status["currentMetrics"] = readings.iter().map(|r| r.current.clone()).collect::<Vec<_>>().into();
                let text = "the HPA was able to successfully calculate a replica count from ";
                let what = readings.first().map(|r| r.what.clone()).unwrap_or_default();
                condition(world, &mut status, "ScalingActive", true, "ValidMetricFound", &format!("{text}{what}"));
                let count = |r: &Reading| if (r.ratio - 1.0).abs() <= TOLERANCE { current } else { scaled(current, r.ratio) };
                if let Some(most) = readings.iter().max_by_key(|r| count(r)) {
                    wanted = count(most);
                    let side = if wanted > current { "above" } else { "below" };
                    why = if wanted > current { format!("{} {side} target", most.what) } else { format!("All metrics {side} target") };
                }
            }
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

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a number of replicas")]
fn scaled(current: i64, ratio: f64) -> i64 {
    (current as f64 * ratio - 1e-9).ceil() as i64
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

type Missing = (&'static str, String);

fn readings(world: &World, key: &Key, hpa: &Value, target: &Value) -> Result<Vec<Reading>, Missing> {
    let selector = &target["spec"]["selector"];
    let plain = selector["matchLabels"].is_null() && selector["matchExpressions"].is_null();
    let selector = if plain { json!({"matchLabels": selector}) } else { selector.clone() };
    let pods: Vec<(&Key, &Arc<Value>)> = world
        .store
        .list(&PODS, Some(&key.namespace))
        .filter(|(_, p)| object::active(p) && object::selects(&selector, &p["metadata"]["labels"]))
        .collect();
    let metrics = hpa["spec"]["metrics"].as_array().into_iter().flatten();
    metrics.map(|m| reading(world, m, &pods)).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "what pods use fits a double")]
fn reading(world: &World, metric: &Value, pods: &[(&Key, &Arc<Value>)]) -> Result<Reading, Missing> {
    let resource = &metric["resource"];
    let name = match (metric["type"].as_str(), resource["name"].as_str()) {
        (Some("Resource"), Some(name @ ("cpu" | "memory"))) => name,
        (kind, _) => {
            let kind = kind.unwrap_or_default();
            return Err(("FailedGetMetric", format!("unable to get {} metric: no metrics known for it", kind.to_lowercase())));
        }
    };
    let failed = |text: String| ("FailedGetResourceMetric", format!("failed to get {name} utilization: {text}"));
    let (mut used, mut requested, mut counted) = (0.0, 0.0, 0u32);
    for (at, pod) in pods.iter().filter(|(_, p)| object::ready(p)) {
        let Some(sample) = kubelet::metrics(world, at) else { continue };
        used += sample.containers.iter().map(|(_, cpu, memory)| if name == "cpu" { *cpu } else { *memory as f64 }).sum::<f64>();
        counted += 1;
        for c in pod["spec"]["containers"].as_array().into_iter().flatten() {
            let Some(wanted) = quantity::parse(&c["resources"]["requests"][name]) else {
                if resource["target"]["type"] == "Utilization" {
                    let (container, pod) = (c["name"].as_str().unwrap_or_default(), &at.name);
                    return Err(failed(format!("missing request for {name} in container {container} of Pod {pod}")));
                }
                continue;
            };
            requested += wanted;
        }
    }
    if counted == 0 {
        return Err(failed("unable to get metrics for resource cpu: no metrics returned from resource metrics API".replace("cpu", name)));
    }
    let average = used / f64::from(counted);
    let text = if name == "cpu" { format!("{}m", (average * 1000.0).ceil() as i64) } else { format!("{}", average as i64) };
    let mut current = json!({"type": "Resource", "resource": {"name": name, "current": {"averageValue": text}}});
    let (ratio, what) = match resource["target"]["averageUtilization"].as_f64().filter(|t| *t > 0.0) {
        Some(target) if requested > 0.0 => {
            let utilization = (used / requested * 100.0).floor();
            current["resource"]["current"]["averageUtilization"] = (utilization as i64).into();
            (utilization / target, format!("{name} resource utilization (percentage of request)"))
        }
        _ => {
            let target = quantity::parse(&resource["target"]["averageValue"]).filter(|t| *t > 0.0);
            (target.map_or(1.0, |t| average / t), format!("{name} resource"))
        }
    };
    Ok(Reading { ratio, current, what })
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
