//! What a real API server answered to kubectl, replayed against ours: `scenarios.json.gz` (see `tools/recorded_scenarios.py`).
//!
//! Each scenario is run by the private kubectl against one embedded cluster, in the recorded order. Exit codes and outputs
//! must be the recorded ones, and so must every field of the answers that it gets ([`bodies`]), but for what [`normal`] takes
//! away and for what `deviations.toml` lists with a reason.
//! `MICROREMED_RECORDED=FOLDER` writes both sides of every scenario there. `MICROREMED_UPDATE=1` rewrites the table in
//! `docs/embedded-cluster.md`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use microremed::ansible::{CommandOutcome, Finish, OutputCap, Timekeeping, Toolchain, Workspace, WorkspaceSpec};
use microremed::sim::config::{ClockMode, Profile, SimConfig, WorkloadModel};
use microremed::sim::exchange::{Exchange, Onlooker};
use microremed::sim::server::Sim;
use regex::Regex;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

mod bodies;
mod normal;

use bodies::Recorded;

/// Simulated seconds a second: as fast as the recorded stand-in for a kubelet, which had no images to pull.
const SPEED: f64 = 10.0;

#[derive(Deserialize)]
struct Recording {
    manifests: BTreeMap<String, String>,
    scenarios: Vec<Scenario>,
}

