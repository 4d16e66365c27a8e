//! A container as `exec` sees it: the kubelet's side of [`shell::Host`](crate::sim::shell::Host).
//!
//! A host holds the clock from its making until it is dropped, and lets it go while the command sleeps.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::behaviour::Behaviour;
use super::container::{Container, Life};
use super::disk::{self, PodFaults};
use super::model::ContainerModel;
use super::network::{egress, ingress, join};
use super::runtime::{PodRun, node_address};
use super::{environment, files, image, lifecycle, names, node_files, probe, qdisc};
use crate::sim::clock::Hold;
use crate::sim::controllers::kinds::PODS;
use crate::sim::resource::Key;
use crate::sim::shell::files::Files;
use crate::sim::shell::{ApiCall, ConnectError, CpuUse, Host, HttpAnswer, HttpCall, Pending, Ping, ProcessInfo, ResolveError};
use crate::sim::status::Status;
use crate::sim::traffic::{self, Ask, End, Failure, OUTSIDE_RTT, POD_RTT, Wire};
use crate::sim::world::{Engine, World};

/// Process ids: the main process, its child when it is a shell's, the first stressor.
const MAIN: u32 = 1;
/// Where the process ids of a container begin that sees those of another.
const BESIDE: u32 = 5000;
const CHILD: u32 = 7;
const STRESS: u32 = 200;
const SIGKILL: i32 = 9;
/// Where the process ids of the containers begin that share them, and how many each has.
const SHARED: u32 = 10;
const EACH: u32 = 1000;

/// One container, for one command.
pub struct ContainerHost {
    engine: Arc<Engine>,
    key: Key,
    container: String,
    family: String,
    programs: Vec<String>,
    image: String,
    environment: Vec<(String, String)>,
    node: String,
    address: Ipv4Addr,
    workdir: String,
    hold: Arc<Mutex<Option<Hold>>>,
    /// Used when the container ends while the command runs.
    scratch: Mutex<Files>,
}

/// The container of a pod for one `exec`; an empty name stands for the pod's only or first container.
pub fn exec_host(engine: &Arc<Engine>, key: &Key, container: &str) -> Result<ContainerHost, Status> {
    let hold = engine.clock.hold();
    let (container, family, (programs, image), environment, node, address, workdir) = engine.with(|w| describe(w, key, container))?;
    Ok(ContainerHost {
        engine: Arc::clone(engine),
        key: key.clone(),
        container,
        family,
        programs,
        image,
        environment,
        node,
        address,
        workdir,
        hold: Arc::new(Mutex::new(Some(hold))),
        scratch: Mutex::new(Files::default()),
    })
}

type Description = (String, String, (Vec<String>, String), Vec<(String, String)>, String, Ipv4Addr, String);

fn describe(w: &mut World, key: &Key, container: &str) -> Result<Description, Status> {
    let Some(stored) = w.store.get(key).cloned() else { return Err(Status::not_found(&PODS, &key.name)) };
    let phase = stored["status"]["phase"].as_str().unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        return Err(Status::bad_request(format!("cannot exec into a container in a completed pod; current phase is {phase}")));
    }
    let Some(pod) = w.runtime.pod(key) else {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", key.name)));
    };
    let i = if container.is_empty() { Some(pod.model.init) } else { pod.index(container) };
    let found = i.and_then(|i| Some((pod.model.containers.get(i)?, pod.containers.get(i)?)));
    let Some((model, c)) = found else {
        return Err(Status::bad_request(format!("container {container} is not valid for pod {}", key.name)));
    };
    if c.run().is_none() {
        return Err(Status::new(500, "InternalError", format!("container not found (\"{}\")", model.name)));
    }
    let environment = environment::environment(&w.store, key, pod, model);
    let mut programs = model.profile().filter(|_| c.image == model.image).map(|p| p.programs.clone()).unwrap_or_default();
    programs.extend(image::programs(&c.image).iter().map(|p| (*p).to_owned()));
    let workdir = model.workdir.clone().unwrap_or_else(|| "/".to_owned());
    let address = pod.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
    Ok((
        model.name.clone(),
        files::family(model, &c.image),
        (programs, c.image.clone()),
        environment,
        pod.model.node.clone(),
        address,
        workdir,
    ))
}

