//! Playbooks side by side in one run: plain `ansible-playbook`, a new start in the sandbox, and a fork of the warm
//! interpreters in the sandbox. Medians of wall time, and whether all three said the same.
//! `cargo bench --bench playbooks [-- REPEATS]`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use microremed::ansible::sandbox::{Confinement, Limits, detect};
use microremed::ansible::{Machine, Rules, Timekeeping, Toolchain, Warm, Workspace, WorkspaceSpec};
use tokio_util::sync::CancellationToken;

#[path = "support/measured.rs"]
mod measured;

use measured::{Problem, report};

const REPEATS: u32 = 7;
/// Commands for each time that a playbook is run.
const COMMANDS: u32 = 5;
const LIMIT: Duration = Duration::from_mins(2);
/// What playbooks of models are made of.
const PLAYBOOKS: [(&str, &str); 4] = [
    ("one shell task", "- hosts: all\n  gather_facts: false\n  tasks:\n    - shell: echo a\n"),
    ("six shell tasks", "- hosts: all\n  gather_facts: false\n  tasks:\n    - shell: echo {{ item }}\n      loop: [1, 2, 3, 4, 5, 6]\n"),
    ("facts and a shell task", "- hosts: all\n  tasks:\n    - shell: echo a\n"),
    (
        "two tasks of kubernetes.core",
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - {kubernetes.core.k8s_info: {kind: Pod}, ignore_errors: true}\n    - {kubernetes.core.k8s_info: {kind: Node}, ignore_errors: true}\n",
    ),
];

fn main() -> ExitCode {
    report(REPEATS, |repeats| tokio::runtime::Runtime::new()?.block_on(measure(repeats)))
}

async fn measure(repeats: u32) -> Result<String, Problem> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
    let tools = Toolchain::install(&base, &|_| {}, &CancellationToken::new()).await?;
    let program = || PathBuf::from(env!("CARGO_BIN_EXE_microremed"));
    let layers = detect(&program(), &std::env::temp_dir()).layers;
    let folder = tempfile::tempdir()?;
    let warm = Warm::begin(tools.clone(), false, std::env::temp_dir());
    let workspace = |name: &str, warm: Option<Warm>| {
        let mut spec = WorkspaceSpec::plain(folder.path().join(name), "apiVersion: v1\nkind: Config\n".to_owned(), "k3s_control_plane");
        let confinement = Confinement { layers, limits: Limits::default(), program: program() };
        let place = folder.path().to_owned();
        spec.machine = warm.clone().map(|w| Machine::begin(tools.clone(), w, confinement.clone(), place, CancellationToken::new()));
        spec.sandbox = Some(confinement);
        spec.warm = warm;
        Workspace::create(spec, &tools)
    };
    let bare = WorkspaceSpec::plain(folder.path().join("bare"), "apiVersion: v1\nkind: Config\n".to_owned(), "k3s_control_plane");
    let bare = Workspace::create(bare, &tools)?;
    let (anew, forked) = (workspace("anew", None)?, workspace("forked", Some(warm))?);
    let mut text = format!("medians of {repeats}, in milliseconds; sandbox: {}\n\n", layers.named());
    writeln!(text, "{:<30} {:>6} {:>9} {:>7} {:>12}", "playbook", "plain", "sandboxed", "forked", "plain/forked")?;
    let (time, cancel) = (Timekeeping::real(), CancellationToken::new());
    for (name, playbook) in PLAYBOOKS {
        let mut took: [Vec<f64>; 3] = Default::default();
        // The first round warms files, and is not counted.
        for round in 0..=repeats {
            let mut said = Vec::new();
            for (way, took) in took.iter_mut().enumerate() {
                let begun = Instant::now();
                said.push(if way == 0 {
                    plain(&tools, &folder.path().join("anew"), playbook)?
                } else {
                    let workspace = if way == 1 { &anew } else { &forked };
                    workspace.run_playbook(&tools, playbook, &Rules::default(), LIMIT, &time, &cancel).await?.command.stdout
                });
                if round > 0 {
                    took.push(begun.elapsed().as_secs_f64() * 1000.0);
                }
            }
            if said.iter().any(|s| Some(recap(s)) != said.first().map(|s| recap(s)) || recap(s).is_empty()) {
                return Err(format!("{name}: not the same results: {said:#?}").into());
            }
        }
        let [plain, sandboxed, forked] = took.map(median);
        writeln!(text, "{name:<30} {plain:>6.0} {sandboxed:>9.0} {forked:>7.0} {:>12.1}", plain / forked)?;
    }
    let mut took: [Vec<f64>; 2] = Default::default();
    for round in 0..=repeats * COMMANDS {
        for (workspace, took) in [&bare, &anew].into_iter().zip(&mut took) {
            let begun = Instant::now();
            workspace.run_command(&tools, "true", LIMIT, &time, &cancel).await?;
            if round > 0 {
                took.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
        }
    }
    let [bare, sandboxed] = took.map(median);
    writeln!(text, "\na shell command that does nothing: {bare:.1} without the sandbox, {sandboxed:.1} in it ({:+.1})", sandboxed - bare)?;
    Ok(text)
}

/// `ansible-playbook` as anybody would start it, with the settings of a workspace.
fn plain(tools: &Toolchain, workspace: &Path, playbook: &str) -> Result<String, Problem> {
    let file = workspace.join("plain.yml");
    std::fs::write(&file, playbook)?;
    let mut command = Command::new(tools.bin().join("ansible-playbook"));
    command.arg(file).env_clear().env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", tools.bin().display()));
    command.env("HOME", workspace.join("home")).env("TMPDIR", workspace.join("tmp")).env("LC_ALL", "C.UTF-8");
    command.env("KUBECONFIG", workspace.join("home/.kube/config")).env("ANSIBLE_CONFIG", workspace.join("ansible.cfg"));
    let output = command.current_dir(workspace.join("work")).stdin(Stdio::null()).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

fn recap(said: &str) -> &str {
    said.split_once("PLAY RECAP").map_or("", |(_, recap)| recap)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
