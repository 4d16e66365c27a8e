//! The real Ansible and kubectl, installed into `target/tools` on the first run (a minute, from the package index).

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use microremed::ansible::{Finish, PlaybookOutcome, Timekeeping, Toolchain, ToolsStatus, Workspace, WorkspaceSpec};
use tokio_util::sync::CancellationToken;

mod fake_clock;
mod playbooks;
mod present;
mod simulated_time;
mod warm;

/// Another folder can be named, to try another Python (the first on the path) beside the usual one.
fn base() -> PathBuf {
    std::env::var_os("MICROREMED_TEST_TOOLS").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools"), PathBuf::from)
}

async fn tools() -> Toolchain {
    let steps = std::sync::Mutex::new(Vec::new());
    let note = |step: &microremed::ansible::InstallStep| steps.lock().unwrap().push(step.to_string());
    match Toolchain::install(&base(), &note, &CancellationToken::new()).await {
        Ok(tools) => tools,
        Err(e) => panic!("{e}\nafter {:?}", steps.lock().unwrap()),
    }
}

/// A workspace in a temporary folder, with the tools.
struct Bench {
    tools: Toolchain,
    workspace: Workspace,
    time: Timekeeping,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        Self::with("apiVersion: v1\nkind: Config\n").await
    }

    async fn with(kubeconfig: &str) -> Self {
        let tools = tools().await;
        let folder = tempfile::tempdir().unwrap();
        let mut spec = WorkspaceSpec::plain(folder.path().join("trial"), kubeconfig.to_owned(), "k3s_control_plane");
        spec.shim_program = Some(env!("CARGO_BIN_EXE_microremed").into());
        spec.cap = microremed::ansible::OutputCap { head: 20_000, tail: 20_000 };
        let workspace = Workspace::create(spec, &tools).unwrap();
        Self { tools, workspace, time: Timekeeping::real(), _folder: folder }
    }

    async fn play(&self, playbook: &str, limit_s: u64) -> PlaybookOutcome {
        let limit = Duration::from_secs(limit_s);
        self.workspace
            .run_playbook(&self.tools, playbook, &microremed::ansible::Rules::default(), limit, &self.time, &CancellationToken::new())
            .await
            .unwrap()
    }

    async fn command(&self, line: &str, limit_s: u64) -> microremed::ansible::CommandOutcome {
        let limit = Duration::from_secs(limit_s);
        self.workspace.run_command(&self.tools, line, limit, &self.time, &CancellationToken::new()).await.unwrap()
    }
}

#[tokio::test]
async fn the_installation_is_whole() {
    let tools = tools().await;
    let ToolsStatus::Installed { tools: found, versions } = Toolchain::status(&base()) else { panic!("not installed") };
    assert_eq!(found, tools);
    let bench = Bench::new().await;
    let version = bench.command("kubectl version --client -o json; ansible-playbook --version | head -1", 60).await;
    assert!(version.stdout.contains(&format!("\"gitVersion\": \"v{}\"", versions.kubectl)), "{version:?}");
    assert!(version.stdout.contains(&format!("[core {}]", versions.ansible_core)), "{version:?}");
    assert_eq!(version.finish, Finish::Exited(0));
}

#[tokio::test]
async fn a_playbook_can_be_read_without_being_run() {
    let bench = Bench::new().await;
    let read = async |text: &str| {
        let limit = Duration::from_mins(1);
        bench.workspace.check_syntax(&bench.tools, text, limit, &bench.time, &CancellationToken::new()).await.unwrap()
    };
    let fine = read("- hosts: localhost\n  tasks:\n    - shell: touch was-run\n").await;
    assert_eq!(fine.finish, microremed::ansible::Finish::Exited(0), "{fine:?}");
    assert!(!bench.workspace.work().join("was-run").exists());
    let wrong = read("- hosts: localhost\n  tasks:\n    - no_such_module: {}\n").await;
    assert_ne!(wrong.finish, microremed::ansible::Finish::Exited(0));
    assert!(wrong.stderr.contains("no_such_module"), "{wrong:?}");
}
