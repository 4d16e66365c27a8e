//! `cluster up`: the embedded cluster for kubectl and friends, until Ctrl-C.

use camino::Utf8PathBuf;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use super::args::StartUpArg;
use super::failure::{Failure, chain};
use super::places::{Global, absolute};
use super::{interrupt, load, print, tell};
use crate::cluster::{StartUp, Target, connect};
use crate::diagnostic::did_you_mean;
use crate::execute::embedded;
use crate::manifest::TimeSection;
use crate::plan::system_manifests;
use crate::record::write_atomically;

/// Arguments.
pub(super) struct Up {
    pub(super) system: Option<String>,
    pub(super) kubeconfig_out: Utf8PathBuf,
    pub(super) port: u16,
    pub(super) speed: f64,
    pub(super) starts: StartUpArg,
    pub(super) seed: u64,
    pub(super) tls: bool,
    pub(super) rbac: bool,
}

/// Files that the cluster may need: each connection is one.
const FILES: u64 = 8192;

/// Takes what the system allows: many systems start programs with far less.
fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES, |most| most.min(FILES));
    if limit.current.is_some_and(|now| now < wanted) {
        // With fewer, fewer connections are kept open.
        let _fewer = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}

pub(super) async fn up(global: &Global, up: Up) -> Result<(), Failure> {
    allow_files();
    let stop = interrupt::token("the cluster goes down");
    let catalog = load::catalog(global)?;
    let time = TimeSection { clock: "scaled".to_owned(), speed: up.speed, ..TimeSection::default() };
    let system = match &up.system {
        None => None,
        Some(name) => Some(catalog.systems.get(name).ok_or_else(|| {
            let names: Vec<&str> = catalog.systems.keys().map(String::as_str).collect();
            let help = did_you_mean(name, names.iter().copied()).unwrap_or_else(|| format!("there are: {}", names.join(", ")));
            Failure::input(format!("there is no system {name:?}")).help(help)
        })?),
    };
    let mut config = match system {
        Some(s) => embedded::of_system(s, &time, up.seed).map_err(Failure::input)?,
        None => crate::cluster::Embedded {
            seed: up.seed,
            clock: embedded::clock(&time).map_err(Failure::input)?,
            system_pods: true,
            ..Default::default()
        },
    };
    config.start = crate::sim::time::SimTime::of(jiff::Timestamp::now());
    config.start_up = match up.starts {
        StartUpArg::Prompt => StartUp::Prompt,
        StartUpArg::Modelled => StartUp::Modelled,
    };
    config.port = up.port;
    config.tls = up.tls;
    config.rbac = up.rbac;
    let cluster =
        connect(&Target::Embedded(Box::new(config))).await.map_err(|e| Failure::harness(chain(&e)).help("--port 0 picks a free port"))?;
    let path = absolute(&up.kubeconfig_out)?;
    let kubeconfig = cluster.administrator_kubeconfig().unwrap_or_else(|| cluster.agent_kubeconfig());
    write_atomically(&path, kubeconfig.as_bytes())
        .map_err(|e| Failure::input(chain(&e)).help("--kubeconfig-out names a file that can be written"))?;
    if let Some(system) = system {
        let failed = |e: &dyn std::error::Error| Failure::harness(chain(e));
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": system.namespace}});
        cluster.apply(&namespace, "").await.map_err(|e| failed(&e))?;
        for object in system_manifests(&catalog, system).map_err(|e| failed(&e))? {
            cluster.apply(&object, &system.namespace).await.map_err(|e| failed(&e))?;
        }
    }
    if global.json {
        print(&json!({"url": cluster.address(), "kubeconfig": path, "namespace": system.map(|s| &s.namespace)}).to_string())?;
    } else {
        tell(&format!("the cluster is up at {}; Ctrl-C ends it", cluster.address()));
        let namespace = system.map_or(String::new(), |s| format!(" -n {}", s.namespace));
        tell(&format!("  kubectl --kubeconfig {path}{namespace} get pods"));
    }
    // What it was made from is not needed while it is up.
    drop(catalog);
    stop.cancelled().await;
    cluster.close().await;
    Ok(())
}
