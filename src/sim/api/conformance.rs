//! Every answer fits the schema of 1.36: strict clients refuse an object that lacks a required field.
//!
//! For each kind: an object is created, read, listed, patched, replaced and deleted, in each subresource that shows it.

use serde_json::{Value, json};

use super::tests::{Client, MERGE};
use crate::sim::catalog::{Catalog, Kind};
use crate::sim::schema;

/// What a kind needs beside a name.
fn sample(kind: &Kind) -> Value {
    let pod = json!({"containers": [{"name": "c", "image": "nginx"}]});
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": pod});
    let selector = json!({"matchLabels": {"app": "x"}});
    let webhook = json!([{"name": "a.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {"url": "https://example.com"}}]);
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    let job = json!({"template": {"spec": {"containers": [{"name": "c", "image": "nginx"}], "restartPolicy": "Never"}}});
    let chaos = |rest: Value| {
        let mut spec = json!({"mode": "one", "selector": {"namespaces": ["demo"]}});
        for (k, v) in rest.as_object().into_iter().flatten() {
            spec[k] = v.clone();
        }
        json!({"spec": spec})
    };
    match kind.kind.as_str() {
        "Pod" => json!({"spec": pod}),
        "PodTemplate" => json!({"template": template}),
        "ReplicationController" => json!({"spec": {"selector": {"app": "x"}, "template": template}}),
        "Deployment" | "ReplicaSet" | "DaemonSet" => json!({"spec": {"selector": selector, "template": template}}),
        "StatefulSet" => json!({"spec": {"serviceName": "x", "selector": selector, "template": template}}),
        "ControllerRevision" => json!({"revision": 1, "data": {}}),
        "Job" => json!({"spec": job}),
        "CronJob" => json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job}}}),
        "Service" => json!({"spec": {"ports": [{"port": 80}], "selector": {"app": "x"}}}),
        "PersistentVolumeClaim" => json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        "PersistentVolume" => {
            json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}})
        }
        "HorizontalPodAutoscaler" => {
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}})
        }
        "Event" if kind.group.is_empty() => {
            json!({"involvedObject": {"kind": "Pod", "name": "x", "namespace": "demo"}, "reason": "R", "message": "m", "type": "Normal"})
        }
        "Event" => {
            json!({"regarding": {"kind": "Pod", "name": "x", "namespace": "demo"}, "reason": "R", "note": "m", "type": "Normal", "action": "A",
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c", "reportingInstance": "i"})
        }
        "RoleBinding" | "ClusterRoleBinding" => json!({"roleRef": role, "subjects": []}),
        "Role" | "ClusterRole" => json!({"rules": []}),
        "LimitRange" => json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "4"}}]}}),
        "ResourceQuota" => json!({"spec": {"hard": {"pods": "100"}}}),
        "NetworkPolicy" => json!({"spec": {"podSelector": {}}}),
        "Ingress" => json!({"spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}}),
        "EndpointSlice" => json!({"addressType": "IPv4", "endpoints": []}),
        "StorageClass" => json!({"provisioner": "example.com/x"}),
        "PriorityClass" => json!({"value": 1}),
        "RuntimeClass" => json!({"handler": "x"}),
        "CSINode" => json!({"spec": {"drivers": []}}),
        "CSIStorageCapacity" => json!({"storageClassName": "x"}),
        "VolumeAttachment" => json!({"spec": {"attacher": "x", "nodeName": "node-1", "source": {"persistentVolumeName": "x"}}}),
        "VolumeAttributesClass" => json!({"driverName": "x", "parameters": {"a": "b"}}),
        "APIService" => json!({"spec": {"group": "example.org", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100}}),
        "CertificateSigningRequest" => json!({"spec": {"request": "YQ==", "signerName": "example.com/x", "usages": ["client auth"]}}),
        "CustomResourceDefinition" => {
            json!({"spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "xs", "kind": "X"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
        }
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => json!({"webhooks": webhook}),
        "ValidatingAdmissionPolicy" => {
            json!({"spec": {"validations": [{"expression": "true"}], "matchConstraints": {"resourceRules": []}}})
        }
        "MutatingAdmissionPolicy" => {
            json!({"spec": {"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}], "reinvocationPolicy": "Never"}})
        }
        "IPAddress" => json!({"spec": {"parentRef": {"resource": "services", "name": "x", "namespace": "demo"}}}),
        "ServiceCIDR" => json!({"spec": {"cidrs": ["10.97.0.0/24"]}}),
        "ResourceClaim" => json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "x"}}]}}}),
        "ResourceClaimTemplate" => {
            json!({"spec": {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "x"}}]}}}})
        }
        "ResourceSlice" => {
            json!({"spec": {"driver": "example.com", "nodeName": "node-1", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}})
        }
        "FlowSchema" => json!({"spec": {"priorityLevelConfiguration": {"name": "exempt"}, "rules": []}}),
        "PriorityLevelConfiguration" => json!({"spec": {"type": "Exempt"}}),
        "StressChaos" => chaos(json!({"stressors": {"cpu": {"workers": 1}}})),
        "NetworkChaos" => chaos(json!({"action": "delay", "delay": {"latency": "1ms"}})),
        "IOChaos" => chaos(json!({"action": "latency", "delay": "1ms", "volumePath": "/x", "containerNames": ["c"]})),
        "ValidatingAdmissionPolicyBinding" => json!({"spec": {"policyName": "x", "validationActions": ["Deny"]}}),
        "AWSChaos" => json!({"spec": {"action": "ec2-stop", "awsRegion": "r", "ec2Instance": "i"}}),
        "AzureChaos" => json!({"spec": {"action": "vm-stop", "resourceGroupName": "g", "subscriptionID": "s", "vmName": "v"}}),
        "GCPChaos" => json!({"spec": {"action": "node-stop", "instance": "i", "project": "p", "zone": "z"}}),
        "BlockChaos" => chaos(json!({"action": "delay", "volumeName": "v"})),
        "DNSChaos" => chaos(json!({"action": "error"})),
        "HTTPChaos" => chaos(json!({"target": "Request", "port": 80})),
        "JVMChaos" => chaos(json!({"action": "latency"})),
        "KernelChaos" => chaos(json!({"failKernRequest": {"failtype": 0}})),
        "PhysicalMachineChaos" => json!({"spec": {"action": "stress-cpu", "mode": "one", "address": ["a"], "selector": {}}}),
        "TimeChaos" => chaos(json!({"timeOffset": "1m"})),
        "PodChaos" => chaos(json!({"action": "pod-kill"})),
        _ => json!({"spec": {}}),
    }
}

