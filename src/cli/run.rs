//! `run` and `resume`: manifests to catalog, catalog to plan, plan to events, events to journal, journal to reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use camino::Utf8Path;
use clap::Parser as _;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::args::{Cli, Command, RunArgs};
use super::failure::{Code, Failure, chain};
use super::journal::Journal;
use super::places::{Global, absolute, variable};
use super::progress::Progress;
use super::replies::{self, Opened};
use super::work_folder::WorkFolder;
use super::{count, interrupt, load, plan as plan_command, print, report, sandbox, select, tell, tools};
use crate::ansible::sandbox::Confinement;
use crate::event::{Outcome, Record, ReferenceRole, RunStarted};
use crate::execute::{Amount, ClusterChoice, RunEnd, RunRequest};
use crate::ids::TrialId;
use crate::manifest::{Catalog, Root};
use crate::model::Secrets;
use crate::plan::Plan;
use crate::record::{Artifacts, Earlier, JournalWriter, RunDir, RunHead, RunState, read_journal};

/// Trials in a row that cannot be run before a run without `--keep-going` stops.
const GIVE_UP_AFTER: u32 = 5;

/// `run`.
pub(super) async fn run(global: &Global, args: RunArgs) -> Result<(), Failure> {
    let cancel = interrupt::token("trials in flight clean up");
    let catalog = load::catalog(global)?;
    // Everything that can be wrong with the question is found before anything is installed or written.
    let draft = select::plan(&catalog, &args.select, "")?;
    let confined = sandbox::confinement(&draft.experiment().sandbox, args.no_sandbox)?;
    let models = replies::open(&catalog, &draft, &args)?;
    let earlier = replies::earlier(&args)?;
    let (_, versions) = tools::ensure(global, &cancel).await?;
    let plan = select::plan(&catalog, &args.select, &plan_command::identity(&versions.map()))?;
    let saved = plan.experiment().runner.save_path.as_deref().unwrap_or("results");
    let out = args.out.as_deref().unwrap_or(Utf8Path::new(saved));
    let run_dir = RunDir::create(out, &plan.experiment().name, jiff::Timestamp::now())
        .map_err(|e| Failure::input(chain(&e)).help("--out names a folder that can be written to"))?;
    let text = serde_json::to_vec(plan.experiment()).map_err(|e| Failure::harness(e.to_string()))?;
    let head = RunHead {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        experiment: plan.experiment().name.clone(),
        experiment_digest: crate::manifest::source::hex(&Sha256::digest(&text)),
        command_line: command_line(global, &args)?,
        seed: plan.experiment().seed,
        tools: versions.map(),
    };
    run_dir.write_head(&head).map_err(|e| Failure::harness(chain(&e)))?;
    let writer = JournalWriter::create(&run_dir, Box::new(jiff::Timestamp::now)).map_err(|e| Failure::harness(chain(&e)))?;
    let state = RunState::default();
    Box::pin(go(global, Session { args, confined, catalog, plan, models, earlier, run_dir, writer, state, cancel, resumed: false })).await
}

/// What to say again to resume: the words of the command line, with paths that hold in any folder.
fn command_line(global: &Global, args: &RunArgs) -> Result<Vec<String>, Failure> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(root) = load::root(global)?.path() {
        words.extend(["--root".to_owned(), absolute(root)?.into_string()]);
    }
    if let Some(file) = &args.kubeconfig {
        words.extend(["--kubeconfig".to_owned(), absolute(Utf8Path::new(file))?.into_string()]);
    }
    for (word, path) in [("--replay", &args.replay), ("--cache", &args.cache)] {
        if let Some(path) = path {
            words.extend([word.to_owned(), absolute(path)?.into_string()]);
        }
    }
    Ok(words)
}

