//! `create`, `update`, `patch`, `delete` and `deletecollection` of objects and their `status`.

use serde_json::{Value, json};

use super::answer::{Answer, object};
use super::apply;
use super::body;
use super::call::{Call, Target};
use super::selector::Selector;
use super::{escalation, read, versions};
use crate::sim::catalog::Kind;
use crate::sim::custom;
use crate::sim::patch;
use crate::sim::registry::{self, DeleteOptions, Deletion, Part, Propagation, security};
use crate::sim::resource::{Key, Resource};
use crate::sim::schema;
use crate::sim::status::Status;
use crate::sim::world::World;

/// What to do with unknown fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strictness {
    Ignore,
    Warn,
    Strict,
}

fn strictness(call: &Call) -> Strictness {
    match call.param("fieldValidation") {
        Some("Strict") => Strictness::Strict,
        Some("Ignore") => Strictness::Ignore,
        _ => Strictness::Warn,
    }
}

/// Checks for unknown fields and drops them; returns warnings.
pub(super) fn known_fields(call: &Call, kind: &Kind, object: &mut Value) -> Result<Vec<String>, Status> {
    let wrong = |why: &str| {
        Status::bad_request(format!("{} in version \"{}\" cannot be handled as a {}: {why}", kind.kind, kind.version, kind.kind))
    };
    if let Some(dynamic) = &kind.dynamic {
        let unknown: Vec<String> =
            custom::prune(&dynamic.schema, object).into_iter().map(|field| format!("unknown field {field:?}")).collect();
        return match strictness(call) {
            Strictness::Strict if !unknown.is_empty() => Err(wrong_dynamic(&unknown)),
            Strictness::Ignore => Ok(Vec::new()),
            _ => Ok(unknown),
        };
    }
    if let Some(why) = schema::decode_error(&kind.api_version(), &kind.kind, object) {
        return Err(wrong(&why));
    }
    let unknown = schema::unknown_fields(&kind.api_version(), &kind.kind, object);
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    if strictness(call) == Strictness::Strict {
        return Err(wrong(&format!("strict decoding error: {}", unknown.join(", "))));
    }
    schema::prune(&kind.api_version(), &kind.kind, object);
    Ok(if strictness(call) == Strictness::Warn { unknown } else { Vec::new() })
}

/// 400 for unknown fields of a kind that a client defined: the real server decodes these elsewhere, with other words.
fn wrong_dynamic(unknown: &[String]) -> Status {
    Status::bad_request(format!("strict decoding error: {}", unknown.join(", ")))
}

