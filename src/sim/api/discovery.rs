//! Discovery documents, legacy and aggregated, from the [`Catalog`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::answer::Answer;
use crate::sim::catalog::{Catalog, Kind, group_version};
use crate::sim::custom::{self, Customs};
use crate::sim::schema;

/// Content type of the aggregated documents.
pub(super) const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Whether a client asked for the aggregated form.
pub(super) fn wants_aggregated(accept: &str) -> bool {
    accept.split(',').any(|a| a.contains("g=apidiscovery.k8s.io") && a.contains("v=v2;") && a.contains("as=APIGroupDiscoveryList"))
}

/// What clients ask for who want `/openapi/v2` as protobuf.
pub(super) const SWAGGER_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// `/openapi/v2`, as protobuf if that is asked for.
pub(super) fn swagger(accept: &str, customs: &Customs) -> Answer {
    let versions = customs.groups();
    let versions = versions.iter().flat_map(|(group, all)| all.iter().map(move |version| (group, version)));
    let documents: Vec<Value> = versions.map(|(g, v)| custom::document(&customs.of_version(g, v).collect::<Vec<_>>())).collect();
    let (content_type, body) = if accept.contains(SWAGGER_ASKED) {
        ("application/com.github.proto-openapi.spec.v2.v1.0+protobuf", schema::swagger_protobuf(&documents))
    } else {
        ("application/json", schema::swagger(&documents))
    };
    Answer { code: 200, content_type, body, warnings: Vec::new() }
}

/// `/version`.
pub(super) fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.0", "gitCommit": "-", "gitTreeState": "clean", "buildDate": "2026-08-21T00:00:00Z",
        "goVersion": "go1.26.6", "compiler": "gc", "platform": "linux/amd64"
    })
}

/// All groups, by priority: the server's own, then those of definitions by name, then the metrics server's. Of resources that share
/// a short name, clients take the first.
pub(super) fn groups(customs: &Customs) -> Vec<(String, Vec<String>)> {
    let catalog = Catalog::get();
    let defined = |(group, versions): &(String, Vec<String>)| versions.iter().all(|v| catalog.of_version(group, v).all(|k| k.custom()));
    let mut all = catalog.groups.clone();
    let first = all.iter().position(defined).unwrap_or(all.len());
    let mut late = all.split_off(first);
    let after = late.iter().position(|g| !defined(g)).unwrap_or(late.len());
    let last = late.split_off(after);
    late.extend(customs.groups());
    late.sort();
    all.into_iter().chain(late).chain(last).collect()
}

/// Aggregated document of `/api` (core) or `/apis` (all others).
pub(super) fn aggregated(core: bool, customs: &Customs) -> Value {
    let catalog = Catalog::get();
    let items: Vec<Value> = groups(customs)
        .iter()
        .filter(|(g, _)| g.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|v| {
                    let resources: Vec<Value> =
                        catalog.of_version(group, v).chain(customs.of_version(group, v)).map(|k| aggregated_kind(k)).collect();
                    json!({"version": v, "resources": resources, "freshness": "Current"})
                })
                .collect();
            json!({"metadata": if core { json!({}) } else { json!({"name": group}) }, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_kind(k: &Kind) -> Value {
    // The real server leaves group and version out for built-in kinds.
    let (group, version) = if k.custom() { (k.group.as_str(), k.version.as_str()) } else { ("", "") };
    let mut v = json!({
        "resource": k.plural,
        "responseKind": {"group": group, "version": version, "kind": k.kind},
        "scope": if k.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": k.singular,
        "verbs": k.verbs,
    });
    if !k.short_names.is_empty() {
        v["shortNames"] = json!(k.short_names);
    }
    if !k.categories.is_empty() {
        v["categories"] = json!(k.categories);
    }
    if !k.subresources.is_empty() {
        v["subresources"] = k
            .subresources
            .iter()
            .map(|s| {
                json!({"subresource": s.subresource, "verbs": s.verbs,
                "responseKind": {"group": s.kind.group, "version": s.kind.version, "kind": s.kind.kind}})
            })
            .collect();
    }
    v
}

/// Legacy `/api`.
pub(super) fn api_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}]})
}

