//! What a container finds in its file system: the image's root, mounted volumes, what the kubelet adds.

use std::time::Duration;

use super::model::ContainerModel;
use super::runtime::PodRun;
use super::volumes::{self, View};
use super::{environment, image, node_files};
use crate::sim::controllers::kinds::CLAIMS;
use crate::sim::resource::Key;
use crate::sim::shell::files::{Content, FileError, Files, Kind, absolute};
use crate::sim::world::World;

/// How often a kubelet looks at the objects that a pod's volumes are made of (`syncFrequency`).
const SYNC: Duration = Duration::from_mins(1);

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
    let mut pod = world.runtime.pods.remove(key)?;
    let i = pod.index(container);
    if let Some(i) = i {
        lay_out(world, key, &mut pod, i);
    }
    world.runtime.pods.insert(key.clone(), pod);
    world.runtime.pods.get_mut(key)?.containers.get_mut(i?).map(|c| &mut c.files)
}

/// Lays out what a container finds, or brings what is made of objects up to date.
fn lay_out(world: &mut World, key: &Key, pod: &mut PodRun, i: usize) {
    let round = world.now.since(pod.bound).as_secs() / SYNC.as_secs();
    if pod.containers.get(i).is_some_and(|c| !c.prepared) {
        prepare(world, key, pod, i);
    } else if pod.synced != round {
        let names: Vec<String> = pod.laid.keys().cloned().collect();
        for name in names {
            made(world, key, pod, &name);
        }
    }
    pod.synced = round;
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
    lay_out(world, key, pod, i);
    let files = &pod.containers.get(i)?.files;
    let content = if wanted.starts_with(root) { files.read(&wanted) } else { Err(FileError::NoEntry) };
    Some(content.map(|c| String::from_utf8_lossy(&c.bytes(PAGE_MAX)).into_owned()))
}

fn prepare(world: &mut World, key: &Key, pod: &mut PodRun, i: usize) {
    let Some(model) = pod.model.containers.get(i).cloned() else { return };
    let Some(run_image) = pod.containers.get(i).map(|c| c.image.clone()) else { return };
    let mut files = Files::for_image(&family(&model, &run_image));
    files.now = world.now.timestamp();
    if let Some((path, page)) = image::own_file(&run_image) {
        files.put(path, page.as_bytes(), 0o644);
    }
    let known = environment::environment(&world.store, key, pod, &model);
    for mount in &model.mounts {
        let Some(volume) = pod.model.volumes.get(&mount.volume).cloned() else { continue };
        let made = made(world, key, pod, &mount.volume);
        let read_only = mount.read_only || made;
        let expanded = mount.sub_path_expr.as_deref().map(|e| environment::expand(e, &known));
        let sub = expanded.as_deref().or(mount.sub_path.as_deref()).unwrap_or_default().trim_matches('/');
        if made && !sub.is_empty() {
            // A file that is mounted by itself stays as it was.
            if let Some(entry) = pod.laid.get(&mount.volume).into_iter().flatten().find(|e| e.path == sub) {
                files.put(&mount.path, &entry.bytes, entry.mode);
                continue;
            }
        }
        let (shared, base) = match (volume["persistentVolumeClaim"]["claimName"].as_str(), volume["hostPath"]["path"].as_str()) {
            (Some(claim), _) => {
                let at = Key::new(&CLAIMS, &key.namespace, claim);
                (world.runtime.claims.entry(at).or_default().clone(), String::new())
            }
            (None, Some(path)) => {
                let host = node_files::of(world, &pod.model.node);
                if volume["hostPath"]["type"] == "FileOrCreate" && host.at(path).is_none() {
                    host.add(path, Kind::Regular(Content::default()), files.now);
                }
                if let Some(Kind::Regular(content)) = host.at(path).map(|n| n.kind) {
                    // One file has no volume of its own: the container has a copy of it.
                    files.put(&mount.path, &content.bytes(PAGE_MAX), 0o644);
                    continue;
                }
                (host, path.trim_end_matches('/').to_owned())
            }
            (None, None) => (pod.volumes.entry(mount.volume.clone()).or_default().clone(), String::new()),
        };
        files.mount_directory(&mount.path, shared, &format!("{base}/{sub}"), read_only);
    }
    files.sealed = model.read_only;
    if let Some(c) = pod.containers.get_mut(i) {
        c.files = files;
        c.prepared = true;
    }
}

/// Lays out a volume that is made of objects, or does so again when they have changed; `false` for other volumes.
///
/// As kubelet does it, the files are in a directory with the time in its name, `..data` is a link to that, and each name at
/// the top a link into `..data`: all files change at once.
fn made(world: &mut World, key: &Key, pod: &mut PodRun, name: &str) -> bool {
    let Some(object) = world.store.get(key) else { return false };
    let before = pod.laid.get(name).map(Vec::as_slice);
    let view = View { store: &world.store, tokens: Some(&world.tokens), key, pod: object, address: pod.address, now: world.now };
    let Some(entries) = pod.model.volumes.get(name).and_then(|v| volumes::entries(view, v, before.unwrap_or_default())) else {
        return false;
    };
    // What cannot be made any more stays as it is; what could not be made at all keeps the pod from starting.
    let entries = match entries {
        Ok(entries) if before != Some(entries.as_slice()) => entries,
        _ => return true,
    };
    let at = world.now.timestamp();
    let data = format!(
        "..{}.{:09}",
        at.strftime("%Y_%m_%d_%H_%M_%S"),
        (world.now.0 % 1000) * 1_000_000 + u64::from(pod.address.map_or(0, u32::from)) % 1_000_000
    );
    let mut nodes = vec![("/..data".to_owned(), Kind::Link(data.clone()), 0o777)];
    for entry in &entries {
        let content = Content { head: entry.bytes.clone(), zeros: 0 };
        nodes.push((format!("/{data}/{}", entry.path), Kind::Regular(content), entry.mode));
        let top = entry.path.split('/').next().unwrap_or_default();
        nodes.push((format!("/{top}"), Kind::Link(format!("..data/{top}")), 0o777));
    }
    pod.volumes.entry(name.to_owned()).or_default().replace(nodes, at);
    pod.laid.insert(name.to_owned(), entries);
    true
}