/// What a stored name must look like.
fn name(kind: &Kind) -> &'static str {
    match kind.kind.as_str() {
        "CustomResourceDefinition" => "xs.example.com",
        "APIService" => "v1.example.org",
        "IPAddress" => "10.97.0.9",
        "ServiceCIDR" => "cidr",
        _ => "sample",
    }
}

fn complain(kind: &Kind, verb: &str, object: &Value, out: &mut Vec<String>) {
    let api_version = kind.api_version();
    let (found, is) = (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
    if (found, is) != (api_version.as_str(), kind.kind.as_str()) {
        out.push(format!("{verb} {api_version} {}: answered {found} {is}: {}", kind.plural, object["message"]));
        return;
    }
    fits(&api_version, &kind.kind, verb, object, out);
}

fn fits(api_version: &str, kind: &str, verb: &str, object: &Value, out: &mut Vec<String>) {
    let missing = schema::missing_required(api_version, kind, object).into_iter().map(|f| format!("lacks {f}"));
    let unknown = schema::unknown_fields(api_version, kind, object);
    out.extend(missing.chain(unknown).map(|why| format!("{verb} {api_version} {kind}: {why}")));
}

#[tokio::test]
async fn every_kind_and_verb_fits_the_schema() {
    let c = Client::start().await;
    let mut wrong = Vec::new();
    let mut seen = 0;
    for kind in Catalog::get().kinds().filter(|k| k.allows("create") && k.allows("get")) {
        let scope = if kind.namespaced { "/namespaces/demo" } else { "" };
        let root = if kind.group.is_empty() { "/api" } else { "/apis" };
        let collection = format!("{root}/{}{scope}/{}", kind.api_version(), kind.plural);
        // The same object under two versions of its kind would be the same object.
        let name = if kind.group == "events.k8s.io" || kind.version == "v2" { "second" } else { name(kind) };
        let one = format!("{collection}/{name}");
        let mut object = sample(kind);
        object["metadata"] = json!({"name": name});
        let (code, made) = c.post(&collection, &object).await;
        if code != 201 {
            wrong.push(format!("create {} {}: {code} {}", kind.api_version(), kind.plural, made["message"]));
            continue;
        }
        seen += 1;
        complain(kind, "create", &made, &mut wrong);
        c.sim.engine().charge(std::time::Duration::from_secs(5));
        complain(kind, "get", &c.get(&one).await.1, &mut wrong);
        let (_, patched) = c.patch(&one, MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await;
        complain(kind, "patch", &patched, &mut wrong);
        let again = c.get(&one).await.1;
        let (code, _, text) = c.send("PUT", &one, &[("content-type", "application/json")], Some(again.to_string())).await;
        let replaced: Value = serde_json::from_str(&text).unwrap();
        if code == 200 {
            complain(kind, "update", &replaced, &mut wrong);
        } else {
            wrong.push(format!("update {}: {code} {}", kind.plural, replaced["message"]));
        }
        for sub in kind.subresources.iter().filter(|s| s.verbs.iter().any(|v| v == "get")) {
            let (code, part) = c.get(&format!("{one}/{}", sub.subresource)).await;
            match sub.subresource.as_str() {
                "status" | "resize" | "ephemeralcontainers" | "approval" => complain(kind, &sub.subresource, &part, &mut wrong),
                "scale" if code == 200 => fits("autoscaling/v1", "Scale", "get", &part, &mut wrong),
                _ => {}
            }
        }
        let (_, list) = c.get(&collection).await;
        if list["kind"] != format!("{}List", kind.kind) || !list["items"].is_array() {
            wrong.push(format!("list {}: {}", kind.plural, list["kind"]));
        }
        for item in list["items"].as_array().into_iter().flatten() {
            fits(&kind.api_version(), &kind.kind, "list", item, &mut wrong);
        }
        let (_, _, text) = c.send("DELETE", &one, &[], None).await;
        let gone: Value = serde_json::from_str(&text).unwrap();
        match gone["kind"].as_str() {
            Some("Status") => fits("v1", "Status", "delete", &gone, &mut wrong),
            _ => complain(kind, "delete", &gone, &mut wrong),
        }
    }
    assert!(wrong.is_empty(), "{} of {seen} kinds:\n{}", wrong.len(), wrong.join("\n"));
    assert!(seen > 55, "only {seen} kinds were tried");
    c.sim.shutdown().await;
}
