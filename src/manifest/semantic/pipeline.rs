//! Checks of pipelines: methods and the trial.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Subject, fault, scope};
use crate::diagnostic::Diagnostics;
use crate::manifest::catalog::prompt_path;
use crate::manifest::pipeline::{Repeat, Step};
use crate::manifest::spans::{child, item};
use crate::manifest::{Catalog, Kind, PipelineManifest, TRIAL_PIPELINE, duration};
use crate::template;

/// Most rounds that a repeat may have: a slip of the pen above that.
const MOST_ROUNDS: u64 = 1000;

pub(super) fn check(catalog: &Catalog, diagnostics: &mut Diagnostics) {
    for (name, pipeline) in &catalog.pipelines {
        let mut subject = Subject::new(catalog, diagnostics, Kind::Pipeline, name);
        one(&mut subject, pipeline);
    }
}

struct Walk<'a> {
    pipeline: &'a PipelineManifest,
    tools: BTreeSet<&'a str>,
    sets: BTreeSet<&'a str>,
    is_trial: bool,
}

fn one(s: &mut Subject<'_>, pipeline: &PipelineManifest) {
    let is_trial = pipeline.name == TRIAL_PIPELINE;
    let catalog = s.catalog;
    let inherited = catalog.pipelines.get(TRIAL_PIPELINE).into_iter().flat_map(|t| t.tools.keys());
    let walk = Walk {
        pipeline,
        tools: pipeline.tools.keys().chain(inherited).map(String::as_str).collect(),
        sets: catalog.faults.values().flat_map(|f| f.checks.keys()).map(String::as_str).collect(),
        is_trial,
    };
    for (name, tool) in &pipeline.tools {
        if tool.parameters["type"] != "object" {
            let message = format!("the parameters of the tool `{name}` must be a JSON Schema with `type = \"object\"`");
            s.add(&format!("tools.{name}.parameters"), "bad_tool", message, None);
        }
    }
    for (name, list) in &pipeline.checks {
        let path = child("checks", name);
        s.named_key(&path, "check set", name, walk.sets.iter().copied());
        let everything = json!(null);
        fault::checks(s, list, &path, &everything);
    }
    if let Some(correction) = &pipeline.correction {
        prompt(s, "correction.prompt", &correction.prompt, &scope::pipeline(pipeline, false));
        if u64::from(correction.turns) > MOST_ROUNDS {
            s.add("correction.turns", "out_of_range", format!("there must be at most {MOST_ROUNDS} turns"), None);
        }
    }
    s.not_empty("steps", pipeline.steps.len(), "step");
    walk.steps(s, &pipeline.steps, "steps", false);
    walk.steps(s, &pipeline.finally, "finally", false);
    let remedies = pipeline.steps.iter().filter(|x| matches!(x, Step::Remedy(_))).count();
    if is_trial && remedies != 1 {
        s.add("steps", "no_remedy", format!("the trial runs the method by a step `remedy` exactly once, not {remedies} times"), None);
    }
}

fn name_of(step: &Step) -> &'static str {
    match step {
        Step::Say(_) => "say",
        Step::Ask(_) => "ask",
        Step::Probe(_) => "probe",
        Step::Playbook(_) => "playbook",
        Step::CheckSyntax(_) => "check-syntax",
        Step::Set(_) => "set",
        Step::Verify(_) => "verify",
        Step::Wait(_) => "wait",
        Step::Repeat(_) => "repeat",
        Step::When(_) => "when",
        Step::Deploy(_) => "deploy",
        Step::Healthy(_) => "healthy",
        Step::Baseline(_) => "baseline",
        Step::Inject(_) => "inject",
        Step::Confirm(_) => "confirm",
        Step::Remedy(_) => "remedy",
        Step::Undo(_) => "undo",
        Step::Restore(_) => "restore",
    }
}

