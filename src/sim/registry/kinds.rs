//! What single kinds get when they are created: the work of the real server's strategies and built-in admission.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::sim::catalog::Kind;
use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::world::World;

/// Counts the changes of a daemon set's pod template.
pub(in crate::sim) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Keeps what the real server counts by itself in annotations.
pub(super) fn count_templates(kind: &Kind, old: &Value, new: &mut Value) {
    if kind.resource == Resource::new("apps", "daemonsets") {
        let before = old["metadata"]["annotations"][TEMPLATE_GENERATION].as_str().and_then(|n| n.parse::<u64>().ok()).unwrap_or(1);
        let grown = u64::from(old["spec"]["template"] != new["spec"]["template"]);
        new["metadata"]["annotations"][TEMPLATE_GENERATION] = (before + grown).to_string().into();
    }
}

/// Fields that depend on the cluster, before schema defaults. `uid` is the new object's.
pub(super) fn before_defaults(kind: &Kind, object: &mut Value, uid: &str) {
    match (&*kind.resource.group, &*kind.resource.plural) {
        ("batch", "jobs") => job(object, uid),
        ("apiextensions.k8s.io", "customresourcedefinitions") => definition(object),
        ("", "limitranges") => super::limits::complete(object),
        ("apps", "daemonsets") => object["metadata"]["annotations"][TEMPLATE_GENERATION] = "1".into(),
        ("", "namespaces") => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            object["spec"]["finalizers"] = json!(["kubernetes"]);
        }
        _ => {}
    }
}

/// Names that a definition may leave out.
fn definition(object: &mut Value) {
    let kind = object["spec"]["names"]["kind"].as_str().unwrap_or_default().to_owned();
    if object["spec"]["names"]["singular"].is_null() {
        object["spec"]["names"]["singular"] = kind.to_lowercase().into();
    }
    if object["spec"]["names"]["listKind"].is_null() {
        object["spec"]["names"]["listKind"] = format!("{kind}List").into();
    }
    if object["spec"]["conversion"].is_null() {
        object["spec"]["conversion"] = json!({"strategy": "None"});
    }
}

