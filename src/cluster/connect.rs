//! Where the cluster is: the one place that knows whether it is embedded.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::client::{Cluster, ClusterError, chain};
use super::grant;
use super::inside::Inside;
use super::observe::{AuditRecord, Observations, Stored, TrafficSecond};
use super::pace::{Pace, RealPace, Waiting, Working};
use crate::rest::RestProbe;
use crate::sim::clock::{Clock, External, Hold};
use crate::sim::config::SimConfig;
pub use crate::sim::config::StartUp;
use crate::sim::resource::Resource;
use crate::sim::time::SimTime;
use crate::sim::world::Engine;
use crate::sim::{ADMINISTRATOR, Sim};

/// Ends what [`connect`] started.
pub(super) type Closer = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Configuration of an embedded cluster.
pub type Embedded = SimConfig;

/// Where the cluster is.
#[derive(Debug, Clone)]
pub enum Target {
    /// A new embedded cluster.
    Embedded(Box<Embedded>),
    /// A cluster of a kubeconfig.
    Kubeconfig {
        /// The file; none: as kubectl finds it.
        file: Option<String>,
        /// The context; none: the current one.
        context: Option<String>,
        /// The kubeconfig of playbooks and probes; none: the same.
        agent: Option<String>,
        /// Whether the agent gets an account of its own, which may do only what it is granted.
        account: bool,
    },
}

/// The embedded cluster's injector, hidden from playbooks and probes: as if it were not installed.
pub fn hide_injector(config: &mut Embedded) {
    config.hidden.insert(AGENT.to_owned(), vec![INJECTOR.to_owned()]);
}

/// The agent may do only what it is granted ([`Cluster::grant`]).
pub fn confine_agent(config: &mut Embedded) {
    config.rbac = true;
    config.groups.insert(RUNNER.to_owned(), vec!["system:masters".to_owned()]);
    config.groups.insert(AGENT.to_owned(), Vec::new());
}

const RUNNER: &str = "runner";
const AGENT: &str = "agent";
/// API group of the injector.
const INJECTOR: &str = "chaos-mesh.org";

/// Connects; starts an embedded cluster.
pub async fn connect(target: &Target) -> Result<Cluster, ClusterError> {
    match target {
        Target::Embedded(config) => embedded(config).await,
        Target::Kubeconfig { file, context, agent, account } => {
            kubeconfig(file.as_deref(), context.as_deref(), agent.as_deref(), *account).await
        }
    }
}

async fn embedded(config: &SimConfig) -> Result<Cluster, ClusterError> {
    let mut config = config.clone();
    // Addresses of a cluster on loopback that lives for one trial tell users apart; they keep nobody out.
    config.doors.extend([RUNNER, AGENT].map(str::to_owned));
    // Over TLS clients send tokens, and the address need not tell who they are.
    let seed = config.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let token = config.tls.then(|| format!("{AGENT}-{seed:016x}"));
    let administrator = config.tls.then(|| format!("admin-{seed:016x}"));
    config.tokens.extend(token.iter().map(|t| (t.clone(), AGENT.to_owned())));
    let confined = config.rbac;
    config.tokens.extend(administrator.iter().map(|t| (t.clone(), ADMINISTRATOR.to_owned())));
    let sim = Sim::start(config).await.map_err(|e| ClusterError::Connect(chain(&e)))?;
    let client = client_of(&sim.kubeconfig_of(RUNNER)).await?;
    let engine = Arc::clone(sim.engine());
    let (for_traffic, for_audit, for_objects) = (Arc::clone(&engine), Arc::clone(&engine), Arc::clone(&engine));
    let for_roles = Arc::clone(&engine);
    let observations = Observations {
        traffic: Some(Arc::new(move |namespace, service, from, to| traffic(&for_traffic, namespace, service, from, to))),
        audit: Some(Arc::new(move || audit(&for_audit))),
        objects: Some(Arc::new(move |stored| objects(&for_objects, stored))),
        install: Some(Arc::new(move |roles| for_roles.with(|w| crate::sim::api::install_roles(w, roles)))),
    };
    let (address, for_has, for_open) = (sim.url(), sim.entrances().clone(), sim.entrances().clone());
    let inside = Inside {
        node_address: node_address(&engine),
        has: Arc::new(move |address| for_has.has(address)),
        open: Arc::new(move |address, listener| Ok(Box::new(for_open.open(address, listener)?))),
    };
    // The same address as the children's API server: what they sent and it has not read yet is looked for there.
    let clock_url = format!("{}/.sim", sim.url_of(AGENT));
    let own = Arc::new(Mutex::new(Some(engine.clock.hold())));
    let pace = Arc::new(SimPace { engine, clock_url, own });
    Ok(Cluster {
        client,
        pace,
        administrator_kubeconfig: administrator.and_then(|t| sim.administrator_kubeconfig(&t)),
        agent_kubeconfig: token.map_or_else(|| sim.kubeconfig_of(AGENT), |t| sim.kubeconfig(Some(&t))),
        address,
        observations,
        inside: Some(inside),
        closer: Mutex::new(Some(Box::new(move || Box::pin(async move { sim.shutdown().await })))),
        kinds: Mutex::new(BTreeMap::new()),
        agent: confined.then(|| grant::user(AGENT)),
        granted: Mutex::default(),
    })
}

