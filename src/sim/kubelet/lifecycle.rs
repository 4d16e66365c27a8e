//! The life of a pod on its node: sandbox, images, start, probes, restarts, end.
//!
//! [`step`] may be called at any time: it does whatever is due and schedules the next wake-up.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::checks::check;
use super::container::{Container, End, Life, Next, Run};
use super::launch::{pull, start, up};
use super::model::{ContainerModel, LIVENESS, PodModel, READINESS, Restart, STARTUP};
use super::pace::Pace;
use super::runtime::{PodRun, node_address};
use super::{admission, hooks, mount, resources, status, stop};
use crate::sim::controllers::events::{self, Report, Source};
use crate::sim::controllers::kinds::NODES;
use crate::sim::controllers::object;
use crate::sim::registry::{self, DeleteOptions};
use crate::sim::resource::Key;
use crate::sim::store::{Change, ChangeKind};
use crate::sim::time::SimTime;
use crate::sim::world::{Event, World};

/// Time a server takes to end after SIGTERM.
pub(super) const GRACEFUL: Duration = Duration::from_millis(300);
/// Back-off between restarts: first, longest, and the uptime after which it starts afresh.
pub(super) const BACK_OFF: (Duration, Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(5), Duration::from_mins(10));
/// The longest message that a container leaves in its file.
const MESSAGE_MAX: usize = 4096;
/// Most steps in a row without time passing.
const STEPS: usize = 32;

