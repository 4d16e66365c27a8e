//! What pods with a `hostPath` find on their node: the system that the node says it runs, kubelet's and the runtime's folders.
//!
//! Everything on a node shares these files, and they outlive its pods. The node's processes, its `/proc` and the logs of its
//! containers are not there.

use crate::sim::controllers::kinds::NODES;
use crate::sim::resource::Key;
use crate::sim::shell::files::{Files, Kind, Volume};
use crate::sim::world::World;

/// The family of the node's programs, for those who change their root to it.
const FAMILY: &str = "debian";

/// The files of a node, laid out at their first use.
pub(super) fn of(world: &mut World, node: &str) -> Volume {
    if let Some(known) = world.runtime.nodes.get(node) {
        return known.clone();
    }
    let object = world.store.get(&Key::new(&NODES, "", node)).cloned().unwrap_or_default();
    let info = &object["status"]["nodeInfo"];
    let text = |field: &str| info[field].as_str().unwrap_or_default();
    let mut files = Files::for_image(FAMILY);
    files.now = world.now.timestamp();
    let system = text("osImage");
    let (name, version) = system.split_once(' ').unwrap_or((system, ""));
    let number = version.split(' ').next().unwrap_or_default();
    let short: Vec<&str> = number.split('.').take(2).collect();
    let release = format!(
        "PRETTY_NAME=\"{system}\"\nNAME=\"{name}\"\nVERSION_ID=\"{}\"\nVERSION=\"{version}\"\nID={}\nID_LIKE=debian\n",
        short.join("."),
        name.to_ascii_lowercase()
    );
    let address = object["status"]["addresses"][0]["address"].as_str().unwrap_or_default();
    for (path, text) in [
        ("/etc/os-release", release),
        ("/etc/hostname", format!("{node}\n")),
        ("/etc/machine-id", format!("{}\n", text("machineID"))),
        ("/etc/hosts", hosts(node, address)),
        ("/etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n".to_owned()),
    ] {
        files.put(path, text.as_bytes(), 0o644);
    }
    for path in [
        "/boot",
        "/mnt",
        "/opt",
        "/srv",
        "/var/log/pods",
        "/var/log/containers",
        "/var/lib/kubelet/pods",
        "/var/lib/rancher/k3s/storage",
        "/var/lib/rancher/k3s/agent",
    ] {
        files.put_node(path, Kind::Directory, 0o755);
    }
    files.put_node("/run/k3s/containerd/containerd.sock", Kind::Socket, 0o660);
    let root = files.into_root();
    world.runtime.nodes.insert(node.to_owned(), root.clone());
    root
}

/// `/etc/hosts` of a node.
pub(super) fn hosts(node: &str, address: impl std::fmt::Display) -> String {
    format!("127.0.0.1 localhost\n{address} {node}\n")
}
