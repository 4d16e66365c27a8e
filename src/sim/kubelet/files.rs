//! What a container finds in its file system: the image's root, mounted volumes, what the kubelet adds.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::Value;

use super::image;
use super::model::ContainerModel;
use super::runtime::PodRun;
use crate::sim::controllers::kinds::{CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS};
use crate::sim::resource::Key;
use crate::sim::shell::files::{FileError, Files, Volume, absolute};
use crate::sim::store::Store;
use crate::sim::time::SimTime;
use crate::sim::tokens::{self, Tokens, Wish};
use crate::sim::world::World;

/// How long a mounted token holds.
const LIFE: std::time::Duration = std::time::Duration::from_hours(365 * 24);
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The family of programs of a container.
pub(super) fn family(model: &ContainerModel, image: &str) -> String {
    if image == model.image
        && let Some(f) = model.profile().and_then(|p| p.family.clone())
    {
        return f;
    }
    image::family(image).to_owned()
}

/// The files of a container, laid out at their first use in a run.
pub(super) fn of<'a>(world: &'a mut World, key: &Key, container: &str) -> Option<&'a mut Files> {
    let now = world.now;
    let pod = world.runtime.pods.get_mut(key)?;
    let i = pod.index(container)?;
    lay_out(&world.store, &world.tokens, &mut world.runtime.claims, key, pod, i, now);
    pod.containers.get_mut(i).map(|c| &mut c.files)
}

fn lay_out(store: &Store, tokens: &Tokens, claims: &mut BTreeMap<Key, Volume>, key: &Key, pod: &mut PodRun, i: usize, now: SimTime) {
    if pod.containers.get(i).is_some_and(|c| !c.prepared) {
        let token = token(store, tokens, key, now);
        prepare(store, claims, key, pod, i, (now, &token));
    }
}

/// The token of a pod's account, for the API server. It ends with the pod, and after a year: real ones are renewed before they end.
fn token(store: &Store, tokens: &Tokens, key: &Key, now: SimTime) -> String {
    let Some(pod) = store.get(key) else { return String::new() };
    let name = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
    let Some(account) = store.get(&Key::new(&SERVICE_ACCOUNTS, &key.namespace, name)) else { return String::new() };
    let wish = Wish {
        namespace: &key.namespace,
        account: (name, account["metadata"]["uid"].as_str().unwrap_or_default()),
        audiences: &serde_json::json!([tokens::ISSUER]),
        begins: now,
        ends: now.after(LIFE),
        bound: &tokens::of_pod(store, pod),
    };
    tokens.issue(&wish).unwrap_or_default()
}

/// The longest file that is served.
const PAGE_MAX: usize = 1 << 20;

/// What a well-known web server that is left as its image has it serves at `path`: `Some(None)` for nothing. `None` when it is none, or
/// somebody configured it.
pub fn web_page(world: &mut World, key: &Key, container: &str, path: &str) -> Option<Option<String>> {
    let mut pod = world.runtime.pods.remove(key)?;
    let page = pod.index(container).and_then(|i| page(world, key, &mut pod, i, path));
    world.runtime.pods.insert(key.clone(), pod);
    page.map(Result::ok)
}

/// The same of a container of a pod that is held.
pub(super) fn page(world: &mut World, key: &Key, pod: &mut PodRun, i: usize, path: &str) -> Option<Result<String, FileError>> {
    let (model, run) = (pod.model.containers.get(i)?, pod.containers.get(i)?);
    let index = image::own_file(&run.image)?.0;
    let configured = model.mounts.iter().any(|m| m.path.starts_with("/etc/") || m.path.starts_with("/usr/local/apache2/conf"))
        || model.profile().is_none_or(|p| !p.paths.is_empty());
    if configured {
        return None;
    }
    let root = index.strip_suffix("/index.html")?;
    let wanted = if path == "/" { index.to_owned() } else { absolute(root, path.trim_start_matches('/')) };
    lay_out(&world.store, &world.tokens, &mut world.runtime.claims, key, pod, i, world.now);
    let files = &pod.containers.get(i)?.files;
    let content = if wanted.starts_with(root) { files.read(&wanted) } else { Err(FileError::NoEntry) };
    Some(content.map(|c| String::from_utf8_lossy(&c.bytes(PAGE_MAX)).into_owned()))
}

