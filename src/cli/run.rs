//! `run` and `resume`: manifests to catalog, catalog to plan, plan to events, events to journal, journal to reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use camino::Utf8Path;
use clap::Parser as _;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::args::{Cli, Command, RunArgs, SelectArgs};
use super::failure::{Code, Failure, chain};
use super::journal::Journal;
use super::places::{Global, absolute, variable};
use super::progress::Progress;
use super::replies::{self, Opened};
use super::work_folder::WorkFolder;
use super::{ask, count, interrupt, load, plan as plan_command, print, report, sandbox, select, tell, tools};
use crate::ansible::sandbox::Confinement;
use crate::event::{CalibratedCell, Outcome, ReferenceRole, RunStarted};
use crate::execute::{Amount, Approver, ClusterChoice, Lease, Owed, RunEnd, RunRequest};
use crate::ids::TrialId;
use crate::manifest::{Catalog, Root};
use crate::model::{Provider, Secrets};
use crate::plan::Plan;
use crate::record::{Artifacts, Earlier, JournalWriter, RunDir, RunHead, RunState, Whole, read_state};

/// Trials in a row that cannot be run before a run without `--keep-going` stops.
const GIVE_UP_AFTER: u32 = 5;

/// `run`.
pub(super) async fn run(global: &Global, args: RunArgs) -> Result<(), Failure> {
    let words = std::env::args().skip(1).collect();
    Box::pin(begin(global, args, words)).await
}

/// The same with the words that are to be said again to resume it.
pub(super) async fn begin(global: &Global, args: RunArgs, words: Vec<String>) -> Result<(), Failure> {
    let cancel = interrupt::token("trials in flight clean up");
    let catalog = load::catalog(global)?;
    // Everything that can be wrong with the question is found before anything is installed or written.
    let draft = select::plan(&catalog, &args.select, "")?;
    can_hide(&draft, &args)?;
    can_deny(&draft, &args)?;
    let approver = ask::approver(draft.experiment().policy.ask)?;
    can_read(&args)?;
    let confined = sandbox::confinement(&draft.experiment().sandbox, args.no_sandbox, of_our_own(&catalog, &draft))?;
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
        command_line: command_line(global, &args, words)?,
        seed: plan.experiment().seed,
        tools: versions.map(),
        whole: whole(&catalog, &args, &versions.map())?,
    };
    run_dir.write_head(&head).map_err(|e| Failure::harness(chain(&e)))?;
    let writer = JournalWriter::create(&run_dir, Box::new(jiff::Timestamp::now)).map_err(|e| Failure::harness(chain(&e)))?;
    let state = RunState::default();
    Box::pin(go(
        global,
        Session { args, confined, catalog, plan, models, earlier, approver, run_dir, writer, state, cancel, resumed: false },
    ))
    .await
}

/// Whether all playbooks come from data files, none from a language model or another program.
fn of_our_own(catalog: &Catalog, plan: &Plan) -> bool {
    let models = &plan.experiment().matrix.model;
    models.iter().all(|name| catalog.models.get(name).is_some_and(|m| matches!(m.provider, Provider::Scripted(_))))
}

/// What a shard is a part of: the same plan without `--shard`.
fn whole(catalog: &Catalog, args: &RunArgs, versions: &BTreeMap<String, String>) -> Result<Option<Whole>, Failure> {
    if args.select.shard.is_none() {
        return Ok(None);
    }
    let plan = select::plan(catalog, &SelectArgs { shard: None, ..args.select.clone() }, &plan_command::identity(versions))?;
    let mut digest = Sha256::new();
    for trial in plan.iter() {
        digest.update(trial.id.0.as_bytes());
        digest.update(b"\n");
    }
    Ok(Some(Whole { trials: plan.len(), digest: crate::manifest::source::hex(&digest.finalize()) }))
}

