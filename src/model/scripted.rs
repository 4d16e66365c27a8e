//! A scripted model: a fixed policy in place of a language model, for reference repairs and for tests.
//!
//! Input: the turns of a model file and, as template variables, the conversation and what the executor lets a policy
//! know. Output: the first turn whose condition holds. No network, no key, no memory: a conversation that is asked
//! again is answered the same.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};

use crate::template::{self, TemplateError};

use super::{ChatModel, ChatReply, ChatRequest, Message, ModelError, Problem, Role, Scripted, ToolCall, Turn, Usage};

/// A model that follows a script.
#[derive(Debug)]
pub(super) struct ScriptedModel {
    policy: Scripted,
}

impl ScriptedModel {
    /// A model that follows `policy`.
    pub(super) fn new(policy: Scripted) -> Self {
        Self { policy }
    }

    fn answer(&self, request: &ChatRequest) -> Result<ChatReply, ModelError> {
        let context = context(request)?;
        for (index, turn) in self.policy.turns.iter().enumerate() {
            let holds = match &turn.when {
                Some(condition) => holds(condition, &context).map_err(|error| script_error(index, "when", &error))?,
                None => true,
            };
            if holds {
                return play(index, turn, &context, request);
            }
        }
        Err(ModelError::Script(format!("none of its {} turns applies", self.policy.turns.len())))
    }
}

/// What is wrong with the expressions and templates of a policy, by paths within it.
pub(super) fn problems(policy: &Scripted) -> Vec<Problem> {
    let mut found = Vec::new();
    if policy.turns.is_empty() {
        found.push(Problem::new("turns", "must hold at least one turn"));
    }
    for (index, turn) in policy.turns.iter().enumerate() {
        let mut note = |field: &str, error: Option<TemplateError>| {
            found.extend(error.map(|error| Problem::new(format!("turns[{index}].{field}"), error.message)));
        };
        note("when", turn.when.as_deref().and_then(|condition| template::undeclared_in_expression(condition).err()));
        for (name, source) in &turn.arguments {
            note(&format!("arguments.{name}"), template::undeclared(name, source).err());
        }
        note("text", template::undeclared("text", &turn.text).err());
    }
    found
}

impl ChatModel for ScriptedModel {
    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ModelError>> {
        async move { self.answer(request) }.boxed()
    }
}

/// Evaluated first, since a condition that has no value at all, as when a name is misspelt, would never hold, silently.
fn holds(condition: &str, context: &Value) -> Result<bool, TemplateError> {
    template::evaluate(condition, context)?;
    template::holds(condition, context)
}

fn script_error(index: usize, field: &str, error: &TemplateError) -> ModelError {
    ModelError::Script(format!("turns[{index}].{field}: {}", error.message))
}

/// The variables of the templates: the reference's fields, and over them `tools`, `turn` and `messages`.
fn context(request: &ChatRequest) -> Result<Value, ModelError> {
    let mut context = match &request.reference {
        Value::Object(fields) => fields.clone(),
        Value::Null => Map::new(),
        other => return Err(ModelError::Script(format!("the reference must be a JSON object, not {other}"))),
    };
    let messages = serde_json::to_value(&request.messages)
        .map_err(|error| ModelError::Script(format!("the conversation cannot be shown to templates: {error}")))?;
    context.insert("tools".to_owned(), request.tools.iter().map(|tool| tool.name.clone()).collect());
    context.insert("turn".to_owned(), json!(request.messages.iter().filter(|message| message.role == Role::Assistant).count()));
    context.insert("messages".to_owned(), messages);
    Ok(Value::Object(context))
}

