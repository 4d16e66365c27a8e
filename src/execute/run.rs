//! The run: as many trials side by side as there are slots, and a clean end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::approve::Approver;
use super::debts::{self, Owed};
use super::dispatcher::Events;
use super::leases::{Lease, Leases, Place, SetAside};
use super::slots::{Slot, Slots};
use super::spending::{Amount, Spending};
use super::stop::Stop;
use super::trial::{Parts, Trial};
use crate::ansible::sandbox::Confinement;
use crate::ansible::{Machine, Network, OutputCap, Proxy, Serve, Toolchain, Warm, Workspace, WorkspaceSpec, relay};
use crate::cluster::{Cluster, Target, connect};
use crate::event::{Event, Outcome, RunStarted, Sink, TrialFinished};
use crate::ids::TrialId;
use crate::manifest::{Catalog, ExperimentManifest};
use crate::model::{ChatModel, Secrets, Usage};
use crate::plan::{TrialInputs, TrialSpec};

/// Where trials run.
#[derive(Debug, Clone)]
pub enum ClusterChoice {
    /// Each trial on an embedded cluster of its own.
    Embedded,
    /// On clusters of a kubeconfig, one trial at a time on each: a system has one namespace there.
    Kubeconfig(Vec<Lease>),
}

/// Everything a run needs.
pub struct RunRequest {
    /// Manifests.
    pub catalog: Arc<Catalog>,
    /// The experiment.
    pub experiment: Arc<ExperimentManifest>,
    /// Trials in order, and how many.
    pub trials: Box<dyn Iterator<Item = TrialSpec> + Send>,
    /// Trials that an earlier run has settled.
    pub settled: BTreeSet<TrialId>,
    /// The head of the journal.
    pub head: RunStarted,
    /// Where the cluster is.
    pub cluster: ClusterChoice,
    /// What interrupted trials of the same run still owe, in the order in which to pay it.
    pub owed: Vec<Owed>,
    /// Trials side by side, at least 1.
    pub jobs: usize,
    /// Ansible and kubectl.
    pub toolchain: Toolchain,
    /// Opened models, by name.
    pub models: BTreeMap<String, Arc<dyn ChatModel>>,
    /// Keys that nothing a child prints may show.
    pub secrets: Secrets,
    /// What an earlier start of the same run has spent.
    pub spent: Amount,
    /// Trials in a row that end as `infra_error` before no more are begun; none: all are tried.
    pub give_up_after: Option<u32>,
    /// This program, which stands in for `sleep`, `timeout` and `kubectl` in children; none: it cannot be found.
    pub program: Option<std::path::PathBuf>,
    /// Who says whether a playbook may run; none: nobody is asked, and an experiment that wants it runs none.
    pub approver: Option<Arc<dyn Approver>>,
    /// What children are confined by; none: the user wants it so.
    pub sandbox: Option<Confinement>,
    /// Folder for the private folders of the trials.
    pub work: camino::Utf8PathBuf,
    /// Interrupts the run: trials in flight clean up and end as `cancelled`.
    pub cancel: CancellationToken,
}

/// How a run ended.
#[derive(Debug, Clone, Default)]
pub struct RunEnd {
    /// Trials that ended, by outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// It was interrupted.
    pub interrupted: bool,
    /// Too many trials in a row could not be run.
    pub gave_up: bool,
    /// A budget of the run was used up; the text says which.
    pub over_budget: Option<String>,
    /// Clusters that no further trials were run on.
    pub set_aside: Vec<SetAside>,
    /// The journal failed, or what an interrupted trial left cannot be taken back; the text says how.
    pub failed: Option<String>,
}

/// What all trials share.
pub(super) struct Shared {
    pub(super) toolchain: Toolchain,
    pub(super) cancel: CancellationToken,
    pub(super) charge_model: bool,
    pub(super) spending: Spending,
    pub(super) secrets: Secrets,
    pub(super) program: Option<std::path::PathBuf>,
    pub(super) approver: Option<Arc<dyn Approver>>,
    pub(super) sandbox: Option<Confinement>,
    pub(super) warm: Option<Warm>,
    pub(super) machine: Option<Machine>,
    pub(super) proxy: Option<Arc<Proxy>>,
    pub(super) slots: Slots,
}

