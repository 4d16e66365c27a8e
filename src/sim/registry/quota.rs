//! Resource quotas: what a namespace uses, and whether another object still fits.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::sim::catalog::Kind;
use crate::sim::resource::Resource;
use crate::sim::schema::quantity::Quantity;
use crate::sim::status::Status;
use crate::sim::world::World;

/// What stands between a storage class and what a quota limits of it.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";

type Amounts = BTreeMap<String, Quantity>;

fn quotas() -> Resource {
    Resource::new("", "resourcequotas")
}

fn one() -> Quantity {
    Quantity::from_milli(1000)
}

fn add(amounts: &mut Amounts, name: impl Into<String>, amount: Quantity) {
    let slot = amounts.entry(name.into()).or_insert_with(|| Quantity::from_milli(0));
    *slot = slot.plus(amount);
}

/// What one object uses, by the names that quotas have for it.
fn used_by(resource: &Resource, object: &Value) -> Amounts {
    let mut out = Amounts::new();
    let full = if resource.group.is_empty() {
        format!("count/{}", resource.plural)
    } else {
        format!("count/{}.{}", resource.plural, resource.group)
    };
    match (&*resource.group, &*resource.plural) {
        ("", "pods") => {
            add(&mut out, full, one());
            if matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
                return out;
            }
            add(&mut out, "pods", one());
            for (name, amount) in compute(object) {
                add(&mut out, name, amount);
            }
            return out;
        }
        ("", "services") => {
            let form = object["spec"]["type"].as_str().unwrap_or("ClusterIP");
            let ports = object["spec"]["ports"].as_array().map_or(0, Vec::len);
            let ports = Quantity::from_milli(i64::try_from(ports).unwrap_or(0) * 1000);
            add(&mut out, "services", one());
            if form == "NodePort" || (form == "LoadBalancer" && object["spec"]["allocateLoadBalancerNodePorts"] != false) {
                add(&mut out, "services.nodeports", ports);
            }
            if form == "LoadBalancer" {
                add(&mut out, "services.loadbalancers", one());
            }
        }
        ("", "persistentvolumeclaims") => {
            let class = object["spec"]["storageClassName"].as_str().filter(|c| !c.is_empty());
            add(&mut out, "persistentvolumeclaims", one());
            if let Some(class) = &class {
                add(&mut out, format!("{class}{OF_CLASS}persistentvolumeclaims"), one());
            }
            if let Some(size) = Quantity::from_json(&object["spec"]["resources"]["requests"]["storage"]) {
                add(&mut out, "requests.storage", size);
                if let Some(class) = &class {
                    add(&mut out, format!("{class}{OF_CLASS}requests.storage"), size);
                }
            }
        }
        ("", "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas") => add(&mut out, &*resource.plural, one()),
        _ => {}
    }
    add(&mut out, full, one());
    out
}

/// Requests and limits of a pod: the sum over its containers, or the largest init container.
fn compute(pod: &Value) -> Amounts {
    let mut out = Amounts::new();
    for (side, prefix) in [("requests", "requests."), ("limits", "limits.")] {
        let named = ["containers", "initContainers"].into_iter().flat_map(|list| pod["spec"][list].as_array().into_iter().flatten());
        let names: BTreeSet<&str> =
            named.flat_map(|c| c["resources"][side].as_object().into_iter().flatten()).map(|(n, _)| n.as_str()).collect();
        for what in names {
            // Of extended resources, requests and limits are the same, and only requests are counted.
            if what.contains('/') && side == "limits" {
                continue;
            }
            let of = |list: &str| -> Vec<Quantity> {
                let items = pod["spec"][list].as_array().into_iter().flatten();
                items.filter_map(|c| Quantity::from_json(&c["resources"][side][what])).collect()
            };
            let sum = of("containers").into_iter().reduce(Quantity::plus);
            let Some(amount) = sum.into_iter().chain(of("initContainers")).max() else { continue };
            add(&mut out, format!("{prefix}{what}"), amount);
            if side == "requests" && !what.contains('/') {
                add(&mut out, what, amount);
            }
        }
    }
    out
}

