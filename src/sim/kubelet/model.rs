//! A pod's specification, read once into plain types. Input: the pod's JSON and the configured workloads.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::behaviour::{Behaviour, behaviour, implied_ports};
use super::hooks::Hook;
use super::nap::Nap;
use super::quantity;
use super::resolver::Resolver;
use crate::sim::config::{Profile, SimConfig};

/// A port of a node that leads to a container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPort {
    /// On the node.
    pub port: u16,
    /// Of the container.
    pub own: u16,
    /// The only address of the node on which it is open; `None` for all.
    pub address: Option<Ipv4Addr>,
}

/// What the kubelet needs to know of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodModel {
    /// The node it is bound to.
    pub node: String,
    /// `Always`, `OnFailure` or `Never`.
    pub restart: Restart,
    /// Grace period at the end.
    pub grace: Duration,
    /// Init containers first, then the others, then those that were added to look at them.
    pub containers: Vec<Arc<ContainerModel>>,
    /// How many of them are init containers.
    pub init: usize,
    /// How many of them are not ephemeral.
    pub lasting: usize,
    /// Volumes by name.
    pub volumes: BTreeMap<String, Value>,
    /// How it resolves names.
    pub resolver: Resolver,
    /// CPU in cores and memory in bytes requested, as the scheduler counts them.
    pub requests: (f64, f64),
    /// `Guaranteed`, `Burstable` or `BestEffort`.
    pub qos: &'static str,
    /// What its containers call themselves.
    pub hostname: String,
    /// Whether it has its node's network.
    pub host_network: bool,
    /// Ports of its node that lead to its own.
    pub host_ports: Vec<HostPort>,
    /// How long it may run.
    pub deadline: Option<Duration>,
    /// Whether its containers see each other's processes.
    pub shared: bool,
}

/// Restart policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Whatever the exit code.
    Always,
    /// Unless it was 0.
    OnFailure,
    /// Never.
    Never,
}

/// One container.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerModel {
    /// Its name.
    pub name: String,
    /// Its image, as written.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub pull: String,
    /// Command and arguments.
    pub command: Vec<String>,
    /// Environment as written in the specification.
    pub env: Vec<Value>,
    /// Sources of more environment.
    pub env_from: Vec<Value>,
    /// Numbers of its ports.
    pub ports: Vec<u16>,
    /// CPU limit in cores.
    pub cpu_limit: Option<f64>,
    /// Memory limit in bytes.
    pub memory_limit: Option<u64>,
    /// Requests and limits as written.
    pub resources: Value,
    /// Readiness, liveness and startup probe.
    pub probes: [Option<Probe>; 3],
    /// Mounted volumes.
    pub mounts: Vec<Mount>,
    /// Working directory.
    pub workdir: Option<String>,
    /// What is done after it has started.
    pub post_start: Option<Hook>,
    /// What is done before it is told to end.
    pub pre_stop: Option<Hook>,
    /// Whether the image's own files cannot be changed.
    pub read_only: bool,
    /// Whether it must not run as root, and the user that it is to run as.
    pub non_root: (bool, Option<u64>),
    /// The file with what it says at its end.
    pub last_words: String,
    /// Whether the end of its log is the message of a failure.
    pub log_tells: bool,
    /// Init container that keeps running (`restartPolicy: Always`).
    pub sidecar: bool,
    /// What its process does.
    pub behaviour: Behaviour,
    /// What a process that sleeps has done before.
    pub before: Option<Vec<String>>,
    /// Whose processes it sees.
    pub target: Option<String>,
}

/// A mounted volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Name of the volume.
    pub volume: String,
    /// Where it is mounted, without a slash at the end.
    pub path: String,
    /// Only this file or directory of it.
    pub sub_path: Option<String>,
    /// The same with variables of the container in it.
    pub sub_path_expr: Option<String>,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// Index of the readiness probe.
pub const READINESS: usize = 0;
/// Index of the liveness probe.
pub const LIVENESS: usize = 1;
/// Index of the startup probe.
pub const STARTUP: usize = 2;

