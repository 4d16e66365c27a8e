//! Mounting a pod's volumes, which comes before its sandbox: what is in the way is told, and waited for.

use std::time::Duration;

use super::lifecycle::tell;
use super::node_files;
use super::runtime::{PodRun, Unmounted};
use super::volumes::{self, View};
use crate::sim::controllers::events::Report;
use crate::sim::resource::Key;
use crate::sim::world::World;

/// Back-off between attempts to mount a volume: first and longest; and how long the kubelet waits for all before it says that it has.
const MOUNT: (Duration, Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(122), Duration::from_secs(123));

/// Whether the volumes can be mounted. If not, that is told, and tried again later and later.
pub(super) fn all(world: &mut World, key: &Key, pod: &mut PodRun) -> bool {
    let Some(object) = world.store.get(key).cloned() else { return true };
    let on_node = pod.model.volumes.values().any(|v| v["hostPath"].is_object());
    let host = on_node.then(|| node_files::of(world, &pod.model.node));
    let view = View { store: &world.store, tokens: None, key, pod: &object, address: None, now: world.now };
    let Some((volume, why)) = volumes::obstacle(view, &pod.model, host.as_ref()) else {
        pod.unmounted = None;
        return true;
    };
    let now = world.now;
    let mut unmounted = pod.unmounted.unwrap_or(Unmounted { back_off: MOUNT.0, patience: now.after(MOUNT.2) });
    let node = pod.model.node.clone();
    tell(world, key, &node, Report::warning("FailedMount", format!("MountVolume.SetUp failed for volume \"{volume}\" : {why}")));
    if now >= unmounted.patience {
        unmounted.patience = now.after(MOUNT.2);
        let text = format!(
            "Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[], failed to process volumes=[]: \
             context deadline exceeded"
        );
        tell(world, key, &node, Report::warning("FailedMount", text));
    }
    pod.sandbox_at = now.after(unmounted.back_off);
    unmounted.back_off = (unmounted.back_off * 2).min(MOUNT.1);
    pod.unmounted = Some(unmounted);
    false
}