/// Takes note of a change to a pod: of one bound to a node, changed, told to end, or gone.
pub fn pod_changed(world: &mut World, change: &Change) {
    let key = &change.key;
    let pod = &change.object;
    if change.kind == ChangeKind::Deleted {
        if world.runtime.pods.get(key).is_some_and(|p| p.uid == object::uid(pod)) {
            forget(world, key);
        }
        return;
    }
    let Some(node) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) else { return };
    let known = world.runtime.pods.get(key).is_some_and(|p| p.uid == object::uid(pod));
    if !known {
        if world.store.get(&Key::new(&NODES, "", node)).is_none() {
            return;
        }
        forget(world, key);
        let model = PodModel::read(pod, &world.config);
        let containers = model.containers.iter().map(|_| Container::default()).collect();
        let run = PodRun {
            uid: object::uid(pod).to_owned(),
            model,
            bound: world.now,
            sandbox_at: world.now.after(Pace::of(world.config.start_up).sandbox),
            address: None,
            containers,
            conditions: std::collections::BTreeMap::new(),
            terminating: None,
            failed: None,
            dirty: true,
            wake: None,
            volumes: std::collections::BTreeMap::new(),
            laid: std::collections::BTreeMap::new(),
            synced: 0,
            unmounted: None,
            net: Vec::new(),
            io: Vec::new(),
        };
        let refusal = admission::refusal(world, pod);
        world.runtime.pods.insert(key.clone(), run);
        if let Some((reason, text)) = refusal {
            admission::reject(world, key, reason, &text);
        }
        wake(world, key);
        return;
    }
    let spec_changed = change.previous.as_ref().is_none_or(|p| p["spec"] != pod["spec"]);
    let gated = pod["spec"]["readinessGates"].as_array().is_some_and(|g| !g.is_empty());
    let conditions = change.previous.as_ref().is_some_and(|p| p["status"]["conditions"] != pod["status"]["conditions"]);
    let dying = object::deleting(pod);
    let mut due = false;
    if let Some(run) = world.runtime.pods.get_mut(key) {
        if gated && conditions {
            run.dirty = true;
            due = true;
        }
        if spec_changed {
            let model = PodModel::read(pod, &world.config);
            let added = model.containers.len().saturating_sub(run.containers.len());
            if model.lasting == run.model.lasting && run.containers.len() + added == model.containers.len() {
                run.containers.extend((0..added).map(|_| Container::default()));
                run.model = model;
                run.dirty = true;
                due = true;
            }
        }
        if dying {
            let grace = Duration::from_secs(pod["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(30));
            if run.terminating.is_none_or(|(_, g)| grace < g) {
                run.terminating = Some((run.terminating.map_or(world.now, |(at, _)| at), grace));
                due = true;
            }
        }
    }
    if due {
        wake(world, key);
    }
}

fn forget(world: &mut World, key: &Key) {
    world.runtime.waiting.retain(|(k, _), _| k != key);
    if let Some(old) = world.runtime.pods.remove(key) {
        if let Some(a) = old.address.filter(|_| !old.model.host_network) {
            world.runtime.by_address.remove(&a);
        }
        crate::sim::traffic::invalidate(world);
    }
}

/// Has the pod looked at now.
pub(super) fn wake(world: &mut World, key: &Key) {
    world.agenda.at(world.now, Event::Pod(key.clone()));
}

/// Counts start-up work done since the last look.
pub(super) fn advance_work(run: &mut Run, now: SimTime) {
    let (rate, since) = run.rate;
    run.work = (run.work - rate * now.since(since).as_secs_f64()).max(0.0);
    run.rate = (rate, now);
}

/// Does whatever is due for a pod.
pub fn step(world: &mut World, key: &Key) {
    let Some(mut pod) = world.runtime.pods.remove(key) else { return };
    if pod.wake.is_some_and(|w| w <= world.now) {
        pod.wake = None;
    }
    let now = world.now;
    let was = (pod.address, serving(&pod));
    sandbox(world, key, &mut pod);
    admission::expire(world, key, &mut pod);
    for _ in 0..STEPS {
        stop::end(world, key, &mut pod);
        stop::end_sidecars(world, key, &mut pod);
        let mut moved = false;
        for i in 0..pod.containers.len() {
            moved |= container(world, key, &mut pod, i);
        }
        if !moved {
            break;
        }
    }
    for i in 0..pod.containers.len() {
        for p in [STARTUP, READINESS, LIVENESS] {
            check(world, key, &mut pod, i, p);
        }
    }
    if pod.dirty {
        status::write(world, key, &mut pod);
    }
    if was != (pod.address, serving(&pod)) {
        crate::sim::traffic::invalidate(world);
    }
    let gone = pod.terminating.is_some() && pod.containers.iter().all(|c| c.run().is_none());
    if gone {
        status::write_last(world, key, &mut pod);
    }
    let next = next_wake(&pod, now);
    if let Some(at) = next.filter(|_| !gone)
        && pod.wake.is_none_or(|w| at < w)
    {
        pod.wake = Some(at);
        world.agenda.at(at, Event::Pod(key.clone()));
    }
    world.runtime.pods.insert(key.clone(), pod);
    if gone {
        remove(world, key);
    }
}

fn serving(pod: &PodRun) -> Vec<bool> {
    pod.containers.iter().map(Container::listening).collect()
}

/// The last containers have ended: the pod object goes.
fn remove(world: &mut World, key: &Key) {
    let options = DeleteOptions { grace_period_s: Some(0), ..DeleteOptions::default() };
    // Somebody may have removed it by force.
    let _gone = registry::delete(world, key, &options);
    if world.store.get(key).is_some_and(|p| object::deleting(p) && p["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)) {
        world.store.remove(key);
    }
}

fn sandbox(world: &mut World, key: &Key, pod: &mut PodRun) {
    if pod.address.is_some()
        || world.now < pod.sandbox_at
        || pod.terminating.is_some()
        || pod.failed.is_some()
        || !mount::all(world, key, pod)
    {
        return;
    }
    if pod.model.host_network {
        pod.address = Some(node_address(&pod.model.node));
        pod.dirty = true;
        return;
    }
    let subnet = pod.model.node.rsplit('-').next().and_then(|n| n.parse::<u32>().ok()).map_or(0, |n| (n.saturating_sub(1)) & 0xff);
    let counter = world.runtime.addresses.entry(pod.model.node.clone()).or_insert(1);
    // Addresses are used again only after all others of the node have been.
    for _ in 0..253 {
        *counter = if *counter >= 254 { 2 } else { *counter + 1 };
        let address = Ipv4Addr::from(0x0a2a_0000 | (subnet << 8) | *counter);
        if !world.runtime.by_address.contains_key(&address) {
            pod.address = Some(address);
            break;
        }
    }
    pod.dirty = true;
}

/// Puts addresses of running pods in the index; a step takes the pod out of the table, so this comes with the status.
fn index(world: &mut World, key: &Key, pod: &PodRun) {
    if let Some(a) = pod.address.filter(|_| !pod.model.host_network) {
        world.runtime.by_address.entry(a).or_insert_with(|| key.clone());
    }
}

/// Whether container `i` may run now: the init containers one after the other, then all others.
fn its_turn(pod: &PodRun, i: usize) -> bool {
    let before = if i < pod.model.init { i } else { pod.model.init };
    // The kubelet starts one after the other, and waits for the hook of each.
    let hooked = |(m, c): (&Arc<ContainerModel>, &Container)| match &c.life {
        Life::Running(run) => run.starting.is_some(),
        Life::Waiting { reason, .. } => m.post_start.is_some() && c.id.is_empty() && *reason == "ContainerCreating",
        Life::Ended(_) => false,
    };
    let mut all = pod.model.containers.iter().zip(&pod.containers);
    all.clone().take(before).all(|(m, c)| status::init_done(m, c)) && !all.by_ref().take(i).any(hooked)
}

/// One transition of one container; whether there was one.
fn container(world: &mut World, key: &Key, pod: &mut PodRun, i: usize) -> bool {
    let now = world.now;
    index(world, key, pod);
    let turn = its_turn(pod, i) && pod.address.is_some() && pod.terminating.is_none() && pod.failed.is_none() && !pod.done();
    if hooks::advance(world, key, pod, i) {
        return true;
    }
    let node = pod.model.node.clone();
    let restart = pod.model.restart;
    let done = pod.done();
    let (is_init, is_ephemeral) = (i < pod.model.init, i >= pod.model.lasting);
    let (Some(model), Some(c)) = (pod.model.containers.get(i).cloned(), pod.containers.get_mut(i)) else { return false };
    match &mut c.life {
        Life::Waiting { next: None, .. } if turn => {
            c.life = Life::Waiting { reason: "ContainerCreating", message: String::new(), next: Some((now, Next::Pull)) };
            true
        }
        // Another image is another container to the back-off.
        Life::Waiting { reason: "CrashLoopBackOff", next: Some((at, Next::Restart)), .. }
            if turn && *at > now && c.image != model.image =>
        {
            *at = now;
            c.back_off = Duration::ZERO;
            true
        }
        Life::Waiting { next: Some((at, Next::Pull)), .. } if turn && *at <= now => {
            pull(world, key, pod, i);
            true
        }
        Life::Waiting { next: Some((at, what)), .. } if turn && *at <= now => {
            let again = *what == Next::Restart;
            start(world, key, pod, i, again);
            true
        }
        Life::Running(run) => {
            // A changed image ends the run: the kubelet restarts the container with the new one.
            if c.image != model.image && run.ends.is_none() && !run.stopping {
                let deadline = now.after(pod.model.grace);
                stop::stop(world, key, pod, i, deadline, 0);
                let text = format!("Container {} definition changed, will be restarted", model.name);
                tell(world, key, &node, Report::normal("Killing", text).about(&model.name));
                pod.dirty = true;
                return true;
            }
            advance_work(run, now);
            if let Some((at, code)) = run.ends
                && at <= now
            {
                let reason = if code == 0 { "Completed" } else { "Error" };
                finish(world, pod, i, code, reason);
                return true;
            }
            if run.listening.is_none() && run.work <= 1e-9 && run.not_before <= now {
                run.listening = Some(now);
                up(&model, c, now);
                return true;
            }
            // The rate may have changed with the limit or with stressors.
            let rate = resources::share(&model, c).main.min(1.0);
            if let Life::Running(run) = &mut c.life {
                run.rate = (rate, now);
            }
            false
        }
        Life::Ended(e) if pod.terminating.is_none() && pod.failed.is_none() && !is_ephemeral && !(is_init && done) => {
            let again = match restart {
                Restart::Always => !(is_init && e.code == 0 && !model.sidecar),
                Restart::OnFailure => e.code != 0 || model.sidecar,
                Restart::Never => model.sidecar,
            };
            if !again {
                return false;
            }
            let end = e.clone();
            if now.since(end.started).checked_sub(BACK_OFF.2).is_some() && end.finished.since(end.started) > BACK_OFF.2 {
                c.back_off = Duration::ZERO;
            }
            let wait = c.back_off;
            c.back_off = if wait.is_zero() { BACK_OFF.0 } else { (wait * 2).min(BACK_OFF.1) };
            let at = end.finished.after(wait);
            c.last = Some(end);
            c.previous_log = std::mem::take(&mut c.log);
            if at <= now {
                // The first restart comes at once.
                let refused = c.refused.take();
                c.life = Life::Waiting {
                    reason: if refused.is_some() { "PostStartHookError" } else { "ContainerCreating" },
                    message: refused.unwrap_or_default(),
                    next: Some((now.after(Pace::of(world.config.start_up).create), Next::Restart)),
                };
            } else {
                let pod_id = format!("{}_{}({})", key.name, key.namespace, pod.uid);
                let message = format!("back-off {} restarting failed container={} pod={pod_id}", go_duration(wait), model.name);
                c.life = Life::Waiting { reason: "CrashLoopBackOff", message, next: Some((at, Next::Restart)) };
                let text = format!("Back-off restarting failed container {} in pod {pod_id}", model.name);
                tell(world, key, &node, Report::warning("BackOff", text).about(&model.name));
            }
            pod.dirty = true;
            true
        }
        _ => false,
    }
}

fn go_duration(d: Duration) -> String {
    let s = d.as_secs();
    if s >= 60 { format!("{}m{}s", s / 60, s % 60) } else { format!("{s}s") }
}

/// Records an event about a pod.
pub(super) fn tell(world: &mut World, key: &Key, node: &str, report: Report<'_>) {
    if let Some(pod) = world.store.get(key).cloned() {
        events::emit(world, key, &pod, Source::kubelet(node), report);
    }
}

/// Ends the run of a container.
pub(super) fn finish(world: &World, pod: &mut PodRun, i: usize, code: i32, reason: &'static str) {
    let now = world.now;
    if let Some(c) = pod.containers.get_mut(i)
        && let Life::Running(run) = &c.life
    {
        let model = pod.model.containers.get(i);
        let file = model.filter(|_| c.prepared).and_then(|m| c.files.read(&m.last_words).ok());
        let left = file.map(|content| String::from_utf8_lossy(&content.bytes(MESSAGE_MAX)).into_owned()).unwrap_or_default();
        let tells = left.is_empty() && code != 0 && model.is_some_and(|m| m.log_tells);
        let message = if tells { last_words(c) } else { left };
        c.life = Life::Ended(End { code, reason, message, started: run.since, finished: now, id: c.id.clone() });
        c.ready = false;
        c.started = false;
        c.stress.clear();
        c.load = 0.0;
        c.cpu = 0.0;
        c.memory = 0;
        c.sample = None;
        c.scraped = None;
    }
    pod.dirty = true;
}

/// The end of a log: at most 80 lines and 2 KiB.
fn last_words(c: &Container) -> String {
    let text: String = c.log.iter().skip(c.log.len().saturating_sub(80)).flat_map(|l| [l.text.as_str(), l.end()]).collect();
    let mut from = text.len().saturating_sub(2048);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.get(from..).unwrap_or_default().to_owned()
}

/// Ends the containers of a pod that has outgrown its memory.
pub(super) fn out_of_memory(world: &mut World, key: &Key) {
    let Some(mut pod) = world.runtime.pods.remove(key) else { return };
    let node = pod.model.node.clone();
    for i in 0..pod.containers.len() {
        let (Some(m), Some(c)) = (pod.model.containers.get(i), pod.containers.get(i)) else { continue };
        if m.memory_limit.is_some_and(|l| c.memory > l) && c.run().is_some() {
            let kilobytes = c.memory / 1024;
            let text = format!(
                "Memory cgroup out of memory: Killed process {} ({}) anon-rss:{kilobytes}kB",
                20_000 + world.runtime.sequence,
                m.name
            );
            finish(world, &mut pod, i, 137, "OOMKilled");
            let at = Key::new(&NODES, "", &node);
            if let Some(n) = world.store.get(&at).cloned() {
                let source = Source { component: "kernel-monitor", host: &node };
                events::emit(world, &at, &n, source, Report::warning("OOMKilling", text));
            }
        }
    }
    world.runtime.pods.insert(key.clone(), pod);
    step(world, key);
}

/// Ends one container at once, as the kernel or Chaos Mesh do.
pub fn kill(world: &mut World, key: &Key, container: &str, code: i32) {
    let Some(mut pod) = world.runtime.pods.remove(key) else { return };
    if let Some(i) = pod.index(container) {
        finish(world, &mut pod, i, code, if code == 0 { "Completed" } else { "Error" });
    }
    world.runtime.pods.insert(key.clone(), pod);
    step(world, key);
}

/// Ends a container whose command does not exist in its image.
pub(super) fn refuse(world: &mut World, key: &Key, container: &str, text: &str) {
    let Some(mut pod) = world.runtime.pods.remove(key) else { return };
    let node = pod.model.node.clone();
    if let Some(i) = pod.index(container) {
        finish(world, &mut pod, i, 128, "StartError");
        if let Some(Life::Ended(e)) = pod.containers.get_mut(i).map(|c| &mut c.life) {
            text.clone_into(&mut e.message);
        }
        tell(world, key, &node, Report::warning("Failed", format!("Error: {text}")).about(container));
    }
    world.runtime.pods.insert(key.clone(), pod);
    step(world, key);
}

fn next_wake(pod: &PodRun, now: SimTime) -> Option<SimTime> {
    let mut next: Option<SimTime> = None;
    let mut consider = |at: SimTime| next = Some(next.map_or(at, |n| n.min(at)).max(SimTime(now.0 + 1)));
    if pod.address.is_none() && pod.failed.is_none() {
        consider(pod.sandbox_at);
    }
    if let Some(at) = pod.model.deadline.map(|d| pod.bound.after(d)).filter(|at| *at > now && pod.failed.is_none() && !pod.ended()) {
        consider(at);
    }
    if let Some((since, grace)) = pod.terminating.filter(|(since, grace)| since.after(*grace) > now) {
        consider(since.after(grace));
    }
    for (m, c) in pod.model.containers.iter().zip(&pod.containers) {
        match &c.life {
            Life::Waiting { next: Some((at, _)), .. } if pod.terminating.is_none() => consider(*at),
            Life::Waiting { .. } | Life::Ended(_) => {}
            Life::Running(run) => {
                if let Some((at, _)) = run.ends {
                    consider(at);
                }
                if run.listening.is_none() && run.rate.0 > 0.0 {
                    let left = Duration::try_from_secs_f64(run.work / run.rate.0).unwrap_or(Duration::MAX);
                    // Round up to the next millisecond: the work must be done when we look again.
                    consider(now.after(left.saturating_add(Duration::from_millis(1))).max(run.not_before));
                }
                let listening = run.listening.is_some();
                for hook in [&run.starting, &run.ending].into_iter().flatten() {
                    if let Some(at) = hooks::due(hook, listening, now) {
                        consider(at);
                    }
                }
                if !run.stopping && run.starting.is_none() {
                    for (state, _) in c
                        .probes
                        .iter()
                        .zip(&m.probes)
                        .enumerate()
                        .filter(|(p, _)| if *p == STARTUP { !c.started } else { c.started })
                        .map(|(_, x)| x)
                    {
                        if let Some(at) = state.next {
                            consider(at);
                        }
                    }
                }
            }
        }
    }
    next
}
