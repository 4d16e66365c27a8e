//! Progress of a run: one bar for the run and a line for each live trial, or plain lines without a terminal.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::event::{Event, Outcome};
use crate::ids::TrialId;
use crate::plan::TrialSpec;

/// The bars on the screen. Whoever prints a line must take them away first.
static BARS: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// Runs `print` with the bars off the screen.
pub(super) fn beside_bars<T>(print: impl FnOnce() -> T) -> T {
    let bars = BARS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bars {
        Some(bars) => bars.suspend(print),
        None => print(),
    }
}

/// Call it when Ctrl-C was pressed. The terminal has shown `^C` where the cursor was, at the end of the last bar, so the cursor
/// is a line below the bars: takes both back, or the bars would leave rubbish behind.
pub(super) fn take_back_echo() {
    if BARS.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
        let _shown = std::io::stderr().write_all(b"\r\x1b[2K\x1b[1A");
    }
}

/// The bars are off the screen as long as this lives: somebody types there.
pub(super) struct Hidden;

impl Hidden {
    pub(super) fn begin() -> Self {
        if let Some(bars) = &*BARS.lock().unwrap_or_else(PoisonError::into_inner) {
            // What cannot be cleared is in the way of a text, and no more.
            let _cleared = bars.clear();
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(bars) = &*BARS.lock().unwrap_or_else(PoisonError::into_inner) {
            bars.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

/// Shows events as they happen.
pub(super) struct Progress {
    mode: Mode,
    total: u64,
    done: u64,
    scored: BTreeMap<Outcome, u64>,
}

enum Mode {
    Bars { all: MultiProgress, run: ProgressBar, trials: BTreeMap<TrialId, (ProgressBar, String)> },
    Lines,
    Silent,
}

impl Progress {
    /// `total` trials, `done` of them by an earlier run.
    pub(super) fn start(total: u64, done: u64, json: bool) -> Self {
        let mode = if json {
            Mode::Silent
        } else if console::Term::stderr().is_term() {
            let all = MultiProgress::new();
            let run = all.add(ProgressBar::new(total));
            run.set_position(done);
            run.set_style(style("{bar:20.cyan/dim} {pos}/{len} {elapsed_precise} {wide_msg}"));
            run.enable_steady_tick(Duration::from_millis(200));
            *BARS.lock().unwrap_or_else(PoisonError::into_inner) = Some(all.clone());
            Mode::Bars { all, run, trials: BTreeMap::new() }
        } else {
            Mode::Lines
        };
        Self { mode, total, done, scored: BTreeMap::new() }
    }

    /// Shows an event that is on disk.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::TrialStarted(spec) => self.begin(spec),
            Event::Stage { trial, stage, .. } => {
                if let Mode::Bars { trials, .. } = &self.mode
                    && let Some((bar, what)) = trials.get(trial)
                {
                    bar.set_message(format!("{stage:<8} {what}"));
                }
            }
            Event::TrialFinished(f) => {
                self.done += 1;
                *self.scored.entry(f.outcome).or_default() += 1;
                self.end(&f.spec, f.outcome, &f.error);
            }
            Event::RunFinished { .. } => self.finish(),
            _ => {}
        }
    }

    /// Prints a line above the bars.
    pub(super) fn say(&self, line: &str) {
        match &self.mode {
            Mode::Bars { all, .. } => {
                // A terminal that cannot be written to is no reason to stop a run.
                let _shown = all.println(line);
            }
            Mode::Lines => super::tell(line),
            Mode::Silent => {}
        }
    }

    fn begin(&mut self, spec: &TrialSpec) {
        if let Mode::Bars { all, run, trials } = &mut self.mode {
            let bar = all.insert_before(run, ProgressBar::new_spinner());
            // `wide_msg` is cut off at the terminal's edge; a line that wraps would leave rubbish behind.
            bar.set_style(style("{spinner:.cyan} {wide_msg}"));
            bar.set_message(format!("{:<8} {}", "begin", describe(spec)));
            bar.enable_steady_tick(Duration::from_millis(120));
            trials.insert(spec.id.clone(), (bar, describe(spec)));
        }
    }

    fn end(&mut self, spec: &TrialSpec, outcome: Outcome, error: &str) {
        let counts = self.counts();
        match &mut self.mode {
            Mode::Bars { all, run, trials } => {
                if let Some((bar, _)) = trials.remove(&spec.id) {
                    bar.finish_and_clear();
                    all.remove(&bar);
                }
                if !error.is_empty() {
                    let _shown = all.println(format!("{}: {}: {error}", describe(spec), outcome.name()));
                }
                run.set_position(self.done);
                run.set_message(counts);
            }
            Mode::Lines => {
                let why = if error.is_empty() { String::new() } else { format!(": {error}") };
                super::tell(&format!("[{}/{}] {} {}{why}", self.done, self.total, describe(spec), outcome.name()));
            }
            Mode::Silent => {}
        }
    }

    fn finish(&mut self) {
        if let Mode::Bars { all, run, trials } = &mut self.mode {
            for (bar, _) in std::mem::take(trials).into_values() {
                bar.finish_and_clear();
                all.remove(&bar);
            }
            run.finish_and_clear();
            *BARS.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn counts(&self) -> String {
        self.scored.iter().map(|(o, n)| format!("{n} {}", o.name())).collect::<Vec<_>>().join(", ")
    }
}

/// However a run ends, later lines find a clean screen.
impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn describe(spec: &TrialSpec) -> String {
    format!("{} on {} ({}, {}, {})", spec.fault, spec.target, spec.system, spec.method, spec.model)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
