//! Resource quotas: whether a pod still fits, and what is used of them.
//!
//! Counted are pods and their CPU and memory requests and limits; scopes are not modelled.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::forbidden;
use crate::sim::kubelet::quantity;
use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::world::World;

/// Refuses a pod that exceeds a quota of its namespace; fills in the status of a new quota.
pub(super) fn admit(world: &World, key: &Key, object: &mut Value) -> Result<(), Status> {
    match (&*key.resource.group, &*key.resource.plural) {
        ("", "pods") => pod(world, key, object),
        ("", "resourcequotas") => {
            object["status"] = status(world, &key.namespace, &object["spec"]["hard"]);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn pod(world: &World, key: &Key, pod: &Value) -> Result<(), Status> {
    let quotas = Resource::new("", "resourcequotas");
    for (at, quota) in world.store.list(&quotas, Some(&key.namespace)) {
        let hard = quota["spec"]["hard"].as_object();
        let (mut requested, mut used, mut limited) = (Vec::new(), Vec::new(), Vec::new());
        for (name, limit) in hard.into_iter().flatten() {
            let Some(own) = amount(pod, name) else { continue };
            let sum = total(world, &key.namespace, name);
            if quantity::parse(limit).is_some_and(|l| sum + own > l + 1e-9) {
                requested.push(format!("{name}={}", spelt(name, own)));
                used.push(format!("{name}={}", spelt(name, sum)));
                limited.push(format!("{name}={}", limit.as_str().map_or_else(|| limit.to_string(), str::to_owned)));
            }
        }
        if !requested.is_empty() {
            let why = format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                at.name,
                requested.join(","),
                used.join(","),
                limited.join(",")
            );
            return Err(forbidden(&key.resource, &key.name, &why));
        }
    }
    Ok(())
}

/// What is used of a quota now.
fn status(world: &World, namespace: &str, hard: &Value) -> Value {
    let used: BTreeMap<&String, String> =
        hard.as_object().into_iter().flatten().map(|(name, _)| (name, spelt(name, total(world, namespace, name)))).collect();
    json!({ "hard": hard, "used": used })
}

fn total(world: &World, namespace: &str, name: &str) -> f64 {
    let pods = Resource::new("", "pods");
    let over = |p: &Value| matches!(p["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    world.store.list(&pods, Some(namespace)).filter(|(_, p)| !over(p)).filter_map(|(_, p)| amount(p, name)).fold(0.0, |sum, a| sum + a)
}

/// What a pod takes of a resource; `None` for those that are not counted here.
fn amount(pod: &Value, name: &str) -> Option<f64> {
    let (part, what) = match name {
        "pods" | "count/pods" => return Some(1.0),
        "cpu" | "requests.cpu" => ("requests", "cpu"),
        "memory" | "requests.memory" => ("requests", "memory"),
        "limits.cpu" => ("limits", "cpu"),
        "limits.memory" => ("limits", "memory"),
        _ => return None,
    };
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    Some(containers.filter_map(|c| quantity::parse(&c["resources"][part][what])).sum())
}

fn spelt(name: &str, value: f64) -> String {
    if name.ends_with("cpu") {
        format!("{}m", (value * 1000.0).round())
    } else if name.ends_with("memory") {
        format!("{}Mi", (value / f64::from(1 << 20)).round())
    } else {
        format!("{}", value.round())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::config::SimConfig;
    use crate::sim::registry::create;

    fn pod(name: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"containers": [
            {"name": "c", "image": "busybox", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]}})
    }

    #[test]
    fn a_pod_beyond_the_quota_is_refused() {
        let mut w = World::new(std::sync::Arc::new(SimConfig::default()));
        create(&mut w, &Resource::new("", "namespaces"), "", json!({"metadata": {"name": "n"}})).unwrap();
        let pods = Resource::new("", "pods");
        create(&mut w, &pods, "n", pod("a")).unwrap();
        let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": "2", "requests.cpu": "150m", "services": "5"}}});
        let quota = create(&mut w, &Resource::new("", "resourcequotas"), "n", quota).unwrap();
        assert_eq!(quota["status"]["used"]["requests.cpu"], "100m");
        let refused = create(&mut w, &pods, "n", pod("b")).unwrap_err();
        assert_eq!(refused.code, 403);
        assert_eq!(
            refused.message,
            "pods \"b\" is forbidden: exceeded quota: few, requested: requests.cpu=100m, used: requests.cpu=100m, limited: requests.cpu=150m"
        );
        create(&mut w, &Resource::new("", "namespaces"), "", json!({"metadata": {"name": "m"}})).unwrap();
        create(&mut w, &pods, "m", pod("b")).unwrap();
    }
}
