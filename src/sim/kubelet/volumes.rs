//! Volumes that are made of objects: `ConfigMap`s, Secrets, the downward API, tokens, and projections of them.
//!
//! Input: a volume of a pod's specification and the store. Output: the files in it, or why it cannot be mounted, in the words
//! of kubelet's `FailedMount` events.

use std::net::Ipv4Addr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::fields;
use super::model::PodModel;
use crate::sim::controllers::kinds::{CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS};
use crate::sim::resource::{Key, Resource};
use crate::sim::shell::files::{Kind, Volume};
use crate::sim::store::Store;
use crate::sim::time::SimTime;
use crate::sim::tokens::{self, Tokens, Wish};

/// How long a mounted token holds.
const LIFE: Duration = Duration::from_hours(365 * 24);

/// One file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where in the volume, without a slash in front.
    pub(super) path: String,
    /// What is in it.
    pub(super) bytes: Vec<u8>,
    /// Permission bits.
    pub(super) mode: u32,
}

/// A pod as its volumes see it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) store: &'a Store,
    /// Who signs tokens; without, they are empty.
    pub(super) tokens: Option<&'a Tokens>,
    pub(super) key: &'a Key,
    pub(super) pod: &'a Value,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) now: SimTime,
}

/// What a volume that is made of objects is made of, each an object with one of the kinds of sources, and the mode of its files.
fn sources(volume: &Value) -> Option<(Vec<&Value>, u64)> {
    for kind in ["configMap", "secret", "downwardAPI"] {
        if volume[kind].is_object() {
            return Some((vec![volume], volume[kind]["defaultMode"].as_u64().unwrap_or(0o644)));
        }
    }
    let projected = volume["projected"].as_object()?;
    let mode = projected.get("defaultMode").and_then(Value::as_u64).unwrap_or(0o644);
    Some((projected.get("sources").and_then(Value::as_array).into_iter().flatten().collect(), mode))
}

/// The files of a volume; `None` for one that is not made of objects. What was there before keeps its tokens.
pub(super) fn entries(view: View<'_>, volume: &Value, before: &[Entry]) -> Option<Result<Vec<Entry>, String>> {
    let (sources, mode) = sources(volume)?;
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for source in sources {
        match of_source(view, source, mode, before) {
            Ok(entries) => all.extend(entries),
            Err(why) => wrong.push(why),
        }
    }
    Some(match wrong.as_slice() {
        [] => Ok(all),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    })
}

fn of_source(view: View<'_>, source: &Value, default: u64, before: &[Entry]) -> Result<Vec<Entry>, String> {
    let store = view.store;
    let mode = |item: &Value| u32::try_from(item["mode"].as_u64().unwrap_or(default) & 0o7777).unwrap_or(0o644);
    if let Some(from) = source["configMap"].as_object() {
        let from = Value::Object(from.clone());
        return picked(view, &from, "configmap", ("configmap ", "config key"), &CONFIG_MAPS, &mode, |ns, n| config_map(store, ns, n));
    }
    if let Some(from) = source["secret"].as_object() {
        let mut from = Value::Object(from.clone());
        if let Some(name) = from["secretName"].as_str() {
            from["name"] = name.into();
        }
        return picked(view, &from, "secret", ("", "secret key"), &SECRETS, &mode, |ns, n| secret(store, ns, n));
    }
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    if source["downwardAPI"].is_object() {
        let entry = |item: &Value| {
            let field = item["fieldRef"]["fieldPath"].as_str().map(|path| fields::field(view.pod, view.address, path));
            let value = field.unwrap_or_else(|| fields::resource(store, view.pod, "", &item["resourceFieldRef"]));
            Some(Entry { path: item["path"].as_str()?.to_owned(), bytes: value.unwrap_or_default().into_bytes(), mode: mode(item) })
        };
        return Ok(list(&source["downwardAPI"]["items"]).iter().filter_map(entry).collect());
    }
    if let Some(path) = source["serviceAccountToken"]["path"].as_str() {
        let known = before.iter().find(|e| e.path == path).map(|e| e.bytes.clone());
        let bytes = known.unwrap_or_else(|| token(view, &source["serviceAccountToken"]["audience"]).into_bytes());
        return Ok(vec![Entry { path: path.to_owned(), bytes, mode: mode(&Value::Null) }]);
    }
    Ok(Vec::new())
}

