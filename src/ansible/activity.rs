//! Whether a tree of child processes only waits, read from `/proc`.
//!
//! Input: the process id of the group's leader; output: yes or no, in well under a millisecond, for a clock that
//! samples it every few milliseconds. Where there is no `/proc` (macOS) the answer is always no: time never jumps
//! while children run, so their waits take real time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Mutex, PoisonError};

/// Every so many samples all of `/proc` is searched for members of the group whose parent went away between two
/// samples; the other samples only follow the tree and those already known.
const FULL_SCAN_EVERY: u32 = 16;
/// More processes than this are not followed: whoever starts them is busy.
const MAX_PROCESSES: usize = 512;

/// Watches the process tree of one child.
#[derive(Debug)]
pub struct Activity {
    leader: i32,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    samples: u32,
    /// Known members by id, with their start time: a reused id is somebody else.
    members: BTreeMap<i32, u64>,
}

/// The fields we use of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: char,
    group: i32,
    started: u64,
}

impl Activity {
    /// Watches the process `leader`, its descendants and the members of its process group.
    pub fn of(leader: i32) -> Self {
        Self { leader, seen: Mutex::default() }
    }

    /// True when every thread of every process of the tree sleeps.
    pub fn idle(&self) -> bool {
        let Some(leader) = stat(&format!("/proc/{}/stat", self.leader)) else { return false };
        // A dead leader waits for us, not for the cluster.
        if leader.state == 'Z' || leader.state == 'X' {
            return false;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.samples.is_multiple_of(FULL_SCAN_EVERY) {
            for (pid, s) in group_members(self.leader) {
                seen.members.insert(pid, s.started);
            }
        }
        seen.samples = seen.samples.wrapping_add(1);
        seen.members.insert(self.leader, leader.started);
        let mut todo: Vec<i32> = seen.members.keys().copied().collect();
        let mut visited = BTreeSet::new();
        while let Some(pid) = todo.pop() {
            if !visited.insert(pid) {
                continue;
            }
            if visited.len() > MAX_PROCESSES {
                return false;
            }
            let known = seen.members.get(&pid).copied();
            let Some(s) = stat(&format!("/proc/{pid}/stat")).filter(|s| known.is_none_or(|k| k == s.started)) else {
                seen.members.remove(&pid);
                continue;
            };
            if s.state == 'Z' || s.state == 'X' {
                continue;
            }
            seen.members.insert(pid, s.started);
            match threads(pid) {
                Threads::Busy => return false,
                Threads::Idle(children) => todo.extend(children),
                Threads::Gone => {}
            }
        }
        true
    }
}

enum Threads {
    Busy,
    Idle(Vec<i32>),
    Gone,
}

/// The state of all threads of a process, and the children they started.
fn threads(pid: i32) -> Threads {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Threads::Gone };
    let mut children = Vec::new();
    for task in tasks.flatten() {
        let path = task.path();
        let Some(path) = path.to_str() else { continue };
        // A thread may end between the listing and the look.
        let Some(s) = stat(&format!("{path}/stat")) else { continue };
        if !waits(s.state) {
            return Threads::Busy;
        }
        if let Ok(list) = fs::read_to_string(format!("{path}/children")) {
            children.extend(list.split_ascii_whitespace().filter_map(|c| c.parse::<i32>().ok()));
        }
    }
    Threads::Idle(children)
}

/// Sleeping, idle kernel thread, stopped, or dead: none of these computes.
fn waits(state: char) -> bool {
    matches!(state, 'S' | 'I' | 'T' | 't' | 'Z' | 'X')
}

fn stat(path: &str) -> Option<Stat> {
    parse_stat(&fs::read_to_string(path).ok()?)
}

/// The command name may hold spaces and parentheses, so fields are counted from the last `)`.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(16)?.parse().ok()?;
    Some(Stat { state, group, started })
}

/// All live members of a process group.
fn group_members(group: i32) -> Vec<(i32, Stat)> {
    process_ids().filter_map(|pid| Some((pid, stat(&format!("/proc/{pid}/stat"))?))).filter(|(_, s)| s.group == group).collect()
}

fn process_ids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// Processes whose environment was given any of these `NAME=value` settings: finds those that left the group.
pub(crate) fn with_environment(settings: &[String]) -> Vec<i32> {
    process_ids()
        .filter(|pid| {
            let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
            environment.split(|b| *b == 0).any(|v| settings.iter().any(|s| s.as_bytes() == v))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    fn shell(script: &str) -> Child {
        Command::new("/bin/sh").args(["-c", script]).process_group(0).stdin(Stdio::null()).spawn().unwrap()
    }

    fn pid(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    fn kill(mut child: Child) {
        let group = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        child.wait().unwrap();
    }

    /// Waits until the probe gives this answer five times in a row.
    fn settles(activity: &Activity, answer: bool) -> bool {
        let end = Instant::now() + Duration::from_secs(10);
        let mut run = 0;
        while Instant::now() < end {
            run = if activity.idle() == answer { run + 1 } else { 0 };
            if run == 5 {
                return true;
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        false
    }

    #[test]
    fn stat_lines_with_odd_names_are_read() {
        let text = "12 (a) b (c) R 1 77 12 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(parse_stat(text), Some(Stat { state: 'R', group: 77, started: 4242 }));
        assert_eq!(parse_stat("nothing"), None);
    }

    #[test]
    fn a_tree_of_sleepers_is_idle() {
        let child = shell("sleep 60 & (sleep 60; true) & wait");
        assert!(settles(&Activity::of(pid(&child)), true));
        kill(child);
    }

    #[test]
    fn one_busy_grandchild_is_enough() {
        let child = shell("sleep 60 & (while :; do :; done) & wait");
        assert!(settles(&Activity::of(pid(&child)), false));
        kill(child);
    }

    #[test]
    fn an_orphan_of_the_group_counts() {
        // The subshell in the middle exits at once: the loop's parent is then init, but its group is ours.
        let child = shell("( (while :; do :; done) & ) ; sleep 60");
        assert!(settles(&Activity::of(pid(&child)), false));
        kill(child);
    }

    #[test]
    fn a_dead_leader_is_not_idle() {
        let mut child = shell("exit 0");
        let activity = Activity::of(pid(&child));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!activity.idle());
        child.wait().unwrap();
        assert!(!activity.idle());
    }

    #[test]
    fn environments_are_searched() {
        let marker = format!("MARK_{}=yes", std::process::id());
        let (name, value) = marker.split_once('=').unwrap();
        let mut child = Command::new("sleep").arg("60").env(name, value).spawn().unwrap();
        assert!(with_environment(std::slice::from_ref(&marker)).contains(&pid(&child)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
