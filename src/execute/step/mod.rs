//! The interpreter of pipelines: a file for each family of steps.

mod allowance;
mod converse;
mod disturb;
mod prepare;
mod restore;
mod run_child;

use std::future::Future;
use std::pin::Pin;

use serde_json::{Value, json};

use super::judge::span;
use super::stop::Stop;
use super::trial::Trial;
use crate::event::FINAL;
use crate::manifest::Step;
use crate::manifest::pipeline::{Repeat, Set, Verify};
use crate::template;

/// Rounds that no manifest can ask for more of: a bound on the bound.
const ROUNDS_MAX: u64 = 1000;

impl Trial {
    /// Runs steps in order.
    pub(super) fn steps<'a>(&'a mut self, steps: &'a [Step]) -> Pin<Box<dyn Future<Output = Result<(), Stop>> + Send + 'a>> {
        Box::pin(async move {
            for step in steps {
                self.step(step).await?;
            }
            Ok(())
        })
    }

    async fn step(&mut self, step: &Step) -> Result<(), Stop> {
        // What talks to the model costs next to nothing, and would wait behind everybody's playbooks at each turn.
        if !matches!(step, Step::Say(_) | Step::Ask(_) | Step::Set(_) | Step::Repeat(_) | Step::When(_) | Step::Remedy(_)) {
            self.compute().await;
        }
        match step {
            Step::Say(s) => self.say(s),
            Step::Ask(s) => self.ask(s).await,
            Step::Probe(s) => self.probe(s).await,
            Step::Playbook(s) => self.playbook(s).await,
            Step::CheckSyntax(s) => self.check_syntax(s).await,
            Step::Set(s) => self.set(s),
            Step::Verify(s) => self.verify(s).await,
            Step::Wait(s) => {
                let d = span(&self.render("wait.for", &s.duration)?)?;
                self.pass(d).await
            }
            Step::Repeat(s) => self.repeat(s).await,
            Step::When(s) => {
                let branch = if self.holds(&s.condition)? { &s.then } else { &s.otherwise };
                self.steps(branch).await
            }
            Step::Deploy(_) => self.deploy().await,
            Step::Healthy(s) => self.healthy(s).await,
            Step::Baseline(s) => self.take_baseline(s).await,
            // A method that calibrates the checks may want the system whole.
            Step::Inject(_) | Step::Confirm(_) if !self.inputs.method.inject => Ok(()),
            Step::Inject(_) => self.inject().await,
            Step::Confirm(_) => self.confirm().await,
            Step::Remedy(_) => self.remedy().await,
            Step::Undo(_) => self.undo().await,
            Step::Restore(s) => self.restore(s).await,
        }
    }

    /// Stores the value of an expression in the method's state.
    fn set(&mut self, set: &Set) -> Result<(), Stop> {
        let value = self.evaluate(&set.value)?;
        let state = self.scope.entry("state").or_insert_with(|| json!({}));
        state[set.name.as_str()] = value;
        Ok(())
    }

    async fn repeat(&mut self, repeat: &Repeat) -> Result<(), Stop> {
        let max = self.evaluate(&repeat.max)?;
        let max = max.as_u64().ok_or_else(|| Stop::Infra(format!("repeat: max = {:?} is {max}, not a whole number", repeat.max)))?;
        if max > ROUNDS_MAX {
            return Err(Stop::Infra(format!("repeat: max = {:?} is {max}, more than the {ROUNDS_MAX} rounds allowed", repeat.max)));
        }
        // Within another loop: that one's round is the current one again afterwards.
        let outer = self.scope.get("loop").cloned();
        let reached = self.rounds(repeat, max).await?;
        match outer {
            Some(outer) => self.scope.insert("loop".to_owned(), outer),
            None => self.scope.remove("loop"),
        };
        match repeat.exhausted {
            Some(_) if !reached => Err(Stop::Budget(format!("{max} rounds were used up"))),
            _ => Ok(()),
        }
    }

    /// Whether `until` came true.
    async fn rounds(&mut self, repeat: &Repeat, max: u64) -> Result<bool, Stop> {
        for round in 1..=max {
            self.scope.insert("loop".to_owned(), json!({"index": round}));
            self.steps(&repeat.steps).await?;
            if let Some(until) = &repeat.until
                && self.holds(until)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// In a method: the verdict of the first set. In the trial: a verdict for each set.
    async fn verify(&mut self, verify: &Verify) -> Result<(), Stop> {
        if !self.in_method {
            self.enter("verify").await?;
            for name in &verify.checks {
                let judgement = self.judge(name, FINAL, false).await?;
                self.verdicts.push((name.clone(), judgement.passed));
            }
            return Ok(());
        }
        let Some(name) = verify.checks.first() else { return Ok(()) };
        let judgement = self.judge(name, "method", false).await?;
        let failed: Vec<Value> = judgement
            .samples
            .iter()
            .rev()
            .filter(|s| !s.passed)
            .take(5)
            .map(|s| json!({"check": s.check, "subject": s.subject, "note": s.note}))
            .collect();
        self.scope.insert("verdict".to_owned(), json!({"recovered": judgement.passed, "checks": failed}));
        Ok(())
    }

    /// Runs the method. Its budgets end it, not the trial; failures of ours end both.
    async fn remedy(&mut self) -> Result<(), Stop> {
        self.enter("remedy").await?;
        let method = self.inputs.method.clone();
        let from = self.now_ms();
        self.in_method = true;
        let end = self.steps(&method.steps).await;
        self.in_method = false;
        self.tally.remedy_ms = Some((from, self.now_ms()));
        match end {
            Ok(()) => {}
            Err(Stop::Budget(why)) => self.tally.exhausted = Some(why),
            Err(other) => return Err(other),
        }
        self.audit = super::strategy::audit(
            &self.cluster,
            &super::strategy::Scene {
                namespace: &self.inputs.system.namespace,
                target: &self.spec.target,
                baseline: &self.baseline,
                injected: &self.injected,
                patched: &self.patched,
                since_ms: from,
            },
        )
        .await?;
        Ok(())
    }

    pub(super) fn render(&self, name: &str, source: &str) -> Result<String, Stop> {
        template::render(name, source, &self.context()).map_err(|e| Stop::Infra(e.to_string()))
    }

    pub(super) fn evaluate(&self, expression: &str) -> Result<Value, Stop> {
        template::evaluate(expression, &self.context()).map_err(|e| Stop::Infra(e.to_string()))
    }

    /// Whether an expression is true, as templates see truth.
    fn holds(&self, expression: &str) -> Result<bool, Stop> {
        Ok(match self.evaluate(expression)? {
            Value::Null => false,
            Value::Bool(b) => b,
            Value::Number(n) => n.as_f64() != Some(0.0),
            Value::String(s) => !s.is_empty(),
            Value::Array(a) => !a.is_empty(),
            Value::Object(o) => !o.is_empty(),
        })
    }

    /// The text of a prompt file, rendered.
    pub(super) fn prompt(&self, name: &str) -> Result<String, Stop> {
        self.inputs.prompt(name, &self.context()).map_err(|e| Stop::Infra(e.to_string()))
    }
}
