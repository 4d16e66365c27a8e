//! The target's pods are Running and Ready, in their deployed number, and known to the metrics API.

use crate::execute::baseline::text;
use crate::execute::judge::{Finding, Judge, Readiness, ready};
use crate::execute::stop::Stop;
use crate::manifest::fault::ReadyCheck;

/// One finding for each pod that is not ready, or one that passes with the number of pods.
pub(in crate::execute) async fn measure(judge: &Judge<'_>, check: &ReadyCheck) -> Result<Vec<Finding>, Stop> {
    let pods = judge.pods().await?;
    let mut findings: Vec<Finding> = pods
        .iter()
        .filter(|p| ready(p) == Readiness::NotReady)
        .map(|p| Finding::fail(text(&p["metadata"]["name"]), Some(0.0), format!("not ready, phase {}", text(&p["status"]["phase"]))))
        .collect();
    if pods.is_empty() {
        findings.push(Finding::fail("", Some(0.0), "the target has no pods"));
    }
    if check.full {
        let wanted = judge.baseline.workload(judge.target).and_then(|d| d["spec"]["replicas"].as_u64()).unwrap_or(1);
        if (pods.len() as u64) < wanted {
            findings.push(Finding::fail("", None, format!("{} pods, deployed were {wanted}", pods.len())));
        }
    }
    if check.metrics && findings.is_empty() {
        match judge.cluster.pod_metrics(judge.namespace, &judge.selector()).await {
            Ok(rows) if rows.is_empty() => findings.push(Finding::fail("", None, "no metrics yet")),
            Ok(_) => {}
            Err(e) if e.code().is_some() => findings.push(Finding::fail("", None, e.to_string())),
            Err(e) => return Err(e.into()),
        }
    }
    if findings.is_empty() {
        #[expect(clippy::cast_precision_loss, reason = "a handful of pods")]
        findings.push(Finding::pass("", pods.len() as f64));
    }
    Ok(findings)
}