/// `resume`: the same command again, minus what the journal holds.
pub(super) async fn resume(global: &Global, dir: &Utf8Path, jobs: Option<usize>, keep_going: bool) -> Result<(), Failure> {
    let cancel = interrupt::token("trials in flight clean up");
    let help = "name the folder of a run: results/<experiment>-<time>";
    let run_dir = RunDir::open(dir).map_err(|e| Failure::input(chain(&e)).help(help))?;
    let head = run_dir.read_head().map_err(|e| Failure::input(chain(&e)).help(help))?;
    let words = std::iter::once("microremed".to_owned()).chain(head.command_line.clone());
    let first = Cli::try_parse_from(words)
        .map_err(|e| Failure::input(format!("{} holds a command line that cannot be read: {e}", run_dir.run_json())))?;
    let Command::Run(mut args) = first.command else {
        return Err(Failure::input(format!("{} was not written by `microremed run`", run_dir.run_json())));
    };
    args.jobs = jobs.or(args.jobs);
    args.keep_going |= keep_going;
    let root = global.root.clone().or(first.root);
    let global = Global { root, tools: global.tools.clone().or(first.tools), json: global.json };
    // A run on the built-in data stays on it, wherever it is resumed.
    let catalog = if global.root.is_some() { load::catalog(&global)? } else { load::checked(&global, &Root::built_in())? };
    let draft = select::plan(&catalog, &args.select, "")?;
    let confined = sandbox::confinement(&draft.experiment().sandbox, args.no_sandbox)?;
    let models = replies::open(&catalog, &draft, &args)?;
    let earlier = replies::earlier(&args)?;
    let (_, versions) = tools::ensure(&global, &cancel).await?;
    let plan = select::plan(&catalog, &args.select, &plan_command::identity(&versions.map()))?;
    let (writer, journal) = JournalWriter::open(&run_dir, Box::new(jiff::Timestamp::now)).map_err(|e| Failure::input(chain(&e)))?;
    let state = RunState::from_records(&journal.records);
    warn_of_changes(&plan, &state);
    Box::pin(go(&global, Session { args, confined, catalog, plan, models, earlier, run_dir, writer, state, cancel, resumed: true })).await
}

/// Everything that a run is made of.
struct Session {
    args: RunArgs,
    confined: (Option<Confinement>, String),
    catalog: Arc<Catalog>,
    plan: Arc<Plan>,
    models: Opened,
    earlier: Option<Earlier>,
    run_dir: RunDir,
    writer: JournalWriter,
    state: RunState,
    cancel: CancellationToken,
    resumed: bool,
}

async fn go(global: &Global, session: Session) -> Result<(), Failure> {
    let Session { args, confined, catalog, plan, models, earlier, run_dir, writer, state, cancel, resumed } = session;
    let (toolchain, versions) = tools::ensure(global, &cancel).await?;
    let settled: BTreeSet<TrialId> = plan.iter().map(|t| t.id).filter(|id| state.settled(id)).collect();
    let progress = Progress::start(plan.len(), settled.len() as u64, global.json);
    if !global.json {
        let again = if resumed { format!(", {} of them done", settled.len()) } else { String::new() };
        progress.say(&format!("{}: {}{again}, results in {}", plan.experiment().name, count(plan.len(), "trial"), run_dir.path()));
    }
    let cluster = match (&args.kubeconfig, &args.context) {
        (None, None) => ClusterChoice::Embedded,
        (file, context) => ClusterChoice::Kubeconfig { file: file.clone(), context: context.clone() },
    };
    let (sandbox, sandboxed) = confined;
    let head = RunStarted {
        sandbox: sandboxed,
        version: crate::event::JOURNAL_VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        experiment: plan.experiment().name.clone(),
        planned: plan.len(),
        tools: versions.map(),
        cluster: if matches!(cluster, ClusterChoice::Embedded) { "embedded".to_owned() } else { "kubeconfig".to_owned() },
        resumed,
        roles: roles(&catalog, &plan),
    };
    let work = WorkFolder::create()?;
    let models = replies::recorded(models, &catalog, &run_dir, earlier.as_ref(), work.path());
    let trials = (0..plan.len()).filter_map({
        let plan = Arc::clone(&plan);
        move |n| plan.get(n)
    });
    let secrets = Secrets::find(catalog.models.values(), &variable);
    let request = RunRequest {
        catalog,
        experiment: Arc::new(plan.experiment().clone()),
        trials: Box::new(trials),
        settled,
        head,
        cluster,
        jobs: args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
        toolchain,
        models,
        secrets,
        spent: amount(&state),
        give_up_after: (!args.keep_going).then_some(GIVE_UP_AFTER),
        program: std::env::current_exe().ok(),
        sandbox,
        work: work.path().to_owned(),
        cancel,
    };
    let sink = Journal { writer, artifacts: Artifacts::new(&run_dir), progress, json: global.json };
    let (end, sink) = crate::execute::run(request, sink).await;
    // The journal is closed before it is read.
    drop(sink);
    finish(global, &run_dir, &end)
}

