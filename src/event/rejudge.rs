//! Judging again from stored samples. Input: a check set and the samples of one evaluation; output: what the set says of
//! them. Thresholds may be others than those by which the samples were taken; what cannot be known then is undecided.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::{Judged, Sample};
use crate::manifest::fault::{PingCheck, RequestsCheck, UsageCheck};
use crate::manifest::{Check, CheckSet, Stage, duration};
use crate::template;

/// Allowance for the jitter of small latencies, in ms.
pub const LATENCY_SLACK_MS: f64 = 5.0;

/// What a check set says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Every stage passed.
    Passed,
    /// A stage failed.
    Failed,
    /// Sampling had ended before this could be known.
    Undecided,
}

/// The verdict by `set` on samples that were taken by `taken_by`.
pub fn rejudge(set: &CheckSet, taken_by: &CheckSet, judged: &Judged) -> Said {
    for (n, stage) in (0_u32..).zip(&set.stages) {
        let old = usize::try_from(n).ok().and_then(|i| taken_by.stages.get(i));
        let failed_there = !judged.passed && judged.samples.last().is_some_and(|s| s.stage == n);
        match stage_says(stage, old, &rounds(&judged.samples, n), failed_there) {
            Said::Passed => {}
            other => return other,
        }
    }
    Said::Passed
}

/// The samples of a stage, those of one round together.
fn rounds(samples: &[Sample], stage: u32) -> BTreeMap<u32, Vec<&Sample>> {
    let mut rounds: BTreeMap<u32, Vec<&Sample>> = BTreeMap::new();
    for sample in samples.iter().filter(|s| s.stage == stage) {
        rounds.entry(sample.round).or_default().push(sample);
    }
    rounds
}

fn stage_says(stage: &Stage, old: Option<&Stage>, rounds: &BTreeMap<u32, Vec<&Sample>>, failed_there: bool) -> Said {
    let ms = |text: &str| duration::parse(text).unwrap_or(Duration::ZERO).as_millis();
    let at = |round: &[&Sample]| round.first().map_or(0, |s| u128::from(s.cluster_ms));
    let Some(begun) = rounds.values().next().map(|r| at(r)) else { return Said::Undecided };
    let (window, poll) = (ms(&stage.window), ms(&stage.poll));
    let mut clean = 0;
    for (number, round) in rounds {
        // A round begins only when the one before ended within the window.
        if *number > 0 && at(round).saturating_sub(poll) >= begun + window {
            return Said::Failed;
        }
        clean = if round.iter().all(|s| passes(stage, s)) { clean + 1 } else { 0 };
        if clean >= stage.need {
            return Said::Passed;
        }
    }
    let no_longer = old.is_none_or(|o| window <= ms(&o.window));
    if failed_there && no_longer { Said::Failed } else { Said::Undecided }
}

/// Whether each kind of check of a set passed by itself: `need` clean samples of it in a row, in every stage that has it
/// and was reached.
pub fn single_checks(set: &CheckSet, samples: &[Sample]) -> BTreeMap<String, bool> {
    let mut all: BTreeMap<String, bool> = BTreeMap::new();
    for (n, stage) in (0_u32..).zip(&set.stages) {
        let rounds = rounds(samples, n);
        for position in (0_u32..).zip(&stage.all).map(|(p, _)| p) {
            let (mut name, mut row, mut longest) = (None, 0, 0);
            for round in rounds.values() {
                let own: Vec<_> = round.iter().filter(|s| s.position == position).collect();
                name = own.first().map(|s| s.check.clone()).or(name);
                row = if !own.is_empty() && own.iter().all(|s| passes(stage, s)) { row + 1 } else { 0 };
                longest = longest.max(row);
            }
            if let Some(name) = name {
                let passed = longest >= stage.need;
                all.entry(name).and_modify(|p| *p &= passed).or_insert(passed);
            }
        }
    }
    all
}

/// Whether a sample passes by the thresholds of a stage. What holds no numbers stays as it was.
fn passes(stage: &Stage, sample: &Sample) -> bool {
    let check = usize::try_from(sample.position).ok().and_then(|p| stage.all.get(p));
    check.and_then(|c| again(c, sample)).unwrap_or(sample.passed)
}

fn again(check: &Check, sample: &Sample) -> Option<bool> {
    let number = |name: &str| sample.numbers.get(name).copied();
    match check {
        Check::Usage(c) => usage(c, sample),
        Check::Ping(c) => ping(c, sample),
        Check::Exec(c) => {
            let value = sample.value?;
            template::evaluate(&c.pass, &json!({ "value": value })).ok().map(|v| v == json!(true))
        }
        Check::Limits(c) => number("times_deployed").map(|t| t <= c.at_most_times),
        Check::Restored(c) => number("times_deployed").map(|t| t >= c.resources_at_least),
        Check::Requests(c) => requests(c, sample),
        Check::Ready(_) | Check::Others(_) | Check::NotExpired(_) | Check::Object(_) => None,
    }
}

