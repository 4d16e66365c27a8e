//! What experiments do to pods: stressors, network and disk faults, images, deaths; and how that is undone.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::sim::controllers::kinds::PODS;
use crate::sim::controllers::object;
use crate::sim::kubelet::container::Stress;
use crate::sim::kubelet::network::{IoFault, NetFault, Netem};
use crate::sim::kubelet::{self, quantity};
use crate::sim::registry::{self, DeleteOptions, Part};
use crate::sim::resource::Key;
use crate::sim::world::World;

const PAUSE_IMAGE: &str = "gcr.io/google-containers/pause:latest";

/// The pod and the container that a record names.
fn target(record: &Value) -> Option<(Key, Option<&str>)> {
    let mut parts = record["id"].as_str()?.splitn(3, '/');
    let (namespace, pod) = (parts.next()?, parts.next()?);
    Some((Key::new(&PODS, namespace, pod), parts.next()))
}

/// Injects the fault into one target.
pub(super) fn apply(world: &mut World, key: &Key, chaos: &Value, record: &Value) -> Result<(), String> {
    let (pod, container) = target(record).ok_or("invalid record")?;
    let spec = &chaos["spec"];
    match &*key.resource.plural {
        "podchaos" => pod_fault(world, key, spec, &pod, container),
        plural => {
            let missing = format!("pod {}/{} not found", pod.namespace, pod.name);
            if !world.runtime.pods.contains_key(&pod) {
                return Err(missing);
            }
            match plural {
                "stresschaos" => stress(world, key, spec, &pod, container.unwrap_or_default()),
                "networkchaos" => network(world, key, chaos, &pod, record["selectorKey"] == ".Target"),
                _ => disk(world, key, spec, &pod, container.unwrap_or_default()),
            }
        }
    }
}

/// What `status.instances` holds for a target: an identity, or a generation.
pub(super) fn instance(world: &mut World, key: &Key) -> Option<Value> {
    match &*key.resource.plural {
        "stresschaos" => Some(json!({"uid": format!("{}", 4000 + world.store.revision() % 20_000), "startTime": world.now.rfc3339()})),
        "networkchaos" | "iochaos" => Some(1.into()),
        _ => None,
    }
}

/// Takes the fault out of one target; nothing to do when the pod is gone.
pub(super) fn recover(world: &mut World, key: &Key, record: &Value) {
    let Some((pod, _)) = target(record) else { return };
    if let Some(run) = world.runtime.pods.get_mut(&pod) {
        run.net.retain(|(k, _)| k != key);
        run.io.retain(|(k, _)| k != key);
        for c in &mut run.containers {
            c.stress.retain(|(k, _)| k != key);
        }
    }
    if &*key.resource.plural == "podchaos" {
        restore_images(world, key, &pod);
    }
    touched(world, &pod);
}

fn touched(world: &mut World, pod: &Key) {
    crate::sim::traffic::invalidate(world);
    world.agenda.at(world.now, crate::sim::world::Event::Pod(pod.clone()));
}

fn stress(world: &mut World, key: &Key, spec: &Value, pod: &Key, container: &str) -> Result<(), String> {
    let s = &spec["stressors"];
    let number = |v: &Value, default: u64| u32::try_from(v.as_u64().unwrap_or(default)).unwrap_or(0);
    let run = world.runtime.pods.get_mut(pod).ok_or("pod not found")?;
    let i = run.index(container).ok_or("container not found")?;
    let limit = run.model.containers.get(i).and_then(|m| m.memory_limit).unwrap_or(32 << 30);
    let c = run.containers.get_mut(i).ok_or("container not found")?;
    if c.run().is_none() {
        return Err(format!("container {container} is not running"));
    }
    let mut stress = Stress::default();
    if s["cpu"].is_object() {
        stress.cpu_workers = number(&s["cpu"]["workers"], 1);
        // Without a load the stressors use what they can get.
        stress.cpu_load = s["cpu"]["load"].as_f64().unwrap_or(100.0).clamp(0.0, 100.0) / 100.0;
    }
    if s["memory"].is_object() {
        stress.memory_workers = number(&s["memory"]["workers"], 1);
        let size = s["memory"]["size"].as_str().unwrap_or("100%");
        stress.memory = match size.strip_suffix('%').and_then(|p| p.trim().parse::<u64>().ok()) {
            Some(percent) => limit / 100 * percent,
            None => quantity::byte_size(size).ok_or_else(|| format!("invalid memory size {size}"))?,
        };
    }
    c.stress.retain(|(k, _)| k != key);
    c.stress.push((key.clone(), stress));
    touched(world, pod);
    Ok(())
}

