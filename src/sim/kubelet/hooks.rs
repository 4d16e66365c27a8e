//! Hooks of containers: what is done after they have started (`postStart`), and before they are told to end (`preStop`).
//!
//! Commands are run in the shell's model where there is one ([`super::programs`]); those that only wait, and all of them where
//! there is none, take as long as they sleep.

use std::time::Duration;

use serde_json::Value;

use super::behaviour::{Behaviour, understand};
use super::container::Life;
use super::lifecycle::{finish, tell, wake};
use super::model::{Action, ContainerModel, Probe, READINESS, STARTUP};
use super::programs::Program;
use super::runtime::PodRun;
use super::{image, nap, probe, stop};
use crate::sim::controllers::events::Report;
use crate::sim::resource::Key;
use crate::sim::shell::Exit;
use crate::sim::time::SimTime;
use crate::sim::world::World;

/// So long a request of a hook waits for the process to listen: real processes are as quick as the kubelet.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// It waits.
    Sleep(Duration),
    /// It runs a command in the container.
    Exec(Vec<String>),
    /// It asks the container for a page.
    Http(Action),
}

/// When a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// After the start.
    PostStart,
    /// Before the end.
    PreStop,
}

/// A hook that is being run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pending {
    /// The shell runs its command, and will say how that ended.
    Command,
    /// It ends then, well or with this text.
    Until(SimTime, Option<String>),
    /// It asks as soon as somebody listens, or then.
    Request(SimTime),
}

impl Hook {
    /// Reads a handler; `port` finds the number of a port.
    pub(super) fn read(handler: &Value, port: &dyn Fn(&Value) -> u16) -> Option<Self> {
        if let Some(seconds) = handler["sleep"]["seconds"].as_u64() {
            return Some(Self::Sleep(Duration::from_secs(seconds)));
        }
        if let Some(words) = handler["exec"]["command"].as_array() {
            return Some(Self::Exec(words.iter().filter_map(|w| w.as_str().map(str::to_owned)).collect()));
        }
        let get = handler["httpGet"].as_object()?;
        let scheme = get.get("scheme").and_then(Value::as_str).unwrap_or("HTTP").to_lowercase();
        let path = get.get("path").and_then(Value::as_str).unwrap_or("/");
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self::Http(Action::Http(scheme, port(&handler["httpGet"]["port"]), path)))
    }
}

/// Begins a hook of a container that runs.
pub(super) fn begin(world: &mut World, key: &Key, model: &ContainerModel, id: &str, when: When) -> Option<Pending> {
    let hook = match when {
        When::PostStart => model.post_start.as_ref()?,
        When::PreStop => model.pre_stop.as_ref()?,
    };
    let now = world.now;
    Some(match hook {
        Hook::Sleep(time) => Pending::Until(now.after(*time), None),
        Hook::Http(_) => Pending::Request(now.after(PATIENCE)),
        Hook::Exec(command) => match understand(command).filter(|_| !world.config.programs || only_sleeps(command)) {
            Some(Behaviour::Sleep(Some(time))) => Pending::Until(now.after(time), None),
            Some(Behaviour::Exit(code, _)) => Pending::Until(now, (code != 0).then(|| exited(command, code, ""))),
            // They are not modelled, and do what they are for at once.
            _ if own_programs(model, command) => Pending::Until(if when == When::PreStop { now.after(sleeps(command)) } else { now }, None),
            _ if world.config.programs => {
                world.runtime.started.push(Program {
                    key: key.clone(),
                    container: model.name.clone(),
                    id: id.to_owned(),
                    image: model.image.clone(),
                    argv: command.clone(),
                    endless: false,
                    naps: false,
                    hook: Some(when),
                });
                Pending::Command
            }
            _ => Pending::Until(now.after(sleeps(command)), None),
        },
    })
}

/// Whether a command names programs that only this image has.
fn own_programs(model: &ContainerModel, command: &[String]) -> bool {
    let own = model.profile().map(|p| p.programs.as_slice()).unwrap_or_default();
    let words = command.iter().flat_map(|text| text.split(|c: char| !(c.is_alphanumeric() || "._-".contains(c))));
    words.filter(|w| !w.is_empty()).any(|w| own.iter().any(|o| o == w))
}

/// Whether a command does nothing but sleep: no shell is needed for that, nor one of its timers.
fn only_sleeps(command: &[String]) -> bool {
    let joined = command.join(" ");
    let script = nap::script(command).unwrap_or(&joined);
    let mut parts = script.split([';', '\n']).flat_map(|p| p.split("&&")).map(str::trim).filter(|p| !p.is_empty());
    parts.all(|p| p.split_whitespace().next().is_some_and(|w| w.rsplit('/').next() == Some("sleep")))
}

/// How long the sleeps in a command take together.
fn sleeps(command: &[String]) -> Duration {
    let words = command.join(" ");
    let mut words = words.split(|c: char| c.is_whitespace() || ";&|'\"".contains(c)).filter(|w| !w.is_empty());
    let mut all = Duration::ZERO;
    while let Some(word) = words.next() {
        if word == "sleep" || word.ends_with("/sleep") {
            let text = words.next().unwrap_or_default().trim_end_matches('s');
            all += text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok()).unwrap_or_default();
        }
    }
    all
}