/// Writes the reports and says how it went.
fn finish(global: &Global, run_dir: &RunDir, end: &RunEnd) -> Result<(), Failure> {
    if let Some(why) = &end.failed {
        let dir = run_dir.path();
        return Err(Failure::harness(why.clone()).help(format!("what was finished is kept; microremed resume {dir} goes on from there")));
    }
    let journal = read_journal(&run_dir.events()).map_err(|e| Failure::harness(chain(&e)))?;
    show_report(global, run_dir, &journal.records)?;
    if end.interrupted {
        return Err(Failure::new(Code::Interrupted, "interrupted").help(format!("microremed resume {} goes on from here", run_dir.path())));
    }
    if end.gave_up {
        return Err(Failure::harness(format!("stopped: {GIVE_UP_AFTER} trials in a row could not be run")).help(format!(
            "when the reason is mended, microremed resume {} goes on; with --keep-going it does whatever happens",
            run_dir.path()
        )));
    }
    if let Some(why) = &end.over_budget {
        return Err(Failure::harness(format!("stopped: the run's budget is used up: {why}"))
            .help(format!("raise it in the experiment, then microremed resume {} goes on", run_dir.path())));
    }
    let lost = end.outcomes.get(&Outcome::InfraError).copied().unwrap_or(0);
    if lost > 0 {
        return Err(Failure::harness(format!("{} could not be run", count(lost, "trial")))
            .help(format!("the reasons are in the table's last lines; microremed resume {} tries them again", run_dir.path())));
    }
    Ok(())
}

fn show_report(global: &Global, run_dir: &RunDir, records: &[Record]) -> Result<(), Failure> {
    crate::report::write_all(run_dir, records).map_err(|e| Failure::harness(chain(&e)))?;
    if global.json {
        return Ok(());
    }
    let results = crate::report::Results::from_records(records);
    print(&crate::report::terminal_table(&results, report::width(), console::colors_enabled()))?;
    tell(&format!("reports: {}", run_dir.report("summary.md")));
    Ok(())
}

/// What the run has spent so far, interrupted trials included.
fn amount(state: &RunState) -> Amount {
    let spent = state.spent();
    Amount { calls: spent.calls, tokens: spent.usage.prompt.saturating_add(spent.usage.completion), usd: spent.cost_usd }
}

fn roles(catalog: &Catalog, plan: &Plan) -> BTreeMap<String, ReferenceRole> {
    let names = &plan.experiment().matrix.model;
    names
        .iter()
        .filter_map(|n| {
            let role = match catalog.models.get(n)?.role? {
                crate::model::ReferenceRole::MustPass => ReferenceRole::MustPass,
                crate::model::ReferenceRole::MustFail => ReferenceRole::MustFail,
                crate::model::ReferenceRole::Floor => ReferenceRole::Floor,
            };
            Some((n.clone(), role))
        })
        .collect()
}

/// A trial whose inputs changed is another trial: says so when finished ones no longer belong to the plan.
fn warn_of_changes(plan: &Plan, state: &RunState) {
    let planned: BTreeSet<TrialId> = plan.iter().map(|t| t.id).collect();
    let strangers = state.finished.keys().filter(|id| !planned.contains(*id)).count();
    if strangers > 0 {
        tell(&format!(
            "finished and not in the plan any more: {}; a manifest, a tool or this program has changed since; the reports keep them",
            count(strangers as u64, "trial")
        ));
    }
}
