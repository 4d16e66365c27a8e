//! Progress of a run: one bar for the run and a line for each live trial, or plain lines without a terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::event::{Event, Outcome};
use crate::ids::TrialId;
use crate::plan::TrialSpec;

/// Shows events as they happen.
pub(super) struct Progress {
    mode: Mode,
    total: u64,
    done: u64,
    scored: BTreeMap<Outcome, u64>,
}

enum Mode {
    Bars { all: MultiProgress, run: ProgressBar, trials: BTreeMap<TrialId, ProgressBar> },
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
            run.set_style(style("{bar:30.cyan/dim} {pos}/{len} trials  {elapsed_precise}  {msg}"));
            run.enable_steady_tick(Duration::from_millis(200));
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
                    && let Some(bar) = trials.get(trial)
                {
                    bar.set_message(stage.clone());
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
            bar.set_style(style("{spinner:.cyan} {prefix} {msg:.dim}"));
            bar.set_prefix(describe(spec));
            bar.enable_steady_tick(Duration::from_millis(120));
            trials.insert(spec.id.clone(), bar);
        }
    }

    fn end(&mut self, spec: &TrialSpec, outcome: Outcome, error: &str) {
        let counts = self.counts();
        match &mut self.mode {
            Mode::Bars { all, run, trials } => {
                if let Some(bar) = trials.remove(&spec.id) {
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
        if let Mode::Bars { run, trials, .. } = &mut self.mode {
            for bar in std::mem::take(trials).into_values() {
                bar.finish_and_clear();
            }
            run.finish_and_clear();
        }
    }

    fn counts(&self) -> String {
        self.scored.iter().map(|(o, n)| format!("{n} {}", o.name())).collect::<Vec<_>>().join(", ")
    }
}

fn describe(spec: &TrialSpec) -> String {
    format!("{} on {} ({}, {}, {})", spec.fault, spec.target, spec.system, spec.method, spec.model)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
