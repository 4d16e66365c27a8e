//! How containers end that are told to: hooks first, then the signal, then, when their time is over, the kill.

use std::time::Duration;

use super::behaviour::Behaviour;
use super::container::{Life, Run};
use super::hooks::{self, When};
use super::lifecycle::{GRACEFUL, tell};
use super::model::ContainerModel;
use super::runtime::PodRun;
use crate::sim::controllers::events::Report;
use crate::sim::resource::Key;
use crate::sim::time::SimTime;
use crate::sim::world::World;

/// So long a container has at least after its hook.
const AFTER_HOOK: Duration = Duration::from_secs(2);

/// A shell that sleeps as process 1 has no handler for SIGTERM: it is killed when the grace period is over.
pub(super) fn deaf(model: &ContainerModel) -> bool {
    match &model.behaviour {
        Behaviour::Sleep(_) => true,
        Behaviour::Program { .. } => model.command.len() > 1 && model.command.first().is_some_and(|s| s.ends_with("sh")),
        _ => false,
    }
}

/// Has a running container end by `deadline`, with `code` if it ends by itself.
pub(super) fn stop(world: &mut World, key: &Key, pod: &mut PodRun, i: usize, deadline: SimTime, code: i32) {
    let now = world.now;
    let (Some(model), Some(c)) = (pod.model.containers.get(i).cloned(), pod.containers.get_mut(i)) else { return };
    let Life::Running(run) = &mut c.life else { return };
    run.stopping = true;
    run.starting = None;
    run.until = Some((deadline, code));
    pod.dirty = true;
    let id = c.id.clone();
    if deadline > now
        && let Some(pending) = hooks::begin(world, key, &model, &id, When::PreStop)
        && let Some(Life::Running(run)) = pod.containers.get_mut(i).map(|c| &mut c.life)
    {
        run.ending = Some(pending);
        plan(run, (deadline.after(AFTER_HOOK), 137));
        return;
    }
    if let Some(Life::Running(run)) = pod.containers.get_mut(i).map(|c| &mut c.life) {
        signal(run, &model, now, deadline, code);
    }
}

/// The hook before the end is over: now comes the signal.
pub(super) fn told(now: SimTime, pod: &mut PodRun, i: usize) {
    let Some(model) = pod.model.containers.get(i).cloned() else { return };
    let Some(Life::Running(run)) = pod.containers.get_mut(i).map(|c| &mut c.life) else { return };
    run.ending = None;
    if let Some((deadline, code)) = run.until {
        signal(run, &model, now, deadline.max(now.after(AFTER_HOOK)), code);
    }
}

/// Plans the end of a process that gets SIGTERM now and SIGKILL at the deadline.
fn signal(run: &mut Run, model: &ContainerModel, now: SimTime, deadline: SimTime, code: i32) {
    let ends = now.after(GRACEFUL);
    plan(run, if deaf(model) || ends >= deadline { (deadline, 137) } else { (ends, code) });
}

/// A process that ends earlier by itself does so.
fn plan(run: &mut Run, planned: (SimTime, i32)) {
    run.ends = Some(run.ends.filter(|(at, _)| *at < planned.0).unwrap_or(planned));
}

/// Tells the containers of a pod to end, and ends those whose grace is over. Sidecars go last, in the reverse of their order.
pub(super) fn end(world: &mut World, key: &Key, pod: &mut PodRun) {
    let Some((since, grace)) = pod.terminating else { return };
    let deadline = since.after(grace);
    for i in 0..pod.containers.len() {
        let waits = waits(pod, i) && world.now < deadline;
        let (Some(model), Some(c)) = (pod.model.containers.get(i).cloned(), pod.containers.get_mut(i)) else { continue };
        match &mut c.life {
            Life::Running(_) if waits => {}
            Life::Running(run) if !run.stopping => {
                stop(world, key, pod, i, deadline, 0);
                let node = pod.model.node.clone();
                let text = format!("Stopping container {}", model.name);
                tell(world, key, &node, Report::normal("Killing", text).about(&model.name));
            }
            // Somebody has lost patience.
            Life::Running(run) if run.until.is_none_or(|(until, _)| deadline < until) => {
                run.until = Some((deadline, 0));
                run.ending = run.ending.take().filter(|_| deadline > world.now);
                let last = if run.ending.is_some() { deadline.after(AFTER_HOOK) } else { deadline };
                plan(run, (last.max(world.now), 137));
            }
            Life::Waiting { next, .. } => *next = None,
            Life::Running(_) | Life::Ended(_) => {}
        }
    }
}

/// Ends the containers of a pod that the kubelet has given up.
pub(super) fn all(world: &mut World, key: &Key, pod: &mut PodRun, grace: Duration) {
    let deadline = world.now.after(grace);
    for i in 0..pod.containers.len() {
        let Some(model) = pod.model.containers.get(i).cloned() else { continue };
        match pod.containers.get_mut(i).map(|c| &mut c.life) {
            Some(Life::Running(run)) if !run.stopping => {
                stop(world, key, pod, i, deadline, 0);
                let node = pod.model.node.clone();
                tell(world, key, &node, Report::normal("Killing", format!("Stopping container {}", model.name)).about(&model.name));
            }
            Some(Life::Waiting { next, .. }) => *next = None,
            _ => {}
        }
    }
}

/// Whether a sidecar has to wait for others to end: the containers that it serves, and the sidecars after it.
fn waits(pod: &PodRun, i: usize) -> bool {
    let sidecar = i < pod.model.init && pod.model.containers.get(i).is_some_and(|m| m.sidecar);
    let later = pod.containers.iter().take(pod.model.lasting).skip(i + 1);
    sidecar && later.into_iter().any(|c| c.run().is_some())
}

/// Ends the sidecars of a pod whose containers have done their work, the last one first.
pub(super) fn end_sidecars(world: &mut World, key: &Key, pod: &mut PodRun) {
    if pod.terminating.is_some() || !pod.done() {
        return;
    }
    let deadline = world.now.after(pod.model.grace);
    for i in (0..pod.model.init).rev() {
        let Some(model) = pod.model.containers.get(i).cloned() else { continue };
        let stopping = pod.containers.get(i).and_then(|c| c.run()).map(|r| r.stopping);
        if stopping == Some(false) && !waits(pod, i) {
            stop(world, key, pod, i, deadline, 0);
            let node = pod.model.node.clone();
            tell(world, key, &node, Report::normal("Killing", format!("Stopping container {}", model.name)).about(&model.name));
        } else if let Some(Life::Waiting { next, .. }) = pod.containers.get_mut(i).map(|c| &mut c.life) {
            *next = None;
        }
    }
}