/// The keys of an object that a source asks for; all of them when it names none.
fn picked(
    view: View<'_>,
    from: &Value,
    word: &str,
    key_words: (&str, &str),
    resource: &Resource,
    mode: &dyn Fn(&Value) -> u32,
    read: impl Fn(&str, &str) -> Vec<(String, Vec<u8>)>,
) -> Result<Vec<Entry>, String> {
    let (name, optional) = (from["name"].as_str().unwrap_or_default(), from["optional"] == true);
    let namespace = &*view.key.namespace;
    if view.store.get(&Key::new(resource, namespace, name)).is_none() {
        return if optional { Ok(Vec::new()) } else { Err(format!("{word} \"{name}\" not found")) };
    }
    let all = read(namespace, name);
    let Some(items) = from["items"].as_array().filter(|i| !i.is_empty()) else {
        return Ok(all.into_iter().map(|(path, bytes)| Entry { path, bytes, mode: mode(&Value::Null) }).collect());
    };
    let mut out = Vec::new();
    for item in items {
        let (key, path) = (item["key"].as_str().unwrap_or_default(), item["path"].as_str().unwrap_or_default());
        match all.iter().find(|(k, _)| k == key) {
            Some((_, bytes)) => out.push(Entry { path: path.to_owned(), bytes: bytes.clone(), mode: mode(item) }),
            None if optional => {}
            None => return Err(format!("{}references non-existent {}: {key}", key_words.0, key_words.1)),
        }
    }
    Ok(out)
}

/// The token of a pod's account. It ends with the pod, and after a year: real ones are renewed before they end.
fn token(view: View<'_>, audience: &Value) -> String {
    let name = view.pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
    let Some(account) = view.store.get(&Key::new(&SERVICE_ACCOUNTS, &view.key.namespace, name)) else { return String::new() };
    let wish = Wish {
        namespace: &view.key.namespace,
        account: (name, account["metadata"]["uid"].as_str().unwrap_or_default()),
        audiences: &json!([audience.as_str().filter(|a| !a.is_empty()).unwrap_or(tokens::ISSUER)]),
        begins: view.now,
        ends: view.now.after(LIFE),
        bound: &tokens::of_pod(view.store, view.pod),
    };
    view.tokens.and_then(|t| t.issue(&wish)).unwrap_or_default()
}

/// The first mounted volume that cannot be, and why. `host` is the node's files.
pub(super) fn obstacle(view: View<'_>, model: &PodModel, host: Option<&Volume>) -> Option<(String, String)> {
    let mounted = |name: &String| model.containers.iter().any(|c| c.mounts.iter().any(|m| m.volume == *name));
    model.volumes.iter().filter(|(name, _)| mounted(name)).find_map(|(name, volume)| {
        let why = match entries(view, volume, &[]) {
            Some(made) => made.err(),
            None => host.and_then(|host| unfit(host, &volume["hostPath"])),
        };
        why.map(|why| (name.clone(), why))
    })
}

/// Why a path on a node is not what a `hostPath` says. Those of the kinds `...OrCreate`, and those of none, are made.
fn unfit(host: &Volume, from: &Value) -> Option<String> {
    let path = from["path"].as_str()?;
    let found = host.at(path).map(|n| n.kind);
    let (fits, word) = match from["type"].as_str().unwrap_or_default() {
        "Directory" => (matches!(found, Some(Kind::Directory)), "directory"),
        "File" => (matches!(found, Some(Kind::Regular(_))), "file"),
        "Socket" => (matches!(found, Some(Kind::Socket)), "socket file"),
        "CharDevice" => (matches!(found, Some(Kind::Device)), "character device"),
        "BlockDevice" => (false, "block device"),
        _ => (true, ""),
    };
    (!fits).then(|| format!("hostPath type check failed: {path} is not a {word}"))
}

/// The texts of a config map.
pub(super) fn texts(store: &Store, namespace: &str, name: &str) -> Vec<(String, Vec<u8>)> {
    let Some(map) = store.get(&Key::new(&CONFIG_MAPS, namespace, name)) else { return Vec::new() };
    map["data"].as_object().into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.as_bytes().to_vec()))).collect()
}

/// The texts and bytes of a config map.
fn config_map(store: &Store, namespace: &str, name: &str) -> Vec<(String, Vec<u8>)> {
    let mut all = texts(store, namespace, name);
    if let Some(map) = store.get(&Key::new(&CONFIG_MAPS, namespace, name)) {
        all.extend(decoded(&map["binaryData"]));
    }
    all
}

/// The decoded entries of a secret.
pub(super) fn secret(store: &Store, namespace: &str, name: &str) -> Vec<(String, Vec<u8>)> {
    let Some(secret) = store.get(&Key::new(&SECRETS, namespace, name)) else { return Vec::new() };
    decoded(&secret["data"]).collect()
}

fn decoded(data: &Value) -> impl Iterator<Item = (String, Vec<u8>)> {
    data.as_object().into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), STANDARD.decode(v.as_str()?).ok()?)))
}
