//! Defaults of pods and pod templates.

use serde_json::{Map, Value, json};

use super::{each, has, inner, set, text, within};

/// A pod: the template's defaults and what only pods get.
pub(super) fn pod(root: &mut Map<String, Value>) {
    within(root, "spec", |spec| {
        spec_defaults(spec);
        set(spec, "enableServiceLinks", true);
        // What admission plugins add; the service account's token volume is not modelled.
        if !has(spec, "serviceAccountName") {
            spec.insert("serviceAccountName".to_owned(), "default".into());
            spec.insert("serviceAccount".to_owned(), "default".into());
        }
        set(spec, "priority", 0);
        set(spec, "preemptionPolicy", "PreemptLowerPriority");
        each(spec, "initContainers", requests_from_limits);
        each(spec, "containers", requests_from_limits);
    });
    let class = root.get("spec").map(quality).unwrap_or_default();
    if let Some(status) = inner(root, "status") {
        set(status, "phase", "Pending");
        set(status, "qosClass", class);
    }
}

/// A pod template.
pub(super) fn template(template: &mut Map<String, Value>) {
    set(template, "metadata", json!({}));
    within(template, "spec", spec_defaults);
}

fn spec_defaults(spec: &mut Map<String, Value>) {
    set(spec, "restartPolicy", "Always");
    set(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "schedulerName", "default-scheduler");
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "securityContext", json!({}));
    account(spec);
    let host = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or_default();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list, |c| container(c, host));
    }
    each(spec, "volumes", volume);
}

/// `serviceAccount` is the old name of `serviceAccountName`; the server keeps both.
fn account(spec: &mut Map<String, Value>) {
    let name = spec.get("serviceAccountName").or_else(|| spec.get("serviceAccount")).cloned();
    if let Some(name) = name.filter(|n| n.as_str().is_some_and(|n| !n.is_empty())) {
        spec.insert("serviceAccountName".to_owned(), name.clone());
        spec.insert("serviceAccount".to_owned(), name);
    }
}

fn container(c: &mut Map<String, Value>, host_network: bool) {
    set(c, "resources", json!({}));
    set(c, "terminationMessagePath", "/dev/termination-log");
    set(c, "terminationMessagePolicy", "File");
    let policy = if is_latest(text(c, "image")) { "Always" } else { "IfNotPresent" };
    set(c, "imagePullPolicy", policy);
    each(c, "ports", |port| {
        set(port, "protocol", "TCP");
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            set(port, "hostPort", number);
        }
    });
    each(c, "env", |env| {
        within(env, "valueFrom", |from| {
            within(from, "fieldRef", |field| set(field, "apiVersion", "v1"));
            within(from, "resourceFieldRef", |field| set(field, "divisor", "0"));
        });
    });
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        within(c, name, probe);
    }
    within(c, "lifecycle", |lifecycle| {
        for name in ["postStart", "preStop"] {
            within(lifecycle, name, |handler| within(handler, "httpGet", http_get));
        }
    });
}

fn probe(probe: &mut Map<String, Value>) {
    set(probe, "timeoutSeconds", 1);
    set(probe, "periodSeconds", 10);
    set(probe, "successThreshold", 1);
    set(probe, "failureThreshold", 3);
    within(probe, "httpGet", http_get);
    within(probe, "grpc", |grpc| set(grpc, "service", ""));
}

fn http_get(get: &mut Map<String, Value>) {
    set(get, "path", "/");
    set(get, "scheme", "HTTP");
}

fn volume(volume: &mut Map<String, Value>) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        within(volume, source, |v| set(v, "defaultMode", 420));
    }
    within(volume, "hostPath", |v| set(v, "type", ""));
    within(volume, "downwardAPI", downward);
    within(volume, "projected", |projected| {
        each(projected, "sources", |source| {
            within(source, "serviceAccountToken", |token| set(token, "expirationSeconds", 3600));
            within(source, "downwardAPI", downward);
        });
    });
    within(volume, "ephemeral", |v| {
        within(v, "volumeClaimTemplate", |claim| within(claim, "spec", |spec| set(spec, "volumeMode", "Filesystem")));
    });
}

fn downward(api: &mut Map<String, Value>) {
    each(api, "items", |item| {
        within(item, "fieldRef", |field| set(field, "apiVersion", "v1"));
        within(item, "resourceFieldRef", |field| set(field, "divisor", "0"));
    });
}

fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest" || tag.is_empty())
}

fn requests_from_limits(c: &mut Map<String, Value>) {
    within(c, "resources", |resources| super::copy_missing(resources, "limits", "requests"));
}

/// The quality-of-service class: by whether every container has limits equal to requests for CPU and memory.
fn quality(spec: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for list in ["initContainers", "containers"] {
        for c in spec.get(list).and_then(Value::as_array).into_iter().flatten() {
            let amount = |side: &str, name: &str| {
                let value = c.get("resources")?.get(side)?.get(name)?;
                super::super::quantity::Quantity::from_json(value).filter(|q| *q > super::super::quantity::Quantity::ZERO)
            };
            for name in ["cpu", "memory"] {
                let (request, limit) = (amount("requests", name), amount("limits", name));
                any |= request.is_some() || limit.is_some();
                guaranteed &= limit.is_some() && (request.is_none() || request == limit);
            }
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