/// The inventory's group for the machine that runs playbooks; the published benchmark's name for it.
const CONTROL_PLANE: &str = "k3s_control_plane";

/// Runs the trials and reports each event to `sink`, which is given back.
pub async fn run<S: Sink + 'static>(request: RunRequest, sink: S) -> (RunEnd, Option<S>) {
    let (events, dispatcher) = Events::start(sink);
    let mut end = RunEnd::default();
    let result = drive(request, &events, &mut end).await;
    let how = match (&result, end.interrupted) {
        (Err(_), _) => "failed",
        (Ok(()), false) if end.gave_up => "failed",
        (Ok(()), true) => "interrupted",
        (Ok(()), false) if end.over_budget.is_some() => "interrupted",
        (Ok(()), false) => "done",
    };
    if let Err(e) = result.and(events.send(Event::RunFinished { how: how.to_owned() }).await) {
        end.failed = Some(e.to_string());
    }
    drop(events);
    (end, dispatcher.await.ok())
}

async fn drive(request: RunRequest, events: &Events, end: &mut RunEnd) -> Result<(), Stop> {
    let RunRequest {
        catalog,
        experiment,
        mut trials,
        settled,
        head,
        cluster,
        owed,
        jobs,
        toolchain,
        models,
        secrets,
        spent,
        give_up_after,
        program,
        approver,
        sandbox,
        work,
        cancel,
    } = request;
    events.send(Event::RunStarted(head)).await?;
    let simulated = matches!(cluster, ClusterChoice::Embedded);
    let warmed = experiment.sandbox.warm && sandbox.as_ref().is_some_and(|c| c.layers.namespaces);
    let proxy = match experiment.sandbox.named_hosts() {
        Ok(hosts) if hosts.is_empty() || sandbox.is_none() => None,
        Ok(hosts) => {
            Some(Arc::new(Proxy::start(hosts).await.map_err(|e| Stop::Infra(format!("failed to start the proxy for sandbox.hosts: {e}")))?))
        }
        Err(error) => return Err(Stop::Infra(format!("sandbox.hosts: {error}"))),
    };
    let warm = warmed.then(|| Warm::begin(toolchain.clone(), simulated, work.as_std_path().to_owned()));
    let machine = warm
        .clone()
        .zip(sandbox.clone())
        .map(|(warm, sandbox)| Machine::begin(toolchain.clone(), warm, sandbox, work.as_std_path().to_owned(), cancel.clone()));
    let shared = Arc::new(Shared {
        proxy,
        warm,
        machine,
        slots: Slots::new(simulated && experiment.time.clock == "skip"),
        toolchain,
        cancel: cancel.clone(),
        charge_model: experiment.time.model == "charged",
        spending: Spending::new(&experiment.budgets, spent)?,
        secrets,
        program,
        approver,
        sandbox,
    });
    let mut leases = match &cluster {
        ClusterChoice::Embedded => Leases::embedded(jobs),
        ClusterChoice::Kubeconfig(all) => Leases::kubeconfig(all, jobs),
    };
    let every: Vec<Place> = match cluster {
        ClusterChoice::Embedded => vec![Place::Embedded],
        ClusterChoice::Kubeconfig(all) => all.into_iter().map(Place::Leased).collect(),
    };
    tokio::select! {
        paid = debts::pay(owed, &every, events) => paid?,
        // What is not paid stays in the journal.
        () = cancel.cancelled() => {
            end.interrupted = true;
            return Ok(());
        }
    }
    let mut running: JoinSet<(Place, Result<Ran, Stop>)> = JoinSet::new();
    let (mut more, mut in_a_row) = (true, 0_u32);
    // Those whose cluster was not there.
    let mut again = VecDeque::new();
    loop {
        if more && let Some(why) = shared.spending.over() {
            more = false;
            end.over_budget = (!again.is_empty() || trials.any(|t| !settled.contains(&t.id))).then_some(why);
        }
        while more && !cancel.is_cancelled() {
            let Some(place) = leases.take() else { break };
            let Some(spec) = again.pop_front().or_else(|| trials.find(|t| !settled.contains(&t.id))) else {
                leases.give_back(place);
                more = !running.is_empty() && leases.can_spare();
                break;
            };
            let start = Start {
                shared: Arc::clone(&shared),
                catalog: Arc::clone(&catalog),
                experiment: Arc::clone(&experiment),
                model: models.get(&spec.model).cloned(),
                place: place.clone(),
                can_spare: leases.can_spare(),
                work: work.clone(),
                events: events.clone(),
                spec,
            };
            running.spawn(async move { (place, Box::pin(start.run()).await) });
        }
        match running.join_next().await {
            None => break,
            Some(Ok((place, Ok(Ran::Nowhere(spec, why))))) => {
                again.push_back(*spec);
                if leases.can_spare() {
                    tell(&leases.set_aside(&place, why));
                } else {
                    leases.give_back(place);
                }
            }
            Some(Ok((place, Ok(Ran::Finished(finished, clean))))) => {
                // An embedded cluster ends with its trial.
                if clean || place == Place::Embedded || !leases.can_spare() {
                    leases.give_back(place);
                } else {
                    tell(&leases.set_aside(&place, finished.error.clone()));
                }
                *end.outcomes.entry(finished.outcome).or_default() += 1;
                in_a_row = if finished.outcome == Outcome::InfraError { in_a_row + 1 } else { 0 };
                if more && give_up_after.is_some_and(|limit| in_a_row >= limit) {
                    (more, end.gave_up) = (false, true);
                }
            }
            Some(Ok((_, Err(stop)))) => {
                cancel.cancel();
                while running.join_next().await.is_some() {}
                return Err(stop);
            }
            Some(Err(panic)) => {
                cancel.cancel();
                while running.join_next().await.is_some() {}
                return Err(Stop::Infra(format!("a trial ended by a bug of this program: {panic}")));
            }
        }
    }
    end.set_aside = leases.all_set_aside();
    end.interrupted = cancel.is_cancelled();
    if end.over_budget.is_none() {
        end.over_budget = shared.spending.refused();
    }
    Ok(())
}

