//! Pods and pod templates.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::quantity::Quantity;
use super::{Causes, is_empty_list, items, names, object, text};

pub(super) fn pod(root: &Map<String, Value>, causes: &mut Causes) {
    let empty = Map::new();
    let spec = object(root, "spec").unwrap_or(&empty);
    spec_at(spec, "spec", causes);
}

/// A template at a path such as `spec.template`.
pub(super) fn template(template: &Map<String, Value>, path: &str, causes: &mut Causes) {
    let empty = Map::new();
    if let Some(labels) = object(template, "metadata").and_then(|m| object(m, "labels")) {
        names::labels(labels, &format!("{path}.labels"), causes);
    }
    spec_at(object(template, "spec").unwrap_or(&empty), &format!("{path}.spec"), causes);
}

fn spec_at(spec: &Map<String, Value>, path: &str, causes: &mut Causes) {
    let mut volumes = BTreeSet::new();
    for (at, volume) in items(spec, path, "volumes") {
        let name = text(volume, "name");
        if name.is_empty() {
            causes.required(format!("{at}.name"), "");
        } else if !volumes.insert(name.to_owned()) {
            causes.duplicate(format!("{at}.name"), &name.into());
        } else {
            names::check_label(name, &format!("{at}.name"), causes);
        }
        if volume.keys().filter(|key| *key != "name").count() > 1 {
            let extra = volume.keys().filter(|key| *key != "name").nth(1).map_or("", String::as_str);
            causes.forbidden(format!("{at}.{extra}"), "may not specify more than 1 volume type");
        }
    }
    if is_empty_list(spec, "containers") {
        causes.required(format!("{path}.containers"), "");
    }
    let mut seen = BTreeSet::new();
    for (at, item) in items(spec, path, "containers") {
        container(item, &at, &volumes, &mut seen, causes);
    }
    for (at, item) in items(spec, path, "initContainers") {
        container(item, &at, &volumes, &mut seen, causes);
    }
    causes.one_of(spec, path, "restartPolicy", &["Always", "OnFailure", "Never"]);
    causes.one_of(spec, path, "dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    causes.not_negative(spec, path, "terminationGracePeriodSeconds");
    if let Some(value) = spec.get("activeDeadlineSeconds")
        && value.as_i64().is_some_and(|n| n < 1)
    {
        causes.invalid(format!("{path}.activeDeadlineSeconds"), value, "must be between 1 and 2147483647, inclusive");
    }
    for (at, toleration) in items(spec, path, "tolerations") {
        causes.one_of(toleration, &at, "operator", &["Equal", "Exists"]);
        if !text(toleration, "effect").is_empty() {
            causes.one_of(toleration, &at, "effect", &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }
}

fn container(c: &Map<String, Value>, at: &str, volumes: &BTreeSet<String>, seen: &mut BTreeSet<String>, causes: &mut Causes) {
    let name = text(c, "name");
    if name.is_empty() {
        causes.required(format!("{at}.name"), "");
    } else {
        names::check_label(name, &format!("{at}.name"), causes);
        if !seen.insert(name.to_owned()) {
            causes.duplicate(format!("{at}.name"), &name.into());
        }
    }
    match text(c, "image") {
        "" => causes.required(format!("{at}.image"), ""),
        image if image.trim() != image => {
            causes.invalid(format!("{at}.image"), &image.into(), "must not have leading or trailing whitespace");
        }
        _ => {}
    }
    causes.one_of(c, at, "terminationMessagePolicy", &["FallbackToLogsOnError", "File"]);
    ports(c, at, causes);
    for (path, env) in items(c, at, "env") {
        match text(env, "name") {
            "" => causes.required(format!("{path}.name"), ""),
            name if name.contains('=') || !name.is_ascii() => causes.invalid(
                format!("{path}.name"),
                &name.into(),
                "a valid environment variable name must consist only of printable ASCII characters other than '='",
            ),
            _ => {}
        }
        if let Some(from) = object(env, "valueFrom") {
            if !text(env, "value").is_empty() && !from.is_empty() {
                causes.invalid(format!("{path}.valueFrom"), &"".into(), "may not be specified when `value` is not empty");
            }
            if from.is_empty() {
                causes.invalid(
                    format!("{path}.valueFrom"),
                    &"".into(),
                    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
                );
            }
        }
    }
    let mut mounts = BTreeSet::new();
    for (path, mount) in items(c, at, "volumeMounts") {
        let name = text(mount, "name");
        if name.is_empty() {
            causes.required(format!("{path}.name"), "");
        } else if !volumes.contains(name) {
            causes.not_found(format!("{path}.name"), &name.into());
        }
        match text(mount, "mountPath") {
            "" => causes.required(format!("{path}.mountPath"), ""),
            place if !mounts.insert(place.to_owned()) => causes.invalid(format!("{path}.mountPath"), &place.into(), "must be unique"),
            _ => {}
        }
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(p) = object(c, key) {
            probe(p, &format!("{at}.{key}"), key != "readinessProbe", causes);
        }
    }
    causes.one_of(c, at, "imagePullPolicy", &["Always", "IfNotPresent", "Never"]);
    if let Some(r) = object(c, "resources") {
        resources(r, &format!("{at}.resources"), causes);
    }
}

fn ports(c: &Map<String, Value>, at: &str, causes: &mut Causes) {
    let mut names = BTreeSet::new();
    for (path, port) in items(c, at, "ports") {
        let name = text(port, "name");
        if !name.is_empty() {
            for problem in port_name(name) {
                causes.invalid(format!("{path}.name"), &name.into(), problem);
            }
            if !names.insert(name.to_owned()) {
                causes.duplicate(format!("{path}.name"), &name.into());
            }
        }
        match port.get("containerPort") {
            None => causes.required(format!("{path}.containerPort"), ""),
            Some(value) if value.as_i64() == Some(0) => causes.required(format!("{path}.containerPort"), ""),
            Some(value) => causes.port(value, format!("{path}.containerPort")),
        }
        if let Some(value) = port.get("hostPort").filter(|v| v.as_i64() != Some(0)) {
            causes.port(value, format!("{path}.hostPort"));
        }
        causes.one_of(port, &path, "protocol", &["SCTP", "TCP", "UDP"]);
    }
}

pub(super) fn port_name(name: &str) -> Vec<&'static str> {
    let mut out = Vec::new();
    if name.len() > 15 {
        out.push("must be no more than 15 characters long");
    }
    if !name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.bytes().any(|c| c.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        out.push("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        out.push("must not begin or end with a hyphen");
    }
    out
}

fn probe(probe: &Map<String, Value>, at: &str, only_one_success: bool, causes: &mut Causes) {
    let handlers: Vec<&str> = ["exec", "httpGet", "tcpSocket", "grpc"].into_iter().filter(|h| probe.contains_key(*h)).collect();
    for extra in handlers.iter().skip(1) {
        causes.forbidden(format!("{at}.{extra}"), "may not specify more than 1 handler type");
    }
    if handlers.is_empty() {
        causes.required(at, "must specify a handler type");
    }
    for handler in ["httpGet", "tcpSocket"] {
        if let Some(action) = object(probe, handler) {
            match action.get("port") {
                None => causes.required(format!("{at}.{handler}.port"), ""),
                Some(value) if value.is_number() => causes.port(value, format!("{at}.{handler}.port")),
                Some(value) => {
                    for problem in port_name(value.as_str().unwrap_or_default()) {
                        causes.invalid(format!("{at}.{handler}.port"), value, problem);
                    }
                }
            }
            if handler == "httpGet" {
                causes.one_of(action, &format!("{at}.httpGet"), "scheme", &["HTTP", "HTTPS"]);
            }
        }
    }
    if object(probe, "exec").is_some_and(|exec| is_empty_list(exec, "command")) {
        causes.required(format!("{at}.exec.command"), "");
    }
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        causes.not_negative(probe, at, key);
    }
    if let Some(value) = probe.get("successThreshold").filter(|v| only_one_success && v.as_i64() != Some(1)) {
        causes.invalid(format!("{at}.successThreshold"), value, "must be 1");
    }
}

/// Requests and limits: quantities, not negative, requests not above limits.
pub(super) fn resources(resources: &Map<String, Value>, at: &str, causes: &mut Causes) {
    for side in ["limits", "requests"] {
        for (name, value) in object(resources, side).into_iter().flatten() {
            if Quantity::from_json(value).is_some_and(Quantity::is_negative) {
                causes.invalid(format!("{at}.{side}.{name}"), value, "must be greater than or equal to 0");
            }
            if !name.contains('/') && !is_standard(name) {
                let problem = "must be a standard resource type or fully qualified";
                causes.invalid(format!("{at}.{side}.{name}"), &name.as_str().into(), problem);
            }
        }
    }
    let (Some(requests), Some(limits)) = (object(resources, "requests"), object(resources, "limits")) else { return };
    for (name, request) in requests {
        if let (Some(wanted), Some(limit)) = (Quantity::from_json(request), limits.get(name).and_then(Quantity::from_json))
            && wanted > limit
        {
            let shown = Value::String(wanted.to_string());
            causes.invalid(format!("{at}.requests"), &shown, format!("must be less than or equal to {name} limit of {limit}"));
        }
    }
}

fn is_standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage" | "storage") || name.starts_with("hugepages-")
}
