//! Evaluating check sets. Every sample taken is kept, so that thresholds can be changed later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::baseline::{Baseline, label, text};
use super::check;
use super::stop::Stop;
use crate::cluster::{Cluster, ObjectRef};
use crate::event::Sample;
use crate::manifest::{Check, CheckSet, Stage, duration};

/// Everything that checks measure on.
pub(super) struct Judge<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) namespace: &'a str,
    pub(super) target: &'a str,
    pub(super) baseline: &'a Baseline,
    /// Objects of the injection.
    pub(super) injected: &'a [ObjectRef],
    /// Context of the templates in checks.
    pub(super) context: &'a Value,
}

/// What one check of one sample found; one for each subject measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Finding {
    pub(super) subject: String,
    pub(super) value: Option<f64>,
    pub(super) passed: bool,
    pub(super) note: String,
    /// Everything measured, by name: what other thresholds can be applied to later.
    pub(super) numbers: BTreeMap<String, f64>,
}

impl Finding {
    pub(super) fn pass(subject: impl Into<String>, value: f64) -> Self {
        Self { subject: subject.into(), value: Some(value), passed: true, ..Self::default() }
    }

    pub(super) fn fail(subject: impl Into<String>, value: Option<f64>, note: impl Into<String>) -> Self {
        Self { subject: subject.into(), value, passed: false, note: note.into(), ..Self::default() }
    }

    /// With what was measured.
    pub(super) fn with(mut self, numbers: impl IntoIterator<Item = (&'static str, f64)>) -> Self {
        self.numbers.extend(numbers.into_iter().map(|(name, value)| (name.to_owned(), value)));
        self
    }
}

/// Result of a check set.
#[derive(Debug, Clone, Default)]
pub(super) struct Judgement {
    pub(super) passed: bool,
    pub(super) samples: Vec<Sample>,
}

impl Judge<'_> {
    /// The whole set: the ready wait, then each stage until it passes or its window ends.
    pub(super) async fn evaluate(&self, set: &CheckSet) -> Result<Judgement, Stop> {
        self.cluster.pace().sleep(span(&set.settle)?).await;
        if let Some(limit) = &set.ready_wait {
            self.wait_ready(span(limit)?, span(&set.ready_poll)?).await?;
        }
        let mut judgement = Judgement { passed: true, samples: Vec::new() };
        for (n, stage) in (0..).zip(&set.stages) {
            if let Some(limit) = &stage.ready_wait {
                self.wait_ready(span(limit)?, span(&set.ready_poll)?).await?;
            }
            if !self.stage(n, stage, &mut judgement.samples).await? {
                judgement.passed = false;
                break;
            }
        }
        Ok(judgement)
    }

    /// One sample of each stage, nothing waited for: whether all are clean now.
    pub(super) async fn once(&self, set: &CheckSet) -> Result<Judgement, Stop> {
        let mut judgement = Judgement { passed: true, samples: Vec::new() };
        for (n, stage) in (0..).zip(&set.stages) {
            let frozen = self.frozen().await?;
            judgement.passed &= self.sample((n, 0), stage, &frozen, &mut judgement.samples).await?;
        }
        Ok(judgement)
    }

    async fn stage(&self, n: u32, stage: &Stage, samples: &mut Vec<Sample>) -> Result<bool, Stop> {
        let pace = self.cluster.pace();
        let (window, poll) = (span(&stage.window)?, span(&stage.poll)?.max(Duration::from_millis(100)));
        let end = pace.now_ms().saturating_add(millis(window));
        let frozen = self.frozen().await?;
        let mut clean = 0;
        let mut round = 0;
        loop {
            clean = if self.sample((n, round), stage, &frozen, samples).await? { clean + 1 } else { 0 };
            round += 1;
            if clean >= stage.need {
                return Ok(true);
            }
            // Bounded: every round but the last lets at least `poll` of the cluster's time pass. A round begins within the window,
            // as in the published checks, or not at all.
            let left = Duration::from_millis(end.saturating_sub(pace.now_ms()));
            pace.sleep(poll.min(left)).await;
            if pace.now_ms() >= end {
                return Ok(false);
            }
        }
    }

    /// One round of a stage, both by their number.
    async fn sample(
        &self,
        (n, round): (u32, u32),
        stage: &Stage,
        frozen: &BTreeSet<String>,
        samples: &mut Vec<Sample>,
    ) -> Result<bool, Stop> {
        let mut clean = true;
        for (position, check) in (0..).zip(&stage.all) {
            let at = self.cluster.pace().now_ms();
            let mut findings = self.measure(check, frozen).await?;
            if findings.is_empty() {
                findings.push(Finding { passed: true, note: "there was nothing to measure".to_owned(), ..Finding::default() });
            }
            clean &= findings.iter().all(|f| f.passed);
            samples.extend(findings.into_iter().map(|f| Sample {
                cluster_ms: at,
                stage: n,
                round,
                position,
                check: name(check).to_owned(),
                subject: f.subject,
                value: f.value,
                passed: f.passed,
                note: f.note,
                numbers: f.numbers,
            }));
        }
        Ok(clean)
    }

