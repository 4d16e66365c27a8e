//! Steps that talk to the model: say and ask.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::allowance;
use crate::event::{Asked, Event, Outcome};
use crate::execute::judge::span;
use crate::execute::spending::Amount;
use crate::execute::stop::Stop;
use crate::execute::trial::Trial;
use crate::manifest::pipeline::{Ask, Say};
use crate::model::{ChatReply, ChatRequest, Message, Role, ToolCall, ToolSpec};

impl Trial {
    pub(super) fn say(&mut self, say: &Say) -> Result<(), Stop> {
        let text = self.prompt(&say.prompt)?;
        if say.role == Role::Tool {
            self.answer(text);
        } else {
            self.conversation.push(Message::new(say.role, text));
        }
        Ok(())
    }

    /// Asks the model. A call that cannot be used is answered with what is wrong with it, as often as the method allows.
    pub(super) async fn ask(&mut self, ask: &Ask) -> Result<(), Stop> {
        let mut malformed = self.turn(ask, false).await?;
        let Some(correction) = self.inputs.method.correction.clone() else { return Ok(()) };
        for _ in 0..correction.turns {
            if !malformed {
                break;
            }
            let text = self.prompt(&correction.prompt)?;
            self.answer(text);
            self.tally.corrections += 1;
            malformed = self.turn(ask, true).await?;
        }
        Ok(())
    }

    /// One turn. True: the reply is a call that cannot be used.
    async fn turn(&mut self, ask: &Ask, correction: bool) -> Result<bool, Stop> {
        let request = self.request(ask)?;
        let price = self.inputs.model.price;
        let (estimate, expected) = allowance::expected(&request, &self.tally, self.shared.spending.longest_reply(), price.as_ref());
        let model_time = self.inputs.budgets.model_time.as_deref().map(span).transpose()?;
        if let Some(why) = allowance::refusal(&self.inputs.budgets, &self.tally, expected, model_time) {
            return Err(Stop::Budget(why));
        }
        let shared = Arc::clone(&self.shared);
        // The run's budget is nothing that the model did: the trial is not scored, and can be resumed.
        let reserved =
            shared.spending.reserve(expected).map_err(|why| Stop::Outcome(Outcome::Cancelled, format!("the run's budget: {why}")))?;
        self.idle();
        let begun = Instant::now();
        let left = model_time.map(|most| most.saturating_sub(self.tally.model));
        let answered = match left {
            Some(left) => tokio::time::timeout(left, self.model.chat(&request)).await,
            None => Ok(self.model.chat(&request).await),
        };
        let spent = begun.elapsed();
        self.tally.model += spent;
        let Ok(reply) = answered else {
            let limit = self.inputs.budgets.model_time.as_deref().unwrap_or_default();
            return Err(Stop::Budget(format!("model_time = {limit:?} was used up while the model answered")));
        };
        let reply = reply.map_err(|e| Stop::Infra(e.to_string()))?;
        self.tally.calls += 1;
        self.tally.usage += reply.usage;
        self.tally.last_prompt = Some((estimate, reply.usage.prompt));
        self.tally.longest_reply = self.tally.longest_reply.max(reply.usage.completion);
        let cost = price.map(|p| reply.usage.cost(&p));
        if let Some(c) = cost {
            *self.tally.cost_usd.get_or_insert(0.0) += c;
        }
        let tokens = reply.usage.prompt.saturating_add(reply.usage.completion);
        reserved.settle(Amount { calls: 1, tokens, usd: cost.unwrap_or(0.0) }, reply.usage.completion);
        if self.shared.charge_model {
            // What the answer itself took, and not the waiting for a busy provider: a replay takes the same.
            self.pass(reply.took).await?;
        }
        self.take(&request, reply, Account { cost_usd: cost, spent, correction }).await
    }

    fn request(&self, ask: &Ask) -> Result<ChatRequest, Stop> {
        let mut tools = Vec::new();
        for name in &ask.tools {
            let tool = self.inputs.method.tools.get(name).ok_or_else(|| {
                Stop::Infra(format!("the method {:?} offers the tool {name:?}, which is defined nowhere", self.spec.method))
            })?;
            tools.push(ToolSpec { name: name.clone(), description: tool.description.clone(), parameters: tool.parameters.clone() });
        }
        Ok(ChatRequest {
            messages: self.conversation.clone(),
            tools,
            tool_choice: ask.tool_choice,
            seed: Some(self.spec.seed & 0x7fff_ffff),
            sample: self.sample(),
            reference: self.reference()?,
        })
    }

