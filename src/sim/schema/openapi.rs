//! `OpenAPI` v3 documents, one a group and version, made from the table.
//!
//! Input: a path such as `apis/apps/v1`. Output: a document with the paths that kubectl looks for (is `fieldValidation`
//! supported, which patches does a kind take) and the schemas that `kubectl explain` prints.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::descriptions::{self, Descriptions};
use super::table::{Entry, Field, Table, Type};

/// What is served: API version, kind, plural name, whether it lives in a namespace.
const RESOURCES: &[(&str, &str, &str, bool)] = &[
    ("v1", "ConfigMap", "configmaps", true),
    ("v1", "Endpoints", "endpoints", true),
    ("v1", "Event", "events", true),
    ("v1", "LimitRange", "limitranges", true),
    ("v1", "Namespace", "namespaces", false),
    ("v1", "Node", "nodes", false),
    ("v1", "PersistentVolume", "persistentvolumes", false),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("v1", "Pod", "pods", true),
    ("v1", "PodTemplate", "podtemplates", true),
    ("v1", "ReplicationController", "replicationcontrollers", true),
    ("v1", "ResourceQuota", "resourcequotas", true),
    ("v1", "Secret", "secrets", true),
    ("v1", "Service", "services", true),
    ("v1", "ServiceAccount", "serviceaccounts", true),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false),
    ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies", false),
    ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", false),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", false),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", false),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", false),
    ("apiregistration.k8s.io/v1", "APIService", "apiservices", false),
    ("apps/v1", "ControllerRevision", "controllerrevisions", true),
    ("apps/v1", "DaemonSet", "daemonsets", true),
    ("apps/v1", "Deployment", "deployments", true),
    ("apps/v1", "ReplicaSet", "replicasets", true),
    ("apps/v1", "StatefulSet", "statefulsets", true),
    ("authentication.k8s.io/v1", "SelfSubjectReview", "selfsubjectreviews", false),
    ("authentication.k8s.io/v1", "TokenReview", "tokenreviews", false),
    ("authorization.k8s.io/v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", true),
    ("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", false),
    ("authorization.k8s.io/v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", false),
    ("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews", false),
    ("autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ("batch/v1", "CronJob", "cronjobs", true),
    ("batch/v1", "Job", "jobs", true),
    ("certificates.k8s.io/v1", "CertificateSigningRequest", "certificatesigningrequests", false),
    ("coordination.k8s.io/v1", "Lease", "leases", true),
    ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", true),
    ("events.k8s.io/v1", "Event", "events", true),
    ("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", "flowschemas", false),
    ("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", "prioritylevelconfigurations", false),
    ("networking.k8s.io/v1", "IPAddress", "ipaddresses", false),
    ("networking.k8s.io/v1", "Ingress", "ingresses", true),
    ("networking.k8s.io/v1", "IngressClass", "ingressclasses", false),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", true),
    ("networking.k8s.io/v1", "ServiceCIDR", "servicecidrs", false),
    ("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", false),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", false),
    ("rbac.authorization.k8s.io/v1", "Role", "roles", true),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", true),
    ("resource.k8s.io/v1", "DeviceClass", "deviceclasses", false),
    ("resource.k8s.io/v1", "ResourceClaim", "resourceclaims", true),
    ("resource.k8s.io/v1", "ResourceClaimTemplate", "resourceclaimtemplates", true),
    ("resource.k8s.io/v1", "ResourceSlice", "resourceslices", false),
    ("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", false),
    ("storage.k8s.io/v1", "CSIDriver", "csidrivers", false),
    ("storage.k8s.io/v1", "CSINode", "csinodes", false),
    ("storage.k8s.io/v1", "CSIStorageCapacity", "csistoragecapacities", true),
    ("storage.k8s.io/v1", "StorageClass", "storageclasses", false),
    ("storage.k8s.io/v1", "VolumeAttachment", "volumeattachments", false),
    ("storage.k8s.io/v1", "VolumeAttributesClass", "volumeattributesclasses", false),
];
const CHAOS: &str = "chaos-mesh.org/v1alpha1";
/// What lists take: name, type, what it is.
const LISTING: &[(&str, &str, &str)] = &[
    ("allowWatchBookmarks", "boolean", "allowWatchBookmarks requests watch events with type \"BOOKMARK\"."),
    ("continue", "string", "The continue option should be set when retrieving more results from the server."),
    ("fieldSelector", "string", "A selector to restrict the list of returned objects by their fields. Defaults to everything."),
    ("labelSelector", "string", "A selector to restrict the list of returned objects by their labels. Defaults to everything."),
    ("limit", "integer", "limit is a maximum number of responses to return for a list call."),
    ("resourceVersion", "string", "resourceVersion sets a constraint on what resource versions a request may be served from."),
    ("resourceVersionMatch", "string", "resourceVersionMatch determines how resourceVersion is applied to list calls."),
    ("sendInitialEvents", "boolean", "`sendInitialEvents=true` may be set together with `watch=true`."),
    ("timeoutSeconds", "integer", "Timeout for the list/watch call."),
    (
        "watch",
        "boolean",
        "Watch for changes to the described resources and return them as a stream of add, update, and remove notifications.",
    ),
];

