//! Reads the events that our callback plugin writes while a playbook runs, one JSON object a line.
//!
//! A run that was killed leaves a torn last line, which is skipped: what was complete counts.

use serde::Deserialize;
use std::collections::BTreeMap;

use super::outcome::{HostStats, TaskOutcome};

/// One line; the plugin's other side is `python/microremed_events.py`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Playbook {},
    Play {},
    Task(TaskOutcome),
    Stats(BTreeMap<String, HostStats>),
}

/// What the events of a run say.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Events {
    /// Ansible could read the playbook.
    pub(crate) started: bool,
    pub(crate) tasks: Vec<TaskOutcome>,
    pub(crate) stats: BTreeMap<String, HostStats>,
}

impl Events {
    pub(crate) fn parse(text: &str) -> Self {
        let mut events = Self::default();
        for event in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            events.started = true;
            match event {
                Event::Playbook {} | Event::Play {} => {}
                Event::Task(task) => events.tasks.push(task),
                Event::Stats(stats) => events.stats = stats,
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = r#"{"task":{"task":"get","host":"localhost","action":"shell","status":"changed","message":"x"}}"#;

    #[test]
    fn events_are_read_in_order() {
        let stats = r#"{"stats":{"localhost":{"ok":1,"changed":1,"failures":0,"ignored":0,"skipped":0,"unreachable":0}}}"#;
        let events = Events::parse(&format!("{{\"playbook\":{{}}}}\n{{\"play\":{{}}}}\n{TASK}\n{stats}\n"));
        assert!(events.started);
        assert_eq!(events.tasks[0].status, "changed");
        assert_eq!(events.stats["localhost"].ok, 1);
    }

    #[test]
    fn a_torn_line_is_skipped() {
        let events = Events::parse(&format!("{{\"play\":{{}}}}\n{TASK}\n{}", &TASK[..30]));
        assert_eq!(events.tasks.len(), 1);
    }

    #[test]
    fn no_events_mean_nothing_started() {
        assert_eq!(Events::parse(""), Events::default());
    }
}
