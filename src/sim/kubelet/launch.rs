//! Images and starts: from a waiting container to a running process.

use std::time::Duration;

use super::behaviour::Behaviour;
use super::container::{Container, Life, Next, ProbeState, Run, Throttled};
use super::hooks::When;
use super::lifecycle::{BACK_OFF, finish, tell};
use super::model::{ContainerModel, LIVENESS, READINESS, STARTUP};
use super::pace::Pace;
use super::programs::Program;
use super::runtime::PodRun;
use super::{environment, hooks, image, resources};
use crate::sim::controllers::events::Report;
use crate::sim::controllers::kinds::SECRETS;
use crate::sim::resource::Key;
use crate::sim::time::SimTime;
use crate::sim::world::World;

/// How often the kubelet looks which containers run.
const RELIST: Duration = Duration::from_secs(1);

/// Time until a container whose configuration is missing is tried again.
const CONFIG_RETRY: Duration = Duration::from_secs(10);

/// Pulls the image of a container, or says why that fails.
pub(super) fn pull(world: &mut World, key: &Key, pod: &mut PodRun, i: usize) {
    let now = world.now;
    let pace = Pace::of(world.config.start_up);
    let node = pod.model.node.clone();
    let (Some(model), Some(c)) = (pod.model.containers.get(i), pod.containers.get_mut(i)) else { return };
    let name = model.name.clone();
    let image = model.image.clone();
    lacking_secrets(world, key, &node);
    let present = world.runtime.images.contains(&(node.clone(), image::canonical(&image)));
    if present && model.pull != "Always" {
        c.life = Life::Waiting { reason: "ContainerCreating", message: String::new(), next: Some((now.after(pace.create), Next::Start)) };
        let text = format!("Container image \"{image}\" already present on machine");
        tell(world, key, &node, Report::normal("Pulled", text).about(&name));
        return;
    }
    let configured = !world.config.workloads.is_empty()
        && matches!(model.behaviour, Behaviour::Serve(..))
        && world.config.workloads.iter().any(|w| w.container.as_deref() == Some(&name));
    let problem = if model.pull == "Never" && !present {
        Some(("ErrImageNeverPull", format!("Container image \"{image}\" is not present with pull policy of Never")))
    } else {
        image::obstacle(&image, configured)
    };
    tell(world, key, &node, Report::normal("Pulling", format!("Pulling image \"{image}\"")).about(&name));
    let Some(c) = pod.containers.get_mut(i) else { return };
    match problem {
        None => {
            let took = if present { pace.look } else { pace.pull };
            world.runtime.images.insert((node.clone(), image::canonical(&image)));
            let ms = took.as_millis();
            let secs = format!("{}.{:03}s", ms / 1000, ms % 1000);
            c.pull_failures = 0;
            c.life = Life::Waiting {
                reason: "ContainerCreating",
                message: String::new(),
                next: Some((now.after(took + pace.create), Next::Start)),
            };
            let text = format!("Successfully pulled image \"{image}\" in {secs} ({secs} including waiting). Image size: 52428800 bytes.");
            tell(world, key, &node, Report::normal("Pulled", text).about(&name));
        }
        Some((reason, text)) => {
            c.pull_failures += 1;
            let wait = (BACK_OFF.0 * 2u32.saturating_pow(c.pull_failures - 1)).min(BACK_OFF.1);
            let (shown, message) = if c.pull_failures > 1 && reason == "ErrImagePull" {
                ("ImagePullBackOff", format!("Back-off pulling image \"{image}\": ErrImagePull: {text}"))
            } else {
                (reason, text.clone())
            };
            c.life = Life::Waiting { reason: shown, message, next: Some((now.after(wait), Next::Pull)) };
            let failed = if reason == "ErrImagePull" { format!("Failed to pull image \"{image}\": {text}") } else { text };
            tell(world, key, &node, Report::warning("Failed", failed).about(&name));
            tell(world, key, &node, Report::warning("Failed", format!("Error: {shown}")).about(&name));
            if reason == "ErrImagePull" {
                tell(world, key, &node, Report::normal("BackOff", format!("Back-off pulling image \"{image}\"")).about(&name));
            }
        }
    }
    pod.dirty = true;
}

