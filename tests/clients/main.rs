//! Real clients, unmodified, against an embedded cluster: kubectl ([`commands.toml`]), Ansible's Kubernetes modules
//! ([`modules.yml`]) the Python client's streams ([`channels.py`]), and kubectl at a terminal ([`terminal.py`]). What the recorded scenarios cover is not repeated.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use microremed::ansible::{CommandOutcome, Finish, OutputCap, Rules, Timekeeping, Toolchain, Workspace, WorkspaceSpec};
use microremed::sim::config::{ClockMode, SimConfig};
use microremed::sim::server::Sim;
use regex::Regex;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

/// Simulated seconds a second.
const SPEED: f64 = 10.0;

#[derive(Deserialize)]
struct Commands {
    command: Vec<Command>,
}

#[derive(Deserialize)]
struct Command {
    run: String,
    #[serde(default)]
    exit: i32,
    says: Vec<String>,
}

struct Bench {
    sim: Sim,
    tools: Toolchain,
    workspace: Workspace,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let base = std::env::var_os("MICROREMED_TEST_TOOLS")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools"), PathBuf::from);
        let tools = Toolchain::install(&base, &|_| {}, &CancellationToken::new()).await.unwrap();
        let tokens = BTreeMap::from([("t1".to_owned(), "admin".to_owned())]);
        let config = SimConfig { seed: 1, clock: ClockMode::Scaled(SPEED), tokens, tls: true, ..SimConfig::default() };
        let sim = Sim::start(config).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut spec = WorkspaceSpec::plain(folder.path().join("work"), sim.kubeconfig(Some("t1")), "all_nodes");
        spec.cap = OutputCap { head: 1 << 20, tail: 1 << 20 };
        let workspace = Workspace::create(spec, &tools).unwrap();
        Self { sim, tools, workspace, folder }
    }

    async fn run(&self, command: &str) -> CommandOutcome {
        let line = format!("cd {}; {command}", self.folder.path().display());
        let (limit, time) = (Duration::from_mins(2), Timekeeping::real());
        self.workspace.run_command(&self.tools, &line, limit, &time, &CancellationToken::new()).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_commands_say_what_they_should() {
    let bench = Bench::new().await;
    let mut wrong = Vec::new();
    for command in toml::from_str::<Commands>(include_str!("commands.toml")).unwrap().command {
        let o = bench.run(&command.run).await;
        let text = format!("{}{}", o.stdout, o.stderr);
        let missing: Vec<&String> = command.says.iter().filter(|s| !Regex::new(s).unwrap().is_match(&text)).collect();
        if o.finish != Finish::Exited(command.exit) || !missing.is_empty() {
            wrong.push(format!("$ {}\n{text}=> {:?}, missing {missing:?}", command.run, o.finish));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    bench.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modules_of_ansible_do_what_they_should() {
    let bench = Bench::new().await;
    let (limit, time) = (Duration::from_mins(4), Timekeeping::real());
    let play = include_str!("modules.yml");
    let o = bench.workspace.run_playbook(&bench.tools, play, &Rules::default(), limit, &time, &CancellationToken::new()).await.unwrap();
    assert!(o.succeeded(), "{}\n{}", o.command.stdout, o.command.stderr);
    bench.sim.shutdown().await;
}

/// Runs a script of Python's beside a cluster; it says `end` when all is as it should be.
async fn script(name: &str, text: &str, end: &str) {
    let bench = Bench::new().await;
    std::fs::write(bench.folder.path().join(name), text).unwrap();
    let o = bench.run(&format!("python3 {name}")).await;
    assert!(o.finish == Finish::Exited(0) && o.stdout.contains(end), "{}{}", o.stdout, o.stderr);
    bench.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_streams() {
    script("channels.py", include_str!("channels.py"), "all channels work").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_has_a_terminal() {
    script("terminal.py", include_str!("terminal.py"), "terminals work").await;
}