/// The main process and what else runs in a container.
fn processes(w: &World, model: &ContainerModel, c: &Container) -> Vec<ProcessInfo> {
    let Some(run) = c.run() else { return Vec::new() };
    let age = w.now.since(run.since);
    let own = c.memory.saturating_sub(c.stress_memory());
    let process =
        |pid, parent, args: Vec<String>, cpu, memory| ProcessInfo { pid, parent, user: "root".to_owned(), args, cpu, memory, age };
    let mut out = Vec::new();
    let shell = model.command.len() >= 3 && model.command.first().is_some_and(|s| s.ends_with("sh"));
    let main = if matches!(model.behaviour, Behaviour::Pause) {
        vec!["/pause".to_owned()]
    } else if model.command.is_empty() {
        vec![model.image.rsplit('/').next().and_then(|i| i.split([':', '@']).next()).unwrap_or("app").to_owned()]
    } else {
        model.command.clone()
    };
    match (&model.behaviour, shell) {
        (Behaviour::Sleep(d), true) => {
            out.push(process(MAIN, 0, main, 0.0, own / 2));
            let seconds = d.map_or_else(|| "infinity".to_owned(), |d| d.as_secs().to_string());
            out.push(process(CHILD, MAIN, vec!["sleep".to_owned(), seconds], 0.0, own / 2));
        }
        _ => out.push(process(MAIN, 0, main, c.cpu_main, own)),
    }
    let stress_cpu = (c.cpu - c.cpu_main).max(0.0);
    for (n, (_, s)) in c.stress.iter().enumerate() {
        let base = STRESS + 100 * u32::try_from(n).unwrap_or(0);
        let command = if s.cpu_workers > 0 {
            format!("stress-ng --cpu {} --cpu-load {:.0}", s.cpu_workers, s.cpu_load * 100.0)
        } else {
            format!("memStress --size {} --workers {}", s.memory, s.memory_workers)
        };
        out.push(process(base, 0, command.split(' ').map(str::to_owned).collect(), 0.0, 2 << 20));
        let workers = s.cpu_workers.max(s.memory_workers).min(90);
        for i in 1..=workers {
            let name = if s.cpu_workers > 0 { "stress-ng-cpu [run]" } else { "memStress" };
            let cpu = if s.cpu_workers > 0 { stress_cpu / f64::from(workers) } else { 0.0 };
            out.push(process(base + i, base, vec![name.to_owned()], cpu, s.memory / u64::from(workers)));
        }
    }
    out
}

/// The processes of all containers of a pod that share them, after the one that holds their namespaces.
fn shared(w: &World, pod: &PodRun) -> Vec<ProcessInfo> {
    let args = vec!["/pause".to_owned()];
    let pause =
        ProcessInfo { pid: MAIN, parent: 0, user: "65535".to_owned(), args, cpu: 0.0, memory: 300 << 10, age: w.now.since(pod.bound) };
    let mut out = vec![pause];
    for (base, (model, c)) in (0..).map(|n| SHARED + n * EACH).zip(pod.model.containers.iter().zip(&pod.containers)) {
        let moved = |p: ProcessInfo| ProcessInfo { pid: p.pid + base, parent: if p.parent == 0 { 0 } else { p.parent + base }, ..p };
        out.extend(processes(w, model, c).into_iter().map(moved));
    }
    out
}

/// What a container sees: its own processes, and before them those of the container that it was added to.
fn seen(w: &World, pod: &PodRun, model: &ContainerModel, c: &Container) -> Vec<ProcessInfo> {
    if pod.model.shared {
        return shared(w, pod);
    }
    let own = processes(w, model, c);
    let target = model.target.as_deref().and_then(|t| pod.index(t));
    let Some((other, run)) = target.and_then(|i| Some((pod.model.containers.get(i)?, pod.containers.get(i)?))) else { return own };
    let beside = |p: ProcessInfo| ProcessInfo { pid: p.pid + BESIDE, parent: if p.parent == 0 { 0 } else { p.parent + BESIDE }, ..p };
    processes(w, other, run).into_iter().chain(own.into_iter().map(beside)).collect()
}

/// Whether a container's main process heeds no signal that it can ignore.
fn deaf(w: &World, key: &Key, container: &str) -> bool {
    let model = w.runtime.pod(key).and_then(|p| p.model.containers.get(p.index(container)?));
    model.is_none_or(|m| !matches!(m.behaviour, Behaviour::Serve(..)))
}

