//! Workloads: deployments, replica sets, stateful sets, daemon sets, jobs.

use serde_json::{Map, Value};

use super::{Causes, is_empty_list, items, object, pod, text};

fn spec(root: &Map<String, Value>) -> Map<String, Value> {
    object(root, "spec").cloned().unwrap_or_default()
}

pub(super) fn deployment(root: &Map<String, Value>, causes: &mut Causes) {
    let spec = spec(root);
    causes.not_negative(&spec, "spec", "replicas");
    selected_template(&spec, "deployment", &["Always"], causes);
    if let Some(strategy) = object(&spec, "strategy") {
        let rolling = object(strategy, "rollingUpdate");
        match text(strategy, "type") {
            "Recreate" if rolling.is_some() => {
                causes.forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'");
            }
            "Recreate" => {}
            "RollingUpdate" => {
                if let Some(rolling) = rolling {
                    rolling_update(rolling, "spec.strategy.rollingUpdate", causes);
                }
            }
            _ => {
                let value = strategy.get("type").cloned().unwrap_or_default();
                causes.unsupported("spec.strategy.type", &value, &["Recreate", "RollingUpdate"]);
            }
        }
    }
    causes.not_negative(&spec, "spec", "minReadySeconds");
    causes.not_negative(&spec, "spec", "revisionHistoryLimit");
    causes.not_negative(&spec, "spec", "progressDeadlineSeconds");
    let number = |key: &str| spec.get(key).and_then(Value::as_i64);
    if let Some(deadline) = number("progressDeadlineSeconds")
        && deadline <= number("minReadySeconds").unwrap_or(0)
    {
        causes.invalid("spec.progressDeadlineSeconds", &deadline.into(), "must be greater than minReadySeconds");
    }
}

fn rolling_update(rolling: &Map<String, Value>, path: &str, causes: &mut Causes) {
    for key in ["maxUnavailable", "maxSurge"] {
        if let Some(value) = rolling.get(key) {
            int_or_percent(value, &format!("{path}.{key}"), causes);
        }
    }
    let is_zero = |key: &str| rolling.get(key).is_some_and(|v| v.as_i64() == Some(0) || v.as_str() == Some("0%"));
    if is_zero("maxUnavailable") && is_zero("maxSurge") {
        let value = rolling.get("maxUnavailable").cloned().unwrap_or_default();
        causes.invalid(format!("{path}.maxUnavailable"), &value, "may not be 0 when `maxSurge` is 0");
    }
}

/// A count that is not negative, or a percentage.
pub(super) fn int_or_percent(value: &Value, path: &str, causes: &mut Causes) {
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|n| n < 0) => {
            causes.invalid(path, value, "must be greater than or equal to 0");
        }
        Value::String(text) if text.strip_suffix('%').is_none_or(|n| n.is_empty() || !n.bytes().all(|c| c.is_ascii_digit())) => {
            causes.invalid(
                path,
                value,
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            );
        }
        _ => {}
    }
}

/// The selector, the template and that the one finds the other.
fn selected_template(spec: &Map<String, Value>, kind: &str, policies: &[&str], causes: &mut Causes) {
    let empty = Map::new();
    let selector = object(spec, "selector");
    let template = object(spec, "template").unwrap_or(&empty);
    match selector {
        None => causes.required("spec.selector", ""),
        Some(selector) => {
            selector_operators(selector, "spec.selector", causes);
            if selector.values().all(|v| v.as_object().is_some_and(Map::is_empty) || v.as_array().is_some_and(Vec::is_empty)) {
                causes.invalid("spec.selector", &Value::Object(selector.clone()), format!("empty selector is invalid for {kind}"));
            } else {
                let labels = template.get("metadata").and_then(|m| m.get("labels"));
                if !matches(selector, labels) {
                    let shown = labels.cloned().unwrap_or_default();
                    causes.invalid("spec.template.metadata.labels", &shown, "`selector` does not match template `labels`");
                }
            }
        }
    }
    pod::template(template, "spec.template", causes);
    restart_policy(template, "spec.template", policies, causes);
}

fn restart_policy(template: &Map<String, Value>, path: &str, policies: &[&str], causes: &mut Causes) {
    if let Some(value) = object(template, "spec").and_then(|s| s.get("restartPolicy"))
        && value.as_str().is_some_and(|policy| matches!(policy, "Always" | "OnFailure" | "Never") && !policies.contains(&policy))
    {
        causes.unsupported(format!("{path}.spec.restartPolicy"), value, policies);
    }
}

