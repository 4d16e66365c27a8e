//! `[policy]`: what the server does not let a playbook do, and what a person does not let run.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::{program, root, rows, run, run_dir, text};

const SELECT: [&str; 8] = ["run", "quickstart", "--fault", "pod-config-error", "--method", "sologen", "--model", "gold"];

/// Plays a person at a terminal: `ANSWERS PROGRAM ARGS...`, one answer for each time it is asked.
const PERSON: &str = r#"
import os, pty, sys
answers, asked, seen = sys.argv[1].split(","), 0, b""
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[2], sys.argv[2:])
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:
        break
    if not data:
        break
    seen += data
    while answers and seen.count(b"May it run?") > asked:
        asked += 1
        os.write(terminal, answers.pop(0).encode() + b"\n")
_, status = os.waitpid(child, 0)
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(status))
"#;

fn answered(answers: &str, args: &[&str]) -> Output {
    let program = program();
    let mut person = Command::new("python3");
    person.args(["-c", PERSON, answers]).arg(program.get_program()).args(args).current_dir(root());
    person.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    person.output().unwrap()
}

fn playbooks(run_folder: &Path) -> Vec<Value> {
    let journal = fs::read_to_string(run_folder.join("events.jsonl")).unwrap();
    let records = journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["event"]["playbook_ran"].is_object()).map(|record| record["event"]["playbook_ran"].clone()).collect()
}

#[test]
fn the_server_does_not_let_a_playbook_do_what_the_policy_denies() {
    let out = tempfile::tempdir().unwrap();
    let denied = ["--set", r#"policy.deny_verbs=["patch deployments.apps", "update deployments.apps"]"#];
    let done = run(&[&SELECT[..], &denied, &["--out", out.path().to_str().unwrap()]].concat(), root());
    assert!(done.status.success(), "{}", text(&done.stderr));
    let run_folder = run_dir(out.path());
    let row = &rows(&run_folder)[0];
    assert_eq!((row["outcome"].as_str(), row["strict"].as_str()), ("playbook_failed", "false"), "{row:?}");
    let said = playbooks(&run_folder)[0]["outcome"].to_string();
    assert!(said.contains("deployments.apps") && said.contains("is forbidden: User") && said.contains("agent"), "{said}");
}

#[test]
fn a_person_is_asked_and_what_it_says_is_done_and_written_down() {
    let out = tempfile::tempdir().unwrap();
    let more = ["--repeats", "2", "-j", "1", "--set", "policy.ask=true", "--out", out.path().to_str().unwrap()];
    let done = answered("what,n,yes", &[&SELECT[..], &more].concat());
    let seen = text(&done.stdout);
    assert!(done.status.success(), "{seen}");
    assert_eq!(seen.matches("May it run?").count(), 3, "{seen}");
    assert!(seen.contains("playbook 1 of gold for pod-config-error on") && seen.contains("  |   hosts: localhost"), "{seen}");
    let run_folder = run_dir(out.path());
    let outcomes: Vec<String> = rows(&run_folder).into_iter().map(|row| row["outcome"].clone()).collect();
    assert_eq!(outcomes, ["playbook_failed", "recovered"]);
    let ran = playbooks(&run_folder);
    assert_eq!([&ran[0]["approval"]["allowed"], &ran[1]["approval"]["allowed"]], [false, true], "{ran:?}");
    assert!(ran.iter().all(|playbook| playbook["approval"]["waited_s"].as_f64().is_some_and(|s| s > 0.0)), "{ran:?}");
    assert!(ran[0]["outcome"]["tasks"].as_array().unwrap().is_empty() && ran[0]["outcome"].to_string().contains("said no"), "{ran:?}");
}

#[test]
fn nobody_to_ask_is_said_before_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let done = run(&[&SELECT[..], &["--set", "policy.ask=true"]].concat(), dir.path());
    let stderr = text(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("there is no terminal") && stderr.contains("policy.ask=false"), "{stderr}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
