//! The whole program, as users run it: the quickstart, its reports, interruptions, and other people's data.
//!
//! Tools are installed once into `target/tools`, as the tests of `tests/tools` do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod judging;
mod kills;
mod policy;
mod shared;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn program() -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_microremed"));
    c.env("MICROREMED_TOOLS", root().join("target/tools")).env("NO_COLOR", "1").stdin(Stdio::null());
    c
}

fn run(args: &[&str], dir: &Path) -> Output {
    program().args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one run folder below `out`.
fn run_dir(out: &Path) -> PathBuf {
    let mut found: Vec<_> = fs::read_dir(out).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Rows of trials.csv, by column name.
fn rows(run: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(run.join("report/trials.csv")).unwrap();
    let head: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    reader.records().map(|r| head.iter().cloned().zip(r.unwrap().iter().map(str::to_owned)).collect()).collect()
}

#[test]
fn quickstart_separates_the_reference_policies_and_its_reports_come_from_the_journal() {
    let out = tempfile::tempdir().unwrap();
    let done = run(&["run", "quickstart", "--out", out.path().to_str().unwrap()], root());
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
    let run_folder = run_dir(out.path());
    let rows = rows(&run_folder);
    assert_eq!(rows.len(), 42);
    for row in &rows {
        let cell = format!("{} {} {}: {row:?}", row["fault"], row["method"], row["model"]);
        match row["model"].as_str() {
            "gold" => {
                assert_eq!(
                    (row["outcome"].as_str(), row["compat"].as_str(), row["strict"].as_str()),
                    ("recovered", "true", "true"),
                    "{cell}"
                );
            }
            "noop" => {
                assert_eq!(row["strict"], "false", "{cell}");
                assert_eq!(row["outcome"], "not_recovered", "{cell}");
                assert_eq!(row["strategy"], "nothing", "{cell}");
            }
            _ => assert!(["recovered", "not_recovered", "playbook_failed"].contains(&row["outcome"].as_str()), "{cell}"),
        }
    }
    // Reports are rebuilt from the journal alone, byte for byte, by a program that sees no manifest.
    let report = run_folder.join("report");
    let before = contents(&report);
    assert!(before.len() >= 5, "{:?}", before.keys());
    fs::remove_dir_all(&report).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let again = run(&["report", run_folder.to_str().unwrap()], empty.path());
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(contents(&report), before);
    // Resuming a finished run runs nothing and changes nothing.
    let resumed = run(&["resume", run_folder.to_str().unwrap()], root());
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    assert_eq!(self::rows(&run_folder), rows);
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|e| {
            let path = e.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_verdicts_and_simulated_times_whatever_the_load() {
    let columns =
        ["trial_id", "outcome", "compat", "strict", "strategy", "attempts", "probes", "remediation_s", "downtime_s", "collateral"];
    let pick = |jobs: &str| {
        let out = tempfile::tempdir().unwrap();
        let args = [
            "run",
            "quickstart",
            "--fault",
            "network-loss",
            "--fault",
            "pod-config-error",
            "-j",
            jobs,
            "--out",
            out.path().to_str().unwrap(),
        ];
        let done = run(&args, root());
        assert!(done.status.success(), "{}", text(&done.stderr));
        rows(&run_dir(out.path())).into_iter().map(|r| columns.map(|c| r[c].clone())).collect::<Vec<_>>()
    };
    // Once alone, once with the machine overloaded.
    let (alone, crowded) = (pick("1"), pick("6"));
    for (a, b) in alone.iter().zip(&crowded) {
        assert_eq!(a, b, "in the order of {columns:?}");
    }
    assert_eq!(alone.len(), crowded.len());
}

#[test]
fn other_peoples_systems_faults_and_methods_are_data() {
    let work = tempfile::tempdir().unwrap();
    copy(&root().join("tests/quickstart/root"), work.path());
    let checked = run(&["check", work.path().to_str().unwrap()], work.path());
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let done = run(&["run", "theirs", "--root", work.path().to_str().unwrap(), "--out", "out"], work.path());
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
    let rows = rows(&run_dir(&work.path().join("out")));
    let got: Vec<_> = rows
        .iter()
        .map(|r| (r["system"].as_str(), r["fault"].as_str(), r["method"].as_str(), r["model"].as_str(), r["strict"].as_str()))
        .collect();
    assert_eq!(
        got,
        [("their-shop", "no-replicas", "two-shots", "gold", "true"), ("their-shop", "no-replicas", "two-shots", "noop", "false"),]
    );
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_nothing_running_and_goes_on_later() {
    let out = tempfile::tempdir().unwrap();
    // At several moments, so that several stages are hit.
    for after_ms in [300, 1200, 2500] {
        let folder = out.path().join(after_ms.to_string());
        let temporary = tempfile::tempdir().unwrap();
        let child = program()
            .args(["run", "quickstart", "--fault", "cpu-stress", "--fault", "disk-io", "--out", folder.to_str().unwrap()])
            .current_dir(root())
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while !folder.exists() || fs::read_dir(&folder).unwrap().next().is_none() {
            assert!(begun.elapsed() < Duration::from_mins(5), "the run did not begin");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(after_ms));
        let id = child.id();
        assert!(Command::new("kill").args(["-INT", &id.to_string()]).status().unwrap().success());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(130), "{}", text(&ended.stderr));
        let run_folder = run_dir(&folder);
        assert!(text(&ended.stderr).contains(&format!("microremed resume {}", run_folder.display())), "{}", text(&ended.stderr));
        assert_eq!(processes_of(temporary.path()), Vec::<String>::new(), "left running");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "left in the temporary folder");
        let journal = fs::read_to_string(run_folder.join("events.jsonl")).unwrap();
        assert!(journal.lines().next_back().unwrap().contains(r#"{"run_finished":{"how":"interrupted"}}"#), "{journal}");
        let resumed = run(&["resume", run_folder.to_str().unwrap()], root());
        assert!(resumed.status.success(), "{}", text(&resumed.stderr));
        let rows = rows(&run_folder);
        assert_eq!(rows.len(), 12);
        assert!(rows.iter().all(|r| r["outcome"] != "cancelled" && r["outcome"] != "infra_error"), "{rows:?}");
    }
}

/// Command lines of processes that know the folder: children of trials have it in their arguments or their environment.
#[cfg(unix)]
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let read = |path: PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).replace('\0', " ");
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().chars().all(|c| c.is_ascii_digit()))
        .map(|e| (read(e.path().join("cmdline")), read(e.path().join("environ"))))
        .filter(|(line, environment)| line.contains(folder) || environment.contains(folder))
        .map(|(line, _)| line)
        .collect()
}

#[test]
fn wrong_input_is_said_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    for (args, code, says) in [
        (vec!["run", "quickstrat"], 2, "quickstart"),
        (vec!["run", "quickstart", "--model", "gpt-99"], 2, "gpt-99"),
        (vec!["run", "quickstart", "--fault", "cpu-stres"], 2, "cpu-stress"),
        (vec!["run", "quickstart", "--set", "budgets.probs=5"], 2, "probes"),
        (vec!["run", "quickstart", "--shard", "3/2"], 2, "1/4"),
        (vec!["run", "quickstart", "--root", "nowhere"], 2, "nowhere"),
        (vec!["run", "quickstart", "--kubeconfig", "no-config"], 2, "no-config"),
        (vec!["report", "nowhere"], 2, "nowhere"),
        (vec!["resume", "nowhere"], 2, "nowhere"),
        (vec!["cluster", "up", "--system", "simple-mirco"], 2, "simple-micro"),
        (vec!["frobnicate"], 2, "frobnicate"),
    ] {
        let done = run(&args, dir.path());
        let stderr = text(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something was written");
}

#[test]
fn a_model_without_its_key_or_with_a_dead_endpoint_is_not_scored() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("models")).unwrap();
    fs::create_dir_all(dir.path().join("systems")).unwrap();
    fs::create_dir_all(dir.path().join("faults")).unwrap();
    let model = |name: &str, more: &str| {
        format!(
            "name = \"{name}\"\n[provider.openai]\nbase_url = \"http://127.0.0.1:9/v1\"\nmodel = \"m\"\nretry = {{ attempts = 2, pause = \"1ms\", pause_max = \"2ms\" }}\n{more}"
        )
    };
    fs::write(dir.path().join("models/keyless.toml"), model("keyless", "key_env = \"SURELY_NOT_SET\"\n")).unwrap();
    fs::write(dir.path().join("models/dead.toml"), model("dead", "")).unwrap();
    let base = ["run", "quickstart", "--root", ".", "--fault", "cpu-stress", "--method", "sologen"];
    let keyless = run(&[&base[..], &["--model", "keyless"]].concat(), dir.path());
    assert_eq!(keyless.status.code(), Some(3), "{}", text(&keyless.stderr));
    assert!(text(&keyless.stderr).contains("SURELY_NOT_SET"));
    assert!(!dir.path().join("results").exists());
    let dead = run(&[&base[..], &["--model", "dead"]].concat(), dir.path());
    assert_eq!(dead.status.code(), Some(1), "{}", text(&dead.stderr));
    let rows = rows(&run_dir(&dir.path().join("results")));
    assert_eq!(rows[0]["outcome"], "infra_error");
    assert_eq!(rows[0]["strict"], "");
    assert!(rows[0]["error"].contains("127.0.0.1:9"), "{rows:?}");
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_to_is_an_error_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    // A file in the place of the folder fails for every user, root included.
    fs::write(dir.path().join("results"), "in the way").unwrap();
    let done = run(&["run", "quickstart", "--fault", "cpu-stress"], dir.path());
    assert_eq!(done.status.code(), Some(2), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("--out"), "{}", text(&done.stderr));
}

/// On a disk of its own, in namespaces of its own: first too small, then not.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_with_advice_and_the_run_goes_on_when_there_is_room() {
    let apart = ["--user", "--map-root-user", "--mount"];
    if !Command::new("unshare").args(apart).arg("true").status().is_ok_and(|s| s.success()) {
        // Where nobody may make namespaces, nobody may mount a disk.
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    let args = "quickstart --fault pod-fail --fault network-loss --method sologen --model gold --jobs 1";
    // The first run is ended by the disk, whatever it had written by then; the second one ends by itself.
    let script = format!(
        "mount -t tmpfs -o size=64k tmpfs \"$DISK\" && \"$PROGRAM\" run {args} --out \"$DISK\"; echo \"first $?\"; \
         mount -o remount,size=64m \"$DISK\" && \"$PROGRAM\" resume \"$DISK\"/quickstart-*; echo \"second $?\"; \
         cat \"$DISK\"/quickstart-*/report/trials.csv"
    );
    let done = Command::new("unshare")
        .args(apart)
        .args(["sh", "-c", &script])
        .current_dir(root())
        .env("DISK", disk.path())
        .env("PROGRAM", env!("CARGO_BIN_EXE_microremed"))
        .env("MICROREMED_TOOLS", root().join("target/tools"))
        .output()
        .unwrap();
    let (said, complained) = (text(&done.stdout), text(&done.stderr));
    assert!(said.contains("first 1\n") && said.contains("second 0\n"), "{said}\n{complained}");
    assert!(complained.contains("No space left on device") && complained.contains("goes on from there"), "{complained}");
    assert_eq!(said.matches(",recovered,true,true,").count(), 2, "{said}\n{complained}");
}

/// A root with one model.
fn root_with_model(dir: &Path, model: &str) {
    fs::create_dir_all(dir.join("models")).unwrap();
    fs::write(dir.join("models/mine.toml"), model).unwrap();
}

#[test]
fn a_run_that_gets_nowhere_stops_unless_told_to_keep_going() {
    let dir = tempfile::tempdir().unwrap();
    root_with_model(
        dir.path(),
        "name = \"mine\"\n[provider.openai]\nbase_url = \"http://127.0.0.1:9/v1\"\nmodel = \"m\"\nretry = { attempts = 1 }\n",
    );
    let args = ["run", "quickstart", "--root", ".", "--model", "mine", "--method", "sologen", "-j", "1"];
    let stopped = run(&args, dir.path());
    assert_eq!(stopped.status.code(), Some(1), "{}", text(&stopped.stderr));
    assert!(text(&stopped.stderr).contains("5 trials in a row"), "{}", text(&stopped.stderr));
    let run_folder = run_dir(&dir.path().join("results"));
    assert_eq!(rows(&run_folder).len(), 5);
    // From another folder, all that is left, and all that failed.
    let elsewhere = tempfile::tempdir().unwrap();
    let kept = run(&["resume", run_folder.to_str().unwrap(), "--keep-going"], elsewhere.path());
    assert_eq!(kept.status.code(), Some(1), "{}", text(&kept.stderr));
    assert_eq!(rows(&run_folder).len(), 7);
}

#[test]
fn a_run_stops_when_its_dollars_are_spent() {
    let dir = tempfile::tempdir().unwrap();
    root_with_model(
        dir.path(),
        "name = \"mine\"\nprice = { prompt = 1e6, completion = 1e6 }\n[[provider.scripted.turns]]\ntext = \"I do not know.\"\n",
    );
    let args =
        ["run", "quickstart", "--root", ".", "--model", "mine", "--method", "sologen", "-j", "1", "--set", "budgets.cost_total_usd=0.5"];
    let stopped = run(&args, dir.path());
    assert_eq!(stopped.status.code(), Some(1), "{}", text(&stopped.stderr));
    assert!(text(&stopped.stderr).contains("cost_total_usd"), "{}", text(&stopped.stderr));
    let run_folder = run_dir(&dir.path().join("results"));
    assert_eq!(rows(&run_folder).len(), 1);
    // What was spent before counts.
    let again = run(&["resume", run_folder.to_str().unwrap()], dir.path());
    assert_eq!(again.status.code(), Some(1), "{}", text(&again.stderr));
    assert_eq!(rows(&run_folder).len(), 1);
}

#[test]
fn what_new_writes_runs_and_separates_gold_from_noop() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ["system", "fault", "method", "sequence", "experiment"] {
        let done = run(&["new", kind, "mine", "--root", "r"], dir.path());
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    fs::write(dir.path().join("r/experiments/sequences/mine.toml"), "name = \"mine\"\nfaults = [\"mine\"]\n").unwrap();
    let args = ["run", "mine", "--root", "r", "--system", "mine", "--method", "mine", "--sequence", "mine", "--out", "out"];
    let done = run(&args, dir.path());
    assert!(done.status.success(), "{}", text(&done.stderr));
    let got: Vec<(String, String)> =
        rows(&run_dir(&dir.path().join("out"))).into_iter().map(|r| (r["model"].clone(), r["strict"].clone())).collect();
    let expected = [("gold", "true"), ("noop", "false"), ("restart", "false")].map(|(m, v)| (m.to_owned(), v.to_owned()));
    assert_eq!(got, expected);
}

#[test]
fn further_faults_and_methods_separate_the_reference_policies_too() {
    let check = |args: &[&str], count: usize| {
        let out = tempfile::tempdir().unwrap();
        let mut all = vec!["run"];
        all.extend(args);
        all.extend(["--model", "gold", "--model", "noop", "--out", out.path().to_str().unwrap()]);
        let done = run(&all, root());
        assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
        let rows = rows(&run_dir(out.path()));
        assert_eq!(rows.len(), count);
        for row in &rows {
            let verdicts = (row["outcome"].as_str(), row["compat"].as_str(), row["strict"].as_str());
            if row["model"] == "gold" {
                assert_eq!(verdicts, ("recovered", "true", "true"), "{row:?}");
            } else {
                assert_eq!((verdicts.0, verdicts.2), ("not_recovered", "false"), "{row:?}");
            }
        }
    };
    check(&["new-faults"], 20);
    check(&["platform-faults"], 12);
    check(&["quickstart", "--method", "react", "--method", "best-of-n", "--fault", "cpu-stress", "--fault", "pod-config-error"], 8);
    check(&["dose", "--fault", "network-loss"], 8);
}
