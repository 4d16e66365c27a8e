//! Everything that one trial needs, resolved: manifests with their overrides merged, and what renders from them.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::TrialSpec;
use crate::manifest::catalog::prompt_path;
use crate::manifest::system::Service;
use crate::manifest::{
    Agent, Budgets, Catalog, CheckSet, ExperimentManifest, FaultManifest, Inject, PipelineManifest, PolicySection, SystemManifest,
    TRIAL_PIPELINE, TimeSection,
};
use crate::model::ModelSpec;
use crate::template::{self, TemplateError};

/// Why the inputs of a trial could not be had.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// A manifest or a file is not in the catalog.
    #[error("there is no {0}")]
    Missing(String),
    /// A template failed.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A template yields something that is no YAML.
    #[error("{file} yields no valid YAML: {message}")]
    Yaml {
        /// The template.
        file: String,
        /// What is wrong.
        message: String,
    },
}

/// A rendered injection.
#[derive(Debug, Clone, PartialEq)]
pub enum Injection {
    /// Objects to create.
    Objects(Vec<Value>),
    /// A patch of an existing object of the namespace.
    Patch {
        /// API version.
        api_version: String,
        /// Kind.
        kind: String,
        /// Name; none: every object of that kind.
        name: Option<String>,
        /// `strategic`, `merge` or `json`.
        patch_type: String,
        /// The patch.
        patch: Value,
    },
    /// Pods to delete: a label selector.
    Evict(String),
}

/// What the executor needs for a trial.
#[derive(Debug, Clone)]
pub struct TrialInputs {
    /// The trial.
    pub spec: TrialSpec,
    /// Its system.
    pub system: SystemManifest,
    /// The service it hits.
    pub service: Service,
    /// Its fault, parameters merged.
    pub fault: FaultManifest,
    /// Its method: options merged, the trial pipeline's tools inherited.
    pub method: PipelineManifest,
    /// The pipeline around it.
    pub trial: PipelineManifest,
    /// Its model.
    pub model: ModelSpec,
    /// Its bounds.
    pub budgets: Budgets,
    /// How time passes.
    pub time: TimeSection,
    /// What playbooks may ask for.
    pub policy: PolicySection,
    /// What playbooks may see and do.
    pub agent: Agent,
    /// The fault's check sets, those of the trial pipeline merged in.
    pub checks: IndexMap<String, CheckSet>,
    files: std::collections::BTreeMap<String, Arc<str>>,
}

/// A system in the namespace that an experiment gives it.
pub(super) fn with_namespace(system: &SystemManifest, experiment: &ExperimentManifest) -> SystemManifest {
    let mut system = system.clone();
    if let Some(namespace) = experiment.runner.namespace.get(&system.name) {
        system.namespace.clone_from(namespace);
    }
    system
}

/// A fault with an experiment's parameters and times.
pub(super) fn with_params(fault: &FaultManifest, experiment: &ExperimentManifest) -> FaultManifest {
    let mut fault = fault.clone();
    if let Some(seconds) = experiment.runner.wait_interval {
        fault.confirm.poll = format!("{seconds}s");
    }
    if let Some(seconds) = experiment.runner.injection_timeout {
        fault.confirm.timeout = format!("{seconds}s");
    }
    for (key, value) in experiment.params.get(&fault.name).into_iter().flatten() {
        fault.params.insert(key.clone(), value.clone());
    }
    fault
}

/// A pipeline with an experiment's options.
pub(super) fn with_options(pipeline: &PipelineManifest, experiment: &ExperimentManifest) -> PipelineManifest {
    let mut pipeline = pipeline.clone();
    if let Some(strict) = experiment.runner.enable_strict_restart {
        for step in &mut pipeline.steps {
            if let crate::manifest::Step::Healthy(healthy) = step {
                healthy.redeploys = u32::from(strict);
            }
        }
    }
    for (key, value) in experiment.options.get(&pipeline.name).into_iter().flatten() {
        pipeline.options.insert(key.clone(), value.clone());
    }
    pipeline
}