/// Delivers a signal in a container; whether there is such a process.
fn signal(w: &mut World, key: &Key, container: &str, pid: u32, signal: i32) -> bool {
    let Some((i, exists, deaf)) = w.runtime.pod(key).and_then(|pod| {
        let i = pod.index(container)?;
        let (model, c) = (pod.model.containers.get(i)?, pod.containers.get(i)?);
        let exists = processes(w, model, c).iter().any(|p| p.pid == pid);
        Some((i, exists, !matches!(model.behaviour, Behaviour::Serve(..))))
    }) else {
        return false;
    };
    if !exists || signal == 0 {
        return exists;
    }
    let ends = matches!(signal, 1 | 2 | 3 | 6 | 9 | 11 | 15);
    match pid {
        // The kernel shields process 1 from SIGKILL sent inside its own namespace and from signals that it does not handle.
        MAIN if signal == SIGKILL || deaf || !ends => {}
        MAIN => lifecycle::kill(w, key, container, if signal == 15 { 0 } else { 128 + signal }),
        // The shell ends with the command that it waited for.
        CHILD if ends => lifecycle::kill(w, key, container, 128 + signal),
        _ if ends => {
            if let Some(c) = w.runtime.pods.get_mut(key).and_then(|p| p.containers.get_mut(i)) {
                end_stressor(c, pid);
            }
            lifecycle::wake(w, key);
        }
        _ => {}
    }
    true
}

/// Ends a stressor: its parent takes all workers with it.
fn end_stressor(c: &mut Container, pid: u32) {
    let n = usize::try_from((pid - STRESS) / 100).unwrap_or(usize::MAX);
    let worker = (pid - STRESS) % 100;
    let Some((_, s)) = c.stress.get_mut(n) else { return };
    let memory_each = s.memory / u64::from(s.memory_workers.max(1));
    if worker == 0 {
        *s = super::container::Stress::default();
    } else if s.cpu_workers > 0 {
        s.cpu_workers -= 1;
    } else {
        s.memory_workers = s.memory_workers.saturating_sub(1);
        s.memory = s.memory.saturating_sub(memory_each);
    }
    if s.cpu_workers == 0 && s.memory_workers == 0 {
        c.stress.remove(n);
    }
}

fn ping(w: &mut World, key: &Key, address: Ipv4Addr) -> Ping {
    let allowed = traffic::with_graph(w, |w, graph| {
        let own = w.runtime.pod(key).and_then(|p| p.address).filter(|_| !graph.policies.is_empty());
        own.is_none_or(|own| {
            let to = w.runtime.at_address(address).map_or_else(|| End::at(address), |(peer, _)| End::of_pod(w, peer, address));
            own == address || graph.policies.allow(w, &End::of_pod(w, key, own), &to, Wire::Icmp)
        })
    });
    if !allowed {
        return Ping::Lost;
    }
    let Some(pod) = w.runtime.pod(key) else { return Ping::Lost };
    let own = pod.address;
    if address.is_loopback() || own == Some(address) {
        return Ping::Reply(Duration::from_micros(50));
    }
    let (mut there, mut back) = (egress(pod, Some(address)), ingress(pod, Some(address)));
    let rtt = if let Some((_, peer)) = w.runtime.at_address(address) {
        there = join(&there, &ingress(peer, own));
        back = join(&back, &egress(peer, own));
        POD_RTT
    } else {
        match address.octets() {
            // Nobody answers for virtual and unused addresses.
            [10, 42 | 96, ..] => return Ping::Lost,
            [192, 168, 64, _] => POD_RTT,
            _ => OUTSIDE_RTT,
        }
    };
    let spread = w.uniform();
    match (there.packet(w, 98.0), back.packet(w, 98.0)) {
        (Some(a), Some(b)) => Ping::Reply(Duration::try_from_secs_f64(rtt * (1.0 + 0.2 * spread) + a + b).unwrap_or_default()),
        _ => Ping::Lost,
    }
}

fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or_default()
}

impl ContainerHost {
    fn with<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        self.engine.with(f)
    }

    /// Reads something of the container, if it still exists.
    fn look<T>(&self, f: impl FnOnce(&World, &PodRun, &ContainerModel, &Container) -> T) -> Option<T> {
        self.with(|w| {
            let pod = w.runtime.pod(&self.key)?;
            let i = pod.index(&self.container)?;
            Some(f(w, pod, pod.model.containers.get(i)?, pod.containers.get(i)?))
        })
    }

    /// Name of the container.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// Whether the container that the command was started in still runs.
    pub fn alive(&self) -> bool {
        self.look(|_, _, _, c| matches!(c.life, Life::Running(_))).unwrap_or(false)
    }
}

