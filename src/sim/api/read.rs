//! `get` and `list`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::answer::{Answer, Form, object, partial};
use super::call::{Call, Target};
use super::selector::Selector;
use super::{order, table, versions};
use crate::sim::catalog::Kind;
use crate::sim::controllers::kinds::LEASES;
use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::store::Expired;
use crate::sim::time::SimTime;
use crate::sim::world::World;

/// One object.
pub(super) fn get(world: &World, call: &Call, target: &Target) -> Result<Answer, Status> {
    let key = target.key();
    let value = world.store.get(&key).or_else(|| components().get(&key)).ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
    let shown = renewed(world, &key, value);
    if let Cow::Borrowed(stored) = shown
        && as_stored(call, &target.kind)
    {
        let (rest, mut body) = (world.printed.text(&key, stored, order::rest), order::names(stored));
        body.extend_from_slice(&rest);
        body.extend_from_slice(b"}\n");
        return Ok(Answer::written(200, body));
    }
    Ok(object(call, target, 200, &shown, world.now))
}

/// Whether objects are shown just as they are stored: then none is copied.
fn as_stored(call: &Call, kind: &Kind) -> bool {
    matches!(Form::of(&call.accept), Form::Whole) && versions::as_stored(kind) && call.veil.hides_nothing()
}

static COMPONENTS: LazyLock<Resource> = LazyLock::new(|| Resource::new("", "componentstatuses"));

/// The parts of the control plane, which are not stored: a real server asks each when somebody wants to know.
fn components() -> &'static BTreeMap<Key, Arc<Value>> {
    static ALL: LazyLock<BTreeMap<Key, Arc<Value>>> = LazyLock::new(|| {
        let one = |name: &str| {
            let conditions = json!([{"type": "Healthy", "status": "True", "message": "ok"}]);
            let object = json!({"apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": name}, "conditions": conditions});
            (Key::new(&COMPONENTS, "", name), Arc::new(object))
        };
        ["controller-manager", "etcd-0", "scheduler"].map(one).into()
    });
    &ALL
}

/// Kubelets renew their leases every ten seconds. That is not stored: it would be most of what happens in a cluster.
fn renewed<'a>(world: &World, key: &Key, value: &'a Arc<Value>) -> Cow<'a, Arc<Value>> {
    if key.resource != *LEASES || &*key.namespace != "kube-node-lease" {
        return Cow::Borrowed(value);
    }
    let mut new = Value::clone(value);
    new["spec"]["renewTime"] = SimTime(world.now.0 / 10_000 * 10_000).rfc3339_micro().into();
    Cow::Owned(Arc::new(new))
}

/// A list.
pub(super) fn list(world: &World, call: &Call, target: &Target) -> Result<Answer, Status> {
    let selector = Selector::parse(&target.kind, call.param("labelSelector"), call.param("fieldSelector"))?;
    let revision = world.store.revision();
    if let Some(asked) = call.param("resourceVersion").and_then(|v| v.parse::<u64>().ok())
        && asked > revision
    {
        return Err(too_new(asked, revision));
    }
    let start = call.param("continue").map(read_token).transpose()?;
    let exact = call.param("resourceVersionMatch") == Some("Exact");
    let asked = call.param("resourceVersion").and_then(|v| v.parse::<u64>().ok()).filter(|_| exact);
    let wanted = start.as_ref().map(|s| s.revision).or(asked);
    let limit = call.param("limit").and_then(|l| l.parse::<usize>().ok()).filter(|l| *l > 0).unwrap_or(usize::MAX);
    let namespace = Some(target.namespace.as_str()).filter(|n| !n.is_empty());
    // Every page shows the cluster as it was for the first one.
    let past: Option<BTreeMap<Key, Arc<Value>>> = match wanted {
        Some(wanted) if wanted < revision => {
            Some(world.store.list_at(&target.kind.resource, namespace, wanted).map_err(|e| gone(wanted, e, start.as_ref()))?)
        }
        _ => None,
    };
    let revision = wanted.unwrap_or(revision);
    let found: Box<dyn Iterator<Item = (&Key, &Arc<Value>)> + '_> = match &past {
        Some(past) => Box::new(past.iter()),
        None if target.kind.resource == *COMPONENTS => Box::new(components().iter()),
        None => Box::new(world.store.list(&target.kind.resource, namespace)),
    };
    let mut all = found
        .filter(|(k, _)| start.as_ref().is_none_or(|s| (&*k.namespace, &*k.name) > (s.namespace.as_str(), s.name.as_str())))
        .filter(|(_, v)| selector.matches(v) && !call.veil.hides(v));
    let as_stored = as_stored(call, &target.kind) && !target.kind.custom();
    let (mut items, mut texts) = (Vec::new(), Vec::new());
    let mut last = None;
    for (key, value) in all.by_ref().take(limit) {
        let shown = renewed(world, key, value);
        if as_stored {
            texts.push(match shown {
                Cow::Borrowed(stored) => world.printed.text(key, stored, order::rest),
                Cow::Owned(new) => order::rest(&new).into(),
            });
        } else {
            let mut shown = versions::to_wire(&target.kind, &shown);
            if !call.veil.hides_nothing() {
                call.veil.scrub(shown.to_mut());
            }
            items.push(shown.into_owned());
        }
        last = Some(key);
    }
    let rest = all.count();
    let mut meta = json!({"resourceVersion": revision.to_string()});
    if rest > 0
        && let Some(key) = last
    {
        meta["continue"] = token(revision, &key.namespace, &key.name).into();
        if selector.is_empty() {
            meta["remainingItemCount"] = rest.into();
        }
    }
    if as_stored {
        let mut body = Vec::with_capacity(texts.iter().map(|t| t.len() + 3).sum::<usize>() + 512);
        let (kind, version) = (&target.kind.kind, target.kind.api_version());
        body.extend_from_slice(
            format!("{{\"kind\":\"{kind}List\",\"apiVersion\":\"{version}\",\"metadata\":{meta},\"items\":[").as_bytes(),
        );
        for (n, text) in texts.iter().enumerate() {
            body.extend_from_slice(if n == 0 { b"{" } else { b",{" });
            body.extend_from_slice(text);
            body.push(b'}');
        }
        body.extend_from_slice(b"]}\n");
        return Ok(Answer::written(200, body));
    }
    Ok(Answer::json(200, &shape(call, &target.kind, meta, items, world.now)))
}

