//! The launcher: two small processes between the runner and a child's program.
//!
//! The outer one stays outside the sandbox, out of the child's reach: it adopts whatever is orphaned, and ends only when
//! all of it has ended. The inner one puts on the sandbox, starts the program, and tells the outer one how it ended;
//! where there are namespaces it is their first process, and the kernel ends all others with it.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal as Number};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, set_child_subreaper, set_parent_process_death_signal,
};

use super::family;
use super::policy::Policy;
use super::{access, adopt, calls, namespaces, network, packets, privileges};

/// Rounds of ending orphans; each ends all that were found.
const ROUNDS: usize = 400;
/// The same, when nobody waits any more.
const LAST_ROUNDS: usize = 5;
/// Of a reason that the inner launcher gives.
const LONGEST_TEXT: u64 = 10_000;
/// Until the runner has said how to start; it asks the warm interpreters first.
pub(crate) const ORDER_LIMIT: Duration = Duration::from_mins(1);
/// The runner's order to start the program anew.
pub(crate) const ANEW: &[u8] = b"a";
/// The runner's order to make the program of forks that wait at two channels, which come with it.
pub(crate) const ADOPT: &[u8] = b"f";
/// To the runner, with the listeners of the servers of a network of its own.
const LISTENERS: &[u8] = b"l";
const PAUSE: Duration = Duration::from_millis(2);

