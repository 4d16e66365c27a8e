//! What a write means: identity, defaults, validation, generations, deletion. Used by the API and by controllers alike.
//!
//! Callers give whole objects; patches are applied by callers (see [`super::patch`]) before [`update`]. The `prepare_`
//! functions do everything but store the result: dry runs stop there.

mod accounts;
mod immutable;
mod kinds;
mod limits;
mod quota;
pub mod security;

use std::sync::Arc;

use serde_json::{Value, json};

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

/// How dependents of a deleted object are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// Delete the object now, dependents later.
    #[default]
    Background,
    /// Delete dependents first.
    Foreground,
    /// Leave dependents alone.
    Orphan,
}

/// Options of a deletion.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Treatment of dependents.
    pub propagation: Propagation,
    /// Grace period in seconds; `None`: the object's own.
    pub grace_period_s: Option<u64>,
    /// Refuse unless the object has this uid.
    pub uid: Option<String>,
    /// Refuse unless the object has this resource version.
    pub resource_version: Option<String>,
}

/// What a deletion comes to.
#[derive(Debug, Clone)]
pub enum Deletion {
    /// The object goes at once.
    Remove,
    /// The object stays, changed like this, until its finalizers or its grace period are over.
    Mark(Value),
    /// It is being deleted already: nothing changes.
    Nothing,
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
    managed::update(&kind.api_version(), &kind.kind, None, &mut object, &world.writer, &world.now.rfc3339());
    if *resource == Resource::new("", "pods") {
        accounts::check(world, namespace, &object)?;
        limits::set_defaults(world, namespace, &mut object);
    }
    kinds::after_defaults(world, &kind, &mut object)?;
    drop_nulls(&mut object);
    refuse(&kind, &key.name, &mistakes(&kind, &object))?;
    if *resource == custom::definitions() {
        let wrong = custom::mistakes(&object["spec"], &key.name);
        let causes: Vec<Cause> = wrong.into_iter().map(|(field, message)| Cause { reason: "FieldValueInvalid", message, field }).collect();
        refuse(&kind, &key.name, &causes)?;
    }
    if kind.namespaced {
        limits::check(world, &kind, namespace, &object)?;
    }
    if *resource == Resource::new("", "pods") {
        security::enforce(world, &key, &object)?;
    }
    if world.store.get(&key).is_some() {
        return Err(Status::already_exists(resource, &key.name));
    }
    if kind.namespaced {
        quota::check(world, &kind, namespace, &object, None)?;
    }
    Ok((key, object))
}