fn play(index: usize, turn: &Turn, context: &Value, request: &ChatRequest) -> Result<ChatReply, ModelError> {
    let render = |field: &str, source: &str| template::render(field, source, context).map_err(|error| script_error(index, field, &error));
    let mut message = Message::new(Role::Assistant, render("text", &turn.text)?);
    if let Some(tool) = &turn.tool {
        let mut arguments = Map::new();
        for (name, source) in &turn.arguments {
            arguments.insert(name.clone(), Value::String(render(&format!("arguments.{name}"), source)?));
        }
        let id = format!("call-{}", request.messages.iter().map(|message| message.tool_calls.len()).sum::<usize>() + 1);
        message.tool_calls.push(ToolCall { id, name: tool.clone(), arguments: Ok(arguments) });
    }
    let (finish_reason, dialect) = if turn.tool.is_some() { ("tool_calls", "native") } else { ("stop", "none") };
    let usage = Usage::estimate(request.characters(), message.characters());
    Ok(ChatReply {
        message,
        usage,
        finish_reason: finish_reason.to_owned(),
        dialect: dialect.to_owned(),
        retries: Vec::new(),
        took: Duration::ZERO,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelSpec, Servers, ToolSpec, open};

    fn tool(name: &str) -> ToolSpec {
        ToolSpec { name: name.to_owned(), description: String::new(), parameters: json!({ "type": "object" }) }
    }

    fn ask(turns: &str, request: &ChatRequest) -> Result<ChatReply, ModelError> {
        let spec: ModelSpec = toml::from_str(&format!("name = 'script'\n[provider.scripted]\nturns = [\n{turns}\n]")).unwrap();
        let model = open(&spec, &|_| None, &Servers::default()).unwrap();
        model.chat(request).now_or_never().unwrap()
    }

    const PROBE_THEN_REPAIR: &str = "
        { when = \"turn == 0 and 'probe' in tools\", tool = 'probe', arguments = { cmds = 'kubectl get pods -n {{ namespace }}' } },
        { when = 'playbook is defined', tool = 'print_playbook', arguments = { code = '{{ playbook }}' } },
        { text = 'nothing for {{ namespace }}' },";

    #[test]
    fn the_first_turn_whose_condition_holds_answers() {
        let mut request = ChatRequest {
            messages: vec![Message::new(Role::User, "repair it")],
            tools: vec![tool("probe"), tool("print_playbook")],
            reference: json!({ "namespace": "shop", "playbook": "- hosts: all\n  x: \"{{ item }}\"\n" }),
            ..ChatRequest::default()
        };
        let first = ask(PROBE_THEN_REPAIR, &request).unwrap();
        assert_eq!(first.message.tool_calls[0].name, "probe");
        assert_eq!(first.message.tool_calls[0].arguments.as_ref().unwrap()["cmds"], "kubectl get pods -n shop");
        assert_eq!((first.dialect.as_str(), first.finish_reason.as_str()), ("native", "tool_calls"));
        assert!(first.usage.estimated && first.usage.prompt > 0 && first.usage.completion > 0);

        request.messages.push(first.message);
        let second = ask(PROBE_THEN_REPAIR, &request).unwrap();
        assert_eq!(second.message.tool_calls[0].id, "call-2");
        let code = &second.message.tool_calls[0].arguments.as_ref().unwrap()["code"];
        assert_eq!(code, "- hosts: all\n  x: \"{{ item }}\"\n", "values are inserted, not rendered again");
    }

    #[test]
    fn a_turn_without_tool_is_plain_text() {
        let request = ChatRequest { reference: json!({ "namespace": "shop" }), ..ChatRequest::default() };
        let reply = ask(PROBE_THEN_REPAIR, &request).unwrap();
        assert_eq!(reply.message.content, "nothing for shop");
        assert_eq!((reply.dialect.as_str(), reply.finish_reason.as_str()), ("none", "stop"));
    }

    #[test]
    fn mistakes_of_a_script_name_the_turn_and_the_field() {
        for (turns, part) in [
            ("{ text = '{{ absent }}' }", "turns[0].text"),
            ("{ when = 'absent == 1', text = 'x' }", "turns[0].when"),
            ("{ when = 'absent', text = 'x' }", "turns[0].when"),
            ("{ when = '1 +', text = 'x' }", "turns[0].when"),
            ("{ tool = 't', arguments = { code = '{{ absent }}' } }", "turns[0].arguments.code"),
            ("{ text = '{% for i in range(9000) %}{% for j in range(9000) %}{% endfor %}{% endfor %}' }", "turns[0].text"),
            ("{ when = 'false' }", "none of its 1 turns applies"),
        ] {
            let error = ask(turns, &ChatRequest::default()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