/// A list of wire objects in the form asked for.
pub(super) fn shape(call: &Call, kind: &Kind, mut meta: Value, mut items: Vec<Value>, now: crate::sim::time::SimTime) -> Value {
    match Form::of(&call.accept) {
        Form::Table(v) => table::table(kind, v, &meta, &items.iter().collect::<Vec<_>>(), call, true, now),
        Form::Partial => {
            let items: Vec<Value> = items.iter().map(partial).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items})
        }
        Form::Whole => {
            if kind.custom() {
                if meta["continue"].is_null() {
                    meta["continue"] = "".into();
                }
            } else {
                for o in items.iter_mut().filter_map(Value::as_object_mut) {
                    o.remove("apiVersion");
                    o.remove("kind");
                }
            }
            let mut list = json!({"kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(), "metadata": meta});
            // Moved, not copied.
            list["items"] = Value::Array(items);
            list
        }
    }
}

/// 504: the client knows a newer version than there is.
pub(super) fn too_new(asked: u64, revision: u64) -> Status {
    let mut s = Status::new(504, "Timeout", format!("Timeout: Too large resource version: {asked}, current: {revision}"));
    s.details = json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1});
    s
}

fn token(revision: u64, namespace: &str, name: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": format!("{namespace}/{name}\u{0}")}).to_string())
}

/// 410: the past that the client asks for is forgotten.
fn gone(wanted: u64, expired: Expired, start: Option<&Start>) -> Status {
    let message = if start.is_some() {
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.".to_owned()
    } else {
        format!("The resourceVersion for the provided list is too old: {wanted} ({})", expired.oldest)
    };
    let mut s = Status::new(410, "Expired", message);
    s.details = json!({});
    s
}

/// Where a page begins.
struct Start {
    revision: u64,
    namespace: String,
    name: String,
}

fn read_token(text: &str) -> Result<Start, Status> {
    let bad = |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let raw = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|e| bad(&e.to_string()))?;
    let v: Value = serde_json::from_slice(&raw).map_err(|e| match raw.first() {
        // Go's words for what is no JSON at all.
        Some(b) if *b != b'{' => bad(&format!("invalid character {:?} looking for beginning of value", char::from(*b))),
        _ => bad(&e.to_string()),
    })?;
    let start = v["start"].as_str().unwrap_or_default().trim_end_matches('\u{0}');
    let (namespace, name) = start.split_once('/').ok_or_else(|| bad("no start key"))?;
    let revision = v["rv"].as_u64().ok_or_else(|| bad("no resource version"))?;
    Ok(Start { revision, namespace: namespace.to_owned(), name: name.to_owned() })
}