impl Walk<'_> {
    fn steps(&self, s: &mut Subject<'_>, steps: &[Step], path: &str, in_repeat: bool) {
        for (i, step) in steps.iter().enumerate() {
            self.step(s, step, &item(path, i), in_repeat);
        }
    }

    fn step(&self, s: &mut Subject<'_>, step: &Step, path: &str, in_repeat: bool) {
        let name = name_of(step);
        let path = child(path, name);
        let at = |key: &str| child(&path, key);
        let of_model =
            matches!(step, Step::Say(_) | Step::Ask(_) | Step::Probe(_) | Step::Playbook(_) | Step::CheckSyntax(_) | Step::Set(_));
        let of_both = matches!(step, Step::Verify(_) | Step::Wait(_) | Step::Repeat(_) | Step::When(_));
        if !of_both && of_model == self.is_trial {
            let place = if self.is_trial { "a method, not to the trial" } else { "the trial, not to a method" };
            s.add(&path, "step_not_here", format!("the step `{name}` belongs to {place}"), None);
        }
        let scope = scope::pipeline(self.pipeline, in_repeat);
        match step {
            Step::Say(x) => prompt(s, &at("prompt"), &x.prompt, &scope),
            Step::Ask(x) => {
                for (i, tool) in x.tools.iter().enumerate() {
                    s.named(&item(&at("tools"), i), "tool", tool, self.tools.iter().copied());
                }
                if x.tools.is_empty() && x.tool_choice == crate::model::ToolChoice::Required {
                    s.add(
                        &at("tools"),
                        "empty",
                        "a tool must be called here, and none is offered",
                        Some("set `tool_choice = \"auto\"`".to_owned()),
                    );
                }
            }
            Step::Probe(x) => {
                s.expression(&at("command"), &x.command, &scope);
                s.pause(&at("timeout"), &x.timeout);
                prompt(s, &at("answer"), &x.answer, &scope);
            }
            Step::Playbook(x) => {
                s.expression(&at("code"), &x.code, &scope);
                s.pause(&at("timeout"), &x.timeout);
                if let Some(answer) = &x.answer {
                    prompt(s, &at("answer"), answer, &scope);
                }
            }
            Step::CheckSyntax(x) => {
                s.expression(&at("code"), &x.code, &scope);
                s.pause(&at("timeout"), &x.timeout);
                if let Some(answer) = &x.answer {
                    prompt(s, &at("answer"), answer, &scope);
                }
            }
            Step::Set(x) => {
                s.named(&at("name"), "state", &x.name, self.pipeline.state.keys().map(String::as_str));
                s.expression(&at("value"), &x.value, &scope);
            }
            Step::Verify(x) => {
                s.not_empty(&at("checks"), x.checks.len(), "check set");
                self.check_sets(s, &at("checks"), &x.checks);
            }
            Step::Wait(x) => {
                s.inline_template(&at("for"), &x.duration, &scope);
                let context = json!({ "options": self.pipeline.options });
                if let Ok(text) = template::render("wait", &x.duration, &context)
                    && let Err(e) = duration::parse(text.trim())
                {
                    s.add(&at("for"), "bad_duration", e.to_string(), None);
                }
            }
            Step::Repeat(x) => self.repeat(s, x, &path),
            Step::When(x) => {
                s.expression(&at("if"), &x.condition, &scope);
                self.steps(s, &x.then, &at("then"), in_repeat);
                self.steps(s, &x.otherwise, &at("else"), in_repeat);
            }
            Step::Healthy(x) => self.check_sets(s, &at("checks"), &x.checks),
            Step::Baseline(x) => s.pause(&at("watch"), &x.watch),
            Step::Restore(x) => s.pause(&at("timeout"), &x.timeout),
            Step::Deploy(_) | Step::Inject(_) | Step::Confirm(_) | Step::Remedy(_) | Step::Undo(_) => {}
        }
    }

    /// A repeat is bounded by numbers that are known before it starts.
    fn repeat(&self, s: &mut Subject<'_>, x: &Repeat, path: &str) {
        let scope = scope::pipeline(self.pipeline, true);
        let max = child(path, "max");
        let fine = s.expression(&max, &x.max, &scope);
        let context = json!({ "options": self.pipeline.options, "budgets": crate::manifest::Budgets::default() });
        match template::evaluate(&x.max, &context).map(|v| v.as_u64()) {
            Ok(Some(1..=MOST_ROUNDS)) => {}
            Ok(_) => s.add(&max, "unbounded_repeat", format!("`{}` must be a whole number between 1 and {MOST_ROUNDS}", x.max), None),
            Err(_) if fine => {
                let help = "use a number, `options` and `budgets` only".to_owned();
                s.add(&max, "unbounded_repeat", format!("`{}` cannot be known before the repeat starts", x.max), Some(help));
            }
            Err(_) => {}
        }
        if let Some(until) = &x.until {
            s.expression(&child(path, "until"), until, &scope);
        }
        s.not_empty(&child(path, "steps"), x.steps.len(), "step");
        self.steps(s, &x.steps, &child(path, "steps"), true);
    }

    fn check_sets(&self, s: &mut Subject<'_>, path: &str, names: &[String]) {
        for (i, name) in names.iter().enumerate() {
            let catalog = s.catalog;
            s.named(&item(path, i), "check set", name, self.sets.iter().copied());
            let without: Vec<&str> = catalog.faults.values().filter(|f| !f.checks.contains_key(name)).map(|f| f.name.as_str()).collect();
            if !self.is_trial && self.sets.contains(name.as_str()) && !without.is_empty() {
                let message = format!("the check set `{name}` is missing in the faults `{}`", without.join("`, `"));
                s.add(&item(path, i), "missing_check_set", message, None);
            }
        }
    }
}

fn prompt(s: &mut Subject<'_>, path: &str, name: &str, scope: &Value) {
    let catalog = s.catalog;
    if catalog.prompt(name).is_some() {
        s.template_file(path, &prompt_path(name), scope);
    } else {
        s.named(path, "prompt", name, catalog.prompts());
    }
}
