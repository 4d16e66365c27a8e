//! Scaling in the midst of a roll-out: each set gets its share of what is added or taken away.

use super::{DESIRED, MAX, Rollout, Set, replicas, status};
use crate::sim::controllers::object::{self, int};
use crate::sim::world::World;

impl Rollout<'_> {
    /// Whether the number wanted has changed since the sets were last scaled.
    pub(super) fn resized(&self) -> bool {
        let active = self.old.iter().chain(&self.new).filter(|s| replicas(s) > 0);
        active.filter_map(|(_, s)| object::annotation(s, DESIRED)?.parse().ok()).any(|desired: i64| desired != self.desired)
    }

    /// Brings the sets to the number wanted, and none of them forward.
    pub(super) fn resize(&mut self, world: &mut World) {
        let active: Vec<Set> = self.old.iter().chain(&self.new).filter(|s| replicas(s) > 0).cloned().collect();
        if let [only] = active.as_slice() {
            self.put(world, only, self.desired);
            return;
        }
        if active.is_empty() {
            if let Some(latest) = self.new.clone().or_else(|| self.old.last().cloned()) {
                self.put(world, &latest, self.desired);
            }
            return;
        }
        let saturated = |n: &Set| {
            let known = object::annotation(&n.1, DESIRED).and_then(|d| d.parse().ok());
            replicas(n) == self.desired && known == Some(self.desired) && status(n, "availableReplicas") == self.desired
        };
        if self.new.as_ref().is_some_and(saturated) {
            for old in self.old.clone() {
                self.put(world, &old, 0);
            }
            return;
        }
        if self.recreate {
            return;
        }
        let total: i64 = active.iter().map(replicas).sum();
        let allowed = if self.desired > 0 { self.desired + self.surge } else { 0 };
        for (set, to) in shares(active, allowed - total, self.desired, self.surge, int(&self.deployment["status"]["replicas"], 0)) {
            self.put(world, &set, to);
        }
    }

    /// Scales one of the sets, and keeps what became of it.
    fn put(&mut self, world: &mut World, set: &Set, to: i64) {
        let stored = self.scale(world, set, to);
        for slot in self.old.iter_mut().chain(self.new.as_mut()).filter(|s| s.0 == stored.0) {
            slot.clone_from(&stored);
        }
    }
}

/// The sizes of sets after `change` more (or fewer) replicas have been shared out, the largest sets first.
fn shares(mut sets: Vec<Set>, change: i64, desired: i64, surge: i64, reported: i64) -> Vec<(Set, i64)> {
    let age = |s: &Set| (object::created(&s.1), s.0.clone());
    if change > 0 {
        // Of equal ones, the newer first.
        sets.sort_by(|a, b| replicas(b).cmp(&replicas(a)).then_with(|| age(b).cmp(&age(a))));
    } else {
        sets.sort_by(|a, b| replicas(b).cmp(&replicas(a)).then_with(|| age(a).cmp(&age(b))));
    }
    let mut given = 0;
    let mut out: Vec<(Set, i64)> = Vec::new();
    for set in sets {
        let now = replicas(&set);
        let left = change - given;
        let before = object::annotation(&set.1, MAX).and_then(|n| n.parse().ok()).unwrap_or(reported);
        let part = fraction(now, desired, surge, before);
        let part = if now == 0 || left == 0 {
            0
        } else if change > 0 {
            part.min(left)
        } else {
            part.max(left)
        };
        given += part;
        out.push((set, now + part));
    }
    if let Some((_, first)) = out.first_mut() {
        *first = (*first + change - given).max(0);
    }
    out
}

/// What a set's size should change by, so that its share stays what it was.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "numbers of replicas")]
fn fraction(now: i64, desired: i64, surge: i64, before: i64) -> i64 {
    if desired == 0 || before == 0 {
        return -now;
    }
    ((now * (desired + surge)) as f64 / before as f64).round() as i64 - now
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::sim::controllers::kinds::REPLICA_SETS;
    use crate::sim::controllers::tests::{NS, advance, deploy, edit};
    use crate::sim::resource::Key;

    fn set(name: &str, replicas: i64, max: i64) -> Set {
        let object = json!({"metadata": {"name": name, "annotations": {MAX: max.to_string()}, "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"replicas": replicas}});
        (Key::new(&REPLICA_SETS, NS, name), Arc::new(object))
    }

    fn sizes(sets: Vec<Set>, change: i64, desired: i64, surge: i64) -> Vec<(String, i64)> {
        let mut all: Vec<(String, i64)> =
            shares(sets, change, desired, surge, 0).into_iter().map(|(s, n)| (s.0.name.to_string(), n)).collect();
        all.sort();
        all
    }

    #[test]
    fn shares_are_those_of_the_real_controller() {
        let named = |n: &[i64]| n.iter().enumerate().map(|(i, n)| (format!("s{i}"), *n)).collect::<Vec<_>>();
        // The cases of the real controller's tests: from 10 to 12, to 5, to 20, all with room for nobody more.
        assert_eq!(sizes(vec![set("s0", 5, 10), set("s1", 5, 10)], 2, 12, 0), named(&[6, 6]));
        assert_eq!(sizes(vec![set("s0", 5, 10), set("s1", 5, 10)], -5, 5, 0), named(&[2, 3]));
        assert_eq!(sizes(vec![set("s0", 5, 10), set("s1", 5, 10)], 10, 20, 0), named(&[10, 10]));
        assert_eq!(sizes(vec![set("s0", 8, 10), set("s1", 2, 10)], -10, 0, 0), named(&[0, 0]));
    }

    #[test]
    fn a_roll_out_that_is_stuck_is_scaled_in_proportion() {
        let mut w = crate::sim::controllers::tests::world();
        deploy(&mut w, "web", 10);
        advance(&mut w, 30.0);
        edit(&mut w, "web", |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = "python:does-not-exist".into());
        advance(&mut w, 60.0);
        let sizes = |w: &World| {
            let mut all: Vec<i64> = w.store.list(&REPLICA_SETS, Some(NS)).map(|(_, s)| int(&s["spec"]["replicas"], 0)).collect();
            all.sort_unstable();
            all
        };
        // A quarter more at most, a quarter fewer at least.
        assert_eq!(sizes(&w), [5, 8]);
        edit(&mut w, "web", |d| d["spec"]["replicas"] = 15.into());
        advance(&mut w, 1.0);
        // The documentation's own example.
        assert_eq!(sizes(&w), [7, 12]);
    }
}