#[derive(Deserialize)]
struct Scenario {
    name: String,
    command: String,
    exit: i32,
    stdout: String,
    stderr: String,
    requests: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Deviations {
    deviation: Vec<Deviation>,
    body: Vec<BodyDeviation>,
    other_kubectl: OtherKubectl,
}

/// Fields of answers that differ, for a reason.
#[derive(Deserialize)]
struct BodyDeviation {
    /// Which: matches `SCENARIO METHOD PLACE KIND PATH: RECORDED -> OURS`.
    fields: String,
    /// Whether it depends on how fast things go: such fields need not differ.
    #[serde(default)]
    timing: bool,
    /// Why.
    reason: String,
}

/// What another kubectl than the recorded one prints and sends otherwise, whatever the server.
#[derive(Deserialize)]
struct OtherKubectl {
    /// Lines that are left out on both sides.
    lines: String,
    /// Fields of answers that may differ.
    fields: String,
}

/// The kubectl that is tried instead of the private one.
fn other_kubectl() -> Option<PathBuf> {
    std::env::var_os("MICROREMED_TEST_KUBECTL").map(PathBuf::from)
}

/// A difference that is known and has a reason.
#[derive(Deserialize)]
struct Deviation {
    /// The scenarios that differ.
    scenarios: Vec<String>,
    /// Lines that may differ: these are left out on both sides. Without it, everything may.
    lines: Option<String>,
    /// Whether the exit code differs too.
    #[serde(default)]
    exit: bool,
    /// Whether it depends on how fast kubectl is: such a scenario need not differ.
    #[serde(default)]
    timing: bool,
    /// Why.
    reason: String,
}

fn recording() -> Recording {
    let packed = include_bytes!("scenarios.json.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn deviations() -> Deviations {
    toml::from_str(include_str!("deviations.toml")).unwrap()
}

fn tools_folder() -> PathBuf {
    std::env::var_os("MICROREMED_TEST_TOOLS").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools"), PathBuf::from)
}

/// A cluster like the recorded one, and a workspace with kubectl.
struct Bench {
    sim: Sim,
    tools: Toolchain,
    workspace: Workspace,
    time: Timekeeping,
    folder: tempfile::TempDir,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl Bench {
    async fn new(recording: &Recording) -> Self {
        let tools = Toolchain::install(&tools_folder(), &|_| {}, &CancellationToken::new()).await.unwrap();
        let tokens = BTreeMap::from([("t1".to_owned(), "admin".to_owned())]);
        let exchanges = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&exchanges);
        let onlooker = Some(Onlooker::new(move |exchange| seen.lock().unwrap().push(exchange)));
        let clock = ClockMode::Scaled(SPEED);
        // Of the recorded pods nothing was ever asked: their web server, as its image has it, would not serve what their probes ask for.
        let profile = Profile { paths: vec!["/*".to_owned()], ..Profile::default() };
        let workloads = vec![WorkloadModel { container: Some("server".to_owned()), profile, ..WorkloadModel::default() }];
        let config = SimConfig { seed: 1, clock, tokens, rbac: true, tls: true, onlooker, workloads, ..SimConfig::default() };
        let sim = Sim::start(config).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let manifests = folder.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        for (name, text) in &recording.manifests {
            std::fs::write(manifests.join(name), text).unwrap();
        }
        let mut spec = WorkspaceSpec::plain(folder.path().join("trial"), sim.kubeconfig(Some("t1")), "all_nodes");
        spec.cap = OutputCap { head: 1 << 20, tail: 1 << 20 };
        let workspace = Workspace::create(spec, &tools).unwrap();
        if let Some(kubectl) = other_kubectl() {
            std::fs::create_dir(folder.path().join("bin")).unwrap();
            std::fs::copy(kubectl, folder.path().join("bin/kubectl")).unwrap();
        }
        Self { sim, tools, workspace, time: Timekeeping::real(), folder, exchanges }
    }

    async fn run(&self, command: &str) -> CommandOutcome {
        let folder = self.folder.path().display();
        let url = self.sim.url();
        let line = format!(
            "cd {folder}; export TMP={folder} URL={url} PATH={folder}/bin:$PATH; curl() {{ command curl -k -H 'Authorization: Bearer t1' \"$@\"; }}; {command}"
        );
        let limit = Duration::from_mins(10);
        self.workspace.run_command(&self.tools, &line, limit, &self.time, &CancellationToken::new()).await.unwrap()
    }
}

/// What is left of both sides when the known differences are taken away; `None`: everything may differ.
fn masked(lines: &[String], known: &[&Deviation]) -> Option<Vec<String>> {
    if known.iter().any(|d| d.lines.is_none()) {
        return None;
    }
    let masks: Vec<Regex> = known.iter().filter_map(|d| d.lines.as_deref()).map(|p| Regex::new(p).unwrap()).collect();
    Some(lines.iter().filter(|line| !masks.iter().any(|m| m.is_match(line))).cloned().collect())
}

fn dump(name: &str, side: &str, lines: &[String]) {
    if let Some(folder) = std::env::var_os("MICROREMED_RECORDED") {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.{side}")), lines.join("\n") + "\n").unwrap();
    }
}

/// What is wrong with one scenario, if anything.
fn judge(scenario: &Scenario, outcome: &CommandOutcome, folder: &str, known: &[&Deviation], client: Option<&Regex>) -> Option<String> {
    let exit = match outcome.finish {
        Finish::Exited(code) => code,
        Finish::Signalled(_) | Finish::TimedOut => -1,
    };
    let side = |out: &str, err: &str| {
        let mut lines = normal::lines(out, folder);
        lines.push("--- stderr".to_owned());
        lines.extend(normal::lines(err, folder));
        lines.retain(|line| client.is_none_or(|c| !c.is_match(line)));
        lines
    };
    let (wanted, got) = (side(&scenario.stdout, &scenario.stderr), side(&outcome.stdout, &outcome.stderr));
    dump(&scenario.name, "want", &[vec![format!("exit {}", scenario.exit)], wanted.clone()].concat());
    dump(&scenario.name, "got", &[vec![format!("exit {exit}")], got.clone()].concat());
    let same_exit = exit == scenario.exit;
    if wanted == got && same_exit {
        return known.iter().any(|d| !d.timing && client.is_none()).then(|| "is listed in deviations.toml but does not deviate".to_owned());
    }
    if !same_exit && !known.iter().any(|d| d.exit) {
        return Some(format!("exit code {exit}, recorded {}\n{}", scenario.exit, outcome.stderr));
    }
    let (wanted, got) = (masked(&wanted, known)?, masked(&got, known)?);
    let differs = wanted.iter().zip(&got).position(|(a, b)| a != b).or((wanted.len() != got.len()).then(|| wanted.len().min(got.len())))?;
    let line = |side: &[String]| side.get(differs).cloned().unwrap_or_else(|| "(nothing more)".to_owned());
    Some(format!("line {differs}:\n  recorded {}\n  got      {}", line(&wanted), line(&got)))
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_sees_what_it_saw_on_a_real_cluster() {
    let recording = recording();
    let deviations = deviations();
    for d in deviations.deviation.iter().flat_map(|d| &d.scenarios) {
        assert!(recording.scenarios.iter().any(|s| s.name == *d), "deviations.toml names {d}, which is no scenario");
    }
    let bench = Bench::new(&recording).await;
    let folder = bench.folder.path().display().to_string();
    let setup = bench.run("kubectl create ns online-boutique; kubectl create ns simple-micro").await;
    assert_eq!(setup.finish, Finish::Exited(0), "{setup:?}");
    let masks: Vec<(Regex, &BodyDeviation)> = deviations.body.iter().map(|d| (Regex::new(&d.fields).unwrap(), d)).collect();
    let client = other_kubectl().map(|_| &deviations.other_kubectl);
    let client_lines = client.map(|c| Regex::new(&c.lines).unwrap());
    let client_fields = client.map(|c| Regex::new(&c.fields).unwrap());
    let mut masked = vec![0; masks.len()];
    let mut wrong = Vec::new();
    for scenario in &recording.scenarios {
        bench.exchanges.lock().unwrap().clear();
        let outcome = bench.run(&scenario.command).await;
        let exchanges = std::mem::take(&mut *bench.exchanges.lock().unwrap());
        let fields: Vec<String> =
            bodies::differences(&scenario.requests, &exchanges).into_iter().map(|d| format!("{} {d}", scenario.name)).collect();
        dump(&scenario.name, "fields", &fields);
        for field in fields.into_iter().filter(|f| client_fields.as_ref().is_none_or(|c| !c.is_match(f))) {
            match masks.iter().position(|(mask, _)| mask.is_match(&field)) {
                Some(mask) => masked[mask] += 1,
                None => wrong.push(field),
            }
        }
        let known: Vec<&Deviation> = deviations.deviation.iter().filter(|d| d.scenarios.contains(&scenario.name)).collect();
        if let Some(why) = judge(scenario, &outcome, &folder, &known, client_lines.as_ref()) {
            wrong.push(format!("{}: {why}", scenario.name));
        }
    }
    bench.sim.shutdown().await;
    let idle = masks.iter().zip(&masked).filter(|((_, d), count)| **count == 0 && !d.timing);
    wrong.extend(idle.map(|((_, d), _)| format!("{} is listed in deviations.toml, but no field deviates", d.fields)));
    assert!(wrong.is_empty(), "{} scenarios:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_documentation_lists_the_deviations() {
    let mut table = String::from("| scenarios | why they differ |\n|---|---|\n");
    for d in deviations().deviation {
        let names: Vec<String> = d.scenarios.iter().map(|s| format!("`{s}`")).collect();
        table.extend(["| ", &names.join(", "), " | ", &d.reason, " |\n"]);
    }
    table.push_str("\n| fields of answers | why they differ |\n|---|---|\n");
    for d in deviations().body {
        table.extend(["| `", &d.fields.replace('|', "\\|"), "` | ", &d.reason, " |\n"]);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/embedded-cluster.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (start, end) = ("<!-- deviations: tests/recorded/deviations.toml -->\n", "<!-- end of deviations -->\n");
    let (before, rest) = text.split_once(start).unwrap();
    let (now, after) = rest.split_once(end).unwrap();
    if std::env::var_os("MICROREMED_UPDATE").is_some() {
        std::fs::write(&path, format!("{before}{start}{table}{end}{after}")).unwrap();
    } else {
        assert_eq!(now, table, "MICROREMED_UPDATE=1 cargo test --test recorded writes the table anew");
    }
}