fn job(object: &mut Value, uid: &str) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let manual = object["spec"]["manualSelector"] == true;
    if manual || !object["spec"]["template"].is_object() {
        return;
    }
    let pairs = [
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name.as_str()),
        ("controller-uid", uid),
        ("job-name", name.as_str()),
    ];
    for (k, v) in pairs {
        object["spec"]["template"]["metadata"]["labels"][k] = v.into();
    }
    if object["metadata"]["labels"].as_object().is_none_or(serde_json::Map::is_empty) {
        object["metadata"]["labels"] = object["spec"]["template"]["metadata"]["labels"].clone();
    }
    if !object["spec"]["selector"].is_object() {
        object["spec"]["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    }
    if !object["spec"]["manualSelector"].is_boolean() {
        object["spec"]["manualSelector"] = false.into();
    }
}

/// Fields that depend on the cluster, after schema defaults.
pub(super) fn after_defaults(world: &mut World, kind: &Kind, object: &mut Value) -> Result<(), Status> {
    match (&*kind.resource.group, &*kind.resource.plural) {
        ("", "pods") => pod(world, object),
        ("", "persistentvolumeclaims") => protect(object, "kubernetes.io/pvc-protection"),
        ("", "persistentvolumes") => protect(object, "kubernetes.io/pv-protection"),
        ("", "services") => service(world, kind, object, None)?,
        _ => {}
    }
    if let Some(status) = initial_status(kind, object) {
        object["status"] = status;
    }
    Ok(())
}

/// The status of a new object; `None`: whatever was given.
fn initial_status(kind: &Kind, object: &Value) -> Option<Value> {
    Some(match (&*kind.resource.group, &*kind.resource.plural) {
        ("", "pods") => json!({"phase": "Pending", "qosClass": qos(object)}),
        ("", "services") | ("networking.k8s.io", "ingresses") => json!({"loadBalancer": {}}),
        ("", "namespaces") => json!({"phase": "Active"}),
        ("", "persistentvolumeclaims" | "persistentvolumes") => json!({"phase": "Pending"}),
        ("", "replicationcontrollers") | ("apps", "replicasets") => json!({"replicas": 0}),
        ("apps", "statefulsets") => json!({"replicas": 0, "availableReplicas": 0}),
        ("apps", "daemonsets") => {
            json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
        }
        ("autoscaling", "horizontalpodautoscalers") => json!({"desiredReplicas": 0, "currentMetrics": null}),
        ("storage.k8s.io", "volumeattachments") => json!({"attached": false}),
        ("policy", "poddisruptionbudgets") => {
            json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
        }
        // The kubelet registers its node with a status.
        ("", "nodes") => return None,
        // What clients define has none until somebody writes it.
        _ if kind.has_status() && kind.dynamic.is_none() => json!({}),
        _ => return None,
    })
}

/// Storage stays for as long as somebody uses it.
fn protect(object: &mut Value, finalizer: &str) {
    let finalizers = &mut object["metadata"]["finalizers"];
    if finalizers.as_array().is_none_or(|all| all.iter().all(|f| f != finalizer)) {
        push(finalizers, finalizer.into());
    }
}

/// The quality-of-service class of a pod: `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos(pod: &Value) -> &'static str {
    let containers = || ["containers", "initContainers"].into_iter().flat_map(|f| pod["spec"][f].as_array().into_iter().flatten());
    let get = |c: &Value, side: &str, what: &str| c["resources"][side][what].as_str().map(str::to_owned);
    let any =
        containers().any(|c| ["limits", "requests"].iter().any(|s| ["cpu", "memory"].iter().any(|w| !c["resources"][*s][*w].is_null())));
    if !any {
        return "BestEffort";
    }
    let guaranteed = containers().all(|c| {
        ["cpu", "memory"].iter().all(|w| {
            let limit = get(c, "limits", w);
            limit.is_some() && (get(c, "requests", w).is_none() || get(c, "requests", w) == limit)
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

fn pod(world: &mut World, object: &mut Value) {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let spec = &mut object["spec"];
    let account = spec["serviceAccountName"].as_str().or(spec["serviceAccount"].as_str()).unwrap_or("default").to_owned();
    spec["serviceAccountName"] = account.as_str().into();
    spec["serviceAccount"] = account.into();
    for (field, value) in [("enableServiceLinks", json!(true)), ("priority", json!(0)), ("preemptionPolicy", json!("PreemptLowerPriority"))]
    {
        if spec[field].is_null() {
            spec[field] = value;
        }
    }
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let has =
            tolerations.iter().any(|t| (t["key"] == key || t["key"].is_null()) && (t["effect"] == "NoExecute" || t["effect"].is_null()));
        if !has {
            tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
    spec["tolerations"] = tolerations.into();
    let mounted = |v: &Value| v["name"].as_str().is_some_and(|n| n.starts_with("kube-api-access-"));
    // What the pod says counts, then what its account says.
    let accounts = Resource::new("", "serviceaccounts");
    let owner = world.store.get(&Key::new(&accounts, namespace.as_str(), spec["serviceAccountName"].as_str().unwrap_or_default()));
    let wanted = spec["automountServiceAccountToken"].as_bool().or(owner.and_then(|o| o["automountServiceAccountToken"].as_bool()));
    if wanted == Some(false) || spec["volumes"].as_array().is_some_and(|v| v.iter().any(mounted)) {
        return;
    }
    let name = format!("kube-api-access-{}", world.suffix(5));
    push(
        &mut spec["volumes"],
        json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}}),
    );
    for list in ["initContainers", "containers"] {
        for c in spec[list].as_array_mut().into_iter().flatten() {
            let at = "/var/run/secrets/kubernetes.io/serviceaccount";
            if c["volumeMounts"].as_array().is_none_or(|all| all.iter().all(|m| m["mountPath"] != at)) {
                push(&mut c["volumeMounts"], json!({"name": name, "readOnly": true, "mountPath": at}));
            }
        }
    }
}

fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

/// Gives a Service its addresses and ports, keeping those of `old`.
pub(super) fn service(world: &World, kind: &Kind, object: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    let services = Resource::new("", "services");
    let others: Vec<&Value> =
        world.store.list(&services, None).map(|(_, v)| &**v).filter(|v| v["metadata"]["uid"] != object["metadata"]["uid"]).collect();
    let spec = &object["spec"];
    let form = spec["type"].as_str().unwrap_or("ClusterIP").to_owned();
    let mut address = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
    if address.is_empty()
        && let Some(before) = old.and_then(|o| o["spec"]["clusterIP"].as_str())
        && form != "ExternalName"
    {
        before.clone_into(&mut address);
    }
    let used: BTreeSet<&str> = others.iter().filter_map(|s| s["spec"]["clusterIP"].as_str()).collect();
    if address.is_empty() && form != "ExternalName" {
        address = free_address(object, &used);
    } else if address != "None" && used.contains(address.as_str()) {
        let cause = crate::sim::schema::Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: \"{address}\": failed to allocate IP {address}: provided IP is already allocated"),
            field: "spec.clusterIPs".into(),
        };
        return Err(super::invalid(kind, object["metadata"]["name"].as_str().unwrap_or_default(), &[cause]));
    }
    let ports: BTreeSet<u64> =
        others.iter().flat_map(|s| s["spec"]["ports"].as_array().into_iter().flatten()).filter_map(|p| p["nodePort"].as_u64()).collect();
    let spec = &mut object["spec"];
    spec["type"] = form.as_str().into();
    if spec["sessionAffinity"].is_null() {
        spec["sessionAffinity"] = "None".into();
    }
    if form == "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            if let Some(m) = spec.as_object_mut() {
                m.remove(field);
            }
        }
        return Ok(());
    }
    spec["clusterIPs"] = json!([address]);
    spec["clusterIP"] = address.into();
    for (field, value) in
        [("ipFamilies", json!(["IPv4"])), ("ipFamilyPolicy", json!("SingleStack")), ("internalTrafficPolicy", json!("Cluster"))]
    {
        if spec[field].is_null() {
            spec[field] = value;
        }
    }
    let outside = form == "NodePort" || form == "LoadBalancer";
    if outside && spec["externalTrafficPolicy"].is_null() {
        spec["externalTrafficPolicy"] = "Cluster".into();
    }
    if form == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"].is_null() {
        spec["allocateLoadBalancerNodePorts"] = true.into();
    }
    let mut next = 30_000;
    for p in spec["ports"].as_array_mut().into_iter().flatten() {
        if !outside {
            if let Some(m) = p.as_object_mut().filter(|_| old.is_some()) {
                m.remove("nodePort");
            }
        } else if p["nodePort"].as_u64().is_none_or(|n| n == 0) {
            let kept = old.and_then(|o| o["spec"]["ports"].as_array()?.iter().find(|q| q["port"] == p["port"])?["nodePort"].as_u64());
            let free = kept.or_else(|| (next..=32_767).find(|n| !ports.contains(n)));
            if let Some(n) = free {
                next = n.max(next) + 1;
                p["nodePort"] = n.into();
            }
        }
    }
    Ok(())
}