/// The index at `/openapi/v3`.
pub fn openapi_index() -> Value {
    let mut paths = Map::new();
    for version in versions() {
        let path = path_of(version);
        paths.insert(path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={}", hash())}));
    }
    json!({"paths": paths})
}

/// The document of one group and version, made on first use; `None` for paths that the index does not list.
pub fn openapi_v3(path: &str) -> Option<Vec<u8>> {
    static CACHE: Mutex<BTreeMap<String, Box<[u8]>>> = Mutex::new(BTreeMap::new());
    let version = versions().into_iter().find(|version| path_of(version) == path)?;
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(packed) = cache.get(path) {
        let mut document = Vec::new();
        // We packed it ourselves.
        let _read = DeflateDecoder::new(&**packed).read_to_end(&mut document);
        return Some(document);
    }
    // They are large, and most clients never ask: kept compressed.
    let document = document(version);
    let mut packer = DeflateEncoder::new(Vec::new(), Compression::fast());
    if packer.write_all(&document).is_ok()
        && let Ok(packed) = packer.finish()
    {
        cache.insert(path.to_owned(), packed.into_boxed_slice());
    }
    Some(document)
}

fn versions() -> BTreeSet<&'static str> {
    RESOURCES.iter().map(|resource| resource.0).chain([CHAOS]).collect()
}

fn path_of(version: &str) -> String {
    if version.contains('/') { format!("apis/{version}") } else { format!("api/{version}") }
}

/// Clients cache documents by it, so it changes with the table and with this program's version.
fn hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        let digest = Sha256::new()
            .chain_update(super::table::digest_input())
            .chain_update(descriptions::digest_input())
            .chain_update(env!("CARGO_PKG_VERSION"))
            .finalize();
        digest.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02X}");
            text
        })
    })
}

/// The plural name and scope of a chaos kind.
fn chaos_resource(kind: &str) -> (String, bool) {
    let lower = kind.to_lowercase();
    let plural = if lower.ends_with("chaos") { lower } else { format!("{lower}s") };
    (plural, kind != "RemoteCluster")
}

