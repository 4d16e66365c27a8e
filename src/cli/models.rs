//! `models list` and `models test`: what there is, and whether it answers and can call tools.

use std::time::Duration;

use serde_json::json;

use super::failure::{Code, Failure, chain};
use super::places::{Global, variable};
use super::{load, print};
use crate::diagnostic::did_you_mean;
use crate::manifest::Catalog;
use crate::model::{ChatModel, ChatReply, ChatRequest, Message, ModelError, ModelSpec, Provider, Role, Servers, ToolSpec, open};

/// What the model is asked to say in `models test`.
const WORD: &str = "ready";

/// The longest that a test may take, retries included.
const TEST_LIMIT: Duration = Duration::from_mins(10);

/// `models list`.
pub(super) fn list(global: &Global) -> Result<(), Failure> {
    let catalog = load::catalog(global)?;
    if global.json {
        for spec in catalog.models.values() {
            let endpoint = spec.provider.endpoint();
            print(
                &json!({
                    "name": spec.name,
                    "provider": spec.provider.name(),
                    "base_url": endpoint.map(|e| &e.base_url),
                    "model": endpoint.map(|e| &e.model),
                    "key_env": endpoint.and_then(|e| e.key_env.as_ref()),
                    "usable": key_state(spec) != KeyState::Missing,
                    "price": spec.price,
                    "description": spec.description,
                })
                .to_string(),
            )?;
        }
        return Ok(());
    }
    let mut rows = vec![["MODEL", "PROVIDER", "KEY", "DESCRIPTION"].map(str::to_owned)];
    for spec in catalog.models.values() {
        let variable = spec.provider.endpoint().and_then(|e| e.key_env.as_deref().or(e.key_file.as_deref())).unwrap_or_default();
        let key = match key_state(spec) {
            KeyState::None => "none needed".to_owned(),
            KeyState::There => format!("{variable} (set)"),
            KeyState::Missing => format!("{variable} (not set)"),
        };
        rows.push([spec.name.clone(), spec.provider.name().to_owned(), key, spec.description.clone()]);
    }
    print(&table(&rows))
}

/// Columns as wide as their widest cell; the last one as it is.
fn table(rows: &[[String; 4]]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let (first, second, third) = (width(0), width(1), width(2));
    rows.iter().fold(String::new(), |text, [a, b, c, d]| format!("{text}{a:first$}  {b:second$}  {c:third$}  {d}\n"))
}

#[derive(Debug, PartialEq, Eq)]
enum KeyState {
    None,
    There,
    Missing,
}

fn key_state(spec: &ModelSpec) -> KeyState {
    match spec.provider.endpoint().map(|e| (&e.key_env, &e.key_file)) {
        None | Some((None, None)) => KeyState::None,
        Some((env, file)) => {
            let set = env.as_deref().and_then(variable).is_some();
            let readable = file.as_ref().is_some_and(|path| camino::Utf8Path::new(path).is_file());
            if set || readable { KeyState::There } else { KeyState::Missing }
        }
    }
}

/// `models test`.
pub(super) async fn test(global: &Global, name: &str) -> Result<(), Failure> {
    let catalog = load::catalog(global)?;
    let spec = find(&catalog, name)?;
    if spec.provider.endpoint().is_none() {
        return Err(Failure::input(format!("{name} is a fixed policy ({}) and asks nobody", spec.provider.name()))
            .help("models test is for models behind an endpoint"));
    }
    let model =
        open(spec, &variable, &Servers::default()).map_err(|e| Failure::new(Code::Dependency, format!("model {name}: {}", chain(&e))))?;
    let reply = ask(&*model).await.map_err(|e| failed(name, spec, &e))?;
    report(global, spec, &reply)
}

fn find<'a>(catalog: &'a Catalog, name: &str) -> Result<&'a ModelSpec, Failure> {
    catalog.models.get(name).ok_or_else(|| {
        let known = catalog.models.keys().map(String::as_str);
        let help = did_you_mean(name, known).unwrap_or_else(|| "microremed models list shows what there is".to_owned());
        Failure::input(format!("there is no model {name:?}")).help(help)
    })
}

/// One tiny call of a tool.
async fn ask(model: &dyn ChatModel) -> Result<ChatReply, ModelError> {
    let parameters = json!({
        "type": "object",
        "properties": { "word": { "type": "string", "description": "The word to report." } },
        "required": ["word"],
    });
    let request = ChatRequest {
        messages: vec![
            Message::new(Role::System, "You test a tool. Answer by calling it, with nothing else."),
            Message::new(Role::User, format!("Call the tool `report` with the word \"{WORD}\".")),
        ],
        tools: vec![ToolSpec { name: "report".to_owned(), description: "Reports one word.".to_owned(), parameters }],
        ..ChatRequest::default()
    };
    tokio::time::timeout(TEST_LIMIT, model.chat(&request)).await.unwrap_or_else(|_| {
        let last = format!("no answer within {} s", TEST_LIMIT.as_secs());
        Err(ModelError::Unavailable { endpoint: "of the model".to_owned(), attempts: 1, last })
    })
}

