//! Chaos Mesh: its kinds act on the pods that they selected when they were injected.
//!
//! Input: `StressChaos`, `NetworkChaos`, `IOChaos` and `PodChaos` objects. Output: faults in the pods' runtime, the
//! status and events that Chaos Mesh's controllers write. Targets are selected once, as there: a container that is
//! restarted loses its stressors and disk faults, a pod that is recreated has no fault at all.

mod effect;
#[cfg(test)]
mod repairs;
mod select;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::controllers::events::{self, Report, Source};
use super::controllers::object;
use super::kubelet::quantity;
use super::registry::{self, Part};
use super::resource::Key;
use super::time::SimTime;
use super::world::{Event, World};

const SELF: Source<'static> = Source { component: "chaos-mesh-controller", host: "" };
const FINALIZER: &str = "chaos-mesh/records";
/// Annotation that pauses an experiment.
const PAUSE: &str = "experiment.chaos-mesh.org/pause";
/// How long the controller takes to select, and the daemon to inject or recover.
const SELECT: Duration = Duration::from_millis(200);
const ACT: Duration = Duration::from_secs(1);
/// How often a failed selection or injection is tried again.
const AGAIN: Duration = Duration::from_secs(3);

/// Running experiments.
#[derive(Debug, Default)]
pub struct State {
    due: BTreeMap<Key, (SimTime, Step)>,
    timers: BTreeMap<Key, SimTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Select,
    Apply,
    Recover,
    Release,
}

fn known(key: &Key) -> bool {
    matches!(&*key.resource.plural, "stresschaos" | "networkchaos" | "iochaos" | "podchaos")
}