impl Host for ContainerHost {
    fn family(&self) -> String {
        self.family.clone()
    }

    fn programs(&self) -> Vec<String> {
        self.programs.clone()
    }

    fn image(&self) -> String {
        self.image.clone()
    }

    fn environment(&self) -> Vec<(String, String)> {
        self.environment.clone()
    }

    fn hostname(&self) -> String {
        self.with(|w| w.runtime.pod(&self.key).map_or_else(|| self.key.name.to_string(), |p| p.model.hostname.clone()))
    }

    fn node(&self) -> String {
        self.node.clone()
    }

    fn address(&self) -> Ipv4Addr {
        self.address
    }

    fn namespace(&self) -> String {
        self.key.namespace.to_string()
    }

    fn resolver(&self) -> String {
        self.with(|w| w.runtime.pod(&self.key).map(|p| p.model.resolver.text()).unwrap_or_default())
    }

    fn hosts(&self) -> String {
        self.with(|w| w.runtime.pod(&self.key).map(|p| p.model.resolver.hosts()).unwrap_or_default())
    }

    fn identity(&self) -> (u64, Vec<u64>) {
        self.with(|w| {
            let Some(pod) = w.store.get(&self.key) else { return (0, vec![0]) };
            let spec = &pod["spec"];
            let lists = ["containers", "initContainers", "ephemeralContainers"];
            let mut all = lists.into_iter().flat_map(|list| spec[list].as_array().into_iter().flatten());
            let own = all.find(|c| c["name"] == self.container.as_str()).map(|c| &c["securityContext"]);
            let said = |field: &str| own.and_then(|o| o[field].as_u64()).or(spec["securityContext"][field].as_u64());
            let further = spec["securityContext"]["supplementalGroups"].as_array().into_iter().flatten().filter_map(Value::as_u64);
            let mut groups = vec![said("runAsGroup").unwrap_or(0)];
            groups.extend(said("fsGroup").into_iter().chain(further));
            (said("runAsUser").unwrap_or(0), groups)
        })
    }

    fn node_hosts(&self) -> Option<String> {
        self.with(|w| {
            let model = &w.runtime.pod(&self.key).filter(|p| p.model.host_network)?.model;
            Some(node_files::hosts(&model.node, node_address(&model.node)))
        })
    }

    fn name_server(&self) -> Ipv4Addr {
        let own = self.with(|w| w.runtime.pod(&self.key).and_then(|p| p.model.resolver.servers.first().copied()));
        own.unwrap_or(Ipv4Addr::LOCALHOST)
    }

    fn workdir(&self) -> String {
        self.workdir.clone()
    }

    fn now(&self) -> jiff::Timestamp {
        self.engine.now().timestamp()
    }

    fn sleep(&self, d: Duration) -> Pending<()> {
        let engine = Arc::clone(&self.engine);
        let slot = Arc::clone(&self.hold);
        Box::pin(async move {
            let timer = engine.clock.timer(engine.now().after(d));
            drop(slot.lock().unwrap_or_else(PoisonError::into_inner).take());
            // The clock goes only with the engine, which lives here.
            let hold = timer.await.unwrap_or_else(|_| engine.clock.hold());
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(hold);
        })
    }

    fn uniform(&self) -> f64 {
        self.with(World::uniform)
    }

    fn with_files<T>(&self, f: impl FnOnce(&mut Files) -> T) -> T {
        self.with(|w| match files::of(w, &self.key, &self.container) {
            Some(files) => f(files),
            // The container is gone: the rest of the command works on nobody's files.
            None => f(&mut self.scratch.lock().unwrap_or_else(PoisonError::into_inner)),
        })
    }

    fn processes(&self) -> Vec<ProcessInfo> {
        self.look(seen).unwrap_or_default()
    }

    fn kill(&self, pid: u32, number: i32) -> bool {
        let among = self.look(|_, pod, _, _| {
            let n = usize::try_from(pid.checked_sub(SHARED)? / EACH).ok()?;
            pod.model.containers.get(n).filter(|_| pod.model.shared).map(|m| m.name.clone())
        });
        if let Some(name) = among.flatten() {
            let own = (pid - SHARED) % EACH;
            // Outside their own namespace, nothing shields main processes.
            let ends = own == MAIN && matches!(number, 1 | 2 | 3 | 6 | 9 | 11 | 15);
            return self.with(|w| {
                let there = signal(w, &self.key, &name, own, if ends { 0 } else { number });
                if ends && there && (number == SIGKILL || !deaf(w, &self.key, &name)) {
                    lifecycle::kill(w, &self.key, &name, if number == 15 { 0 } else { 128 + number });
                }
                there
            });
        }
        let target = self.look(|_, _, model, _| model.target.clone()).flatten();
        let (container, pid) = match &target {
            Some(target) if pid < BESIDE => (target, pid),
            Some(_) => (&self.container, pid - BESIDE),
            None => (&self.container, pid),
        };
        self.with(|w| signal(w, &self.key, container, pid, number))
    }

