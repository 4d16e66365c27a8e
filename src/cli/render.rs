//! `render`: what one trial is made of, before it runs.

use serde_json::{Map, Value, json};

use super::args::SelectArgs;
use super::failure::{Failure, chain};
use super::places::Global;
use super::{load, plan as plan_command, print, select};
use crate::manifest::Step;
use crate::plan::{Injection, Plan, TrialInputs, TrialSpec};

/// Trials searched for an id.
const SEARCHED: usize = 1_000_000;
/// Digits of a number in the plan; longer ones are ids.
const LONGEST_NUMBER: usize = 7;

pub(super) fn render(global: &Global, args: &SelectArgs, trial: Option<&str>, manifests_only: bool) -> Result<(), Failure> {
    let catalog = load::catalog(global)?;
    let plan = select::plan(&catalog, args, &plan_command::tool_versions(global))?;
    let spec = find(&plan, trial)?;
    let failed = |e: crate::plan::InputsError| Failure::input(chain(&e));
    let inputs = TrialInputs::resolve(&catalog, &spec, plan.experiment()).map_err(failed)?;
    let manifests = inputs.render_system_manifests().map_err(failed)?;
    if global.json {
        return json_lines(&spec, &inputs, &manifests, manifests_only);
    }
    if manifests_only {
        return print(&documents(&manifests)?);
    }
    print(&heading(&format!("trial {}", spec.id)))?;
    print(&yaml(&serde_json::to_value(&spec).unwrap_or_default())?)?;
    print(&heading(&format!("manifests of {}", spec.system)))?;
    print(&documents(&manifests)?)?;
    print(&heading(&format!("injection of {}", spec.fault)))?;
    for part in inputs.render_injection().map_err(failed)? {
        match part {
            Injection::Objects(objects) => print(&documents(&objects)?)?,
            Injection::Patch { kind, name, patch_type, patch, .. } => {
                let name = name.unwrap_or_else(|| "(all)".to_owned());
                print(&format!("# {patch_type} patch of {kind}/{name}"))?;
                print(&yaml(&patch)?)?;
            }
            Injection::Evict(selector) => print(&format!("# deletion of the pods {selector}"))?,
        }
    }
    for (name, set) in &inputs.checks {
        print(&heading(&format!("checks.{name}")))?;
        print(&yaml(&serde_json::to_value(set).unwrap_or_default())?)?;
    }
    print(&heading("reference repair"))?;
    print(&inputs.render_gold().map_err(failed)?)?;
    let context = crate::execute::initial_context(&inputs);
    for prompt in first_prompts(&inputs.method.steps) {
        print(&heading(&format!("prompt {prompt}")))?;
        print(&inputs.prompt(&prompt, &context).map_err(failed)?)?;
    }
    Ok(())
}

/// The same as one object, or an object for each manifest.
fn json_lines(spec: &TrialSpec, inputs: &TrialInputs, manifests: &[Value], manifests_only: bool) -> Result<(), Failure> {
    if manifests_only {
        return manifests.iter().try_for_each(|manifest| print(&manifest.to_string()));
    }
    let failed = |e: crate::plan::InputsError| Failure::input(chain(&e));
    let injection: Vec<Value> = inputs.render_injection().map_err(failed)?.into_iter().map(part).collect();
    let context = crate::execute::initial_context(inputs);
    let mut prompts = Map::new();
    for name in first_prompts(&inputs.method.steps) {
        let text = inputs.prompt(&name, &context).map_err(failed)?;
        prompts.insert(name, text.into());
    }
    let whole = json!({
        "trial": spec,
        "manifests": manifests,
        "injection": injection,
        "checks": inputs.checks,
        "reference_repair": inputs.render_gold().map_err(failed)?,
        "prompts": prompts,
    });
    print(&whole.to_string())
}

/// A part of an injection; externally tagged, as in a fault's file.
fn part(injection: Injection) -> Value {
    match injection {
        Injection::Objects(objects) => json!({ "apply": objects }),
        Injection::Patch { api_version, kind, name, patch_type, patch } => {
            json!({ "patch": { "api_version": api_version, "kind": kind, "name": name, "type": patch_type, "patch": patch } })
        }
        Injection::Evict(selector) => json!({ "evict": { "selector": selector } }),
    }
}

/// Prompts said before the model is first asked: those that can be rendered before anything has run.
fn first_prompts(steps: &[Step]) -> Vec<String> {
    steps
        .iter()
        .map_while(|s| match s {
            Step::Say(say) => Some(say.prompt.clone()),
            _ => None,
        })
        .collect()
}

fn find(plan: &Plan, wanted: Option<&str>) -> Result<TrialSpec, Failure> {
    let none = || {
        Failure::input("the plan has no such trial")
            .help("microremed plan EXPERIMENT lists them; give an id, the start of one, or a number from 1")
    };
    let Some(wanted) = wanted else { return plan.get(0).ok_or_else(none) };
    // Short numbers are places in the plan, never the start of an id that happens to have digits only.
    if wanted.len() <= LONGEST_NUMBER
        && let Ok(n) = wanted.parse::<u64>()
    {
        return n.checked_sub(1).and_then(|n| plan.get(n)).ok_or_else(none);
    }
    let mut found = plan.iter().take(SEARCHED).filter(|t| t.id.0.starts_with(wanted));
    let first = found.next().ok_or_else(none)?;
    if found.next().is_some() {
        return Err(Failure::input(format!("several trials begin with {wanted}")).help("give more of the id"));
    }
    Ok(first)
}

fn heading(text: &str) -> String {
    format!("\n# ---- {text} ----")
}

fn yaml(value: &Value) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(|e| Failure::harness(format!("failed to write YAML: {e}")))
}

fn documents(values: &[Value]) -> Result<String, Failure> {
    let parts: Vec<String> = values.iter().map(yaml).collect::<Result<_, _>>()?;
    Ok(parts.join("---\n"))
}
