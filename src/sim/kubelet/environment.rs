//! The environment of a container's processes.

use serde_json::{Value, json};

use super::model::ContainerModel;
use super::runtime::PodRun;
use super::{fields, volumes};
use crate::sim::controllers::bootstrap::API_ADDRESS;
use crate::sim::controllers::kinds::{CONFIG_MAPS, SECRETS, SERVICES};
use crate::sim::resource::{Key, Resource};
use crate::sim::store::Store;

/// Variables in the order in which a process sees them.
pub(super) fn environment(store: &Store, key: &Key, pod: &PodRun, model: &ContainerModel) -> Vec<(String, String)> {
    let mut out = vec![
        ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("HOSTNAME".to_owned(), key.name.to_string()),
    ];
    let namespace = &*key.namespace;
    for source in &model.env_from {
        let prefix = source["prefix"].as_str().unwrap_or_default();
        let entries = match (source["configMapRef"]["name"].as_str(), source["secretRef"]["name"].as_str()) {
            (Some(m), _) => volumes::texts(store, namespace, m),
            (_, Some(s)) => volumes::secret(store, namespace, s),
            _ => Vec::new(),
        };
        out.extend(entries.into_iter().map(|(k, v)| (format!("{prefix}{k}"), String::from_utf8_lossy(&v).into_owned())));
    }
    for e in &model.env {
        let Some(name) = e["name"].as_str() else { continue };
        let value = match e["value"].as_str() {
            Some(v) => expand(v, &out),
            None => referred(store, key, pod, model, &e["valueFrom"]),
        };
        out.retain(|(k, _)| k != name);
        out.push((name.to_owned(), value));
    }
    // What the pod says itself comes before what services say.
    let links = store.get(key).is_none_or(|pod| pod["spec"]["enableServiceLinks"] != false);
    let services = store.list(&SERVICES, Some(namespace)).filter(|(k, _)| links && (&*k.namespace, &*k.name) != ("default", "kubernetes"));
    let mut linked: Vec<(String, String)> = services.flat_map(|(k, s)| link(&k.name, s)).collect();
    let api = json!({"spec": {"clusterIP": API_ADDRESS, "ports": [{"name": "https", "protocol": "TCP", "port": 443}]}});
    linked.extend(link("kubernetes", &api));
    linked.retain(|(name, _)| out.iter().all(|(known, _)| known != name));
    out.extend(linked);
    out.push(("HOME".to_owned(), "/root".to_owned()));
    out
}

/// The variables that tell of a service, in the form that Docker had for links.
fn link(name: &str, service: &Value) -> Vec<(String, String)> {
    let spec = &service["spec"];
    let Some(address) = spec["clusterIP"].as_str().filter(|a| !matches!(*a, "None" | "")) else { return Vec::new() };
    let prefix = name.to_uppercase().replace('-', "_");
    let ports: Vec<&Value> = spec["ports"].as_array().into_iter().flatten().collect();
    let number = |port: &Value| port["port"].as_u64().unwrap_or_default();
    let Some(first) = ports.first().map(|p| number(p)) else { return Vec::new() };
    let mut out = vec![(format!("{prefix}_SERVICE_HOST"), address.to_owned()), (format!("{prefix}_SERVICE_PORT"), first.to_string())];
    for port in &ports {
        if let Some(name) = port["name"].as_str().filter(|n| !n.is_empty()) {
            let name = name.to_uppercase().replace('-', "_");
            out.push((format!("{prefix}_SERVICE_PORT_{name}"), number(port).to_string()));
        }
    }
    for (i, port) in ports.iter().enumerate() {
        let (number, protocol) = (number(port), port["protocol"].as_str().unwrap_or("TCP"));
        let (lower, at) = (protocol.to_lowercase(), format!("{prefix}_PORT_{number}_{protocol}"));
        let url = format!("{lower}://{address}:{number}");
        if i == 0 {
            out.push((format!("{prefix}_PORT"), url.clone()));
        }
        out.push((at.clone(), url));
        out.push((format!("{at}_PROTO"), lower));
        out.push((format!("{at}_PORT"), number.to_string()));
        out.push((format!("{at}_ADDR"), address.to_owned()));
    }
    out
}

