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

/// Which event object stands for what, and when it was last touched.
#[derive(Debug, Default)]
pub struct Index {
    seen: BTreeMap<Digest, (Key, SimTime)>,
    similar: BTreeMap<Digest, (BTreeSet<Digest>, SimTime)>,
    sequence: u64,
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
    /// `spec.containers{name}` for events about one container.
    pub field_path: Option<String>,
}

impl<'a> Report<'a> {
    /// A normal event.
    pub fn normal(reason: &'a str, message: impl Into<String>) -> Self {
        Self { warning: false, reason, message: message.into(), field_path: None }
    }

    /// A warning.
    pub fn warning(reason: &'a str, message: impl Into<String>) -> Self {
        Self { warning: true, reason, message: message.into(), field_path: None }
    }

    /// About one container.
    #[must_use]
    pub fn about(mut self, container: &str) -> Self {
        self.field_path = Some(format!("spec.containers{{{container}}}"));
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
    let id = digest(&[object::uid(regarding), report.reason, source.component, &text]);
    if let Some((event, at)) = world.controllers.events.seen.get_mut(&id) {
        let event = event.clone();
        *at = now;
        if let Some(old) = world.store.get(&event) {
            let mut new = (**old).clone();
            new["count"] = (object::int(&old["count"], 1) + 1).into();
            new["lastTimestamp"] = now.rfc3339().into();
            new["message"] = report.message.into();
            // The event may have been deleted in between: then there is nothing to count.
            let _gone = registry::update(world, &event, new, Part::Main);
            return;
        }
    }
    // A namespace that is going takes no new objects.
    let namespace = if key.namespace.is_empty() { "default" } else { &*key.namespace };
    world.controllers.events.sequence += 1;
    let nanos = (u64::try_from(crate::sim::time::EPOCH_UNIX_S).unwrap_or(0) * 1000 + now.0) * 1_000_000
        + world.controllers.events.sequence % 1_000_000;
    let name = format!("{}.{nanos:x}", key.name);
    let (version, kind) = kind_of(&key.resource);
    let mut involved = json!({"apiVersion": version, "kind": kind, "name": &*key.name, "uid": object::uid(regarding)});
    if !key.namespace.is_empty() {
        involved["namespace"] = (&*key.namespace).into();
    }
    if let Some(v) = regarding["metadata"]["resourceVersion"].as_str() {
        involved["resourceVersion"] = v.into();
    }
    if let Some(f) = &report.field_path {
        involved["fieldPath"] = f.as_str().into();
    }
    let kind_of_event = if report.warning { "Warning" } else { "Normal" };
    let mut event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "involvedObject": involved,
        "reason": report.reason, "message": report.message, "type": kind_of_event,
        "reportingComponent": source.component, "reportingInstance": source.host,
        "source": {"component": source.component},
    });
    if source.component == "default-scheduler" {
        // The scheduler speaks the newer events API: no counts, one moment with microseconds.
        event["action"] = if report.warning { "Scheduling" } else { "Binding" }.into();
        event["eventTime"] = now.rfc3339_micro().into();
        event["reportingInstance"] = "default-scheduler-control-plane".into();
        event["firstTimestamp"] = Value::Null;
        event["lastTimestamp"] = Value::Null;
        event["source"] = json!({});
    } else {
        event["eventTime"] = Value::Null;
        event["count"] = 1.into();
        event["firstTimestamp"] = now.rfc3339().into();
        event["lastTimestamp"] = now.rfc3339().into();
        if !source.host.is_empty() {
            event["source"]["host"] = source.host.into();
        }
    }
    // Fails only where the namespace is gone: as on a real cluster, the event is lost.
    if registry::create(world, &EVENTS, namespace, event).is_ok() {
        world.controllers.events.seen.insert(id, (Key::new(&EVENTS, namespace, &name), now));
    }
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
    let old: Vec<_> =
        world.controllers.events.seen.iter().filter(|(_, (_, at))| now.since(*at) > TTL).map(|(id, (k, _))| (*id, k.clone())).collect();
    world.controllers.events.similar.retain(|_, (_, at)| now.since(*at) <= SIMILAR_FOR);
    for (id, key) in old {
        world.controllers.events.seen.remove(&id);
        world.store.remove(&key);
    }
}
