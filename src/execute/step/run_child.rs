//! Steps that run what the model wrote: probe and playbook.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::ansible::{CommandOutcome, Finish, PlaybookOutcome, Timekeeping, Uses};
use crate::event::{Approval, Event, PlaybookRan, Probed};
use crate::execute::approve::Question;
use crate::execute::judge::span;
use crate::execute::stop::Stop;
use crate::execute::tally::LastPlaybook;
use crate::execute::trial::Trial;
use crate::manifest::pipeline::{CheckSyntax, Playbook, Probe};

impl Trial {
    pub(super) async fn probe(&mut self, probe: &Probe) -> Result<(), Stop> {
        if self.tally.probes >= self.inputs.budgets.probes {
            return Err(Stop::Budget(format!("the budget of {} probes is used up", self.inputs.budgets.probes)));
        }
        let Some(command) = self.text_of(&probe.command)? else {
            self.answer("No command was given.".to_owned());
            return Ok(());
        };
        let begun = Instant::now();
        let limit = span(&self.render("probe.timeout", &probe.timeout)?)?;
        let time = self.timekeeping();
        let outcome = self
            .workspace
            .run_command(&self.shared.toolchain, &command, limit, &time, &self.shared.cancel)
            .await
            .map_err(|e| Stop::Infra(e.to_string()))?;
        let outcome = self.without_secrets(outcome);
        self.tally.children += begun.elapsed();
        self.tally.probes += 1;
        self.scope.insert("probes".to_owned(), self.tally.probes.into());
        self.scope.insert("probe".to_owned(), describe(&outcome, probe.max_output));
        let text = self.prompt(&probe.answer)?;
        self.answer(text);
        self.events.send(Event::Probed(Probed { trial: self.spec.id.clone(), command, outcome })).await
    }

    pub(super) async fn playbook(&mut self, playbook: &Playbook) -> Result<(), Stop> {
        let Some(code) = self.text_of(&playbook.code)? else {
            // No playbook is an outcome of its own; running Ansible on nothing would blur it.
            return Ok(());
        };
        if self.tally.attempts >= self.inputs.budgets.playbooks {
            return Err(Stop::Budget(format!("the budget of {} playbooks is used up", self.inputs.budgets.playbooks)));
        }
        let limit = span(&self.render("playbook.timeout", &playbook.timeout)?)?;
        let time = self.timekeeping();
        let rules = self.inputs.policy.rules();
        let approval = self.approve(&code).await?;
        let begun = Instant::now();
        let outcome = if approval.as_ref().is_some_and(|a| !a.allowed) {
            PlaybookOutcome::disapproved()
        } else {
            let ran = self.workspace.run_playbook(&self.shared.toolchain, &code, &rules, limit, &time, &self.shared.cancel).await;
            ran.map_err(|e| Stop::Infra(e.to_string()))?
        };
        let outcome = self.without_secrets(outcome);
        let spent = begun.elapsed();
        self.tally.children += spent;
        self.tally.playbook += spent;
        self.tally.attempts += 1;
        self.tally.last = LastPlaybook::of(&outcome);
        let mut shown = describe(&outcome.command, playbook.max_output);
        shown["succeeded"] = (self.tally.last == LastPlaybook::Ran).into();
        shown["valid"] = outcome.valid.into();
        self.scope.insert("playbook".to_owned(), shown);
        self.scope.insert("attempt".to_owned(), self.tally.attempts.into());
        self.scope.insert("verdict".to_owned(), json!({"recovered": false, "checks": []}));
        if let Some(answer) = &playbook.answer {
            let text = self.prompt(answer)?;
            self.answer(text);
        }
        let attempt = self.tally.attempts;
        self.events
            .send(Event::PlaybookRan(PlaybookRan { trial: self.spec.id.clone(), attempt, uses: Uses::of(&code), code, approval, outcome }))
            .await
    }

