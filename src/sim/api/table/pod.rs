//! The cells of a pod: what `kubectl get pods` makes of a pod's status, which nobody stores in that form.

use serde_json::Value;

use super::cells::{NONE, items, plain, text};
use super::{age, human};
use crate::sim::time::{SimTime, parse_rfc3339};

/// The row of a pod.
pub(super) fn cells(o: &Value, now: SimTime) -> Vec<Value> {
    let (spec, status) = (&o["spec"], &o["status"]);
    let total = items(&spec["containers"]).count();
    let containers: Vec<&Value> = items(&status["containerStatuses"]).collect();
    let ready = containers.iter().filter(|c| c["ready"] == true && !c["state"]["running"].is_null()).count();
    let mut restarts: u64 = containers.iter().filter_map(|c| c["restartCount"].as_u64()).sum();
    let mut last = containers.iter().filter_map(|c| parse_rfc3339(c["lastState"]["terminated"]["finishedAt"].as_str()?)).max();
    let mut reason = plain(if status["reason"].is_null() { &status["phase"] } else { &status["reason"] });
    let mut initializing = false;
    let inits: Vec<&Value> = items(&status["initContainerStatuses"]).collect();
    let wanted = items(&spec["initContainers"]).count();
    for (i, c) in inits.iter().enumerate() {
        let state = &c["state"];
        if state["terminated"]["exitCode"] == 0 || (c["started"] == true && sidecar(spec, c)) {
            continue;
        }
        restarts = inits.iter().filter_map(|c| c["restartCount"].as_u64()).sum();
        last = inits.iter().filter_map(|c| parse_rfc3339(c["lastState"]["terminated"]["finishedAt"].as_str()?)).max();
        initializing = true;
        reason = if let Some(t) = state["terminated"].as_object() {
            match t.get("reason").and_then(Value::as_str).filter(|r| !r.is_empty()) {
                Some(r) => format!("Init:{r}"),
                None => format!("Init:ExitCode:{}", state["terminated"]["exitCode"]),
            }
        } else {
            match state["waiting"]["reason"].as_str().filter(|r| !r.is_empty() && *r != "PodInitializing") {
                Some(r) => format!("Init:{r}"),
                None => format!("Init:{i}/{wanted}"),
            }
        };
        break;
    }
    if !initializing {
        let mut running = false;
        for c in containers.iter().rev() {
            let state = &c["state"];
            if let Some(r) = state["waiting"]["reason"].as_str().filter(|r| !r.is_empty()) {
                r.clone_into(&mut reason);
            } else if !state["terminated"].is_null() {
                let t = &state["terminated"];
                reason = match t["reason"].as_str().filter(|r| !r.is_empty()) {
                    Some(r) => r.to_owned(),
                    None if t["signal"].as_i64().is_some_and(|s| s != 0) => format!("Signal:{}", t["signal"]),
                    None => format!("ExitCode:{}", t["exitCode"]),
                };
            } else if c["ready"] == true && !state["running"].is_null() {
                running = true;
            }
        }
        if reason == "Completed" && running {
            let is_ready = items(&status["conditions"]).any(|c| c["type"] == "Ready" && c["status"] == "True");
            if is_ready { "Running" } else { "NotReady" }.clone_into(&mut reason);
        }
    }
    if !o["metadata"]["deletionTimestamp"].is_null() {
        if status["reason"] == "NodeLost" { "Unknown" } else { "Terminating" }.clone_into(&mut reason);
    }
    let gated = items(&status["conditions"]).any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated");
    if gated {
        "SchedulingGated".clone_into(&mut reason);
    }
    let restarts = match last {
        Some(at) if restarts > 0 => format!("{restarts} ({} ago)", human(now.since(at))),
        _ => restarts.to_string(),
    };
    let gates = items(&spec["readinessGates"]).count();
    let passed = items(&spec["readinessGates"])
        .filter(|g| items(&status["conditions"]).any(|c| c["type"] == g["conditionType"] && c["status"] == "True"))
        .count();
    vec![
        o["metadata"]["name"].clone(),
        format!("{ready}/{total}").into(),
        reason.into(),
        restarts.into(),
        age(&o["metadata"]["creationTimestamp"], now).into(),
        text(&status["podIP"], NONE),
        text(&spec["nodeName"], NONE),
        text(&status["nominatedNodeName"], NONE),
        if gates == 0 { NONE.into() } else { format!("{passed}/{gates}").into() },
    ]
}

fn sidecar(spec: &Value, status: &Value) -> bool {
    items(&spec["initContainers"]).any(|c| c["name"] == status["name"] && c["restartPolicy"] == "Always")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(o: &Value) -> Vec<Value> {
        cells(o, SimTime(60_000))
    }

    #[test]
    fn pods_tell_what_hinders_them() {
        let pod = |state: Value, ready: bool| {
            json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"containers": [{}, {}], "nodeName": "node-2"},
            "status": {"phase": "Running", "podIP": "10.244.0.70", "containerStatuses": [
                {"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}},
                {"name": "b", "ready": ready, "restartCount": 3, "state": state, "lastState": {"terminated": {"finishedAt": "2026-01-01T00:00:30Z"}}}]}})
        };
        let r = row(&pod(json!({"running": {}}), true));
        assert_eq!(
            r,
            [
                json!("p"),
                json!("2/2"),
                json!("Running"),
                json!("3 (30s ago)"),
                json!("60s"),
                json!("10.244.0.70"),
                json!("node-2"),
                json!("<none>"),
                json!("<none>")
            ]
        );
        assert_eq!(row(&pod(json!({"waiting": {"reason": "CrashLoopBackOff"}}), false))[2], "CrashLoopBackOff");
        assert_eq!(row(&pod(json!({"terminated": {"reason": "OOMKilled", "exitCode": 137}}), false))[2], "OOMKilled");
        let mut dying = pod(json!({"running": {}}), true);
        dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:30Z".into();
        assert_eq!(row(&dying)[2], "Terminating");
    }
}
