//! Server-side apply: `PATCH` with a configuration; [`crate::sim::managed`] knows what it means.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::{Answer, object};
use super::call::{Call, Target};
use super::{body, escalation, versions, write};
use crate::sim::managed::{self, Conflict, LAST_APPLIED, Writer};
use crate::sim::registry;
use crate::sim::status::Status;
use crate::sim::world::World;

/// `PATCH` with `application/apply-patch+yaml`.
pub(super) fn server_side(world: &mut World, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, Status> {
    let kind = &target.kind;
    let Some(manager) = call.param("fieldManager") else { return Err(no_manager()) };
    let text = body::yaml(body).map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))?;
    if let Some(version) = text["apiVersion"].as_str().filter(|v| *v != kind.api_version()) {
        let expected = kind.api_version();
        let why = "Incorrect version specified in apply patch. Specified patch version";
        return Err(Status::bad_request(format!("{why}: {version}, expected: {expected}")));
    }
    let mut wanted = body::of_kind("application/json", text.to_string().as_bytes(), kind)?;
    let key = target.key();
    for (field, value) in [("apiVersion", kind.api_version()), ("kind", kind.kind.clone())] {
        if wanted[field].is_null() {
            wanted[field] = value.into();
        }
    }
    if wanted["metadata"]["name"].is_null() {
        wanted["metadata"]["name"] = (&*key.name).into();
    }
    if wanted["metadata"]["managedFields"].as_array().is_some_and(|m| !m.is_empty()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    write::same_identity(target, &wanted)?;
    let warnings = write::known_fields(call, kind, &mut wanted)?;
    let old = world.store.get(&key).cloned();
    let shown = old.as_deref().map(|o| versions::to_wire(kind, o));
    let now = world.now.rfc3339();
    let mut new =
        managed::apply((&kind.api_version(), &kind.kind, kind.schema()), shown.as_deref(), &wanted, manager, call.flag("force"), &now)
            .map_err(|conflicts| refused(&conflicts))?;
    // As long as an object has kubectl's annotation, the server keeps it up to date for kubectl.
    if manager == "kubectl" && shown.as_ref().is_some_and(|o| o["metadata"]["annotations"][LAST_APPLIED].is_string()) {
        let mut applied = wanted.clone();
        if let Some(annotations) = applied["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
        new["metadata"]["annotations"][LAST_APPLIED] = format!("{applied}\n").into();
    }
    // The entries are complete: what the registry changes besides has no owner.
    world.writer = Writer::Settled;
    let new = versions::to_stored(kind, new, old.as_deref());
    if old.is_some() {
        return write::finish(world, call, target, new, warnings);
    }
    let (key, made) = registry::prepare_create(world, &kind.resource, &target.namespace, new)?;
    escalation::check(world, &call.who, &key, &made)?;
    let warnings = warnings.into_iter().chain(registry::security::warning(world, &key.resource, &key.namespace, &made)).collect();
    let stored = if call.dry_run() { Arc::new(made) } else { world.store.put(&key, made) };
    let mut answer = object(call, target, 201, &stored, world.now);
    answer.warnings = warnings;
    Ok(answer)
}

fn no_manager() -> Status {
    let message = "Required value: is required for apply patch";
    let mut status = Status::new(422, "Invalid", format!("PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: {message}"));
    let causes = json!([{"reason": "FieldValueRequired", "message": message, "field": "fieldManager"}]);
    status.details = json!({"group": "meta.k8s.io", "kind": "PatchOptions", "causes": causes});
    status
}

/// 409 with all conflicts.
fn refused(conflicts: &[Conflict]) -> Status {
    let count = conflicts.iter().map(|c| c.fields.len()).sum::<usize>();
    let message = match conflicts {
        [one] if count == 1 => format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager, one.fields.join("")),
        _ => {
            let lines = conflicts.iter().flat_map(|c| {
                let fields = c.fields.iter().map(|f| format!("- {f}"));
                std::iter::once(format!("conflicts with {}:", c.manager)).chain(fields)
            });
            format!("Apply failed with {count} conflicts: {}", lines.collect::<Vec<_>>().join("\n"))
        }
    };
    let mut status = Status::new(409, "Conflict", message);
    let cause = |c: &Conflict, field: &String| json!({"reason": "FieldManagerConflict", "message": format!("conflict with {}", c.manager), "field": field});
    let causes: Vec<Value> = conflicts.iter().flat_map(|c| c.fields.iter().map(move |f| cause(c, f))).collect();
    status.details = json!({"causes": causes});
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_worded_like_recorded() {
        let one = |manager: &str, fields: &[&str]| Conflict {
            manager: manager.to_owned(),
            fields: fields.iter().map(|f| (*f).to_owned()).collect(),
        };
        let single = refused(&[one("\"a\" using apps/v1", &[".spec.replicas"])]);
        assert_eq!(single.message, "Apply failed with 1 conflict: conflict with \"a\" using apps/v1: .spec.replicas");
        let many = refused(&[one("\"a\" using v1", &[".x", ".y"]), one("\"b\"", &[".z"])]);
        assert_eq!(many.message, "Apply failed with 3 conflicts: conflicts with \"a\" using v1:\n- .x\n- .y\nconflicts with \"b\":\n- .z");
        assert_eq!(many.details["causes"][2], json!({"reason": "FieldManagerConflict", "message": "conflict with \"b\"", "field": ".z"}));
    }
}
