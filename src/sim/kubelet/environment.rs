//! The environment of a container's processes.

use serde_json::Value;

use super::files;
use super::model::ContainerModel;
use super::runtime::PodRun;
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
            (Some(m), _) => files::config_map(store, namespace, m),
            (_, Some(s)) => files::secret(store, namespace, s),
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
    for (k, s) in store.list(&SERVICES, Some(namespace)) {
        let Some(address) = s["spec"]["clusterIP"].as_str().filter(|a| *a != "None") else { continue };
        let Some(port) = s["spec"]["ports"][0]["port"].as_u64() else { continue };
        let upper = k.name.to_uppercase().replace('-', "_");
        out.push((format!("{upper}_SERVICE_HOST"), address.to_owned()));
        out.push((format!("{upper}_SERVICE_PORT"), port.to_string()));
        out.push((format!("{upper}_PORT"), format!("tcp://{address}:{port}")));
    }
    out.push(("KUBERNETES_SERVICE_HOST".to_owned(), API_ADDRESS.to_owned()));
    out.push(("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned()));
    out.push(("KUBERNETES_PORT".to_owned(), format!("tcp://{API_ADDRESS}:443")));
    out.push(("HOME".to_owned(), "/root".to_owned()));
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

/// Replaces `$(NAME)` by variables defined before.
fn expand(text: &str, known: &[(String, String)]) -> String {
    known.iter().fold(text.to_owned(), |t, (k, v)| t.replace(&format!("$({k})"), v))
}

fn referred(store: &Store, key: &Key, pod: &PodRun, model: &ContainerModel, from: &Value) -> String {
    let pick = |entries: Vec<(String, Vec<u8>)>, name: &Value| {
        entries.into_iter().find(|(k, _)| name == k.as_str()).map(|(_, v)| String::from_utf8_lossy(&v).into_owned()).unwrap_or_default()
    };
    if let Some(m) = from["configMapKeyRef"]["name"].as_str() {
        return pick(files::config_map(store, &key.namespace, m), &from["configMapKeyRef"]["key"]);
    }
    if let Some(s) = from["secretKeyRef"]["name"].as_str() {
        return pick(files::secret(store, &key.namespace, s), &from["secretKeyRef"]["key"]);
    }
    if let Some(resource) = from["resourceFieldRef"]["resource"].as_str() {
        return match resource {
            "limits.cpu" => format!("{}", model.cpu_limit.unwrap_or(8.0).ceil()),
            "limits.memory" => model.memory_limit.unwrap_or(32 << 30).to_string(),
            _ => String::new(),
        };
    }
    let Some(object) = store.get(key) else { return String::new() };
    match from["fieldRef"]["fieldPath"].as_str().unwrap_or_default() {
        "status.podIP" => pod.address.map(|a| a.to_string()).unwrap_or_default(),
        path => {
            let (path, sub) = path.split_once("['").map_or((path, None), |(p, s)| (p, Some(s.trim_end_matches("']"))));
            let value = path.split('.').fold(&**object, |v, part| &v[part]);
            let value = sub.map_or(value, |s| &value[s]);
            value.as_str().unwrap_or_default().to_owned()
        }
    }
}