fn prepare(store: &Store, claims: &mut BTreeMap<Key, Volume>, key: &Key, pod: &mut PodRun, i: usize, (now, token): (SimTime, &str)) {
    let Some(model) = pod.model.containers.get(i).cloned() else { return };
    let Some(run_image) = pod.containers.get(i).filter(|c| !c.prepared).map(|c| c.image.clone()) else { return };
    let mut files = Files::for_image(&family(&model, &run_image));
    files.now = now.timestamp();
    if let Some((path, page)) = image::own_file(&run_image) {
        files.put(path, page.as_bytes(), 0o644);
    }
    for mount in &model.mounts {
        let Some(volume) = pod.model.volumes.get(&mount.volume).cloned() else { continue };
        let content = content(store, &key.namespace, &volume);
        let read_only = mount.read_only || content.is_some();
        if let Some(sub) = &mount.sub_path
            && let Some(text) = content.as_ref().and_then(|c| c.iter().find(|(n, _)| n == sub)).map(|(_, t)| t)
        {
            files.put(&mount.path, text, 0o644);
            continue;
        }
        let shared = match volume["persistentVolumeClaim"]["claimName"].as_str() {
            Some(claim) => {
                let at = Key::new(&crate::sim::controllers::kinds::CLAIMS, &key.namespace, claim);
                claims.entry(at).or_default().clone()
            }
            None => pod.volumes.entry(mount.volume.clone()).or_default().clone(),
        };
        for (name, bytes) in content.into_iter().flatten() {
            shared.put_text(&format!("/{name}"), &String::from_utf8_lossy(&bytes));
        }
        files.mount(&mount.path, shared, read_only);
    }
    files.put(&format!("{ACCOUNT}/namespace"), key.namespace.as_bytes(), 0o644);
    files.put(&format!("{ACCOUNT}/token"), token.as_bytes(), 0o644);
    let ca = store
        .get(&Key::new(&CONFIG_MAPS, &key.namespace, "kube-root-ca.crt"))
        .and_then(|c| c["data"]["ca.crt"].as_str())
        .unwrap_or_default();
    files.put(&format!("{ACCOUNT}/ca.crt"), ca.as_bytes(), 0o644);
    if let Some(c) = pod.containers.get_mut(i) {
        c.files = files;
        c.prepared = true;
    }
}

/// The files of a volume that is made of objects; `None` for one that starts empty.
fn content(store: &Store, namespace: &str, volume: &Value) -> Option<Vec<(String, Vec<u8>)>> {
    let picked = |all: Vec<(String, Vec<u8>)>, source: &Value| -> Vec<(String, Vec<u8>)> {
        let Some(items) = source["items"].as_array() else { return all };
        let chosen = items.iter().filter_map(|i| {
            let (_, bytes) = all.iter().find(|(k, _)| i["key"] == k.as_str())?;
            Some((i["path"].as_str()?.to_owned(), bytes.clone()))
        });
        chosen.collect()
    };
    if let Some(name) = volume["configMap"]["name"].as_str() {
        return Some(picked(config_map(store, namespace, name), &volume["configMap"]));
    }
    if let Some(name) = volume["secret"]["secretName"].as_str() {
        return Some(picked(secret(store, namespace, name), &volume["secret"]));
    }
    let sources = volume["projected"]["sources"].as_array()?;
    let mut all = Vec::new();
    for s in sources {
        if let Some(name) = s["configMap"]["name"].as_str() {
            all.extend(picked(config_map(store, namespace, name), &s["configMap"]));
        }
        if let Some(name) = s["secret"]["name"].as_str() {
            all.extend(picked(secret(store, namespace, name), &s["secret"]));
        }
    }
    Some(all)
}

/// The entries of a config map.
pub(super) fn config_map(store: &Store, namespace: &str, name: &str) -> Vec<(String, Vec<u8>)> {
    let Some(map) = store.get(&Key::new(&CONFIG_MAPS, namespace, name)) else { return Vec::new() };
    map["data"].as_object().into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.as_bytes().to_vec()))).collect()
}

/// The decoded entries of a secret.
pub(super) fn secret(store: &Store, namespace: &str, name: &str) -> Vec<(String, Vec<u8>)> {
    let Some(secret) = store.get(&Key::new(&SECRETS, namespace, name)) else { return Vec::new() };
    let decode = |v: &Value| base64::engine::general_purpose::STANDARD.decode(v.as_str()?).ok();
    secret["data"].as_object().into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), decode(v)?))).collect()
}
