//! What a write means: identity, defaults, validation, generations, deletion. Used by the API and by controllers alike.
//!
//! Callers give whole objects; patches are applied by callers (see [`super::patch`]) before [`update`]. The `prepare_`
//! functions do everything but store the result: dry runs stop there.

mod accounts;
pub mod admission;
mod classes;
mod deletion;
mod immutable;
mod kinds;
mod limits;
mod quota;
pub mod security;

use std::sync::Arc;

use serde_json::{Value, json};

pub use deletion::{DeleteOptions, Deletion, Propagation, delete, finalize_namespace, prepare_delete};
pub(super) use kinds::TEMPLATE_GENERATION;
pub use kinds::qos;
pub use quota::status as quota_status;

use super::catalog::{Catalog, Kind};
use super::custom;
use super::managed;
use super::resource::{Key, Resource};
use super::schema::{self, Cause};
use super::status::Status;
use super::world::World;

/// Which part of an object an update may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but status.
    Main,
    /// Only `status`.
    Status,
    /// Container resources of a pod, beside what [`Part::Main`] may change.
    Resize,
}

/// 422 `Deployment.apps "web" is invalid: FIELD: MESSAGE`.
pub fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Status {
    invalid_as(&kind.group, &kind.kind, name, causes)
}

/// The same for what the catalogue has no entry for: bodies of subresources.
pub fn invalid_as(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Status {
    let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
    let list: Vec<Value> = causes.iter().map(Cause::body).collect();
    let mut details = json!({"name": name, "kind": kind, "causes": list});
    if !group.is_empty() {
        details["group"] = group.into();
    }
    let mut status = Status::new(422, "Invalid", format!("{qualified} \"{name}\" is invalid: {}", schema::summary(causes)));
    status.details = details;
    status
}

/// 403 `pods "x" is forbidden: WHY`.
pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Status {
    let mut status = Status::not_found(resource, name);
    status.code = 403;
    status.reason = "Forbidden";
    status.message = format!("{} \"{name}\" is forbidden: {why}", resource.qualified());
    status
}

fn kind_of(world: &World, resource: &Resource) -> Result<Arc<Kind>, Status> {
    Catalog::get()
        .stored(resource)
        .or_else(|| world.customs.stored(resource))
        .cloned()
        .ok_or_else(|| Status::new(404, "NotFound", format!("the server could not find the requested resource {}", resource.qualified())))
}

/// Creates an object: name generation, uid, creation time, defaults, validation.
pub fn create(world: &mut World, resource: &Resource, namespace: &str, object: Value) -> Result<Arc<Value>, Status> {
    let (key, object) = prepare_create(world, resource, namespace, object)?;
    Ok(world.store.put(&key, object))
}

/// Everything that [`create`] does but storing the object.
pub fn prepare_create(world: &mut World, resource: &Resource, namespace: &str, mut object: Value) -> Result<(Key, Value), Status> {
    let kind = kind_of(world, resource)?;
    if !object.is_object() {
        return Err(Status::bad_request(format!("the object provided is unrecognized (must be of type {})", kind.kind)));
    }
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.as_str().into();
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    let (name, generated) = match (object["metadata"]["name"].as_str(), object["metadata"]["generateName"].as_str()) {
        (Some(n), _) if !n.is_empty() => (n.to_owned(), false),
        (_, Some(g)) if !g.is_empty() => (format!("{g}{}", world.suffix(5)), true),
        _ => (String::new(), false),
    };
    if kind.namespaced {
        open_namespace(world, &kind, namespace, &name)?;
    }
    if name.is_empty() {
        let cause = Cause {
            reason: "FieldValueRequired",
            message: "Required value: name or generateName is required".into(),
            field: "metadata.name".into(),
        };
        return Err(invalid(&kind, "", &[cause]));
    }
    let namespace = if kind.namespaced { namespace } else { "" };
    let mut key = Key::new(resource, namespace, &name);
    let mut tries = 0;
    while generated && world.store.get(&key).is_some() && tries < 8 {
        tries += 1;
        let base = object["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
        key = Key::new(resource, namespace, &format!("{base}{}", world.suffix(5)));
    }
    if object["metadata"]["resourceVersion"].as_str().is_some_and(|v| !v.is_empty()) {
        return Err(Status::new(500, "", "resourceVersion should not be set on objects to be created"));
    }
    let uid = world.uid();
    let meta = &mut object["metadata"];
    meta["name"] = (&*key.name).into();
    if kind.namespaced {
        meta["namespace"] = namespace.into();
    }
    meta["uid"] = uid.as_str().into();
    meta["creationTimestamp"] = world.now.rfc3339().into();
    if let Some(m) = meta.as_object_mut() {
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation", "resourceVersion"] {
            m.remove(field);
        }
        if !kind.namespaced {
            m.remove("namespace");
        }
    }
    if kinds::has_generation(&kind) {
        object["metadata"]["generation"] = 1.into();
    }
    if kind.has_status()
        && &*resource.plural != "nodes"
        && let Some(m) = object.as_object_mut()
    {
        m.remove("status");
    }
    kinds::before_defaults(&kind, &mut object, &uid);
    schema::defaults(&kind.api_version(), &kind.kind, &mut object);
    if let Some(dynamic) = &kind.dynamic {
        custom::complete(&dynamic.schema, &mut object);
    }
    managed::update((&kind.api_version(), &kind.kind, kind.schema()), None, &mut object, &world.writer, &world.now.rfc3339());
    admission::mutate(world, &admission::Request::creation(&key, &kind, &object))?;
    if *resource == Resource::new("", "pods") {
        classes::apply(world, &mut object)?;
        accounts::check(world, namespace, &object)?;
        limits::set_defaults(world, namespace, &mut object);
    }
    kinds::after_defaults(world, &kind, &mut object)?;
    drop_nulls(&mut object);
    refuse(&kind, &key.name, &mistakes(&kind, &object, None))?;
    if *resource == custom::definitions() {
        let wrong = custom::mistakes(&object["spec"], &key.name);
        let named = wrong.into_iter().map(|(field, message)| Cause { reason: "FieldValueInvalid", message, field });
        let causes: Vec<Cause> = named.chain(custom::mistakes_in_rules(&object["spec"], None)).collect();
        refuse(&kind, &key.name, &causes)?;
    }
    if kind.namespaced {
        limits::check(world, &kind, namespace, &object)?;
    }
    if *resource == Resource::new("", "pods") {
        security::enforce(world, &key, &object)?;
    }
    refuse(&kind, &key.name, &admission::mistakes(&kind.kind, &object, None))?;
    admission::validate(world, &admission::Request::creation(&key, &kind, &object))?;
    if world.store.get(&key).is_some() {
        return Err(Status::already_exists(resource, &key.name));
    }
    if kind.namespaced {
        quota::check(world, &kind, namespace, &object, None)?;
    }
    Ok((key, object))
}

/// What is wrong with an object as such, and with what it was before.
fn mistakes(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = schema::validate(&kind.api_version(), &kind.kind, object);
    if let Some(dynamic) = &kind.dynamic {
        causes.extend(dynamic.mistakes(object, old));
    }
    causes
}

/// Nulls at the top, in metadata, specification and status stand for "not there".
fn drop_nulls(object: &mut Value) {
    if let Some(m) = object.as_object_mut() {
        m.retain(|_, v| !v.is_null());
        // Go prints this list even when there is none.
        let metrics = m.get("kind").is_some_and(|k| k == "HorizontalPodAutoscaler");
        for part in ["metadata", "spec", "status"] {
            if let Some(p) = m.get_mut(part).and_then(Value::as_object_mut) {
                p.retain(|name, v| !v.is_null() || (metrics && name == "currentMetrics"));
            }
        }
    }
}

fn open_namespace(world: &World, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
    if namespace.is_empty() {
        return Err(Status::bad_request("an empty namespace may not be set during creation"));
    }
    let namespaces = Resource::new("", "namespaces");
    let Some(ns) = world.store.get(&Key::new(&namespaces, "", namespace)) else {
        return Err(Status::not_found(&namespaces, namespace));
    };
    if ns["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = forbidden(&kind.resource, name, &why);
    status.details["causes"] = json!([{"reason": "NamespaceTerminating", "message": format!("namespace {namespace} is being terminated"), "field": "metadata.namespace"}]);
    Err(status)
}

/// Replaces an object or its status; identity fields are kept, the generation grows when the specification changed.
pub fn update(world: &mut World, key: &Key, object: Value, part: Part) -> Result<Arc<Value>, Status> {
    let Some(new) = prepare_update(world, key, object, part)? else {
        return world.store.get(key).cloned().ok_or_else(|| Status::not_found(&key.resource, &key.name));
    };
    let finished = is_finished(&new);
    let stored = world.store.put(key, new);
    if finished {
        world.store.remove(key);
    }
    Ok(stored)
}

/// Whether nothing stands in the way of the removal of an object that is being deleted.
fn is_finished(object: &Value) -> bool {
    let empty = |v: &Value| v.as_array().is_none_or(Vec::is_empty);
    !object["metadata"]["deletionTimestamp"].is_null()
        && empty(&object["metadata"]["finalizers"])
        && object["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0) == 0
        && (object["kind"] != "Namespace" || empty(&object["spec"]["finalizers"]))
}

/// Everything that [`update`] does but storing the object; `None` when nothing changes.
pub fn prepare_update(world: &World, key: &Key, object: Value, part: Part) -> Result<Option<Value>, Status> {
    let Some(old) = world.store.get(key).cloned() else {
        return Err(Status::not_found(&key.resource, &key.name));
    };
    let kind = kind_of(world, &key.resource)?;
    if let Some(v) = object["metadata"]["resourceVersion"].as_str()
        // Zero is as good as none: whatever is stored is replaced.
        && !matches!(v, "" | "0")
        && old["metadata"]["resourceVersion"] != v
    {
        return Err(Status::conflict(&key.resource, &key.name));
    }
    if let Some(uid) = object["metadata"]["uid"].as_str()
        && !uid.is_empty()
        && old["metadata"]["uid"] != uid
    {
        let mut status = Status::conflict(&key.resource, &key.name);
        status.message = precondition(key, "UID", uid, &old["metadata"]["uid"]);
        return Err(status);
    }
    let mut new = match part {
        Part::Main | Part::Resize => main_part(&kind, &old, object),
        Part::Status => {
            let mut new = (*old).clone();
            new["status"] = object["status"].clone();
            if kind.dynamic.is_none() {
                status_metadata(&kind, &object, &mut new);
            }
            new
        }
    };
    if part != Part::Status {
        schema::defaults(&kind.api_version(), &kind.kind, &mut new);
        // A status has nulls that are meant: it stays as it is.
        if kind.has_status() {
            new["status"] = old["status"].clone();
        }
    }
    if let Some(dynamic) = &kind.dynamic {
        custom::complete(&dynamic.schema, &mut new);
    }
    managed::update((&kind.api_version(), &kind.kind, kind.schema()), Some(&old), &mut new, &world.writer, &world.now.rfc3339());
    if part != Part::Status {
        kinds::count_templates(&kind, &old, &mut new);
        if key.resource == Resource::new("", "services") {
            kinds::service(world, &kind, &mut new, Some(&old))?;
        }
    }
    drop_nulls(&mut new);
    if changed(&kind, &old, &new) && kinds::has_generation(&kind) {
        new["metadata"]["generation"] = (old["metadata"]["generation"].as_u64().unwrap_or(0) + 1).into();
    }
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    if new == *old {
        return Ok(None);
    }
    let subresource = match (&world.requester, part) {
        (Some(requester), _) => requester.subresource.as_str(),
        (None, Part::Status) => "status",
        (None, Part::Main | Part::Resize) => "",
    };
    let request =
        admission::Request { operation: admission::Operation::Update, key, kind: &kind, subresource, object: Some(&new), old: Some(&old) };
    admission::mutate(world, &request)?;
    if part != Part::Status {
        let mut causes = Vec::new();
        finalizers(&old, &new, &mut causes);
        causes.extend(mistakes(&kind, &new, Some(&old)));
        if key.resource == custom::definitions() {
            causes.extend(custom::mistakes_in_rules(&new["spec"], Some(&old["spec"])));
        }
        causes.extend(admission::mistakes(&kind.kind, &new, Some(&old)));
        causes.extend(immutable::check(&kind, &old, &new, part == Part::Resize));
        refuse(&kind, &key.name, &causes)?;
        if kind.namespaced && changed(&kind, &old, &new) {
            quota::check(world, &kind, &key.namespace, &new, Some(&old))?;
        }
    } else if let Some(dynamic) = &kind.dynamic {
        refuse(&kind, &key.name, &dynamic.rules_say(&new, Some(&old), &[]))?;
    }
    admission::validate(world, &request)?;
    Ok(Some(new))
}

fn refuse(kind: &Kind, name: &str, causes: &[Cause]) -> Result<(), Status> {
    if causes.is_empty() { Ok(()) } else { Err(invalid(kind, name, causes)) }
}

fn finalizers(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    if old["metadata"]["deletionTimestamp"].is_null() {
        return;
    }
    let before = old["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let added: Vec<String> =
        new["metadata"]["finalizers"].as_array().into_iter().flatten().filter(|f| !before.contains(f)).map(Value::to_string).collect();
    if !added.is_empty() {
        causes.push(Cause {
            reason: "FieldValueForbidden",
            message: format!(
                "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            ),
            field: "metadata.finalizers".into(),
        });
    }
}

/// What a write to the status of a built-in kind changes beside it: most of the metadata, as the real strategies leave it.
fn status_metadata(kind: &Kind, object: &Value, new: &mut Value) {
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let kept = matches!((kind.kind.as_str(), field), ("Deployment", "labels") | ("Pod", "ownerReferences"));
        if kept || !object["metadata"].is_object() {
            continue;
        }
        match object["metadata"].get(field) {
            Some(value) if !value.is_null() => new["metadata"][field] = value.clone(),
            _ => {
                if let Some(m) = new["metadata"].as_object_mut() {
                    m.remove(field);
                }
            }
        }
    }
}

fn main_part(kind: &Kind, old: &Value, object: Value) -> Value {
    let mut new = object;
    if !new["metadata"].is_object() {
        new["metadata"] = json!({});
    }
    new["apiVersion"] = old["apiVersion"].clone();
    new["kind"] = old["kind"].clone();
    if kind.has_status() {
        new["status"] = old["status"].clone();
    }
    for field in ["uid", "creationTimestamp", "generation", "namespace", "name", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        new["metadata"][field] = old["metadata"][field].clone();
    }
    if new["metadata"]["managedFields"].is_null() {
        new["metadata"]["managedFields"] = old["metadata"]["managedFields"].clone();
    }
    new
}

/// Whether a change counts for the generation: the specification, or for custom kinds anything but metadata and status.
fn changed(kind: &Kind, old: &Value, new: &Value) -> bool {
    if !kind.custom() {
        return old["spec"] != new["spec"];
    }
    let rest = |v: &Value| {
        let mut v = v.clone();
        if let Some(m) = v.as_object_mut() {
            m.remove("metadata");
            if kind.has_status() {
                m.remove("status");
            }
        }
        v
    };
    rest(old) != rest(new)
}

fn precondition(key: &Key, what: &str, wanted: &str, is: &Value) -> String {
    format!(
        "Operation cannot be fulfilled on {} \"{}\": Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {}",
        key.resource.qualified(),
        key.name,
        is.as_str().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests;
