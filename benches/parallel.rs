//! Whether trials that wait for a model wait side by side: trials at once against a server that takes its time for each
//! answer, and how much longer they take than they must.
//!
//! `cargo bench --bench parallel [-- TRIALS]`. Two things are measured in the same sitting, so that a busy machine slows all of
//! it down: what all trials take when answers come at once, with as many side by side as there are cores, and the processor
//! time of that (`/proc/stat`, of everything that runs: the machine must be quiet). Where all trials wait at the same time there
//! is nothing to compute meanwhile, and each playbook comes after its trial's last answer. The ideal is therefore the answers of
//! one trial, and then all processor time spread evenly over the cores.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use serde_json::json;

#[path = "support/measured.rs"]
mod measured;

use measured::{Problem, report};

const TRIALS: u32 = 64;
/// How long the model takes for an answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Answers that a trial asks for.
const CALLS: [u32; 3] = [1, 5, 20];

const METHOD: &str = r#"
name = "patient-CALLS"
description = "Asks several times, then runs a playbook that does nothing"

[[steps]]
say = { role = "user", prompt = "patient/ask" }

[[steps]]
[steps.repeat]
max = "CALLS"
steps = [{ ask = { tools = ["print_playbook"], tool_choice = "required" } }, { say = { role = "tool", prompt = "patient/again" } }]

[[steps]]
playbook = { code = "reply.arguments.code", timeout = "300s" }
"#;

const EXPERIMENT: &str = r#"
name = "parallel"
[matrix]
system = ["simple-micro"]
sequence = ["parallel"]
method = ["patient-1", "patient-5", "patient-20"]
model = ["stub"]
"#;

#[derive(Debug, Default)]
struct Seen {
    /// Whether answers take their time.
    slow: AtomicBool,
    now: AtomicUsize,
    peak: AtomicUsize,
}

async fn answer(State(seen): State<Arc<Seen>>) -> String {
    let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
    seen.peak.fetch_max(now, Ordering::SeqCst);
    if seen.slow.load(Ordering::SeqCst) {
        tokio::time::sleep(ANSWER).await;
    }
    seen.now.fetch_sub(1, Ordering::SeqCst);
    let code = "- hosts: localhost\n  gather_facts: false\n  tasks: [{ debug: { msg: nothing } }]\n";
    let call = json!({ "id": "c", "type": "function", "function": { "name": "print_playbook", "arguments": json!({ "code": code }).to_string() } });
    let choice =
        json!({ "index": 0, "message": { "role": "assistant", "content": null, "tool_calls": [call] }, "finish_reason": "tool_calls" });
    json!({ "choices": [choice], "usage": { "prompt_tokens": 10, "completion_tokens": 10 } }).to_string()
}

/// A server and its address.
async fn serve() -> Result<(Arc<Seen>, String), Problem> {
    let seen = Arc::new(Seen::default());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = format!("http://{}/v1", listener.local_addr()?);
    let router = Router::new().fallback(answer).with_state(Arc::clone(&seen));
    tokio::spawn(async move { drop(axum::serve(listener, router).await) });
    Ok((seen, address))
}

fn write_root(root: &Path, address: &str) -> Result<(), Problem> {
    let model = format!("name = \"stub\"\n[provider.openai]\nbase_url = \"{address}\"\nmodel = \"stub\"\n");
    let mut files = vec![
        ("systems/.keep".to_owned(), String::new()),
        ("faults/.keep".to_owned(), String::new()),
        ("models/stub.toml".to_owned(), model),
        ("experiments/parallel.toml".to_owned(), EXPERIMENT.to_owned()),
        ("experiments/sequences/parallel.toml".to_owned(), "name = \"parallel\"\nfaults = [\"pod-config-error\"]\n".to_owned()),
        ("prompts/patient/ask.md.j2".to_owned(), "Hand in a playbook.".to_owned()),
        ("prompts/patient/again.md.j2".to_owned(), "Once more.".to_owned()),
    ];
    for calls in CALLS {
        files.push((format!("pipelines/patient-{calls}.toml"), METHOD.replace("CALLS", &calls.to_string())));
    }
    for (file, text) in files {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(root))?;
        std::fs::write(path, text)?;
    }
    Ok(())
}

/// Seconds for which the processors of this machine have been busy since it started, over all of them.
fn busy() -> Result<f64, Problem> {
    /// Of the kernel's user interface, on every architecture that it still has.
    const TICKS_A_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/stat")?;
    let fields: Vec<f64> = text.lines().next().unwrap_or_default().split_whitespace().skip(1).map_while(|f| f.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq; what others took from a virtual machine is not ours.
    let ours = [0, 1, 2, 5, 6].iter().filter_map(|i| fields.get(*i)).sum::<f64>();
    Ok(ours / TICKS_A_SECOND)
}

/// Seconds that the trials take with so many answers each, so many side by side (none: as many as there are cores).
async fn run(root: &Path, trials: u32, calls: u32, jobs: Option<u32>) -> Result<f64, Problem> {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_microremed"));
    command
        .args(["run", "parallel", "--root", ".", "--repeats", &trials.to_string(), "--method", &format!("patient-{calls}")])
        .args(jobs.map(|jobs| format!("--jobs={jobs}")))
        .current_dir(root)
        .env("MICROREMED_TOOLS", Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status().await?;
    if !status.success() {
        return Err(format!("the run ended with {status}").into());
    }
    Ok(begun.elapsed().as_secs_f64())
}

async fn compare(trials: u32) -> Result<String, Problem> {
    let (seen, address) = serve().await?;
    let root = tempfile::tempdir()?;
    write_root(root.path(), &address)?;
    let mut text = format!("{trials} trials at once, {} s an answer\n\n", ANSWER.as_secs());
    writeln!(text, "answers a trial  together s  computing s  busy s  wall s  wall / longer  wall / ideal  most at a time")?;
    let cores = std::thread::available_parallelism()?.get();
    for calls in CALLS {
        seen.slow.store(false, Ordering::SeqCst);
        let before = busy()?;
        let computing = run(root.path(), trials, calls, None).await?;
        let busy = busy()? - before;
        seen.slow.store(true, Ordering::SeqCst);
        seen.peak.store(0, Ordering::SeqCst);
        let wall = run(root.path(), trials, calls, Some(trials)).await?;
        let together = ANSWER.as_secs_f64() * f64::from(calls);
        let ideal = together + busy / f64::from(u32::try_from(cores)?);
        let (longer, of_ideal) = (wall / together.max(computing), wall / ideal);
        let peak = seen.peak.load(Ordering::SeqCst);
        writeln!(
            text,
            "{calls:>15}  {together:>10.1}  {computing:>11.1}  {busy:>6.1}  {wall:>6.1}  {longer:>13.2}  {of_ideal:>12.2}  {peak:>14}"
        )?;
    }
    Ok(text)
}

fn measure(trials: u32) -> Result<String, Problem> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(compare(trials))
}

fn main() -> ExitCode {
    report(TRIALS, measure)
}