    /// Asks a person whether a playbook may run, where the experiment wants it and its rules do not forbid it anyway.
    async fn approve(&mut self, code: &str) -> Result<Option<Approval>, Stop> {
        let policy = &self.inputs.policy;
        if !policy.ask || !Uses::of(code).denied(&policy.rules()).is_empty() {
            return Ok(None);
        }
        let Some(approver) = self.shared.approver.clone() else {
            return Err(Stop::Infra("policy.ask wants a person to be asked, and there is none".to_owned()));
        };
        self.idle();
        let (before, patience) = (self.patience.total(), Arc::clone(&self.patience));
        let waits = patience.begin();
        let question = Question { trial: &self.spec, attempt: self.tally.attempts + 1, code };
        let allowed = approver.ask(question).await.map_err(Stop::Infra)?;
        drop(waits);
        self.compute().await;
        Ok(Some(Approval { allowed, waited_s: self.patience.total().saturating_sub(before).as_secs_f64() }))
    }

    /// Has Ansible read a playbook. It counts as no attempt: nothing is run.
    pub(super) async fn check_syntax(&mut self, check: &CheckSyntax) -> Result<(), Stop> {
        let syntax = match self.text_of(&check.code)? {
            None => json!({"valid": false, "text": "there is no playbook"}),
            Some(code) => {
                let begun = Instant::now();
                let limit = span(&self.render("check-syntax.timeout", &check.timeout)?)?;
                let time = self.timekeeping();
                let outcome = self
                    .workspace
                    .check_syntax(&self.shared.toolchain, &code, limit, &time, &self.shared.cancel)
                    .await
                    .map_err(|e| Stop::Infra(e.to_string()))?;
                self.tally.children += begun.elapsed();
                json!({"valid": outcome.finish == Finish::Exited(0), "text": describe(&outcome, check.max_output)["text"]})
            }
        };
        self.scope.insert("syntax".to_owned(), syntax);
        if let Some(answer) = &check.answer {
            let text = self.prompt(answer)?;
            self.answer(text);
        }
        Ok(())
    }

    /// The text that an expression yields; `None` when it is missing, no text, or blank.
    fn text_of(&self, expression: &str) -> Result<Option<String>, Stop> {
        let guarded = format!("({expression})|default('')");
        Ok(match self.evaluate(&guarded)? {
            Value::String(s) if !s.trim().is_empty() => Some(s),
            _ => None,
        })
    }

    /// What came of a child, without the keys of models: none is in its environment, but a child that runs as the same
    /// user can read the environments of others.
    fn without_secrets<T: Serialize + DeserializeOwned>(&self, outcome: T) -> T {
        let clean = serde_json::to_value(&outcome).ok().and_then(|value| self.shared.secrets.redacted(&value));
        clean.and_then(|value| serde_json::from_value(value).ok()).unwrap_or(outcome)
    }

    fn timekeeping(&self) -> Timekeeping {
        let (now, working) = (Arc::clone(self.cluster.pace()), Arc::clone(self.cluster.pace()));
        Timekeeping {
            now_ms: Arc::new(move || now.now_ms()),
            environment: self.cluster.pace().child_environment(),
            working: Arc::new(move |rest| Box::new(working.working(rest))),
        }
    }
}

/// An outcome as templates see it. The text keeps the start and the end of a long output.
fn describe(outcome: &CommandOutcome, max: usize) -> Value {
    let exit = match outcome.finish {
        Finish::Exited(code) => Some(code),
        Finish::Signalled(_) | Finish::TimedOut => None,
    };
    let mut text = outcome.stdout.clone();
    if !outcome.stderr.is_empty() {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&outcome.stderr);
    }
    json!({
        "stdout": shorten(&outcome.stdout, max),
        "stderr": shorten(&outcome.stderr, max),
        "exit": exit,
        "timed_out": outcome.finish == Finish::TimedOut,
        "text": shorten(&text, max),
    })
}

/// At most `max` characters: the first and the last half, with a note between them.
fn shorten(text: &str, max: usize) -> String {
    let count = text.chars().count();
    if count <= max {
        return text.to_owned();
    }
    let half = max / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(count - half).collect();
    format!("{head}\n[... {} characters left out ...]\n{tail}", count - 2 * half)
}

#[cfg(test)]
mod tests {
    use super::shorten;

    #[test]
    fn long_output_keeps_both_ends() {
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("äbcdefgh", 4), "äb\n[... 4 characters left out ...]\ngh");
    }
}