/// What to say again to resume: the words of the command line, with paths that hold in any folder.
fn command_line(global: &Global, args: &RunArgs, mut words: Vec<String>) -> Result<Vec<String>, Failure> {
    if let Some(root) = load::root(global)?.path() {
        words.extend(["--root".to_owned(), absolute(root)?.into_string()]);
    }
    for (word, file) in [("--kubeconfig", &args.kubeconfig), ("--agent-kubeconfig", &args.agent_kubeconfig)] {
        if let Some(file) = file {
            words.extend([word.to_owned(), absolute(Utf8Path::new(file))?.into_string()]);
        }
    }
    for (word, path) in [("--replay", &args.replay), ("--cache", &args.cache), ("--calibration", &args.calibration)] {
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
    can_hide(&draft, &args)?;
    can_deny(&draft, &args)?;
    let approver = ask::approver(draft.experiment().policy.ask)?;
    can_read(&args)?;
    let confined = sandbox::confinement(&draft.experiment().sandbox, args.no_sandbox, of_our_own(&catalog, &draft))?;
    let models = replies::open(&catalog, &draft, &args)?;
    let earlier = replies::earlier(&args)?;
    let (_, versions) = tools::ensure(&global, &cancel).await?;
    let plan = select::plan(&catalog, &args.select, &plan_command::identity(&versions.map()))?;
    let (writer, state) = JournalWriter::open_folded(&run_dir, Box::new(jiff::Timestamp::now)).map_err(|e| Failure::input(chain(&e)))?;
    warn_of_changes(&plan, &state);
    Box::pin(go(
        &global,
        Session { args, confined, catalog, plan, models, earlier, approver, run_dir, writer, state, cancel, resumed: true },
    ))
    .await
}

/// Everything that a run is made of.
struct Session {
    args: RunArgs,
    confined: (Option<Confinement>, String),
    catalog: Arc<Catalog>,
    plan: Arc<Plan>,
    models: Opened,
    earlier: Option<Earlier>,
    approver: Option<Arc<dyn Approver>>,
    run_dir: RunDir,
    writer: JournalWriter,
    state: RunState,
    cancel: CancellationToken,
    resumed: bool,
}

async fn go(global: &Global, session: Session) -> Result<(), Failure> {
    let Session { args, confined, catalog, plan, models, earlier, approver, run_dir, writer, state, cancel, resumed } = session;
    let (toolchain, versions) = tools::ensure(global, &cancel).await?;
    let settled: BTreeSet<TrialId> = plan.iter().map(|t| t.id).filter(|id| state.settled(id)).collect();
    let progress = Progress::start(plan.len(), settled.len() as u64, global.json);
    if !global.json {
        let again = if resumed { format!(", {} of them done", settled.len()) } else { String::new() };
        progress.say(&format!("{}: {}{again}, results in {}", plan.experiment().name, count(plan.len(), "trial"), run_dir.path()));
    }
    let cluster = cluster_of(&args);
    if let ClusterChoice::Kubeconfig(all) = &cluster
        && args.jobs.is_some_and(|jobs| jobs > all.len())
    {
        progress.say("--jobs: no more trials run side by side than there are clusters; --context names further ones");
    }
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
        method_roles: method_roles(&catalog, &plan),
        axes: axes(&plan),
        calibration: earlier_calibration(&args, plan.experiment().calibration.as_deref())?,
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
        // As many as there are clusters: trials wait for theirs, not for this machine.
        jobs: args.jobs.unwrap_or_else(|| match &cluster {
            ClusterChoice::Embedded => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            ClusterChoice::Kubeconfig(all) => all.len(),
        }),
        cluster,
        owed: state.debts().into_iter().map(|d| Owed { trial: d.trial.clone(), debt: d.debt.clone(), undo: d.undo.clone() }).collect(),
        toolchain,
        models,
        secrets,
        spent: amount(&state),
        give_up_after: (!args.keep_going).then_some(GIVE_UP_AFTER),
        program: std::env::current_exe().ok(),
        approver,
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
    let (state, _) = read_state(&run_dir.events()).map_err(|e| Failure::harness(chain(&e)))?;
    show_report(global, run_dir, state)?;
    for one in &end.set_aside {
        tell(&format!("no further trials were run on {}: {}", one.context, one.why));
    }
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

fn show_report(global: &Global, run_dir: &RunDir, state: RunState) -> Result<(), Failure> {
    let results = crate::report::Results::from_states([state]);
    crate::report::write_results(run_dir, &results).map_err(|e| Failure::harness(chain(&e)))?;
    if global.json {
        return Ok(());
    }
    if results.method_roles.is_empty() {
        print(&crate::report::terminal_table(&results, report::width(), console::colors_enabled()))?;
    } else {
        print(&crate::report::calibration_page(&results))?;
    }
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
            let role = catalog.models.get(n)?.role?;
            Some((n.clone(), role_of(role)))
        })
        .collect()
}

fn cluster_of(args: &RunArgs) -> ClusterChoice {
    if args.kubeconfig.is_none() && args.context.is_empty() {
        return ClusterChoice::Embedded;
    }
    let contexts: Vec<Option<String>> = if args.context.is_empty() { vec![None] } else { args.context.iter().cloned().map(Some).collect() };
    let lease = |context| Lease { file: args.kubeconfig.clone(), context, agent: args.agent_kubeconfig.clone() };
    ClusterChoice::Kubeconfig(contexts.into_iter().map(lease).collect())
}

