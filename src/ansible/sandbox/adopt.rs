//! Takes in forks of the warm interpreters instead of starting a program.
//!
//! Input: a policy and two channels, at whose other ends two forks wait outside; effect: each is sent what it has to put
//! on and to become. The first then runs `ansible-playbook` and says on its channel how that ended; the second runs the
//! playbook's modules. `python/microremed_warm.py` is the other side.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::libc;
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::WaitOptions;
use serde::Serialize;

use super::packets::{pair, receive, send};
use super::policy::Policy;
use super::supervise::{Ended, LaunchError};
use super::{access, calls};

/// Once something has arrived, it is there.
const THERE: Duration = Duration::from_secs(5);

/// What a fork is told; text that is no UTF-8 was refused by the runner.
#[derive(Serialize)]
struct Become<'a> {
    argv: &'a [String],
    environment: std::collections::BTreeMap<String, String>,
    folder: String,
    limits: Vec<(u32, u64)>,
    /// Filters of system calls, in base64.
    programs: Vec<String>,
    calls: Numbers,
    /// What the files are that go with it.
    files: Vec<&'a str>,
}

/// Numbers of system calls that have no name in Python.
#[derive(Serialize, Clone, Copy)]
struct Numbers {
    capset: libc::c_long,
    landlock: libc::c_long,
}

/// Sends the forks what they need.
pub(super) fn equip(
    policy: &Policy,
    argv: &[OsString],
    environment: &[(OsString, OsString)],
    channels: &[OwnedFd],
) -> Result<(), LaunchError> {
    let text = |s: &OsString| s.to_string_lossy().into_owned();
    let argv: Vec<String> = argv.iter().map(text).collect();
    let environment = environment.iter().map(|(k, v)| (text(k), text(v))).collect();
    let folder = std::env::current_dir().map_err(LaunchError::Policy)?.to_string_lossy().into_owned();
    let programs = if policy.layers.seccomp { calls::bytes()? } else { Vec::new() };
    let programs = programs.iter().map(|bytes| STANDARD.encode(bytes)).collect();
    let limits = policy.limits.list(policy.layers.namespaces).into_iter().map(|(resource, limit)| (resource as u32, limit)).collect();
    let rules = if policy.layers.landlock > 0 { access::ruleset(policy)? } else { None };
    let names = ["user", "mnt", "ipc", "net", "pid"];
    let spaces = names
        .into_iter()
        .filter(|name| *name != "net" || policy.layers.network)
        .map(|name| File::open(format!("/proc/self/ns/{name}")).map(|file| (name, file)).map_err(LaunchError::Namespaces));
    let spaces = spaces.collect::<Result<Vec<_>, _>>()?;
    let (one, other) = pair()?;
    let (out, err) = (std::io::stdout(), std::io::stderr());
    let mut told = Become {
        argv: &argv,
        environment,
        folder,
        limits,
        programs,
        calls: Numbers { capset: libc::SYS_capset, landlock: libc::SYS_landlock_restrict_self },
        files: Vec::new(),
    };
    for (channel, link) in channels.iter().zip([&one, &other]) {
        let mut files: Vec<(&str, BorrowedFd<'_>)> = vec![("stdout", out.as_fd()), ("stderr", err.as_fd()), ("link", link.as_fd())];
        files.extend(spaces.iter().map(|(name, file)| (*name, file.as_fd())));
        files.extend(rules.as_ref().map(|rules| ("rules", rules.as_fd())));
        told.files = files.iter().map(|(name, _)| *name).collect();
        let bytes = serde_json::to_vec(&told).map_err(|e| LaunchError::Policy(e.into()))?;
        send(channel, &bytes, &files.iter().map(|(_, file)| *file).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Waits for the first fork to say how the program ended, and reaps whatever else ends here: those whose parents are gone. Wakes
/// for nothing else, since a process that wakes by itself is one that the clock has to wait for.
pub(super) fn follow(channel: &OwnedFd) -> Result<Ended, LaunchError> {
    let mut ends = SigSet::empty();
    ends.add(Number::SIGCHLD);
    ends.thread_block()?;
    let ended = SignalFd::with_flags(&ends, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    loop {
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        let mut looked = [PollFd::new(channel, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
        match poll(&mut looked, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !looked[0].revents().is_empty() {
            break;
        }
        while ended.read_signal()?.is_some() {}
    }
    let (said, _) = receive(channel, THERE)?;
    let number = || said.get(1..5)?.try_into().ok().map(i32::from_le_bytes);
    match (said.first(), number()) {
        (Some(b'x'), Some(code)) => Ok(Ended::Exited(u8::try_from(code).unwrap_or(u8::MAX))),
        (Some(b's'), Some(signal)) => Ok(Ended::Signalled(signal)),
        (Some(b'e'), _) => Err(LaunchError::Inside(String::from_utf8_lossy(said.get(1..).unwrap_or_default()).into_owned())),
        _ => Err(LaunchError::Inside("the warm interpreter ended early".to_owned())),
    }
}
