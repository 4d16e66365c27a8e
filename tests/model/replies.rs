//! Replies of models that come over a network: kept, replayed, cached, corrected, bounded by budgets, and without a
//! trace of the key. The whole program is run against a server of ours.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use super::model_server::{Act, ModelServer};
use serde_json::{Value, json};

pub(super) const KEY: &str = "sk-very-secret-0123456789";

const GOOD: &str =
    "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.shell: kubectl -n simple-micro delete stresschaos --all\n";
const FAILING: &str =
    "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.shell: sleep 2; echo no; date >/dev/null; exit 3\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with a model that asks `base_url`.
pub(super) fn folder(base_url: &str, more: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["models", "systems", "faults"] {
        fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    let model = format!(
        "name = \"stub\"\n{more}\n[provider.openai]\nbase_url = \"{base_url}\"\nmodel = \"some\"\nkey_env = \"STUB_KEY\"\n\
         retry = {{ attempts = 2, pause = \"5ms\", pause_max = \"10ms\" }}\n"
    );
    fs::write(dir.path().join("models/stub.toml"), model).unwrap();
    dir
}

/// Runs the experiment in `dir`, with the key in its environment unless told otherwise.
pub(super) async fn run(dir: &Path, key: Option<&str>, args: &[&str]) -> Output {
    let what = ["run", "quickstart", "--root", ".", "--model", "stub", "--fault", "cpu-stress", "-j", "1"];
    program(dir, key, &[&what[..], args].concat()).await
}

/// Runs the program in `dir`.
pub(super) async fn program(dir: &Path, key: Option<&str>, args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_microremed"));
    command
        .env("MICROREMED_TOOLS", root().join("target/tools"))
        .env("NO_COLOR", "1")
        .env_remove("STUB_KEY")
        .stdin(Stdio::null())
        .args(args)
        .current_dir(dir);
    if let Some(key) = key {
        command.env("STUB_KEY", key);
    }
    command.output().await.unwrap()
}

/// The one run folder below `out`.
pub(super) fn run_dir(out: &Path) -> PathBuf {
    let found: Vec<_> = fs::read_dir(out).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

pub(super) fn rows(run: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(run.join("report/trials.csv")).unwrap();
    let head: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    reader.records().map(|r| head.iter().cloned().zip(r.unwrap().iter().map(str::to_owned)).collect()).collect()
}

/// trials.csv, byte for byte, but for the columns of the wall clock.
fn timeless(run: &Path) -> String {
    let whole = fs::read_to_string(run.join("report/trials.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(whole.as_bytes());
    let head = reader.headers().unwrap().clone();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut blank = csv::Writer::from_writer(Vec::new());
    blank.write_record(&head).unwrap();
    writer.write_record(&head).unwrap();
    let clock = ["model_s", "playbook_s", "total_s"];
    assert!(clock.iter().all(|column| head.iter().any(|name| name == *column)), "{head:?}");
    for row in reader.records().map(Result::unwrap) {
        writer.write_record(&row).unwrap();
        blank.write_record(head.iter().zip(&row).map(|(name, cell)| if clock.contains(&name) { "" } else { cell })).unwrap();
    }
    // What is compared is what stands in the file: reading and writing it changes no byte.
    assert_eq!(String::from_utf8(writer.into_inner().unwrap()).unwrap(), whole);
    String::from_utf8(blank.into_inner().unwrap()).unwrap()
}

pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

pub(super) fn events(run: &Path, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(run.join("events.jsonl")).unwrap();
    text.lines().filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].get(kind).cloned()).collect()
}

pub(super) fn playbook(code: &str) -> Act {
    Act::tool_call("print_playbook", &json!(json!({ "code": code }).to_string()))
}

/// A trial in which everything happens: a call that is no JSON, a look at the environment, a playbook that fails, one
/// that repairs. The server quotes the key wherever it can.
fn eventful() -> Vec<Act> {
    let look = "env; tr '\\0' '\\n' < /proc/self/environ; kubectl get pods";
    vec![
        Act::Answer(503, Vec::new(), format!("your key {KEY} is fine, I am not")),
        Act::tool_call("probe_system", &json!(format!("{{\"cmds\": \"{KEY}"))),
        Act::message(&json!({
            "content": format!("I use {KEY}."), "reasoning_content": format!("they gave me {KEY}"),
            "tool_calls": [{ "id": KEY, "function": { "name": "probe_system", "arguments": json!({ "cmds": look }).to_string() } }],
        })),
        playbook(FAILING),
        playbook(GOOD),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_run_is_the_same_without_network_and_key_and_nothing_holds_the_key() {
    let acts: Vec<Act> = eventful().into_iter().chain(eventful()).collect();
    let server = ModelServer::start(acts).await.unwrap();
    let dir = folder(&server.base_url, "price = { prompt = 1.0, completion = 2.0 }");
    let args = ["--method", "thinkremed", "--repeats", "2"];
    let done = run(dir.path(), Some(KEY), &[&args[..], &["--out", "first"]].concat()).await;
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
    let first = run_dir(&dir.path().join("first"));
    assert_eq!(server.asked().len(), 10);
    let recorded = rows(&first);
    assert_eq!(recorded.len(), 2);
    for row in &recorded {
        assert_eq!((row["outcome"].as_str(), row["attempts"].as_str(), row["probes"].as_str()), ("recovered", "2", "1"), "{row:?}");
        assert!(row["cost_usd"].parse::<f64>().unwrap() > 0.0);
    }

    // The malformed call was made good in one turn, which is counted.
    let asked = events(&first, "asked");
    assert_eq!(asked.len(), 8);
    assert!(asked[0]["malformed"].as_str().unwrap().contains("no JSON object") && asked[0]["retries"] == 1);
    assert_eq!((&asked[1]["correction"], &asked[1]["malformed"]), (&json!(true), &json!("")));
    assert_eq!(asked.iter().filter(|a| a["correction"] == true).count(), 2);

    // Every reply was kept, and no byte of anything holds the key.
    assert_eq!(fs::read_dir(first.join("calls")).unwrap().count(), 8);
    for file in files(&first) {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()), "{} holds the key", file.display());
    }
    assert!(!text(&done.stdout).contains(KEY) && !text(&done.stderr).contains(KEY));
    let probe = &events(&first, "probed")[0]["outcome"];
    assert!(probe["stdout"].as_str().unwrap().contains("PATH=") && !probe.to_string().contains("STUB_KEY"), "{probe}");

    estimates(dir.path(), &recorded).await;

    // Replayed with the server gone and no key: the same results, byte for byte but for the wall clock.
    drop(server);
    let replay = first.to_str().unwrap();
    let done = run(dir.path(), None, &[&args[..], &["--out", "second", "--replay", replay]].concat()).await;
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
    let second = run_dir(&dir.path().join("second"));
    assert_eq!(timeless(&second), timeless(&first));
    for kept in fs::read_dir(first.join("calls")).unwrap() {
        let kept = kept.unwrap();
        assert_eq!(fs::read(second.join("calls").join(kept.file_name())).unwrap(), fs::read(kept.path()).unwrap());
    }

    // A reply that is missing is an error of that trial alone; the other one is what it was.
    let calls: Vec<PathBuf> = fs::read_dir(second.join("calls")).unwrap().map(|entry| entry.unwrap().path()).collect();
    fs::remove_file(calls.first().unwrap()).unwrap();
    let holed = second.to_str().unwrap();
    let done = run(dir.path(), None, &[&args[..], &["--out", "holed", "--replay", holed]].concat()).await;
    assert_eq!(done.status.code(), Some(1), "{}", text(&done.stderr));
    let holed = rows(&run_dir(&dir.path().join("holed")));
    let outcomes: Vec<&str> = holed.iter().map(|row| row["outcome"].as_str()).collect();
    assert!(outcomes == ["infra_error", "recovered"] || outcomes == ["recovered", "infra_error"], "{outcomes:?}");
    assert!(holed.iter().any(|row| row["error"].contains("the recorded run holds no reply to this request")), "{holed:?}");

    // What was never asked is an error that says so, and no result of the model.
    let done = run(dir.path(), None, &["--method", "sologen", "--out", "third", "--replay", replay]).await;
    assert_eq!(done.status.code(), Some(1), "{}", text(&done.stderr));
    let row = &rows(&run_dir(&dir.path().join("third")))[0];
    assert_eq!(row["outcome"], "infra_error");
    assert!(row["error"].contains("nothing was asked in the trial"), "{row:?}");
}

/// What a plan says that a trial takes is the mean of what trials took, where its method was run.
async fn estimates(dir: &Path, recorded: &[BTreeMap<String, String>]) {
    let plan = ["plan", "quickstart", "--root", ".", "--model", "stub", "--fault", "cpu-stress"];
    let mean = |column: &str| recorded.iter().map(|row| row[column].parse::<f64>().unwrap()).sum::<f64>() / 2.0;
    let folder = run_dir(&dir.join("first"));
    let named = [&plan[..], &["--format", "csv", "--from", folder.to_str().unwrap()]].concat();
    let done = program(dir, None, &named).await;
    assert!(done.status.success(), "{}", text(&done.stderr));
    let mut reader = csv::Reader::from_reader(done.stdout.as_slice());
    let rows: Vec<BTreeMap<String, String>> = reader.deserialize().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len(), 2);
    for row in &rows {
        if row["method"] == "sologen" {
            assert_eq!((row["estimated_from"].as_str(), row["estimated_cost_usd"].as_str()), ("", ""), "{row:?}");
            continue;
        }
        assert_eq!(row["estimated_from"], "same model", "{row:?}");
        for (column, like) in [("estimated_prompt_tokens", "prompt_tokens"), ("estimated_cost_usd", "cost_usd"), ("estimated_s", "total_s")]
        {
            let found: f64 = row[column].parse().unwrap();
            assert!((found - mean(like)).abs() <= 0.1 + mean(like) * 1e-3, "{column} {found}, {}", mean(like));
        }
    }
    // Found by itself in the folder of results, and marked as an estimate; nothing is said where there is nothing.
    let none = program(dir, None, &plan).await;
    assert!(none.status.success() && !text(&none.stderr).contains("estimated"), "{}", text(&none.stderr));
    fs::create_dir(dir.join("results")).unwrap();
    fs::rename(&folder, dir.join("results").join(folder.file_name().unwrap())).unwrap();
    let found = program(dir, None, &plan).await;
    let said = text(&found.stderr);
    assert!(said.contains("estimated: about $") && said.contains("nothing is known of 1 trial; from quickstart-"), "{said}");
    let json = program(dir, None, &[&plan[..], &["--json"]].concat()).await;
    let lines: Vec<Value> = text(&json.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let estimated: Vec<&Value> = lines.iter().filter_map(|line| line.get("estimate")).collect();
    assert!(estimated.len() == 1 && estimated[0]["basis"] == "same model" && estimated[0]["trials"] == 2, "{estimated:?}");
    fs::rename(dir.join("results").join(folder.file_name().unwrap()), &folder).unwrap();
    let wrong = program(dir, None, &[&plan[..], &["--from", "nowhere"]].concat()).await;
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_spares_calls_and_a_run_without_anything_to_replay_is_refused() {
    let server = ModelServer::start(vec![playbook(GOOD)]).await.unwrap();
    let dir = folder(&server.base_url, "");
    for out in ["first", "second"] {
        let done = run(dir.path(), Some(KEY), &["--method", "sologen", "--out", out, "--cache", "kept"]).await;
        assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
        assert_eq!(server.asked().len(), 1, "the second run asks nothing new");
    }
    assert_eq!(timeless(&run_dir(&dir.path().join("second"))), timeless(&run_dir(&dir.path().join("first"))));
    let done = run(dir.path(), None, &["--replay", "nowhere"]).await;
    assert_eq!(done.status.code(), Some(2), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("--replay names the folder of a run"), "{}", text(&done.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_end_trials_and_runs_before_they_are_exceeded() {
    let server = ModelServer::start(vec![Act::tool_call("probe_system", &json!("{\"cmds\": \"true\"}"))]).await.unwrap();
    let dir = folder(&server.base_url, "price = { prompt = 1000.0, completion = 1000.0 }");
    // A call takes 150 tokens, and costs 15 cents.
    let args = ["--method", "thinkremed", "--repeats", "2"];
    let done = run(dir.path(), Some(KEY), &[&args[..], &["--out", "trial", "--set", "budgets.tokens_per_trial=1500"]].concat()).await;
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
    for row in rows(&run_dir(&dir.path().join("trial"))) {
        let used: u64 = row["prompt_tokens"].parse::<u64>().unwrap() + row["completion_tokens"].parse::<u64>().unwrap();
        assert!(row["outcome"] == "budget_exhausted" && (600..=1500).contains(&used), "{row:?}");
    }
    let done = run(dir.path(), Some(KEY), &[&args[..], &["--out", "run", "--set", "budgets.cost_total_usd=1.0"]].concat()).await;
    assert_eq!(done.status.code(), Some(1), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("cost_total_usd: $"), "{}", text(&done.stderr));
    let rows = rows(&run_dir(&dir.path().join("run")));
    let spent: f64 = rows.iter().filter_map(|row| row["cost_usd"].parse::<f64>().ok()).sum();
    assert!((0.3..=1.0).contains(&spent), "{rows:?}");
    assert_eq!(rows[0]["outcome"], "cancelled", "not scored: {rows:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_reads_other_processes_environments_shows_no_key() {
    let look = "for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ; done 2>/dev/null | grep STUB_KEY";
    let probe = Act::tool_call("probe_system", &json!(json!({ "cmds": look }).to_string()));
    let code = format!("- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.shell: |\n        {look}\n");
    let server = ModelServer::start(vec![probe, playbook(&code)]).await.unwrap();
    let dir = folder(&server.base_url, "");
    let done = run(dir.path(), Some(KEY), &["--method", "thinkremed", "--out", "out"]).await;
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
    let folder = run_dir(&dir.path().join("out"));
    for file in files(&folder) {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()), "{} holds the key", file.display());
    }
    assert!(server.asked().iter().all(|asked| !asked.body.to_string().contains(KEY)), "the model was shown the key");
}
