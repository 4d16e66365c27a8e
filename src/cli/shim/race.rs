//! A child against a limit in the cluster's time.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::clock::{Limit, SimClock};

/// Between SIGTERM and SIGKILL, in real time.
const GRACE: Duration = Duration::from_secs(2);

/// A child and its limit.
pub(super) struct Race {
    pub(super) command: std::process::Command,
    pub(super) limit: Duration,
    /// Sent when the limit is reached.
    pub(super) signal: Signal,
    /// What follows when it does not end.
    pub(super) patience: Patience,
    /// The child leads a group of its own, which is signalled as a whole.
    pub(super) group: bool,
    /// Its standard output is held back until it ends by itself.
    pub(super) hold_output: bool,
}

/// How long a child may live on after the limit's signal.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    /// For ever, as `timeout` without `--kill-after`.
    Endless,
    /// Some real seconds.
    Short,
    /// This much of the cluster's time.
    Cluster(Duration),
}

/// Who won.
pub(super) enum Won {
    /// It ended; what it wrote, if held back.
    Child(ExitStatus, Vec<u8>),
    /// The limit; how the child ended then.
    Limit(ExitStatus),
}

impl Race {
    /// Limit reached: end it for certain, soon.
    pub(super) fn new(command: std::process::Command, limit: Duration) -> Self {
        Self { command, limit, signal: Signal::TERM, patience: Patience::Short, group: false, hold_output: false }
    }

    pub(super) fn run(self, clock: SimClock) -> std::io::Result<Won> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.race(clock))
    }

    async fn race(self, clock: SimClock) -> std::io::Result<Won> {
        let mut command = Command::from(self.command);
        if self.group {
            command.process_group(0);
        }
        if self.hold_output {
            command.stdout(Stdio::piped());
        }
        let limit = clock.limit(self.limit);
        let mut child = command.spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let send = |s: Signal| {
            // Gone already: its status says how.
            let _gone = pid.map(|pid| if self.group { kill_process_group(pid, s) } else { kill_process(pid, s) });
        };
        let limit = reached(limit);
        tokio::pin!(limit);
        let [mut term, mut int, mut hup] =
            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
        let held = child.stdout.take().map(|mut stdout| {
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                // A read error ends the output; the child's status tells the rest.
                let _read = stdout.read_to_end(&mut bytes).await;
                bytes
            })
        });
        loop {
            tokio::select! {
                status = child.wait() => {
                    let status = status?;
                    let output = match held { Some(reader) => reader.await.unwrap_or_default(), None => Vec::new() };
                    return Ok(Won::Child(status, output));
                }
                () = &mut limit => break,
                _ = term.recv() => send(Signal::TERM),
                _ = int.recv() => send(Signal::INT),
                _ = hup.recv() => send(Signal::HUP),
            }
        }
        send(self.signal);
        send(Signal::CONT);
        let ended = match self.patience {
            Patience::Endless => Some(child.wait().await?),
            Patience::Short => tokio::time::timeout(GRACE, child.wait()).await.ok().transpose()?,
            Patience::Cluster(d) => tokio::select! { status = child.wait() => Some(status?), () = reached(clock.limit(d)) => None },
        };
        if let Some(status) = ended {
            return Ok(Won::Limit(status));
        }
        send(Signal::KILL);
        Ok(Won::Limit(child.wait().await?))
    }
}

/// Resolves when a limit is reached. A thread of its own waits, which ends with this process.
fn reached(limit: Limit) -> impl Future<Output = ()> {
    let (passed, waiter) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        limit.wait();
        // The race may be over: nobody is left to tell.
        let _over = passed.send(());
    });
    async {
        let _passed = waiter.await;
    }
}