fn exited(command: &[String], code: i32, stderr: &str) -> String {
    format!("command '{}' exited with {code}: {stderr}", command.join(" "))
}

/// When a hook wants to be looked at again.
pub(super) fn due(pending: &Pending, listening: bool, now: SimTime) -> Option<SimTime> {
    match pending {
        Pending::Command => None,
        Pending::Request(_) if listening => Some(now),
        Pending::Until(at, _) | Pending::Request(at) => Some(*at),
    }
}

/// The command of a hook has ended.
pub(super) fn ended(world: &mut World, program: &Program, exit: &Exit, output: &str) {
    let Some(when) = program.hook else { return };
    let now = world.now;
    let failure = match exit {
        Exit::Code(0) => None,
        // A program of the image's own that is not modelled does what it is meant to.
        Exit::Code(127) | Exit::NotFound(_) if !image::is_shell(&program.image) => None,
        Exit::Code(code) => Some(format!("{}, message: {output:?}", exited(&program.argv, *code, output))),
        Exit::NotFound(text) => Some(format!("{text}, message: \"\"")),
    };
    let Some(pod) = world.runtime.pods.get_mut(&program.key) else { return };
    let Some(c) = pod.index(&program.container).and_then(|i| pod.containers.get_mut(i)).filter(|c| c.id == program.id) else { return };
    if let Life::Running(run) = &mut c.life {
        let slot = if when == When::PostStart { &mut run.starting } else { &mut run.ending };
        if *slot == Some(Pending::Command) {
            *slot = Some(Pending::Until(now, failure));
        }
    }
    wake(world, &program.key);
}

/// Ends the hooks of a container whose time has come; whether there was one.
pub(super) fn advance(world: &mut World, key: &Key, pod: &mut PodRun, i: usize) -> bool {
    let now = world.now;
    let Some(run) = pod.containers.get(i).and_then(|c| c.run()) else { return false };
    let (starting, ending) = (run.starting.clone(), run.ending.clone());
    let listening = run.listening.is_some();
    for (pending, when) in [(starting, When::PostStart), (ending, When::PreStop)] {
        let Some(pending) = pending.filter(|p| due(p, listening, now).is_some_and(|at| at <= now)) else { continue };
        let failure = match pending {
            Pending::Until(_, failure) => failure,
            _ => ask(world, pod, i, when),
        };
        let Some(model) = pod.model.containers.get(i).cloned() else { return false };
        match when {
            When::PostStart => started(world, key, pod, i, failure),
            When::PreStop => {
                if failure.is_some() {
                    let node = pod.model.node.clone();
                    tell(world, key, &node, Report::warning("FailedPreStopHook", "PreStopHook failed").about(&model.name));
                }
                stop::told(now, pod, i);
            }
        }
        return true;
    }
    false
}

/// Asks a container for its hook's page. Whatever it answers is well.
fn ask(world: &mut World, pod: &PodRun, i: usize, when: When) -> Option<String> {
    let (model, c) = (pod.model.containers.get(i)?, pod.containers.get(i)?);
    let hook = if when == When::PostStart { &model.post_start } else { &model.pre_stop };
    let Some(Hook::Http(action)) = hook else { return None };
    let probe = Probe {
        action: action.clone(),
        initial_delay: Duration::ZERO,
        period: PATIENCE,
        timeout: Duration::from_mins(1),
        successes: 1,
        failures: 1,
    };
    probe::attempt(world, pod, model, c, &probe, false).err().filter(|text| !text.starts_with("HTTP probe failed"))
}

/// The hook after the start is over: the container is up, or killed.
fn started(world: &mut World, key: &Key, pod: &mut PodRun, i: usize, failure: Option<String>) {
    let Some(model) = pod.model.containers.get(i).cloned() else { return };
    let Some(c) = pod.containers.get_mut(i) else { return };
    let Life::Running(run) = &mut c.life else { return };
    run.starting = None;
    pod.dirty = true;
    let Some(why) = failure else {
        c.started = model.probes.get(STARTUP).is_none_or(Option::is_none);
        c.ready = c.started && model.probes.get(READINESS).is_none_or(Option::is_none);
        return;
    };
    let place = format!("for Container \"{}\" in Pod \"{}_{}({})\" failed - error: {why}", model.name, key.name, key.namespace, pod.uid);
    c.refused = Some(match &model.post_start {
        Some(Hook::Http(Action::Http(_, _, path))) => format!("HTTP lifecycle hook ({path}) {place}"),
        Some(Hook::Exec(command)) => format!("Exec lifecycle hook ([{}]) {place}", command.join(" ")),
        _ => place,
    });
    let node = pod.model.node.clone();
    // What the hook said is not told in the event, for secrets may be in it.
    tell(world, key, &node, Report::warning("FailedPostStartHook", "PostStartHook failed").about(&model.name));
    tell(world, key, &node, Report::normal("Killing", "FailedPostStartHook").about(&model.name));
    if model.profile().is_none() && stop::deaf(&model) {
        let deadline = world.now.after(pod.model.grace);
        stop::stop(world, key, pod, i, deadline, 137);
        // Until then it counts as being made.
        if let Some(Life::Running(run)) = pod.containers.get_mut(i).map(|c| &mut c.life) {
            run.starting = Some(Pending::Command);
        }
    } else {
        finish(world, pod, i, 137, "Error");
    }
}
