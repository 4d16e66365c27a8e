//! Steps before the fault: deploy, healthy, baseline.

use std::time::Duration;

use serde_json::json;

use super::restore::everything;
use crate::cluster::ObjectRef;
use crate::event::Outcome;
use crate::execute::baseline::Baseline;
use crate::execute::judge::{Readiness, millis, ready, span};
use crate::execute::stop::Stop;
use crate::execute::trial::Trial;
use crate::manifest::pipeline::{Baseline as BaselineStep, Healthy};

/// Pause between looks at a system that starts.
const LOOK: Duration = Duration::from_secs(1);

impl Trial {
    pub(super) async fn deploy(&mut self) -> Result<(), Stop> {
        self.enter("deploy").await?;
        self.deploy_objects().await?;
        let limit = span(&self.inputs.system.deploy.ready_timeout)?;
        if self.wait_until_ready(limit).await? {
            return Ok(());
        }
        Err(Stop::Outcome(
            Outcome::UnhealthyBefore,
            format!("the system was not ready within deploy.ready_timeout = {:?}", self.inputs.system.deploy.ready_timeout),
        ))
    }

    async fn deploy_objects(&self) -> Result<(), Stop> {
        let namespace = &self.inputs.system.namespace;
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        self.cluster.apply(&object, "").await?;
        for object in self.inputs.render_system_manifests().map_err(|e| Stop::Infra(e.to_string()))? {
            self.cluster.apply(&object, namespace).await?;
        }
        if let Some(roles) = self.inputs.render_rights().map_err(|e| Stop::Infra(e.to_string()))? {
            let denials = self.inputs.policy.denials().map_err(Stop::Infra)?;
            self.cluster.grant(&self.cluster.without(roles, &denials).await?).await?;
        }
        Ok(())
    }

    pub(super) async fn healthy(&mut self, healthy: &Healthy) -> Result<(), Stop> {
        self.enter("healthy").await?;
        for attempt in 0..=healthy.redeploys {
            if attempt > 0 {
                self.delete_namespace().await?;
                self.deploy().await?;
                self.enter("healthy").await?;
            }
            if self.is_healthy(&healthy.checks).await? {
                return Ok(());
            }
        }
        Err(Stop::Outcome(Outcome::UnhealthyBefore, format!("checks failed on the system without a fault: {}", healthy.checks.join(", "))))
    }

    async fn is_healthy(&mut self, checks: &[String]) -> Result<bool, Stop> {
        // Checks that compare with the deployed state need it before there is a fault.
        self.baseline = self.snapshot(0).await?;
        for name in checks {
            if !self.judge(name, "healthy", false).await?.passed {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) async fn take_baseline(&mut self, step: &BaselineStep) -> Result<(), Stop> {
        self.enter("baseline").await?;
        let watch = span(&step.watch)?;
        self.pass(watch).await?;
        self.baseline = self.snapshot(watch.as_secs()).await?;
        Ok(())
    }

    async fn snapshot(&self, watched_s: u64) -> Result<Baseline, Stop> {
        let services: Vec<String> = self.inputs.system.services.iter().map(|s| s.name.clone()).collect();
        let namespace = &self.inputs.system.namespace;
        let mut baseline = Baseline::take(&self.cluster, namespace, &services, watched_s).await?;
        if !self.cluster.is_disposable() {
            baseline.everything = everything(&self.cluster, namespace).await?;
        }
        Ok(baseline)
    }

    pub(super) async fn wait_until_ready(&mut self, limit: Duration) -> Result<bool, Stop> {
        let namespace = self.inputs.system.namespace.clone();
        let wanted: u32 = self.inputs.system.services.iter().map(|s| s.replicas).sum();
        let end = self.now_ms().saturating_add(millis(limit));
        loop {
            let pods = self.cluster.list("v1", "Pod", &namespace, "").await?;
            let all = pods.iter().all(|p| ready(p) == Readiness::Ready || p["status"]["phase"] == "Succeeded");
            let enough = pods.len() >= usize::try_from(wanted).unwrap_or(usize::MAX);
            if all && enough && self.is_measured(&namespace, pods.len()).await? {
                return Ok(true);
            }
            if self.now_ms() >= end {
                return Ok(false);
            }
            self.pass(LOOK).await?;
        }
    }

    /// Whether the metrics API knows the pods: it lags behind, and checks that need it would take that for a symptom.
    /// A cluster without that API does not hold a trial up here; the checks that need it will say so.
    async fn is_measured(&self, namespace: &str, pods: usize) -> Result<bool, Stop> {
        match self.cluster.pod_metrics(namespace, "").await {
            Ok(rows) => Ok(rows.len() >= pods),
            Err(e) if e.code() == Some(404) => Ok(true),
            Err(e) => Err(e.into()),
        }
    }

    pub(super) async fn delete_namespace(&mut self) -> Result<(), Stop> {
        let at = ObjectRef::new("v1", "Namespace", "", &self.inputs.system.namespace);
        self.cluster.delete(&at).await?;
        let end = self.now_ms().saturating_add(millis(span(&self.inputs.system.deploy.ready_timeout)?));
        while self.cluster.get(&at).await?.is_some() {
            if self.now_ms() >= end {
                return Err(Stop::Infra(format!("the namespace {} was not gone in time", at.name)));
            }
            self.pass(LOOK).await?;
        }
        Ok(())
    }
}
