//! systems/NAME/system.toml.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A microservice system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SystemManifest {
    /// Name; the folder's name.
    pub name: String,
    /// What it is, one line.
    #[serde(default)]
    pub description: String,
    /// Namespace it is deployed to.
    pub namespace: String,
    /// The sentence of the prompts that says where the system runs.
    pub runtime: String,
    /// How it is deployed.
    pub deploy: Deploy,
    /// Its workloads.
    pub services: Vec<Service>,
    /// How the embedded cluster models containers, by profile name.
    #[serde(default)]
    pub profiles: IndexMap<String, Profile>,
    /// Load from outside on the entry services (embedded cluster).
    #[serde(default)]
    pub traffic: Vec<Entry>,
    /// Which services a fault may hit, by fault name; faults not named may hit every service with `target = true`.
    /// A list of `!service` leaves these out.
    #[serde(default)]
    pub targets: IndexMap<String, Vec<String>>,
    /// Free values for the templates (`vars.*`).
    #[serde(default)]
    pub vars: IndexMap<String, Value>,
}

/// How a system is deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// Templates of Kubernetes YAML, relative to the system's folder. They see `system`, `services`, `namespace`, `vars`.
    pub manifests: Vec<String>,
    /// Time until every pod must be Ready.
    pub ready_timeout: String,
}

/// One workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Name of the Deployment, its `app` label and its Service.
    pub name: String,
    /// Kind of the workload: `Deployment` or `StatefulSet`.
    #[serde(default = "deployment")]
    pub kind: String,
    /// Whether faults may hit it that `targets` does not name.
    #[serde(default = "yes")]
    pub target: bool,
    /// Name of the main container; none: the service's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Image of the main container.
    pub image: String,
    /// Port it listens on.
    pub port: u16,
    /// Port of its Service; none: the port it listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_port: Option<u16>,
    /// Replicas.
    #[serde(default = "one")]
    pub replicas: u32,
    /// Services that serving one request calls.
    #[serde(default)]
    pub calls: Vec<ServiceCall>,
    /// Paths it answers; one that ends in `*` stands for all that begin so. Empty: all.
    #[serde(default)]
    pub paths: Vec<String>,
    /// CPU request and limit.
    #[serde(default)]
    pub cpu: Quantities,
    /// Memory request and limit.
    #[serde(default)]
    pub memory: Quantities,
    /// Profile of the main container.
    pub profile: String,
    /// Further containers of its pods.
    #[serde(default)]
    pub sidecars: Vec<Sidecar>,
    /// Containers that run to their end before the others start; their profiles have an `exit_code`.
    #[serde(default)]
    pub init: Vec<Sidecar>,
    /// Container in which checks run when the main one has no shell or program for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_container: Option<String>,
    /// Free values for the templates (`service.vars.*`).
    #[serde(default)]
    pub vars: IndexMap<String, Value>,
}

impl SystemManifest {
    /// What the templates of the system see: nothing of a trial, so that every trial deploys the same.
    pub fn context(&self) -> Value {
        serde_json::json!({
            "system": { "name": self.name, "namespace": self.namespace, "runtime": self.runtime, "vars": self.vars },
            "services": self.services,
            "namespace": self.namespace,
            "vars": self.vars,
        })
    }

    /// Names of the services that a fault may hit, in the order of the manifest.
    pub fn targets_of(&self, fault: &str) -> Vec<&str> {
        let all = self.services.iter().filter(|s| s.target).map(|s| s.name.as_str());
        match self.targets.get(fault) {
            Some(list) if list.iter().all(|t| t.starts_with('!')) => {
                all.filter(|name| !list.iter().any(|t| t.strip_prefix('!') == Some(name))).collect()
            }
            Some(list) => list.iter().map(String::as_str).collect(),
            None => all.collect(),
        }
    }

    /// A service by name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|s| s.name == name)
    }
}

impl Service {
    /// Port of its Service: what callers connect to.
    pub fn entry_port(&self) -> u16 {
        self.service_port.unwrap_or(self.port)
    }

    /// Name of the main container.
    pub fn main_container(&self) -> &str {
        self.container.as_deref().unwrap_or(&self.name)
    }
}

/// Whether a path is one that a pattern stands for: the same, or beginning with what stands before a `*` at its end.
pub fn path_matches(pattern: &str, path: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == path, |start| path.starts_with(start))
}

fn one() -> u32 {
    1
}

fn deployment() -> String {
    "Deployment".to_owned()
}

fn yes() -> bool {
    true
}

/// A further container of a workload's pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    /// Container name.
    pub name: String,
    /// Image.
    pub image: String,
    /// CPU request and limit.
    #[serde(default)]
    pub cpu: Quantities,
    /// Memory request and limit.
    #[serde(default)]
    pub memory: Quantities,
    /// Profile of the container.
    pub profile: String,
}

/// A call to another service of the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceCall {
    /// The service called.
    pub service: String,
    /// Path asked for; `*`: the path that the caller was asked for.
    #[serde(default = "slash")]
    pub path: String,
    /// The caller's time-out.
    #[serde(default = "call_timeout")]
    pub timeout: String,
    /// Paths of the caller whose requests make this call; empty: all.
    #[serde(default)]
    pub on: Vec<String>,
}

fn slash() -> String {
    "/".to_owned()
}

fn call_timeout() -> String {
    "2s".to_owned()
}

/// A request and a limit, as Kubernetes quantities; empty: unset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Quantities {
    /// Request.
    pub request: String,
    /// Limit.
    pub limit: String,
}

/// How the embedded cluster models a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Which programs exist: `debian-slim`, `debian`, `alpine`, `busybox`, `distroless`.
    pub family: String,
    /// More programs than the family has.
    #[serde(default)]
    pub programs: Vec<String>,
    /// CPU-seconds of start-up work.
    pub startup_cpu_s: f64,
    /// Start-up time that is not CPU work.
    pub startup_delay: String,
    /// CPU with no load (`3m`).
    pub idle_cpu: String,
    /// CPU-seconds for a request.
    pub cpu_per_request_s: f64,
    /// Service time of a request with no contention.
    pub latency: String,
    /// Resident memory (`28Mi`).
    pub memory: String,
    /// Whether it accepts connections: on its container's declared ports, or on any where none is declared.
    #[serde(default = "yes")]
    pub listens: bool,
    /// The process ends by itself with this code; none: it runs until it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// When it ends by itself, counted from its start.
    #[serde(default = "at_once")]
    pub exits_after: String,
    /// Log lines when up.
    #[serde(default)]
    pub log: Vec<String>,
}

fn at_once() -> String {
    "0s".to_owned()
}

/// Load on an entry service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The service.
    pub service: String,
    /// Path asked for.
    pub path: String,
    /// Requests a second.
    pub rate: f64,
}
