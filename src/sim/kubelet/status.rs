//! A pod's status as the kubelet reports it.

use serde_json::{Value, json};

use super::container::{Container, End, Life};
use super::image;
use super::model::{ContainerModel, Mount};
use super::runtime::{PodRun, node_address};
use crate::sim::controllers::object;
use crate::sim::registry::{self, Part};
use crate::sim::resource::Key;
use crate::sim::time::SimTime;
use crate::sim::world::World;

/// The conditions that a kubelet writes.
const CONDITIONS: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// Writes the status of a pod, if it changed.
pub(super) fn write(world: &mut World, key: &Key, pod: &mut PodRun) {
    let Some(stored) = world.store.get(key).cloned() else { return };
    let status = build(world.now, pod, &stored);
    if stored["status"] != status {
        let mut new = (*stored).clone();
        new["status"] = status;
        // The pod may have been replaced by one of the same name: then the status is nobody's.
        let _written = registry::update(world, key, new, Part::Status);
    }
    pod.dirty = false;
}

/// Writes how a pod has ended that is gone from its node, where somebody holds the object to learn it.
pub(super) fn write_last(world: &mut World, key: &Key, pod: &mut PodRun) {
    let held = |p: &Value| p["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    if world.store.get(key).is_some_and(|p| held(p) && !object::ended(p)) {
        write(world, key, pod);
    }
}

/// What is said of the readiness gates of a pod that are not open.
fn closed(pod: &Value) -> Vec<String> {
    let gates = pod["spec"]["readinessGates"].as_array().into_iter().flatten().filter_map(|g| g["conditionType"].as_str());
    let said = |kind: &str| match object::condition(&pod["status"], kind).map(|c| c["status"].as_str().unwrap_or_default()) {
        Some("True") => None,
        Some(other) => Some(format!("the status of pod readiness gate \"{kind}\" is not \"True\", but {other}")),
        None => Some(format!("corresponding condition of pod readiness gate \"{kind}\" does not exist.")),
    };
    gates.filter_map(said).collect()
}

/// The phase of a pod.
pub(super) fn phase(pod: &PodRun) -> &'static str {
    let stopped = pod.terminating.is_some() && pod.containers.iter().all(|c| c.run().is_none());
    if pod.failed.is_some() && pod.ended() {
        return "Failed";
    }
    if pod.ended() || stopped {
        // How sidecars end does not matter.
        let failed = |(m, c): (&std::sync::Arc<ContainerModel>, &Container)| match &c.life {
            Life::Ended(e) => e.code != 0 && !m.sidecar,
            // It was never begun, and now it is too late.
            Life::Waiting { .. } => stopped && !m.sidecar,
            Life::Running(_) => false,
        };
        let failed = pod.model.containers.iter().zip(&pod.containers).take(pod.model.lasting).any(failed);
        return if failed { "Failed" } else { "Succeeded" };
    }
    let inits_done = inits_done(pod);
    let mut main = pod.containers.iter().take(pod.model.lasting).skip(pod.model.init);
    let has_run = |c: &Container| c.run().is_some_and(|r| r.starting.is_none()) || c.last.is_some() || matches!(c.life, Life::Ended(_));
    let begun = main.clone().any(has_run);
    let all = main.all(has_run);
    if inits_done && begun && all { "Running" } else { "Pending" }
}

/// Whether all init containers have done their part.
pub(super) fn inits_done(pod: &PodRun) -> bool {
    pod.model.containers.iter().zip(&pod.containers).take(pod.model.init).all(|(m, c)| init_done(m, c))
}

/// Whether an init container has done its part: it has succeeded, or it is a sidecar that has started.
pub(super) fn init_done(model: &ContainerModel, c: &Container) -> bool {
    match &c.life {
        Life::Ended(e) => e.code == 0 && !model.sidecar,
        Life::Running(_) => model.sidecar && c.started,
        Life::Waiting { .. } => false,
    }
}

