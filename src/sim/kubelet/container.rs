//! The state of one container.

use std::collections::VecDeque;
use std::time::Duration;

use super::hooks::Pending;
use super::logs::LogLine;
use crate::sim::resource::Key;
use crate::sim::shell::files::Files;
use crate::sim::time::SimTime;

/// Most log lines kept.
const LOG_LINES: usize = 2000;

/// A container: what it does now, what it did before.
#[derive(Debug, Default)]
pub struct Container {
    /// What it does now.
    pub life: Life,
    /// How its last run ended.
    pub last: Option<End>,
    /// How often it was restarted.
    pub restarts: u32,
    /// Id of the current or last run.
    pub id: String,
    /// Image that the current or last run used.
    pub image: String,
    /// Back-off before the next restart; zero when none is due.
    pub back_off: Duration,
    /// Failed pulls in a row.
    pub pull_failures: u32,
    /// Why the hook after its last start has failed.
    pub refused: Option<String>,
    /// State of its probes.
    pub probes: [ProbeState; 3],
    /// Whether the startup probe has succeeded, or there is none.
    pub started: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// Stressors in its control group, by experiment.
    pub stress: Vec<(Key, Stress)>,
    /// Request load from traffic: requests a second.
    pub load: f64,
    /// Requests that arrived in the current second.
    pub arrived: f64,
    /// CPU seconds used so far in this run.
    pub cpu_total: f64,
    /// How often and for how long it was held back at its CPU limit in this run.
    pub throttled: Throttled,
    /// CPU use now, in cores.
    pub cpu: f64,
    /// Part of it that the main process uses.
    pub cpu_main: f64,
    /// Memory in use now, in bytes.
    pub memory: u64,
    /// What metrics-server saw last: when, and the CPU seconds then.
    pub scraped: Option<(SimTime, f64)>,
    /// The sample that it offers: CPU in cores, memory in bytes.
    pub sample: Option<(SimTime, Duration, f64, u64)>,
    /// Log of the current run.
    pub log: VecDeque<LogLine>,
    /// How many lines it has written in this run.
    pub written: u64,
    /// Log of the run before.
    pub previous_log: VecDeque<LogLine>,
    /// Its own files; mounted volumes are the pod's.
    pub files: Files,
    /// Whether the files of this run have been laid out.
    pub prepared: bool,
}

/// What the kernel counts where there is a CPU limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Throttled {
    /// Periods of 100 ms in which something ran.
    pub periods: u64,
    /// Of these, those in which the quota was used up.
    pub times: u64,
    /// For how long threads that wanted to run did not, added up over processors, in seconds.
    pub seconds: f64,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq)]
pub enum Life {
    /// It waits.
    Waiting {
        /// `ContainerCreating`, `CrashLoopBackOff`, ...
        reason: &'static str,
        /// The text beside it.
        message: String,
        /// What comes next, and when; `None`: not before something else happens.
        next: Option<(SimTime, Next)>,
    },
    /// It runs.
    Running(Run),
    /// It has ended and is not restarted (yet).
    Ended(End),
}

impl Default for Life {
    fn default() -> Self {
        Self::Waiting { reason: "ContainerCreating", message: String::new(), next: None }
    }
}

/// What a waiting container does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Pull the image (again).
    Pull,
    /// The image has arrived: start.
    Start,
    /// The back-off is over: start.
    Restart,
}

/// A run of the main process.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Since when.
    pub since: SimTime,
    /// CPU seconds of start-up work left.
    pub work: f64,
    /// At what rate it is being done, and since when.
    pub rate: (f64, SimTime),
    /// The earliest moment at which it listens.
    pub not_before: SimTime,
    /// Since when it listens.
    pub listening: Option<SimTime>,
    /// When it ends by itself or because it was told to, and with which code.
    pub ends: Option<(SimTime, i32)>,
    /// Told to end.
    pub stopping: bool,
    /// The hook after its start, while it is being run.
    pub starting: Option<Pending>,
    /// The hook before its end, while it is being run.
    pub ending: Option<Pending>,
    /// By when it must have ended that was told to, and with which code it ends by itself.
    pub until: Option<(SimTime, i32)>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Exit code.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`.
    pub reason: &'static str,
    /// What the runtime said, if anything.
    pub message: String,
    /// When it had started.
    pub started: SimTime,
    /// When it ended.
    pub finished: SimTime,
    /// Its container id.
    pub id: String,
}

/// State of a probe.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProbeState {
    /// When it runs next.
    pub next: Option<SimTime>,
    /// Successes in a row.
    pub successes: u32,
    /// Failures in a row.
    pub failures: u32,
}

/// Stressors of one experiment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stress {
    /// CPU workers.
    pub cpu_workers: u32,
    /// Load of each, 0 to 1.
    pub cpu_load: f64,
    /// Memory workers.
    pub memory_workers: u32,
    /// Bytes that all of them hold together.
    pub memory: u64,
}

impl Container {
    /// The current run.
    pub fn run(&self) -> Option<&Run> {
        match &self.life {
            Life::Running(r) => Some(r),
            _ => None,
        }
    }

    /// Whether the main process accepts connections.
    pub fn listening(&self) -> bool {
        self.run().is_some_and(|r| r.listening.is_some() && !r.stopping)
    }

    /// Adds a line to the log.
    pub fn write(&mut self, at: SimTime, text: impl Into<String>) {
        self.put(LogLine { at, text: text.into(), whole: true });
    }

    /// Adds the end of the log, which is no whole line.
    pub fn write_rest(&mut self, at: SimTime, text: impl Into<String>) {
        self.put(LogLine { at, text: text.into(), whole: false });
    }

    fn put(&mut self, line: LogLine) {
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        self.written += 1;
        self.log.push_back(line);
    }

    /// CPU workers that stress it, and the cores they ask for.
    pub fn stress_demand(&self) -> (f64, f64) {
        let workers: u32 = self.stress.iter().map(|(_, s)| s.cpu_workers).sum();
        let demand: f64 = self.stress.iter().map(|(_, s)| f64::from(s.cpu_workers) * s.cpu_load).sum();
        (f64::from(workers), demand)
    }

    /// Memory that stressors hold.
    pub fn stress_memory(&self) -> u64 {
        self.stress.iter().map(|(_, s)| s.memory).sum()
    }
}
