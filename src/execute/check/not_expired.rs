//! The fault did not run out by itself: an injector object that is still there must still be at work.

use crate::execute::baseline::text;
use crate::execute::judge::{Finding, Judge};
use crate::execute::stop::Stop;

/// Looks at the objects of the injection. Chaos Mesh sets the condition `AllRecovered` when a duration has ended; the
/// same condition on an object that is being deleted or paused is a repair.
pub(in crate::execute) async fn measure(judge: &Judge<'_>) -> Result<Vec<Finding>, Stop> {
    let mut findings = Vec::new();
    for at in judge.injected {
        let Some(object) = judge.cluster.get(at).await? else { continue };
        let is = |name: &str| {
            object["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == name && text(&c["status"]) == "True")
        };
        if is("AllRecovered") && !is("Paused") && object["metadata"]["deletionTimestamp"].is_null() {
            findings.push(Finding::fail(at.to_string(), None, "the fault ended by its own duration"));
        }
    }
    if findings.is_empty() {
        findings.push(Finding { passed: true, ..Finding::default() });
    }
    Ok(findings)
}