fn percent(v: &Value) -> f64 {
    let p = v.as_str().and_then(|s| s.parse().ok()).or_else(|| v.as_f64()).unwrap_or(0.0);
    (p / 100.0f64).clamp(0.0, 1.0)
}

/// Bytes a second of `1mbps`, `512kbps`, ...: Chaos Mesh's `bps` is bytes.
fn rate(text: &str) -> Option<f64> {
    let t = text.trim().to_lowercase();
    let n = t.strip_suffix("bps")?;
    let (n, factor) = [("k", 1024.0), ("m", 1_048_576.0), ("g", 1_073_741_824.0)]
        .iter()
        .find_map(|(s, f)| n.strip_suffix(s).map(|n| (n, *f)))
        .unwrap_or((n, 1.0));
    n.trim().parse::<f64>().ok().map(|n| n * factor)
}

fn netem(spec: &Value) -> Netem {
    let seconds = |v: &Value| v.as_str().and_then(quantity::duration).unwrap_or_default().as_secs_f64();
    let mut n = Netem::default();
    let action = spec["action"].as_str().unwrap_or_default();
    let does = |a: &str| action == a || action == "netem";
    if does("delay") {
        n.delay = seconds(&spec["delay"]["latency"]);
        n.jitter = seconds(&spec["delay"]["jitter"]);
    }
    if does("loss") {
        n.loss = percent(&spec["loss"]["loss"]);
    }
    if does("duplicate") {
        n.duplicate = percent(&spec["duplicate"]["duplicate"]);
    }
    if does("corrupt") {
        n.corrupt = percent(&spec["corrupt"]["corrupt"]);
    }
    if does("bandwidth") {
        n.rate = spec["bandwidth"]["rate"].as_str().and_then(rate);
    }
    if action == "partition" {
        n.loss = 1.0;
    }
    n
}

fn network(world: &mut World, key: &Key, chaos: &Value, pod: &Key, is_target: bool) -> Result<(), String> {
    let spec = &chaos["spec"];
    let direction = spec["direction"].as_str().unwrap_or("to");
    let partition = spec["action"] == "partition";
    let has_target = spec["target"].is_object();
    // The peers of a target are the sources, and the other way round.
    let peers_of = |world: &World, selector: &str| -> BTreeSet<Ipv4Addr> {
        super::status::records(chaos)
            .iter()
            .filter(|r| r["selectorKey"] == selector)
            .filter_map(|r| target(r).and_then(|(k, _)| world.runtime.pods.get(&k).and_then(|p| p.address)))
            .collect()
    };
    let external: BTreeSet<Ipv4Addr> =
        spec["externalTargets"].as_array().into_iter().flatten().filter_map(|t| t.as_str()?.parse().ok()).collect();
    let peers = if is_target {
        Some(peers_of(world, "."))
    } else if has_target || !external.is_empty() {
        Some(peers_of(world, ".Target").union(&external).copied().collect())
    } else {
        None
    };
    let forward = matches!(direction, "to" | "both");
    let backward = matches!(direction, "from" | "both");
    // netem shapes what leaves; packets the other way are shaped where they leave, at the targets.
    let (outbound, inbound) = match (is_target, partition) {
        (false, false) => (forward, false),
        (true, false) => (backward, false),
        (false, true) => (forward, backward),
        (true, true) => (backward, forward),
    };
    let fault = NetFault { netem: netem(spec), inbound, outbound, peers };
    let run = world.runtime.pods.get_mut(pod).ok_or("pod not found")?;
    run.net.retain(|(k, _)| k != key);
    if outbound || inbound {
        run.net.push((key.clone(), fault));
    }
    touched(world, pod);
    Ok(())
}

/// Names of the error numbers that `errno` may give.
fn errno(number: u64) -> &'static str {
    match number {
        1 => "EPERM",
        2 => "ENOENT",
        12 => "ENOMEM",
        13 => "EACCES",
        16 => "EBUSY",
        17 => "EEXIST",
        20 => "ENOTDIR",
        22 => "EINVAL",
        24 => "EMFILE",
        28 => "ENOSPC",
        30 => "EROFS",
        _ => "EIO",
    }
}