/// Whether a quota with these scopes counts the object.
fn in_scope(quota: &Value, resource: &Resource, object: &Value) -> bool {
    let listed = quota["spec"]["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let selected = || quota["spec"]["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    let scopes: Vec<&str> = listed.chain(selected().filter_map(|e| e["scopeName"].as_str())).collect();
    let class = object["spec"]["priorityClassName"].as_str().unwrap_or_default();
    let of_class = || {
        selected().filter(|e| e["scopeName"] == "PriorityClass").all(|e| {
            let named = e["values"].as_array().is_some_and(|v| v.iter().any(|v| v == class));
            match e["operator"].as_str().unwrap_or_default() {
                "In" => named,
                "NotIn" => !named,
                "DoesNotExist" => class.is_empty(),
                _ => !class.is_empty(),
            }
        })
    };
    let pods = *resource == Resource::new("", "pods");
    scopes.iter().all(|scope| {
        let best = || super::qos(object) == "BestEffort";
        let bounded = || object["spec"]["activeDeadlineSeconds"].as_u64().is_some();
        pods && match *scope {
            "BestEffort" => best(),
            "NotBestEffort" => !best(),
            "Terminating" => bounded(),
            "NotTerminating" => !bounded(),
            "PriorityClass" => of_class(),
            _ => true,
        }
    })
}

fn hard(quota: &Value) -> Amounts {
    let list = quota["spec"]["hard"].as_object().into_iter().flatten();
    list.filter_map(|(name, v)| Some((name.clone(), Quantity::from_json(v)?))).collect()
}

/// What the objects of the quota's namespace use of everything that it limits.
fn usage(world: &World, namespace: &str, quota: &Value, hard: &Amounts) -> Amounts {
    let mut out: Amounts = hard.keys().map(|name| (name.clone(), Quantity::from_milli(0))).collect();
    for (key, object) in world.store.in_namespace(namespace) {
        if &*key.resource.plural == "events" || !in_scope(quota, &key.resource, object) {
            continue;
        }
        for (name, amount) in used_by(&key.resource, object) {
            if let Some(slot) = out.get_mut(&name) {
                *slot = slot.plus(amount);
            }
        }
    }
    out
}

fn listed(amounts: &Amounts) -> Value {
    amounts.iter().map(|(name, v)| (name.clone(), Value::from(v.to_string()))).collect::<serde_json::Map<_, _>>().into()
}

/// The status of a quota as it should be.
pub fn status(world: &World, namespace: &str, quota: &Value) -> Value {
    let hard = hard(quota);
    let used = usage(world, namespace, quota, &hard);
    json!({"hard": listed(&hard), "used": listed(&used)})
}

/// Refuses a new object (or, with `old`, a changed one) that a quota of its namespace has no room for.
pub(super) fn check(world: &World, kind: &Kind, namespace: &str, object: &Value, old: Option<&Value>) -> Result<(), Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    for (key, quota) in world.store.list(&quotas(), Some(namespace)) {
        if !in_scope(quota, &kind.resource, object) {
            continue;
        }
        let hard = hard(quota);
        let wanted: Amounts = used_by(&kind.resource, object).into_iter().filter(|(name, _)| hard.contains_key(name)).collect();
        if old.is_none() && &*kind.resource.plural == "pods" {
            unspecified(kind, name, &key.name, object, &hard)?;
        }
        let before = old.map(|o| used_by(&kind.resource, o)).unwrap_or_default();
        let more: Amounts = wanted
            .into_iter()
            .map(|(name, amount)| {
                let had = before.get(&name).copied().unwrap_or_else(|| Quantity::from_milli(0));
                (name, amount.minus(had))
            })
            .filter(|(_, more)| !more.is_negative() && *more != Quantity::from_milli(0))
            .collect();
        if more.is_empty() {
            continue;
        }
        let used = usage(world, namespace, quota, &hard);
        let over: Vec<&String> =
            more.iter().filter(|(n, m)| used.get(*n).zip(hard.get(*n)).is_some_and(|(u, h)| u.plus(**m) > *h)).map(|(n, _)| n).collect();
        if !over.is_empty() {
            let show = |amounts: &Amounts| -> String {
                let parts: Vec<String> = over.iter().filter_map(|n| Some(format!("{n}={}", amounts.get(*n)?))).collect();
                parts.join(",")
            };
            let why = format!("exceeded quota: {}, requested: {}, used: {}, limited: {}", key.name, show(&more), show(&used), show(&hard));
            return Err(super::forbidden(&kind.resource, name, &why));
        }
    }
    Ok(())
}

