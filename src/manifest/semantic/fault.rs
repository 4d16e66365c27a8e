//! Checks of faults and their check sets.

use serde_json::{Value, json};

use super::{Subject, scope};
use crate::diagnostic::Diagnostics;
use crate::manifest::pipeline::Step;
use crate::manifest::spans::{child, item};
use crate::manifest::{Catalog, Check, CheckSet, FaultManifest, Inject, Kind, TRIAL_PIPELINE, Undo, duration};

pub(super) fn check(catalog: &Catalog, diagnostics: &mut Diagnostics) {
    for (name, fault) in &catalog.faults {
        let mut subject = Subject::new(catalog, diagnostics, Kind::Fault, name);
        one(&mut subject, fault);
    }
}

fn one(s: &mut Subject<'_>, fault: &FaultManifest) {
    let scope = scope::fault(fault);
    injection(s, &fault.inject, "inject", &scope);
    let parts = fault.inject.parts();
    let applies = parts.iter().any(|i| matches!(i, Inject::Apply(_)));
    let patches = parts.iter().any(|i| matches!(i, Inject::Patch(_)));
    if (applies && matches!(fault.undo, Undo::Restore(_))) || (patches && matches!(fault.undo, Undo::Delete(_))) {
        let message = "this does not undo that injection: objects applied are deleted, objects patched are restored";
        s.add("undo", "undo_differs", message, None);
    }
    match &fault.undo {
        Undo::Delete(delete) => s.pause("undo.delete.timeout", &delete.timeout),
        Undo::All(all) => s.pause("undo.all.timeout", &all.timeout),
        Undo::Restore(_) => {}
    }
    s.template_file("gold.playbook", &format!("faults/{}", fault.gold.playbook), &scope);

    let confirm = &fault.confirm;
    s.named("confirm.symptom", "check set", &confirm.symptom, fault.checks.keys().map(String::as_str));
    s.pause("confirm.poll", &confirm.poll);
    s.duration("confirm.hold", &confirm.hold);
    s.pause("confirm.timeout", &confirm.timeout);
    if let (Ok(hold), Ok(timeout)) = (duration::parse(&confirm.hold), duration::parse(&confirm.timeout))
        && hold > timeout
    {
        s.add("confirm.hold", "out_of_range", "the symptom cannot hold for longer than the time-out", None);
    }
    let check_scope = scope::check(fault);
    for (name, set) in &fault.checks {
        check_set(s, set, &child("checks", name), &check_scope);
    }
    let trial = s.catalog.pipelines.get(TRIAL_PIPELINE);
    for needed in trial.into_iter().flat_map(|t| &t.steps).filter_map(verified).flatten() {
        if !fault.checks.contains_key(needed) {
            s.add(
                "checks",
                "missing_check_set",
                format!("the trial pipeline judges by a check set `{needed}`, which is missing here"),
                None,
            );
        }
    }
}

fn injection(s: &mut Subject<'_>, inject: &Inject, path: &str, scope: &Value) {
    match inject {
        Inject::Apply(apply) => {
            s.template_file(&format!("{path}.apply.template"), &format!("faults/{}", apply.template), scope);
        }
        Inject::Patch(patch) => {
            s.word(&format!("{path}.patch.type"), &patch.patch_type, &["strategic", "merge", "json"]);
            s.inline_template(&format!("{path}.patch.kind"), &patch.kind, scope);
            if let Some(name) = &patch.name {
                s.inline_template(&format!("{path}.patch.name"), name, scope);
            }
            s.template_file(&format!("{path}.patch.template"), &format!("faults/{}", patch.template), scope);
        }
        Inject::Evict(evict) => s.inline_template(&format!("{path}.evict.selector"), &evict.selector, scope),
        Inject::All(list) => {
            let path = format!("{path}.all");
            s.not_empty(&path, list.len(), "injection");
            for (i, one) in list.iter().enumerate() {
                injection(s, one, &item(&path, i), scope);
            }
        }
    }
}

fn verified(step: &Step) -> Option<&Vec<String>> {
    match step {
        Step::Verify(v) => Some(&v.checks),
        Step::Healthy(h) => Some(&h.checks),
        _ => None,
    }
}

