//! Disruption budgets: how many pods of theirs may go, for their status and for evictions.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::kinds::PODS;
use super::object;
use crate::sim::registry::{self, Part};
use crate::sim::resource::{Key, Resource};
use crate::sim::world::World;

/// Disruption budgets.
pub static BUDGETS: LazyLock<Resource> = LazyLock::new(|| Resource::new("policy", "poddisruptionbudgets"));

/// What a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Pods that the owners of the selected pods want.
    pub expected: usize,
    /// Selected pods that are ready and not about to go.
    pub healthy: usize,
    /// So many have to stay.
    pub needed: usize,
}

/// Counts the pods of a budget as they are now.
pub fn count(world: &World, key: &Key, budget: &Value) -> Count {
    let selector = &budget["spec"]["selector"];
    let pods: Vec<&Value> = world
        .store
        .list(&PODS, Some(&key.namespace))
        .map(|(_, p)| &**p)
        .filter(|p| selector.is_object() && object::selects(selector, &p["metadata"]["labels"]) && !object::ended(p))
        .collect();
    let healthy = pods.iter().filter(|p| object::ready(p) && !object::deleting(p)).count();
    let (least, most) = (&budget["spec"]["minAvailable"], &budget["spec"]["maxUnavailable"]);
    // A plain number of pods that must stay needs nobody to say how many there should be.
    let expected = if least.is_number() { pods.len() } else { expected(world, key, &pods) };
    let needed = match (least, most) {
        (Value::Null, Value::Null) => 0,
        (Value::Null, most) => expected.saturating_sub(share(most, expected)),
        (least, _) => share(least, expected),
    };
    Count { expected, healthy, needed }
}

/// Whether a pod may be evicted though it is not ready, whatever else the budget says.
pub fn spares_unready(budget: &Value, count: Count) -> bool {
    budget["spec"]["unhealthyPodEvictionPolicy"] != "AlwaysAllow" && !(count.healthy >= count.needed && count.needed > 0)
}

/// How many pods the owners of `pods` want.
fn expected(world: &World, key: &Key, pods: &[&Value]) -> usize {
    let mut owners = BTreeMap::new();
    let mut single = 0;
    for p in pods {
        match p["metadata"]["ownerReferences"].as_array().into_iter().flatten().find(|r| r["controller"] == true) {
            Some(r) => {
                let get = |at: &Value| object::controller_key(at, &key.namespace).and_then(|k| world.store.get(&k));
                // Of a set of a deployment's, the deployment says how many there should be.
                let owner = get(p).map(|o| get(o).unwrap_or(o));
                let replicas = owner.and_then(|o| o["spec"]["replicas"].as_u64());
                let uid = owner.map_or_else(|| r["uid"].as_str().unwrap_or_default(), |o| object::uid(o));
                owners.insert(uid, replicas.and_then(|n| usize::try_from(n).ok()).unwrap_or(1));
            }
            None => single += 1,
        }
    }
    owners.values().sum::<usize>() + single
}

/// A number of pods, or a percentage of them, rounded up.
fn share(value: &Value, of: usize) -> usize {
    let percent = value.as_str().and_then(|t| t.strip_suffix('%')).and_then(|t| t.parse::<usize>().ok());
    percent.map_or_else(|| value.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0), |p| (of * p).div_ceil(100))
}

/// Writes the status of a budget when it is not what it should be.
pub fn reconcile(world: &mut World, key: &Key) {
    let Some(budget) = world.store.get(key).cloned() else { return };
    let Count { expected, healthy, needed } = count(world, key, &budget);
    let allowed = if expected == 0 { 0 } else { healthy.saturating_sub(needed) };
    let (status, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let old = object::condition(&budget["status"], "DisruptionAllowed");
    let since = old.filter(|c| c["status"] == status).map_or_else(|| world.now.rfc3339().into(), |c| c["lastTransitionTime"].clone());
    let generation = &budget["metadata"]["generation"];
    let wanted = json!({"currentHealthy": healthy, "desiredHealthy": needed, "disruptionsAllowed": allowed, "expectedPods": expected,
        "observedGeneration": generation, "conditions": [{"type": "DisruptionAllowed", "status": status, "reason": reason, "message": "",
        "lastTransitionTime": since, "observedGeneration": generation}]});
    if budget["status"] != wanted {
        let mut new = (*budget).clone();
        new["status"] = wanted;
        // Nobody else writes in between: the world is ours.
        let _written = registry::update(world, key, new, Part::Status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_that_are_not_ready_go_as_the_policy_says() {
        let count = |healthy, needed| Count { expected: 3, healthy, needed };
        let budget = |policy: &str| json!({"spec": {"unhealthyPodEvictionPolicy": policy}});
        assert!(!spares_unready(&budget("AlwaysAllow"), count(0, 2)));
        assert!(spares_unready(&budget("IfHealthyBudget"), count(1, 2)) && !spares_unready(&json!({}), count(2, 2)));
        assert!(spares_unready(&json!({}), count(0, 0)));
    }

    #[test]
    fn shares_round_up() {
        assert_eq!((share(&json!("50%"), 3), share(&json!(2), 9), share(&json!("x"), 3)), (2, 2, 0));
    }
}
