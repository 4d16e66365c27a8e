//! `Table` answers: what `kubectl get` prints.
//!
//! Input: objects in wire form. Output: column definitions as recorded from a real server and one row an object.

mod cells;
mod certificate;
mod pod;

use std::time::Duration;

use serde_json::{Value, json};

use super::call::Call;
use crate::sim::catalog::{Catalog, Column, Kind};
use crate::sim::time::{SimTime, parse_rfc3339};

const NAME_TEXT: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// A table of `objects`; `columns` says whether the column definitions are sent along.
pub(super) fn table(kind: &Kind, version: &str, meta: &Value, objects: &[&Value], call: &Call, columns: bool, now: SimTime) -> Value {
    let definitions = if columns { definitions(kind) } else { Value::Null };
    let include = call.param("includeObject").unwrap_or("Metadata");
    let rows: Vec<Value> = objects
        .iter()
        .map(|o| {
            let object = match include {
                "None" => Value::Null,
                "Object" => (*o).clone(),
                _ => json!({"kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": o["metadata"]}),
            };
            json!({"cells": cells::of(kind, o, now), "object": object})
        })
        .collect();
    json!({"kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": meta, "columnDefinitions": definitions, "rows": rows})
}

fn definitions(kind: &Kind) -> Value {
    if let Some(dynamic) = &kind.dynamic {
        let column = |c: &Column| json!({"name": c.0, "type": c.1, "format": c.2, "description": c.4, "priority": c.3});
        return dynamic.columns.iter().map(|(c, _)| column(c)).collect();
    }
    let column = |name: &str, kind: &str, format: &str, description: &str, priority: u8| json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority});
    match Catalog::get().columns(&kind.resource.group, &kind.plural) {
        Some(columns) => columns.iter().map(|c| column(&c.0, &c.1, &c.2, &c.4, c.3)).collect(),
        None => json!([column("Name", "string", "name", NAME_TEXT, 0), column("Created At", "date", "", "", 0)]),
    }
}

/// The age of a timestamp as Kubernetes writes it: `5s`, `3m20s`, `4h`, `2d`; `<unknown>` without one.
fn age(at: &Value, now: SimTime) -> String {
    at.as_str().and_then(parse_rfc3339).map_or_else(|| "<unknown>".to_owned(), |at| human(now.since(at)))
}

/// A duration the way `kubectl` prints ages.
fn human(d: Duration) -> String {
    let s = d.as_secs();
    let (m, h, days) = (s / 60, s / 3600, s / 86_400);
    let pair = |big: u64, unit: &str, small: u64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    match s {
        0..120 => format!("{s}s"),
        _ if m < 10 => pair(m, "m", s % 60, "s"),
        _ if m < 180 => format!("{m}m"),
        _ if h < 8 => pair(h, "h", m % 60, "m"),
        _ if h < 48 => format!("{h}h"),
        _ if h < 192 => pair(days, "d", h % 24, "h"),
        _ if days < 730 => format!("{days}d"),
        _ if days < 2920 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_like_kubectl_does() {
        let cases = [
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (201, "3m21s"),
            (660, "11m"),
            (10_800, "3h"),
            (11_100, "3h5m"),
            (90_000, "25h"),
            (200_000, "2d7h"),
            (864_000, "10d"),
        ];
        for (s, text) in cases {
            assert_eq!(human(Duration::from_secs(s)), text);
        }
    }
}