/// What is wrong with an object as such.
fn mistakes(kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut causes = schema::validate(&kind.api_version(), &kind.kind, object);
    if let Some(dynamic) = &kind.dynamic {
        causes.extend(custom::validate(&dynamic.schema, object));
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
    managed::update(&kind.api_version(), &kind.kind, Some(&old), &mut new, &world.writer, &world.now.rfc3339());
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
    if part != Part::Status {
        let mut causes = Vec::new();
        finalizers(&old, &new, &mut causes);
        causes.extend(mistakes(&kind, &new));
        causes.extend(immutable::check(&kind, &old, &new, part == Part::Resize));
        refuse(&kind, &key.name, &causes)?;
        if kind.namespaced && changed(&kind, &old, &new) {
            quota::check(world, &kind, &key.namespace, &new, Some(&old))?;
        }
    }
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

/// Deletes an object, or marks it as being deleted when finalizers or a grace period stand in the way.
///
/// Returns the object as it was left, and whether it is gone.
pub fn delete(world: &mut World, key: &Key, options: &DeleteOptions) -> Result<(Arc<Value>, bool), Status> {
    let missing = || Status::not_found(&key.resource, &key.name);
    match prepare_delete(world, key, options)? {
        Deletion::Remove => world.store.remove(key).map(|o| (o, true)).ok_or_else(missing),
        Deletion::Mark(new) => {
            let finished = is_finished(&new);
            let stored = world.store.put(key, new);
            if finished {
                world.store.remove(key);
            }
            Ok((stored, finished))
        }
        Deletion::Nothing => world.store.get(key).cloned().map(|o| (o, false)).ok_or_else(missing),
    }
}

/// Finds out what [`delete`] would do.
pub fn prepare_delete(world: &World, key: &Key, options: &DeleteOptions) -> Result<Deletion, Status> {
    let Some(old) = world.store.get(key).cloned() else {
        return Err(Status::not_found(&key.resource, &key.name));
    };
    for (what, wanted, is) in [
        ("UID", &options.uid, &old["metadata"]["uid"]),
        ("ResourceVersion", &options.resource_version, &old["metadata"]["resourceVersion"]),
    ] {
        if let Some(w) = wanted.as_ref().filter(|w| is != w.as_str()) {
            let mut status = Status::conflict(&key.resource, &key.name);
            status.message = precondition(key, what, w, is);
            return Err(status);
        }
    }
    if key.resource == Resource::new("", "namespaces") {
        return delete_namespace(world, key, &old);
    }
    let mut new = (*old).clone();
    let meta = &mut new["metadata"];
    let add = match options.propagation {
        Propagation::Background => None,
        Propagation::Foreground => Some("foregroundDeletion"),
        Propagation::Orphan => Some("orphan"),
    };
    if let Some(f) = add {
        let mut list = meta["finalizers"].as_array().cloned().unwrap_or_default();
        let other = if f == "orphan" { "foregroundDeletion" } else { "orphan" };
        list.retain(|x| x != other);
        if !list.iter().any(|x| x == f) {
            list.push(f.into());
        }
        meta["finalizers"] = list.into();
    }
    let held = meta["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    let grace = grace(key, &old, options);
    if !held && grace == 0 {
        return Ok(Deletion::Remove);
    }
    let before = old["metadata"]["deletionGracePeriodSeconds"].as_u64();
    let deleting = !old["metadata"]["deletionTimestamp"].is_null();
    if !deleting || before.is_some_and(|b| grace < b) {
        meta["deletionTimestamp"] = world.now.after(std::time::Duration::from_secs(grace)).rfc3339().into();
        meta["deletionGracePeriodSeconds"] = grace.into();
        if let Some(g) = meta["generation"].as_u64() {
            meta["generation"] = (g + 1).into();
        }
    }
    Ok(if new == *old { Deletion::Nothing } else { Deletion::Mark(new) })
}

/// The grace period of a deletion: only running pods that have a node get one.
fn grace(key: &Key, old: &Value, options: &DeleteOptions) -> u64 {
    let running = key.resource == Resource::new("", "pods")
        && old["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty())
        && old["status"]["phase"] != "Succeeded"
        && old["status"]["phase"] != "Failed";
    if !running {
        return 0;
    }
    options.grace_period_s.unwrap_or_else(|| old["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30))
}

fn delete_namespace(world: &World, key: &Key, old: &Value) -> Result<Deletion, Status> {
    if matches!(&*key.name, "default" | "kube-system" | "kube-public") {
        return Err(forbidden(&key.resource, &key.name, "this namespace may not be deleted"));
    }
    if !old["metadata"]["deletionTimestamp"].is_null() {
        return Ok(if is_finished(old) { Deletion::Remove } else { Deletion::Nothing });
    }
    let mut new = old.clone();
    new["metadata"]["deletionTimestamp"] = world.now.rfc3339().into();
    new["status"]["phase"] = "Terminating".into();
    Ok(Deletion::Mark(new))
}

/// Empties a namespace's own list of finalizers (`namespaces/finalize`), which lets it go.
pub fn finalize_namespace(world: &mut World, name: &str, finalizers: Value) -> Result<Arc<Value>, Status> {
    let key = Key::new(&Resource::new("", "namespaces"), "", name);
    let mut new = world.store.get(&key).map(|o| (**o).clone()).ok_or_else(|| Status::not_found(&key.resource, name))?;
    new["spec"]["finalizers"] = finalizers;
    let finished = is_finished(&new);
    let stored = world.store.put(&key, new);
    if finished {
        world.store.remove(&key);
    }
    Ok(stored)
}

#[cfg(test)]
mod tests;
