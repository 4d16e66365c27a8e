//! Services, configuration, quotas, autoscalers, budgets, ingresses, bindings.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::quantity::Quantity;
use super::{Causes, is_empty_list, items, names, object, pod, text, workload};

const MAX_CONFIG: usize = 1024 * 1024;

fn spec(root: &Map<String, Value>) -> Map<String, Value> {
    object(root, "spec").cloned().unwrap_or_default()
}

pub(super) fn service(root: &Map<String, Value>, causes: &mut Causes) {
    let spec = spec(root);
    let kind = text(&spec, "type");
    if is_empty_list(&spec, "ports") && kind != "ExternalName" && text(&spec, "clusterIP") != "None" {
        causes.required("spec.ports", "");
    }
    if kind == "ExternalName" && text(&spec, "externalName").is_empty() {
        causes.required("spec.externalName", "");
    }
    let several = spec.get("ports").and_then(Value::as_array).is_some_and(|ports| ports.len() > 1);
    let mut seen = BTreeSet::new();
    for (at, port) in items(&spec, "spec", "ports") {
        let name = text(port, "name");
        if name.is_empty() {
            if several {
                causes.required(format!("{at}.name"), "");
            }
        } else {
            names::check_label(name, &format!("{at}.name"), causes);
            if !seen.insert(name.to_owned()) {
                causes.duplicate(format!("{at}.name"), &name.into());
            }
        }
        match port.get("port") {
            Some(value) => causes.port(value, format!("{at}.port")),
            None => causes.invalid(format!("{at}.port"), &0.into(), "must be between 1 and 65535, inclusive"),
        }
        causes.one_of(port, &at, "protocol", &["SCTP", "TCP", "UDP"]);
        match port.get("targetPort") {
            Some(value @ Value::Number(_)) => causes.port(value, format!("{at}.targetPort")),
            Some(value @ Value::String(name)) => {
                for problem in pod::port_name(name) {
                    causes.invalid(format!("{at}.targetPort"), value, problem);
                }
            }
            _ => {}
        }
    }
    causes.one_of(&spec, "spec", "sessionAffinity", &["ClientIP", "None"]);
    causes.one_of(&spec, "spec", "type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    causes.one_of(&spec, "spec", "internalTrafficPolicy", &["Cluster", "Local"]);
    if let Some(selector) = object(&spec, "selector") {
        names::labels(selector, "spec.selector", causes);
    }
}

/// The keys and the size of a config map or secret.
pub(super) fn keys(root: &Map<String, Value>, causes: &mut Causes) {
    let mut size = 0;
    for list in ["data", "binaryData"] {
        for (key, value) in object(root, list).into_iter().flatten() {
            size += value.as_str().map_or(0, str::len);
            let valid = !key.is_empty() && key.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
            if !valid {
                causes.invalid(
                    format!("{list}[{key}]"),
                    &key.as_str().into(),
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                );
            }
        }
    }
    if size > MAX_CONFIG {
        causes.push("FieldValueTooLong", format!("Too long: may not be more than {MAX_CONFIG} bytes"), "");
    }
}

pub(super) fn claim(root: &Map<String, Value>, causes: &mut Causes) {
    let spec = spec(root);
    if is_empty_list(&spec, "accessModes") {
        causes.required("spec.accessModes", "at least 1 access mode is required");
    }
    match object(&spec, "resources").and_then(|r| object(r, "requests")).and_then(|r| r.get("storage")) {
        None => causes.required("spec.resources[storage]", ""),
        Some(value) if Quantity::from_json(value).is_some_and(|q| q <= Quantity::ZERO) => {
            causes.invalid("spec.resources[storage]", value, "must be greater than zero");
        }
        Some(_) => {}
    }
}

pub(super) fn quota(root: &Map<String, Value>, causes: &mut Causes) {
    for (name, value) in object(&spec(root), "hard").into_iter().flatten() {
        let Some(amount) = Quantity::from_json(value) else { continue };
        if amount.is_negative() {
            causes.invalid(format!("spec.hard[{name}]"), value, "must be greater than or equal to 0");
        }
        let countable =
            matches!(name.as_str(), "pods" | "services" | "secrets" | "configmaps" | "resourcequotas") || name.starts_with("count/");
        if countable && !amount.is_whole() {
            causes.invalid(format!("spec.hard[{name}]"), value, "must be an integer");
        }
    }
}

pub(super) fn autoscaler(root: &Map<String, Value>, causes: &mut Causes) {
    let spec = spec(root);
    let number = |key: &str| spec.get(key).and_then(Value::as_i64);
    if let Some(min) = number("minReplicas").filter(|n| *n < 1) {
        causes.invalid("spec.minReplicas", &min.into(), "must be greater than or equal to 1");
    }
    let max = number("maxReplicas").unwrap_or(0);
    if max < 1 {
        causes.invalid("spec.maxReplicas", &max.into(), "must be greater than 0");
    }
    if number("minReplicas").is_some_and(|min| max < min) {
        causes.invalid("spec.maxReplicas", &max.into(), "must be greater than or equal to `minReplicas`");
    }
    let empty = Map::new();
    let target = object(&spec, "scaleTargetRef").unwrap_or(&empty);
    for key in ["kind", "name"] {
        if text(target, key).is_empty() {
            causes.required(format!("spec.scaleTargetRef.{key}"), "");
        }
    }
}

pub(super) fn disruption_budget(root: &Map<String, Value>, causes: &mut Causes) {
    let spec = spec(root);
    if spec.contains_key("minAvailable") && spec.contains_key("maxUnavailable") {
        causes.invalid("spec", &Value::Object(spec.clone()), "minAvailable and maxUnavailable cannot be both set");
    }
    for key in ["minAvailable", "maxUnavailable"] {
        if let Some(value) = spec.get(key) {
            workload::int_or_percent(value, &format!("spec.{key}"), causes);
        }
    }
}

pub(super) fn ingress(root: &Map<String, Value>, causes: &mut Causes) {
    let spec = spec(root);
    if is_empty_list(&spec, "rules") && !spec.contains_key("defaultBackend") {
        causes.invalid("spec", &Value::Object(spec.clone()), "either `defaultBackend` or `rules` must be specified");
    }
    for (at, rule) in items(&spec, "spec", "rules") {
        let Some(http) = object(rule, "http") else { continue };
        let at = format!("{at}.http");
        if is_empty_list(http, "paths") {
            causes.required(format!("{at}.paths"), "");
        }
        for (at, path) in items(http, &at, "paths") {
            let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
            match path.get("pathType") {
                None => causes.required(format!("{at}.pathType"), "pathType must be specified"),
                Some(value) if value.as_str() == Some("ImplementationSpecific") => {}
                Some(value) => {
                    causes.one_of(path, &at, "pathType", &kinds);
                    let given = text(path, "path");
                    if kinds.contains(&value.as_str().unwrap_or_default()) && !given.starts_with('/') {
                        causes.invalid(format!("{at}.path"), &given.into(), "must be an absolute path");
                    }
                }
            }
            if let Some(service) = object(path, "backend").and_then(|b| object(b, "service")) {
                if text(service, "name").is_empty() {
                    causes.required(format!("{at}.backend.service.name"), "");
                }
                if object(service, "port").is_none_or(Map::is_empty) {
                    causes.required(format!("{at}.backend.service.port"), "port name or number is required");
                }
            }
        }
    }
}

pub(super) fn role_binding(root: &Map<String, Value>, causes: &mut Causes) {
    let empty = Map::new();
    let role = object(root, "roleRef").unwrap_or(&empty);
    causes.one_of(role, "roleRef", "kind", &["Role", "ClusterRole"]);
    if text(role, "name").is_empty() {
        causes.required("roleRef.name", "");
    }
}