    async fn measure(&self, check: &Check, frozen: &BTreeSet<String>) -> Result<Vec<Finding>, Stop> {
        match check {
            Check::Usage(c) => check::usage::measure(self, c, frozen).await,
            Check::Ping(c) => check::ping::measure(self, c).await,
            Check::Exec(c) => check::exec::measure(self, c).await,
            Check::Ready(c) => check::ready::measure(self, c).await,
            Check::Limits(c) => check::resources::limits(self, c).await,
            Check::Restored(c) => check::resources::restored(self, c).await,
            Check::Requests(c) => Ok(check::requests::measure(self, c)),
            Check::Others(_) => check::others::measure(self).await,
            Check::Object(c) => check::object::measure(self, c).await,
            Check::NotExpired(_) => check::not_expired::measure(self).await,
        }
    }

    async fn wait_ready(&self, limit: Duration, poll: Duration) -> Result<(), Stop> {
        let pace = self.cluster.pace();
        let end = pace.now_ms().saturating_add(millis(limit));
        loop {
            let pods = self.pods().await?;
            if !pods.is_empty() && pods.iter().all(|p| ready(p) == Readiness::Ready) {
                return Ok(());
            }
            if pace.now_ms() >= end {
                // As published: the measuring phase follows all the same, and will find what there is to find.
                return Ok(());
            }
            pace.sleep(poll.max(Duration::from_millis(100))).await;
        }
    }

    async fn frozen(&self) -> Result<BTreeSet<String>, Stop> {
        Ok(self.pods().await?.iter().map(|p| text(&p["metadata"]["name"])).collect())
    }

    /// The target's pods.
    pub(super) async fn pods(&self) -> Result<Vec<Arc<Value>>, Stop> {
        Ok(self.cluster.list("v1", "Pod", self.namespace, &self.selector()).await?)
    }

    /// Pods of all other services.
    pub(super) async fn other_pods(&self) -> Result<Vec<Arc<Value>>, Stop> {
        let all = self.cluster.all("v1", "Pod", self.namespace).await?;
        Ok(all.into_iter().filter(|p| label(p) != self.target).collect())
    }

    pub(super) fn selector(&self) -> String {
        format!("app={}", self.target)
    }
}

/// Whether a pod serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    NotReady,
}

/// Not being deleted, Running, and Ready. A pod without a Ready condition is not ready.
pub(super) fn ready(pod: &Value) -> Readiness {
    let condition = pod["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
    if pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] == "Running" && condition {
        Readiness::Ready
    } else {
        Readiness::NotReady
    }
}

fn name(check: &Check) -> &'static str {
    match check {
        Check::Usage(c) if c.resource == "cpu" => "cpu_usage",
        Check::Usage(_) => "memory_usage",
        Check::Ping(_) => "ping",
        Check::Exec(_) => "exec",
        Check::Ready(_) => "ready",
        Check::Limits(_) => "limits",
        Check::Requests(_) => "requests",
        Check::Others(_) => "others",
        Check::NotExpired(_) => "not_expired",
        Check::Restored(_) => "restored",
        Check::Object(_) => "object",
    }
}

/// A duration of a manifest. `check` has verified them all; this is for those made by templates.
pub(super) fn span(text: &str) -> Result<Duration, Stop> {
    duration::parse(text).map_err(|e| Stop::Infra(format!("bad duration {text:?}: {e}")))
}

pub(super) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Target, connect};

    /// The rounds of a stage that never passes, by when each began, and when it gave up; all from its begin.
    async fn rounds(window: &str, poll: &str) -> (Vec<u64>, u64) {
        let cluster = connect(&Target::Embedded(Box::default())).await.unwrap();
        let judge = Judge {
            cluster: &cluster,
            namespace: "default",
            target: "nobody",
            baseline: &Baseline::default(),
            injected: &[],
            context: &Value::Null,
        };
        let stage = format!("window = '{window}'\npoll = '{poll}'\nall = [{{ ready = {{}} }}]");
        let stage: Stage = toml::from_str(&stage).unwrap();
        let begun = cluster.pace().now_ms();
        let mut samples = Vec::new();
        assert!(!judge.stage(0, &stage, &mut samples).await.unwrap());
        let end = cluster.pace().now_ms() - begun;
        cluster.close().await;
        let numbers: Vec<u32> = samples.iter().map(|s| s.round).collect();
        assert_eq!(numbers, (0..).take(samples.len()).collect::<Vec<u32>>());
        (samples.iter().map(|s| s.cluster_ms - begun).collect(), end)
    }

    #[tokio::test]
    async fn a_round_begins_within_its_window_or_not_at_all() {
        let (begun, end) = rounds("10s", "2s").await;
        assert_eq!(begun.iter().map(|ms| ms / 1000).collect::<Vec<_>>(), [0, 2, 4, 6, 8], "{begun:?}");
        assert_eq!(end, 10_000);
        // A pause that is longer than the window ends with it.
        let (begun, end) = rounds("3s", "1h").await;
        assert_eq!((begun.len(), end), (1, 3_000));
        // There is always one round.
        assert_eq!(rounds("0s", "2s").await.0.len(), 1);
    }
}
