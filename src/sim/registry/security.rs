//! Pod security standards, for namespaces whose labels ask for them.
//!
//! Input: a namespace's labels and the specification of a pod. Output: what the level forbids, in the words of the real admission
//! plugin. Not looked at: `AppArmor`, `SELinux`, mounts of `/proc` and Windows.

use std::fmt::Write as _;

use serde_json::Value;

use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::world::World;

const LABEL: &str = "pod-security.kubernetes.io/";
/// Capabilities that `baseline` lets containers add.
const USUAL: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Kinds of volumes that `restricted` allows.
const VOLUMES: [&str; 9] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"];
/// Kernel parameters that are a pod's own.
const SYSCTLS: [&str; 9] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
];

/// Refuses a pod that the level enforced in its namespace forbids.
pub fn enforce(world: &World, key: &Key, pod: &Value) -> Result<(), Status> {
    match violation(world, &key.namespace, "enforce", &pod["spec"]) {
        Some(text) => Err(super::forbidden(&key.resource, &key.name, &format!("violates PodSecurity {text}"))),
        None => Ok(()),
    }
}

/// What a client is told of an object with a pod's specification, when it is written.
pub fn warning(world: &World, resource: &Resource, namespace: &str, object: &Value) -> Option<String> {
    let spec = match (&*resource.group, &*resource.plural) {
        ("", "pods") => &object["spec"],
        ("batch", "cronjobs") => &object["spec"]["jobTemplate"]["spec"]["template"]["spec"],
        ("", "podtemplates") => &object["template"]["spec"],
        ("", "replicationcontrollers") | ("batch", "jobs") | ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets") => {
            &object["spec"]["template"]["spec"]
        }
        _ => return None,
    };
    violation(world, namespace, "warn", spec).map(|text| format!("would violate PodSecurity {text}"))
}

/// `"restricted:latest": what is wrong`.
fn violation(world: &World, namespace: &str, mode: &str, spec: &Value) -> Option<String> {
    let namespace = world.store.get(&Key::new(&Resource::new("", "namespaces"), "", namespace))?;
    let label = |suffix: &str| namespace["metadata"]["labels"][format!("{LABEL}{mode}{suffix}")].as_str();
    let level = label("").filter(|level| matches!(*level, "baseline" | "restricted"))?;
    let wrong = wrong(spec, level == "restricted");
    (!wrong.is_empty()).then(|| format!("\"{level}:{}\": {}", label("-version").unwrap_or("latest"), wrong.join(", ")))
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ")
}

/// `container "a"`, `containers "a", "b"`.
fn called(what: &str, names: &[&str]) -> String {
    format!("{what}{} {}", if names.len() == 1 { "" } else { "s" }, quoted(names))
}

fn containers(spec: &Value) -> Vec<&Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| spec[list].as_array().into_iter().flatten())
        .collect()
}

/// The containers for which something holds, by name.
fn those<'a>(all: &[&'a Value], holds: impl Fn(&Value) -> bool) -> Vec<&'a str> {
    all.iter().filter(|c| holds(&c["securityContext"])).filter_map(|c| c["name"].as_str()).collect()
}

/// What containers add beyond what is allowed, and who does.
fn added<'a>(all: &[&'a Value], allowed: &[&str]) -> Option<String> {
    let beyond = |context: &'a Value| {
        context["capabilities"]["add"].as_array().into_iter().flatten().filter_map(Value::as_str).filter(|c| !allowed.contains(c))
    };
    let who: Vec<&str> = all.iter().filter(|c| beyond(&c["securityContext"]).next().is_some()).filter_map(|c| c["name"].as_str()).collect();
    let what: std::collections::BTreeSet<&str> = all.iter().flat_map(|c| beyond(&c["securityContext"])).collect();
    let what: Vec<&str> = what.into_iter().collect();
    (!who.is_empty())
        .then(|| format!("{} must not include {} in securityContext.capabilities.add", called("container", &who), quoted(&what)))
}

