//! Steps that talk to the model: say and ask.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::event::{Asked, Event};
use crate::execute::stop::Stop;
use crate::execute::trial::Trial;
use crate::manifest::pipeline::{Ask, Say};
use crate::model::{ChatReply, ChatRequest, Message, Role, ToolSpec};

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

    pub(super) async fn ask(&mut self, ask: &Ask) -> Result<(), Stop> {
        let budgets = &self.inputs.budgets;
        if self.tally.calls >= budgets.calls {
            return Err(Stop::Budget(format!("the budget of {} model calls is used up", budgets.calls)));
        }
        let used = self.tally.usage.prompt + self.tally.usage.completion;
        if used >= budgets.tokens_per_trial {
            return Err(Stop::Budget(format!("{used} of {} tokens are used up", budgets.tokens_per_trial)));
        }
        let request = self.request(ask)?;
        let begun = Instant::now();
        let reply = self.model.chat(&request).await.map_err(|e| Stop::Infra(e.to_string()))?;
        let spent = begun.elapsed();
        self.tally.calls += 1;
        self.tally.model += spent;
        self.tally.usage += reply.usage;
        let cost = self.inputs.model.price.as_ref().map(|p| reply.usage.cost(p));
        if let Some(c) = cost {
            *self.tally.cost_usd.get_or_insert(0.0) += c;
        }
        if self.shared.charge_model {
            self.pass(spent).await?;
        }
        self.take(reply, cost, spent).await
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

    async fn take(&mut self, reply: ChatReply, cost_usd: Option<f64>, spent: Duration) -> Result<(), Stop> {
        let mut message = reply.message;
        // One call at a time: each must be answered before the next, and later ones were made without knowing the answer.
        message.tool_calls.truncate(1);
        let call = message.tool_calls.first().cloned();
        let (arguments, malformed) = match call.as_ref().map(|c| &c.arguments) {
            Some(Ok(a)) => (Value::Object(a.clone()), String::new()),
            Some(Err(m)) => (json!({}), m.error.clone()),
            None => (json!({}), String::new()),
        };
        let tool = call.map(|c| c.name).unwrap_or_default();
        let none = tool.is_empty();
        self.scope.insert(
            "reply".to_owned(),
            json!({"tool": tool, "text": message.content, "arguments": arguments, "malformed": malformed, "none": none}),
        );
        self.conversation.push(message);
        self.events
            .send(Event::Asked(Asked {
                trial: self.spec.id.clone(),
                call: self.tally.calls,
                tool,
                usage: reply.usage,
                cost_usd,
                real_s: spent.as_secs_f64(),
                retries: u32::try_from(reply.retries.len()).unwrap_or(u32::MAX),
                dialect: reply.dialect,
            }))
            .await
    }

    /// Answers the open tool call, or, when there is none, says it as the harness.
    pub(super) fn answer(&mut self, text: String) {
        let open = self.conversation.last().and_then(|m| m.tool_calls.first()).map(|c| c.id.clone());
        let mut message = Message::new(if open.is_some() { Role::Tool } else { Role::User }, text);
        message.tool_call_id = open;
        self.conversation.push(message);
    }
}