fn check_set(s: &mut Subject<'_>, set: &CheckSet, path: &str, scope: &Value) {
    if let Some(wait) = &set.ready_wait {
        s.duration(&child(path, "ready_wait"), wait);
    }
    s.pause(&child(path, "ready_poll"), &set.ready_poll);
    s.duration(&child(path, "settle"), &set.settle);
    s.not_empty(&child(path, "stages"), set.stages.len(), "stage");
    for (i, stage) in set.stages.iter().enumerate() {
        let path = item(&child(path, "stages"), i);
        if let Some(wait) = &stage.ready_wait {
            s.duration(&child(&path, "ready_wait"), wait);
        }
        s.pause(&child(&path, "window"), &stage.window);
        s.pause(&child(&path, "poll"), &stage.poll);
        s.not_empty(&child(&path, "all"), stage.all.len(), "check");
        if stage.need == 0 {
            s.add(&child(&path, "need"), "out_of_range", "at least one clean sample is needed", None);
        }
        checks(s, &stage.all, &child(&path, "all"), scope);
    }
}

/// A list of checks, of a fault or of a pipeline.
pub(super) fn checks(s: &mut Subject<'_>, list: &[Check], path: &str, scope: &Value) {
    for (i, check) in list.iter().enumerate() {
        one_check(s, check, &item(path, i), scope);
    }
}

fn one_check(s: &mut Subject<'_>, check: &Check, path: &str, scope: &Value) {
    let positive = |s: &mut Subject<'_>, key: String, value: f64| {
        if value <= 0.0 {
            s.add(&key, "out_of_range", "this must be above 0", None);
        }
    };
    match check {
        Check::Usage(u) => {
            let at = |key: &str| format!("{path}.usage.{key}");
            s.word(&at("resource"), &u.resource, &["cpu", "memory"]);
            s.word(&at("without_limit"), &u.without_limit, &["skip", "fail"]);
            s.word(&at("limit"), &u.limit, &["current", "deployed"]);
            s.word(&at("pods"), &u.pods, &["fresh", "frozen"]);
            positive(s, at("below"), u.below);
        }
        Check::Ping(p) => {
            let at = |key: &str| format!("{path}.ping.{key}");
            s.inline_template(&at("host"), &p.host, scope);
            positive(s, at("count"), f64::from(p.count));
            positive(s, at("wait_s"), f64::from(p.wait_s));
            positive(s, at("max_average_ms"), p.max_average_ms);
            if !(0.0..=100.0).contains(&p.max_loss_percent) {
                s.add(&at("max_loss_percent"), "out_of_range", "a loss is between 0 and 100 percent", None);
            }
        }
        Check::Exec(e) => {
            let at = |key: &str| format!("{path}.exec.{key}");
            s.not_empty(&at("command"), e.command.len(), "word");
            s.word(&at("from"), &e.from, &["target", "peer", "probe", "peer-probe"]);
            for (i, word) in e.command.iter().enumerate() {
                s.inline_template(&item(&at("command"), i), word, scope);
            }
            s.word(&at("measure"), &e.measure, &["output", "elapsed"]);
            s.pause(&at("timeout"), &e.timeout);
            s.expression(&at("pass"), &e.pass, &json!({ "value": null }));
        }
        Check::Limits(l) => positive(s, format!("{path}.limits.at_most_times"), l.at_most_times),
        Check::Requests(r) => {
            positive(s, format!("{path}.requests.window_s"), f64::from(r.window_s));
            positive(s, format!("{path}.requests.max_latency_times"), r.max_latency_times);
        }
        Check::Restored(r) => positive(s, format!("{path}.restored.resources_at_least"), r.resources_at_least),
        Check::Object(o) => {
            let at = |key: &str| format!("{path}.object.{key}");
            s.inline_template(&at("kind"), &o.kind, scope);
            if let Some(name) = &o.name {
                s.inline_template(&at("name"), name, scope);
            }
            let mut scope = scope.clone();
            scope["object"] = Value::Null;
            s.expression(&at("pass"), &o.pass, &scope);
        }
        Check::Ready(_) | Check::Others(_) | Check::NotExpired(_) => {}
    }
}
