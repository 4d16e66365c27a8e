//! The status of experiments, as Chaos Mesh writes it.

use serde_json::{Value, json};

use super::select::Record;
use crate::sim::time::SimTime;

/// A record before anything has happened.
pub(super) fn record(r: &Record) -> Value {
    json!({"id": r.id, "selectorKey": r.selector, "phase": "Not Injected", "injectedCount": 0, "recoveredCount": 0})
}

/// Whether targets have been selected.
pub(super) fn initialised(chaos: &Value) -> bool {
    chaos["status"]["experiment"]["containerRecords"].is_array()
}

/// The records.
pub(super) fn records(chaos: &Value) -> &[Value] {
    chaos["status"]["experiment"]["containerRecords"].as_array().map_or(&[], Vec::as_slice)
}

/// Whether a record is in a phase.
pub(super) fn any(chaos: &Value, phase: &str) -> bool {
    records(chaos).iter().any(|r| r["phase"] == phase)
}

/// `Run` or `Stop`.
pub(super) fn desired(chaos: &Value) -> &str {
    chaos["status"]["experiment"]["desiredPhase"].as_str().unwrap_or_default()
}

/// Notes an operation on record `i`.
pub(super) fn note(chaos: &mut Value, i: usize, operation: &str, error: Option<&str>, now: SimTime) {
    let Some(r) = chaos["status"]["experiment"]["containerRecords"].get_mut(i) else { return };
    let mut event =
        json!({"operation": operation, "timestamp": now.rfc3339(), "type": if error.is_some() { "Failed" } else { "Succeeded" }});
    if let Some(e) = error {
        event["message"] = e.into();
    } else {
        let (phase, count) = if operation == "Apply" { ("Injected", "injectedCount") } else { ("Not Injected", "recoveredCount") };
        r["phase"] = phase.into();
        r[count] = (r[count].as_u64().unwrap_or(0) + 1).into();
    }
    let mut events = r["events"].as_array().cloned().unwrap_or_default();
    events.push(event);
    // Chaos Mesh keeps a limited history as well.
    let surplus = events.len().saturating_sub(20);
    events.drain(..surplus);
    r["events"] = events.into();
}

/// Sets the conditions that follow from the records.
pub(super) fn conclude(chaos: &mut Value, paused: bool) {
    let all = records(chaos);
    let selected = !all.is_empty();
    let injected = selected && all.iter().all(|r| r["phase"] == "Injected");
    let recovered = all.iter().all(|r| r["phase"] == "Not Injected");
    let text = |b: bool| if b { "True" } else { "False" };
    chaos["status"]["conditions"] = json!([
        {"type": "Paused", "status": text(paused)},
        {"type": "Selected", "status": text(selected)},
        {"type": "AllInjected", "status": text(injected)},
        {"type": "AllRecovered", "status": text(recovered)},
    ]);
}
