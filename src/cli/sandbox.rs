//! The launcher of a trial's children: this program under other names. Input: a policy's file and a command line; output:
//! the exit code of the program that was started inside.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::failure::{Code, Failure};
use super::work_folder::WorkFolder;
use crate::ansible::sandbox::{Confinement, Found, LANDLOCK_PORTS, LANDLOCK_SIGNALS, LAUNCHER, detect, follow, inner, outer};
use crate::manifest::SandboxSection;

/// The inner half of the launcher, which the outer half starts.
const INNER: &str = "microremed-inside";
/// The launcher itself failed; the runner finds the reason in a file.
const FAILED: u8 = 125;

/// Runs as a launcher if that is the name we were called by. Call it first thing in `main`, before there are threads.
pub fn dispatch(argv: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut argv = argv.into_iter();
    let called = argv.next()?;
    let name = Path::new(&called).file_name()?.to_str()?.to_owned();
    if name != LAUNCHER && name != INNER {
        return None;
    }
    let policy = argv.next()?;
    let policy = Path::new(&policy);
    let command: Vec<OsString> = argv.skip_while(|a| a == "--").collect();
    let code = if name == LAUNCHER {
        outer(policy, INNER, &command).map(follow)
    } else {
        let environment: Vec<_> = std::env::vars_os().collect();
        inner(policy, &command, &environment).map(|()| 0)
    };
    Some(ExitCode::from(code.unwrap_or(FAILED)))
}

/// What the children of a run are confined by, and how the journal calls that. `of_our_own`: the playbooks are those of data
/// files, which are confined as well as the machine can, but need not be.
pub(super) fn confinement(section: &SandboxSection, off: bool, of_our_own: bool) -> Result<(Option<Confinement>, String), Failure> {
    if off {
        return Ok((None, "none (--no-sandbox)".to_owned()));
    }
    if section.mode == "off" {
        return Err(Failure::input("the experiment says sandbox.mode = \"off\"")
            .help("playbooks and probes of a model would do whatever you may do; if that is what you want, add --no-sandbox"));
    }
    let limits = section.limits().map_err(|e| Failure::input(format!("[sandbox]: {e}")))?;
    let program = program()?;
    let found = found(&program)?;
    if section.mode == "required" && !of_our_own && !found.layers.suffice() {
        return Err(Failure::new(
            Code::Dependency,
            format!("no sandbox for what models write: this machine offers {}", found.layers.named()),
        )
        .help(format!(
            "{}; --set sandbox.mode=best-effort runs with what there is, --no-sandbox with nothing; the results say so",
            mend(&found).unwrap_or_else(|| LANDLOCK.to_owned())
        )));
    }
    let mut named = found.layers.named();
    if !section.hosts.is_empty() {
        named.extend(["; hosts: ", &section.hosts.join(", ")]);
    }
    Ok((Some(Confinement { layers: found.layers, limits, program }), named))
}

/// What a look at this machine finds. A run that is killed while it looks leaves nothing behind either.
fn found(program: &Path) -> Result<Found, Failure> {
    let place = WorkFolder::create()?;
    Ok(detect(program, place.path().as_std_path()))
}

fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|e| Failure::harness(format!("failed to find this program: {e}")))
}

const LANDLOCK: &str = "Landlock that confines TCP ports needs Linux 6.7 or later with `landlock` among the names in /sys/kernel/security/lsm \
                        (boot parameter lsm=landlock,...)";
const NAMESPACES: &str = "allow users namespaces: sysctl -w kernel.unprivileged_userns_clone=1 (Debian), \
                          kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), user.max_user_namespaces=10000 (RHEL); in a container: \
                          --security-opt seccomp=unconfined";

/// What to do for the strongest layer that is missing and needed.
fn mend(found: &Found) -> Option<String> {
    let layers = &found.layers;
    if layers.landlock == 0 || layers.landlock < LANDLOCK_PORTS && !layers.network {
        Some(LANDLOCK.to_owned())
    } else if !layers.seccomp {
        Some("seccomp needs a kernel with CONFIG_SECCOMP_FILTER".to_owned())
    } else if !layers.namespaces {
        Some(NAMESPACES.to_owned())
    } else {
        None
    }
}

/// What `doctor` says of the sandbox.
pub(super) struct Standing {
    /// Whether it is enough for `mode = "required"`.
    pub(super) suffices: bool,
    /// The layers that hold.
    pub(super) holds: String,
    /// For each layer that does not: what then is open, and how to get it.
    pub(super) lacks: Vec<(String, String)>,
}

/// For `doctor`.
pub(super) fn layers() -> Result<Standing, Failure> {
    let found = found(&program()?)?;
    let layers = found.layers;
    let mut lacks = Vec::new();
    let why = found.why_not.clone().unwrap_or_default();
    if layers.namespaces && !layers.network {
        let what = format!("sandbox without a network of its own ({why}): ports are confined, addresses are not");
        lacks.push((what, NAMESPACES.to_owned()));
    }
    if !layers.namespaces {
        let what = format!("sandbox without namespaces ({why}): names of other processes can be seen, /tmp is shared with the machine");
        lacks.push((what, NAMESPACES.to_owned()));
    }
    if layers.landlock == 0 || layers.landlock < LANDLOCK_PORTS && !layers.network {
        lacks.push((format!("sandbox: Landlock version {}, {LANDLOCK_PORTS} is needed", layers.landlock), LANDLOCK.to_owned()));
    } else if layers.landlock < LANDLOCK_SIGNALS && !layers.namespaces {
        lacks.push((
            format!("sandbox: Landlock version {} does not confine signals", layers.landlock),
            "Linux 6.12 or later, or namespaces, keep children from ending other processes of yours".to_owned(),
        ));
    }
    Ok(Standing { suffices: layers.suffice(), holds: format!("sandbox for playbooks and probes: {}", layers.named()), lacks })
}
