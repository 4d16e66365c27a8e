//! Validation: the causes of a 422 answer, worded as a real API server words them.
//!
//! Input: an object after decoding and defaulting. Output: a list of causes, empty when the object may be stored. Wrong JSON
//! types are another matter: [`decode_error`] is the text of a 400.

mod decode;
mod misc;
mod names;
mod open;
mod pod;
mod update;
mod workload;

use serde_json::{Map, Value, json};

pub use decode::decode_error;
pub use names::{label_value, qualified};
pub use update::validate_update;

use super::table::Table;

/// One reason why an object is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, ...
    pub reason: &'static str,
    /// `Invalid value: "x": must be ...`.
    pub message: String,
    /// `spec.containers[0].name`.
    pub field: String,
}

impl Cause {
    /// The entry of `details.causes`.
    pub fn body(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }

    /// The part of the status message: `spec.x: Required value`.
    pub fn text(&self) -> String {
        format!("{}: {}", self.field, self.message)
    }
}

/// The text behind `Pod "x" is invalid: `: one cause as it is, several in brackets.
pub fn summary(causes: &[Cause]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in causes {
        let text = cause.text();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// What is wrong with an object; nothing for kinds that the table does not know.
pub fn validate(api_version: &str, kind: &str, object: &Value) -> Vec<Cause> {
    let mut causes = Causes::default();
    let empty = Map::new();
    let root = object.as_object().unwrap_or(&empty);
    names::metadata(api_version, kind, root, &mut causes);
    let Some(entry) = Table::get().kind(api_version, kind) else { return causes.0 };
    if entry.is_custom() {
        open::structure(entry, root, "", 0, &mut causes);
        return causes.0;
    }
    match (api_version, kind) {
        ("v1", "Pod") => pod::pod(root, &mut causes),
        ("v1", "Service") => misc::service(root, &mut causes),
        ("v1", "ConfigMap" | "Secret") => misc::keys(root, &mut causes),
        ("v1", "PersistentVolumeClaim") => misc::claim(root, &mut causes),
        ("v1", "ResourceQuota") => misc::quota(root, &mut causes),
        ("apps/v1", "Deployment") => workload::deployment(root, &mut causes),
        ("apps/v1", "ReplicaSet") => workload::replica_set(root, &mut causes),
        ("apps/v1", "StatefulSet") => workload::stateful_set(root, &mut causes),
        ("apps/v1", "DaemonSet") => workload::daemon_set(root, &mut causes),
        ("batch/v1", "Job") => workload::job(root, &mut causes),
        ("batch/v1", "CronJob") => workload::cron_job(root, &mut causes),
        ("autoscaling/v1" | "autoscaling/v2", "HorizontalPodAutoscaler") => misc::autoscaler(root, &mut causes),
        ("policy/v1", "PodDisruptionBudget") => misc::disruption_budget(root, &mut causes),
        ("networking.k8s.io/v1", "Ingress") => misc::ingress(root, &mut causes),
        ("rbac.authorization.k8s.io/v1", "RoleBinding" | "ClusterRoleBinding") => misc::role_binding(root, &mut causes),
        _ => {}
    }
    causes.0
}

/// Collects causes; the methods are named like those of the server's field package.
#[derive(Debug, Default)]
struct Causes(Vec<Cause>);

impl Causes {
    fn invalid(&mut self, field: impl Into<String>, value: &Value, detail: impl std::fmt::Display) {
        let shown = match value {
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
        };
        self.push("FieldValueInvalid", format!("Invalid value: {shown}: {detail}"), field);
    }

    fn required(&mut self, field: impl Into<String>, detail: &str) {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        self.push("FieldValueRequired", message, field);
    }

    fn forbidden(&mut self, field: impl Into<String>, detail: &str) {
        self.push("FieldValueForbidden", format!("Forbidden: {detail}"), field);
    }

    fn duplicate(&mut self, field: impl Into<String>, value: &Value) {
        self.push("FieldValueDuplicate", format!("Duplicate value: {value}"), field);
    }

    fn not_found(&mut self, field: impl Into<String>, value: &Value) {
        self.push("FieldValueNotFound", format!("Not found: {value}"), field);
    }

    fn unsupported(&mut self, field: impl Into<String>, value: &Value, allowed: &[&str]) {
        let allowed: Vec<String> = allowed.iter().map(|text| format!("{text:?}")).collect();
        self.push("FieldValueNotSupported", format!("Unsupported value: {value}: supported values: {}", allowed.join(", ")), field);
    }

    fn push(&mut self, reason: &'static str, message: String, field: impl Into<String>) {
        self.0.push(Cause { reason, message, field: field.into() });
    }

    /// A text field that must have one of a few values, if it is there.
    fn one_of(&mut self, map: &Map<String, Value>, path: &str, key: &str, allowed: &[&str]) {
        if let Some(value) = map.get(key)
            && value.as_str().is_none_or(|text| !allowed.contains(&text))
        {
            self.unsupported(format!("{path}.{key}"), value, allowed);
        }
    }

    /// A number that must not be below zero, if it is there.
    fn not_negative(&mut self, map: &Map<String, Value>, path: &str, key: &str) {
        if let Some(value) = map.get(key)
            && value.as_i64().is_some_and(|n| n < 0)
        {
            self.invalid(format!("{path}.{key}"), value, "must be greater than or equal to 0");
        }
    }

    fn port(&mut self, value: &Value, field: impl Into<String>) {
        if value.as_i64().is_some_and(|n| !(1..=65_535).contains(&n)) {
            self.invalid(field, value, "must be between 1 and 65535, inclusive");
        }
    }
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn object<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Map<String, Value>> {
    map.get(key).and_then(Value::as_object)
}

/// The objects of a list, with their paths.
fn items<'a>(map: &'a Map<String, Value>, path: &str, key: &str) -> impl Iterator<Item = (String, &'a Map<String, Value>)> {
    let prefix = format!("{path}.{key}");
    let list = map.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().enumerate().filter_map(move |(index, item)| item.as_object().map(|item| (format!("{prefix}[{index}]"), item)))
}

fn is_empty_list(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).and_then(Value::as_array).is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests;