    /// The trial's place in the plan: what two trials that say the same to the model still differ in.
    fn sample(&self) -> String {
        let s = &self.spec;
        format!("{}/{}/{}/{}/{}/{}/{}", s.system, s.sequence, s.index, s.fault, s.target, s.method, s.repeat)
    }

    /// What a scripted policy may know.
    fn reference(&self) -> Result<Value, Stop> {
        self.inputs.reference().map_err(|e| Stop::Infra(e.to_string()))
    }

    async fn take(&mut self, request: &ChatRequest, reply: ChatReply, account: Account) -> Result<bool, Stop> {
        let mut message = reply.message;
        // One call at a time: each must be answered before the next, and later ones were made without knowing the answer.
        message.tool_calls.truncate(1);
        let call = message.tool_calls.first().cloned();
        let malformed = call.as_ref().map(|call| unusable(call, &request.tools)).unwrap_or_default();
        let arguments = call.as_ref().and_then(|c| c.arguments.clone().ok()).map_or_else(|| json!({}), Value::Object);
        let tool = call.map(|c| c.name).unwrap_or_default();
        let none = message.tool_calls.is_empty();
        self.scope.insert(
            "reply".to_owned(),
            json!({"tool": tool, "text": message.content, "arguments": arguments, "malformed": malformed, "none": none}),
        );
        self.conversation.push(message);
        let is_malformed = !malformed.is_empty();
        self.events
            .send(Event::Asked(Asked {
                trial: self.spec.id.clone(),
                call: self.tally.calls,
                tool,
                usage: reply.usage,
                cost_usd: account.cost_usd,
                real_s: account.spent.as_secs_f64(),
                retries: u32::try_from(reply.retries.len()).unwrap_or(u32::MAX),
                dialect: reply.dialect,
                malformed,
                correction: account.correction,
            }))
            .await?;
        Ok(is_malformed)
    }

    /// Answers the open tool call, or, when there is none, says it as the harness.
    pub(super) fn answer(&mut self, text: String) {
        let open = self.conversation.last().and_then(|m| m.tool_calls.first()).map(|c| c.id.clone());
        let mut message = Message::new(if open.is_some() { Role::Tool } else { Role::User }, text);
        message.tool_call_id = open;
        self.conversation.push(message);
    }
}

/// What is noted of a turn beside its reply.
struct Account {
    cost_usd: Option<f64>,
    spent: Duration,
    correction: bool,
}

/// What is wrong with a call, so that it cannot be used; empty when nothing is.
fn unusable(call: &ToolCall, tools: &[ToolSpec]) -> String {
    let Some(tool) = tools.iter().find(|tool| tool.name == call.name) else {
        let offered: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        return format!("there is no tool {:?}; offered: {}", call.name, offered.join(", "));
    };
    let arguments = match &call.arguments {
        Ok(arguments) => arguments,
        Err(malformed) => return format!("the arguments are no JSON object: {}", malformed.error),
    };
    let names = tool.parameters.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for name in names {
        let kind = tool.parameters.pointer(&format!("/properties/{name}/type")).and_then(Value::as_str);
        match (arguments.get(name), kind) {
            (None | Some(Value::Null), _) => return format!("the argument {name:?} is missing"),
            (Some(value), Some("string")) if !value.is_string() => return format!("the argument {name:?} is no text"),
            _ => {}
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MalformedArguments;

    #[test]
    fn calls_that_cannot_be_used_are_told_from_those_that_can() {
        let parameters = json!({ "type": "object", "required": ["code"], "properties": { "code": { "type": "string" } } });
        let tools = [ToolSpec { name: "play".to_owned(), description: String::new(), parameters }];
        let call = |name: &str, arguments: Value| {
            let arguments = match arguments {
                Value::Object(map) => Ok(map),
                other => Err(MalformedArguments { text: other.to_string(), error: "EOF".to_owned() }),
            };
            unusable(&ToolCall { id: "c".to_owned(), name: name.to_owned(), arguments }, &tools)
        };
        assert_eq!(call("play", json!({ "code": "x", "more": 1 })), "");
        assert!(call("pray", json!({ "code": "x" })).contains("offered: play"));
        assert!(call("play", json!("{")).contains("no JSON object: EOF"));
        assert!(call("play", json!({})).contains("\"code\" is missing"));
        assert!(call("play", json!({ "code": 1 })).contains("\"code\" is no text"));
    }
}
