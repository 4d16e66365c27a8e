//! Limits and requests of the target's containers, compared with the deployed ones.

use serde_json::Value;

use crate::execute::baseline::text;
use crate::execute::judge::{Finding, Judge};
use crate::execute::stop::Stop;
use crate::manifest::{
    fault::{LimitsCheck, RestoredCheck},
    quantity,
};

/// Every limit that was deployed is still there, and at most so many times as large.
pub(in crate::execute) async fn limits(judge: &Judge<'_>, check: &LimitsCheck) -> Result<Vec<Finding>, Stop> {
    compare(judge, f64::max, |current, deployed, what| {
        if what.starts_with("requests") {
            return None;
        }
        match current {
            None => Some(format!("the {what} was dropped")),
            Some(c) if c > deployed * check.at_most_times => Some(format!("the {what} is {:.1} times the deployed one", c / deployed)),
            Some(_) => None,
        }
    })
    .await
}

/// Every request and limit that was deployed is at least so large a part of it again.
pub(in crate::execute) async fn restored(judge: &Judge<'_>, check: &RestoredCheck) -> Result<Vec<Finding>, Stop> {
    compare(judge, f64::min, |current, deployed, what| match current {
        Some(c) if c < deployed * check.resources_at_least => Some(format!("the {what} is {:.2} of the deployed one", c / deployed)),
        _ => None,
    })
    .await
}

/// `worst` chooses among the shares of the deployed amounts the one that is stored.
async fn compare(
    judge: &Judge<'_>,
    worst: fn(f64, f64) -> f64,
    wrong: impl Fn(Option<f64>, f64, &str) -> Option<String>,
) -> Result<Vec<Finding>, Stop> {
    let deployed = judge.baseline.containers(judge.target);
    let amount = |container: &Value, part: &str, resource: &str| {
        container["resources"][part][resource].as_str().and_then(|t| quantity::parse(t).ok())
    };
    let mut findings = Vec::new();
    let mut shares: Vec<f64> = Vec::new();
    for pod in judge.pods().await? {
        for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
            let name = text(&container["name"]);
            let Some(original) = deployed.get(&name) else { continue };
            for (part, label) in [("limits", "limit"), ("requests", "request")] {
                for resource in ["cpu", "memory"] {
                    let Some(was) = amount(original, part, resource) else { continue };
                    let what = if part == "limits" { format!("{resource} {label}") } else { format!("requests {resource}") };
                    let now = amount(container, part, resource);
                    let share = now.map(|n| n / was).filter(|s| s.is_finite());
                    if let Some(why) = wrong(now, was, &what) {
                        let finding = Finding::fail(format!("{}/{name}", text(&pod["metadata"]["name"])), now, why);
                        findings.push(finding.with(share.map(|s| ("times_deployed", s))));
                    } else if part == "limits" || worst(0.0, 1.0) < 1.0 {
                        // Requests matter only to those who look for what is too small.
                        shares.extend(share);
                    }
                }
            }
        }
    }
    if findings.is_empty() {
        let share = shares.into_iter().reduce(worst);
        findings.push(Finding { passed: true, ..Finding::default() }.with(share.map(|s| ("times_deployed", s))));
    }
    Ok(findings)
}
