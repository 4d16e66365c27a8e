//! How fast an autoscaler may move: stabilization windows and scaling policies (`spec.behavior`).
//!
//! Input: what was recommended and done lately. Output: the count that may be set now, and the real controller's reasons.
//! The rules are those of `autoscaling/v2`: within a window the least of what was recommended counts for scaling up and the
//! most for scaling down; a policy bounds what is added or removed within its period.

use std::cmp::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::object::int;
use crate::sim::time::SimTime;

/// How long a lower recommendation has to last.
const DOWN_WINDOW_S: i64 = 300;
/// The longest window and period that are allowed.
const LONGEST: Duration = Duration::from_hours(1);

/// What an autoscaler remembers.
#[derive(Debug, Default)]
pub struct Past {
    recommended: Vec<(SimTime, i64)>,
    added: Vec<(SimTime, i64)>,
    removed: Vec<(SimTime, i64)>,
}

/// A condition: whether it holds, its reason and message.
pub(super) type Why = (bool, &'static str, &'static str);

/// The count that may be set, why it is steady, and what limits it.
pub(super) struct Decision {
    pub(super) replicas: i64,
    pub(super) able: Why,
    pub(super) limited: Why,
}

impl Past {
    /// What becomes of a recommendation.
    pub(super) fn decide(&mut self, behavior: &Value, now: SimTime, current: i64, wanted: i64, (low, high): (i64, i64)) -> Decision {
        for list in [&mut self.recommended, &mut self.added, &mut self.removed] {
            list.retain(|(at, _)| now.since(*at) <= LONGEST);
        }
        if self.recommended.is_empty() {
            self.recommended.push((now, current));
        }
        let within = |seconds: i64| {
            let window = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            self.recommended.iter().filter(move |(at, _)| now.since(*at) < window).map(|(_, n)| *n)
        };
        let window = |side: &str, default| int(&behavior[side]["stabilizationWindowSeconds"], default);
        let up = within(window("scaleUp", 0)).fold(wanted, i64::min);
        let down = within(window("scaleDown", DOWN_WINDOW_S)).fold(wanted, i64::max);
        let steady = current.max(up).min(down.max(up));
        self.recommended.push((now, wanted));
        let able = match steady.cmp(&wanted) {
            Ordering::Greater => (
                true,
                "ScaleDownStabilized",
                "recent recommendations were higher than current one, applying the highest recent recommendation",
            ),
            Ordering::Less => {
                (true, "ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation")
            }
            Ordering::Equal => (true, "ReadyForNewScale", "recommended size matches current size"),
        };
        let (replicas, limited) = self.limit(behavior, now, current, steady, (low, high));
        Decision { replicas, able, limited }
    }

    /// The replicas were set: later policies count it.
    pub(super) fn scaled(&mut self, now: SimTime, from: i64, to: i64) {
        let list = if to > from { &mut self.added } else { &mut self.removed };
        list.push((now, (to - from).abs()));
    }

