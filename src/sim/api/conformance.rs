//! Every answer fits the schema of 1.36: strict clients refuse an object that lacks a required field.
//!
//! For each kind: an object is created, read, listed, watched, patched, replaced and deleted, in each subresource that shows
//! it. What is looked for: unknown fields, missing ones, values of another type or outside of an enumeration, nulls.

use serde_json::{Map, Value, json};

use super::tests::{Client, MERGE};
use crate::sim::catalog::{Catalog, Kind};
use crate::sim::schema::quantity::Quantity;
use crate::sim::schema::table::{Entry, Field, Table, Type};

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

/// Kinds that are asked and not stored, and the documents of discovery.
#[tokio::test]
async fn answers_that_are_not_stored_fit_too() {
    let c = Client::start().await;
    let mut wrong = Vec::new();
    let pods = "/api/v1/namespaces/demo/pods";
    let pod = json!({"metadata": {"name": "p", "labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}});
    assert_eq!(c.post(pods, &pod).await.0, 201);
    c.sim.engine().charge(std::time::Duration::from_secs(30));
    let asked = json!({"resourceAttributes": {"namespace": "demo", "verb": "get", "resource": "pods"}, "user": "jane"});
    let mine = json!({"resourceAttributes": {"namespace": "demo", "verb": "get", "resource": "pods"}});
    let authorization = "/apis/authorization.k8s.io/v1";
    let posts = [
        (format!("{authorization}/subjectaccessreviews"), "authorization.k8s.io/v1", "SubjectAccessReview", json!({"spec": asked})),
        (format!("{authorization}/selfsubjectaccessreviews"), "authorization.k8s.io/v1", "SelfSubjectAccessReview", json!({"spec": mine})),
        (
            format!("{authorization}/namespaces/demo/localsubjectaccessreviews"),
            "authorization.k8s.io/v1",
            "LocalSubjectAccessReview",
            json!({"metadata": {"namespace": "demo"}, "spec": asked}),
        ),
        (
            format!("{authorization}/selfsubjectrulesreviews"),
            "authorization.k8s.io/v1",
            "SelfSubjectRulesReview",
            json!({"spec": {"namespace": "demo"}}),
        ),
        ("/apis/authentication.k8s.io/v1/selfsubjectreviews".to_owned(), "authentication.k8s.io/v1", "SelfSubjectReview", json!({})),
        (
            "/apis/authentication.k8s.io/v1/tokenreviews".to_owned(),
            "authentication.k8s.io/v1",
            "TokenReview",
            json!({"spec": {"token": "t1"}}),
        ),
        (
            "/api/v1/namespaces/demo/serviceaccounts/default/token".to_owned(),
            "authentication.k8s.io/v1",
            "TokenRequest",
            json!({"spec": {"audiences": []}}),
        ),
        (format!("{pods}/p/eviction"), "v1", "Status", json!({"metadata": {"name": "p"}})),
    ];
    for (path, api_version, kind, body) in posts {
        let (code, answer) = c.post(&path, &body).await;
        if code != 201 || answer["kind"] != kind {
            wrong.push(format!("create {kind}: {code} {answer}"));
        }
        fits(api_version, kind, "create", &answer, &mut wrong);
    }
    let metrics = "/apis/metrics.k8s.io/v1beta1";
    for (path, api_version, kind) in [
        ("/api", "v1", "APIVersions"),
        ("/api/v1", "v1", "APIResourceList"),
        ("/apis", "v1", "APIGroupList"),
        ("/apis/apps", "v1", "APIGroup"),
        ("/apis/apps/v1", "v1", "APIResourceList"),
        ("/apis/nope", "", ""),
        (metrics, "v1", "APIResourceList"),
        (&format!("{metrics}/nodes"), "metrics.k8s.io/v1beta1", "NodeMetricsList"),
        (&format!("{metrics}/namespaces/demo/pods"), "metrics.k8s.io/v1beta1", "PodMetricsList"),
        ("/api/v1/componentstatuses", "v1", "ComponentStatusList"),
    ] {
        let (code, answer) = c.get(path).await;
        if kind.is_empty() {
            assert_eq!(code, 404, "{path}");
        } else if answer["kind"] != kind {
            wrong.push(format!("get {path}: {code} {answer}"));
        } else if Table::get().kind(api_version, kind).is_some() {
            fits(api_version, kind, "get", &answer, &mut wrong);
        } else {
            assert!(api_version.starts_with("metrics"), "{kind} is not in the table");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    c.sim.shutdown().await;
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
    let mut why = Vec::new();
    match (Table::get().kind(api_version, kind), object.as_object()) {
        (Some(entry), Some(map)) => structure(entry, map, "", &mut why),
        (None, _) => why.push("is not in the table".to_owned()),
        (_, None) => why.push(format!("is no object: {object}")),
    }
    out.extend(why.into_iter().map(|why| format!("{verb} {api_version} {kind}: {why}")));
}

fn structure(entry: &Entry, map: &Map<String, Value>, path: &str, out: &mut Vec<String>) {
    let at = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let lacking = entry.fields.iter().filter(|(name, field)| field.required && !map.contains_key(**name));
    out.extend(lacking.map(|(name, _)| format!("lacks {}", at(name))));
    for (name, value) in map {
        match entry.fields.get(name.as_str()) {
            None => out.push(format!("has {}, which the schema does not know", at(name))),
            Some(field) => this_field(field, value, &at(name), out),
        }
    }
}

fn this_field(field: &Field, value: &Value, path: &str, out: &mut Vec<String>) {
    // Go prints null for what is nil and has no `omitempty`: lists and maps that are required, and two more fields.
    let printed = path.ends_with(".lastProbeTime") || path.ends_with("status.currentMetrics");
    if value.is_null() && !printed && !(field.required && matches!(field.kind, Type::List(_) | Type::Map(_))) {
        out.push(format!("{path} is null"));
    } else if !field.allowed.is_empty() && value.as_str().is_some_and(|v| !field.allowed.contains(&v)) {
        out.push(format!("{path} is {value}, not one of {:?}", field.allowed));
    } else if !value.is_null() {
        typed(&field.kind, value, path, out);
    }
}

fn typed(kind: &Type, value: &Value, path: &str, out: &mut Vec<String>) {
    let right = match (kind, value) {
        (Type::Any, _) => true,
        (Type::String, v) => v.is_string(),
        (Type::Bytes, Value::String(t)) => base64::Engine::decode(&base64::engine::general_purpose::STANDARD, t).is_ok(),
        (Type::Boolean, v) => v.is_boolean(),
        (Type::Int32, v) => v.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        (Type::Int64, v) => v.is_i64(),
        (Type::Number, v) => v.is_number(),
        // The canonical form, always as text.
        (Type::Quantity, Value::String(t)) => Quantity::from_json(value).is_some_and(|q| q.to_string() == *t),
        (Type::IntOrString, v) => v.is_string() || v.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        (Type::Time, Value::String(t)) => t.len() == "2026-01-01T00:00:00Z".len() && t.parse::<jiff::Timestamp>().is_ok(),
        (Type::MicroTime, Value::String(t)) => t.len() == "2026-01-01T00:00:00.000000Z".len() && t.parse::<jiff::Timestamp>().is_ok(),
        (Type::Structure(number), _) => {
            let entry = Table::get().entry(*number);
            return match (&entry.alias, value) {
                (Some(alias), _) => typed(alias, value, path, out),
                (None, Value::Object(map)) => structure(entry, map, path, out),
                (None, _) => out.push(format!("{path} is no {}: {value}", entry.name)),
            };
        }
        (Type::List(inner), Value::Array(items)) => {
            return items.iter().enumerate().for_each(|(n, item)| typed(inner, item, &format!("{path}[{n}]"), out));
        }
        (Type::Map(inner), Value::Object(map)) => return map.iter().for_each(|(k, item)| typed(inner, item, &format!("{path}.{k}"), out)),
        _ => false,
    };
    if !right {
        out.push(format!("{path} is no {kind:?}: {value}"));
    }
}

/// A list: its items lack kind and version, but the schema has those optional.
fn listed(kind: &Kind, list: &Value, out: &mut Vec<String>) {
    let name = format!("{}List", kind.kind);
    if list["kind"] != name || list["apiVersion"] != kind.api_version() || !list["items"].is_array() {
        out.push(format!("list {}: {}", kind.plural, list["kind"]));
    } else if Table::get().kind(&kind.api_version(), &name).is_some() {
        fits(&kind.api_version(), &name, "list", list, out);
    } else {
        for item in list["items"].as_array().into_iter().flatten() {
            fits(&kind.api_version(), &kind.kind, "list", item, out);
        }
    }
}

/// What a watch from `from` on tells until the object is gone: each event, checked.
async fn watched(c: &Client, kind: &Kind, collection: &str, from: &str, out: &mut Vec<String>) {
    let path = format!("{collection}?watch=true&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion={from}");
    // Nobody but this test is there to let time pass, and the watch ends by the cluster's time.
    let passing = async {
        for _ in 0..1000 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            c.sim.engine().charge(std::time::Duration::from_secs(2));
        }
    };
    let (_, _, text) = tokio::select! { told = c.send("GET", &path, &[], None) => told, () = passing => panic!("{path} does not end") };
    let mut kinds = std::collections::BTreeSet::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let word = event["type"].as_str().unwrap_or_default().to_owned();
        complain(kind, &format!("watch {word}"), &event["object"], out);
        kinds.insert(word);
    }
    if !["ADDED", "MODIFIED", "DELETED"].iter().all(|k| kinds.contains(*k)) {
        out.push(format!("watch {}: told of {kinds:?} only", kind.plural));
    }
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
        let from = c.get("/api/v1/namespaces?limit=1").await.1["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
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
        if kind.subresources.iter().any(|s| s.subresource == "status") {
            let (_, patched) = c.patch(&format!("{one}/status"), MERGE, &json!({"metadata": {"labels": {"a": "c"}}})).await;
            complain(kind, "patch status", &patched, &mut wrong);
            let again = c.get(&one).await.1;
            let head = [("content-type", "application/json")];
            let (_, _, text) = c.send("PUT", &format!("{one}/status"), &head, Some(again.to_string())).await;
            complain(kind, "update status", &serde_json::from_str(&text).unwrap(), &mut wrong);
        }
        listed(kind, &c.get(&collection).await.1, &mut wrong);
        let (_, _, text) = c.send("DELETE", &one, &[], None).await;
        let gone: Value = serde_json::from_str(&text).unwrap();
        match gone["kind"].as_str() {
            Some("Status") => fits("v1", "Status", "delete", &gone, &mut wrong),
            _ => complain(kind, "delete", &gone, &mut wrong),
        }
        c.sim.engine().charge(std::time::Duration::from_mins(1));
        if c.get(&one).await.0 == 200 {
            // Somebody's finalizer holds it.
            c.patch(&one, MERGE, &json!({"metadata": {"finalizers": null}})).await;
        }
        watched(&c, kind, &collection, &from, &mut wrong).await;
        let (_, absent) = c.get(&format!("{collection}/absent")).await;
        fits("v1", "Status", "get", &absent, &mut wrong);
        // The default objects of a cluster are everybody's: a selector that finds nothing leaves them.
        let (_, _, text) = c.send("DELETE", &format!("{collection}?labelSelector=none"), &[], None).await;
        let none: Value = serde_json::from_str(&text).unwrap();
        match none["kind"].as_str() {
            Some("Status") => fits("v1", "Status", "deletecollection", &none, &mut wrong),
            _ => listed(kind, &none, &mut wrong),
        }
    }
    assert!(wrong.is_empty(), "{} of {seen} kinds:\n{}", wrong.len(), wrong.join("\n"));
    assert!(seen > 55, "only {seen} kinds were tried");
    c.sim.shutdown().await;
}
