//! Checks of experiments and sequences.

use super::Subject;
use crate::ansible::NamedHost;
use crate::cluster::Denial;
use crate::diagnostic::Diagnostics;
use crate::manifest::spans::{child, item};
use crate::manifest::{Catalog, ExperimentManifest, Kind, SandboxSection, quantity};

/// Threads included: kubectl alone has ten.
const FEWEST_PROCESSES: u64 = 64;

pub(super) fn check(catalog: &Catalog, diagnostics: &mut Diagnostics) {
    for (name, sequence) in &catalog.sequences {
        let mut s = Subject::new(catalog, diagnostics, Kind::Sequence, name);
        s.not_empty("faults", sequence.faults.len(), "fault");
        for (i, fault) in sequence.faults.iter().enumerate() {
            s.named(&item("faults", i), "fault", fault, catalog.names(Kind::Fault));
        }
    }
    for (name, experiment) in &catalog.experiments {
        let mut s = Subject::new(catalog, diagnostics, Kind::Experiment, name);
        one(&mut s, experiment);
    }
}

fn one(s: &mut Subject<'_>, experiment: &ExperimentManifest) {
    let catalog = s.catalog;
    let matrix = &experiment.matrix;
    let axes = [
        ("system", &matrix.system, catalog.names(Kind::System)),
        ("sequence", &matrix.sequence, catalog.names(Kind::Sequence)),
        ("method", &matrix.method, catalog.methods()),
        ("model", &matrix.model, catalog.names(Kind::Model)),
    ];
    for (word, names, known) in axes {
        let path = child("matrix", word);
        s.not_empty(&path, names.len(), word);
        s.once(|i| item(&path, i), word, names.iter().map(String::as_str));
        for (i, name) in names.iter().enumerate() {
            s.named(&item(&path, i), word, name, known.iter().copied());
        }
    }
    for (method, models) in &matrix.only {
        let path = child("matrix.only", method);
        s.named_key(&path, "method", method, catalog.methods());
        for (i, model) in models.iter().enumerate() {
            s.named(&item(&path, i), "model", model, catalog.names(Kind::Model));
        }
    }
    if matrix.sees_injector.len() > 1 && matrix.sees_injector.iter().all(|v| Some(v) == matrix.sees_injector.first())
        || matrix.sees_injector.len() > 2
    {
        s.add("matrix.sees_injector", "duplicate_name", "a value is named twice", None);
    }
    if let Some(file) = experiment.agent.roles() {
        let scope = serde_json::json!({"namespace": "", "system": {"name": "", "namespace": ""}, "sees_injector": true});
        if s.template_file("agent.rights", &file, &scope) {
            s.roles(&file, &scope);
        }
    }
    if experiment.targets == 0 {
        s.add("targets", "out_of_range", "there must be at least one target", None);
    }
    if experiment.repeats == 0 {
        s.add("repeats", "out_of_range", "there must be at least one repeat", None);
    }
    s.pause("budgets.trial_time", &experiment.budgets.trial_time);
    s.pause("budgets.cluster_time", &experiment.budgets.cluster_time);
    for (key, time) in [("budgets.model_time", &experiment.budgets.model_time), ("budgets.run_time", &experiment.budgets.run_time)] {
        if let Some(time) = time {
            s.pause(key, time);
        }
    }
    for (key, cost) in [
        ("budgets.cost_total_usd", experiment.budgets.cost_total_usd),
        ("budgets.cost_per_trial_usd", experiment.budgets.cost_per_trial_usd),
    ] {
        if cost.is_some_and(|c| c <= 0.0) {
            s.add(key, "out_of_range", "a bound on the cost must be above 0", None);
        }
    }
    s.word("time.clock", &experiment.time.clock, &["skip", "scaled", "real"]);
    s.word("time.model", &experiment.time.model, &["free", "charged"]);
    if experiment.time.speed <= 0.0 {
        s.add("time.speed", "out_of_range", "the speed must be above 0", None);
    }
    let sandbox = &experiment.sandbox;
    s.once(|i| item("sandbox.hosts", i), "host", sandbox.hosts.iter().map(String::as_str));
    s.word("sandbox.mode", &sandbox.mode, &SandboxSection::MODES);
    for (i, text) in sandbox.hosts.iter().enumerate() {
        if let Err(error) = text.parse::<NamedHost>() {
            s.add(&item("sandbox.hosts", i), "bad_host", error.to_string(), None);
        }
    }
    for (key, text) in [("memory", &sandbox.memory), ("file", &sandbox.file), ("disk", &sandbox.disk)] {
        if let Err(e) = quantity::parse(text) {
            s.add(&child("sandbox", key), "bad_quantity", e.to_string(), None);
        }
    }
    if sandbox.processes < FEWEST_PROCESSES {
        s.add("sandbox.processes", "out_of_range", format!("Ansible needs {FEWEST_PROCESSES} processes at least"), None);
    }
    policy(s, experiment);
    for (fault, params) in &experiment.params {
        let path = child("params", fault);
        s.named_key(&path, "fault", fault, catalog.names(Kind::Fault));
        if let Some(manifest) = catalog.faults.get(fault) {
            for key in params.keys() {
                s.named_key(&child(&path, key), "parameter", key, manifest.params.keys().map(String::as_str));
            }
        }
    }
    for (fault, axes) in &matrix.params {
        let path = child("matrix.params", fault);
        s.named_key(&path, "fault", fault, catalog.names(Kind::Fault));
        let Some(manifest) = catalog.faults.get(fault) else { continue };
        for (key, values) in axes {
            let path = child(&path, key);
            s.named_key(&path, "parameter", key, manifest.params.keys().map(String::as_str));
            s.not_empty(&path, values.len(), "value");
            for (i, value) in values.iter().enumerate() {
                if values.iter().take(i).any(|v| v == value) {
                    s.add(&item(&path, i), "duplicate_name", format!("the value {value} is named twice"), None);
                }
            }
        }
    }
    for (system, namespace) in &experiment.runner.namespace {
        let path = child("runner.namespace", system);
        s.named_key(&path, "system", system, catalog.names(Kind::System));
        if !super::is_dns_label(namespace) {
            s.add(&path, "bad_name", format!("`{namespace}` cannot name a namespace"), None);
        }
    }
    for (key, value) in [("wait_interval", experiment.runner.wait_interval), ("injection_timeout", experiment.runner.injection_timeout)] {
        if value == Some(0) {
            s.add(&child("runner", key), "out_of_range", "this must be at least one second", None);
        }
    }
    for (pipeline, options) in &experiment.options {
        let path = child("options", pipeline);
        s.named_key(&path, "method", pipeline, catalog.names(Kind::Pipeline));
        if let Some(manifest) = catalog.pipelines.get(pipeline) {
            for key in options.keys() {
                s.named_key(&child(&path, key), "option", key, manifest.options.keys().map(String::as_str));
            }
        }
    }
}

fn policy(s: &mut Subject<'_>, experiment: &ExperimentManifest) {
    let policy = &experiment.policy;
    let lists = [("deny_modules", &policy.deny_modules), ("deny_hosts", &policy.deny_hosts), ("deny_verbs", &policy.deny_verbs)];
    for (key, names) in lists {
        let path = child("policy", key);
        s.once(|i| item(&path, i), key, names.iter().map(String::as_str));
    }
    for (i, text) in policy.deny_verbs.iter().enumerate() {
        if let Err(message) = text.parse::<Denial>() {
            s.add(&item("policy.deny_verbs", i), "bad_denial", message, None);
        }
    }
    if !policy.deny_verbs.is_empty() && experiment.agent.roles().is_none() {
        let help = "agent.rights names roles, such as `repair`".to_owned();
        s.add(
            "policy.deny_verbs",
            "no_roles",
            "what is denied is taken from the agent's roles, and `agent.rights` gives it none",
            Some(help),
        );
    }
}
