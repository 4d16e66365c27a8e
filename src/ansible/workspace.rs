//! The private folder of one trial and the runs inside it.
//!
//! Input: the tools, a kubeconfig, a playbook or a command line as a model wrote it; output: what happened. Children
//! get an environment made of a short list of settings, never ours: no keys, no proxies.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt;
use tokio_util::sync::CancellationToken;

use super::child::{self, ChildError, ChildSpec, Launcher};
use super::events::Events;
use super::machine::{self, Machine};
use super::network::{self, Network, Server};
use super::outcome::{CommandOutcome, Finish, PlaybookOutcome};
use super::output::OutputCap;
use super::reading::{Rules, Uses};
use super::sandbox::{Confinement, Limits, Policy, Watch};
use super::timekeeping::Timekeeping;
use super::toolchain::Toolchain;
use super::warm::{Warm, WarmInterpreters};

/// Programs on the path of children that are really this program, which lets them take the cluster's time.
pub const SHIMS: [&str; 5] = ["date", "kubectl", "sleep", "sudo", "timeout"];

const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Of the events file; a playbook with more results than this is cut off, not the run.
const EVENTS_MAX: u64 = 64 * 1024 * 1024;

/// Seconds of processor time beyond the time limit: several threads may have used it up.
const CPU_MORE: u64 = 60;

/// What a workspace is made from.
#[derive(Debug, Clone)]
pub struct WorkspaceSpec {
    /// An existing folder that is ours alone.
    pub folder: PathBuf,
    /// Access to the cluster, as text.
    pub kubeconfig: String,
    /// The inventory's group for the control plane (`k3s_control_plane`).
    pub group: String,
    /// This program, for [`SHIMS`]; none: children get the plain tools.
    pub shim_program: Option<PathBuf>,
    /// What children are confined by; none: by nothing but limits on time and output.
    pub sandbox: Option<Confinement>,
    /// What is kept of each output stream.
    pub cap: OutputCap,
    /// Interpreters that playbooks are forks of, in the sandbox; none: each starts Ansible anew.
    pub warm: Option<Warm>,
    /// What is known of this machine; none: facts ask each time.
    pub machine: Option<Machine>,
    /// What children reach, where the sandbox has a network of its own.
    pub network: Network,
}

impl WorkspaceSpec {
    /// A folder for playbooks and commands of our own: the plain tools, no sandbox.
    pub fn plain(folder: PathBuf, kubeconfig: String, group: &str) -> Self {
        Self {
            folder,
            kubeconfig,
            group: group.to_owned(),
            shim_program: None,
            sandbox: None,
            cap: OutputCap::default(),
            warm: None,
            machine: None,
            network: Network::default(),
        }
    }
}

/// One trial's private folder.
#[derive(Debug)]
pub struct Workspace {
    spec: WorkspaceSpec,
    /// The API servers of the kubeconfig.
    servers: BTreeSet<Server>,
    /// Playbooks run so far: each gets its own files.
    runs: std::sync::atomic::AtomicU32,
}

impl Workspace {
    /// Lays out the folder: home, temporary and work folders, inventory, settings, kubeconfig, shims.
    pub fn create(spec: WorkspaceSpec, tools: &Toolchain) -> std::io::Result<Self> {
        let servers = network::servers(&spec.kubeconfig);
        let workspace = Self { spec, servers, runs: std::sync::atomic::AtomicU32::new(0) };
        let kube = workspace.home().join(".kube");
        fs_err::create_dir_all(&workspace.spec.folder)?;
        fs_err::set_permissions(&workspace.spec.folder, std::fs::Permissions::from_mode(0o700))?;
        for folder in [workspace.home(), workspace.tmp(), workspace.work(), workspace.shims(), workspace.control(), kube.clone()] {
            fs_err::create_dir_all(&folder)?;
            fs_err::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
        }
        write_private(&workspace.kubeconfig(), &workspace.spec.kubeconfig)?;
        write_private(&workspace.inventory(), &inventory(&workspace.spec.group, &tools.python()))?;
        write_private(&workspace.hosts(), &network::hosts(&workspace.servers, workspace.spec.network.address))?;
        write_private(&workspace.settings(), &settings(&workspace.home(), &workspace.inventory(), tools))?;
        if let Some(program) = &workspace.spec.shim_program {
            for name in SHIMS {
                replace_link(program, &workspace.shims().join(name))?;
            }
        }
        Ok(workspace)
    }

    /// The home folder of children.
    pub fn home(&self) -> PathBuf {
        self.spec.folder.join("home")
    }

    /// The folder that children start in.
    pub fn work(&self) -> PathBuf {
        self.spec.folder.join("work")
    }

    /// The file that gives children access to the cluster. They may change it (`kubectl config set-context`).
    pub fn kubeconfig(&self) -> PathBuf {
        self.home().join(".kube/config")
    }

    fn tmp(&self) -> PathBuf {
        self.spec.folder.join("tmp")
    }

    fn shims(&self) -> PathBuf {
        self.spec.folder.join("bin")
    }

