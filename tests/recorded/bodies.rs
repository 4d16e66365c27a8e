//! Response bodies, field by field: each is a path and what stands there, without what may differ.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base64::Engine as _;
use microremed::sim::exchange::Exchange;
use microremed::sim::schema::decode_protobuf;
use serde::Deserialize;
use serde_json::Value;

use super::normal;

/// What protobuf does not tell from nothing.
const EMPTY: [&str; 5] = ["{}", "[]", "0", "false", ""];

/// A recorded request and its answer.
#[derive(Deserialize)]
pub(crate) struct Recorded {
    method: String,
    path: String,
    status: u16,
    /// JSON, or protobuf as `{"base64": ...}`.
    body: Value,
}

/// The fields that differ in the answers of one scenario: what asked, kind, path, both sides. Requests are paired by what they
/// ask for, in their order; those that only one side has (clients look as often as they like) are passed over.
pub(crate) fn differences(wanted: &[Recorded], got: &[Exchange]) -> BTreeSet<String> {
    let mut answers: BTreeMap<String, VecDeque<&Exchange>> = BTreeMap::new();
    for exchange in got {
        answers.entry(key(&exchange.method, &exchange.path)).or_default().push_back(exchange);
    }
    let mut out = BTreeSet::new();
    for recorded in wanted {
        let Some((body, sparse)) = decoded(&recorded.body) else { continue };
        let Some(exchange) = answers.get_mut(&key(&recorded.method, &recorded.path)).and_then(VecDeque::pop_front) else { continue };
        let ours: Value = serde_json::from_slice(&exchange.answer).unwrap_or(Value::Null);
        let what = body["kind"].as_str().unwrap_or_default();
        let place = normal::text(recorded.path.split('?').next().unwrap_or_default());
        let place = place.rsplit('/').take(2).collect::<Vec<_>>();
        let place = place.into_iter().rev().collect::<Vec<_>>().join("/");
        if recorded.status != exchange.status {
            out.insert(format!("{} {place} status {} -> {}", recorded.method, recorded.status, exchange.status));
            continue;
        }
        let (wanted, got) = (fields(&body), fields(&ours));
        let paths: BTreeSet<&String> = wanted.keys().chain(got.keys()).collect();
        // Protobuf leaves out what is empty, but for what is JSON inside it.
        let told = |p: &str| {
            wanted.contains_key(p) || !sparse || p.contains(".fieldsV1.") || !EMPTY.contains(&got.get(p).map_or("", String::as_str))
        };
        for path in paths.into_iter().filter(|p| wanted.get(*p) != got.get(*p) && told(p)) {
            let side = |fields: &BTreeMap<String, String>| {
                fields.get(path).map_or_else(|| "nothing".to_owned(), |v| v.replace('\n', " ").chars().take(100).collect())
            };
            out.insert(format!("{} {place} {what} {path}: {} -> {}", recorded.method, side(&wanted), side(&got)));
        }
    }
    out
}

/// What a request asks for, without versions and times in the query.
fn key(method: &str, path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query: BTreeSet<&str> =
        query.split('&').filter(|p| !["resourceVersion=", "timeout"].iter().any(|start| p.starts_with(start))).collect();
    normal::text(&format!("{method} {path}?{}", query.into_iter().collect::<Vec<_>>().join("&")))
}

/// A recorded body, and whether it was protobuf.
fn decoded(body: &Value) -> Option<(Value, bool)> {
    match body.get("base64").and_then(Value::as_str) {
        Some(text) => Some((decode_protobuf(&base64::engine::general_purpose::STANDARD.decode(text).ok()?).ok()?, true)),
        None => Some((body.clone(), false)).filter(|(body, _)| body.is_object()),
    }
}

fn fields(value: &Value) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    flatten(value, "", &mut out);
    out
}

fn flatten(value: &Value, path: &str, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                flatten(inner, &format!("{path}.{}", normal::text(key)), out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for (index, item) in items.iter().enumerate() {
                let name = name(item).unwrap_or_else(|| index.to_string());
                let count = seen.entry(name.clone()).or_default();
                *count += 1;
                let again = if *count > 1 { format!("#{count}") } else { String::new() };
                flatten(item, &format!("{path}[{name}{again}]"), out);
            }
        }
        // Go prints what is missing in protobuf as nothing, and null where JSON says so.
        Value::Null => {}
        Value::String(text) if path.ends_with(".resourceVersion") && text.parse::<u64>().is_ok() => {
            out.insert(path.to_owned(), "RV".to_owned());
        }
        Value::String(text) if path.contains(".cells[") && is_age(text) => drop(out.insert(path.to_owned(), "AGE".to_owned())),
        Value::String(_) if path.ends_with("-hash") || path.ends_with("/hash") => drop(out.insert(path.to_owned(), "HASH".to_owned())),
        Value::String(text) => drop(out.insert(path.to_owned(), normal::text(text))),
        other => drop(out.insert(path.to_owned(), other.to_string())),
    }
}

/// Whether a table's cell is an age: `5s`, `3m20s`, `2d`.
fn is_age(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(['s', 'm', 'h', 'd', 'y'])
        && text.chars().all(|c| c.is_ascii_digit() || "smhdy".contains(c))
}

/// What an item of a list is called, so that its order does not matter.
fn name(item: &Value) -> Option<String> {
    let text = |v: &Value| v.as_str().map(normal::text);
    if let Some(manager) = text(&item["manager"]) {
        let part = |field: &str| text(&item[field]).unwrap_or_default();
        return Some(format!("{manager}/{}/{}", part("subresource"), part("operation")));
    }
    if item["status"].is_string() {
        return text(&item["type"]);
    }
    text(&item["metadata"]["name"]).or_else(|| text(&item["object"]["metadata"]["name"])).or_else(|| text(&item["name"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_compared_by_name_and_without_what_may_differ() {
        let recorded = |body: Value| Recorded { method: "GET".to_owned(), path: "/api/v1/pods?timeout=3s".to_owned(), status: 200, body };
        let got = |body: &Value| Exchange {
            method: "GET".to_owned(),
            path: "/api/v1/pods".to_owned(),
            status: 200,
            answer: body.to_string().into_bytes(),
        };
        let list = |a: &str, b: &str| json!({"kind": "L", "items": [{"metadata": {"name": a, "resourceVersion": "7"}, "n": 1}, {"metadata": {"name": b}}]});
        assert_eq!(differences(&[recorded(list("a", "b"))], &[got(&list("a", "b"))]), BTreeSet::new());
        let mut other = list("a", "b");
        other["items"][0]["n"] = 2.into();
        other["items"][0]["metadata"]["resourceVersion"] = "9".into();
        let all = differences(&[recorded(list("a", "b"))], &[got(&other)]);
        assert_eq!(all.into_iter().collect::<Vec<_>>(), ["GET v1/pods L .items[a].n: 1 -> 2"]);
    }
}
