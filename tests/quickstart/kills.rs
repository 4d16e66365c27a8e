//! kill -9 at any moment loses no finished trial, runs none twice, and leaves nothing behind.
//!
//! Kill points are spread over an undisturbed run by Weyl's sequence, evenly and the same each time: every other one over its
//! journal (when it has so many lines, and a little later), the others over its time, so that what writes no line is hit, too.
//! Every third run is killed a second time while it resumes. `MICROREMED_KILLS=200 cargo test --test quickstart kills` tries
//! more of them than a usual test run does, `MICROREMED_KILLS=50..100` the second fifty of these.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::{processes_of, program, root, rows, run, run_dir, text};

/// One trial after the other: one whose children change the cluster, and one with long waits for its verdict.
const SELECT: [&str; 12] =
    ["run", "quickstart", "--fault", "pod-fail", "--method", "sologen", "--model", "gold", "--model", "noop", "--jobs", "1"];
/// What must be the same whatever happened on the way.
const COLUMNS: [&str; 9] = ["trial_id", "outcome", "compat", "strict", "strategy", "attempts", "remediation_s", "downtime_s", "collateral"];

fn results(run_folder: &Path) -> Vec<[String; 9]> {
    rows(run_folder).into_iter().map(|r| COLUMNS.map(|c| r[c].clone())).collect()
}

/// Files of a run's folder, but for what is kept of a kill on purpose: the line that it tore (`events.torn`), and what trials had
/// written before (`trials/ID.1`, ...).
fn files(run_folder: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![run_folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Of the folders here, only these have a dot in their names.
                if path.extension().is_none() {
                    folders.push(path);
                }
            } else if path.file_name().is_some_and(|name| name != "events.torn") {
                found.insert(path.strip_prefix(run_folder).unwrap().to_owned());
            }
        }
    }
    found
}

fn lines(journal: &Path) -> usize {
    fs::read(journal).map_or(0, |bytes| bytes.split(|b| *b == b'\n').count() - 1)
}

/// Trials that ended in the journal, with how often.
fn ended(journal: &Path) -> Vec<String> {
    let text = fs::read_to_string(journal).unwrap();
    text.lines()
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
        .filter_map(|r| Some(r["event"]["trial_finished"]["spec"]["id"].as_str()?.to_owned()))
        .collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_mins(2), "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// When to kill.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// When the journal has so many lines, and so much later.
    Line(usize, Duration),
    /// So long after the start.
    After(Duration),
}

/// Everything that a run may leave behind on the way, and must not.
struct Scene {
    out: tempfile::TempDir,
    temporary: tempfile::TempDir,
    here: String,
}

#[test]
fn a_run_that_is_killed_anywhere_goes_on_as_if_nothing_had_happened() {
    let points = points(&std::env::var("MICROREMED_KILLS").unwrap_or_default());
    let number = points.end - points.start;
    let out = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let whole = run(&[&SELECT[..], &["--out", out.path().to_str().unwrap()]].concat(), root());
    let took = begun.elapsed();
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let undisturbed = run_dir(out.path());
    let length = lines(&undisturbed.join("events.jsonl"));
    assert_eq!(results(&undisturbed).len(), 2);
    let mut killed = 0;
    for point in points {
        // The fractions of the multiples of the golden ratio fall between each other.
        let share = (f64::from(point) * 0.618_033_988_749_894_9).fract();
        let moment = if point % 2 == 0 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "lines of a short file"
            )]
            let line = (share * length as f64) as usize;
            Moment::Line(line.max(1), Duration::from_millis(u64::from(point * 379 % 211)))
        } else {
            Moment::After(took.mul_f64(share))
        };
        killed += kill_and_resume(point, moment, took, &undisturbed);
    }
    // A machine that is faster now than before may end a run or two before it can be killed.
    assert!(killed * 4 >= number * 3, "{killed} of {number} runs were killed before their end");
}

/// `200`, or `50..100` for a part of them.
fn points(text: &str) -> Range<u32> {
    let (from, to) = text.split_once("..").unwrap_or(("0", text));
    from.parse().unwrap_or(0)..to.parse().unwrap_or(5)
}

/// Kills a run, perhaps once more when it resumes, and compares what came of it in the end. How often the first one was killed.
fn kill_and_resume(point: u32, moment: Moment, took: Duration, undisturbed: &Path) -> u32 {
    let scene =
        Scene { out: tempfile::tempdir().unwrap(), temporary: tempfile::tempdir().unwrap(), here: format!("{moment:?} (point {point})") };
    let killed = u32::from(scene.kill(&[&SELECT[..], &["--out", scene.out.path().to_str().unwrap()]].concat(), moment));
    if fs::read_dir(scene.out.path()).unwrap().next().is_none() {
        // Killed before there was anything to resume: then nothing else may be there either.
        scene.nothing_is_left_running();
        return killed;
    }
    let run_folder = run_dir(scene.out.path());
    let (journal, resume) = (run_folder.join("events.jsonl"), ["resume", run_folder.to_str().unwrap()]);
    let resumable = run_folder.join("run.json").is_file() && journal.is_file();
    if point % 3 == 2 && resumable {
        scene.kill(&resume, Moment::After(took.mul_f64(0.3)));
    }
    let finished: BTreeSet<String> = if journal.is_file() { ended(&journal).into_iter().collect() } else { BTreeSet::new() };
    let here = &scene.here;
    let resumed = scene.program(&resume).output().unwrap();
    if !resumable {
        // A run that has not begun is no run; the program says so, and the command is given again.
        assert_eq!(resumed.status.code(), Some(2), "{here}: {}", text(&resumed.stderr));
        return killed;
    }
    assert!(resumed.status.success(), "{here}: {}", text(&resumed.stderr));
    assert_eq!(results(&run_folder), results(undisturbed), "{here}");
    assert_eq!(files(&run_folder), files(undisturbed), "{here}");
    let all = ended(&journal);
    for trial in &finished {
        assert_eq!(all.iter().filter(|t| *t == trial).count(), 1, "{here}: {trial} ran again");
    }
    assert_eq!(processes_of(scene.temporary.path()), Vec::<String>::new(), "{here}");
    let left: Vec<PathBuf> = fs::read_dir(scene.temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "{here}: left in the temporary folder");
    killed
}

impl Scene {
    fn program(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.args(args).current_dir(root()).env("TMPDIR", self.temporary.path());
        command
    }

    /// Runs the program and kills it; whether it was still running then.
    fn kill(&self, args: &[&str], moment: Moment) -> bool {
        let begun = Instant::now();
        let mut child = self.program(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut journal = PathBuf::new();
        until(&format!("{}: the run did not get so far", self.here), || {
            let there = match moment {
                Moment::After(time) => begun.elapsed() >= time,
                Moment::Line(line, _) => {
                    if journal.as_os_str().is_empty()
                        && let Some(Ok(entry)) = fs::read_dir(self.out.path()).unwrap().next()
                    {
                        journal = entry.path().join("events.jsonl");
                    }
                    lines(&journal) >= line
                }
            };
            there || child.try_wait().unwrap().is_some()
        });
        if let Moment::Line(_, later) = moment {
            thread::sleep(later);
        }
        let running = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        self.nothing_is_left_running();
        running
    }

    fn nothing_is_left_running(&self) {
        until(&format!("{}: processes were left running", self.here), || processes_of(self.temporary.path()).is_empty());
    }
}