/// `POST` to a collection.
pub(super) fn create(world: &mut World, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, Status> {
    let kind = &target.kind;
    let mut given = body::of_kind(&call.content_type, body, kind)?;
    if let Some(ns) = given["metadata"]["namespace"].as_str()
        && !ns.is_empty()
        && kind.namespaced
        && ns != target.namespace
    {
        return Err(namespace_mismatch());
    }
    let warnings = known_fields(call, kind, &mut given)?;
    let mut given = versions::to_stored(kind, given, None);
    if &*kind.resource.plural == "certificatesigningrequests" && kind.group == "certificates.k8s.io" {
        // Whoever approves it must see who asked, whatever the request says of that.
        if let (Some(spec), Value::Object(who)) = (given["spec"].as_object_mut(), call.who.info()) {
            spec.retain(|field, _| !matches!(field.as_str(), "uid" | "extra"));
            spec.extend(who);
        }
    }
    let (key, made) = registry::prepare_create(world, &kind.resource, &target.namespace, given)?;
    escalation::check(world, &call.who, &key, &made)?;
    let warnings = warnings.into_iter().chain(security::warning(world, &key.resource, &key.namespace, &made)).collect();
    let stored = if call.dry_run() { std::sync::Arc::new(made) } else { world.store.put(&key, made) };
    let mut answer = object(call, target, 201, &stored, world.now);
    answer.warnings = warnings;
    Ok(answer)
}

fn namespace_mismatch() -> Status {
    Status::bad_request("the namespace of the provided object does not match the namespace sent on the request")
}

fn part_of(target: &Target) -> Part {
    match target.subresource.as_deref() {
        // Approving a request for a certificate sets conditions.
        Some("status" | "approval") => Part::Status,
        Some("resize") => Part::Resize,
        _ => Part::Main,
    }
}

/// `PUT` of an object or its status.
pub(super) fn replace(world: &mut World, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, Status> {
    let kind = &target.kind;
    let mut given = body::of_kind(&call.content_type, body, kind)?;
    same_identity(target, &given)?;
    let warnings = known_fields(call, kind, &mut given)?;
    let old = world.store.get(&target.key()).cloned();
    let given = versions::to_stored(kind, given, old.as_deref());
    finish(world, call, target, given, warnings)
}

pub(super) fn same_identity(target: &Target, given: &Value) -> Result<(), Status> {
    let wanted = target.name.as_deref().unwrap_or_default();
    let name = given["metadata"]["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        return Err(Status::bad_request("name must be provided"));
    }
    if name != wanted {
        return Err(Status::bad_request(format!("the name of the object ({name}) does not match the name on the URL ({wanted})")));
    }
    match given["metadata"]["namespace"].as_str() {
        Some(ns) if !ns.is_empty() && ns != target.namespace => Err(namespace_mismatch()),
        _ => Ok(()),
    }
}

pub(super) fn finish(world: &mut World, call: &Call, target: &Target, given: Value, warnings: Vec<String>) -> Result<Answer, Status> {
    let key = target.key();
    let part = part_of(target);
    let mut given = given;
    escalation::check(world, &call.who, &key, &given)?;
    if key.resource == Resource::new("", "namespaces")
        && let Some(old) = world.store.get(&key)
    {
        // The specification of a namespace is its finalizers, which have a subresource of their own.
        given["spec"] = old["spec"].clone();
    }
    match target.subresource.as_deref() {
        Some("ephemeralcontainers") => {
            if let Some(old) = world.store.get(&key) {
                given = only_ephemeral_containers(old, given);
                security::enforce(world, &key, &given)?;
            }
        }
        Some("approval") => {
            let now = world.now.rfc3339();
            for condition in given["status"]["conditions"].as_array_mut().into_iter().flatten() {
                for field in ["lastUpdateTime", "lastTransitionTime"] {
                    if condition[field].is_null() {
                        condition[field] = now.as_str().into();
                    }
                }
            }
        }
        _ => {}
    }
    // Of a pod's own specification, only ephemeral containers can change what its level looks at.
    let looked_at = part == Part::Main && (&*key.resource.plural != "pods" || target.subresource.is_some());
    let warning = if looked_at { security::warning(world, &key.resource, &key.namespace, &given) } else { None };
    let mut answer = if call.dry_run() {
        let missing = || Status::not_found(&key.resource, &key.name);
        let would = match registry::prepare_update(world, &key, given, part)? {
            Some(v) => v,
            None => world.store.get(&key).map(|v| (**v).clone()).ok_or_else(missing)?,
        };
        object(call, target, 200, &would, world.now)
    } else {
        let stored = registry::update(world, &key, given, part)?;
        object(call, target, 200, &stored, world.now)
    };
    answer.warnings = warnings.into_iter().chain(warning).collect();
    Ok(answer)
}

/// The old pod with the new ephemeral containers: whatever else is sent to their subresource is passed over.
fn only_ephemeral_containers(old: &Value, mut given: Value) -> Value {
    let mut pod = old.clone();
    pod["spec"]["ephemeralContainers"] = given["spec"]["ephemeralContainers"].take();
    for field in ["resourceVersion", "uid"] {
        if !given["metadata"][field].is_null() {
            pod["metadata"][field] = given["metadata"][field].take();
        }
    }
    pod
}

/// `PATCH` of an object or its status.
pub(super) fn patch(world: &mut World, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, Status> {
    let kind = &target.kind;
    if call.content_type == "application/apply-patch+yaml" {
        return apply::server_side(world, call, target, body);
    }
    let key = target.key();
    let old = world.store.get(&key).cloned().ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
    let shown = versions::to_wire(kind, &old);
    let change = body::patch(&call.content_type, body)?;
    let mut new = patched(call, kind, &shown, &change)?;
    if new["metadata"]["name"] != old["metadata"]["name"] {
        let name = new["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!("the name of the object ({name}) does not match the name on the URL ({})", key.name)));
    }
    let strategic = (call.content_type == "application/strategic-merge-patch+json").then_some(&change);
    if let Some(cause) = patch::result_error(&kind.api_version(), &kind.kind, &new, strategic) {
        let mut status = Status::new(422, "Invalid", format!(" \"\" is invalid: {}", cause.text()));
        status.details = json!({"causes": [cause.body()]});
        return Err(status);
    }
    let warnings = known_fields(call, kind, &mut new)?;
    let new = versions::to_stored(kind, new, Some(&old));
    finish(world, call, target, new, warnings)
}

/// Applies a patch of the content type given.
pub(super) fn patched(call: &Call, kind: &Kind, original: &Value, change: &Value) -> Result<Value, Status> {
    let custom = kind.custom();
    match call.content_type.as_str() {
        "application/merge-patch+json" => {
            let mut v = original.clone();
            patch::merge(&mut v, change);
            Ok(v)
        }
        "application/strategic-merge-patch+json" if !custom => {
            patch::strategic(&kind.api_version(), &kind.kind, original, change).map_err(Status::bad_request)
        }
        "application/json-patch+json" => patch::json(original, change).map_err(|text| {
            if text != patch::NOT_APPLICABLE {
                return Status::bad_request(text);
            }
            let mut s = Status::new(422, "Invalid", text);
            s.details = json!({});
            s
        }),
        _ => Err(body::unsupported(if custom {
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
        } else {
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml, application/strategic-merge-patch+json"
        })),
    }
}

/// Options of a deletion from body and query.
pub(super) fn delete_options(call: &Call, body: &[u8]) -> Result<(DeleteOptions, bool), Status> {
    let given = body::optional(&call.content_type, body)?;
    let policy = call.param("propagationPolicy").or(given["propagationPolicy"].as_str());
    let orphan = call.flag("orphanDependents") || given["orphanDependents"] == true;
    let propagation = match policy {
        Some("Foreground") => Propagation::Foreground,
        Some("Orphan") => Propagation::Orphan,
        _ if orphan => Propagation::Orphan,
        _ => Propagation::Background,
    };
    let grace = call.param("gracePeriodSeconds").and_then(|g| g.parse().ok()).or(given["gracePeriodSeconds"].as_u64());
    let text = |v: &Value| v.as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    let options = DeleteOptions {
        propagation,
        grace_period_s: grace,
        uid: text(&given["preconditions"]["uid"]),
        resource_version: text(&given["preconditions"]["resourceVersion"]),
    };
    let dry = call.dry_run() || given["dryRun"].as_array().is_some_and(|d| !d.is_empty());
    Ok((options, dry))
}

/// Kinds whose deletion answers the object even when it is gone.
fn returns_object(kind: &Kind) -> bool {
    kind.resource.group.is_empty()
        && matches!(
            &*kind.resource.plural,
            "pods"
                | "namespaces"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "podtemplates"
                | "resourcequotas"
                | "serviceaccounts"
                | "services"
        )
}

/// `DELETE` of one object.
pub(super) fn delete(world: &mut World, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, Status> {
    let (options, dry) = delete_options(call, body)?;
    let key = target.key();
    let (object_left, gone) = deleted(world, &key, &options, dry)?;
    if gone && !returns_object(&target.kind) {
        let mut details = json!({"name": &*key.name, "kind": &*key.resource.plural, "uid": object_left["metadata"]["uid"]});
        if !target.kind.group.is_empty() {
            details["group"] = target.kind.group.as_str().into();
        }
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
        return Ok(Answer::json(200, &status));
    }
    Ok(object(call, target, 200, &object_left, world.now))
}

fn deleted(world: &mut World, key: &Key, options: &DeleteOptions, dry: bool) -> Result<(Value, bool), Status> {
    let now = world.now.rfc3339();
    let (mut left, gone) = if dry {
        let current = world.store.get(key).map(|v| (**v).clone()).unwrap_or_default();
        match registry::prepare_delete(world, key, options)? {
            Deletion::Remove => (current, true),
            Deletion::Mark(v) => (v, false),
            Deletion::Nothing => (current, false),
        }
    } else {
        registry::delete(world, key, options).map(|(v, gone)| ((*v).clone(), gone))?
    };
    if gone && &*key.resource.plural == "pods" {
        left["metadata"]["deletionTimestamp"] = now.into();
        left["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    }
    Ok((left, gone))
}

/// `DELETE` of a collection.
pub(super) fn delete_collection(world: &mut World, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, Status> {
    let (options, dry) = delete_options(call, body)?;
    let selector = Selector::parse(&target.kind, call.param("labelSelector"), call.param("fieldSelector"))?;
    let namespace = Some(target.namespace.as_str()).filter(|n| !n.is_empty());
    let keys: Vec<Key> =
        world.store.list(&target.kind.resource, namespace).filter(|(_, v)| selector.matches(v)).map(|(k, _)| k.clone()).collect();
    let mut items = Vec::new();
    for key in keys {
        match deleted(world, &key, &options, dry) {
            Ok((left, _)) => items.push(versions::to_wire(&target.kind, &left).into_owned()),
            Err(e) if e.code == 404 => {}
            Err(e) => return Err(e),
        }
    }
    let meta = json!({"resourceVersion": world.store.revision().to_string()});
    Ok(Answer::json(200, &read::shape(call, &target.kind, meta, items, world.now)))
}
