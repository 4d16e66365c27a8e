//! The downward API: what a pod may learn of itself, as variables or files.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::quantity;
use crate::sim::controllers::kinds::NODES;
use crate::sim::resource::Key;
use crate::sim::store::Store;

/// The value of a `fieldRef`. Labels and annotations as a whole are lines of `key="value"`. `None` for what is not there.
pub(super) fn field(pod: &Value, address: Option<Ipv4Addr>, path: &str) -> Option<String> {
    if matches!(path, "status.podIP" | "status.podIPs") {
        return address.map(|a| a.to_string());
    }
    let (path, key) = path.split_once("['").map_or((path, None), |(p, k)| (p, Some(k.trim_end_matches("']"))));
    let value = path.split('.').fold(pod, |v, part| &v[part]);
    match (key, value) {
        (Some(key), map) => map[key].as_str().map(str::to_owned),
        (None, Value::Object(map)) => {
            // A JSON text is quoted as Go's %q does it, but for what is not ASCII.
            let lines: Vec<String> = map.iter().map(|(k, v)| format!("{k}={v}")).collect();
            Some(lines.join("\n"))
        }
        (None, value) => value.as_str().map(str::to_owned),
    }
}

/// The value of a `resourceFieldRef`: whole units of its divisor, rounded up. A container without a limit may use what its node has.
#[expect(clippy::cast_possible_truncation, reason = "quantities are far below the limits")]
pub(super) fn resource(store: &Store, pod: &Value, container: &str, from: &Value) -> Option<String> {
    let name = from["containerName"].as_str().filter(|n| !n.is_empty()).unwrap_or(container);
    let lists = ["containers", "initContainers"].into_iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
    let container = lists.into_iter().find(|c| c["name"] == name)?;
    let (list, what) = from["resource"].as_str()?.split_once('.')?;
    let own = quantity::parse(&container["resources"][list][what]).filter(|q| *q > 0.0);
    let node = || {
        let node = store.get(&Key::new(&NODES, "", pod["spec"]["nodeName"].as_str()?))?;
        quantity::parse(&node["status"]["allocatable"][what])
    };
    let amount = own.or_else(|| if list == "limits" { node() } else { None }).unwrap_or(0.0);
    let divisor = quantity::parse(&from["divisor"]).filter(|d| *d > 0.0).unwrap_or(1.0);
    // 0.1 / 0.001 is a little more than 100.
    Some(format!("{}", (amount / divisor - 1e-9).ceil() as i64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_values_or_lines() {
        let pod = json!({"metadata": {"name": "p", "labels": {"app": "a", "tier": "b \"c\""}}, "status": {"hostIP": "192.168.64.10"}});
        let get = |path: &str| field(&pod, Some(Ipv4Addr::new(10, 42, 0, 2)), path);
        assert_eq!(get("metadata.name").as_deref(), Some("p"));
        assert_eq!(get("metadata.labels['app']").as_deref(), Some("a"));
        assert_eq!(get("metadata.labels").as_deref(), Some("app=\"a\"\ntier=\"b \\\"c\\\"\""));
        assert_eq!(get("status.podIP").as_deref(), Some("10.42.0.2"));
        assert_eq!(get("metadata.annotations['x']"), None);
    }

    #[test]
    fn resources_are_rounded_up_in_units_of_the_divisor() {
        let pod = json!({"spec": {"nodeName": "n", "containers": [
            {"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"cpu": "100m"}}}, {"name": "free"}]}});
        let mut store = Store::default();
        store
            .put(&Key::new(&NODES, "", "n"), json!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "8", "memory": "32Gi"}}}));
        let get = |from: Value| resource(&store, &pod, "c", &from);
        assert_eq!(get(json!({"resource": "limits.cpu"})).as_deref(), Some("2"));
        assert_eq!(get(json!({"resource": "requests.cpu", "divisor": "1m"})).as_deref(), Some("100"));
        assert_eq!(get(json!({"resource": "limits.memory", "divisor": "1Mi"})).as_deref(), Some("64"));
        assert_eq!(get(json!({"resource": "limits.cpu", "containerName": "free"})).as_deref(), Some("8"));
        assert_eq!(get(json!({"resource": "requests.memory", "containerName": "free"})).as_deref(), Some("0"));
        assert_eq!(get(json!({"resource": "limits.cpu", "containerName": "nobody"})), None);
    }
}