    /// Playbooks and events: beside the work folder, so that a playbook does not meet them by accident.
    fn control(&self) -> PathBuf {
        self.spec.folder.join("runs")
    }

    fn inventory(&self) -> PathBuf {
        self.spec.folder.join("inventory.ini")
    }

    fn hosts(&self) -> PathBuf {
        self.spec.folder.join("hosts")
    }

    fn settings(&self) -> PathBuf {
        self.spec.folder.join("ansible.cfg")
    }

    /// Runs a playbook, given as text. The limit holds in real time and in the cluster's time.
    pub async fn run_playbook(
        &self,
        tools: &Toolchain,
        playbook: &str,
        rules: &Rules,
        time_limit: Duration,
        time: &Timekeeping,
        cancel: &CancellationToken,
    ) -> Result<PlaybookOutcome, ChildError> {
        let mut more: Vec<(String, OsString)> = Vec::new();
        if let Some(machine) = self.spec.machine.as_ref().filter(|_| machine::gathers(playbook)) {
            machine.ask();
            more.extend(machine.known().map(|file| (machine::KNOWN.to_owned(), file.into())));
        }
        self.play(tools, playbook, &more, rules, time_limit, time, cancel).await
    }

    /// The same, with more in its environment.
    #[expect(clippy::too_many_arguments, reason = "one more than its only other form")]
    pub(super) async fn play(
        &self,
        tools: &Toolchain,
        playbook: &str,
        more: &[(String, OsString)],
        rules: &Rules,
        time_limit: Duration,
        time: &Timekeeping,
        cancel: &CancellationToken,
    ) -> Result<PlaybookOutcome, ChildError> {
        let run = self.runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let denied = Uses::of(playbook).denied(rules);
        if !denied.is_empty() {
            return Ok(PlaybookOutcome::refused(&denied));
        }
        let file = self.control().join(format!("playbook-{run}.yml"));
        let events = self.control().join(format!("events-{run}.jsonl"));
        write_private(&file, playbook)?;
        let program = tools.ansible_playbook();
        // The child may write to this file and replace none beside it.
        write_private(&events, "")?;
        let args = rules.dry_run.then(|| "--check".into()).into_iter().chain([file.into()]).collect();
        let mut spec = self.child(&program, args, time_limit, time, tools, std::slice::from_ref(&events))?;
        spec.warm = self.warm().await;
        spec.environment.extend_from_slice(more);
        spec.environment.push(("MICROREMED_EVENTS".to_owned(), events.clone().into()));
        let command = child::run(&spec, time, cancel).await?;
        let events = Events::parse(&read_start(&events, EVENTS_MAX)?);
        // Exit code 4 also means an unreachable host, so what counts is whether Ansible began; a run that was cut short
        // before its first event says nothing about the playbook.
        let valid = events.started || !matches!(command.finish, Finish::Exited(1..));
        Ok(PlaybookOutcome { command, tasks: events.tasks, stats: events.stats, valid })
    }

    /// Has Ansible read a playbook, given as text, without running it: exit code 0 when it could.
    pub async fn check_syntax(
        &self,
        tools: &Toolchain,
        playbook: &str,
        time_limit: Duration,
        time: &Timekeeping,
        cancel: &CancellationToken,
    ) -> Result<CommandOutcome, ChildError> {
        let run = self.runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let file = self.control().join(format!("draft-{run}.yml"));
        write_private(&file, playbook)?;
        let program = tools.ansible_playbook();
        let args = vec!["--syntax-check".into(), file.into()];
        let mut spec = self.child(&program, args, time_limit, time, tools, &[])?;
        spec.warm = self.warm().await;
        child::run(&spec, time, cancel).await
    }

    /// The warm interpreters, where their forks can be put into the sandbox.
    async fn warm(&self) -> Option<&WarmInterpreters> {
        let sandboxed = self.spec.sandbox.as_ref().is_some_and(|c| c.layers.namespaces);
        match &self.spec.warm {
            // A fork is told its paths as text.
            Some(warm) if sandboxed && self.spec.folder.to_str().is_some() => warm.ready().await,
            _ => None,
        }
    }

    /// Runs a command line with the shell, as it is written.
    pub async fn run_command(
        &self,
        tools: &Toolchain,
        command_line: &str,
        time_limit: Duration,
        time: &Timekeeping,
        cancel: &CancellationToken,
    ) -> Result<CommandOutcome, ChildError> {
        let shell = child::shell();
        let args = vec!["-c".into(), command_line.into()];
        child::run(&self.child(&shell, args, time_limit, time, tools, &[])?, time, cancel).await
    }