/// Legacy `/apis`.
pub(super) fn group_list(customs: &Customs) -> Value {
    let groups: Vec<Value> = groups(customs).iter().filter(|(g, _)| !g.is_empty()).map(|(g, vs)| group(g, vs)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// Legacy `/apis/GROUP`.
pub(super) fn one_group(name: &str, customs: &Customs) -> Option<Value> {
    let (g, vs) = groups(customs).into_iter().find(|(g, _)| g == name)?;
    let mut v = group(&g, &vs);
    v["kind"] = "APIGroup".into();
    v["apiVersion"] = "v1".into();
    Some(v)
}

fn group(name: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions.iter().map(|v| json!({"groupVersion": group_version(name, v), "version": v})).collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

/// Legacy `/api/v1` or `/apis/GROUP/VERSION`.
pub(super) fn resource_list(group: &str, version: &str, customs: &Customs) -> Option<Value> {
    let catalog = Catalog::get();
    if !catalog.has_version(group, version) && customs.of_version(group, version).next().is_none() {
        return None;
    }
    let mut resources = Vec::new();
    for k in catalog.of_version(group, version).chain(customs.of_version(group, version)) {
        let mut v = json!({"name": k.plural, "singularName": k.singular, "namespaced": k.namespaced, "kind": k.kind, "verbs": k.verbs});
        if !k.short_names.is_empty() {
            v["shortNames"] = json!(k.short_names);
        }
        if !k.categories.is_empty() {
            v["categories"] = json!(k.categories);
        }
        if let Some(hash) = storage_hash(k) {
            v["storageVersionHash"] = hash.into();
        }
        resources.push(v);
        for s in &k.subresources {
            let mut v = Map::new();
            v.insert("name".into(), format!("{}/{}", k.plural, s.subresource).into());
            v.insert("singularName".into(), "".into());
            v.insert("namespaced".into(), k.namespaced.into());
            if !s.kind.version.is_empty() {
                v.insert("group".into(), s.kind.group.clone().into());
                v.insert("version".into(), s.kind.version.clone().into());
            }
            v.insert("kind".into(), s.kind.kind.clone().into());
            v.insert("verbs".into(), json!(s.verbs));
            resources.push(Value::Object(v));
        }
    }
    let mut v = json!({"kind": "APIResourceList", "groupVersion": group_version(group, version), "resources": resources});
    if !group.is_empty() {
        v["apiVersion"] = "v1".into();
    }
    Some(v)
}

/// Names the version in which a kind is stored; kinds that are computed or only answered have none.
fn storage_hash(kind: &Kind) -> Option<String> {
    let stored = Catalog::get().stored(&kind.resource).map_or(kind, |k| &**k);
    let named = format!("{}/{}/{}", stored.group, stored.version, stored.kind);
    let hash = Sha256::digest(named);
    (kind.allows("create") && kind.allows("get")).then(|| STANDARD.encode(hash.get(..8).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregated_documents_look_like_the_recorded_ones() {
        let core = aggregated(true, &Customs::default());
        assert_eq!(core["items"].as_array().map(Vec::len), Some(1));
        assert_eq!(core["items"][0]["metadata"], json!({}));
        let resources = core["items"][0]["versions"][0]["resources"].as_array().unwrap();
        let pods = resources.iter().find(|r| r["resource"] == "pods").unwrap();
        assert_eq!(pods["responseKind"], json!({"group": "", "version": "", "kind": "Pod"}));
        assert_eq!(
            pods["subresources"][3],
            json!({"subresource": "eviction", "verbs": ["create"],
            "responseKind": {"group": "policy", "version": "v1", "kind": "Eviction"}})
        );
        let others = aggregated(false, &Customs::default());
        let chaos = others["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "chaos-mesh.org").unwrap();
        assert!(
            chaos["versions"][0]["resources"]
                .as_array()
                .unwrap()
                .iter()
                .any(|r| r["responseKind"] == json!({"group": "chaos-mesh.org", "version": "v1alpha1", "kind": "StressChaos"}))
        );
        assert!(wants_aggregated("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"));
        assert!(!wants_aggregated("application/json"));
    }

    #[test]
    fn legacy_documents_list_subresources() {
        let batch = resource_list("batch", "v1", &Customs::default()).unwrap();
        assert_eq!(
            batch["resources"][0],
            json!({"name": "cronjobs", "singularName": "cronjob", "namespaced": true, "kind": "CronJob",
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"], "shortNames": ["cj"], "categories": ["all"], "storageVersionHash": "sd5LIXh4Fjs="})
        );
        assert_eq!(batch["resources"][1]["name"], "cronjobs/status");
        // As recorded.
        let core = resource_list("", "v1", &Customs::default()).unwrap();
        let hash =
            |name: &str| core["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap()["storageVersionHash"].clone();
        assert_eq!((hash("configmaps"), hash("componentstatuses")), (json!("qFsyl6wFWjQ="), Value::Null));
        assert!(resource_list("nope", "v1", &Customs::default()).is_none());
        assert_eq!(one_group("autoscaling", &Customs::default()).unwrap()["preferredVersion"]["version"], "v2");
    }
}