/// What became of a trial that was started.
enum Ran {
    /// It ended. Whether the cluster is as it was.
    Finished(Box<TrialFinished>, bool),
    /// It was not begun: its cluster cannot be used, the text says why, and there are others.
    Nowhere(Box<TrialSpec>, String),
}

fn tell(one: &SetAside) {
    tracing::warn!(context = %one.context, "no further trials on this cluster: {}", one.why);
}

/// What one trial is started with.
struct Start {
    shared: Arc<Shared>,
    catalog: Arc<Catalog>,
    experiment: Arc<ExperimentManifest>,
    model: Option<Arc<dyn ChatModel>>,
    place: Place,
    /// Whether there are other places.
    can_spare: bool,
    work: camino::Utf8PathBuf,
    events: Events,
    spec: TrialSpec,
}

impl Start {
    async fn run(self) -> Result<Ran, Stop> {
        if let Place::Leased(lease) = &self.place
            && self.can_spare
            && let Some(why) = lease.trouble().await
        {
            return Ok(Ran::Nowhere(Box::new(self.spec), why));
        }
        self.events.send(Event::TrialStarted(self.spec.clone())).await?;
        let (spec, events) = (self.spec.clone(), self.events.clone());
        let folder = self.work.join(&spec.id.0);
        let (slots, cancel) = (self.shared.slots.clone(), self.shared.cancel.clone());
        let slot = tokio::select! {
            slot = slots.take() => Ok(slot),
            () = cancel.cancelled() => Err(Stop::Cancelled),
        };
        let begun = tokio::time::Instant::now();
        let prepared = match slot {
            Ok(slot) => self.prepare(&folder, slot).await,
            Err(stop) => Err(stop),
        };
        let result = match prepared {
            Ok((trial, cluster)) => {
                let result = trial.run().await;
                cluster.close().await;
                result.map(|(finished, clean)| Ran::Finished(Box::new(finished), clean))
            }
            Err(Stop::Journal(e)) => Err(Stop::Journal(e)),
            Err(stop) => {
                let finished = never_began(spec, &stop, begun.elapsed().as_secs_f64());
                events.send(Event::TrialFinished(Box::new(finished.clone()))).await?;
                Ok(Ran::Finished(Box::new(finished), true))
            }
        };
        // What is left of a private folder is rubbish; that it cannot be removed changes no result.
        let _removed = fs_err::remove_dir_all(&folder);
        result
    }

