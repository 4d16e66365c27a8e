//! Whether a tree of child processes only waits, and in what, read from `/proc`.
//!
//! Input: the process id of the group's leader; output: how it waits or that it does not, in well under a millisecond, for a clock that
//! samples it every few milliseconds. Where there is no `/proc` (macOS) the answer is always no: time never jumps
//! while children run, so their waits take real time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::blocked::Blocked;
use crate::rest::{Rest, Stance};

/// Every so many samples all of `/proc` is searched for members whose parent went away between two samples (daemons,
/// asynchronous tasks); the other samples only follow the tree and those already known.
const FULL_SCAN_EVERY: u32 = 16;
/// A look that was kept from the processor for longer than this is not trusted.
const HELD_UP_NS: u64 = 1_500_000;
/// Looks made before those that were held up are believed all the same: otherwise a crowded machine never gets on.
const LOOKS: u32 = 3;
/// More processes than this are not followed: whoever starts them is busy.
const MAX_PROCESSES: usize = 512;
/// Time-outs up to here are steps on a client's way: client-go looks every 100 ms whether the first list of a watch has come.
const SOON: Duration = Duration::from_millis(200);

/// Watches the process tree of one child.
#[derive(Debug)]
pub struct Activity {
    /// The first is the group's leader; below the others are more members.
    roots: Vec<i32>,
    markers: Vec<String>,
    /// Nobody can get away from the roots.
    closed: bool,
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
    /// Watches these processes, their descendants and the members of the process group that the first of them leads.
    pub fn of(roots: &[i32]) -> Self {
        Self { roots: roots.to_vec(), markers: Vec::new(), closed: false, seen: Mutex::default() }
    }

    /// Watches, besides, those who left the tree and the group but still have one of these `NAME=value` settings in
    /// their environment.
    #[must_use]
    pub fn with_markers(self, markers: Vec<String>) -> Self {
        Self { markers, ..self }
    }

    /// The roots are in a process namespace, whose first process adopts orphans: none need to be searched for elsewhere.
    #[must_use]
    pub fn closed(self, closed: bool) -> Self {
        Self { closed, ..self }
    }

    /// Something when every thread of every process of the tree sleeps. What they wait for may be a server rather than the clock: whoever
    /// keeps the clock asks that server, too.
    pub fn rest(&self) -> Option<Rest> {
        let mut seen = None;
        for _ in 0..LOOKS {
            let before = time_off_cpu();
            seen = Some(self.processes_wait()?);
            // On a crowded machine we may be held up in the middle of the look: work can then be handed on from those not
            // yet seen to those already seen. Such a look is made again.
            let held_up = before.zip(time_off_cpu()).is_some_and(|(before, after)| after.saturating_sub(before) > HELD_UP_NS);
            if !held_up {
                return seen;
            }
        }
        // Held up each time, and nobody was seen to work in any of the looks.
        seen
    }

    fn processes_wait(&self) -> Option<Rest> {
        let first = self.roots.first()?;
        let leader = stat(&format!("/proc/{first}/stat"))?;
        // A dead leader waits for us, not for the cluster.
        if leader.state == 'Z' || leader.state == 'X' {
            return None;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.closed && seen.samples.is_multiple_of(FULL_SCAN_EVERY) {
            seen.members.extend(self.strays(leader.started).map(|(pid, s)| (pid, s.started)));
        }
        seen.samples = seen.samples.wrapping_add(1);
        seen.members.insert(*first, leader.started);
        let mut todo: Vec<i32> = seen.members.keys().copied().chain(self.roots.iter().copied()).collect();
        let mut visited = BTreeSet::new();
        let mut asleep = Vec::new();
        while let Some(pid) = todo.pop() {
            if !visited.insert(pid) {
                continue;
            }
            if visited.len() > MAX_PROCESSES {
                return None;
            }
            match threads(pid, seen.members.get(&pid).copied()) {
                Threads::Busy => return None,
                Threads::Gone => {
                    seen.members.remove(&pid);
                }
                Threads::Idle { started, children, threads } => {
                    seen.members.insert(pid, started);
                    todo.extend(children);
                    asleep.extend(threads.into_iter().map(|thread| (pid, thread)));
                }
            }
        }
        drop(seen);
        asleep.sort_unstable();
        rest_of(&asleep)
    }

    /// All live members, wherever they are in the tree. None is older than the leader.
    fn strays(&self, since: u64) -> impl Iterator<Item = (i32, Stat)> {
        process_ids()
            .filter_map(|pid| Some((pid, stat(&format!("/proc/{pid}/stat"))?)))
            .filter(move |(pid, s)| s.started >= since && (Some(&s.group) == self.roots.first() || has_setting(*pid, &self.markers)))
    }
}

/// What these threads, of these processes, wait in; none: one of them has been woken.
fn rest_of(threads: &[(i32, i32)]) -> Option<Rest> {
    let (mut mark, mut wakes_within, mut shown) = (DefaultHasher::new(), Duration::ZERO, true);
    for (pid, thread) in threads {
        let line = match fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall")) {
            Ok(line) => line,
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                shown = false;
                continue;
            }
            // It has ended since.
            Err(_) => continue,
        };
        match Blocked::of(*pid, &line) {
            Some(Blocked::Not) => return None,
            Some(Blocked::Within(d)) if d <= SOON => wakes_within = wakes_within.max(d),
            Some(Blocked::Within(_) | Blocked::Forever) => {}
            None => shown = false,
        }
        (thread, line).hash(&mut mark);
    }
    Some(Rest { stance: shown.then(|| Stance { mark: mark.finish(), wakes_within }) })
}

