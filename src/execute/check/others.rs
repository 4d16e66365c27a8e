//! All other workloads are as before: there, in their number, ready.

use crate::execute::baseline::{label, text};
use crate::execute::judge::{Finding, Judge, Readiness, ready};
use crate::execute::stop::Stop;

/// One finding for each workload that is worse than at the baseline.
pub(in crate::execute) async fn measure(judge: &Judge<'_>) -> Result<Vec<Finding>, Stop> {
    let pods = judge.other_pods().await?;
    let mut findings = Vec::new();
    for (service, before) in judge.baseline.pods.iter().filter(|(s, _)| *s != judge.target) {
        let serving = pods.iter().filter(|p| label(p) == *service && ready(p) == Readiness::Ready).count();
        if serving < before.len() {
            findings.push(Finding::fail(service.clone(), None, format!("{serving} of {} pods are ready", before.len())));
        }
    }
    for (kind, key) in [("Deployment", "replicas"), ("StatefulSet", "replicas")] {
        for (at, before) in judge.baseline.objects.iter().filter(|(r, _)| r.kind == kind) {
            match judge.cluster.get(at).await? {
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