fn failed(name: &str, spec: &ModelSpec, error: &ModelError) -> Failure {
    let failure = Failure::harness(format!("model {name}: {}", chain(error)));
    match (error, spec.provider.endpoint()) {
        (ModelError::Refused { status: 401 | 403, .. }, Some(e)) if e.key_env.is_some() => {
            failure.help(format!("is the key in {} valid, and for this provider?", e.key_env.as_deref().unwrap_or_default()))
        }
        (ModelError::Refused { status: 404, .. }, Some(e)) => {
            failure.help(format!("does the provider know the model {:?}, and is base_url {} right?", e.model, e.base_url))
        }
        (ModelError::Unavailable { .. }, Some(e)) if e.key_env.is_none() => {
            failure.help(format!("is a server listening at {}? docs/local-models.md says how to start one", e.base_url))
        }
        _ => failure,
    }
}

/// Whether tools work, and how.
fn verdict(reply: &ChatReply) -> (&'static str, String) {
    let Some(call) = reply.message.tool_calls.first() else {
        let said: String = reply.message.content.chars().take(120).collect();
        return ("no", format!("it answered without a call: {said:?}"));
    };
    match &call.arguments {
        Err(malformed) => ("malformed", format!("the arguments could not be read: {}", malformed.error)),
        Ok(arguments) if call.name == "report" && arguments.get("word").is_some_and(|word| word == WORD) => {
            ("yes", format!("called as asked ({})", reply.dialect))
        }
        Ok(_) => ("odd", format!("it called {} with {}", call.name, call.arguments_text())),
    }
}

fn report(global: &Global, spec: &ModelSpec, reply: &ChatReply) -> Result<(), Failure> {
    let (tools, how) = verdict(reply);
    let usage = &reply.usage;
    let cost = spec.price.as_ref().map(|price| usage.cost(price));
    if global.json {
        return print(
            &json!({
                "model": spec.name, "seconds": reply.took.as_secs_f64(), "usage": usage, "cost_usd": cost, "tools": tools,
                "how": how, "dialect": reply.dialect, "finish_reason": reply.finish_reason, "retries": reply.retries,
            })
            .to_string(),
        );
    }
    let estimated = if usage.estimated { " (estimated: the provider reports none)" } else { "" };
    let mut text = format!(
        "{}\n  latency  {:.2} s\n  tokens   {} in, {} out{estimated}\n  tools    {tools}: {how}\n",
        address(&spec.provider),
        reply.took.as_secs_f64(),
        usage.prompt,
        usage.completion,
    );
    if let Some(cost) = cost {
        text = format!("{text}  cost     ${cost:.6}\n");
    }
    if reply.message.reasoning.is_some() {
        text.push_str("  thinks   yes; its thoughts are kept apart from the answer\n");
    }
    for retry in &reply.retries {
        text = format!("{text}  retried  {retry}\n");
    }
    print(&text)
}

fn address(provider: &Provider) -> String {
    provider.endpoint().map(|e| format!("{} at {}", e.model, e.base_url)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MalformedArguments, ToolCall, Usage};

    fn reply(call: Option<ToolCall>) -> ChatReply {
        let mut message = Message::new(Role::Assistant, "Hello.");
        message.tool_calls.extend(call);
        ChatReply {
            message,
            usage: Usage::default(),
            finish_reason: String::new(),
            dialect: "native".to_owned(),
            retries: Vec::new(),
            took: Duration::ZERO,
        }
    }

    fn call(name: &str, word: &str) -> ToolCall {
        let arguments = serde_json::Map::from_iter([("word".to_owned(), json!(word))]);
        ToolCall { id: "c".to_owned(), name: name.to_owned(), arguments: Ok(arguments) }
    }

    #[test]
    fn only_the_call_that_was_asked_for_counts() {
        assert_eq!(verdict(&reply(Some(call("report", WORD)))).0, "yes");
        assert_eq!(verdict(&reply(Some(call("report", "steady")))).0, "odd");
        assert_eq!(verdict(&reply(Some(call("other", WORD)))).0, "odd");
        assert_eq!(verdict(&reply(None)), ("no", "it answered without a call: \"Hello.\"".to_owned()));
        let malformed = MalformedArguments { text: "{".to_owned(), error: "EOF".to_owned() };
        assert_eq!(verdict(&reply(Some(ToolCall { arguments: Err(malformed), ..call("report", WORD) }))).0, "malformed");
    }

    #[test]
    fn tables_are_aligned() {
        let rows = [["A", "B", "C", "D"], ["long", "x", "yy", "z"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "A     B  C   D\nlong  x  yy  z\n");
    }
}
