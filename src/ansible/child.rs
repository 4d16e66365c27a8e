//! Runs one child process under limits: its own process group, no input, capped output, two deadlines, and nothing of
//! it left behind.
//!
//! Input: what to run and in which environment; output: how it ended and what it wrote. Nothing is inherited from our
//! own environment.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, with_environment};
use super::network::{self, Network, Serving};
use super::outcome::{CommandOutcome, Finish};
use super::output::{CappedOutput, OutputCap, drain};
use super::proxy::Proxy;
use super::sandbox::{ADOPT, ANEW, LAUNCHER, Watch, kill_descendants, pair, send};
use super::timekeeping::Timekeeping;
use super::warm::{WarmError, WarmInterpreters};
use crate::diagnostic::chain;

/// Between SIGTERM and SIGKILL, in real time.
const GRACE: Duration = Duration::from_secs(3);
/// How often the cluster's clock is compared with the deadline.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// After the child's end: how long its output may stay open in the hands of others (background processes).
const LINGER: Duration = Duration::from_millis(300);
/// Rounds of looking for processes that left the group; each can only start others before it is killed.
const SWEEPS: usize = 5;

/// Why a child could not be run or was given up.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The program could not be started.
    #[error("failed to start {program}")]
    Start {
        /// Program.
        program: String,
        /// Cause.
        source: std::io::Error,
    },
    /// Its end could not be awaited.
    #[error("failed to wait for {program}")]
    Wait {
        /// Program.
        program: String,
        /// Cause.
        source: std::io::Error,
    },
    /// A file of the workspace could not be read or written.
    #[error("failed to use the workspace")]
    Workspace(#[from] std::io::Error),
    /// The sandbox could not be set up, so nothing was run.
    #[error("failed to set up the sandbox: {0}; microremed doctor says which layers this machine offers")]
    Sandbox(String),
    /// The run was cancelled; the child is gone.
    #[error("cancelled")]
    Cancelled,
}

/// What to run.
#[derive(Debug)]
pub(crate) struct ChildSpec<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<OsString>,
    pub(crate) environment: Vec<(String, OsString)>,
    pub(crate) work: PathBuf,
    /// What starts the program inside a sandbox; none: it is started as it is.
    pub(crate) launcher: Option<Launcher>,
    /// `NAME=value` settings that mark all processes of this workspace.
    pub(crate) markers: Vec<String>,
    pub(crate) time_limit: Duration,
    pub(crate) cap: OutputCap,
    /// Forks of these become the program, in the launcher's sandbox.
    pub(crate) warm: Option<&'a WarmInterpreters>,
    /// The way to named hosts: who waits for one does not wait for the cluster.
    pub(crate) proxy: Option<Arc<Proxy>>,
}

/// How the sandbox's launcher is called.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// This program.
    pub(crate) program: PathBuf,
    /// The file with the policy.
    pub(crate) policy: PathBuf,
    /// Where it says why it could not start the child.
    pub(crate) trouble: PathBuf,
    /// What the runner watches.
    pub(crate) watch: Watch,
    /// Whether it makes a process namespace, out of which nothing gets.
    pub(crate) closed: bool,
    /// What children reach and at which addresses, where they have a network of their own.
    pub(crate) network: Option<(Network, Vec<SocketAddr>)>,
}

