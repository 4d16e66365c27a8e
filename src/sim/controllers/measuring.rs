//! How many replicas one metric of an autoscaler asks for, by the real controller's replica calculator.
//!
//! Pods without a sample count as using what they request when there would be fewer of them, and nothing when there would be
//! more; so do pods that are not ready, when there would be more.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::object;
use crate::sim::kubelet::{self, quantity};
use crate::sim::resource::Key;
use crate::sim::time::{SimTime, parse_rfc3339};
use crate::sim::world::World;

/// Deviations up to a tenth change nothing, unless the autoscaler says otherwise.
const TOLERANCE: f64 = 0.1;
/// For so long after its start the CPU use of a pod is that of starting, unless it was ready for a whole sample.
const WARM_UP: Duration = Duration::from_mins(5);
/// A pod that has not been ready since this time after its start never was.
const FIRST_READY: Duration = Duration::from_secs(30);

/// What one metric asks for.
pub(super) struct Proposal {
    pub(super) replicas: i64,
    /// Its entry in the status.
    pub(super) current: Value,
    /// What it is called in conditions and events.
    pub(super) what: String,
}

/// Why a metric says nothing: the reason and text of the event, and what the text stands behind in others.
pub(super) struct Problem {
    pub(super) reason: &'static str,
    pub(super) text: String,
    pub(super) behind: String,
}

/// How far a metric may be from its target, below and above.
#[derive(Clone, Copy)]
struct Tolerance {
    down: f64,
    up: f64,
}

impl Tolerance {
    fn read(hpa: &Value) -> Self {
        let of = |side: &str| quantity::parse(&hpa["spec"]["behavior"][side]["tolerance"]).unwrap_or(TOLERANCE);
        Self { down: of("scaleDown"), up: of("scaleUp") }
    }

    fn within(self, ratio: f64) -> bool {
        // A hundredth of a thousandth is the arithmetic's, not the metric's.
        ratio >= 1.0 - self.down - 1e-9 && ratio <= 1.0 + self.up + 1e-9
    }
}

/// A pod as a metric sees it: what it uses, and what it asks for.
#[derive(Debug, Clone, Copy)]
struct Sample {
    used: f64,
    requested: f64,
}

/// The pods by what is known of them.
#[derive(Debug, Default)]
struct Groups {
    ready: Vec<Sample>,
    unready: Vec<Sample>,
    missing: Vec<Sample>,
}

/// The replicas that pods ask for whose use, as a share of `target`, is to be 1. `requests`: whether the target is a share of them.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "numbers of replicas")]
fn calculate(groups: &Groups, current: i64, target: f64, requests: bool, tolerance: Tolerance) -> i64 {
    let ratio = |all: &[Sample]| {
        let used: f64 = all.iter().map(|s| s.used).sum();
        let base: f64 = if requests { all.iter().map(|s| s.requested).sum() } else { all.len() as f64 };
        if base > 0.0 { used / base / target } else { 1.0 }
    };
    let whole = |n: f64| (n - 1e-9).ceil() as i64;
    let first = ratio(&groups.ready);
    let upwards = !groups.unready.is_empty() && first > 1.0;
    if !upwards && groups.missing.is_empty() {
        return if tolerance.within(first) { current } else { whole(first * groups.ready.len() as f64) };
    }
    let mut all = groups.ready.clone();
    // What is not known is taken to speak for as little change as possible.
    let full = |s: &Sample| if requests { s.requested * target.max(1.0) } else { target };
    all.extend(groups.missing.iter().map(|s| Sample { used: if first < 1.0 { full(s) } else { 0.0 }, ..*s }));
    if upwards {
        all.extend(groups.unready.iter().map(|s| Sample { used: 0.0, ..*s }));
    }
    let second = ratio(&all);
    let turned = (first < 1.0 && second > 1.0) || (first > 1.0 && second < 1.0);
    if tolerance.within(second) || turned {
        return current;
    }
    let wanted = whole(second * all.len() as f64);
    if (second < 1.0 && wanted > current) || (second > 1.0 && wanted < current) { current } else { wanted }
}

