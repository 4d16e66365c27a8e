//! Defaults of networking objects: services, endpoints, network policies.

use serde_json::{Map, Value, json};

use super::{each, has, inner, set, text, within};

pub(super) fn service(root: &mut Map<String, Value>) {
    within(root, "spec", |spec| {
        set(spec, "type", "ClusterIP");
        set(spec, "sessionAffinity", "None");
        if text(spec, "sessionAffinity") == "ClientIP"
            && let Some(config) = inner(spec, "sessionAffinityConfig")
            && let Some(client) = inner(config, "clientIP")
        {
            set(client, "timeoutSeconds", 10_800);
        }
        let kind = text(spec, "type").to_owned();
        if kind != "ExternalName" {
            set(spec, "internalTrafficPolicy", "Cluster");
            set(spec, "ipFamilies", json!(["IPv4"]));
            set(spec, "ipFamilyPolicy", "SingleStack");
        }
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            set(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            set(spec, "allocateLoadBalancerNodePorts", true);
        }
        each(spec, "ports", |port| {
            set(port, "protocol", "TCP");
            let own = port.get("port").cloned().unwrap_or(Value::Null);
            if !has(port, "targetPort")
                || port.get("targetPort") == Some(&json!(0))
                || text(port, "targetPort").is_empty() && port.get("targetPort").is_some_and(Value::is_string)
            {
                port.insert("targetPort".to_owned(), own);
            }
        });
    });
    if let Some(status) = inner(root, "status") {
        set(status, "loadBalancer", json!({}));
    }
}

pub(super) fn endpoints(root: &mut Map<String, Value>) {
    each(root, "subsets", |subset| each(subset, "ports", |port| set(port, "protocol", "TCP")));
}

pub(super) fn endpoint_slice(root: &mut Map<String, Value>) {
    each(root, "ports", |port| {
        set(port, "name", "");
        set(port, "protocol", "TCP");
    });
}

pub(super) fn network_policy(root: &mut Map<String, Value>) {
    within(root, "spec", |spec| {
        let both = has(spec, "egress");
        set(spec, "policyTypes", if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
        for list in ["ingress", "egress"] {
            each(spec, list, |rule| each(rule, "ports", |port| set(port, "protocol", "TCP")));
        }
    });
}