/// A probe.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// What it does.
    pub action: Action,
    /// Wait after the container's start.
    pub initial_delay: Duration,
    /// Time between probes.
    pub period: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Successes in a row that count.
    pub successes: u32,
    /// Failures in a row that count.
    pub failures: u32,
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// HTTP GET: scheme, port, path.
    Http(String, u16, String),
    /// Opens a TCP connection.
    Tcp(u16),
    /// gRPC health check.
    Grpc(u16),
    /// Runs a command.
    Exec(Vec<String>),
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn seconds(value: &Value, default: u64) -> Duration {
    Duration::from_secs(value.as_u64().unwrap_or(default))
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

impl PodModel {
    /// Reads a pod.
    pub fn read(pod: &Value, config: &SimConfig) -> Self {
        let spec = &pod["spec"];
        let inits = list(&spec["initContainers"]);
        let init = list(&spec["initContainers"]).count();
        let all = inits.chain(list(&spec["containers"])).enumerate();
        let mut containers: Vec<_> = all.map(|(i, c)| Arc::new(ContainerModel::read(c, pod, config, i < init))).collect();
        let lasting = containers.len();
        containers.extend(list(&spec["ephemeralContainers"]).map(|c| Arc::new(ContainerModel::ephemeral(c, pod, config))));
        let volumes = list(&spec["volumes"]).filter_map(|v| Some((v["name"].as_str()?.to_owned(), v.clone()))).collect();
        Self {
            node: spec["nodeName"].as_str().unwrap_or_default().to_owned(),
            restart: match spec["restartPolicy"].as_str() {
                Some("OnFailure") => Restart::OnFailure,
                Some("Never") => Restart::Never,
                _ => Restart::Always,
            },
            grace: seconds(&spec["terminationGracePeriodSeconds"], 30),
            containers,
            init,
            lasting,
            volumes,
            resolver: Resolver::read(pod),
            requests: crate::sim::controllers::scheduler::requests(pod),
            qos: qos(spec),
            hostname: {
                let own = spec["hostname"].as_str().or(pod["metadata"]["name"].as_str());
                let node = spec["nodeName"].as_str().filter(|_| spec["hostNetwork"] == true);
                node.or(own).unwrap_or_default().to_owned()
            },
            host_network: spec["hostNetwork"] == true,
            host_ports: {
                let number = |p: &Value, field: &str| u16::try_from(p[field].as_u64()?).ok().filter(|n| *n > 0);
                let ports = list(&spec["containers"]).flat_map(|c| list(&c["ports"]));
                let address = |p: &Value| p["hostIP"].as_str().and_then(|a| a.parse().ok()).filter(|a: &Ipv4Addr| !a.is_unspecified());
                let read =
                    |p: &Value| Some(HostPort { port: number(p, "hostPort")?, own: number(p, "containerPort")?, address: address(p) });
                ports.filter_map(read).collect()
            },
            deadline: spec["activeDeadlineSeconds"].as_u64().map(Duration::from_secs),
            shared: spec["shareProcessNamespace"] == true,
        }
    }
}

fn qos(spec: &Value) -> &'static str {
    let all: Vec<&Value> = list(&spec["containers"]).chain(list(&spec["initContainers"])).collect();
    let get = |c: &Value, part: &str, what: &str| quantity::parse(&c["resources"][part][what]);
    let none = all.iter().all(|c| ["requests", "limits"].iter().all(|p| ["cpu", "memory"].iter().all(|w| get(c, p, w).is_none())));
    let guaranteed = all.iter().all(|c| {
        ["cpu", "memory"].iter().all(|w| get(c, "limits", w).is_some_and(|l| get(c, "requests", w).is_none_or(|r| (r - l).abs() < 1e-9)))
    });
    if none {
        "BestEffort"
    } else if guaranteed {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

impl ContainerModel {
    fn read(c: &Value, pod: &Value, config: &SimConfig, init: bool) -> Self {
        let ports: Vec<u16> = list(&c["ports"]).filter_map(|p| u16::try_from(p["containerPort"].as_u64()?).ok()).collect();
        let named = |p: &Value| -> u16 {
            match p {
                Value::String(s) => list(&c["ports"])
                    .find(|x| x["name"] == s.as_str())
                    .and_then(|x| x["containerPort"].as_u64())
                    .or_else(|| s.parse().ok())
                    .and_then(|n| u16::try_from(n).ok())
                    .unwrap_or(0),
                other => other.as_u64().and_then(|n| u16::try_from(n).ok()).unwrap_or(0),
            }
        };
        let probe = |field: &str| Probe::read(&c[field], &named);
        let mut command = strings(&c["command"]);
        let arguments = strings(&c["args"]);
        if command.is_empty() && !arguments.is_empty() {
            command.extend(super::image::entrypoint(c["image"].as_str().unwrap_or_default()).map(str::to_owned));
        }
        command.extend(arguments);
        let limit = |what: &str| quantity::parse(&c["resources"]["limits"][what]);
        let behaviour = behaviour(c, &command, pod, config, init && c["restartPolicy"] != "Always");
        let before = match behaviour {
            Behaviour::Sleep(_) if config.programs => Nap::read(&command).map(|n| n.before),
            _ => None,
        };
        Self {
            name: c["name"].as_str().unwrap_or_default().to_owned(),
            image: c["image"].as_str().unwrap_or_default().to_owned(),
            pull: c["imagePullPolicy"].as_str().unwrap_or("IfNotPresent").to_owned(),
            env: list(&c["env"]).cloned().collect(),
            env_from: list(&c["envFrom"]).cloned().collect(),
            cpu_limit: limit("cpu").filter(|l| *l > 0.0),
            memory_limit: quantity::bytes(&c["resources"]["limits"]["memory"]).filter(|l| *l > 0),
            resources: c["resources"].clone(),
            probes: [probe("readinessProbe"), probe("livenessProbe"), probe("startupProbe")],
            mounts: list(&c["volumeMounts"])
                .filter_map(|m| {
                    Some(Mount {
                        volume: m["name"].as_str()?.to_owned(),
                        path: m["mountPath"].as_str()?.trim_end_matches('/').to_owned(),
                        sub_path: m["subPath"].as_str().filter(|s| !s.is_empty()).map(str::to_owned),
                        sub_path_expr: m["subPathExpr"].as_str().filter(|s| !s.is_empty()).map(str::to_owned),
                        read_only: m["readOnly"] == true,
                    })
                })
                .collect(),
            post_start: Hook::read(&c["lifecycle"]["postStart"], &named),
            pre_stop: Hook::read(&c["lifecycle"]["preStop"], &named),
            read_only: c["securityContext"]["readOnlyRootFilesystem"] == true,
            non_root: {
                let said = |field: &str| [c, &pod["spec"]].map(|o| o["securityContext"][field].clone()).into_iter().find(|v| !v.is_null());
                (said("runAsNonRoot") == Some(true.into()), said("runAsUser").and_then(|v| v.as_u64()))
            },
            last_words: c["terminationMessagePath"].as_str().unwrap_or("/dev/termination-log").to_owned(),
            log_tells: c["terminationMessagePolicy"] == "FallbackToLogsOnError",
            workdir: c["workingDir"].as_str().map(str::to_owned),
            sidecar: c["restartPolicy"] == "Always",
            behaviour,
            before,
            target: None,
            ports: if ports.is_empty() { implied_ports(c["image"].as_str().unwrap_or_default(), &command) } else { ports },
            command,
        }
    }

    /// A container that somebody added to look at a running pod. It runs what it is told to, once, and serves nobody.
    fn ephemeral(c: &Value, pod: &Value, config: &SimConfig) -> Self {
        let alone = serde_json::json!({"metadata": {"namespace": pod["metadata"]["namespace"]}, "spec": {"restartPolicy": "Never"}});
        let mut read = Self::read(c, &alone, config, false);
        if matches!(read.behaviour, Behaviour::Serve(..)) {
            read.behaviour = Behaviour::Sleep(None);
        }
        read.target = c["targetContainerName"].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        read
    }

    /// The profile of a server; `None` for others.
    pub fn profile(&self) -> Option<&Profile> {
        match &self.behaviour {
            Behaviour::Serve(p, _) => Some(p),
            _ => None,
        }
    }
}

impl Probe {
    fn read(p: &Value, port: &dyn Fn(&Value) -> u16) -> Option<Self> {
        let action = if p["httpGet"].is_object() {
            let h = &p["httpGet"];
            let scheme = h["scheme"].as_str().unwrap_or("HTTP").to_lowercase();
            Action::Http(scheme, port(&h["port"]), h["path"].as_str().unwrap_or("/").to_owned())
        } else if p["tcpSocket"].is_object() {
            Action::Tcp(port(&p["tcpSocket"]["port"]))
        } else if p["grpc"].is_object() {
            Action::Grpc(port(&p["grpc"]["port"]))
        } else if p["exec"].is_object() {
            Action::Exec(strings(&p["exec"]["command"]))
        } else {
            return None;
        };
        Some(Self {
            action,
            initial_delay: seconds(&p["initialDelaySeconds"], 0),
            period: seconds(&p["periodSeconds"], 10).max(Duration::from_secs(1)),
            timeout: seconds(&p["timeoutSeconds"], 1).max(Duration::from_secs(1)),
            successes: p["successThreshold"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1).max(1),
            failures: p["failureThreshold"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(3).max(1),
        })
    }
}
