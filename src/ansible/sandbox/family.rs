//! Descendants of a process, from `/proc`.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// More are not followed in one look.
const MOST: usize = 20_000;

/// All descendants of a process that there are now, parents first.
pub(crate) fn descendants(of: i32) -> Vec<i32> {
    up_to(of, MOST)
}

/// The same, given up when there are more than so many.
pub(crate) fn up_to(of: i32, most: usize) -> Vec<i32> {
    let (mut found, mut seen, mut at) = (children(of), BTreeSet::new(), 0);
    while let Some(pid) = found.get(at).copied() {
        at += 1;
        if seen.insert(pid) && found.len() <= most {
            found.extend(children(pid));
        }
    }
    found
}

fn children(pid: i32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|c| c.parse().ok()).collect::<Vec<i32>>())
        .collect()
}

/// Ends all of them: the children first, which is enough where one is the first of a process namespace; then the others
/// that are still there, stopped beforehand, so that none starts another. Whether there were any.
pub(crate) fn kill_descendants(of: i32) -> bool {
    let first = children(of);
    for pid in first.iter().copied().filter_map(Pid::from_raw) {
        let _gone = kill_process(pid, Signal::KILL);
    }
    for signal in [Signal::STOP, Signal::KILL] {
        for pid in descendants(of).into_iter().filter_map(Pid::from_raw) {
            // It ended by itself.
            let _gone = kill_process(pid, signal);
        }
    }
    !first.is_empty()
}