/// What is wrong with a container that must not run as root. The official images do, unless they are told otherwise.
fn root(model: &ContainerModel, pod: &str) -> Option<String> {
    let which = format!("(pod: \"{pod}\", container: {})", model.name);
    match model.non_root {
        (true, Some(0)) => Some(format!("container's runAsUser breaks non-root policy {which}")),
        (true, None) if image::is_official(&model.image) => Some(format!("container has runAsNonRoot and image will run as root {which}")),
        _ => None,
    }
}

/// What is wrong with a directory of a volume that a container's variables name.
fn wrong_sub_path(model: &ContainerModel, known: &[(String, String)]) -> Option<String> {
    model.mounts.iter().filter_map(|m| m.sub_path_expr.as_deref()).find_map(|expression| {
        let path = environment::expand(expression, known);
        if let Some((name, _)) = path.split_once("$(").and_then(|(_, rest)| rest.split_once(')')) {
            Some(format!("missing value for {name:?}"))
        } else if path.starts_with('/') {
            Some(format!("error SubPath `{path}` must not be an absolute path"))
        } else if path.split('/').any(|part| part == "..") {
            Some(format!("unable to provision SubPath `{path}`: must not contain '..'"))
        } else {
            None
        }
    })
}

/// Says which of a pod's secrets for pulling images are not there.
fn lacking_secrets(world: &mut World, key: &Key, node: &str) {
    let Some(pod) = world.store.get(key) else { return };
    let wanted = pod["spec"]["imagePullSecrets"].as_array().into_iter().flatten().filter_map(|s| s["name"].as_str());
    let lacking: Vec<&str> = wanted.filter(|name| world.store.get(&Key::new(&SECRETS, &key.namespace, name)).is_none()).collect();
    if lacking.is_empty() {
        return;
    }
    let text =
        format!("Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.", lacking.join(", "));
    tell(world, key, node, Report::warning("FailedToRetrieveImagePullSecret", text));
}

