//! Digests of everything that can change a trial's result, one a file, so that a trial costs one hash.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::manifest::pipeline::Step;
use crate::manifest::source::hex;
use crate::manifest::{Agent, Catalog, FaultManifest, Inject, PipelineManifest, SystemManifest, catalog::prompt_path};
use crate::model::ModelSpec;

/// SHA-256 of a value's canonical JSON: keys sorted, no white space.
pub fn of<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    let mut text = String::new();
    canonical(&value, &mut text);
    hex(&Sha256::digest(text.as_bytes()))
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            // Sorted here, so that a dependency that makes serde_json keep the order of insertion changes nothing.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            text.push('{');
            for (i, (key, inner)) in entries.into_iter().enumerate() {
                text.push_str(if i == 0 { "" } else { "," });
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                canonical(inner, text);
            }
            text.push('}');
        }
        Value::Array(list) => {
            text.push('[');
            for (i, inner) in list.iter().enumerate() {
                text.push_str(if i == 0 { "" } else { "," });
                canonical(inner, text);
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

/// A manifest without what only people read.
fn plain<T: Serialize>(manifest: &T, without: &[&str]) -> Value {
    let mut value = serde_json::to_value(manifest).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.retain(|key, _| key != "description" && !without.contains(&key.as_str()));
    }
    value
}

fn files(catalog: &Catalog, paths: impl IntoIterator<Item = String>) -> Vec<(String, String)> {
    let digest = |path: &String| catalog.files.get(path).map(|f| f.digest.to_string()).unwrap_or_default();
    paths.into_iter().map(|p| (digest(&p), p)).map(|(d, p)| (p, d)).collect()
}

pub(super) fn system(catalog: &Catalog, system: &SystemManifest) -> String {
    let templates = system.deploy.manifests.iter().map(|m| format!("systems/{}/{m}", system.name));
    of(&(plain(system, &[]), files(catalog, templates)))
}

/// The roles of the agent.
pub(super) fn rights(catalog: &Catalog, agent: &Agent) -> String {
    of(&(&agent.rights, files(catalog, agent.roles())))
}

pub(super) fn fault(catalog: &Catalog, fault: &FaultManifest) -> String {
    let injected = fault.inject.parts().into_iter().filter_map(|part| match part {
        Inject::Apply(a) => Some(&a.template),
        Inject::Patch(p) => Some(&p.template),
        Inject::Evict(_) | Inject::All(_) => None,
    });
    let templates = injected.chain([&fault.gold.playbook]).map(|t| format!("faults/{t}"));
    of(&(plain(fault, &[]), files(catalog, templates)))
}

pub(super) fn pipeline(catalog: &Catalog, pipeline: &PipelineManifest) -> String {
    let mut prompts = Vec::new();
    prompts_of(&pipeline.steps, &mut prompts);
    prompts_of(&pipeline.finally, &mut prompts);
    prompts.extend(pipeline.correction.as_ref().map(|correction| correction.prompt.as_str()));
    of(&(plain(pipeline, &[]), files(catalog, prompts.iter().map(|p| prompt_path(p)))))
}

/// The model without its prices, its limits and the place of its key: none changes an answer.
pub(super) fn model(model: &ModelSpec) -> String {
    let mut value = plain(model, &["price", "limits", "extends"]);
    if let Some(provider) = value.pointer_mut(&format!("/provider/{}", model.provider.name())).and_then(Value::as_object_mut) {
        provider.remove("key_env");
        provider.remove("key_file");
    }
    of(&value)
}

fn prompts_of<'a>(steps: &'a [Step], found: &mut Vec<&'a str>) {
    for step in steps {
        match step {
            Step::Say(s) => found.push(&s.prompt),
            Step::Probe(p) => found.push(&p.answer),
            Step::Playbook(p) => found.extend(p.answer.as_deref()),
            Step::CheckSyntax(c) => found.extend(c.answer.as_deref()),
            Step::Repeat(r) => prompts_of(&r.steps, found),
            Step::When(w) => {
                prompts_of(&w.then, found);
                prompts_of(&w.otherwise, found);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn canonical_json_sorts_keys_at_every_depth() {
        let mut text = String::new();
        canonical(&json!({ "b": [{ "z": 1, "a": "\"" }], "a": null }), &mut text);
        assert_eq!(text, r#"{"a":null,"b":[{"a":"\"","z":1}]}"#);
    }

    #[test]
    fn a_price_or_a_description_changes_no_identity() {
        let spec = |extra: Value| -> ModelSpec {
            let mut base = json!({ "name": "m", "provider": { "openai": { "base_url": "u", "model": "m" } } });
            for (key, value) in extra.as_object().unwrap() {
                base[key] = value.clone();
            }
            serde_json::from_value(base).unwrap()
        };
        let plain = model(&spec(json!({})));
        assert_eq!(model(&spec(json!({ "description": "x", "price": { "prompt": 1.0, "completion": 2.0 } }))), plain);
        assert_ne!(model(&spec(json!({ "name": "n" }))), plain);
    }
}
