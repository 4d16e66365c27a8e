//! Classes that pods name: their priority comes from one, and their runtime must be there.

use serde_json::Value;

use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::world::World;

/// Gives a new pod its priority, and refuses one whose classes do not exist.
pub(super) fn apply(world: &World, pod: &mut Value) -> Result<(), Status> {
    let pods = Resource::new("", "pods");
    // Admission comes before names are generated.
    let generated = pod["metadata"]["generateName"].as_str().filter(|g| !g.is_empty());
    let name = generated.or_else(|| pod["metadata"]["name"].as_str()).unwrap_or_default().to_owned();
    let classes = Resource::new("scheduling.k8s.io", "priorityclasses");
    let class = match pod["spec"]["priorityClassName"].as_str().filter(|c| !c.is_empty()) {
        Some(wanted) => match world.store.get(&Key::new(&classes, "", wanted)) {
            Some(class) => Some(class),
            None => return Err(super::forbidden(&pods, &name, &format!("no PriorityClass with name {wanted} was found"))),
        },
        None => world.store.list(&classes, None).map(|(_, class)| class).find(|class| class["globalDefault"] == true),
    };
    let value = class.map_or(0, |class| class["value"].as_i64().unwrap_or(0));
    // Zero is what those have that say nothing.
    let from = "priority admission controller computed";
    if let Some(given) = pod["spec"]["priority"].as_i64().filter(|p| *p != 0 && *p != value) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; {from} {value} from the given PriorityClass name"
        );
        return Err(super::forbidden(&pods, &name, &why));
    }
    if let Some(class) = class {
        let policy = class["preemptionPolicy"].as_str().unwrap_or("PreemptLowerPriority");
        if let Some(given) = pod["spec"]["preemptionPolicy"].as_str().filter(|p| *p != policy && *p != "PreemptLowerPriority") {
            let why = format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; {from} {policy} from the given PriorityClass name"
            );
            return Err(super::forbidden(&pods, &name, &why));
        }
        let spec = &mut pod["spec"];
        spec["priorityClassName"] = class["metadata"]["name"].clone();
        spec["priority"] = class["value"].clone();
        spec["preemptionPolicy"] = class["preemptionPolicy"].as_str().unwrap_or("PreemptLowerPriority").into();
    }
    let runtimes = Resource::new("node.k8s.io", "runtimeclasses");
    match pod["spec"]["runtimeClassName"].as_str().filter(|c| !c.is_empty()) {
        Some(wanted) if world.store.get(&Key::new(&runtimes, "", wanted)).is_none() => {
            Err(super::forbidden(&pods, &name, &format!("pod rejected: RuntimeClass \"{wanted}\" not found")))
        }
        _ => Ok(()),
    }
}