/// A quota on requests or limits wants every container to name them.
fn unspecified(kind: &Kind, name: &str, quota: &str, pod: &Value, hard: &Amounts) -> Result<(), Status> {
    let mut missing = Vec::new();
    for limited in hard.keys() {
        let (side, what) = match limited.as_str() {
            "cpu" | "memory" => ("requests", limited.as_str()),
            other => match other.split_once('.') {
                Some((side @ ("requests" | "limits"), what @ ("cpu" | "memory"))) => (side, what),
                _ => continue,
            },
        };
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let without: Vec<&str> = containers.filter(|c| c["resources"][side][what].is_null()).filter_map(|c| c["name"].as_str()).collect();
        if !without.is_empty() {
            missing.push(format!("{limited} for: {}", without.join(",")));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!("failed quota: {quota}: must specify {}", missing.join("; "));
    Err(super::forbidden(&kind.resource, name, &why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_use_the_larger_of_containers_and_init_containers() {
        let pod = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "100m"}}}, {"resources": {"requests": {"cpu": "200m"}}}],
            "initContainers": [{"resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}}]}});
        let used = used_by(&Resource::new("", "pods"), &pod);
        assert_eq!(used["requests.cpu"].to_string(), "1");
        assert_eq!(used["limits.memory"].to_string(), "1Gi");
        assert_eq!(used["pods"].to_string(), "1");
        let done = json!({"status": {"phase": "Succeeded"}, "spec": pod["spec"]});
        assert_eq!(used_by(&Resource::new("", "pods"), &done).keys().collect::<Vec<_>>(), ["count/pods"]);
    }

    #[test]
    fn scopes_choose_pods() {
        let quota = json!({"spec": {"scopes": ["BestEffort"]}});
        let pods = Resource::new("", "pods");
        assert!(in_scope(&quota, &pods, &json!({"spec": {"containers": [{}]}})));
        assert!(!in_scope(&quota, &pods, &json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "1"}}}]}})));
        assert!(!in_scope(&quota, &Resource::new("", "services"), &json!({})));
        let class = |operator: &str| json!({"spec": {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": ["high"]}]}}});
        let (high, low, none) =
            (json!({"spec": {"priorityClassName": "high"}}), json!({"spec": {"priorityClassName": "low"}}), json!({"spec": {}}));
        for (operator, counted) in [
            ("In", [true, false, false]),
            ("NotIn", [false, true, true]),
            ("Exists", [true, true, false]),
            ("DoesNotExist", [false, false, true]),
        ] {
            assert_eq!([&high, &low, &none].map(|pod| in_scope(&class(operator), &pods, pod)), counted, "{operator}");
        }
    }

    #[test]
    fn extended_resources_and_storage_classes_count() {
        let pod = json!({"spec": {"containers": [{"resources": {"requests": {"example.com/dongle": "2", "hugepages-2Mi": "4Mi"}, "limits": {"example.com/dongle": "2"}}}]}});
        let used = used_by(&Resource::new("", "pods"), &pod);
        let names: Vec<&str> = used.keys().map(String::as_str).collect();
        assert_eq!(names, ["count/pods", "hugepages-2Mi", "pods", "requests.example.com/dongle", "requests.hugepages-2Mi"]);
        let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}});
        let used = used_by(&Resource::new("", "persistentvolumeclaims"), &claim);
        assert_eq!(used["gold.storageclass.storage.k8s.io/requests.storage"].to_string(), "1Gi");
        assert_eq!(used["gold.storageclass.storage.k8s.io/persistentvolumeclaims"].to_string(), "1");
    }
}
