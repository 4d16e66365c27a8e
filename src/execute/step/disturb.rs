//! Steps about the fault: inject, confirm, undo.

use serde_json::{Value, json};

use crate::cluster::ObjectRef;
use crate::event::{Event, Outcome};
use crate::execute::debts::{bring_back, remove};
use crate::execute::judge::{millis, span};
use crate::execute::stop::Stop;
use crate::execute::trial::Trial;
use crate::manifest::Undo;
use crate::plan::Injection;

/// Name of the one debt that an injection makes.
const DEBT: &str = "fault";

impl Trial {
    pub(super) async fn inject(&mut self) -> Result<(), Stop> {
        self.enter("inject").await?;
        let parts = self.inputs.render_injection().map_err(|e| Stop::Infra(e.to_string()))?;
        let planned = self.look_ahead(&parts).await?;
        let restore: Vec<Value> = planned.iter().map(|(at, before)| json!({"object": at, "spec": before["spec"]})).collect();
        // The debt holds everything before the first change is made.
        let nodes = self.baseline.everything.iter().filter(|(at, _)| at.kind == "Node");
        let nodes: Vec<(&ObjectRef, &Value)> = nodes.map(|(at, placing)| (at, &**placing)).collect();
        self.owe(json!({"delete": self.injected, "restore": restore, "nodes": nodes})).await?;
        let namespace = self.inputs.system.namespace.clone();
        for part in &parts {
            match part {
                Injection::Objects(objects) => {
                    for object in objects {
                        self.cluster.apply(object, &namespace).await.map_err(refused)?;
                    }
                }
                Injection::Patch { api_version, kind, name, patch_type, patch } => {
                    let chosen =
                        |at: &ObjectRef| at.api_version == *api_version && at.kind == *kind && name.as_ref().is_none_or(|n| *n == at.name);
                    for (at, before) in planned.iter().filter(|(at, _)| chosen(at)) {
                        let after = self.cluster.patch(at, patch_type, patch).await.map_err(refused)?;
                        self.patched.retain(|(p, _, _)| p != at);
                        self.patched.push((at.clone(), before.clone(), after));
                    }
                }
                Injection::Evict(selector) => self.evict(selector).await?,
            }
        }
        Ok(())
    }

    /// Notes the objects that will be created, and reads those that will be patched.
    async fn look_ahead(&mut self, parts: &[Injection]) -> Result<Vec<(ObjectRef, Value)>, Stop> {
        let namespace = self.inputs.system.namespace.clone();
        let mut planned: Vec<(ObjectRef, Value)> = Vec::new();
        for part in parts {
            match part {
                Injection::Objects(objects) => self.injected.extend(objects.iter().map(|o| ObjectRef::of(o, &namespace))),
                Injection::Patch { api_version, kind, name: Some(name), .. } => {
                    let at = ObjectRef::new(api_version, kind, &namespace, name);
                    let before = self.cluster.get(&at).await?;
                    let before = before.ok_or_else(|| Stop::Outcome(Outcome::InjectionFailed, format!("there is no {at} to patch")))?;
                    if !planned.iter().any(|(p, _)| *p == at) {
                        planned.push((at, before));
                    }
                }
                Injection::Patch { api_version, kind, name: None, .. } => {
                    for object in self.cluster.list(api_version, kind, &namespace, "").await? {
                        let at = ObjectRef::of(&object, &namespace);
                        if !planned.iter().any(|(p, _)| *p == at) {
                            planned.push((at, Value::clone(&object)));
                        }
                    }
                }
                Injection::Evict(_) => {}
            }
        }
        Ok(planned)
    }

    /// Deletes pods; their controllers make them anew.
    async fn evict(&self, selector: &str) -> Result<(), Stop> {
        let namespace = &self.inputs.system.namespace;
        for pod in self.cluster.list("v1", "Pod", namespace, selector).await? {
            self.cluster.delete(&ObjectRef::of(&pod, namespace)).await?;
        }
        Ok(())
    }

    async fn owe(&mut self, undo: Value) -> Result<(), Stop> {
        let undo = json!({"cluster": self.cluster.address(), "namespace": self.inputs.system.namespace, "undo": undo});
        self.events.send(Event::UndoOwed { trial: self.spec.id.clone(), debt: DEBT.to_owned(), undo }).await?;
        self.owes_undo = true;
        Ok(())
    }

    /// The injector says that it is at work, and the symptom has held without a break.
    pub(super) async fn confirm(&mut self) -> Result<(), Stop> {
        self.enter("confirm").await?;
        let confirm = self.inputs.fault.confirm.clone();
        let (hold, poll, limit) = (millis(span(&confirm.hold)?), span(&confirm.poll)?, span(&confirm.timeout)?);
        let end = self.now_ms().saturating_add(millis(limit));
        let mut since = None;
        loop {
            let injected = match &confirm.condition {
                Some(c) => self.condition(c).await?,
                None => true,
            };
            let symptom = injected && !self.judge(&confirm.symptom, "confirm", true).await?.passed;
            let now = self.now_ms();
            since = if symptom { since.or(Some(now)) } else { None };
            if since.is_some_and(|s| now.saturating_sub(s) >= hold) {
                return Ok(());
            }
            if now >= end {
                let why = if injected { "the symptom did not hold" } else { "the injector did not report success" };
                return Err(Stop::Outcome(Outcome::InjectionFailed, format!("{why} within confirm.timeout = {:?}", confirm.timeout)));
            }
            self.pass(poll.max(std::time::Duration::from_millis(100))).await?;
        }
    }

    async fn condition(&self, name: &str) -> Result<bool, Stop> {
        for at in &self.injected {
            let Some(object) = self.cluster.get(at).await? else { return Ok(false) };
            let met = object["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == name && c["status"] == "True");
            if !met {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the fault away. Nothing to do when it was never injected.
    pub(super) async fn undo(&mut self) -> Result<(), Stop> {
        if !self.owes_undo {
            return Ok(());
        }
        self.enter("undo").await?;
        let (timeout, evict) = match self.inputs.fault.undo.clone() {
            Undo::Delete(d) => (d.timeout, false),
            Undo::Restore(_) => ("0s".to_owned(), false),
            Undo::All(all) => (all.timeout, all.evict),
        };
        let (limit, begun) = (span(&timeout)?, tokio::time::Instant::now());
        for at in &self.injected {
            remove(&self.cluster, at, limit).await?;
        }
        for (at, before, _) in &self.patched {
            bring_back(&self.cluster, at, &before["spec"]).await?;
        }
        self.tally.waiting += begun.elapsed();
        if evict {
            self.evict(&format!("app={}", self.spec.target)).await?;
        }
        self.owes_undo = false;
        self.events.send(Event::UndoPaid { trial: self.spec.id.clone(), debt: DEBT.to_owned() }).await
    }
}

fn refused(e: crate::cluster::ClusterError) -> Stop {
    match e.code() {
        Some(_) => Stop::Outcome(Outcome::InjectionFailed, e.to_string()),
        None => e.into(),
    }
}