fn build(now: SimTime, pod: &mut PodRun, stored: &Value) -> Value {
    let phase = phase(pod);
    let initialized = inits_done(pod) || matches!(phase, "Succeeded" | "Running");
    let unready: Vec<&str> = pod
        .model
        .containers
        .iter()
        .zip(&pod.containers)
        .enumerate()
        .take(pod.model.lasting)
        .filter(|(i, (m, c))| (*i >= pod.model.init || m.sidecar) && !c.ready)
        .map(|(_, (m, _))| m.name.as_str())
        .collect();
    let completed = phase == "Succeeded";
    let up = initialized && unready.is_empty() && phase == "Running";
    let gates = closed(stored);
    let ready = up && gates.is_empty();
    let failed = phase == "Failed";
    let why_up = if up {
        Value::Null
    } else if completed {
        json!({"reason": "PodCompleted"})
    } else if failed {
        json!({"reason": "PodFailed"})
    } else {
        json!({"reason": "ContainersNotReady", "message": format!("containers with unready status: [{}]", unready.join(" "))})
    };
    let why = if up && !ready { json!({"reason": "ReadinessGatesNotReady", "message": gates.join(", ")}) } else { why_up.clone() };
    let uninitialized: Vec<&str> = pod
        .model
        .containers
        .iter()
        .zip(&pod.containers)
        .take(pod.model.init)
        .filter(|(m, c)| !init_done(m, c))
        .map(|(m, _)| m.name.as_str())
        .collect();
    let why_init = if initialized {
        Value::Null
    } else {
        json!({"reason": "ContainersNotInitialized", "message": format!("containers with incomplete status: [{}]", uninitialized.join(" "))})
    };
    let sandbox = pod.address.is_some() && !matches!(phase, "Succeeded" | "Failed");
    let generation = stored["metadata"]["generation"].as_i64();
    let bound = pod.bound;
    // What others say of the pod stays.
    let mut conditions: Vec<Value> = stored["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|c| !CONDITIONS.iter().any(|own| c["type"] == *own));
    for (kind, value, why) in [
        ("PodReadyToStartContainers", sandbox, &Value::Null),
        ("Initialized", initialized, &why_init),
        ("Ready", ready, &why),
        ("ContainersReady", up, &why_up),
        ("PodScheduled", true, &Value::Null),
    ] {
        let start = if kind == "PodScheduled" { bound } else { now };
        let slot = pod.conditions.entry(kind).or_insert((value, start));
        if slot.0 != value {
            *slot = (value, now);
        }
        let mut c = json!({
            "type": kind, "status": if value { "True" } else { "False" }, "lastProbeTime": null, "lastTransitionTime": slot.1.rfc3339(),
        });
        if let Some(g) = generation {
            c["observedGeneration"] = g.into();
        }
        if let Some(w) = why.as_object() {
            for (k, v) in w {
                c[k.as_str()] = v.clone();
            }
        }
        conditions.push(c);
    }
    let statuses = |from: usize, to: usize| -> Vec<Value> {
        let mut all: Vec<Value> = pod
            .model
            .containers
            .iter()
            .zip(&pod.containers)
            .skip(from)
            .take(to - from)
            .enumerate()
            .map(|(i, (m, c))| container(m, c, from + i < pod.model.init, pod.model.init > 0))
            .collect();
        if from >= pod.model.init {
            all.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        }
        all
    };
    let node = stored["spec"]["nodeName"].as_str().unwrap_or_default();
    let host = node_address(node).to_string();
    let mut status = json!({
        "phase": phase, "conditions": conditions, "hostIP": host, "hostIPs": [{"ip": host}], "startTime": bound.rfc3339(), "qosClass": pod.model.qos,
        "containerStatuses": statuses(pod.model.init, pod.model.lasting),
    });
    if pod.failed.is_some()
        && pod.containers.iter().all(|c| c.id.is_empty())
        && let Some(s) = status.as_object_mut()
    {
        // There is nothing to say of containers that never were.
        s.remove("containerStatuses");
    }
    if let Some((reason, message)) = pod.failed.as_ref().filter(|_| failed) {
        status["reason"] = (*reason).into();
        status["message"] = message.as_str().into();
    }
    if let Some(g) = generation {
        status["observedGeneration"] = g.into();
    }
    if pod.model.init > 0 && status["containerStatuses"].is_array() {
        status["initContainerStatuses"] = statuses(0, pod.model.init).into();
    }
    if pod.model.containers.len() > pod.model.lasting {
        let mut added = statuses(pod.model.lasting, pod.model.containers.len());
        for one in &mut added {
            // Nobody waits for it.
            one["ready"] = false.into();
        }
        status["ephemeralContainerStatuses"] = added.into();
    }
    if let Some(a) = pod.address.filter(|_| !completed || pod.terminating.is_none()) {
        status["podIP"] = a.to_string().into();
        status["podIPs"] = json!([{"ip": a.to_string()}]);
    }
    status
}

/// A container's status. `init`: it is an init container; `after`: its pod has some.
fn container(m: &ContainerModel, c: &Container, init: bool, after: bool) -> Value {
    let state = match &c.life {
        Life::Waiting { reason, message, .. } => {
            let mut w =
                json!({"reason": if after && c.last.is_none() && *reason == "ContainerCreating" { "PodInitializing" } else { reason }});
            if !message.is_empty() {
                w["message"] = message.as_str().into();
            }
            json!({"waiting": w})
        }
        // It counts as being made until its hook is over.
        Life::Running(r) if r.starting.is_some() => {
            json!({"waiting": {"reason": if init { "PodInitializing" } else { "ContainerCreating" }}})
        }
        Life::Running(r) => json!({"running": {"startedAt": r.since.rfc3339()}}),
        Life::Ended(e) => json!({"terminated": ended(e)}),
    };
    let last = c.last.as_ref().map_or_else(|| json!({}), |e| json!({"terminated": ended(e)}));
    let ran = !c.id.is_empty();
    let ready = if init { init_done(m, c) } else { c.ready };
    let mut out = json!({
        "name": m.name, "state": state, "lastState": last, "ready": ready, "restartCount": c.restarts,
        "image": if ran { image::canonical(&c.image) } else { m.image.clone() },
        "imageID": if ran { image::id(&c.image) } else { String::new() },
        "started": c.run().is_some() && c.started,
    });
    if ran {
        out["containerID"] = format!("containerd://{}", c.id).into();
    }
    if c.run().is_some() && m.resources.as_object().is_some_and(|r| !r.is_empty()) {
        out["resources"] = m.resources.clone();
        if m.resources["requests"].is_object() {
            out["allocatedResources"] = m.resources["requests"].clone();
        }
    }
    if !m.mounts.is_empty() {
        let mount = |x: &Mount| {
            let mut mount = json!({"name": x.volume, "mountPath": x.path});
            if x.read_only {
                mount["readOnly"] = true.into();
                mount["recursiveReadOnly"] = "Disabled".into();
            }
            mount
        };
        out["volumeMounts"] = m.mounts.iter().map(mount).collect::<Vec<_>>().into();
    }
    out
}

fn ended(e: &End) -> Value {
    let mut out = json!({
        "exitCode": e.code, "reason": e.reason, "startedAt": e.started.rfc3339(), "finishedAt": e.finished.rfc3339(),
        "containerID": format!("containerd://{}", e.id),
    });
    if !e.message.is_empty() {
        out["message"] = e.message.as_str().into();
    }
    out
}
