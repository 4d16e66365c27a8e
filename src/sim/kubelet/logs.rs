//! Container logs.

use super::container::Life;
use crate::sim::controllers::kinds::PODS;
use crate::sim::resource::Key;
use crate::sim::status::Status;
use crate::sim::time::SimTime;
use crate::sim::world::World;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written.
    pub at: SimTime,
    /// The text, without newline.
    pub text: String,
    /// Whether it ends with one.
    pub whole: bool,
}

impl LogLine {
    /// What stands at its end.
    pub fn end(&self) -> &'static str {
        if self.whole { "\n" } else { "" }
    }
}

/// The log of a container of a pod, of its current run or of the run before.
pub fn logs(world: &World, key: &Key, container: &str, previous: bool) -> Result<Vec<LogLine>, Status> {
    if world.store.get(key).is_none() {
        return Err(Status::not_found(&PODS, &key.name));
    }
    let waiting = |reason: &str| {
        let text = format!("container \"{container}\" in pod \"{}\" is waiting to start: {reason}", key.name);
        Err(Status::bad_request(text))
    };
    let Some(pod) = world.runtime.pods.get(key) else {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", key.name)));
    };
    let Some(c) = pod.index(container).and_then(|i| pod.containers.get(i)) else {
        return Err(Status::bad_request(format!("container {container} is not valid for pod {}", key.name)));
    };
    if previous {
        if c.restarts == 0 {
            let text = format!("previous terminated container \"{container}\" in pod \"{}\" not found", key.name);
            return Err(Status::bad_request(text));
        }
        return Ok(c.previous_log.iter().cloned().collect());
    }
    match &c.life {
        // A container in back-off shows the log of the run that failed.
        Life::Waiting { .. } if c.last.is_some() => Ok(c.previous_log.iter().cloned().collect()),
        Life::Waiting { reason: "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName", .. } => {
            waiting("trying and failing to pull image")
        }
        Life::Waiting { reason, .. } => waiting(reason),
        Life::Running(_) | Life::Ended(_) => Ok(c.log.iter().cloned().collect()),
    }
}
