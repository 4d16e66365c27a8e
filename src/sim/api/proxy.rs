//! `proxy` of pods, services and nodes: what the processes behind them answer over HTTP.
//!
//! Pods and services answer as the traffic model has it; nodes answer as their kubelet does ([`node`]).

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::answer::Answer;
use super::call::{Call, Target};
use super::node;
use crate::sim::clock::{self, Hold};
use crate::sim::controllers::kinds::{ENDPOINTS, PODS};
use crate::sim::resource::Key;
use crate::sim::status::Status;
use crate::sim::traffic::{self, Ask, Failure};
use crate::sim::world::{Engine, World};

/// How long the API server waits for an answer, in seconds.
const PATIENCE: f64 = 30.0;

/// Asks whom the target names, and passes the answer on.
pub(super) async fn answer(engine: &Arc<Engine>, call: &Call, target: &Target, hold: &mut Option<Hold>) -> Result<Answer, Status> {
    // `[scheme:]name[:port]`.
    let full = target.name.as_deref().unwrap_or_default();
    let parts: Vec<&str> = full.split(':').collect();
    let (name, port) = match *parts.as_slice() {
        [name] => (name, ""),
        [name, port] | ["http" | "https" | "", name, port] => (name, port),
        _ => return Err(Status::bad_request(format!("invalid {} request {full:?}", target.kind.plural.trim_end_matches('s')))),
    };
    let path = path(call);
    let key = Key::new(&target.kind.resource, &target.namespace, name);
    if target.kind.plural == "nodes" {
        return engine.with(|w| node::answer(w, &key, &path));
    }
    let (address, port) = engine.with(|w| place(w, &key, port))?;
    let ask = Ask { from: None, address, port, path: &path, timeout: PATIENCE, weight: 1.0 };
    let outcome = engine.with(|w| traffic::with_graph(w, |w, graph| traffic::request(w, graph, &ask, 0)));
    // The answer takes its time, during which nobody computes.
    let held = hold.take().unwrap_or_else(|| engine.clock.hold());
    *hold = Some(clock::sleep(engine, held, Duration::try_from_secs_f64(outcome.took).unwrap_or_default()).await);
    match outcome.result {
        Ok((code, body)) => Ok(Answer { code, content_type: kind_of(&body), body: body.into_bytes(), warnings: Vec::new() }),
        Err(failure) => {
            let why = if failure == Failure::Refused { "connect: connection refused" } else { "i/o timeout" };
            Err(unavailable(format!("error trying to reach service: dial tcp {address}:{port}: {why}")))
        }
    }
}

pub(super) fn unavailable(message: impl Into<String>) -> Status {
    Status::new(503, "ServiceUnavailable", message)
}

/// What stands behind `proxy` in the path, with the query.
fn path(call: &Call) -> String {
    let rest = call.text.split_once("/proxy").map_or("", |(_, rest)| rest);
    let path = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    if call.query.is_empty() {
        return path;
    }
    let query: Vec<String> = call.query.iter().map(|(k, v)| format!("{k}={v}")).collect();
    format!("{path}?{}", query.join("&"))
}

fn kind_of(body: &str) -> &'static str {
    match body.trim_start().get(..1) {
        Some("<") => "text/html",
        Some("{") => "application/json",
        _ => "text/plain; charset=utf-8",
    }
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|n| u16::try_from(n).ok())
}

/// The address and port of a pod or service.
fn place(world: &World, key: &Key, port: &str) -> Result<(Ipv4Addr, u16), Status> {
    let object = world.store.get(key).ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
    if key.resource == *PODS {
        let mut ports =
            object["spec"]["containers"].as_array().into_iter().flatten().flat_map(|c| c["ports"].as_array().into_iter().flatten());
        let wanted = match port {
            "" => ports.next().and_then(|p| number(&p["containerPort"])).unwrap_or(80),
            _ => match port.parse() {
                Ok(number) => number,
                Err(_) => ports
                    .find(|p| p["name"] == port)
                    .and_then(|p| number(&p["containerPort"]))
                    .ok_or_else(|| unavailable(format!("error trying to reach service: dial tcp: lookup tcp/{port}: unknown port")))?,
            },
        };
        let address = object["status"]["podIP"].as_str().and_then(|a| a.parse().ok());
        return Ok((address.ok_or_else(|| Status::bad_request("address not allowed"))?, wanted));
    }
    let name = &key.name;
    let all: Vec<&Value> = object["spec"]["ports"].as_array().into_iter().flatten().collect();
    let found = match (port, all.as_slice()) {
        ("", [only]) => Some(*only),
        _ => all.iter().copied().find(|p| p["name"] == port || number(&p["port"]).is_some_and(|n| n.to_string() == port)),
    };
    let found = found.ok_or_else(|| unavailable(format!("no service port {port:?} found for service {name:?}")))?;
    let subsets = world.store.get(&Key::new(&ENDPOINTS, &key.namespace, name)).map(|e| e["subsets"].clone()).unwrap_or_default();
    let behind = subsets.as_array().into_iter().flatten().find_map(|s| {
        let port = s["ports"].as_array()?.iter().find(|p| p["name"] == found["name"])?;
        Some((s["addresses"].get(0)?["ip"].as_str()?.parse().ok()?, number(&port["port"])?))
    });
    behind.ok_or_else(|| unavailable(format!("no endpoints available for service {name:?}")))
}
