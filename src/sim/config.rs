//! What an embedded cluster is made of. Filled by callers; nothing here is read from files or the environment.

use std::collections::BTreeMap;
use std::time::Duration;

use super::exchange::Onlooker;
use super::time::SimTime;

/// How simulated time passes; see [`super::clock`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ClockMode {
    /// Stands still while anybody computes and jumps to the next event when everybody only waits.
    Skip,
    /// So many simulated seconds a second of real time; `1.0` is real time.
    Scaled(f64),
}

/// How long it takes from a pod that is bound to a node to a process that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartUp {
    /// As long as on a real node: sandbox, image, and the work that the process's profile says, under its CPU limit.
    #[default]
    Modelled,
    /// Some hundredths of a second, whatever the image: for people and tests who wait in real time.
    Prompt,
}

/// Configuration of one embedded cluster.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "four things that a cluster has or has not")]
pub struct SimConfig {
    /// Seed of every random choice: uids, pod name suffixes, packet loss.
    pub seed: u64,
    /// How time passes.
    pub clock: ClockMode,
    /// How long containers take to start.
    pub start_up: StartUp,
    /// The moment at which the cluster comes up. Fixed by default, so that runs are repeatable; a cluster for people starts at
    /// the present, since their clients compute ages with their own clocks.
    pub start: SimTime,
    /// TCP port on 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// Number of nodes, each with 8 cores, 32 GiB and 110 pods.
    pub nodes: u32,
    /// Simulated time charged for each API request in [`ClockMode::Skip`], so that controllers get on while clients compute.
    pub request_cost: Duration,
    /// How the containers of known workloads behave; the first match counts, others get [`Profile::default`].
    pub workloads: Vec<WorkloadModel>,
    /// Load from outside, offered to the services named.
    pub traffic: Vec<EntryLoad>,
    /// Users that get an address of their own, see [`super::Sim::kubeconfig_of`].
    pub doors: Vec<String>,
    /// Bearer tokens and the user names they stand for. Requests without a token are `system:anonymous`.
    pub tokens: BTreeMap<String, String>,
    /// Groups of users, beside `system:authenticated`. Users that are not named here are in `system:masters`.
    pub groups: BTreeMap<String, Vec<String>>,
    /// API groups that users are not to see, by user: as if the groups' operators were not installed.
    pub hidden: BTreeMap<String, Vec<String>>,
    /// Whether the name server is to be seen as a deployment in `kube-system`, as people expect of a cluster.
    pub system_pods: bool,
    /// Whether commands that end are run in the shell's model. Needs a server: [`super::Sim`] sees to it.
    pub programs: bool,
    /// Whether roles and bindings are enforced; otherwise everybody may do everything.
    pub rbac: bool,
    /// Whether the API is served over TLS only, with a certificate of the cluster's own authority.
    pub tls: bool,
    /// Who looks on at every request and its answer.
    pub onlooker: Option<Onlooker>,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            clock: ClockMode::Skip,
            start_up: StartUp::Modelled,
            start: SimTime(0),
            port: 0,
            nodes: 3,
            request_cost: Duration::from_millis(10),
            workloads: Vec::new(),
            traffic: Vec::new(),
            doors: Vec::new(),
            tokens: BTreeMap::new(),
            groups: BTreeMap::new(),
            hidden: BTreeMap::new(),
            system_pods: false,
            programs: false,
            rbac: false,
            tls: false,
            onlooker: None,
        }
    }
}

/// How the containers of the pods that match behave.
#[derive(Debug, Clone, Default)]
pub struct WorkloadModel {
    /// Namespace of the pods; `None` matches all.
    pub namespace: Option<String>,
    /// Labels that the pod must carry, all of them.
    pub labels: BTreeMap<String, String>,
    /// Container name; `None` matches every container of the pod that no other entry names.
    pub container: Option<String>,
    /// Its behaviour.
    pub profile: Profile,
    /// Services that serving one request calls, one after the other, each once.
    pub calls: Vec<Call>,
}

/// One call that a workload makes while it serves a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// DNS name of the Service called, as the container would spell it (`time-service`).
    pub service: String,
    /// Port of the Service.
    pub port: u16,
    /// Path asked for; `*`: the path that the caller was asked for.
    pub path: String,
    /// The caller's time-out.
    pub timeout: Duration,
    /// Paths of the caller whose requests make this call, with `*` at the end for all that begin so; empty: all.
    pub on: Vec<String>,
}

/// Whether a path is one that a pattern stands for: the same, or beginning with what stands before a `*` at its end.
pub fn path_matches(pattern: &str, path: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == path, |start| path.starts_with(start))
}

/// Open-loop load on one service from outside the cluster.
#[derive(Debug, Clone)]
pub struct EntryLoad {
    /// Namespace of the Service.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// Port of the Service.
    pub port: u16,
    /// Path asked for.
    pub path: String,
    /// Requests a second.
    pub rate: f64,
}

/// Behaviour of a container's process.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Which programs exist: `debian-slim`, `debian`, `alpine`, `busybox`, `distroless`. `None`: guessed from the image name.
    pub family: Option<String>,
    /// More programs than the family has (`python3`, `curl`, `mysql`).
    pub programs: Vec<String>,
    /// CPU-seconds of work from process start until it listens; stretched by the CPU limit.
    pub startup_cpu_s: f64,
    /// Wall time of start-up that is not CPU work.
    pub startup_delay: Duration,
    /// CPU used with no load, in cores.
    pub idle_cpu: f64,
    /// CPU-seconds to serve one request.
    pub cpu_per_request_s: f64,
    /// Service time of a request with no contention, calls excluded.
    pub latency: Duration,
    /// Resident memory after start-up, in bytes.
    pub memory: u64,
    /// Paths answered with 200, with `*` at the end for all that begin so; empty: every path. Others get 404.
    pub paths: Vec<String>,
    /// Whether it accepts connections: on its container's declared ports, or on any where none is declared.
    pub listens: bool,
    /// `Some(code)`: the process ends by itself with that code after [`Profile::exits_after`].
    pub exit_code: Option<i32>,
    /// When it ends by itself.
    pub exits_after: Duration,
    /// Lines written to the log when the process is up.
    pub log: Vec<String>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            family: None,
            programs: Vec::new(),
            startup_cpu_s: 0.05,
            startup_delay: Duration::from_millis(100),
            idle_cpu: 0.001,
            cpu_per_request_s: 0.001,
            latency: Duration::from_millis(2),
            memory: 16 << 20,
            paths: Vec::new(),
            listens: true,
            exit_code: None,
            exits_after: Duration::ZERO,
            log: Vec::new(),
        }
    }
}