/// What a metric of an autoscaler asks for.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "what pods use fits a double")]
pub(super) fn propose(world: &World, hpa: &Value, metric: &Value, pods: &[(&Key, &Arc<Value>)], current: i64) -> Result<Proposal, Problem> {
    let (kind, field, container) = match metric["type"].as_str() {
        Some("Resource") => ("Resource", "resource", None),
        Some("ContainerResource") => ("ContainerResource", "containerResource", metric["containerResource"]["container"].as_str()),
        other => return Err(unknown(hpa, other.unwrap_or_default(), metric)),
    };
    let source = &metric[field];
    let name = source["name"].as_str().unwrap_or_default();
    let target = &source["target"];
    let utilization = target["averageUtilization"].as_f64().filter(|t| *t > 0.0);
    let failed = |text: String| {
        let (reason, of) = match container {
            None => ("FailedGetResourceMetric", "resource"),
            Some(_) => ("FailedGetContainerResourceMetric", "container"),
        };
        let what = if utilization.is_some() { "utilization" } else { "usage" };
        Problem {
            reason,
            text: format!("failed to get {name} {what}: {text}"),
            behind: format!("failed to get {name} {of} metric value: "),
        }
    };
    let groups = group(world, name, container, pods, utilization.is_some()).map_err(failed)?;
    let mean = groups.ready.iter().map(|s| s.used).sum::<f64>() / groups.ready.len().max(1) as f64;
    let text = if name == "cpu" { format!("{}m", (mean * 1000.0).ceil() as i64) } else { format!("{}", mean as i64) };
    let mut shown = json!({"name": name, "current": {"averageValue": text}});
    if let Some(container) = container {
        shown["container"] = container.into();
    }
    let of = if container.is_some() { "container resource" } else { "resource" };
    let (share, what) = if let Some(percent) = utilization {
        let (used, requested) = groups.ready.iter().fold((0.0, 0.0), |(u, r), s| (u + s.used, r + s.requested));
        if requested <= 0.0 {
            return Err(failed("no metrics returned matched known pods".to_owned()));
        }
        shown["current"]["averageUtilization"] = ((used / requested * 100.0).floor() as i64).into();
        (percent / 100.0, format!("{name} {of} utilization (percentage of request)"))
    } else {
        (quantity::parse(&target["averageValue"]).filter(|t| *t > 0.0).unwrap_or(mean.max(1e-9)), format!("{name} {of}"))
    };
    let replicas = calculate(&groups, current, share, utilization.is_some(), Tolerance::read(hpa));
    Ok(Proposal { replicas, current: json!({"type": kind, field: shown}), what })
}

/// Sorts pods by what is known of them.
#[expect(clippy::cast_precision_loss, reason = "what pods use fits a double")]
fn group(world: &World, name: &str, container: Option<&str>, pods: &[(&Key, &Arc<Value>)], requests: bool) -> Result<Groups, String> {
    if pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    if !pods.iter().any(|(at, _)| kubelet::metrics(world, at).is_some()) {
        return Err(format!("unable to get metrics for resource {name}: no metrics returned from resource metrics API"));
    }
    let mut groups = Groups::default();
    for (at, pod) in pods {
        let requested = if requests { requested(pod, name, container)? } else { 0.0 };
        let sample = kubelet::metrics(world, at);
        let taken = sample.as_ref().map(|s| (s.at, s.window));
        let measured = sample.map(|s| {
            let ours = s.containers.iter().filter(|(c, ..)| container.is_none_or(|wanted| wanted == c));
            ours.map(|(_, cpu, memory)| if name == "cpu" { *cpu } else { *memory as f64 }).sum::<f64>()
        });
        let known = Sample { used: measured.unwrap_or(0.0), requested };
        match taken {
            _ if pod["status"]["phase"] == "Pending" => groups.unready.push(known),
            None => groups.missing.push(known),
            Some(taken) if name == "cpu" && starting(pod, taken, world.now) => groups.unready.push(known),
            Some(_) => groups.ready.push(known),
        }
    }
    if groups.ready.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    Ok(groups)
}

/// Whether a pod's use of CPU is that of starting, or of not being ready.
fn starting(pod: &Value, (at, window): (SimTime, Duration), now: SimTime) -> bool {
    let time = |v: &Value| v.as_str().and_then(parse_rfc3339);
    let ready = object::condition(&pod["status"], "Ready");
    let Some(((ready, since), start)) =
        ready.and_then(|c| Some((c, time(&c["lastTransitionTime"])?))).zip(time(&pod["status"]["startTime"]))
    else {
        return true;
    };
    if start.after(WARM_UP) > now {
        return ready["status"] == "False" || at < since.after(window);
    }
    ready["status"] == "False" && start.after(FIRST_READY) > since
}

