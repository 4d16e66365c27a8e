//! kill -9 at any moment loses no finished trial, runs none twice, and leaves nothing behind.
//!
//! Kill points are spread over the journal of an undisturbed run: each kills when the journal has so many lines, and a
//! little (seeded) later. `MICROREMED_KILLS=200 cargo test --test quickstart kills` tries more of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::{processes_of, program, root, rows, run, run_dir, text};

const SELECT: [&str; 10] =
    ["run", "quickstart", "--fault", "pod-fail", "--fault", "network-loss", "--method", "sologen", "--model", "noop"];
/// What must be the same whatever happened on the way.
const COLUMNS: [&str; 9] = ["trial_id", "outcome", "compat", "strict", "strategy", "attempts", "remediation_s", "downtime_s", "collateral"];

fn results(run_folder: &Path) -> Vec<[String; 9]> {
    rows(run_folder).into_iter().map(|r| COLUMNS.map(|c| r[c].clone())).collect()
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

#[test]
fn a_run_that_is_killed_anywhere_goes_on_as_if_nothing_had_happened() {
    let points: u64 = std::env::var("MICROREMED_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let out = tempfile::tempdir().unwrap();
    let whole = run(&[&SELECT[..], &["--out", out.path().to_str().unwrap()]].concat(), root());
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let undisturbed = run_dir(out.path());
    let (expected, length) = (results(&undisturbed), lines(&undisturbed.join("events.jsonl")) as u64);
    for point in 0..points {
        kill_and_resume(point, (point * length / points).max(1), &expected);
    }
}

fn kill_and_resume(point: u64, after_lines: u64, expected: &[[String; 9]]) {
    let (out, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut child = program()
        .args(SELECT)
        .args(["--out", out.path().to_str().unwrap()])
        .current_dir(root())
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut journal = PathBuf::new();
    until("the run did not get so far", || {
        if journal.as_os_str().is_empty()
            && let Some(Ok(entry)) = fs::read_dir(out.path()).unwrap().next()
        {
            journal = entry.path().join("events.jsonl");
        }
        lines(&journal) as u64 >= after_lines || child.try_wait().unwrap().is_some()
    });
    // Weyl's sequence: spread evenly, the same each time.
    thread::sleep(Duration::from_millis(point * 379 % 211));
    child.kill().unwrap();
    child.wait().unwrap();
    let here = format!("killed at line {after_lines} (point {point})");
    until(&format!("{here}: processes were left running"), || processes_of(temporary.path()).is_empty());
    let finished: BTreeSet<String> = ended(&journal).into_iter().collect();
    let run_folder = run_dir(out.path());
    let resumed =
        program().args(["resume", run_folder.to_str().unwrap()]).current_dir(root()).env("TMPDIR", temporary.path()).output().unwrap();
    assert!(resumed.status.success(), "{here}: {}", text(&resumed.stderr));
    assert_eq!(results(&run_folder), expected, "{here}");
    let all = ended(&journal);
    for trial in &finished {
        assert_eq!(all.iter().filter(|t| *t == trial).count(), 1, "{here}: {trial} ran again");
    }
    assert_eq!(processes_of(temporary.path()), Vec::<String>::new(), "{here}");
}