/// The first `ConfigMap` or Secret, or key of one, that the environment needs and that is not there.
pub(super) fn missing(store: &Store, namespace: &str, model: &ContainerModel) -> Option<String> {
    let kinds = [("configMap", "configmap", &CONFIG_MAPS), ("secret", "secret", &SECRETS)];
    let lookup = |reference: &Value, word: &str, resource: &Resource| {
        let name = reference["name"].as_str().filter(|_| reference["optional"] != true)?;
        let Some(object) = store.get(&Key::new(resource, namespace, name)) else { return Some(format!("{word} \"{name}\" not found")) };
        let key = reference["key"].as_str()?;
        let held = |part: &str| !object[part][key].is_null();
        if held("data") || held("binaryData") || held("stringData") {
            return None;
        }
        let kind = if word == "secret" { "Secret" } else { "ConfigMap" };
        Some(format!("couldn't find key {key} in {kind} {namespace}/{name}"))
    };
    let sources = model.env_from.iter().flat_map(|s| kinds.iter().map(move |(k, w, r)| (&s[format!("{k}Ref")], w, r)));
    let values = model.env.iter().flat_map(|e| kinds.iter().map(move |(k, w, r)| (&e["valueFrom"][format!("{k}KeyRef")], w, r)));
    sources.chain(values).find_map(|(reference, word, resource)| lookup(reference, word, resource))
}

/// Replaces `$(NAME)` by variables defined before. `$$` is a dollar sign; names that nobody has defined stay.
pub(super) fn expand(text: &str, known: &[(String, String)]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let name = after.strip_prefix('(').and_then(|a| a.split_once(')'));
        let found = name.and_then(|(name, after)| Some((known.iter().find(|(k, _)| k == name)?, after)));
        let (text, after) = found.map_or(("$", after), |((_, value), after)| (value.as_str(), after));
        out.push_str(text);
        rest = after;
    }
    out + rest
}

fn referred(store: &Store, key: &Key, pod: &PodRun, model: &ContainerModel, from: &Value) -> String {
    let pick = |entries: Vec<(String, Vec<u8>)>, name: &Value| {
        entries.into_iter().find(|(k, _)| name == k.as_str()).map(|(_, v)| String::from_utf8_lossy(&v).into_owned()).unwrap_or_default()
    };
    if let Some(m) = from["configMapKeyRef"]["name"].as_str() {
        return pick(volumes::texts(store, &key.namespace, m), &from["configMapKeyRef"]["key"]);
    }
    if let Some(s) = from["secretKeyRef"]["name"].as_str() {
        return pick(volumes::secret(store, &key.namespace, s), &from["secretKeyRef"]["key"]);
    }
    let Some(object) = store.get(key) else { return String::new() };
    let value = match from["fieldRef"]["fieldPath"].as_str() {
        Some(path) => fields::field(object, pod.address, path),
        None => fields::resource(store, object, &model.name, &from["resourceFieldRef"]),
    };
    value.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_once_and_dollars_can_be_escaped() {
        let known = [("A".to_owned(), "$(B)".to_owned()), ("B".to_owned(), "b".to_owned())];
        assert_eq!(expand("$(A)-$(B)-$$(B)-$(C)-$x$", &known), "$(B)-b-$(B)-$(C)-$x$");
    }

    #[test]
    fn services_are_told_in_variables() {
        let service = json!({"spec": {"clusterIP": "10.43.0.9", "ports": [{"name": "web", "port": 80}, {"port": 53, "protocol": "UDP"}]}});
        let all: Vec<String> = link("my-app", &service).into_iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            all,
            [
                "MY_APP_SERVICE_HOST=10.43.0.9",
                "MY_APP_SERVICE_PORT=80",
                "MY_APP_SERVICE_PORT_WEB=80",
                "MY_APP_PORT=tcp://10.43.0.9:80",
                "MY_APP_PORT_80_TCP=tcp://10.43.0.9:80",
                "MY_APP_PORT_80_TCP_PROTO=tcp",
                "MY_APP_PORT_80_TCP_PORT=80",
                "MY_APP_PORT_80_TCP_ADDR=10.43.0.9",
                "MY_APP_PORT_53_UDP=udp://10.43.0.9:53",
                "MY_APP_PORT_53_UDP_PROTO=udp",
                "MY_APP_PORT_53_UDP_PORT=53",
                "MY_APP_PORT_53_UDP_ADDR=10.43.0.9",
            ]
        );
    }
}