/// The text of a document. Its structures are written one by one: together, as values, they are many times as large.
fn document(version: &str) -> Vec<u8> {
    let mut paths = Map::new();
    let mut roots = Vec::new();
    if version == CHAOS {
        for entry in Table::get().entries() {
            for (_, kind) in entry.kinds.iter().filter(|(v, _)| *v == CHAOS) {
                let (plural, namespaced) = chaos_resource(kind);
                add_paths(&mut paths, version, kind, &plural, namespaced, entry);
                roots.push(entry);
            }
        }
    } else {
        for (_, kind, plural, namespaced) in RESOURCES.iter().filter(|resource| resource.0 == version) {
            if let Some(entry) = Table::get().kind(version, kind) {
                add_paths(&mut paths, version, kind, plural, *namespaced, entry);
            }
        }
        // Lists, scales, evictions and the like have schemas without paths of their own.
        roots.extend(Table::get().entries().iter().filter(|entry| entry.kinds.iter().any(|(v, _)| *v == version)));
    }
    let mut schemas = BTreeMap::new();
    for entry in roots {
        add_schema(entry, &mut schemas);
    }
    let texts = Descriptions::load();
    let mut text = b"{\"components\":{\"schemas\":{".to_vec();
    for (index, (name, entry)) in schemas.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        text.extend_from_slice(format!("{comma}{}:{}", Value::from(name), schema(entry, &texts)).as_bytes());
    }
    let info = json!({"title": "Kubernetes", "version": "v1.36.0"});
    text.extend_from_slice(format!("}}}},\"info\":{info},\"openapi\":\"3.0.0\",\"paths\":{}}}", Value::from(paths)).as_bytes());
    text
}

fn add_paths(paths: &mut Map<String, Value>, version: &str, kind: &str, plural: &str, namespaced: bool, entry: &Entry) {
    let (group, short) = version.split_once('/').unwrap_or(("", version));
    let gvk = json!({"group": group, "version": short, "kind": kind});
    let base = if namespaced {
        format!("/{}/namespaces/{{namespace}}/{plural}", path_of(version))
    } else {
        format!("/{}/{plural}", path_of(version))
    };
    let body = json!({"schema": {"$ref": reference(entry)}});
    let operation = |action: &str, writes: bool| {
        let text = |name: &str, description: &str| query(name, "string", description);
        let mut parameters = vec![text("pretty", "If 'true', then the output is pretty printed.")];
        if writes {
            parameters.push(text("dryRun", "When present, indicates that modifications should not be persisted."));
            parameters.push(text("fieldManager", "The name of the actor or entity that is making these changes."));
            parameters.push(text("fieldValidation", "What the server does with unknown or duplicate fields: Ignore, Warn or Strict."));
        }
        if action == "list" {
            parameters.extend(LISTING.iter().map(|(name, kind, description)| query(name, kind, description)));
        }
        json!({"x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk, "parameters": parameters,
            "responses": {"200": {"description": "OK", "content": {"application/json": body}}}})
    };
    let mut post = operation("post", true);
    set(&mut post, "requestBody", json!({"required": true, "content": {"*/*": body}}));
    paths.insert(base.clone(), json!({"get": operation("list", false), "post": post}));
    let mut put = operation("put", true);
    set(&mut put, "requestBody", json!({"required": true, "content": {"*/*": body}}));
    let mut patch = operation("patch", true);
    let patch_body = json!({"schema": {"type": "object"}});
    let mut types = vec!["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];
    if !entry.is_custom() {
        types.push("application/strategic-merge-patch+json");
    }
    let content: Map<String, Value> = types.into_iter().map(|name| (name.to_owned(), patch_body.clone())).collect();
    set(&mut patch, "requestBody", json!({"required": true, "content": content}));
    paths.insert(
        format!("{base}/{{name}}"),
        json!({"get": operation("get", false), "put": put, "patch": patch, "delete": operation("delete", true)}),
    );
}

fn set(target: &mut Value, key: &str, value: Value) {
    if let Some(map) = target.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

fn query(name: &str, kind: &str, description: &str) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": {"type": kind, "uniqueItems": true}})
}

/// The name a real server gives a structure.
fn full_name(entry: &Entry) -> String {
    let name = entry.name;
    match name.split('.').next().unwrap_or_default() {
        "meta" => format!("io.k8s.apimachinery.pkg.apis.{name}"),
        "resource" if name == "resource.Quantity" => format!("io.k8s.apimachinery.pkg.api.{name}"),
        "intstr" => format!("io.k8s.apimachinery.pkg.util.{name}"),
        "runtime" | "version" => format!("io.k8s.apimachinery.pkg.{name}"),
        "apiextensions" => format!("io.k8s.apiextensions-apiserver.pkg.apis.{name}"),
        "apiregistration" => format!("io.k8s.kube-aggregator.pkg.apis.{name}"),
        "chaos-mesh" => format!("org.chaos-mesh.v1alpha1.{}", name.trim_start_matches("chaos-mesh.")),
        _ => format!("io.k8s.api.{name}"),
    }
}

fn reference(entry: &Entry) -> String {
    format!("#/components/schemas/{}", full_name(entry))
}

/// Adds a structure and all that it refers to. Bounded by the table: each structure is added once.
fn add_schema(root: &'static Entry, schemas: &mut BTreeMap<String, &'static Entry>) {
    let mut queue = vec![root];
    while let Some(entry) = queue.pop() {
        let name = full_name(entry);
        if schemas.contains_key(&name) {
            continue;
        }
        // Structures of a definition are written out where they are used.
        if !entry.is_custom() || !entry.kinds.is_empty() {
            schemas.insert(name, entry);
        }
        for field in entry.fields.values() {
            queue.extend(referred(&field.kind));
        }
    }
}

fn referred(kind: &Type) -> Option<&'static Entry> {
    let table = Table::get();
    match kind {
        Type::Structure(number) => Some(table.entry(*number)),
        Type::Quantity => table.named("resource.Quantity"),
        Type::IntOrString => table.named("intstr.IntOrString"),
        Type::Time => table.named("meta.v1.Time"),
        Type::MicroTime => table.named("meta.v1.MicroTime"),
        Type::List(inner) | Type::Map(inner) => referred(inner),
        Type::String | Type::Bytes | Type::Boolean | Type::Int32 | Type::Int64 | Type::Number | Type::Any => None,
    }
}

