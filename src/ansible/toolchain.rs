//! The private installation of Ansible, its Kubernetes collection and kubectl.
//!
//! Input: a folder that is ours; output: paths of the tools in a subfolder named by the digest of the pins. A marker
//! written last tells a whole installation from a torn one; a file lock keeps two runners from installing at once. The
//! system's Python is only asked to make a virtual environment. pip keeps the user's settings (index, proxy,
//! certificates).

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::pins::{self, Pins};
use super::python::Python;

const MARKER: &str = "installed.json";
const LOCK_WAIT: Duration = Duration::from_mins(20);
const LOCK_LOOK_EVERY: Duration = Duration::from_millis(250);
const PIP_LIMIT: Duration = Duration::from_mins(15);
const STEP_LIMIT: Duration = Duration::from_mins(5);
/// Lines of a failed step's output that an error shows.
const LAST_LINES: usize = 8;

/// Where the tools are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    root: PathBuf,
}

/// What is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolsStatus {
    /// Everything.
    Installed {
        /// The tools.
        tools: Toolchain,
        /// Their versions.
        versions: Versions,
    },
    /// An installation was begun and not finished, or its Python went away.
    Broken {
        /// Folder.
        folder: PathBuf,
    },
    /// Nothing.
    Missing {
        /// Where it would go.
        folder: PathBuf,
    },
}

/// What the marker file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// The Python it was made for.
    pub python: String,
    /// ansible-core.
    pub ansible_core: String,
    /// The `ansible` package that the collections are from.
    pub collections_from: String,
    /// The Python client.
    pub kubernetes: String,
    /// kubectl.
    pub kubectl: String,
}

impl Versions {
    /// Versions by name, for journals and identities.
    pub fn map(&self) -> std::collections::BTreeMap<String, String> {
        [
            ("python", &self.python),
            ("ansible-core", &self.ansible_core),
            ("ansible", &self.collections_from),
            ("kubernetes", &self.kubernetes),
            ("kubectl", &self.kubectl),
        ]
        .into_iter()
        .map(|(name, version)| (name.to_owned(), version.clone()))
        .collect()
    }
}

/// What an installation is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallStep {
    /// Another runner is installing.
    WaitForOther,
    /// Looking for a Python.
    FindPython,
    /// Making the virtual environment.
    MakeEnvironment(PathBuf),
    /// pip is at work.
    InstallPackages(Vec<String>),
    /// Downloading the package with the collections.
    FetchCollections(String),
    /// Byte-compiling, and having Ansible pack its modules.
    Compile,
    /// Done.
    Finished(PathBuf),
}

impl fmt::Display for InstallStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitForOther => write!(f, "waiting for another microremed that is installing the tools"),
            Self::FindPython => write!(f, "looking for Python"),
            Self::MakeEnvironment(python) => write!(f, "making a virtual environment with {}", python.display()),
            Self::InstallPackages(list) => write!(f, "installing {}", list.join(", ")),
            Self::FetchCollections(package) => write!(f, "taking kubernetes.core out of {package}"),
            Self::Compile => write!(f, "compiling"),
            Self::Finished(folder) => write!(f, "installed in {}", folder.display()),
        }
    }
}

/// Why the tools could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum ToolsError {
    /// No Python of a supported version.
    #[error("failed to find Python 3.9 to 3.14 (found: {seen}); install one, for instance with: apt-get install python3 python3-venv")]
    NoPython {
        /// What was found.
        seen: String,
    },
    /// Python lacks venv or ensurepip.
    #[error("failed to make a virtual environment: {python} lacks venv or ensurepip; install them with: {mend}")]
    NoVenv {
        /// Interpreter.
        python: String,
        /// Command.
        mend: String,
    },
    /// A step failed.
    #[error("failed to {step}; {advice}; its last lines:\n{last_lines}")]
    Step {
        /// Which.
        step: String,
        /// What to do.
        advice: &'static str,
        /// End of its output.
        last_lines: String,
    },
    /// A step took too long.
    #[error("failed to {step} within {minutes} minutes; {advice}")]
    Slow {
        /// Which.
        step: String,
        /// Limit.
        minutes: u64,
        /// What to do.
        advice: &'static str,
    },
    /// The other installer did not finish.
    #[error("failed to get the lock {}: another microremed has been installing for too long; end it and try again", path.display())]
    Locked {
        /// Lock file.
        path: PathBuf,
    },
    /// Files.
    #[error("failed to write the tools folder")]
    Files(#[from] std::io::Error),
    /// Cancelled.
    #[error("cancelled")]
    Cancelled,
}