/// Looks at an experiment that changed and plans its next step.
pub fn reconcile(world: &mut World, key: &Key) {
    if !known(key) {
        return;
    }
    let Some(chaos) = world.store.get(key).cloned() else {
        // Somebody emptied the finalizers by force: the faults stay, as on a real cluster, until the pods go.
        world.chaos.due.remove(key);
        world.chaos.timers.remove(key);
        return;
    };
    if !object::deleting(&chaos) && !object::has_finalizer(&chaos, FINALIZER) {
        let mut new = (*chaos).clone();
        let mut all = new["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        all.push(FINALIZER.into());
        new["metadata"]["finalizers"] = all.into();
        if registry::update(world, key, new, Part::Main).is_ok() {
            tell(world, key, Report::normal("FinalizerInited", "Finalizer has been inited"));
            tell(world, key, Report::normal("Updated", "Successfully update finalizer of resource"));
        }
        return;
    }
    if !status::initialised(&chaos) && !object::deleting(&chaos) {
        plan(world, key, Step::Select, SELECT);
        return;
    }
    let stop = stopped(world, key, &chaos);
    let wanted = if stop { "Stop" } else { "Run" };
    if status::desired(&chaos) != wanted && status::initialised(&chaos) {
        set_desired(world, key, &chaos, wanted);
        return;
    }
    let injected = status::any(&chaos, "Injected");
    if stop && injected {
        plan(world, key, Step::Recover, ACT);
    } else if !stop && status::any(&chaos, "Not Injected") {
        plan(world, key, Step::Apply, ACT);
    } else if object::deleting(&chaos) && object::has_finalizer(&chaos, FINALIZER) {
        plan(world, key, Step::Release, SELECT);
    }
}

fn plan(world: &mut World, key: &Key, step: Step, wait: Duration) {
    if world.chaos.due.get(key).is_some_and(|(_, s)| *s == step) {
        return;
    }
    let at = world.now.after(wait);
    world.chaos.due.insert(key.clone(), (at, step));
    world.agenda.at(at, Event::Chaos(key.clone()));
}

/// Whether the experiment should not act now; sets the timer of its duration.
fn stopped(world: &mut World, key: &Key, chaos: &Value) -> bool {
    if object::deleting(chaos) || object::annotation(chaos, PAUSE) == Some("true") {
        return true;
    }
    let Some(d) = chaos["spec"]["duration"].as_str().and_then(quantity::duration) else { return false };
    let end = object::created(chaos).after(d);
    if end > world.now && world.chaos.timers.get(key) != Some(&end) {
        world.chaos.timers.insert(key.clone(), end);
        world.agenda.at(end, Event::Chaos(key.clone()));
    }
    end <= world.now
}

fn set_desired(world: &mut World, key: &Key, chaos: &Value, wanted: &str) {
    let mut new = chaos.clone();
    new["status"]["experiment"]["desiredPhase"] = wanted.into();
    status::conclude(&mut new, object::annotation(chaos, PAUSE) == Some("true"));
    write(world, key, new);
    let report = if object::deleting(chaos) {
        Report::normal("Deleted", "Experiment has been deleted")
    } else if object::annotation(chaos, PAUSE) == Some("true") {
        Report::normal("Paused", "Experiment has been paused")
    } else if wanted == "Stop" {
        Report::normal("TimeUp", "Time up according to the duration")
    } else {
        Report::normal("Started", "Experiment has started")
    };
    tell(world, key, report);
    tell(world, key, Report::normal("Updated", "Successfully update desiredPhase of resource"));
}

fn write(world: &mut World, key: &Key, new: Value) {
    // It can only fail when the object is gone: then its status is nobody's.
    let _written = registry::update(world, key, new, Part::Status);
}

fn tell(world: &mut World, key: &Key, report: Report<'_>) {
    if let Some(chaos) = world.store.get(key).cloned() {
        events::emit(world, key, &chaos, SELF, report);
    }
}

/// Does the step that is due, or looks whether the duration is over.
pub fn step(world: &mut World, key: &Key) {
    let due = world.chaos.due.get(key).copied().filter(|(at, _)| *at <= world.now);
    let Some((_, step)) = due else {
        reconcile(world, key);
        return;
    };
    world.chaos.due.remove(key);
    let Some(chaos) = world.store.get(key).cloned() else { return };
    match step {
        Step::Select => choose(world, key, &chaos),
        Step::Apply if !stopped(world, key, &chaos) => apply(world, key, &chaos),
        Step::Recover => recover(world, key, &chaos),
        Step::Release if !status::any(&chaos, "Injected") => {
            let mut new = (*chaos).clone();
            object::drop_finalizer(&mut new, FINALIZER);
            // Gone already is as good.
            let _gone = registry::update(world, key, new, Part::Main);
            world.chaos.timers.remove(key);
        }
        Step::Apply | Step::Release => reconcile(world, key),
    }
}

fn choose(world: &mut World, key: &Key, chaos: &Value) {
    if object::deleting(chaos) {
        reconcile(world, key);
        return;
    }
    match select::records(world, key, chaos) {
        Ok(records) => {
            let mut new = chaos.clone();
            new["status"] = json!({
                "conditions": [],
                "experiment": {"desiredPhase": "Run", "containerRecords": records.iter().map(status::record).collect::<Vec<_>>()},
            });
            if &*key.resource.plural != "podchaos" {
                new["status"]["instances"] = json!({});
            }
            status::conclude(&mut new, false);
            write(world, key, new);
            tell(world, key, Report::normal("Updated", "Successfully update desiredPhase of resource"));
            tell(world, key, Report::normal("Started", "Experiment has started"));
            tell(world, key, Report::normal("Updated", "Successfully update records of resource"));
        }
        Err(text) => {
            if !chaos["status"]["conditions"].is_array() {
                let mut new = chaos.clone();
                new["status"] = json!({"conditions": [], "experiment": {"desiredPhase": "Run"}});
                status::conclude(&mut new, false);
                write(world, key, new);
            }
            tell(world, key, Report::warning("Failed", format!("Failed to select targets: {text}")));
            plan(world, key, Step::Select, AGAIN);
        }
    }
}

fn apply(world: &mut World, key: &Key, chaos: &Value) {
    let mut new = chaos.clone();
    let mut failed = false;
    for i in 0..status::records(chaos).len() {
        let Some(record) = status::records(&new).get(i).cloned() else { continue };
        if record["phase"] != "Not Injected" {
            continue;
        }
        let id = record["id"].as_str().unwrap_or_default().to_owned();
        let outcome = effect::apply(world, key, chaos, &record);
        let report = match &outcome {
            Ok(()) => Report::normal("Applied", format!("Successfully apply chaos for {id}")),
            Err(e) => Report::warning("Failed", format!("Failed to apply chaos: {e}")),
        };
        failed |= outcome.is_err();
        status::note(&mut new, i, "Apply", outcome.as_ref().err().map(String::as_str), world.now);
        if outcome.is_ok()
            && let Some(value) = effect::instance(world, key)
        {
            new["status"]["instances"][id.as_str()] = value;
        }
        tell(world, key, report);
    }
    refresh(world, key, &new);
    tell(world, key, Report::normal("Updated", "Successfully update records of resource"));
    if failed {
        plan(world, key, Step::Apply, AGAIN);
    }
}

fn recover(world: &mut World, key: &Key, chaos: &Value) {
    let mut new = chaos.clone();
    for i in 0..status::records(chaos).len() {
        let Some(record) = status::records(&new).get(i).cloned() else { continue };
        if record["phase"] != "Injected" {
            continue;
        }
        let id = record["id"].as_str().unwrap_or_default().to_owned();
        // A pod that is gone needs no recovery.
        effect::recover(world, key, &record);
        status::note(&mut new, i, "Recover", None, world.now);
        if let Some(all) = new["status"]["instances"].as_object_mut() {
            all.remove(&id);
        }
        tell(world, key, Report::normal("Recovered", format!("Successfully recover chaos for {id}")));
    }
    refresh(world, key, &new);
    tell(world, key, Report::normal("Updated", "Successfully update records of resource"));
}

/// Writes the status computed on an older version of the object; what happened meanwhile to the rest of it is kept.
fn refresh(world: &mut World, key: &Key, computed: &Value) {
    let Some(current) = world.store.get(key).cloned() else { return };
    let mut new = (*current).clone();
    new["status"] = computed["status"].clone();
    status::conclude(&mut new, object::annotation(&current, PAUSE) == Some("true"));
    write(world, key, new);
}