impl TrialInputs {
    /// Whether playbooks and probes see the injector. The reference that must pass always does: its repair removes it.
    pub fn sees_injector(&self) -> bool {
        self.spec.sees_injector || self.model.role == Some(crate::model::ReferenceRole::MustPass)
    }

    /// Resolves a trial. The experiment is the plan's ([`super::Plan::experiment`]).
    pub fn resolve(catalog: &Catalog, spec: &TrialSpec, experiment: &ExperimentManifest) -> Result<Self, InputsError> {
        let missing = |kind: &str, name: &str| InputsError::Missing(format!("{kind} `{name}`"));
        let system = catalog.systems.get(&spec.system).ok_or_else(|| missing("system", &spec.system))?;
        let service = system.service(&spec.target).ok_or_else(|| missing("service", &spec.target))?;
        let fault = catalog.faults.get(&spec.fault).ok_or_else(|| missing("fault", &spec.fault))?;
        let method = catalog.pipelines.get(&spec.method).ok_or_else(|| missing("method", &spec.method))?;
        let trial = catalog.pipelines.get(TRIAL_PIPELINE).ok_or_else(|| missing("pipeline", TRIAL_PIPELINE))?;
        let model = catalog.models.get(&spec.model).ok_or_else(|| missing("model", &spec.model))?;
        let mut fault = with_params(fault, experiment);
        for (key, value) in &spec.params {
            fault.params.insert(key.clone(), value.clone());
        }
        let trial = with_options(trial, experiment);
        let mut method = with_options(method, experiment);
        method.correction = method.correction.or_else(|| trial.correction.clone());
        for (name, tool) in &trial.tools {
            method.tools.entry(name.clone()).or_insert_with(|| tool.clone());
        }
        let mut checks = fault.checks.clone();
        for (name, common) in trial.checks.iter().chain(&method.checks) {
            if let Some(set) = checks.get_mut(name) {
                for stage in &mut set.stages {
                    stage.all.extend(common.iter().cloned());
                }
            }
        }
        Ok(Self {
            spec: spec.clone(),
            system: with_namespace(system, experiment),
            service: service.clone(),
            fault,
            method,
            trial,
            model: model.clone(),
            budgets: experiment.budgets.clone(),
            time: experiment.time.clone(),
            policy: experiment.policy.clone(),
            agent: experiment.agent.clone(),
            checks,
            files: catalog.files.iter().map(|(path, file)| (path.clone(), Arc::clone(&file.text))).collect(),
        })
    }

    /// What every template and expression of the trial sees; the executor adds `inventory`, `playbook_command`, `tools`
    /// and the state of the conversation.
    pub fn context(&self) -> Value {
        let mut context = self.system.context();
        let own = json!({
            "trial": { "id": self.spec.id, "seed": self.spec.seed, "repeat": self.spec.repeat, "index": self.spec.index },
            "fault": { "name": self.fault.name, "title": self.fault.title, "category": self.fault.category },
            "params": self.fault.params,
            "target": self.spec.target,
            "service": self.service,
            "container": self.service.main_container(),
            "options": self.method.options,
            "state": self.method.state,
            "budgets": self.budgets,
        });
        if let (Value::Object(all), Value::Object(own)) = (&mut context, own) {
            all.extend(own);
        }
        context
    }

    fn file(&self, path: &str) -> Result<&str, InputsError> {
        self.files.get(path).map(|t| &**t).ok_or_else(|| InputsError::Missing(format!("file {path}")))
    }

    fn documents(&self, path: &str, context: &Value) -> Result<Vec<Value>, InputsError> {
        let text = template::render(path, self.file(path)?, context)?;
        yaml_documents(path, &text)
    }

