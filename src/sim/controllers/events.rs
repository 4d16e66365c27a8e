//! Events as controllers and kubelets record them: one object for each (object, reason, text), counted when repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::kinds::{EVENTS, kind_of};
use super::object;
use crate::sim::registry::{self, Part};
use crate::sim::resource::Key;
use crate::sim::time::SimTime;
use crate::sim::world::World;

/// Events vanish after this time, as on a real cluster.
const TTL: Duration = Duration::from_hours(1);

/// So many texts of one kind of event are shown, within this time.
const SIMILAR_MAX: usize = 10;
const SIMILAR_FOR: Duration = Duration::from_mins(10);
const COMBINED: &str = "(combined from similar events): ";

/// A reporter tells of so many events of one object at once, then of one every so often (client-go's `EventCorrelator`); it
/// counts the others.
const AT_ONCE: f64 = 25.0;
const EVERY: Duration = Duration::from_mins(5);
/// The scheduler speaks the newer events API, which has no such bound.
const SCHEDULER: &str = "default-scheduler";

/// Stands for some texts, which would be long to keep.
type Digest = [u8; 16];

fn digest(texts: &[&str]) -> Digest {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    let mut short = Digest::default();
    short.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    short
}

/// What reporters remember: which event object stands for what, and how much of each object they have told.
#[derive(Debug, Default)]
pub struct Index {
    seen: BTreeMap<Digest, Observed>,
    similar: BTreeMap<Digest, (BTreeSet<Digest>, SimTime)>,
    told: BTreeMap<Digest, Allowance>,
    sequence: u64,
}

/// An event and its repetitions.
#[derive(Debug)]
struct Observed {
    /// None: nobody was told.
    event: Option<Key>,
    count: i64,
    first: SimTime,
    last: SimTime,
}

/// How many events of an object may be told.
#[derive(Debug)]
struct Allowance {
    left: f64,
    at: SimTime,
}

impl Allowance {
    fn left(&self, now: SimTime) -> f64 {
        (self.left + now.since(self.at).as_secs_f64() / EVERY.as_secs_f64()).min(AT_ONCE)
    }

    fn take(&mut self, now: SimTime) -> bool {
        let left = self.left(now);
        let may = left >= 1.0;
        *self = Self { left: if may { left - 1.0 } else { left }, at: now };
        may
    }
}

/// Who reports.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// `deployment-controller`, `kubelet`, ...
    pub component: &'a str,
    /// Node name for kubelets; empty for others.
    pub host: &'a str,
}

impl<'a> Source<'a> {
    /// A controller of the control plane.
    pub fn controller(component: &'a str) -> Self {
        Self { component, host: "" }
    }

    /// The kubelet of a node.
    pub fn kubelet(node: &'a str) -> Self {
        Self { component: "kubelet", host: node }
    }
}

/// What is reported.
#[derive(Debug, Clone, Default)]
pub struct Report<'a> {
    /// Whether it is a warning.
    pub warning: bool,
    /// `Scheduled`, `Unhealthy`, ...
    pub reason: &'a str,
    /// The text.
    pub message: String,
    /// The container that it is about.
    pub container: Option<String>,
}

impl<'a> Report<'a> {
    /// A normal event.
    pub fn normal(reason: &'a str, message: impl Into<String>) -> Self {
        Self { warning: false, reason, message: message.into(), container: None }
    }

    /// A warning.
    pub fn warning(reason: &'a str, message: impl Into<String>) -> Self {
        Self { warning: true, reason, message: message.into(), container: None }
    }

    /// About one container.
    #[must_use]
    pub fn about(mut self, container: &str) -> Self {
        self.container = Some(container.to_owned());
        self
    }
}