const NETWORK_ADVICE: &str = "check the network and pip's settings (pip config list), then run `microremed tools install` again";
const LOCAL_ADVICE: &str = "check this Python and the free disk space, then run `microremed tools install` again";

impl Toolchain {
    /// The folder of this installation.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder below `base` that this version of the program uses.
    pub fn folder(base: &Path) -> PathBuf {
        base.join(format!("tools-{}", pins::digest()))
    }

    /// What is there.
    pub fn status(base: &Path) -> ToolsStatus {
        let root = Self::folder(base);
        let tools = Self { root: root.clone() };
        let versions = fs_err::read(root.join(MARKER)).ok().and_then(|m| serde_json::from_slice(&m).ok());
        match versions {
            Some(versions) if tools.is_whole() => ToolsStatus::Installed { tools, versions },
            None if !root.exists() => ToolsStatus::Missing { folder: root },
            _ => ToolsStatus::Broken { folder: root },
        }
    }

    /// Whether nothing that children use was taken away: what is missing would be taken for a mistake in their playbooks.
    fn is_whole(&self) -> bool {
        let collection = self.collections().join("ansible_collections/kubernetes/core");
        let parts = [self.python(), self.ansible_playbook(), self.kubectl(), collection, self.callback_plugins(), self.modules()];
        // `exists` follows links: the interpreter behind the environment must still be there.
        parts.iter().all(|part| part.exists())
    }