fn wrong(spec: &Value, restricted: bool) -> Vec<String> {
    let all = containers(spec);
    let pod = &spec["securityContext"];
    let mut out = Vec::new();
    if !restricted && let Some(text) = added(&all, &USUAL) {
        out.push(format!("non-default capabilities ({text})"));
    }
    let host: Vec<String> =
        ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|f| spec[*f] == true).map(|f| format!("{f}=true")).collect();
    if !host.is_empty() {
        out.push(format!("host namespaces ({})", host.join(", ")));
    }
    let volumes: Vec<&Value> = spec["volumes"].as_array().into_iter().flatten().collect();
    let paths: Vec<&str> = volumes.iter().filter(|v| v["hostPath"].is_object()).filter_map(|v| v["name"].as_str()).collect();
    if !restricted && !paths.is_empty() {
        out.push(format!("hostPath volumes ({})", called("volume", &paths)));
    }
    out.extend(host_ports(&all));
    let privileged = those(&all, |c| c["privileged"] == true);
    if !privileged.is_empty() {
        out.push(format!("privileged ({} must not set securityContext.privileged=true)", called("container", &privileged)));
    }
    if !restricted {
        out.extend(unconfined(pod, &all));
    }
    let sysctls = pod["sysctls"].as_array().into_iter().flatten().filter_map(|s| s["name"].as_str());
    let sysctls: Vec<&str> = sysctls.filter(|s| !SYSCTLS.contains(s)).collect();
    if !sysctls.is_empty() {
        out.push(format!("forbidden sysctls ({})", sysctls.join(", ")));
    }
    if restricted {
        restrict(spec, &all, &volumes, &mut out);
    }
    out
}

fn host_ports(all: &[&Value]) -> Option<String> {
    let ports = |c: &Value| -> Vec<String> {
        let ports = c["ports"].as_array().into_iter().flatten().filter_map(|p| p["hostPort"].as_u64());
        ports.filter(|port| *port != 0).map(|port| port.to_string()).collect()
    };
    let who: Vec<&str> = all.iter().filter(|c| !ports(c).is_empty()).filter_map(|c| c["name"].as_str()).collect();
    let found: Vec<String> = all.iter().flat_map(|c| ports(c)).collect();
    let verb = if who.len() == 1 { "uses" } else { "use" };
    let what = if found.len() == 1 { "hostPort" } else { "hostPorts" };
    (!who.is_empty()).then(|| format!("hostPort ({} {verb} {what} {})", called("container", &who), found.join(", ")))
}

/// The pod and the containers whose security contexts are bad, as they are called.
fn culprits(pod: &Value, all: &[&Value], bad: impl Fn(&Value) -> bool) -> Vec<String> {
    let mut who = Vec::new();
    if bad(pod) {
        who.push("pod".to_owned());
    }
    let containers = those(all, bad);
    if !containers.is_empty() {
        who.push(called("container", &containers));
    }
    who
}

fn unconfined(pod: &Value, all: &[&Value]) -> Option<String> {
    let who = culprits(pod, all, |context| context["seccompProfile"]["type"] == "Unconfined");
    (!who.is_empty())
        .then(|| format!("seccompProfile ({} must not set securityContext.seccompProfile.type to \"Unconfined\")", who.join(" and ")))
}