/// Why the launcher could not start the program.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The policy could not be read.
    #[error("failed to read the policy")]
    Policy(#[source] std::io::Error),
    /// No command line was given.
    #[error("failed to find a program to start")]
    NoProgram,
    /// Namespaces.
    #[error("failed to make namespaces")]
    Namespaces(#[source] std::io::Error),
    /// The network.
    #[error("failed to prepare the network")]
    Network(#[source] std::io::Error),
    /// The inner launcher.
    #[error("failed to start the inner launcher")]
    Inner(#[source] std::io::Error),
    /// The inner launcher says why.
    #[error("{0}")]
    Inside(String),
    /// The inner launcher ended without a word.
    #[error("the inner launcher ended early: {0}")]
    Silent(ExitStatus),
    /// Processes could not be awaited.
    #[error("failed to wait for processes")]
    Wait(#[from] rustix::io::Errno),
    /// Limits.
    #[error("failed to set limits")]
    Limits(#[source] rustix::io::Errno),
    /// Rights.
    #[error("failed to give up rights")]
    Privileges(#[source] rustix::io::Errno),
    /// Landlock.
    #[error("failed to confine files and ports")]
    Access(#[from] landlock::RulesetError),
    /// seccomp.
    #[error("failed to confine system calls")]
    Calls(#[from] calls::CallsError),
    /// Signals could not be set.
    #[error("failed to set signals")]
    Signals(#[from] nix::Error),
}

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Exited(u8),
    /// By this signal.
    Signalled(i32),
}

/// The outer launcher. `inner` is the name under which this program, called again, becomes the inner one.
pub fn outer(policy_file: &Path, inner: &str, argv: &[OsString]) -> Result<Ended, LaunchError> {
    let policy = Policy::load(policy_file).map_err(LaunchError::Policy)?;
    // Opened while it can be: inside, nobody can write to it.
    let trouble = std::fs::File::create(&policy.trouble).map_err(LaunchError::Policy)?;
    let result = launch(&policy, policy_file, inner, argv);
    if let Err(error) = &result {
        // Without this note the runner still sees that the launcher gave up.
        let _noted = (&trouble).write_all(crate::diagnostic::chain(error).as_bytes());
    }
    result
}

fn launch(policy: &Policy, policy_file: &Path, inner: &str, argv: &[OsString]) -> Result<Ended, LaunchError> {
    hold_signals()?;
    set_child_subreaper(Some(getpid()))?;
    if policy.layers.namespaces {
        namespaces::enter(policy).map_err(LaunchError::Namespaces)?;
    }
    if policy.layers.network {
        let listeners = network::open(policy).map_err(LaunchError::Network)?;
        packets::send(std::io::stdin(), LISTENERS, &listeners.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
    }
    let (how, channels) = packets::receive(std::io::stdin(), ORDER_LIMIT)?;
    let (mut told, tell) = UnixStream::pair().map_err(LaunchError::Inner)?;
    packets::send(&told, how.get(..1).unwrap_or(ANEW), &channels.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
    drop(channels);
    let mut command = Command::new(&policy.program);
    command.arg0(inner).arg(policy_file).arg("--").args(argv).stdin(Stdio::from(OwnedFd::from(tell)));
    let child = with_signals(|| command.spawn())?.map_err(LaunchError::Inner)?;
    // Our copy of the pipe's other end goes with it.
    drop(command);
    let child = Pid::from_child(&child);
    end_with_the_runner(child)?;
    let status = wait_for(child)?;
    end_orphans();
    // Ended by a signal, it was ended by the runner or, where there are no namespaces, by the program.
    let killed = status.signal().map(Ended::Signalled);
    answer(&mut told).unwrap_or(killed.ok_or(LaunchError::Silent(status)))
}

/// A first byte for the kind, then four for a number or a text to the end.
fn answer(told: &mut UnixStream) -> Option<Result<Ended, LaunchError>> {
    let mut kind = [0_u8; 1];
    told.read_exact(&mut kind).ok()?;
    if kind == *b"e" {
        let mut text = String::new();
        told.take(LONGEST_TEXT).read_to_string(&mut text).ok()?;
        return Some(Err(LaunchError::Inside(text)));
    }
    let mut number = [0_u8; 4];
    told.read_exact(&mut number).ok()?;
    let number = i32::from_le_bytes(number);
    match kind {
        [b'x'] => Some(Ok(Ended::Exited(u8::try_from(number).unwrap_or(u8::MAX)))),
        [b's'] => Some(Ok(Ended::Signalled(number))),
        _ => None,
    }
}

/// The inner launcher: puts on the sandbox and becomes the parent of the program, whose environment is given.
pub fn inner(policy_file: &Path, argv: &[OsString], environment: &[(OsString, OsString)]) -> Result<(), LaunchError> {
    let policy = Policy::load(policy_file).map_err(LaunchError::Policy)?;
    // Closed in the program, unlike the one we were given.
    let mut tell = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(LaunchError::Inner)?);
    let result = start(&policy, argv, environment, &tell);
    let message = match &result {
        Ok(Ended::Exited(code)) => [b"x".as_slice(), &i32::from(*code).to_le_bytes()].concat(),
        Ok(Ended::Signalled(signal)) => [b"s".as_slice(), &signal.to_le_bytes()].concat(),
        Err(error) => [b"e".as_slice(), crate::diagnostic::chain(error).as_bytes()].concat(),
    };
    // The outer launcher is gone: so are we.
    let _gone = tell.write_all(&message);
    result.map(|_| ())
}

fn start(policy: &Policy, argv: &[OsString], environment: &[(OsString, OsString)], outer: &UnixStream) -> Result<Ended, LaunchError> {
    let (program, args) = argv.split_first().ok_or(LaunchError::NoProgram)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    hold_signals()?;
    if policy.layers.namespaces {
        namespaces::settle(policy);
    } else {
        set_child_subreaper(Some(getpid()))?;
    }
    let (_, channels) = packets::receive(outer, ORDER_LIMIT)?;
    if !channels.is_empty() {
        adopt::equip(policy, argv, environment, &channels)?;
    }
    policy.limits.set(policy.layers.namespaces).map_err(LaunchError::Limits)?;
    privileges::drop().map_err(LaunchError::Privileges)?;
    if policy.layers.landlock > 0 {
        access::confine(policy)?;
    }
    if policy.layers.seccomp {
        calls::confine()?;
    }
    if let Some(channel) = channels.first() {
        return adopt::follow(channel);
    }
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(environment.iter().map(|(k, v)| (k, v))).stdin(Stdio::null());
    Ok(match with_signals(|| command.spawn())? {
        Ok(child) => ended(wait_for(Pid::from_child(&child))?),
        Err(error) => {
            // As a shell says it.
            let _gone = writeln!(std::io::stderr(), "{}: {error}", Path::new(program).display());
            Ended::Exited(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
        }
    })
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, signal) => Ended::Signalled(signal.unwrap_or_default()),
    }
}

/// Waits for one child, and reaps whatever else ends here in the meantime.
fn wait_for(child: Pid) -> rustix::io::Result<ExitStatus> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => return Ok(ExitStatus::from_raw(status.as_raw())),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Ends what the program left behind, and what that starts until it is dead.
fn end_orphans() {
    let own = getpid().as_raw_nonzero().get();
    for _ in 0..ROUNDS {
        family::kill_descendants(own);
        let mut reaped = false;
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => reaped = true,
                Ok(None) => break,
                // Nobody is left.
                Err(_) => return,
            }
        }
        if !reaped {
            std::thread::sleep(PAUSE);
        }
    }
}

/// What the group is sent is for the program, which gets it, too. The launcher ends when that has ended.
fn hold_signals() -> nix::Result<()> {
    held().thread_block()
}

/// Starts a process that is not to inherit what we hold.
fn with_signals<T>(start: impl FnOnce() -> T) -> nix::Result<T> {
    held().thread_unblock()?;
    let started = start();
    held().thread_block()?;
    Ok(started)
}

fn held() -> SigSet {
    let mut held = SigSet::empty();
    for signal in [Number::SIGTERM, Number::SIGINT, Number::SIGHUP, Number::SIGQUIT, Number::SIGPIPE, Number::SIGUSR1, Number::SIGUSR2] {
        held.add(signal);
    }
    held
}

/// Returns when the inner launcher has ended. The runner holds the other end of our input, and never writes to it: when
/// it ends, whatever way, so does all of this. (A thread for that cannot be had: who has made a process namespace may not
/// start any.)
fn end_with_the_runner(child: Pid) -> rustix::io::Result<()> {
    let ended = pidfd_open(child, PidfdFlags::empty())?;
    let input = std::io::stdin();
    loop {
        let mut looked = [PollFd::new(&ended, PollFlags::IN), PollFd::new(&input, PollFlags::IN)];
        match poll(&mut looked, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let [ended, input] = looked.map(|l| !l.revents().is_empty());
        if ended {
            return Ok(());
        }
        if input {
            break;
        }
    }
    let own = getpid();
    for _ in 0..LAST_ROUNDS {
        family::kill_descendants(own.as_raw_nonzero().get());
    }
    kill_process(own, Signal::KILL)?;
    Ok(())
}

/// Ends this process in the way the program ended, as far as that is possible.
pub fn follow(ended: Ended) -> u8 {
    match ended {
        Ended::Exited(code) => code,
        Ended::Signalled(signal) => {
            if let Some(signal) = Signal::from_named_raw(signal) {
                let _ours = SigSet::empty().thread_set_mask();
                let _sent = kill_process(getpid(), signal);
            }
            u8::try_from(128 + signal).unwrap_or(u8::MAX)
        }
    }
}
