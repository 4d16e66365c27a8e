//! Claims of stateful sets' pods: made from templates, kept or left to whoever goes with them.

use serde_json::{Value, json};

use super::{Round, SELF};
use crate::sim::controllers::events::{self, Report};
use crate::sim::controllers::kinds::CLAIMS;
use crate::sim::controllers::object;
use crate::sim::registry::{self, Part};
use crate::sim::resource::Key;
use crate::sim::world::World;

fn templates(set: &Value) -> impl Iterator<Item = &Value> {
    set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten()
}

fn key(round: &Round, template: &Value, pod: &str) -> Key {
    Key::new(&CLAIMS, &round.key.namespace, &format!("{}-{pod}", object::name(template)))
}

/// Gives a pod the volumes that its claims are for.
pub(super) fn mount(set: &Value, pod: &mut Value, name: &str) {
    for template in templates(set) {
        let mut volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        volumes.retain(|v| v["name"] != template["metadata"]["name"]);
        let claim = format!("{}-{name}", object::name(template));
        volumes.push(json!({"name": template["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim}}));
        pod["spec"]["volumes"] = volumes.into();
    }
}

/// Makes the claims of a pod that are missing.
pub(super) fn make(world: &mut World, round: &Round, pod: &str) {
    for template in templates(&round.set) {
        let at = key(round, template, pod);
        if world.store.get(&at).is_some() {
            continue;
        }
        let mut metadata = json!({"name": &*at.name, "labels": template["metadata"]["labels"]});
        if template["metadata"]["annotations"].is_object() {
            metadata["annotations"] = template["metadata"]["annotations"].clone();
        }
        for (label, value) in round.set["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten() {
            metadata["labels"][label.as_str()] = value.clone();
        }
        let object = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]});
        let made = registry::create(world, &CLAIMS, &round.key.namespace, object);
        let (set, claim) = (&round.key.name, &at.name);
        let report = match made {
            Ok(_) => Report::normal("SuccessfulCreate", format!("create Claim {claim} Pod {pod} in StatefulSet {set} success")),
            Err(e) => Report::warning(
                "FailedCreate",
                format!("create Claim {claim} for Pod {pod} in StatefulSet {set} failed error: {}", e.message),
            ),
        };
        events::emit(world, &round.key, &round.set, SELF, report);
    }
}

/// Whether a claim of a pod is on its way out with an earlier pod of that name: then the next one waits.
pub(super) fn stale(world: &World, round: &Round, pod: &str) -> bool {
    let went = |claim: &Value| {
        let owners = claim["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        object::deleting(claim) && owners.into_iter().any(|o| o["kind"] == "Pod" && o["name"] == pod)
    };
    templates(&round.set).any(|t| world.store.get(&key(round, t, pod)).is_some_and(|c| went(c)))
}

/// Writes into the claims of all pods with whom they go: with the set, with a pod that is too many, or with nobody.
pub(super) fn retain(world: &mut World, round: &Round) {
    let policy = &round.set["spec"]["persistentVolumeClaimRetentionPolicy"];
    let goes = |when: &str| policy[when] == "Delete";
    for (i, (at, pod)) in &round.pods {
        let surplus = !round.ordinals().contains(i);
        let owner = if surplus && goes("whenScaled") {
            Some(reference("v1", "Pod", pod))
        } else if goes("whenDeleted") {
            Some(reference("apps/v1", "StatefulSet", &round.set))
        } else {
            None
        };
        for template in templates(&round.set) {
            own(world, &key(round, template, &at.name), owner.as_ref());
        }
    }
}

fn reference(version: &str, kind: &str, owner: &Value) -> Value {
    json!({"apiVersion": version, "kind": kind, "name": object::name(owner), "uid": object::uid(owner), "controller": true, "blockOwnerDeletion": true})
}

/// Makes a claim belong to `owner` alone, of the pods and sets that it could belong to.
fn own(world: &mut World, claim: &Key, owner: Option<&Value>) {
    let Some(found) = world.store.get(claim) else { return };
    let before = found["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    let mut after = before.clone();
    after.retain(|o| !matches!(o["kind"].as_str(), Some("Pod" | "StatefulSet")) || owner.is_some_and(|w| w["uid"] == o["uid"]));
    if let Some(owner) = owner.filter(|w| after.iter().all(|o| o["uid"] != w["uid"])) {
        after.push(owner.clone());
    }
    if before == after {
        return;
    }
    let mut new = (**found).clone();
    if let Some(m) = new["metadata"].as_object_mut().filter(|_| after.is_empty()) {
        m.remove("ownerReferences");
    } else {
        new["metadata"]["ownerReferences"] = after.into();
    }
    // Gone already is as good.
    let _written = registry::update(world, claim, new, Part::Main);
}