    fn limit(&self, behavior: &Value, now: SimTime, current: i64, steady: i64, (low, high): (i64, i64)) -> (i64, Why) {
        if steady > current {
            let fastest = self.fastest_up(behavior, now, current).max(current);
            if steady > fastest.min(high) {
                return if high < fastest {
                    (high, (true, "TooManyReplicas", "the desired replica count is more than the maximum replica count"))
                } else {
                    (fastest, (true, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"))
                };
            }
        } else if steady < current {
            let fastest = self.fastest_down(behavior, now, current).min(current);
            if steady < fastest.max(low) {
                return if low > fastest {
                    (low, (true, "TooFewReplicas", "the desired replica count is less than the minimum replica count"))
                } else {
                    (fastest, (true, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"))
                };
            }
        }
        (steady, (false, "DesiredWithinRange", "the desired count is within the acceptable range"))
    }

    /// The most that there may be now.
    fn fastest_up(&self, behavior: &Value, now: SimTime, current: i64) -> i64 {
        if behavior.is_null() {
            return (current * 2).max(4);
        }
        let default = json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]);
        let allowed = |policy: &Value, begun: i64, value: i64| {
            if policy["type"] == "Pods" {
                begun + value
            } else {
                (begun * (100 + value)).div_euclid(100) + i64::from(begun * value % 100 != 0)
            }
        };
        self.bound(&behavior["scaleUp"], &default, now, current, &allowed, i64::max, i64::min)
    }

    /// The least that there may be now.
    fn fastest_down(&self, behavior: &Value, now: SimTime, current: i64) -> i64 {
        let default = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
        let allowed =
            |policy: &Value, begun: i64, value: i64| if policy["type"] == "Pods" { begun - value } else { begun * (100 - value) / 100 };
        self.bound(&behavior["scaleDown"], &default, now, current, &allowed, i64::min, i64::max)
    }

    #[expect(clippy::too_many_arguments, reason = "the two directions differ in what is most and least")]
    fn bound(
        &self,
        rules: &Value,
        default: &Value,
        now: SimTime,
        current: i64,
        allowed: &dyn Fn(&Value, i64, i64) -> i64,
        most: fn(i64, i64) -> i64,
        least: fn(i64, i64) -> i64,
    ) -> i64 {
        let choose = match rules["selectPolicy"].as_str() {
            Some("Disabled") => return current,
            Some("Min") => least,
            _ => most,
        };
        let policies = rules["policies"].as_array().filter(|p| !p.is_empty()).or(default.as_array());
        let each = policies.into_iter().flatten().map(|policy| {
            let period = Duration::from_secs(policy["periodSeconds"].as_u64().unwrap_or(15));
            let sum = |list: &[(SimTime, i64)]| list.iter().filter(|(at, _)| now.since(*at) < period).map(|(_, n)| *n).sum::<i64>();
            allowed(policy, current - sum(&self.added) + sum(&self.removed), int(&policy["value"], 0))
        });
        each.reduce(choose).unwrap_or(current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: (i64, i64) = (1, 100);

    fn at(s: u64) -> SimTime {
        SimTime(s * 1000)
    }

    /// What is set, step by step, when `wanted` is recommended every 15 seconds.
    fn steps(behavior: &Value, mut current: i64, wanted: i64, count: u64) -> Vec<i64> {
        let mut past = Past::default();
        (0..count)
            .map(|n| {
                let d = past.decide(behavior, at(n * 15), current, wanted, RANGE);
                if d.replicas != current {
                    past.scaled(at(n * 15), current, d.replicas);
                }
                current = d.replicas;
                current
            })
            .collect()
    }

    #[test]
    fn without_a_behavior_it_doubles_and_waits_to_go_down() {
        assert_eq!(steps(&Value::Null, 1, 50, 5), [4, 8, 16, 32, 50]);
        let down = steps(&Value::Null, 10, 2, 22);
        assert_eq!((down[19], down[21]), (10, 2), "{down:?}");
    }

    #[test]
    fn policies_bound_what_happens_in_their_period() {
        let pods = json!({"scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}});
        assert_eq!(steps(&pods, 1, 9, 6), [3, 3, 3, 3, 5, 5]);
        let percent =
            json!({"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 10, "periodSeconds": 15}]}});
        assert_eq!(steps(&percent, 20, 1, 3), [18, 16, 14]);
        let never = json!({"scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled"}});
        assert_eq!(steps(&never, 20, 1, 3), [20, 20, 20]);
        let two = json!([{"type": "Pods", "value": 1, "periodSeconds": 15}, {"type": "Percent", "value": 50, "periodSeconds": 15}]);
        let least = json!({"scaleUp": {"selectPolicy": "Min", "policies": two}});
        assert_eq!(steps(&least, 10, 20, 2), [11, 12]);
        let most = json!({"scaleUp": {"policies": two}});
        assert_eq!(steps(&most, 10, 20, 2), [15, 20]);
    }

    #[test]
    fn limits_are_named() {
        let mut past = Past::default();
        let behavior = json!({"scaleUp": {"stabilizationWindowSeconds": 60}});
        let first = past.decide(&behavior, at(0), 2, 10, (1, 5));
        assert_eq!((first.replicas, first.able.1), (2, "ScaleUpStabilized"));
        let later = past.decide(&behavior, at(90), 2, 10, (1, 5));
        assert_eq!((later.replicas, later.limited.1), (5, "TooManyReplicas"));
        let fewer = Past::default().decide(&json!({"scaleDown": {"stabilizationWindowSeconds": 0}}), at(0), 4, 1, (3, 5));
        assert_eq!((fewer.replicas, fewer.limited.1), (3, "TooFewReplicas"));
    }
}