/// What `restricted` asks for besides.
fn restrict(spec: &Value, all: &[&Value], volumes: &[&Value], out: &mut Vec<String>) {
    let pod = &spec["securityContext"];
    let open = those(all, |c| c["allowPrivilegeEscalation"] != false);
    if !open.is_empty() {
        out.push(format!(
            "allowPrivilegeEscalation != false ({} must set securityContext.allowPrivilegeEscalation=false)",
            called("container", &open)
        ));
    }
    let keep = those(all, |c| !c["capabilities"]["drop"].as_array().is_some_and(|d| d.iter().any(|d| d == "ALL")));
    let mut text = String::new();
    if !keep.is_empty() {
        let _ = write!(text, "{} must set securityContext.capabilities.drop=[\"ALL\"]", called("container", &keep));
    }
    if let Some(added) = added(all, &["NET_BIND_SERVICE"]) {
        let _ = write!(text, "{}{added}", if text.is_empty() { "" } else { "; " });
    }
    if !text.is_empty() {
        out.push(format!("unrestricted capabilities ({text})"));
    }
    let kind = |v: &Value| v.as_object().and_then(|v| v.keys().find(|k| *k != "name").cloned()).unwrap_or_default();
    let bad: Vec<(&str, String)> =
        volumes.iter().map(|v| (v["name"].as_str().unwrap_or_default(), kind(v))).filter(|(_, k)| !VOLUMES.contains(&k.as_str())).collect();
    if !bad.is_empty() {
        let names: Vec<&str> = bad.iter().map(|(name, _)| *name).collect();
        let kinds: std::collections::BTreeSet<&str> = bad.iter().map(|(_, kind)| kind.as_str()).collect();
        let kinds: Vec<&str> = kinds.into_iter().collect();
        let verb = if names.len() == 1 { "uses" } else { "use" };
        out.push(format!("restricted volume types ({} {verb} restricted {})", called("volume", &names), called("volume type", &kinds)));
    }
    let root = those(all, |c| c["runAsNonRoot"] == false);
    let unsaid = those(all, |c| c["runAsNonRoot"].is_null());
    if !root.is_empty() {
        out.push(format!("runAsNonRoot != true ({} must not set securityContext.runAsNonRoot=false)", called("container", &root)));
    } else if !unsaid.is_empty() && pod["runAsNonRoot"] == false {
        out.push("runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)".to_owned());
    } else if !unsaid.is_empty() && pod["runAsNonRoot"] != true {
        out.push(format!("runAsNonRoot != true (pod or {} must set securityContext.runAsNonRoot=true)", called("container", &unsaid)));
    }
    let who = culprits(pod, all, |context| context["runAsUser"] == 0);
    if !who.is_empty() {
        out.push(format!("runAsUser=0 ({} must not set runAsUser=0)", who.join(" and ")));
    }
    let safe = |context: &Value| matches!(context["seccompProfile"]["type"].as_str(), Some("RuntimeDefault" | "Localhost"));
    let bare = those(all, |c| !safe(c) && (!c["seccompProfile"]["type"].is_null() || !safe(pod)));
    if !bare.is_empty() {
        let who = called("container", &bare);
        out.push(format!(
            "seccompProfile (pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_level_forbids_is_told_in_the_plugins_words() {
        let plain = json!({"containers": [{"name": "nginx", "image": "nginx"}]});
        assert!(wrong(&plain, false).is_empty());
        let expected = "allowPrivilegeEscalation != false (container \"nginx\" must set securityContext.allowPrivilegeEscalation=false), \
            unrestricted capabilities (container \"nginx\" must set securityContext.capabilities.drop=[\"ALL\"]), \
            runAsNonRoot != true (pod or container \"nginx\" must set securityContext.runAsNonRoot=true), \
            seccompProfile (pod or container \"nginx\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
        assert_eq!(wrong(&plain, true).join(", "), expected);
        let good = json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}, "containers": [
            {"name": "c", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}],
            "volumes": [{"name": "v", "emptyDir": {}}]});
        assert!(wrong(&good, true).is_empty(), "{:?}", wrong(&good, true));
        let bold = json!({"hostNetwork": true, "hostPID": true, "volumes": [{"name": "root", "hostPath": {"path": "/"}}], "containers": [
            {"name": "a", "ports": [{"hostPort": 80}], "securityContext": {"privileged": true, "capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}}},
            {"name": "b", "securityContext": {"capabilities": {"add": ["NET_RAW"]}}}]});
        let expected = "non-default capabilities (containers \"a\", \"b\" must not include \"NET_RAW\", \"SYS_ADMIN\" in securityContext.capabilities.add), \
            host namespaces (hostNetwork=true, hostPID=true), hostPath volumes (volume \"root\"), hostPort (container \"a\" uses hostPort 80), \
            privileged (container \"a\" must not set securityContext.privileged=true)";
        assert_eq!(wrong(&bold, false).join(", "), expected);
        assert!(
            wrong(&bold, true).iter().any(|w| w == "restricted volume types (volume \"root\" uses restricted volume type \"hostPath\")")
        );
    }
}
