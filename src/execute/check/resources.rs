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
    compare(judge, |current, deployed, what| {
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
    compare(judge, |current, deployed, what| match current {
        Some(c) if c < deployed * check.resources_at_least => Some(format!("the {what} is {:.2} of the deployed one", c / deployed)),
        _ => None,
    })
    .await
}

async fn compare(judge: &Judge<'_>, wrong: impl Fn(Option<f64>, f64, &str) -> Option<String>) -> Result<Vec<Finding>, Stop> {
    let deployed = judge.baseline.containers(judge.target);
    let amount = |container: &Value, part: &str, resource: &str| {
        container["resources"][part][resource].as_str().and_then(|t| quantity::parse(t).ok())
    };
    let mut findings = Vec::new();
    for pod in judge.pods().await? {
        for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
            let name = text(&container["name"]);
            let Some(original) = deployed.get(&name) else { continue };
            for (part, label) in [("limits", "limit"), ("requests", "request")] {
                for resource in ["cpu", "memory"] {
                    let Some(was) = amount(original, part, resource) else { continue };
                    let what = if part == "limits" { format!("{resource} {label}") } else { format!("requests {resource}") };
                    if let Some(why) = wrong(amount(container, part, resource), was, &what) {
                        findings.push(Finding::fail(
                            format!("{}/{name}", text(&pod["metadata"]["name"])),
                            amount(container, part, resource),
                            why,
                        ));
                    }
                }
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding { passed: true, ..Finding::default() });
    }
    Ok(findings)
}