    /// The system's objects, in order.
    pub fn render_system_manifests(&self) -> Result<Vec<Value>, InputsError> {
        let context = self.system.context();
        let mut objects = Vec::new();
        for manifest in &self.system.deploy.manifests {
            objects.extend(self.documents(&format!("systems/{}/{manifest}", self.system.name), &context)?);
        }
        Ok(objects)
    }

    /// What injects the fault, in order.
    pub fn render_injection(&self) -> Result<Vec<Injection>, InputsError> {
        self.fault.inject.parts().into_iter().map(|part| self.render_part(part)).collect()
    }

    fn render_part(&self, part: &Inject) -> Result<Injection, InputsError> {
        let context = self.context();
        match part {
            Inject::Apply(apply) => Ok(Injection::Objects(self.documents(&format!("faults/{}", apply.template), &context)?)),
            Inject::Patch(patch) => {
                let path = format!("faults/{}", patch.template);
                let one = self.documents(&path, &context)?.pop();
                let name = patch.name.as_ref().map(|n| template::render(&format!("{path} (name)"), n, &context)).transpose()?;
                Ok(Injection::Patch {
                    api_version: patch.api_version.clone(),
                    kind: template::render(&format!("{path} (kind)"), &patch.kind, &context)?,
                    name,
                    patch_type: patch.patch_type.clone(),
                    patch: one.ok_or_else(|| InputsError::Yaml { file: path, message: "it is empty".to_owned() })?,
                })
            }
            Inject::Evict(evict) => Ok(Injection::Evict(template::render("evict.selector", &evict.selector, &context)?)),
            // `parts` has taken these apart.
            Inject::All(_) => Ok(Injection::Objects(Vec::new())),
        }
    }

    /// The roles that bound what playbooks and probes may do in the cluster; none: they may do what the runner may.
    pub fn render_rights(&self) -> Result<Option<Vec<Value>>, InputsError> {
        let Some(path) = self.agent.roles() else { return Ok(None) };
        let mut context = self.system.context();
        context["sees_injector"] = self.sees_injector().into();
        self.documents(&path, &context).map(Some)
    }

    /// The reference repair.
    pub fn render_gold(&self) -> Result<String, InputsError> {
        let path = format!("faults/{}", self.fault.gold.playbook);
        Ok(template::render(&path, self.file(&path)?, &self.context())?)
    }

    /// A prompt, rendered in a context that the executor made from [`Self::context`].
    pub fn prompt(&self, name: &str, context: &Value) -> Result<String, InputsError> {
        let path = prompt_path(name);
        Ok(template::render(&path, self.file(&path)?, context)?)
    }

    /// What a scripted policy may know.
    pub fn reference(&self) -> Result<Value, InputsError> {
        Ok(json!({
            "trial": self.spec.id,
            "system": self.spec.system,
            "gold": self.render_gold()?,
            "namespace": self.system.namespace,
            "target": self.spec.target,
            "kind": self.service.kind.to_lowercase(),
            "container": self.service.main_container(),
            "fault": self.fault.name,
        }))
    }
}

/// The part of a pipeline's context that changes while it runs, as it is at the start. The executor adds `inventory`,
/// `playbook_command`, `tools` and, in a repeat, `loop`. `reply.malformed` holds what is wrong, or is empty.
pub fn blank_state() -> Value {
    json!({
        "attempt": 0,
        "probes": 0,
        "reply": { "tool": "", "text": "", "arguments": {}, "malformed": "", "none": true },
        "probe": { "stdout": "", "stderr": "", "exit": 0, "text": "" },
        "playbook": { "succeeded": false, "exit": 0, "valid": false, "timed_out": false, "text": "" },
        "verdict": { "recovered": false, "checks": {} },
        "syntax": { "valid": false, "text": "" },
    })
}

/// The documents of a YAML text; empty ones are left out.
pub(super) fn yaml_documents(file: &str, text: &str) -> Result<Vec<Value>, InputsError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|e| InputsError::Yaml { file: file.to_owned(), message: e.to_string() })?;
    Ok(documents.into_iter().filter(|d| !d.is_null()).collect())
}