/// A free address of 10.96.0.0/16, derived from the Service's name so that it does not depend on the order of creation.
fn free_address(object: &Value, used: &BTreeSet<&str>) -> String {
    let text = format!(
        "{}/{}",
        object["metadata"]["namespace"].as_str().unwrap_or_default(),
        object["metadata"]["name"].as_str().unwrap_or_default()
    );
    let hash = text.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    (0..65_000_u32)
        .map(|i| 256 + (hash.wrapping_add(i) % 65_000))
        .map(|n| format!("10.96.{}.{}", n >> 8, n & 0xff))
        .find(|a| !a.ends_with(".0") && !a.ends_with(".255") && !used.contains(a.as_str()))
        .unwrap_or_default()
}

/// Whether objects of this kind count the changes of their specification.
pub(super) fn has_generation(kind: &Kind) -> bool {
    kind.custom()
        || matches!(
            (&*kind.resource.group, &*kind.resource.plural),
            ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets")
                | (
                    "batch" | "policy" | "networking.k8s.io" | "apiextensions.k8s.io" | "discovery.k8s.io" | "admissionregistration.k8s.io",
                    _
                )
                | ("", "pods" | "replicationcontrollers")
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_of_service() {
        let pod = |r: Value| json!({"spec": {"containers": [{"resources": r}]}});
        assert_eq!(qos(&pod(json!({}))), "BestEffort");
        assert_eq!(qos(&pod(json!({"limits": {"cpu": "1"}}))), "Burstable");
        assert_eq!(qos(&pod(json!({"limits": {"cpu": "1", "memory": "1Gi"}}))), "Guaranteed");
        assert_eq!(qos(&pod(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}))), "Burstable");
    }

    #[test]
    fn jobs_get_their_selector() {
        let mut j = json!({"metadata": {"name": "once"}, "spec": {"template": {"spec": {}}}});
        job(&mut j, "u1");
        assert_eq!(j["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], "u1");
        assert_eq!(j["metadata"]["labels"]["job-name"], "once");
    }
}