/// What a pod requests of a resource, all its containers or one of them.
fn requested(pod: &Value, name: &str, container: Option<&str>) -> Result<f64, String> {
    let sidecar = |c: &&Value| c["restartPolicy"] == "Always";
    let list = |field: &str| pod["spec"][field].as_array().into_iter().flatten();
    let mut total = 0.0;
    for c in list("containers").chain(list("initContainers").filter(sidecar)) {
        if container.is_some_and(|wanted| c["name"] != wanted) {
            continue;
        }
        total += quantity::parse(&c["resources"]["requests"][name]).ok_or_else(|| {
            format!("missing request for {name} in container {} of Pod {}", c["name"].as_str().unwrap_or_default(), object::name(pod))
        })?;
    }
    Ok(total)
}

/// What is said of metrics that nobody offers here.
fn unknown(hpa: &Value, kind: &str, metric: &Value) -> Problem {
    let field = kind.to_lowercase();
    let name = metric[&field]["metric"]["name"].as_str().unwrap_or_default();
    let namespace = hpa["metadata"]["namespace"].as_str().unwrap_or_default();
    let none = "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered";
    let (reason, text) = match kind {
        "Pods" => ("FailedGetPodsMetric", format!("unable to get metric {name}: {none}")),
        "Object" => {
            let object = &metric["object"]["describedObject"];
            let (kind, of) = (object["kind"].as_str().unwrap_or_default(), object["name"].as_str().unwrap_or_default());
            ("FailedGetObjectMetric", format!("unable to get metric {name}: {kind} on {namespace} {of}/{none}"))
        }
        "External" => (
            "FailedGetExternalMetric",
            format!(
                "unable to get external metric {namespace}/{name}/nil: unable to fetch metrics from external metrics API: the server could not find the requested resource (get {name}.external.metrics.k8s.io)"
            ),
        ),
        other => ("InvalidMetricSourceType", format!("unknown metric source type \"{other}\"")),
    };
    Problem { reason, text, behind: format!("failed to get {field} metric value: ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(used: &[f64], unready: usize, missing: usize) -> Groups {
        let of = |used: f64| Sample { used, requested: 1.0 };
        Groups { ready: used.iter().map(|u| of(*u)).collect(), unready: vec![of(0.4); unready], missing: vec![of(0.0); missing] }
    }

    #[test]
    fn replicas_are_those_of_the_real_calculator() {
        let tolerance = Tolerance::read(&json!({}));
        let of = |g: &Groups, current: i64, target: f64| calculate(g, current, target, true, tolerance);
        // Cases of the real controller's tests: scaling up, with pods that are not ready, that lack metrics, and within tolerance.
        assert_eq!(of(&groups(&[0.3, 0.5, 0.7], 0, 0), 3, 0.3), 5);
        assert_eq!(of(&groups(&[0.5, 0.7], 1, 0), 3, 0.3), 4);
        assert_eq!(of(&groups(&[0.4], 2, 0), 3, 0.3), 3);
        assert_eq!(of(&groups(&[0.9, 1.0, 1.1], 0, 0), 3, 1.0), 3);
        assert_eq!(of(&groups(&[0.1, 0.3, 0.5, 0.25, 0.25], 0, 0), 5, 0.5), 3);
        // Missing ones hold back a scaling down, and do not help a scaling up.
        assert_eq!(of(&groups(&[0.1, 0.1, 0.1], 0, 1), 4, 0.5), 3);
        assert_eq!(of(&groups(&[0.3, 0.3, 0.3], 0, 0), 4, 0.5), 2);
        assert_eq!(of(&groups(&[1.0, 1.0], 0, 2), 4, 0.5), 4);
        let own = Tolerance::read(&json!({"spec": {"behavior": {"scaleUp": {"tolerance": "0.01"}}}}));
        assert_eq!(calculate(&groups(&[0.53; 20], 0, 0), 20, 0.5, true, own), 22);
    }

    #[test]
    fn metrics_that_nobody_offers_are_told_of_in_their_words() {
        let hpa = json!({"metadata": {"namespace": "n"}});
        let p = unknown(&hpa, "Pods", &json!({"pods": {"metric": {"name": "hits"}}}));
        assert_eq!((p.reason, p.behind.as_str()), ("FailedGetPodsMetric", "failed to get pods metric value: "));
        assert!(p.text.starts_with("unable to get metric hits: unable to fetch metrics from custom metrics API"));
        let p = unknown(&hpa, "External", &json!({"external": {"metric": {"name": "queue"}}}));
        assert!(p.text.ends_with("(get queue.external.metrics.k8s.io)"));
    }
}
