//! What follows from probes: readiness, the end of start-up, restarts.

use super::lifecycle::tell;
use super::model::{Action, READINESS, STARTUP};
use super::runtime::PodRun;
use super::{files, probe, stop};
use crate::sim::controllers::events::Report;
use crate::sim::resource::Key;
use crate::sim::world::World;

/// Runs a probe if it is due, and draws the conclusions.
pub(super) fn check(world: &mut World, key: &Key, pod: &mut PodRun, i: usize, which: usize) {
    let now = world.now;
    let Some(model) = pod.model.containers.get(i).cloned() else { return };
    let Some(Some(spec)) = model.probes.get(which) else { return };
    {
        let Some(c) = pod.containers.get_mut(i) else { return };
        if c.run().is_none_or(|r| r.stopping || r.starting.is_some()) || (which != STARTUP && !c.started) {
            return;
        }
        if which == STARTUP && c.started {
            return;
        }
        let Some(state) = c.probes.get_mut(which) else { return };
        if state.next.is_none_or(|n| n > now) {
            return;
        }
        state.next = Some(now.after(spec.period));
    }
    // A web server that nobody configured has its image's pages and no others.
    let lacks = match &spec.action {
        Action::Http(_, _, path) => {
            let plain = path.split(['?', '#']).next().unwrap_or(path);
            files::page(world, key, pod, i, plain).is_some_and(|page| page.is_err())
        }
        _ => false,
    };
    let Some(c) = pod.containers.get(i) else { return };
    let outcome = probe::attempt(world, pod, &model, c, spec, lacks);
    let Some(c) = pod.containers.get_mut(i) else { return };
    let Some(state) = c.probes.get_mut(which) else { return };
    let node = pod.model.node.clone();
    let word = ["Readiness", "Liveness", "Startup"].get(which).copied().unwrap_or_default();
    match outcome {
        Ok(()) => {
            state.failures = 0;
            state.successes = state.successes.saturating_add(1);
            if state.successes >= spec.successes {
                match which {
                    READINESS if !c.ready => {
                        c.ready = true;
                        pod.dirty = true;
                    }
                    STARTUP => {
                        c.started = true;
                        c.ready = model.probes.get(READINESS).is_none_or(Option::is_none);
                        pod.dirty = true;
                    }
                    _ => {}
                }
            }
        }
        Err(text) => {
            state.successes = 0;
            state.failures = state.failures.saturating_add(1);
            let over = state.failures >= spec.failures;
            if over && which == READINESS && c.ready {
                c.ready = false;
                pod.dirty = true;
            }
            let die = over && which != READINESS;
            if die {
                let deadline = now.after(pod.model.grace);
                stop::stop(world, key, pod, i, deadline, 137);
            }
            tell(world, key, &node, Report::warning("Unhealthy", format!("{word} probe failed: {text}")).about(&model.name));
            if die {
                let text = format!("Container {} failed {} probe, will be restarted", model.name, word.to_lowercase());
                tell(world, key, &node, Report::normal("Killing", text).about(&model.name));
            }
        }
    }
}