fn usage(check: &UsageCheck, sample: &Sample) -> Option<bool> {
    let number = |name: &str| sample.numbers.get(name).copied();
    let used = number("used")?;
    let current = number("limit");
    let limit = match (check.limit.as_str(), current, number("deployed_limit")) {
        (_, None, _) => return Some(check.without_limit == "skip"),
        ("deployed", _, Some(deployed)) => deployed,
        (_, Some(current), _) => current,
    };
    Some(limit > 0.0 && used / limit < check.below)
}

fn ping(check: &PingCheck, sample: &Sample) -> Option<bool> {
    let loss = *sample.numbers.get("loss_percent")?;
    let average = sample.numbers.get("average_ms").copied();
    Some(loss <= check.max_loss_percent && average.is_some_and(|ms| ms <= check.max_average_ms))
}

fn requests(check: &RequestsCheck, sample: &Sample) -> Option<bool> {
    let number = |name: &str| sample.numbers.get(name).copied();
    let (errors, before) = (number("error_rate")?, number("error_rate_before")?);
    let (latency, latency_before) = (number("latency_ms")?, number("latency_before_ms")?);
    Some(errors <= before + check.max_extra_error_rate && latency <= latency_before.mul_add(check.max_latency_times, LATENCY_SLACK_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TrialId;

    fn set(need: u32, window: &str, below: f64) -> CheckSet {
        serde_json::from_value(json!({"stages": [{"window": window, "poll": "2s", "need": need, "all": [
            {"usage": {"resource": "cpu", "below": below, "limit": "deployed"}}, {"ready": {}}]}]}))
        .unwrap()
    }

    /// Rounds every two seconds with these shares of the limit.
    fn judged(passed: bool, used: &[f64]) -> Judged {
        let samples = (0_u32..)
            .zip(used)
            .flat_map(|(round, used)| {
                let sample = |position: u32, check: &str, numbers: &[(&str, f64)]| Sample {
                    cluster_ms: u64::from(round) * 2000 + u64::from(position) * 10,
                    stage: 0,
                    round,
                    position,
                    check: check.to_owned(),
                    subject: String::new(),
                    value: None,
                    passed: position == 1 || *used < 0.5,
                    note: String::new(),
                    numbers: numbers.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect(),
                };
                [sample(0, "cpu_usage", &[("used", *used), ("limit", 4.0), ("deployed_limit", 1.0)]), sample(1, "ready", &[])]
            })
            .collect();
        Judged { trial: TrialId("t".into()), phase: "final".into(), set: "strict".into(), passed, samples }
    }

    #[test]
    fn the_same_thresholds_give_the_same_verdict() {
        let by = set(2, "6s", 0.5);
        assert_eq!(rejudge(&by, &by, &judged(true, &[0.9, 0.4, 0.4])), Said::Passed);
        assert_eq!(rejudge(&by, &by, &judged(false, &[0.9, 0.4, 0.9, 0.4])), Said::Failed);
    }

    #[test]
    fn other_thresholds_are_judged_as_far_as_the_samples_go() {
        let by = set(2, "6s", 0.5);
        let passed = judged(true, &[0.9, 0.4, 0.4]);
        let failed = judged(false, &[0.9, 0.4, 0.9, 0.4]);
        assert_eq!(rejudge(&set(1, "6s", 0.5), &by, &failed), Said::Passed);
        assert_eq!(rejudge(&set(2, "6s", 0.95), &by, &failed), Said::Passed);
        assert_eq!(rejudge(&set(3, "6s", 0.5), &by, &passed), Said::Undecided, "sampling ended with the second");
        assert_eq!(rejudge(&set(2, "20s", 0.5), &by, &failed), Said::Undecided, "a longer window was not watched");
        assert_eq!(rejudge(&set(2, "1s", 0.5), &by, &passed), Said::Failed, "the third round is outside");
    }

    #[test]
    fn a_limit_can_be_the_current_one_afterwards() {
        let mut current = set(1, "6s", 0.5);
        let Some(Check::Usage(usage)) = current.stages[0].all.first_mut() else { panic!("no usage") };
        usage.limit = "current".to_owned();
        assert_eq!(rejudge(&current, &set(1, "6s", 0.5), &judged(false, &[0.9])), Said::Passed);
    }

    #[test]
    fn each_check_has_a_verdict_of_its_own() {
        let one = single_checks(&set(2, "6s", 0.5), &judged(false, &[0.9, 0.4, 0.9, 0.4]).samples);
        assert_eq!(one, [("cpu_usage".to_owned(), false), ("ready".to_owned(), true)].into());
    }
}
