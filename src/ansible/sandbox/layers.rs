//! Which layers of the sandbox this machine offers.

use std::io::Read as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use landlock::{AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
use serde::{Deserialize, Serialize};

use super::LAUNCHER;
use super::limits::Limits;
use super::packets::{pair, send};
use super::policy::Policy;
use super::supervise::ANEW;

/// Layers, from the strongest to the weakest. Limits and process groups are always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layers {
    /// Namespaces of its own for users, mounts, processes and messages: other processes cannot be seen, `/tmp` is the
    /// trial's own, and all processes end with the first.
    pub namespaces: bool,
    /// A network of its own beside them: nothing is reached but the trial's servers, whatever their ports.
    pub network: bool,
    /// Version of Landlock that confines files (from 1), TCP ports (from 4) and signals (from 6); 0: none.
    pub landlock: u32,
    /// Filters of system calls.
    pub seccomp: bool,
}

/// How long the attempt may take that shows whether a layer holds; it takes milliseconds.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Of what the launcher says when it fails, in bytes.
const SAID_MAX: u64 = 4096;

/// Version of Landlock from which on it confines TCP ports.
pub const LANDLOCK_PORTS: u32 = 4;
/// Version of Landlock from which on it confines signals.
pub const LANDLOCK_SIGNALS: u32 = 6;

impl Layers {
    /// No layer at all.
    pub const NONE: Self = Self { namespaces: false, network: false, landlock: 0, seccomp: false };

    /// What the kernel has. Whether namespaces may be made is only known after having made some.
    pub(super) fn of_kernel() -> Self {
        let rules = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let steps = [
            rules().handle_access(AccessFs::Execute).is_ok(),
            rules().handle_access(AccessFs::Refer).is_ok(),
            rules().handle_access(AccessFs::Truncate).is_ok(),
            rules().handle_access(AccessNet::ConnectTcp).is_ok(),
            rules().handle_access(AccessFs::IoctlDev).is_ok(),
            rules().scope(Scope::Signal).is_ok(),
        ];
        let landlock = steps.iter().take_while(|s| **s).count();
        Self {
            namespaces: false,
            network: false,
            landlock: u32::try_from(landlock).unwrap_or(0),
            seccomp: std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        }
    }

    /// Whether children cannot signal processes outside.
    pub fn confine_signals(&self) -> bool {
        self.namespaces || self.landlock >= LANDLOCK_SIGNALS
    }

    /// The layers by name, for people.
    pub fn named(&self) -> String {
        let mut names = Vec::new();
        if self.namespaces {
            names.push(if self.network { "namespaces" } else { "namespaces without network" }.to_owned());
        }
        if self.landlock > 0 {
            names.push(format!("Landlock {}", self.landlock));
        }
        if self.seccomp {
            names.push("seccomp".to_owned());
        }
        if names.is_empty() { "limits only".to_owned() } else { names.join(", ") }
    }

    /// Whether files and the network are confined: what `required` asks for.
    pub fn suffice(&self) -> bool {
        self.landlock > 0 && (self.network || self.landlock >= LANDLOCK_PORTS) && self.seccomp
    }
}

/// What a look at this machine found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What holds.
    pub layers: Layers,
    /// Why the next stronger ones do not: namespaces, or a network of one's own.
    pub why_not: Option<String>,
}

/// Tries the layers out: starts `program` (this one) as the launcher of a child that does nothing. `place`: a folder for theirs.
pub fn detect(program: &Path, place: &Path) -> Found {
    let kernel = Layers::of_kernel();
    let wanted = [Layers { namespaces: true, network: true, ..kernel }, Layers { namespaces: true, ..kernel }, kernel];
    let mut why = Vec::new();
    for layers in wanted {
        match attempt(program, place, layers) {
            Ok(()) => return Found { layers, why_not: why.pop() },
            Err(said) => why.push(said),
        }
    }
    Found { layers: Layers::NONE, why_not: why.pop() }
}

fn attempt(program: &Path, place: &Path, layers: Layers) -> Result<(), String> {
    let folder = tempfile::tempdir_in(place).map_err(|e| e.to_string())?;
    let (tmp, file, trouble) = (folder.path().join("tmp"), folder.path().join("policy.json"), folder.path().join("trouble"));
    let policy = Policy {
        layers,
        program: program.to_owned(),
        read: vec![folder.path().to_owned(), program.to_owned()],
        write: vec![tmp.clone()],
        files: Vec::new(),
        tmp: tmp.clone(),
        servers: Vec::new(),
        address: None,
        hosts: None,
        limits: Limits::default(),
        trouble: trouble.clone(),
    };
    fs_err::create_dir(&tmp).and_then(|()| policy.save(&file)).map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.arg0(LAUNCHER).arg(&file).args(["--", "/bin/sh", "-c", ":"]).env_clear().current_dir(&tmp);
    // Held until the end: when it is closed, the launcher ends.
    let (held, given) = pair().map_err(|e| e.to_string())?;
    command.stdin(Stdio::from(given)).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    send(&held, ANEW, &[]).map_err(|e| e.to_string())?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break status,
            None if begun.elapsed() > ATTEMPT_LIMIT => {
                // It ends by this or has just ended; either way it is reaped.
                let _ended = child.kill().and_then(|()| child.wait());
                return Err(format!("the launcher did not end within {} s", ATTEMPT_LIMIT.as_secs()));
            }
            None => std::thread::sleep(LOOK_EVERY),
        }
    };
    // A few lines at the most: they fit into the pipe, and nobody waited for us to take them.
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _read = stderr.take(SAID_MAX).read_to_string(&mut said);
    }
    match fs_err::read_to_string(&trouble) {
        Ok(why) if !why.is_empty() => Err(why),
        _ if status.success() => Ok(()),
        _ => Err(format!("the launcher ended with {status}: {}", said.trim())),
    }
}