    fn listening(&self) -> Vec<u16> {
        let ports = self.look(|_, _, model, c| model.ports.iter().copied().filter(|port| probe::accepts(model, c, *port)).collect());
        ports.unwrap_or_default()
    }

    fn limits(&self) -> (Option<f64>, Option<u64>) {
        self.look(|_, _, model, _| (model.cpu_limit, model.memory_limit)).unwrap_or((None, None))
    }

    fn usage(&self) -> (f64, u64) {
        self.look(|_, _, _, c| (c.cpu, c.memory)).unwrap_or((0.0, 0))
    }

    fn cpu(&self) -> CpuUse {
        let used =
            |c: &Container| CpuUse { seconds: c.cpu_total, throttled: (c.throttled.periods, c.throttled.times, c.throttled.seconds) };
        self.look(|_, _, _, c| used(c)).unwrap_or_default()
    }

    fn resolve(&self, name: &str) -> Result<Ipv4Addr, ResolveError> {
        self.with(|w| names::resolve(w, &self.key, name))
    }

    fn records(&self, name: &str) -> Result<Vec<Ipv4Addr>, ResolveError> {
        self.with(|w| names::records(w, &self.key, name))
    }

    fn pointer(&self, address: Ipv4Addr) -> Result<String, ResolveError> {
        self.with(|w| names::pointer(w, &self.key, address))
    }

    fn qdiscs(&self) -> Vec<String> {
        self.with(|w| w.runtime.pods.get(&self.key).map(|pod| qdisc::show(w, pod)).unwrap_or_default())
    }

    fn drop_qdiscs(&self) -> Option<bool> {
        self.with(|w| qdisc::remove(w, &self.key, &self.container))
    }

    fn ping(&self, address: Ipv4Addr) -> Ping {
        self.with(|w| ping(w, &self.key, address))
    }

    fn connect(&self, address: Ipv4Addr, port: u16, timeout: Duration) -> Result<Duration, ConnectError> {
        let ask = Ask { from: Some(self.key.clone()), address, port, path: "/", timeout: timeout.as_secs_f64(), weight: 1.0 };
        match self.with(|w| traffic::with_graph(w, |w, graph| traffic::connect(w, graph, &ask))) {
            Ok(t) => Ok(seconds(t)),
            Err((Failure::Refused, t)) => Err(ConnectError::Refused(seconds(t))),
            Err((_, t)) => Err(ConnectError::TimedOut(seconds(t))),
        }
    }

    fn http(&self, call: &HttpCall) -> Result<HttpAnswer, ConnectError> {
        let from = Some(self.key.clone());
        let ask = Ask { from, address: call.address, port: call.port, path: &call.path, timeout: call.timeout.as_secs_f64(), weight: 1.0 };
        let outcome = self.with(|w| traffic::with_graph(w, |w, graph| traffic::request(w, graph, &ask, 0)));
        let took = seconds(outcome.took);
        match outcome.result {
            Ok((status, body)) => Ok(HttpAnswer { status, headers: Vec::new(), body: body.into_bytes(), took }),
            Err(Failure::Refused) => Err(ConnectError::Refused(took)),
            Err(Failure::TimedOut | Failure::NoSuchName) => Err(ConnectError::TimedOut(took)),
        }
    }

    fn is_api(&self, address: Ipv4Addr, port: u16) -> bool {
        traffic::is_api(address, port)
    }

    fn ask_api(&self, call: ApiCall) -> Pending<Option<HttpAnswer>> {
        let engine = Arc::clone(&self.engine);
        Box::pin(async move { engine.ask(call).await })
    }

    fn disk(&self, path: &str, bytes: u64, calls: u32, write: bool) -> Result<Duration, &'static str> {
        self.with(|w| {
            let Some(faults) = w.runtime.pod(&self.key).map(|p| PodFaults::of(p, &self.container)) else { return Ok(Duration::ZERO) };
            disk::disk(w, &faults, path, bytes, calls, write)
        })
    }
}