fn schema(entry: &Entry, texts: &Descriptions) -> Value {
    let mut out = Map::new();
    if !texts.of(entry.name).is_empty() {
        out.insert("description".to_owned(), texts.of(entry.name).into());
    }
    match entry.name {
        "resource.Quantity" => {
            out.insert("oneOf".to_owned(), json!([{"type": "string"}, {"type": "number"}]));
            return Value::Object(out);
        }
        "intstr.IntOrString" => {
            out.insert("oneOf".to_owned(), json!([{"type": "integer"}, {"type": "string"}]));
            out.insert("format".to_owned(), "int-or-string".into());
            return Value::Object(out);
        }
        "meta.v1.Time" | "meta.v1.MicroTime" => {
            out.insert("type".to_owned(), "string".into());
            out.insert("format".to_owned(), "date-time".into());
            return Value::Object(out);
        }
        _ => {}
    }
    if let Some(alias) = &entry.alias {
        if let Value::Object(inner) = type_schema(alias, texts) {
            out.extend(inner);
        }
        return Value::Object(out);
    }
    out.insert("type".to_owned(), "object".into());
    let required: Vec<&str> = entry.fields.iter().filter(|(_, field)| field.required).map(|(name, _)| *name).collect();
    if !required.is_empty() {
        out.insert("required".to_owned(), required.into());
    }
    let properties: Map<String, Value> =
        entry.fields.iter().map(|(name, field)| ((*name).to_owned(), property(field, texts.of_field(entry.name, name), texts))).collect();
    out.insert("properties".to_owned(), Value::Object(properties));
    if entry.atomic {
        out.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    let kinds: Vec<Value> = entry.kinds.iter().map(|(version, kind)| gvk(version, kind)).collect();
    if !kinds.is_empty() {
        out.insert("x-kubernetes-group-version-kind".to_owned(), kinds.into());
    }
    Value::Object(out)
}

fn gvk(version: &str, kind: &str) -> Value {
    let (group, short) = version.split_once('/').unwrap_or(("", version));
    json!({"group": group, "kind": kind, "version": short})
}

fn property(field: &Field, description: &str, texts: &Descriptions) -> Value {
    let mut out = match type_schema(&field.kind, texts) {
        // A reference takes no siblings.
        Value::Object(inner) if inner.contains_key("$ref") => {
            let mut outer = Map::new();
            outer.insert("allOf".to_owned(), json!([inner]));
            outer
        }
        Value::Object(inner) => inner,
        _ => Map::new(),
    };
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    if !description.is_empty() {
        put("description", description.into());
    }
    if let Some(key) = &field.merge_key {
        put("x-kubernetes-patch-merge-key", (*key).into());
    }
    if !field.strategy.is_empty() {
        put("x-kubernetes-patch-strategy", field.strategy.into());
    }
    if !field.list_keys.is_empty() {
        put("x-kubernetes-list-map-keys", field.list_keys.to_vec().into());
    }
    if !field.list_type.is_empty() {
        let key = if matches!(field.kind, Type::List(_)) { "x-kubernetes-list-type" } else { "x-kubernetes-map-type" };
        put(key, field.list_type.into());
    }
    if !field.allowed.is_empty() && field.kind == Type::String {
        put("enum", field.allowed.to_vec().into());
    }
    Value::Object(out)
}

fn type_schema(kind: &Type, texts: &Descriptions) -> Value {
    // A definition has one schema, in which everything is written out. Bounded: the table's custom structures do not hold themselves.
    if let Type::Structure(number) = kind
        && Table::get().entry(*number).is_custom()
    {
        let mut whole = schema(Table::get().entry(*number), texts);
        if let Some(fields) = whole.as_object_mut() {
            fields.remove("description");
        }
        return whole;
    }
    if !matches!(kind, Type::List(_) | Type::Map(_))
        && let Some(entry) = referred(kind)
    {
        return json!({"$ref": reference(entry)});
    }
    match kind {
        Type::List(inner) => json!({"type": "array", "items": type_schema(inner, texts)}),
        Type::Map(inner) => json!({"type": "object", "additionalProperties": type_schema(inner, texts)}),
        Type::Bytes => json!({"type": "string", "format": "byte"}),
        Type::Boolean => json!({"type": "boolean"}),
        Type::Int32 => json!({"type": "integer", "format": "int32"}),
        Type::Int64 => json!({"type": "integer", "format": "int64"}),
        Type::Number => json!({"type": "number", "format": "double"}),
        Type::Any => json!({"type": "object"}),
        Type::String | Type::Quantity | Type::IntOrString | Type::Time | Type::MicroTime | Type::Structure(_) => json!({"type": "string"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(path: &str) -> Value {
        serde_json::from_slice(&openapi_v3(path).unwrap()).unwrap()
    }

    #[test]
    fn the_index_lists_documents_that_exist() {
        let index = openapi_index();
        let paths = index["paths"].as_object().unwrap();
        assert!(paths.contains_key("api/v1") && paths.contains_key("apis/chaos-mesh.org/v1alpha1"));
        for path in paths.keys() {
            let document = load(path);
            assert!(!document["paths"].as_object().unwrap().is_empty(), "{path}");
            let text = document.to_string();
            let schemas = document["components"]["schemas"].as_object().unwrap();
            for piece in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
                let name = piece.split('"').next().unwrap();
                assert!(schemas.contains_key(name), "{path} refers to {name}");
            }
        }
        assert!(openapi_v3("apis/none/v1").is_none());
    }

    #[test]
    fn kinds_have_patch_operations_and_schemas() {
        for (version, kind, plural, _) in RESOURCES {
            assert!(Table::get().kind(version, kind).is_some(), "{kind} {plural} is not in the table");
        }
        let apps = load("apis/apps/v1");
        let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"], json!({"group": "apps", "version": "v1", "kind": "Deployment"}));
        let names: Vec<&str> = patch["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
        assert!(names.contains(&"fieldValidation") && names.contains(&"dryRun"));
        assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
        let containers = &apps["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        let chaos = load("apis/chaos-mesh.org/v1alpha1");
        let patch = &chaos["paths"]["/apis/chaos-mesh.org/v1alpha1/namespaces/{namespace}/stresschaos/{name}"]["patch"];
        assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none());
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "StressChaos");
    }
}