/// On somebody's own cluster the injector is hidden by rights, which the runner's kubeconfig does not lack.
fn can_hide(plan: &Plan, args: &RunArgs) -> Result<(), Failure> {
    let e = plan.experiment();
    let hides = e.matrix.sees_injector.contains(&false) || (e.matrix.sees_injector.is_empty() && !e.agent.sees_injector);
    let embedded = matches!(cluster_of(args), ClusterChoice::Embedded);
    if !hides && args.agent_kubeconfig.is_some() {
        return Err(Failure::input("--agent-kubeconfig is for trials whose injector is hidden, and there are none")
            .help("leave it out, or hide the injector: --set agent.sees_injector=false"));
    }
    if !hides || embedded || args.agent_kubeconfig.is_some() {
        return Ok(());
    }
    let help = "--agent-kubeconfig names one whose rights do not reach the injector; docs/judging.md says which";
    Err(Failure::input("the injector is to be hidden, and the agent would have the runner's rights").help(help))
}

/// What is denied is taken from roles, which an agent with a kubeconfig of its own does not get from us.
fn can_deny(plan: &Plan, args: &RunArgs) -> Result<(), Failure> {
    if plan.experiment().policy.deny_verbs.is_empty() || args.agent_kubeconfig.is_none() {
        return Ok(());
    }
    Err(Failure::input("policy.deny_verbs cannot be held where the agent has the rights of --agent-kubeconfig")
        .help("leave one of them out; without --agent-kubeconfig the agent gets an account of its own"))
}

/// A kubeconfig or context that is not there would fail every trial, one after the other; two trials in one namespace would
/// fail each other; one that nobody asks is a mistake.
fn can_read(args: &RunArgs) -> Result<(), Failure> {
    if args.agent_kubeconfig.is_some() && matches!(cluster_of(args), ClusterChoice::Embedded) {
        return Err(Failure::input("--agent-kubeconfig is for a cluster of your own, and the run is on the embedded one")
            .help("leave it out, or name the cluster by --kubeconfig or --context"));
    }
    for (word, file) in [("--kubeconfig", &args.kubeconfig), ("--agent-kubeconfig", &args.agent_kubeconfig)] {
        if let Some(file) = file {
            let _opened = fs_err::File::open(file)
                .map_err(|e| Failure::input(e.to_string()).help(format!("{word} names a file that can be read")))?;
        }
    }
    let mut servers = BTreeMap::new();
    for context in &args.context {
        let server = crate::cluster::server_of(args.kubeconfig.as_deref(), Some(context))
            .map_err(|e| Failure::input(chain(&e)).help("--context names a context of the kubeconfig"))?;
        if let Some(other) = servers.insert(server.clone(), context) {
            return Err(Failure::input(format!("the contexts {other:?} and {context:?} are of one cluster: {server}"))
                .help("trials side by side need a cluster each; a system has one namespace in it"));
        }
    }
    Ok(())
}

fn axes(plan: &Plan) -> BTreeMap<String, Vec<String>> {
    let m = &plan.experiment().matrix;
    let axes = [("system", &m.system), ("sequence", &m.sequence), ("method", &m.method), ("model", &m.model)];
    axes.into_iter().map(|(axis, names)| (axis.to_owned(), names.clone())).collect()
}

fn method_roles(catalog: &Catalog, plan: &Plan) -> BTreeMap<String, ReferenceRole> {
    let names = &plan.experiment().matrix.method;
    names.iter().filter_map(|n| Some((n.clone(), role_of(catalog.pipelines.get(n)?.role?)))).collect()
}

fn role_of(role: crate::model::ReferenceRole) -> ReferenceRole {
    match role {
        crate::model::ReferenceRole::MustPass => ReferenceRole::MustPass,
        crate::model::ReferenceRole::MustFail => ReferenceRole::MustFail,
        crate::model::ReferenceRole::Floor => ReferenceRole::Floor,
    }
}

/// What a calibration run has found, from its journal.
fn earlier_calibration(args: &RunArgs, of_experiment: Option<&str>) -> Result<Vec<CalibratedCell>, Failure> {
    let Some(dir) = args.calibration.as_deref().or(of_experiment.map(Utf8Path::new)) else { return Ok(Vec::new()) };
    let (_, state) = report::read_folded(dir)?;
    let cells = crate::report::calibrated_cells(&crate::report::Results::from_states([state]));
    if cells.is_empty() {
        let help = "microremed calibrate makes one; any run with reference models will do";
        return Err(Failure::input(format!("the run in {dir} says nothing about its cells")).help(help));
    }
    Ok(cells)
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