fn traffic(engine: &Engine, namespace: &str, service: &str, from: u64, to: u64) -> Vec<TrafficSecond> {
    let at = |second: u64| SimTime(second.saturating_mul(1000));
    engine.with(|w| {
        w.traffic
            .series(namespace, service, at(from), at(to))
            .into_iter()
            .map(|s| TrafficSecond { second: s.second, requests: s.requests, errors: s.errors, latency_ms: s.latency_ms })
            .collect()
    })
}

fn objects(engine: &Engine, stored: &Stored<'_>) -> Option<Vec<Arc<Value>>> {
    let group = stored.api_version.split_once('/').map_or("", |(group, _)| group);
    let resource = Resource::new(group, stored.plural);
    let namespace = Some(stored.namespace).filter(|n| !n.is_empty());
    // Some kinds are stored in another version than was asked for.
    if engine.with(|w| w.store.list(&resource, namespace).any(|(_, object)| object["apiVersion"] != stored.api_version)) {
        return None;
    }
    if stored.charged {
        engine.charge_request();
    }
    Some(engine.with(|w| w.store.list(&resource, namespace).map(|(_, object)| Arc::clone(object)).collect()))
}

fn node_address(engine: &Engine) -> Option<Ipv4Addr> {
    let nodes = engine.with(|w| w.store.list(&Resource::new("", "nodes"), None).map(|(_, node)| Arc::clone(node)).collect::<Vec<_>>());
    let addresses = nodes.first()?["status"]["addresses"].as_array()?;
    addresses.iter().find(|a| a["type"] == "InternalIP")?["address"].as_str()?.parse().ok()
}

fn audit(engine: &Engine) -> Vec<AuditRecord> {
    engine.with(|w| {
        w.audit
            .iter()
            .map(|a| AuditRecord {
                at_ms: a.at.0,
                user: a.user.to_string(),
                verb: a.verb.to_string(),
                path: a.path.to_string(),
                code: a.code,
            })
            .collect()
    })
}

async fn kubeconfig(file: Option<&str>, context: Option<&str>, agent: Option<&str>, account: bool) -> Result<Cluster, ClusterError> {
    let connect = |e: &dyn std::error::Error| ClusterError::Connect(chain(e));
    let config = read(file, context)?;
    let text = serde_json::to_string(&config).map_err(|e| connect(&e))?;
    let client = client_of(&text).await?;
    let agent_kubeconfig = match agent {
        Some(path) => fs_err::read_to_string(path).map_err(|e| connect(&e))?,
        None => text,
    };
    let address = server(&config).unwrap_or_default();
    let mut cluster = Cluster {
        client,
        pace: RealPace::start(),
        administrator_kubeconfig: None,
        agent_kubeconfig,
        address,
        observations: Observations::default(),
        inside: None,
        closer: Mutex::new(None),
        kinds: Mutex::new(BTreeMap::new()),
        agent: None,
        granted: Mutex::default(),
    };
    if account {
        cluster.make_account(&config).await?;
    }
    Ok(cluster)
}

