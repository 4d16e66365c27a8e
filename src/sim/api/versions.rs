//! Kinds with two faces: `events.k8s.io` events are stored as core events, `autoscaling/v1` autoscalers as `v2`.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::sim::catalog::Kind;

/// Core event fields and their names in `events.k8s.io`.
const EVENT: [(&str, &str); 8] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
    ("related", "related"),
];

/// Whether objects of a kind are shown as they are stored.
pub(super) fn as_stored(kind: &Kind) -> bool {
    kind.dynamic.is_none() && same(kind)
}

fn same(kind: &Kind) -> bool {
    !(kind.group == "events.k8s.io" || (kind.group == "autoscaling" && kind.version == "v1"))
}

fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(m) = object.as_object_mut()
        && let Some(v) = m.remove(from)
    {
        m.insert(to.to_owned(), v);
    }
}

/// A stored object as the version of `kind` shows it.
pub(super) fn to_wire<'a>(kind: &Kind, stored: &'a Value) -> Cow<'a, Value> {
    if as_stored(kind) {
        return Cow::Borrowed(stored);
    }
    Cow::Owned(converted(kind, stored))
}

fn converted(kind: &Kind, stored: &Value) -> Value {
    let mut v = stored.clone();
    if kind.dynamic.is_some() {
        v["apiVersion"] = kind.api_version().into();
        return v;
    }
    v["apiVersion"] = kind.api_version().into();
    if kind.group == "events.k8s.io" {
        for (core, new) in EVENT {
            rename(&mut v, core, new);
        }
        // The field is required in this version; events of older writers have a time in whole seconds only.
        if v["eventTime"].is_null() {
            let first = v["deprecatedFirstTimestamp"].as_str().or(v["metadata"]["creationTimestamp"].as_str());
            v["eventTime"] = first.map(|t| t.replace('Z', ".000000Z")).into();
        }
        return v;
    }
    if let Some(cpu) = v["spec"]["metrics"].as_array().and_then(|m| m.iter().find(|m| m["resource"]["name"] == "cpu")) {
        v["spec"]["targetCPUUtilizationPercentage"] = cpu["resource"]["target"]["averageUtilization"].clone();
    }
    if let Some(m) = v["spec"].as_object_mut() {
        m.remove("metrics");
        m.remove("behavior");
    }
    let status = &stored["status"];
    v["status"] = json!({"currentReplicas": status["currentReplicas"].as_u64().unwrap_or(0), "desiredReplicas": status["desiredReplicas"].as_u64().unwrap_or(0)});
    v
}

/// An object of the version of `kind` as it is stored; `old` is what is stored now.
pub(super) fn to_stored(kind: &Kind, mut wire: Value, old: Option<&Value>) -> Value {
    if same(kind) {
        return wire;
    }
    if kind.group == "events.k8s.io" {
        for (core, new) in EVENT {
            rename(&mut wire, new, core);
        }
        wire["apiVersion"] = "v1".into();
        return wire;
    }
    wire["apiVersion"] = "autoscaling/v2".into();
    let percent = wire["spec"]["targetCPUUtilizationPercentage"].clone();
    if let Some(m) = wire["spec"].as_object_mut() {
        m.remove("targetCPUUtilizationPercentage");
    }
    wire["spec"]["metrics"] = if percent.is_null() {
        old.map_or(Value::Null, |o| o["spec"]["metrics"].clone())
    } else {
        json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}])
    };
    wire
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::catalog::Catalog;

    #[test]
    fn events_and_autoscalers_go_there_and_back() {
        let k = Catalog::get().by_plural("events.k8s.io", "v1", "events").unwrap();
        let stored = json!({"apiVersion": "v1", "kind": "Event", "message": "m", "involvedObject": {"name": "p"}});
        let wire = to_wire(k, &stored);
        assert_eq!((&wire["note"], &wire["regarding"]["name"]), (&json!("m"), &json!("p")));
        assert_eq!(to_stored(k, wire.into_owned(), None)["message"], "m");
        let k = Catalog::get().by_plural("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
        let wire = json!({"spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}});
        let stored = to_stored(k, wire, None);
        assert_eq!(stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        assert_eq!(to_wire(k, &stored)["spec"]["targetCPUUtilizationPercentage"], 80);
    }
}