    async fn prepare(self, folder: &camino::Utf8Path, slot: Slot) -> Result<(Trial, Arc<crate::cluster::Cluster>), Stop> {
        let model = self.model.ok_or_else(|| Stop::Infra(format!("the model {:?} was not opened", self.spec.model)))?;
        let inputs = TrialInputs::resolve(&self.catalog, &self.spec, &self.experiment).map_err(|e| Stop::Infra(e.to_string()))?;
        let target = match self.place {
            Place::Embedded => {
                let mut config = super::embedded::of_system(&inputs.system, &inputs.time, self.spec.seed).map_err(Stop::Infra)?;
                if !inputs.sees_injector() {
                    crate::cluster::hide_injector(&mut config);
                }
                if inputs.agent.roles().is_some() {
                    crate::cluster::confine_agent(&mut config);
                }
                Target::Embedded(Box::new(config))
            }
            Place::Leased(lease) => {
                // Without rights of its own the agent has the runner's, which see everything.
                if !inputs.sees_injector() && lease.agent.is_none() {
                    return Err(Stop::Infra("the injector can be hidden only with a kubeconfig for the agent".to_owned()));
                }
                let agent = lease.agent.clone().filter(|_| !inputs.sees_injector());
                let account = agent.is_none() && inputs.agent.roles().is_some();
                Lease { agent, ..lease }.target(account)
            }
        };
        let cluster = Arc::new(connect(&target).await?);
        fs_err::create_dir_all(folder).map_err(|e| Stop::Infra(e.to_string()))?;
        let spec = WorkspaceSpec {
            folder: folder.as_std_path().to_owned(),
            kubeconfig: cluster.agent_kubeconfig().to_owned(),
            group: CONTROL_PLANE.to_owned(),
            shim_program: self.shared.program.clone(),
            sandbox: self.shared.sandbox.clone(),
            cap: OutputCap::default(),
            warm: self.shared.warm.clone(),
            machine: self.shared.machine.clone(),
            network: Network { proxy: self.shared.proxy.clone(), ..network_of(&cluster) },
        };
        let workspace =
            Workspace::create(spec, &self.shared.toolchain).map_err(|e| Stop::Infra(format!("failed to make the trial's folder: {e}")))?;
        let parts = Parts {
            shared: self.shared,
            spec: self.spec,
            inputs,
            model,
            cluster: Arc::clone(&cluster),
            workspace,
            events: self.events,
            slot,
        };
        Ok((Trial::new(parts), cluster))
    }
}

/// What playbooks and probes reach: the cluster, from its first node, which is where the published benchmark runs them.
fn network_of(cluster: &Cluster) -> Network {
    let Some(inside) = cluster.inside().cloned() else { return Network::default() };
    let address = inside.node_address;
    let serve: Serve =
        Arc::new(move |address, listener| if inside.has(address) { inside.open(address, listener) } else { relay(address, listener) });
    Network { address, serve, proxy: None }
}

fn never_began(spec: TrialSpec, stop: &Stop, total_s: f64) -> TrialFinished {
    let (outcome, error) = match stop {
        Stop::Cancelled => (Outcome::Cancelled, String::new()),
        other => (Outcome::InfraError, other.to_string()),
    };
    TrialFinished {
        spec,
        category: String::new(),
        outcome,
        compat: None,
        strict: None,
        strategy: String::new(),
        attempts: 0,
        probes: 0,
        usage: Usage::default(),
        cost_usd: None,
        model_s: 0.0,
        playbook_s: 0.0,
        remediation_s: 0.0,
        total_s,
        downtime_s: None,
        failed_requests: None,
        collateral: Vec::new(),
        stages_ms: Vec::new(),
        overhead_ms: total_s * 1000.0,
        error,
    }
}
