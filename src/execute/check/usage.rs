//! Use of CPU or memory as a share of the limit, container by container.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::execute::baseline::text;
use crate::execute::judge::{Finding, Judge};
use crate::execute::stop::Stop;
use crate::manifest::{fault::UsageCheck, quantity};

/// Measures every container of the target's pods that is not skipped.
pub(in crate::execute) async fn measure(judge: &Judge<'_>, check: &UsageCheck, frozen: &BTreeSet<String>) -> Result<Vec<Finding>, Stop> {
    let pods = judge.pods().await?;
    let rows = match judge.cluster.pod_metrics(judge.namespace, &judge.selector()).await {
        Ok(rows) => rows,
        Err(e) if e.code().is_some() => return Ok(vec![Finding::fail("", None, e.to_string())]),
        Err(e) => return Err(e.into()),
    };
    if rows.is_empty() {
        return Ok(vec![Finding::fail("", None, "no metrics yet")]);
    }
    let deployed = judge.baseline.containers(judge.target);
    let mut findings = Vec::new();
    for pod in &pods {
        let name = text(&pod["metadata"]["name"]);
        if check.pods != "fresh" && !frozen.contains(&name) {
            continue;
        }
        let Some(row) = rows.iter().find(|r| r["metadata"]["name"] == pod["metadata"]["name"]) else {
            if check.pods != "frozen" {
                findings.push(Finding::fail(name, None, "no metrics of this pod yet"));
            }
            continue;
        };
        for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
            let inner = text(&container["name"]);
            if check.skip_containers.iter().any(|s| inner.contains(s.as_str())) {
                continue;
            }
            let measured = row["containers"].as_array().is_some_and(|all| all.iter().any(|c| c["name"] == container["name"]));
            if !measured && check.pods == "frozen" {
                continue;
            }
            let subject = format!("{name}/{inner}");
            findings.push(one(check, &subject, container, deployed.get(&inner), row));
        }
    }
    if findings.is_empty() && check.pods != "frozen" {
        findings.push(Finding::fail("", None, "no container was measured"));
    }
    Ok(findings)
}

fn one(check: &UsageCheck, subject: &str, container: &Value, deployed: Option<&Value>, row: &Value) -> Finding {
    let limit_of = |c: &Value| c["resources"]["limits"][&check.resource].as_str().and_then(|t| quantity::parse(t).ok());
    let (current, original) = (limit_of(container), deployed.and_then(limit_of));
    let limit = match (check.limit.as_str(), current, original) {
        // Dropping a limit must not pass, so a container that has none now is judged as such in both modes.
        (_, None, _) => None,
        ("deployed", _, Some(o)) => Some(o),
        (_, Some(c), _) => Some(c),
    };
    let used = row["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c["name"] == container["name"])
        .and_then(|c| c["usage"][&check.resource].as_str())
        .and_then(|t| quantity::parse(t).ok())
        .map(|used| if check.rounded { rounded(&check.resource, used) } else { used });
    let numbers = [("used", used), ("limit", current), ("deployed_limit", original)];
    let numbers = numbers.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let Some(limit) = limit.filter(|l| *l > 0.0) else {
        let note = format!("no {} limit", check.resource);
        let skipped = check.without_limit == "skip";
        return Finding { passed: skipped, ..Finding::fail(subject, None, note) }.with(numbers);
    };
    let Some(used) = used else {
        return Finding::fail(subject, None, "usage cannot be read");
    };
    let ratio = used / limit;
    let finding = if ratio < check.below {
        Finding::pass(subject, ratio)
    } else {
        Finding::fail(subject, Some(ratio), format!("{:.0} % of the {} limit", ratio * 100.0, check.resource))
    };
    finding.with(numbers)
}

/// As `kubectl top` prints it: `MilliValue` of processors rounds up, the division by a mebibyte down.
fn rounded(resource: &str, used: f64) -> f64 {
    const MEBIBYTE: f64 = 1_048_576.0;
    if resource == "memory" {
        (used / MEBIBYTE).floor() * MEBIBYTE
    } else {
        // What a division left over is not another millicore.
        (used * 1000.0 - 1e-6).ceil().max(0.0) / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Whether a container that uses 0.4 cores passes, with these limits now and as deployed.
    fn passes(limit_is: &str, without: &str, now: Option<&str>, deployed: &str) -> bool {
        let check: UsageCheck =
            serde_json::from_value(json!({"resource": "cpu", "below": 0.5, "limit": limit_is, "without_limit": without})).unwrap();
        let container =
            |limit: Option<&str>| json!({"name": "web", "resources": {"limits": limit.map_or(json!({}), |l| json!({"cpu": l}))}});
        let row = json!({"containers": [{"name": "web", "usage": {"cpu": "400m"}}]});
        one(&check, "p/web", &container(now), Some(&container(Some(deployed))), &row).passed
    }

    #[test]
    fn the_published_rule_passes_what_the_strict_one_does_not() {
        let compat = |now, deployed| passes("current", "skip", now, deployed);
        let strict = |now, deployed| passes("deployed", "fail", now, deployed);
        for (now, deployed, by_compat, by_strict) in [
            (Some("1"), "1", true, true),
            (Some("500m"), "500m", false, false),
            (Some("800m"), "800m", false, false),
            // The stress goes on under a raised limit.
            (Some("64"), "500m", true, false),
            // A limit that was dropped is not looked at.
            (None, "500m", true, false),
        ] {
            assert_eq!((compat(now, deployed), strict(now, deployed)), (by_compat, by_strict), "{now:?} of {deployed}");
        }
    }

    #[test]
    fn usage_is_rounded_as_kubectl_prints_it() {
        let same = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        same(rounded("cpu", 0.000_000_1), 0.001);
        same(rounded("cpu", 0.0), 0.0);
        same(rounded("cpu", 0.002), 0.002);
        same(rounded("cpu", 0.002_1), 0.003);
        same(rounded("memory", 2.9 * 1_048_576.0), 2.0 * 1_048_576.0);
    }
}