enum Threads {
    Busy,
    Idle { started: u64, children: Vec<i32>, threads: Vec<i32> },
    Gone,
}

/// The state of all threads of a process, and the children they started. Another start time than the known one means
/// that the id was given to somebody else.
fn threads(pid: i32, known: Option<u64>) -> Threads {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Threads::Gone };
    let (mut started, mut children, mut threads) = (None, Vec::new(), Vec::new());
    for task in tasks.flatten() {
        let thread = task.file_name();
        let Some(thread) = thread.to_str().and_then(|t| t.parse::<i32>().ok()) else { continue };
        // A thread may end between the listing and the look.
        let Some(s) = stat(&format!("/proc/{pid}/task/{thread}/stat")) else { continue };
        if thread == pid {
            if known.is_some_and(|k| k != s.started) {
                return Threads::Gone;
            }
            started = Some(s.started);
        }
        if !waits(s.state) {
            return Threads::Busy;
        }
        threads.push(thread);
        if let Ok(list) = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")) {
            children.extend(list.split_ascii_whitespace().filter_map(|c| c.parse::<i32>().ok()));
        }
    }
    started.map_or(Threads::Gone, |started| Threads::Idle { started, children, threads })
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

fn process_ids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// Nanoseconds that this thread was ready to run and did not: the second number of its scheduling statistics.
fn time_off_cpu() -> Option<u64> {
    fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Processes whose environment was given any of these `NAME=value` settings: finds those that left the group.
pub(crate) fn with_environment(settings: &[String]) -> Vec<i32> {
    process_ids().filter(|pid| has_setting(*pid, settings)).collect()
}

fn has_setting(pid: i32, settings: &[String]) -> bool {
    // Other users' processes cannot be read, and are not ours.
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    environment.split(|b| *b == 0).any(|v| settings.iter().any(|s| s.as_bytes() == v))
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
            run = if activity.rest().is_some() == answer { run + 1 } else { 0 };
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
        assert!(settles(&Activity::of(&[pid(&child)]), true));
        kill(child);
    }

    #[test]
    fn one_busy_grandchild_is_enough() {
        let child = shell("sleep 60 & (while :; do :; done) & wait");
        assert!(settles(&Activity::of(&[pid(&child)]), false));
        kill(child);
    }

    #[test]
    fn an_orphan_of_the_group_counts() {
        // The subshell in the middle exits at once: the loop's parent is then init, but its group is ours.
        let child = shell("( (while :; do :; done) & ) ; sleep 60");
        assert!(settles(&Activity::of(&[pid(&child)]), false));
        kill(child);
    }

    #[test]
    fn a_daemon_with_our_marker_counts() {
        let marker = format!("DAEMON_{}=yes", std::process::id());
        let child = shell(&format!("export {marker}; (setsid sh -c 'while :; do :; done' &) ; sleep 60"));
        let activity = Activity::of(&[pid(&child)]).with_markers(vec![marker.clone()]);
        std::thread::sleep(Duration::from_millis(100));
        assert!(settles(&activity, false));
        for stray in with_environment(&[marker]).into_iter().filter_map(rustix::process::Pid::from_raw) {
            let _gone = rustix::process::kill_process(stray, rustix::process::Signal::KILL);
        }
        kill(child);
    }

    #[test]
    fn a_look_is_quick() {
        let child = shell("for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; wait");
        let activity = Activity::of(&[pid(&child)]);
        assert!(settles(&activity, true));
        let start = Instant::now();
        for _ in 0..160 {
            activity.rest();
        }
        let each = start.elapsed() / 160;
        kill(child);
        // 0.2 ms on an idle machine; the bound leaves room for a busy one.
        assert!(each < Duration::from_millis(5), "{each:?}");
    }

    #[test]
    fn a_dead_leader_is_not_idle() {
        let mut child = shell("exit 0");
        let activity = Activity::of(&[pid(&child)]);
        std::thread::sleep(Duration::from_millis(50));
        assert!(activity.rest().is_none());
        child.wait().unwrap();
        assert!(activity.rest().is_none());
    }

    #[test]
    fn environments_are_searched() {
        let marker = format!("MARK_{}=yes", std::process::id());
        let (name, value) = marker.split_once('=').unwrap();
        let mut child = Command::new("sleep").arg("60").env(name, value).spawn().unwrap();
        // The kernel shows the new environment a moment after the spawn.
        let found = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            with_environment(std::slice::from_ref(&marker)).contains(&pid(&child))
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
    }
}