/// Records an event about `regarding`.
pub fn emit(world: &mut World, key: &Key, regarding: &Value, source: Source<'_>, report: Report<'_>) {
    let now = world.now;
    let mut report = report;
    let mut text = report.message.clone();
    if combined(world, regarding, source, &report) {
        report.message = format!("{COMBINED}{}", report.message);
        COMBINED.clone_into(&mut text);
    }
    let uid = object::uid(regarding);
    let field = report.container.as_deref().map(|c| field_of(regarding, c)).unwrap_or_default();
    let id = digest(&[uid, &field, report.reason, source.component, &text]);
    let events = &mut world.controllers.events;
    let observed = events.seen.entry(id).or_insert(Observed { event: None, count: 0, first: now, last: now });
    observed.count += 1;
    observed.last = now;
    let (known, count, first) = (observed.event.clone(), observed.count, observed.first);
    if source.component != SCHEDULER {
        let of = digest(&[source.component, source.host, &key.resource.plural, &key.namespace, &key.name, uid]);
        if !events.told.entry(of).or_insert(Allowance { left: AT_ONCE, at: now }).take(now) {
            return;
        }
    }
    if let Some(event) = known
        && let Some(old) = world.store.get(&event)
    {
        let mut new = (**old).clone();
        new["count"] = count.into();
        new["lastTimestamp"] = now.rfc3339().into();
        new["message"] = report.message.into();
        // The event may have been deleted in between: then there is nothing to count.
        let _gone = registry::update(world, &event, new, Part::Main);
        return;
    }
    // A namespace that is going takes no new objects.
    let namespace = if key.namespace.is_empty() { "default" } else { &*key.namespace };
    world.controllers.events.sequence += 1;
    let nanos = (u64::try_from(crate::sim::time::EPOCH_UNIX_S).unwrap_or(0) * 1000 + now.0) * 1_000_000
        + world.controllers.events.sequence % 1_000_000;
    let name = format!("{}.{nanos:x}", key.name);
    let (version, kind) = kind_of(&key.resource);
    let mut involved = json!({"apiVersion": version, "kind": kind, "name": &*key.name, "uid": uid});
    if !key.namespace.is_empty() {
        involved["namespace"] = (&*key.namespace).into();
    }
    if let Some(v) = regarding["metadata"]["resourceVersion"].as_str() {
        involved["resourceVersion"] = v.into();
    }
    if !field.is_empty() {
        involved["fieldPath"] = field.into();
    }
    let kind_of_event = if report.warning { "Warning" } else { "Normal" };
    let mut event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "involvedObject": involved,
        "reason": report.reason, "message": report.message, "type": kind_of_event,
        "reportingComponent": source.component, "reportingInstance": source.host,
        "source": {"component": source.component},
    });
    if source.component == SCHEDULER {
        // No counts, one moment with microseconds.
        let action = match report.reason {
            "Preempted" => "Preempting",
            _ if report.warning => "Scheduling",
            _ => "Binding",
        };
        event["action"] = action.into();
        event["eventTime"] = now.rfc3339_micro().into();
        event["reportingInstance"] = "default-scheduler-control-plane".into();
        event["firstTimestamp"] = Value::Null;
        event["lastTimestamp"] = Value::Null;
        event["source"] = json!({});
    } else {
        event["eventTime"] = Value::Null;
        event["count"] = count.into();
        event["firstTimestamp"] = first.rfc3339().into();
        event["lastTimestamp"] = now.rfc3339().into();
        if !source.host.is_empty() {
            event["source"]["host"] = source.host.into();
        }
    }
    // Fails only where the namespace is gone: as on a real cluster, the event is lost.
    if registry::create(world, &EVENTS, namespace, event).is_ok()
        && let Some(observed) = world.controllers.events.seen.get_mut(&id)
    {
        observed.event = Some(Key::new(&EVENTS, namespace, &name));
    }
}

/// Where a container stands in its pod.
fn field_of(pod: &Value, container: &str) -> String {
    let holds = |list: &&str| pod["spec"][*list].as_array().is_some_and(|all| all.iter().any(|c| c["name"] == container));
    let list = ["initContainers", "ephemeralContainers"].into_iter().find(holds).unwrap_or("containers");
    format!("spec.{list}{{{container}}}")
}

/// Whether this is one too many of events that differ in their text only: such events share one object.
fn combined(world: &mut World, regarding: &Value, source: Source<'_>, report: &Report<'_>) -> bool {
    let now = world.now;
    let kind = digest(&[object::uid(regarding), report.reason, source.component]);
    let text = digest(&[&report.message]);
    let (texts, last) = world.controllers.events.similar.entry(kind).or_default();
    if now.since(*last) > SIMILAR_FOR {
        texts.clear();
    }
    *last = now;
    if texts.len() < SIMILAR_MAX {
        texts.insert(text);
        return false;
    }
    !texts.contains(&text)
}

/// Drops events whose time is over.
pub fn expire(world: &mut World) {
    let now = world.now;
    let events = &mut world.controllers.events;
    let old: Vec<_> = events.seen.iter().filter(|(_, o)| now.since(o.last) > TTL).map(|(id, o)| (*id, o.event.clone())).collect();
    events.similar.retain(|_, (_, at)| now.since(*at) <= SIMILAR_FOR);
    events.told.retain(|_, allowance| allowance.left(now) < AT_ONCE);
    for (id, key) in old {
        world.controllers.events.seen.remove(&id);
        if let Some(key) = key {
            world.store.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reporter_tells_25_at_once_and_then_one_in_five_minutes() {
        let mut allowance = Allowance { left: AT_ONCE, at: SimTime(0) };
        assert_eq!((0..100).filter(|second| allowance.take(SimTime(second * 1000))).count(), 25);
        assert_eq!((100..1000).filter(|second| allowance.take(SimTime(second * 1000))).count(), 3);
        assert!(allowance.left(SimTime(7_000_000)) < AT_ONCE);
        assert!(allowance.left(SimTime(9_000_000)) >= AT_ONCE);
    }
}