fn selector_operators(selector: &Map<String, Value>, path: &str, causes: &mut Causes) {
    for (at, expression) in super::items(selector, path, "matchExpressions") {
        match text(expression, "operator") {
            "In" | "NotIn" => {
                if is_empty_list(expression, "values") {
                    causes.required(format!("{at}.values"), "must be specified when `operator` is 'In' or 'NotIn'");
                }
            }
            "Exists" | "DoesNotExist" => {
                if !is_empty_list(expression, "values") {
                    causes.forbidden(format!("{at}.values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
                }
            }
            _ => {
                let value = expression.get("operator").cloned().unwrap_or_else(|| "".into());
                causes.invalid(format!("{at}.operator"), &value, "not a valid selector operator");
            }
        }
    }
}

fn matches(selector: &Map<String, Value>, labels: Option<&Value>) -> bool {
    let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
    let exact = object(selector, "matchLabels").is_none_or(|m| m.iter().all(|(key, value)| label(key) == value.as_str()));
    let list = selector.get("matchExpressions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    exact
        && list.iter().filter_map(Value::as_object).all(|e| {
            let found = label(text(e, "key"));
            let among = e.get("values").and_then(Value::as_array).is_some_and(|v| v.iter().any(|v| v.as_str() == found && found.is_some()));
            match text(e, "operator") {
                "In" => among,
                "NotIn" => !among,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

pub(super) fn replica_set(root: &Map<String, Value>, causes: &mut Causes) {
    let spec = spec(root);
    causes.not_negative(&spec, "spec", "replicas");
    causes.not_negative(&spec, "spec", "minReadySeconds");
    selected_template(&spec, "deployment", &["Always"], causes);
}

pub(super) fn stateful_set(root: &Map<String, Value>, causes: &mut Causes) {
    let spec = spec(root);
    causes.one_of(&spec, "spec", "podManagementPolicy", &["OrderedReady", "Parallel"]);
    if let Some(strategy) = object(&spec, "updateStrategy") {
        causes.one_of(strategy, "spec.updateStrategy", "type", &["RollingUpdate", "OnDelete"]);
    }
    causes.not_negative(&spec, "spec", "replicas");
    causes.not_negative(&spec, "spec", "minReadySeconds");
    selected_template(&with_claims(spec), "statefulset", &["Always"], causes);
}

/// The controller adds a volume for each claim template, so containers may mount them.
fn with_claims(mut spec: Map<String, Value>) -> Map<String, Value> {
    let names: Vec<Value> =
        items(&spec, "spec", "volumeClaimTemplates").filter_map(|(_, c)| object(c, "metadata")?.get("name").cloned()).collect();
    let pod = spec.get_mut("template").and_then(|t| t.get_mut("spec")).and_then(Value::as_object_mut);
    if let (Some(pod), false) = (pod, names.is_empty())
        && let Some(volumes) = pod.entry("volumes").or_insert_with(|| Value::Array(Vec::new())).as_array_mut()
    {
        for name in names {
            if !volumes.iter().any(|v| v.get("name") == Some(&name)) {
                volumes.push(Value::Object(Map::from_iter([("name".to_owned(), name)])));
            }
        }
    }
    spec
}

pub(super) fn daemon_set(root: &Map<String, Value>, causes: &mut Causes) {
    let spec = spec(root);
    selected_template(&spec, "daemonset", &["Always"], causes);
    causes.not_negative(&spec, "spec", "minReadySeconds");
    if let Some(strategy) = object(&spec, "updateStrategy") {
        causes.one_of(strategy, "spec.updateStrategy", "type", &["RollingUpdate", "OnDelete"]);
        if let Some(rolling) = object(strategy, "rollingUpdate") {
            rolling_update(rolling, "spec.updateStrategy.rollingUpdate", causes);
        }
    }
}

pub(super) fn job(root: &Map<String, Value>, causes: &mut Causes) {
    job_spec(&spec(root), "spec", causes);
}

fn job_spec(spec: &Map<String, Value>, path: &str, causes: &mut Causes) {
    for key in ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"] {
        causes.not_negative(spec, path, key);
    }
    let empty = Map::new();
    let template = object(spec, "template").unwrap_or(&empty);
    let at = format!("{path}.template");
    pod::template(template, &at, causes);
    if let Some(value) = object(template, "spec").and_then(|s| s.get("restartPolicy"))
        && value.as_str() == Some("Always")
    {
        causes.push(
            "FieldValueRequired",
            "Required value: valid values: \"OnFailure\", \"Never\"".to_owned(),
            format!("{at}.spec.restartPolicy"),
        );
    }
    causes.one_of(spec, path, "completionMode", &["Indexed", "NonIndexed"]);
}

pub(super) fn cron_job(root: &Map<String, Value>, causes: &mut Causes) {
    let spec = spec(root);
    let empty = Map::new();
    let job = object(&spec, "jobTemplate").and_then(|j| object(j, "spec")).unwrap_or(&empty);
    job_spec(job, "spec.jobTemplate.spec", causes);
    match text(&spec, "schedule") {
        "" => causes.required("spec.schedule", ""),
        schedule if !schedule.starts_with('@') && schedule.split_whitespace().count() != 5 => {
            let found = schedule.split_whitespace().count();
            let problem =
                format!("expected exactly 5 fields, found {found}: [{}]", schedule.split_whitespace().collect::<Vec<_>>().join(" "));
            causes.invalid("spec.schedule", &schedule.into(), problem);
        }
        _ => {}
    }
    if let Some(Value::String(zone)) = spec.get("timeZone")
        && crate::sim::time::zone(Some(zone)).is_none()
    {
        let problem = match zone.as_str() {
            "" => "timeZone must be nil or non-empty string".to_owned(),
            "Local" | "local" => "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned(),
            _ => format!("unknown time zone {zone}"),
        };
        causes.invalid("spec.timeZone", &zone.as_str().into(), problem);
    }
    causes.one_of(&spec, "spec", "concurrencyPolicy", &["Allow", "Forbid", "Replace"]);
    for key in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        causes.not_negative(&spec, "spec", key);
    }
}