impl ChildSpec<'_> {
    fn command(&self, time: &Timekeeping) -> Command {
        let mut command = match &self.launcher {
            None => Command::new(self.program),
            Some(launcher) => {
                let mut command = Command::new(&launcher.program);
                command.arg0(LAUNCHER).arg(&launcher.policy).arg("--").arg(self.program);
                command
            }
        };
        command.args(&self.args).env_clear().envs(self.environment.iter().map(|(k, v)| (k, v))).current_dir(&self.work);
        command.envs(time.environment.iter().map(|(k, v)| (k, v)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        command
    }

    /// Starts it.
    async fn start(&self, time: &Timekeeping) -> std::io::Result<Started> {
        let mut command = self.command(time);
        if self.launcher.is_none() {
            let child = command.stdin(Stdio::null()).spawn()?;
            return Ok(Started { leader: leader_of(&child), child, forks: Vec::new(), serving: Vec::new(), _held: None });
        }
        // The launcher ends when our end is closed; what it reads from it are the channels to warm interpreters.
        let (held, given) = pair()?;
        let child = command.stdin(Stdio::from(given)).spawn()?;
        drop(command);
        let leader = leader_of(&child);
        let waiting = match (self.warm, leader) {
            (Some(warm), Some(leader)) => match fork(warm, leader).await {
                Ok(forks) => Some(forks),
                Err(why) => {
                    tracing::warn!("{}; playbooks start anew", chain(&why));
                    None
                }
            },
            _ => None,
        };
        let mut forks = Vec::new();
        if let Some((pids, channels)) = waiting {
            send(&held, ADOPT, &channels.each_ref().map(AsFd::as_fd))?;
            forks = pids;
        } else {
            send(&held, ANEW, &[])?;
        }
        let mut serving = Vec::new();
        if let Some((network, servers)) = self.launcher.as_ref().and_then(|l| l.network.as_ref()) {
            serving = network::serve(network, servers, &held).await?;
        }
        Ok(Started { child, leader, forks, serving, _held: Some(held) })
    }
}

/// A child that runs.
struct Started {
    child: Child,
    leader: Option<Pid>,
    /// Forks of the warm interpreters, which are not below the leader.
    forks: Vec<i32>,
    /// Those whom the child may talk to, at the doors of its network.
    serving: Vec<Serving>,
    /// Closed when nobody waits for the child any more.
    _held: Option<OwnedFd>,
}

impl Started {
    /// All that are above something of the child's.
    fn roots(&self) -> Vec<i32> {
        self.leader.iter().map(|l| l.as_raw_nonzero().get()).chain(self.forks.iter().copied()).collect()
    }
}

fn leader_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

/// Forks of the warm interpreters, and the ends of the channels at which they wait.
async fn fork(warm: &WarmInterpreters, leader: Pid) -> Result<(Vec<i32>, [OwnedFd; 2]), WarmError> {
    let (playbook, modules) = (pair()?, pair()?);
    let forks = warm.fork(leader.as_raw_nonzero().get(), [playbook.1, modules.1]).await?;
    Ok((forks, [playbook.0, modules.0]))
}

/// Kills the whole group when the future that runs the child is dropped.
struct GroupGuard {
    leader: Option<Pid>,
    markers: Vec<String>,
    /// The leader has not been reaped yet: its id is still its own.
    alive: bool,
}

impl GroupGuard {
    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // No such group: all of it has ended, which is what we want.
            let _gone = kill_process_group(leader, signal);
        }
    }

    /// Kills the group and, by their environment, those who left it. Ends when none is found or after some rounds.
    fn sweep(&self) {
        if let Some(leader) = self.leader.filter(|_| self.alive) {
            // Below the leader first: while it lives, none of them can get away from it.
            for _ in 0..SWEEPS {
                if !kill_descendants(leader.as_raw_nonzero().get()) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        self.signal(Signal::KILL);
        for round in 0..SWEEPS {
            let left = with_environment(&self.markers);
            // Looked at twice: a process shows no environment at the moment when it becomes another program.
            if left.is_empty() && round > 0 {
                return;
            }
            for pid in left.into_iter().filter_map(Pid::from_raw) {
                let _gone = kill_process(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for GroupGuard {
    fn drop(&mut self) {
        self.sweep();
    }
}

enum End {
    Itself(std::io::Result<ExitStatus>),
    Limit(String),
    Deadline,
    Cancelled,
}

/// Runs `spec` to its end, its deadline (in real time or the cluster's, whichever comes first) or cancellation.
pub(crate) async fn run(spec: &ChildSpec<'_>, time: &Timekeeping, cancel: &CancellationToken) -> Result<CommandOutcome, ChildError> {
    let name = spec.program.display().to_string();
    let (real_start, cluster_start) = (Instant::now(), (time.now_ms)());
    let started = spec.start(time).await.map_err(|source| ChildError::Start { program: name.clone(), source })?;
    let (roots, leader) = (started.roots(), started.leader);
    let Started { mut child, serving, _held, .. } = started;
    let mut guard = GroupGuard { leader, markers: spec.markers.clone(), alive: true };
    let working = leader.map(|_| {
        let activity = Activity::of(&roots).with_markers(spec.markers.clone()).closed(spec.launcher.as_ref().is_some_and(|l| l.closed));
        let proxy = spec.proxy.clone();
        (time.working)(Box::new(move || activity.rest().filter(|_| proxy.as_ref().is_none_or(|p| !p.awaited()))))
    });
    let (stdout, out_reader) = capture(child.stdout.take(), spec.cap);
    let (stderr, err_reader) = capture(child.stderr.take(), spec.cap);

    let end = tokio::select! {
        status = child.wait() => End::Itself(status),
        () = deadline(spec.time_limit, time, cluster_start) => End::Deadline,
        () = cancel.cancelled() => End::Cancelled,
        limit = exceeded(spec, &roots) => End::Limit(limit),
    };
    let mut contained = Vec::new();
    let finish = match end {
        End::Itself(status) => {
            guard.alive = false;
            Some(finish_of(status.map_err(|source| ChildError::Wait { program: name, source })?))
        }
        End::Limit(limit) => {
            guard.sweep();
            let _forced = timeout(GRACE, child.wait()).await;
            contained.push(limit);
            Some(Finish::Signalled(Signal::KILL.as_raw()))
        }
        End::Deadline => {
            stop(&mut child, &guard).await;
            Some(Finish::TimedOut)
        }
        End::Cancelled => {
            stop(&mut child, &guard).await;
            None
        }
    };
    let (real, cluster) = (real_start.elapsed(), time.since(cluster_start));
    drop((working, serving));
    // What the child left in the background may hold the pipes: it gets a moment, then it goes.
    let mut readers = Box::pin(async {
        let _ended = tokio::join!(out_reader, err_reader);
    });
    if timeout(LINGER, &mut readers).await.is_err() {
        guard.sweep();
        let _ended = timeout(LINGER, readers).await;
    }
    drop(guard);
    let (stdout, dropped_out) = taken(&stdout);
    let (stderr, dropped_err) = taken(&stderr);
    let Some(finish) = finish else { return Err(ChildError::Cancelled) };
    if let Some(launcher) = &spec.launcher
        && let Ok(why) = fs_err::read_to_string(&launcher.trouble)
        && !why.is_empty()
    {
        return Err(ChildError::Sandbox(why));
    }
    Ok(CommandOutcome {
        finish,
        stdout,
        stderr,
        dropped_bytes: dropped_out + dropped_err,
        real_s: real.as_secs_f64(),
        cluster_s: cluster.as_secs_f64(),
        contained,
    })
}

/// Reads a stream in a task of its own, so that what was read survives a reader that never ends.
fn capture<R>(stream: Option<R>, cap: OutputCap) -> (Arc<Mutex<CappedOutput>>, tokio::task::JoinHandle<()>)
where
    R: tokio::io::AsyncRead + Unpin + Send + 'static,
{
    let output = Arc::new(Mutex::new(CappedOutput::new(cap)));
    let into = Arc::clone(&output);
    let reader = tokio::spawn(async move {
        if let Some(stream) = stream {
            drain(stream, &into).await;
        }
    });
    (output, reader)
}

fn taken(output: &Mutex<CappedOutput>) -> (String, u64) {
    std::mem::take(&mut *output.lock().unwrap_or_else(PoisonError::into_inner)).finish()
}

async fn deadline(limit: Duration, time: &Timekeeping, cluster_start: u64) {
    let end = Instant::now() + limit;
    while Instant::now() < end && time.since(cluster_start) < limit {
        sleep(LOOK_EVERY).await;
    }
}

/// Resolves when the child uses more than it may; the text says of what.
async fn exceeded(spec: &ChildSpec<'_>, roots: &[i32]) -> String {
    match &spec.launcher {
        Some(launcher) if !roots.is_empty() => launcher.watch.exceeded(roots).await,
        _ => std::future::pending().await,
    }
}

/// Ends the group: asked first, then forced, then reaped.
async fn stop(child: &mut Child, guard: &GroupGuard) {
    guard.signal(Signal::TERM);
    let _asked = timeout(GRACE, child.wait()).await;
    guard.sweep();
    // It was sent SIGKILL: only a process stuck in the kernel outlives this wait, and tokio reaps that one later.
    let _forced = timeout(GRACE, child.wait()).await;
}

fn finish_of(status: ExitStatus) -> Finish {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => Finish::Exited(code),
        (None, signal) => Finish::Signalled(signal.unwrap_or_default()),
    }
}

/// Paths that a shell is looked for at; the first that exists is used.
pub(crate) fn shell() -> PathBuf {
    let bash = PathBuf::from("/bin/bash");
    if bash.exists() { bash } else { PathBuf::from("/bin/sh") }
}

#[cfg(test)]
mod tests;