    fn child<'a>(
        &'a self,
        program: &'a Path,
        args: Vec<OsString>,
        time_limit: Duration,
        time: &Timekeeping,
        tools: &Toolchain,
        files: &[PathBuf],
    ) -> std::io::Result<ChildSpec<'a>> {
        let shims = if self.spec.shim_program.is_some() { format!("{}:", self.shims().display()) } else { String::new() };
        let path = format!("{shims}{}:{SYSTEM_PATH}", tools.bin().display());
        let environment = [
            ("PATH", path.into()),
            ("HOME", self.home().into()),
            ("TMPDIR", self.tmp().into()),
            ("LANG", "C.UTF-8".into()),
            ("LC_ALL", "C.UTF-8".into()),
            ("KUBECONFIG", self.kubeconfig().into()),
            ("K8S_AUTH_KUBECONFIG", self.kubeconfig().into()),
            ("ANSIBLE_CONFIG", self.settings().into()),
        ];
        // Without a sandbox they reach whatever they like.
        let proxy = self.spec.network.proxy.clone().filter(|_| self.spec.sandbox.is_some());
        let launcher = self.spec.sandbox.as_ref().map(|c| self.launcher(c, time_limit, time, tools, files)).transpose()?;
        let proxied: Vec<(String, OsString)> =
            proxy.iter().flat_map(|p| p.environment()).map(|(name, value)| (name, value.into())).collect();
        Ok(ChildSpec {
            program,
            args,
            environment: environment.into_iter().map(|(k, v): (&str, OsString)| (k.to_owned(), v)).chain(proxied).collect(),
            work: self.work(),
            launcher,
            markers: vec![format!("HOME={}", self.home().display()), format!("TMPDIR={}", self.tmp().display())],
            time_limit,
            cap: self.spec.cap,
            warm: None,
            proxy,
        })
    }

    /// Writes down what a child may do.
    fn launcher(
        &self,
        confinement: &Confinement,
        time_limit: Duration,
        time: &Timekeeping,
        tools: &Toolchain,
        files: &[PathBuf],
    ) -> std::io::Result<Launcher> {
        let trouble = self.control().join("sandbox-failed");
        let policy_file = self.control().join("policy.json");
        let mut read = vec![self.spec.folder.clone(), tools.root().to_owned(), confinement.program.clone()];
        read.extend(tools.python_folders());
        read.extend(self.spec.machine.as_ref().and_then(Machine::known).map(Path::to_owned));
        let mut servers: Vec<SocketAddr> = self.servers.iter().map(|s| s.address).chain(time.server()).collect();
        servers.extend(self.spec.network.proxy.as_ref().map(|p| p.address()));
        servers.sort_unstable();
        servers.dedup();
        let policy = Policy {
            layers: confinement.layers,
            program: confinement.program.clone(),
            read,
            write: vec![self.home(), self.tmp(), self.work()],
            files: files.to_vec(),
            tmp: self.tmp(),
            servers: servers.clone(),
            address: self.spec.network.address,
            hosts: Some(self.hosts()),
            limits: Limits { cpu_s: confinement.limits.cpu_s.min(time_limit.as_secs().saturating_add(CPU_MORE)), ..confinement.limits },
            trouble: trouble.clone(),
        };
        policy.save(&policy_file)?;
        let watch = Watch { limits: confinement.limits, folder: self.spec.folder.clone() };
        let network = confinement.layers.network.then(|| (self.spec.network.clone(), servers));
        let closed = confinement.layers.namespaces;
        Ok(Launcher { program: confinement.program.clone(), policy: policy_file, trouble, watch, closed, network })
    }
}

/// `localhost`, `all`, `127.0.0.1` and the group's name all mean this machine.
pub(super) fn inventory(group: &str, python: &Path) -> String {
    format!("[{group}]\nlocalhost ansible_connection=local ansible_python_interpreter={}\n", python.display())
}

/// Fact gathering is left as it is: models rely on facts. The controller looks for results every 10 ms rather than every one, so
/// that it mostly sleeps while a task waits for the cluster. Folders are absolute, since Ansible takes `~` from the
/// password file here and from HOME there.
pub(super) fn settings(home: &Path, inventory: &Path, tools: &Toolchain) -> String {
    format!(
        "[defaults]\n\
         home = {home}/.ansible\n\
         local_tmp = {home}/.ansible/tmp\n\
         remote_tmp = {home}/.ansible/tmp\n\
         async_dir = {home}/.ansible/async\n\
         inventory = {inventory}\n\
         collections_path = {collections}\n\
         callback_plugins = {plugins}\n\
         callbacks_enabled = microremed_events\n\
         retry_files_enabled = False\n\
         nocows = True\n\
         nocolor = True\n\
         localhost_warning = False\n\
         pipelining = True\n\
         internal_poll_interval = 0.01\n\
         host_key_checking = False\n\
         \n\
         [inventory]\n\
         inventory_unparsed_warning = False\n",
        home = home.display(),
        inventory = inventory.display(),
        collections = tools.collections().display(),
        plugins = tools.callback_plugins().display(),
    )
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = fs_err::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn replace_link(target: &Path, link: &Path) -> std::io::Result<()> {
    match fs_err::remove_file(link) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    symlink(target, link)
}

/// The start of a file; a missing file is empty.
fn read_start(path: &Path, max: u64) -> std::io::Result<String> {
    use std::io::Read;
    let file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