fn read(file: Option<&str>, context: Option<&str>) -> Result<kube::config::Kubeconfig, ClusterError> {
    let mut config = match file {
        Some(path) => kube::config::Kubeconfig::read_from(path),
        None => kube::config::Kubeconfig::read(),
    }
    .map_err(|e| ClusterError::Connect(chain(&e)))?;
    if let Some(c) = context {
        config.current_context = Some(c.to_owned());
    }
    Ok(config)
}

/// The server of the current context.
fn server(config: &kube::config::Kubeconfig) -> Option<String> {
    let name = config.current_context.as_ref()?;
    let context = config.contexts.iter().find(|c| c.name == *name)?.context.as_ref()?;
    config.clusters.iter().find(|c| c.name == context.cluster)?.cluster.as_ref()?.server.clone()
}

/// The server that a context of a kubeconfig stands for. `file`: none, as kubectl finds it; `context`: none, the current one.
pub fn server_of(file: Option<&str>, context: Option<&str>) -> Result<String, ClusterError> {
    let config = read(file, context)?;
    let name = config.current_context.clone().unwrap_or_default();
    server(&config).ok_or_else(|| ClusterError::Connect(format!("the kubeconfig has no context {name:?} with a server")))
}

pub(super) async fn client_of(kubeconfig: &str) -> Result<kube::Client, ClusterError> {
    let connect = |e: &dyn std::error::Error| ClusterError::Connect(chain(e));
    let parsed = kube::config::Kubeconfig::from_yaml(kubeconfig).map_err(|e| connect(&e))?;
    let config =
        kube::Config::from_custom_kubeconfig(parsed, &kube::config::KubeConfigOptions::default()).await.map_err(|e| connect(&e))?;
    kube::Client::try_from(config).map_err(|e| connect(&e))
}

/// The hold of whoever connected; none while it waits.
type OwnHold = Arc<Mutex<Option<Hold>>>;

fn give_up(own: &OwnHold) {
    let _given_up = own.lock().unwrap_or_else(PoisonError::into_inner).take();
}

fn take_up(own: &OwnHold, hold: Hold) {
    *own.lock().unwrap_or_else(PoisonError::into_inner) = Some(hold);
}

/// The embedded cluster's clock.
struct SimPace {
    engine: Arc<Engine>,
    clock_url: String,
    own: OwnHold,
}

/// Takes the hold up again at its end.
struct WaitingForAnswer {
    clock: Clock,
    own: OwnHold,
}

impl Drop for WaitingForAnswer {
    fn drop(&mut self) {
        take_up(&self.own, self.clock.hold());
    }
}

/// Children that have ended hand the hold back in one step.
struct WaitingForChildren {
    external: Option<External>,
    own: OwnHold,
}

impl Drop for WaitingForChildren {
    fn drop(&mut self) {
        if let Some(external) = self.external.take() {
            take_up(&self.own, external.into_hold());
        }
    }
}

impl SimPace {
    fn clock(&self) -> &Clock {
        &self.engine.clock
    }
}

impl Pace for SimPace {
    fn now_ms(&self) -> u64 {
        self.engine.now().0
    }

    fn timestamp(&self) -> jiff::Timestamp {
        self.engine.now().timestamp()
    }

    fn waiting(&self) -> Waiting {
        give_up(&self.own);
        Waiting(Some(Box::new(WaitingForAnswer { clock: self.clock().clone(), own: Arc::clone(&self.own) })))
    }

    fn sleep(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let timer = self.clock().timer(self.engine.now().after(d));
            let waiting = self.waiting();
            // The sender lives in the clock, which we keep alive. The hold that it sends lasts until there is one of our own.
            let fired = timer.await;
            drop(waiting);
            drop(fired);
        })
    }

    fn deadline(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let reached = self.clock().deadline(self.engine.now().after(d));
        Box::pin(async move {
            if let Ok(hold) = reached.await {
                take_up(&self.own, hold);
            }
        })
    }

    fn working(&self, rest: RestProbe) -> Working {
        let engine = Arc::clone(&self.engine);
        let external = Some(self.clock().external(Box::new(move || rest().filter(|_| !engine.unread()))));
        give_up(&self.own);
        Working(Some(Box::new(WaitingForChildren { external, own: Arc::clone(&self.own) })))
    }

    fn child_environment(&self) -> Vec<(String, String)> {
        vec![("SIM_CLOCK".to_owned(), self.clock_url.clone())]
    }
}
