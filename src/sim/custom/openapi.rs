//! `OpenAPI` documents of groups that clients define: what `kubectl apply` and `kubectl explain` read.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::sim::catalog::Kind;

/// The document of one group and version.
pub fn document(kinds: &[&Arc<Kind>]) -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for kind in kinds {
        let name = schema_name(kind);
        let reference = json!({"schema": {"$ref": format!("#/components/schemas/{name}")}});
        let gvk = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        let operation = |action: &str, body: Option<&[&str]>| {
            let names: &[&str] = if body.is_some() { &["dryRun", "fieldManager", "fieldValidation", "pretty"] } else { &["pretty"] };
            let parameters: Vec<Value> =
                names.iter().map(|n| json!({"name": n, "in": "query", "schema": {"type": "string", "uniqueItems": true}})).collect();
            let mut v = json!({"x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk, "parameters": parameters,
                "responses": {"200": {"description": "OK", "content": {"application/json": reference}}}});
            if let Some(types) = body.filter(|t| !t.is_empty()) {
                let content: Map<String, Value> = types.iter().map(|t| ((*t).to_owned(), reference.clone())).collect();
                v["requestBody"] = json!({"required": true, "content": content});
            }
            v
        };
        let whole: &[&str] = &["application/json", "application/yaml"];
        let patches: &[&str] = &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let base = format!("/apis/{}{scope}/{}", kind.api_version(), kind.plural);
        paths.insert(base.clone(), json!({"get": operation("list", None), "post": operation("post", Some(whole))}));
        paths.insert(
            format!("{base}/{{name}}"),
            json!({"get": operation("get", None), "put": operation("put", Some(whole)), "patch": operation("patch", Some(patches)),
                "delete": operation("delete", Some(&[]))}),
        );
        schemas.insert(name, schema(kind, &gvk));
    }
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}, "paths": paths, "components": {"schemas": schemas}})
}

/// `com.example.v1.Widget` for `widgets.example.com`.
fn schema_name(kind: &Kind) -> String {
    let mut parts: Vec<&str> = kind.group.split('.').collect();
    parts.reverse();
    format!("{}.{}.{}", parts.join("."), kind.version, kind.kind)
}

fn schema(kind: &Kind, gvk: &Value) -> Value {
    let mut schema = kind.dynamic.as_ref().map_or(Value::Null, |d| d.schema.clone());
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    let text = |description: &str| json!({"type": "string", "description": description});
    schema["properties"]["apiVersion"] = text("APIVersion defines the versioned schema of this representation of an object.");
    schema["properties"]["kind"] = text("Kind is a string value representing the REST resource this object represents.");
    schema["properties"]["metadata"] = json!({"type": "object", "description": "Standard object's metadata."});
    schema["x-kubernetes-group-version-kind"] = json!([gvk]);
    schema
}
