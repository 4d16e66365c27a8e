//! All other workloads are as before: there, in their number, ready.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::execute::baseline::text;
use crate::execute::judge::{Finding, Judge, Readiness, ready};
use crate::execute::stop::Stop;

/// One finding for each workload that is worse than at the baseline.
pub(in crate::execute) async fn measure(judge: &Judge<'_>) -> Result<Vec<Finding>, Stop> {
    let pods = judge.other_pods().await?;
    let mut findings = Vec::new();
    let mut serving: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods.iter().filter(|p| ready(p) == Readiness::Ready) {
        *serving.entry(pod["metadata"]["labels"]["app"].as_str().unwrap_or_default()).or_default() += 1;
    }
    for (service, before) in judge.baseline.pods.iter().filter(|(s, _)| *s != judge.target) {
        let serving = serving.get(service.as_str()).copied().unwrap_or_default();
        if serving < before.len() {
            findings.push(Finding::fail(service.clone(), None, format!("{serving} of {} pods are ready", before.len())));
        }
    }
    for (kind, key) in [("Deployment", "replicas"), ("StatefulSet", "replicas")] {
        let now = judge.cluster.all("apps/v1", kind, judge.namespace).await?;
        let now: BTreeMap<&str, &Value> = now.iter().filter_map(|o| Some((o["metadata"]["name"].as_str()?, &**o))).collect();
        for (at, before) in judge.baseline.objects.iter().filter(|(r, _)| r.kind == kind) {
            match now.get(at.name.as_str()) {
                None => findings.push(Finding::fail(at.name.clone(), None, format!("{at} is gone"))),
                Some(now) if now["spec"][key].as_u64() < before["spec"][key].as_u64() => {
                    findings.push(Finding::fail(text(&now["metadata"]["name"]), None, format!("{at} lost replicas")));
                }
                Some(_) => {}
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding { passed: true, ..Finding::default() });
    }
    Ok(findings)
}