fn disk(world: &mut World, key: &Key, spec: &Value, pod: &Key, container: &str) -> Result<(), String> {
    let run = world.runtime.pods.get_mut(pod).ok_or("pod not found")?;
    let i = run.index(container).ok_or("container not found")?;
    let mount = spec["volumePath"].as_str().unwrap_or_default().trim_end_matches('/').to_owned();
    let mounted = run.model.containers.get(i).is_some_and(|m| m.mounts.iter().any(|x| x.path == mount));
    if !mounted {
        return Err(format!("toda startup takes too long or an error occurs: source: {mount}, target: not a mounted volume"));
    }
    if run.containers.get(i).is_none_or(|c| c.run().is_none()) {
        return Err(format!("container {container} is not running"));
    }
    let action = spec["action"].as_str().unwrap_or_default();
    let fault = IoFault {
        container: container.to_owned(),
        mount,
        pattern: spec["path"].as_str().unwrap_or_default().to_owned(),
        methods: spec["methods"].as_array().into_iter().flatten().filter_map(|m| m.as_str().map(str::to_lowercase)).collect(),
        delay: if action == "latency" { spec["delay"].as_str().and_then(quantity::duration).unwrap_or_default() } else { Duration::ZERO },
        error: (action == "fault").then(|| errno(spec["errno"].as_u64().unwrap_or(5))),
        share: spec["percent"].as_f64().map_or(1.0, |p| (p / 100.0).clamp(0.0, 1.0)),
    };
    run.io.retain(|(k, _)| k != key);
    run.io.push((key.clone(), fault));
    Ok(())
}

fn pod_fault(world: &mut World, key: &Key, spec: &Value, pod: &Key, container: Option<&str>) -> Result<(), String> {
    let Some(stored) = world.store.get(pod).cloned() else {
        return Err(format!("pods \"{}\" not found", pod.name));
    };
    match spec["action"].as_str().unwrap_or_default() {
        "pod-kill" => {
            let options = DeleteOptions { grace_period_s: Some(spec["gracePeriod"].as_u64().unwrap_or(0)), ..DeleteOptions::default() };
            registry::delete(world, pod, &options).map(|_| ()).map_err(|e| e.message)
        }
        "container-kill" => {
            kubelet::kill(world, pod, container.unwrap_or_default(), 137);
            Ok(())
        }
        _ => {
            let mut new = (*stored).clone();
            for list in ["initContainers", "containers"] {
                let originals: Vec<(String, String)> = new["spec"][list]
                    .as_array_mut()
                    .into_iter()
                    .flatten()
                    .filter(|c| c["image"] != PAUSE_IMAGE)
                    .map(|c| {
                        let before = c["image"].as_str().unwrap_or_default().to_owned();
                        c["image"] = PAUSE_IMAGE.into();
                        (c["name"].as_str().unwrap_or_default().to_owned(), before)
                    })
                    .collect();
                for (name, image) in originals {
                    object::annotate(&mut new, &annotation(key, &name), &image);
                }
            }
            registry::update(world, pod, new, Part::Main).map(|_| ()).map_err(|e| e.message)
        }
    }
}

/// Where the original image of a container is kept meanwhile.
fn annotation(key: &Key, container: &str) -> String {
    format!("chaos-mesh.org/{}-{container}-image", key.name)
}

fn restore_images(world: &mut World, key: &Key, pod: &Key) {
    let Some(stored) = world.store.get(pod).cloned() else { return };
    let mut new = (*stored).clone();
    let mut used = Vec::new();
    for list in ["initContainers", "containers"] {
        for c in new["spec"][list].as_array_mut().into_iter().flatten() {
            let at = annotation(key, c["name"].as_str().unwrap_or_default());
            if let Some(image) = object::annotation(&stored, &at) {
                c["image"] = image.into();
                used.push(at);
            }
        }
    }
    if let Some(all) = new["metadata"]["annotations"].as_object_mut() {
        all.retain(|k, _| !used.contains(k));
    }
    // A pod that went meanwhile needs no images.
    let _restored = registry::update(world, pod, new, Part::Main);
}