    /// Installs the tools unless they are there, and returns them.
    pub async fn install(base: &Path, progress: &(dyn Fn(&InstallStep) + Sync), cancel: &CancellationToken) -> Result<Self, ToolsError> {
        if let ToolsStatus::Installed { tools, .. } = Self::status(base) {
            return Ok(tools);
        }
        fs_err::create_dir_all(base)?;
        let root = Self::folder(base);
        let path = root.with_extension("lock");
        let mut lock = fd_lock::RwLock::new(fs_err::OpenOptions::new().create(true).append(true).open(&path)?.into_file());
        let end = Instant::now() + LOCK_WAIT;
        let mut told = false;
        let _held = loop {
            match lock.try_write() {
                Ok(held) => break held,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.into()),
            }
            if !told {
                progress(&InstallStep::WaitForOther);
                told = true;
            }
            if Instant::now() >= end {
                return Err(ToolsError::Locked { path });
            }
            tokio::select! { () = cancel.cancelled() => return Err(ToolsError::Cancelled), () = sleep(LOCK_LOOK_EVERY) => {} }
        };
        // Whoever held the lock may have finished what we want.
        if let ToolsStatus::Installed { tools, .. } = Self::status(base) {
            return Ok(tools);
        }
        let tools = Self { root };
        tokio::select! {
            done = tools.build(progress) => done?,
            () = cancel.cancelled() => return Err(ToolsError::Cancelled),
        }
        progress(&InstallStep::Finished(tools.root.clone()));
        Ok(tools)
    }

    async fn build(&self, progress: &(dyn Fn(&InstallStep) + Sync)) -> Result<(), ToolsError> {
        progress(&InstallStep::FindPython);
        let python = Python::choose(Python::find_all().await).map_err(|seen| ToolsError::NoPython { seen: listed(&seen) })?;
        let Some(pins) = Pins::for_python(python.minor) else { return Err(ToolsError::NoPython { seen: String::new() }) };
        if !python.venv {
            return Err(ToolsError::NoVenv { python: python.executable.display().to_string(), mend: python.mend() });
        }
        self.build_with(&python, pins, progress).await
    }

    async fn build_with(&self, python: &Python, pins: &Pins, progress: &(dyn Fn(&InstallStep) + Sync)) -> Result<(), ToolsError> {
        if self.root.exists() {
            fs_err::remove_dir_all(&self.root)?;
        }
        fs_err::create_dir_all(&self.root)?;

        progress(&InstallStep::MakeEnvironment(python.executable.clone()));
        let venv: [OsString; 4] = ["-I".into(), "-m".into(), "venv".into(), self.venv().into()];
        step("make a virtual environment", &python.executable, &venv, STEP_LIMIT, LOCAL_ADVICE).await?;

        let wanted = pins.requirements();
        progress(&InstallStep::InstallPackages(wanted.to_vec()));
        let pip = ["-m", "pip", "--no-input", "--disable-pip-version-check"];
        let args = words(&pip, &["install", "--prefer-binary"]).chain(wanted.iter().map(Into::into));
        step("install the packages with pip", &self.python(), &args.collect::<Vec<_>>(), PIP_LIMIT, NETWORK_ADVICE).await?;

        let package = format!("ansible=={}", pins.ansible);
        progress(&InstallStep::FetchCollections(package.clone()));
        let wheels = self.root.join("wheels");
        let args = words(&pip, &["download", "--no-deps", "--only-binary", ":all:", "--dest"]);
        let args: Vec<OsString> = args.chain([wheels.clone().into(), package.into()]).collect();
        step("download the collections with pip", &self.python(), &args, PIP_LIMIT, NETWORK_ADVICE).await?;
        let args = ["-c".into(), pins::TAKE_COLLECTIONS.into(), wheels.clone().into(), self.collections().into()];
        step("unpack the collections", &self.python(), &args, STEP_LIMIT, LOCAL_ADVICE).await?;
        fs_err::remove_dir_all(&wheels)?;

        let site = self.venv().join(format!("lib/python3.{}/site-packages", python.minor));
        fs_err::create_dir_all(self.callback_plugins())?;
        for (folder, (name, text)) in
            [(self.callback_plugins(), pins::EVENTS_PLUGIN), (site.clone(), pins::CLOCK), (site.clone(), pins::CLOCK_HOOK)]
        {
            fs_err::write(folder.join(name), text)?;
        }

        progress(&InstallStep::Compile);
        let args = words(&["-m", "compileall", "-q", "-j", "0"], &[]);
        let args: Vec<OsString> = args.chain([self.collections().into(), self.callback_plugins().into(), site.into()]).collect();
        // Some packages carry templates that are no valid Python: that compileall says so does no harm.
        match step("compile", &self.python(), &args, STEP_LIMIT, LOCAL_ADVICE).await {
            Ok(()) | Err(ToolsError::Step { .. }) => {}
            Err(other) => return Err(other),
        }
        self.pack_modules().await?;

        let versions = Versions {
            python: format!("3.{}", python.minor),
            ansible_core: pins.ansible_core.to_owned(),
            collections_from: pins.ansible.to_owned(),
            kubernetes: pins.kubernetes.to_owned(),
            kubectl: pins.kubectl.to_owned(),
        };
        let text = serde_json::to_vec_pretty(&versions).map_err(std::io::Error::from)?;
        let half = self.root.join("installed.json.part");
        fs_err::write(&half, text)?;
        fs_err::rename(half, self.root.join(MARKER))?;
        Ok(())
    }

    /// Runs Ansible for the first time: it packs the modules that playbooks use most, and leaves them in [`Self::modules`].
    async fn pack_modules(&self) -> Result<(), ToolsError> {
        let folder = tempfile::tempdir()?;
        let (playbook, inventory) = (folder.path().join("take_modules.yml"), folder.path().join("inventory.ini"));
        fs_err::write(&playbook, pins::TAKE_MODULES)?;
        fs_err::write(&inventory, super::workspace::inventory("here", &self.python()))?;
        fs_err::write(folder.path().join("ansible.cfg"), super::workspace::settings(folder.path(), &inventory, self))?;
        let settings = [
            ("HOME", folder.path().into()),
            ("LC_ALL", "C.UTF-8".into()),
            ("ANSIBLE_CONFIG", folder.path().join("ansible.cfg")),
            ("MICROREMED_EVENTS", folder.path().join("events")),
            ("MICROREMED_KEEP", self.modules()),
        ];
        let mut args: Vec<OsString> = settings.into_iter().map(|(name, value): (_, PathBuf)| assigned(name, &value)).collect();
        args.extend([self.ansible_playbook().into(), "-e".into(), assigned("folder", folder.path()), playbook.into()]);
        step("run Ansible", Path::new("/usr/bin/env"), &args, STEP_LIMIT, LOCAL_ADVICE).await
    }

    fn venv(&self) -> PathBuf {
        self.root.join("venv")
    }

    /// The programs of the virtual environment.
    pub fn bin(&self) -> PathBuf {
        self.venv().join("bin")
    }

    /// The private Python.
    pub fn python(&self) -> PathBuf {
        self.bin().join("python")
    }

    /// Where the Python behind the private one lives: its programs and its library. In a copied installation, Ansible's first
    /// line still names the environment that it was copied from.
    pub(crate) fn python_folders(&self) -> Vec<PathBuf> {
        let settings = fs_err::read_to_string(self.venv().join("pyvenv.cfg")).unwrap_or_default();
        let home =
            settings.lines().find_map(|l| l.split_once('=').filter(|(k, _)| k.trim() == "home").map(|(_, v)| PathBuf::from(v.trim())));
        let behind = self.python().canonicalize().ok().and_then(|p| p.parent().map(Path::to_owned));
        let folders = home.into_iter().chain(behind);
        let start = fs_err::read_to_string(self.ansible_playbook()).unwrap_or_default();
        let named = start.lines().next().and_then(|l| l.strip_prefix("#!")).map(|l| PathBuf::from(l.trim()));
        let named = named.and_then(|python| Some(python.parent()?.parent()?.to_owned())).filter(|venv| venv.join("pyvenv.cfg").exists());
        let folders = folders.map(|bin| [bin.parent().map(|p| p.join("lib")), Some(bin)]).chain([[named, None]]);
        folders.flatten().flatten().collect()
    }

    /// The command that runs a playbook.
    pub fn ansible_playbook(&self) -> PathBuf {
        self.bin().join("ansible-playbook")
    }

    /// The pinned kubectl.
    pub fn kubectl(&self) -> PathBuf {
        self.bin().join("kubectl")
    }

    /// The folder that holds `ansible_collections`.
    pub fn collections(&self) -> PathBuf {
        self.root.join("collections")
    }

    /// Modules that are packed already, which our callback plugin lends to playbooks.
    fn modules(&self) -> PathBuf {
        self.root.join("modules")
    }

    /// The folder with our callback plugin.
    pub(crate) fn callback_plugins(&self) -> PathBuf {
        self.root.join("callback_plugins")
    }
}

