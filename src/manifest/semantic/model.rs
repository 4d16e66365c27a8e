//! Checks of models.

use super::{Subject, scope};
use crate::diagnostic::Diagnostics;
use crate::manifest::spans::{child, item};
use crate::manifest::{Catalog, Kind};
use crate::model::{Endpoint, Provider, Scripted};

/// Fields of the request body that the program writes itself.
const OWN_FIELDS: [&str; 7] = ["model", "messages", "input", "contents", "tools", "tool_choice", "stream"];

pub(super) fn check(catalog: &Catalog, diagnostics: &mut Diagnostics) {
    for (name, model) in &catalog.models {
        let mut s = Subject::new(catalog, diagnostics, Kind::Model, name);
        let before = s.diagnostics.len();
        match &model.provider {
            Provider::Openai(e)
            | Provider::OpenaiResponses(e)
            | Provider::Anthropic(e)
            | Provider::Gemini(e)
            | Provider::Azure(e)
            | Provider::Bedrock(e) => endpoint(&mut s, model.provider.name(), e),
            Provider::Scripted(scripted) => policy(&mut s, scripted),
            Provider::Playbooks(_) => {}
        }
        if s.diagnostics.len() == before {
            for problem in crate::model::problems(model) {
                s.add(&problem.path, "bad_model", problem.message, None);
            }
        }
        let limits = model.limits.unwrap_or_default();
        let requests = limits.requests_per_minute.map(u64::from);
        for (key, value) in [
            ("concurrent", limits.concurrent.map(u64::from)),
            ("requests_per_minute", requests),
            ("tokens_per_minute", limits.tokens_per_minute),
        ] {
            if value == Some(0) {
                let help = Some(format!("leave out {key} where there is no limit"));
                s.add(&child("limits", key), "out_of_range", "with a limit of 0 nothing could ever be asked", help);
            }
        }
        if let Some(price) = &model.price {
            for (key, value) in [("prompt", price.prompt), ("completion", price.completion), ("cached", price.cached.unwrap_or(0.0))] {
                if value < 0.0 || !value.is_finite() {
                    s.add(&child("price", key), "out_of_range", "a price must be a number, and not negative", None);
                }
            }
        }
    }
}

fn endpoint(s: &mut Subject<'_>, provider: &str, endpoint: &Endpoint) {
    let at = |key: &str| format!("provider.{provider}.{key}");
    if !endpoint.base_url.starts_with("http://") && !endpoint.base_url.starts_with("https://") {
        s.add(
            &at("base_url"),
            "bad_url",
            format!("`{}` is no address of a web server", endpoint.base_url),
            Some("write https://HOST/v1".to_owned()),
        );
    }
    if let Some(key) = &endpoint.key_env
        && !key.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    {
        let help = "keys never stand in data files: write the name of an environment variable, such as OPENAI_API_KEY".to_owned();
        s.add(&at("key_env"), "bad_name", "this is no name of an environment variable", Some(help));
    }
    s.word(&at("tools"), &endpoint.tools, &["native", "text", "schema", "auto"]);
    s.pause(&at("timeout"), &endpoint.timeout);
    if endpoint.retry.attempts == 0 {
        s.add(&at("retry.attempts"), "out_of_range", "there must be at least one attempt", None);
    }
    s.duration(&at("retry.pause"), &endpoint.retry.pause);
    s.duration(&at("retry.pause_max"), &endpoint.retry.pause_max);
    for key in endpoint.options.keys().filter(|k| OWN_FIELDS.contains(&k.as_str())) {
        let help = (key == "stream" || key == "model").then(|| format!("set provider.{provider}.{key} instead"));
        s.add(&child(&at("options"), key), "reserved_option", format!("`{key}` is written by the program itself"), help);
    }
}

fn policy(s: &mut Subject<'_>, scripted: &Scripted) {
    let scope = scope::scripted();
    let turns = "provider.scripted.turns";
    s.not_empty(turns, scripted.turns.len(), "turn");
    for (i, turn) in scripted.turns.iter().enumerate() {
        let path = item(turns, i);
        if let Some(when) = &turn.when {
            s.expression(&child(&path, "when"), when, &scope);
        }
        for (key, text) in &turn.arguments {
            s.inline_template(&child(&child(&path, "arguments"), key), text, &scope);
        }
        s.inline_template(&child(&path, "text"), &turn.text, &scope);
        if turn.tool.is_none() && !turn.arguments.is_empty() {
            s.add(&child(&path, "arguments"), "no_tool", "arguments without a tool go nowhere", None);
        }
    }
}
