//! What a job says of failures and of success: `podFailurePolicy`, `successPolicy`.

use serde_json::Value;

use super::indexes::Indexes;
use crate::sim::controllers::object::{self, int};

/// What a failed pod means to its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It counts.
    Counts,
    /// It is as if it had not been.
    Ignored,
    /// Its index has failed for good.
    FailsIndex,
    /// The whole job has failed, with this message.
    FailsJob(String),
}

/// The first rule that fits a failed pod decides.
pub(super) fn failure(policy: &Value, pod: &Value) -> Failure {
    let rules = policy["rules"].as_array().into_iter().flatten();
    for (i, rule) in rules.enumerate() {
        let action = rule["action"].as_str().unwrap_or_default();
        let metadata = &pod["metadata"];
        let (namespace, name) = (metadata["namespace"].as_str().unwrap_or_default(), object::name(pod));
        let fits = if rule["onExitCodes"].is_object() {
            exit(&rule["onExitCodes"], &pod["status"]).map(|(container, code)| {
                format!("Container {container} for pod {namespace}/{name} failed with exit code {code} matching {action} rule at index {i}")
            })
        } else {
            condition(&rule["onPodConditions"], &pod["status"])
                .map(|kind| format!("Pod {namespace}/{name} has condition {kind} matching {action} rule at index {i}"))
        };
        let Some(text) = fits else { continue };
        return match action {
            "Ignore" => Failure::Ignored,
            "FailIndex" => Failure::FailsIndex,
            "FailJob" => Failure::FailsJob(text),
            _ => Failure::Counts,
        };
    }
    Failure::Counts
}

/// The container that a rule on exit codes speaks of, and its code.
fn exit<'a>(rule: &Value, status: &'a Value) -> Option<(&'a str, i64)> {
    let all = ["containerStatuses", "initContainerStatuses"].into_iter().filter_map(|list| status[list].as_array()).flatten();
    let named = |c: &&Value| rule["containerName"].as_str().is_none_or(|name| c["name"] == name);
    all.filter(named).find_map(|c| {
        let code = c["state"]["terminated"]["exitCode"].as_i64().filter(|code| *code != 0)?;
        let listed = rule["values"].as_array().is_some_and(|v| v.iter().any(|v| *v == code));
        (listed == (rule["operator"] == "In")).then(|| (c["name"].as_str().unwrap_or_default(), code))
    })
}

/// The condition that a rule on conditions speaks of.
fn condition<'a>(patterns: &'a Value, status: &Value) -> Option<&'a str> {
    patterns.as_array()?.iter().find_map(|pattern| {
        let kind = pattern["type"].as_str()?;
        let found = object::condition(status, kind)?;
        (found["status"] == pattern["status"].as_str().unwrap_or("True")).then_some(kind)
    })
}

/// Why the indexes that have succeeded are enough, if they are.
pub(super) fn success(policy: &Value, completions: i64, succeeded: &Indexes) -> Option<String> {
    if succeeded.total() == 0 {
        return None;
    }
    let met = |rule: &Value| {
        let count = rule["succeededCount"].as_i64();
        let Some(text) = rule["succeededIndexes"].as_str() else { return count.is_some_and(|c| succeeded.total() >= c) };
        let wanted = Indexes::read(text, completions);
        let have = wanted.shared(succeeded);
        wanted.total() > 0 && have >= int(&rule["succeededCount"], wanted.total()).min(wanted.total())
    };
    let at = policy["rules"].as_array()?.iter().position(met)?;
    Some(format!("Matched rules at index {at}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_rule_that_fits_decides() {
        let pod = |code: i64| {
            json!({"metadata": {"namespace": "n", "name": "p"}, "status": {
            "conditions": [{"type": "DisruptionTarget", "status": "True"}],
            "containerStatuses": [{"name": "a", "state": {"running": {}}}, {"name": "c", "state": {"terminated": {"exitCode": code}}}]}})
        };
        let policy = json!({"rules": [
            {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [43]}},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]});
        let text = "Container c for pod n/p failed with exit code 42 matching FailJob rule at index 0";
        assert_eq!(failure(&policy, &pod(42)), Failure::FailsJob(text.into()));
        assert_eq!(failure(&policy, &pod(43)), Failure::FailsIndex);
        assert_eq!(failure(&policy, &pod(1)), Failure::Ignored);
        let others = json!({"rules": [{"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [1]}}]});
        assert_eq!((failure(&others, &pod(1)), failure(&others, &pod(2))), (Failure::Counts, Failure::Ignored));
        // A container that has succeeded is not asked.
        assert_eq!(failure(&others, &pod(0)), Failure::Counts);
    }

    #[test]
    fn rules_of_success_name_indexes_numbers_or_both() {
        let of = |rule: Value, done: &str| success(&json!({"rules": [rule]}), 10, &Indexes::read(done, 10)).is_some();
        assert!(of(json!({"succeededIndexes": "1-3"}), "0-4") && !of(json!({"succeededIndexes": "1-3"}), "0-2"));
        assert!(of(json!({"succeededCount": 2}), "5,7") && !of(json!({"succeededCount": 2}), "5"));
        let both = json!({"succeededIndexes": "1-3", "succeededCount": 2});
        assert!(of(both.clone(), "1,3") && !of(both, "3-9"));
        assert_eq!(
            success(&json!({"rules": [{"succeededCount": 9}, {"succeededCount": 1}]}), 10, &Indexes::read("0", 10)).as_deref(),
            Some("Matched rules at index 1")
        );
    }
}