/// `name=value`, whatever bytes the value has.
fn assigned(name: &str, value: &Path) -> OsString {
    let mut text = OsString::from(format!("{name}="));
    text.push(value);
    text
}

fn listed(seen: &[String]) -> String {
    if seen.is_empty() { "none".to_owned() } else { seen.join(", ") }
}

fn words(first: &[&str], then: &[&str]) -> impl Iterator<Item = OsString> {
    first.iter().chain(then).map(OsString::from).collect::<Vec<_>>().into_iter()
}

/// Runs one step; the error carries the end of what it said.
async fn step(what: &str, program: &Path, args: &[OsString], limit: Duration, advice: &'static str) -> Result<(), ToolsError> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    // An activated environment or a user's PYTHONPATH would leak other packages into ours.
    for name in ["PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PIP_TARGET", "PIP_USER", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "SIM_CLOCK"] {
        command.env_remove(name);
    }
    let child = command.spawn()?;
    let mut group = StepGroup(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let Ok(output) = timeout(limit, child.wait_with_output()).await else {
        return Err(ToolsError::Slow { step: what.to_owned(), minutes: limit.as_secs() / 60, advice });
    };
    group.0 = None;
    let output = output?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(ToolsError::Step { step: what.to_owned(), advice, last_lines: last_lines(&String::from_utf8_lossy(&text)) })
}

/// The processes of a step that has not ended: they end with it, whoever stops waiting.
struct StepGroup(Option<Pid>);

impl Drop for StepGroup {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // No such group: all of it has ended, which is what we want.
            let _gone = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// The last lines that say something, without the password of an index address.
fn last_lines(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().rev().filter(|l| !l.trim().is_empty()).take(LAST_LINES).map(without_password).collect();
    lines.reverse();
    lines.join("\n")
}

/// `https://user:secret@host/` becomes `https://***@host/`.
fn without_password(line: &str) -> String {
    let mut words = Vec::new();
    for word in line.split(' ') {
        let shown = word.split_once("://").and_then(|(scheme, rest)| {
            let end = rest.find('/').unwrap_or(rest.len());
            let at = rest.get(..end)?.rfind('@')?;
            Some(format!("{scheme}://***{}", rest.get(at..)?))
        });
        words.push(shown.unwrap_or_else(|| word.to_owned()));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests;