/// Starts a container whose image is there.
pub(super) fn start(world: &mut World, key: &Key, pod: &mut PodRun, i: usize, again: bool) {
    let now = world.now;
    let node = pod.model.node.clone();
    let known = pod.model.containers.get(i).map(|m| environment::environment(&world.store, key, pod, m)).unwrap_or_default();
    let (Some(model), Some(c)) = (pod.model.containers.get(i).cloned(), pod.containers.get_mut(i)) else { return };
    // A restart with another image pulls that first.
    if again && !world.runtime.images.contains(&(node.clone(), image::canonical(&model.image))) {
        pull(world, key, pod, i);
        return;
    }
    let pod_id = format!("{}_{}({})", key.name, key.namespace, pod.uid);
    if let Some(why) = root(&model, &pod_id)
        .or_else(|| environment::missing(&world.store, &key.namespace, &model))
        .or_else(|| wrong_sub_path(&model, &known))
    {
        // The kubelet looks again with each sync of the pod.
        if !matches!(c.life, Life::Waiting { reason: "CreateContainerConfigError", .. }) {
            tell(world, key, &node, Report::warning("Failed", format!("Error: {why}")).about(&model.name));
        }
        let next = Some((now.after(CONFIG_RETRY), if again { Next::Restart } else { Next::Start }));
        c.life = Life::Waiting { reason: "CreateContainerConfigError", message: why, next };
        pod.dirty = true;
        return;
    }
    let pace = Pace::of(world.config.start_up);
    world.runtime.sequence += 1;
    let seed = u64::from(pod.address.map_or(0, u32::from)) << 32 | (world.runtime.sequence & 0xffff_ffff);
    let mix = |n: u64| (seed ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    c.id = format!("{:016x}{:016x}{:016x}{:016x}", mix(1), mix(2), mix(3), mix(4));
    c.image.clone_from(&model.image);
    if c.last.is_some() {
        c.restarts += 1;
    }
    let mut run = Run {
        since: now,
        work: 0.0,
        rate: (0.0, now),
        not_before: now,
        listening: None,
        ends: None,
        stopping: false,
        starting: None,
        ending: None,
        until: None,
    };
    let expanded = |words: &[String]| -> Vec<String> { words.iter().map(|w| environment::expand(w, &known)).collect() };
    match &model.behaviour {
        Behaviour::Serve(p, _) => {
            run.work = pace.work(p);
            run.not_before = now.after(pace.delay(p));
            if let Some(code) = p.exit_code {
                run.ends = Some((now.after(p.exits_after), code));
            }
        }
        Behaviour::Exit(code, _) => run.ends = Some((now.after(Duration::from_millis(50)), *code)),
        Behaviour::Program { endless, stdin } => {
            let program = Program {
                key: key.clone(),
                container: model.name.clone(),
                id: c.id.clone(),
                image: model.image.clone(),
                argv: if model.command.is_empty() { vec!["sh".to_owned()] } else { expanded(&model.command) },
                endless: *endless,
                naps: false,
                hook: None,
            };
            if *stdin {
                world.runtime.waiting.insert((key.clone(), model.name.clone()), program);
            } else {
                world.runtime.started.push(program);
            }
        }
        Behaviour::Sleep(d) => {
            run.ends = d.map(|d| (now.after(d), 0));
            let (key, container, id, image) = (key.clone(), model.name.clone(), c.id.clone(), model.image.clone());
            world.runtime.started.extend(model.before.as_ref().map(|argv| expanded(argv)).map(|argv| Program {
                key,
                container,
                id,
                image,
                argv,
                endless: false,
                naps: true,
                hook: None,
            }));
        }
        Behaviour::Pause => {}
    }
    let brief = run.ends.is_some_and(|(at, _)| at < now.after(RELIST));
    c.life = Life::Running(run);
    c.stress.clear();
    c.files = crate::sim::shell::files::Files::default();
    c.prepared = false;
    c.cpu_total = 0.0;
    c.throttled = Throttled::default();
    c.scraped = None;
    c.sample = None;
    c.log.clear();
    c.written = 0;
    // Whoever has ended before the kubelet looks again was never seen to run.
    c.started = model.probes[STARTUP].is_none() && !brief;
    c.ready = c.started && model.probes[READINESS].is_none();
    let own = world.config.workloads.iter().any(|w| w.namespace.as_deref().is_none_or(|n| n == &*key.namespace));
    for (which, (state, probe)) in c.probes.iter_mut().zip(&model.probes).enumerate() {
        let delay = probe.as_ref().map(|p| if which == LIVENESS { p.initial_delay } else { pace.first_look(p.initial_delay, own) });
        *state = ProbeState { next: delay.map(|d| now.after(d)), successes: 0, failures: 0 };
    }
    if let Behaviour::Exit(_, lines) = &model.behaviour {
        for l in lines {
            c.write(now, l.clone());
        }
    }
    let rate = resources::share(&model, c).main.min(1.0);
    if let Life::Running(r) = &mut c.life {
        r.rate = (rate, now);
    }
    pod.io.retain(|(_, f)| f.container != model.name);
    pod.dirty = true;
    // The pause image has one program: whatever else the specification names cannot be executed.
    if let (Behaviour::Pause, Some(program)) = (&model.behaviour, model.command.first().filter(|p| *p != "/pause")) {
        let text = format!(
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: \"{program}\": executable file not found in $PATH"
        );
        finish(world, pod, i, 128, "StartError");
        if let Some(Life::Ended(e)) = pod.containers.get_mut(i).map(|c| &mut c.life) {
            e.message.clone_from(&text);
        }
        tell(world, key, &node, Report::warning("Failed", format!("Error: {text}")).about(&model.name));
        return;
    }
    tell(world, key, &node, Report::normal("Created", format!("Created container: {}", model.name)).about(&model.name));
    tell(world, key, &node, Report::normal("Started", format!("Started container {}", model.name)).about(&model.name));
    let id = pod.containers.get(i).map(|c| c.id.clone()).unwrap_or_default();
    if let Some(pending) = hooks::begin(world, key, &model, &id, When::PostStart)
        && let Some(c) = pod.containers.get_mut(i)
        && let Life::Running(run) = &mut c.life
    {
        run.starting = Some(pending);
        (c.started, c.ready) = (false, false);
    }
}

/// The process is up: it says so in its log.
pub(super) fn up(model: &ContainerModel, c: &mut Container, now: SimTime) {
    let Some(p) = model.profile().cloned() else { return };
    for line in &p.log {
        c.write(now, line.clone());
    }
    if p.log.is_empty()
        && let Some(port) = model.ports.first()
    {
        c.write(now, format!("listening on 0.0.0.0:{port}"));
    }
}
