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
    if let Some(class) = class {
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
