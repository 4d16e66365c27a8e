//! `OpenAPI` v2 (Swagger), for clients that are older than version 3 or read its text: the documents of version 3, written otherwise.
//!
//! Input: documents of version 3 for groups that clients define. Output: one document with those of the server's own groups.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::OnceLock;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde_json::{Map, Value, json};

use super::openapi::{openapi_index, openapi_v3};
use super::swagger_protobuf as protobuf;

const TITLE: &str = "Kubernetes";
const VERSION: &str = "v1.36.0";
const OPEN: &str = "x-kubernetes-preserve-unknown-fields";
const V3: &str = "#/components/schemas/";
const V2: &str = "#/definitions/";
/// Keywords that version 2 does not have.
const UNKNOWN: [&str; 5] = ["anyOf", "not", "nullable", "example", "externalDocs"];

/// Definitions and paths as text, without the braces around them.
#[derive(Default)]
struct Parts {
    names: BTreeSet<String>,
    definitions: Vec<u8>,
    paths: Vec<u8>,
    /// Definitions as protobuf.
    messages: Vec<u8>,
}

/// Definitions and paths of the server's own groups, and the definitions as protobuf. They are large, and hardly anybody asks: kept compressed.
fn own() -> &'static [Box<[u8]>; 3] {
    static OWN: OnceLock<[Box<[u8]>; 3]> = OnceLock::new();
    OWN.get_or_init(|| {
        let mut parts = Parts::default();
        let index = openapi_index();
        for path in index["paths"].as_object().into_iter().flat_map(Map::keys) {
            let text = openapi_v3(path).unwrap_or_default();
            parts.add(&serde_json::from_slice(&text).unwrap_or_default());
        }
        [packed(&parts.definitions), packed(&parts.paths), packed(&parts.messages)]
    })
}

/// The document as protobuf, with the definitions of `defined`.
pub fn swagger_protobuf(defined: &[Value]) -> Vec<u8> {
    let mut parts = Parts { messages: unpacked(&own()[2]), ..Parts::default() };
    for document in defined {
        parts.add(document);
    }
    protobuf::document(TITLE, VERSION, &parts.messages)
}

/// The document, with those of definitions.
pub fn swagger(defined: &[Value]) -> Vec<u8> {
    let [definitions, paths, _] = own();
    let mut parts = Parts { definitions: unpacked(definitions), paths: unpacked(paths), ..Parts::default() };
    for document in defined {
        parts.add(document);
    }
    let info = json!({"title": TITLE, "version": VERSION});
    let security =
        json!({"BearerToken": {"description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"}});
    let mut text = format!("{{\"swagger\":\"2.0\",\"info\":{info},\"paths\":{{").into_bytes();
    text.extend(parts.paths);
    text.extend_from_slice(b"},\"definitions\":{");
    text.extend(parts.definitions);
    text.extend_from_slice(format!("}},\"securityDefinitions\":{security},\"security\":[{{\"BearerToken\":[]}}]}}").as_bytes());
    text
}

fn packed(text: &[u8]) -> Box<[u8]> {
    let mut packer = DeflateEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let _written = packer.write_all(text);
    packer.finish().unwrap_or_default().into_boxed_slice()
}

fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    // We packed it ourselves.
    let _read = DeflateDecoder::new(packed).read_to_end(&mut text);
    text
}

impl Parts {
    fn add(&mut self, document: &Value) {
        let schemas = document["components"]["schemas"].as_object();
        for (name, found) in schemas.into_iter().flatten().filter(|(name, _)| self.names.insert((*name).clone())) {
            let mut found = schema(found);
            // Of a kind that takes any fields nothing is told but that it is an object.
            if let Some(fields) = found.as_object_mut().filter(|f| f.get(OPEN).is_some_and(|open| *open == true)) {
                fields.remove(OPEN);
            }
            write_field(&mut self.definitions, name, &found);
            self.messages.extend(protobuf::definition(name, &found));
        }
        for (path, operations) in document["paths"].as_object().into_iter().flatten() {
            write_field(&mut self.paths, path, &item(path, operations, schemas));
        }
    }
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &Value) {
    let comma = if out.is_empty() { "" } else { "," };
    out.extend_from_slice(format!("{comma}{}:{value}", Value::from(name)).as_bytes());
}

/// A schema in the words of version 2. Bounded by the depth of the schema, which a JSON reader has bounded.
fn schema(given: &Value) -> Value {
    let Some(fields) = given.as_object() else { return given.clone() };
    let mut out = Map::new();
    for (keyword, value) in fields {
        let value = match keyword.as_str() {
            "properties" => {
                Value::Object(value.as_object().into_iter().flatten().map(|(name, inner)| (name.clone(), schema(inner))).collect())
            }
            "items" | "additionalProperties" => schema(value),
            "$ref" => value.as_str().unwrap_or_default().replacen(V3, V2, 1).into(),
            // A quantity, or an integer or string, is a string here.
            "oneOf" => {
                out.insert("type".to_owned(), "string".into());
                continue;
            }
            // References take siblings here.
            "allOf" if value.as_array().is_some_and(|all| all.len() == 1) => {
                out.extend(schema(&value[0]).as_object().cloned().unwrap_or_default());
                continue;
            }
            known if UNKNOWN.contains(&known) => continue,
            _ => value.clone(),
        };
        out.insert(keyword.clone(), value);
    }
    Value::Object(out)
}

/// The operations of a path.
fn item(path: &str, operations: &Value, schemas: Option<&Map<String, Value>>) -> Value {
    let mut out = Map::new();
    let mut kind = String::new();
    for (method, given) in operations.as_object().into_iter().flatten() {
        given["x-kubernetes-group-version-kind"]["kind"].as_str().unwrap_or_default().clone_into(&mut kind);
        out.insert(method.clone(), operation(path, given, schemas));
    }
    let variables = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str| {
        let description = if name == "namespace" {
            "object name and auth scope, such as for teams and projects".to_owned()
        } else {
            format!("name of the {kind}")
        };
        json!({"name": name, "in": "path", "required": true, "type": "string", "uniqueItems": true, "description": description})
    };
    out.insert("parameters".to_owned(), variables.map(parameter).collect());
    Value::Object(out)
}

fn operation(path: &str, given: &Value, schemas: Option<&Map<String, Value>>) -> Value {
    let action = given["x-kubernetes-action"].as_str().unwrap_or_default();
    let gvk = &given["x-kubernetes-group-version-kind"];
    let text = |field: &str| gvk[field].as_str().unwrap_or_default();
    let (group, version, kind) = (if text("group").is_empty() { "core" } else { text("group") }, text("version"), text("kind"));
    let (verb, description) = match action {
        "list" => ("list", format!("list or watch objects of kind {kind}")),
        "get" => ("read", format!("read the specified {kind}")),
        "post" => ("create", format!("create {} {kind}", if kind.starts_with(['A', 'E', 'I', 'O']) { "an" } else { "a" })),
        "put" => ("replace", format!("replace the specified {kind}")),
        "patch" => ("patch", format!("partially update the specified {kind}")),
        _ => ("delete", format!("delete {} {kind}", if kind.starts_with(['A', 'E', 'I', 'O']) { "an" } else { "a" })),
    };
    let short = group.trim_end_matches(".k8s.io");
    let names = short.split(['.', '-']).chain([version]).map(capital).collect::<String>();
    let scope = if path.contains("/{namespace}/") { "Namespaced" } else { "" };
    let mut parameters: Vec<Value> = given["parameters"].as_array().into_iter().flatten().map(parameter).collect();
    let content = given["requestBody"]["content"].as_object();
    if let Some(body) = content.and_then(|types| types.values().next()) {
        parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": schema(&body["schema"])}));
    }
    let consumes: Vec<&String> = content.into_iter().flat_map(Map::keys).collect();
    let mut answer = schema(&given["responses"]["200"]["content"]["application/json"]["schema"]);
    if action == "list"
        && let Some(name) = answer["$ref"].as_str().map(|r| format!("{}List", r.trim_start_matches(V2)))
        && schemas.is_some_and(|s| s.contains_key(&name))
    {
        answer = json!({"$ref": format!("{V2}{name}")});
    }
    json!({
        "description": description, "operationId": format!("{verb}{names}{scope}{kind}"), "schemes": ["https"],
        "tags": [format!("{}_{version}", lower_camel(short))],
        "consumes": if consumes.is_empty() { json!(["*/*"]) } else { json!(consumes) },
        "produces": ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"],
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "schema": answer}, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk,
    })
}

/// A parameter, whose type stands beside its name here.
fn parameter(given: &Value) -> Value {
    let mut out = given.as_object().cloned().unwrap_or_default();
    if let Some(Value::Object(kind)) = out.remove("schema") {
        out.extend(kind);
    }
    Value::Object(out)
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

fn lower_camel(group: &str) -> String {
    let mut parts = group.split('.');
    parts.next().unwrap_or_default().to_owned() + &parts.map(capital).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_of_version_2_is_whole() {
        let widget = json!({
            "paths": {"/apis/x.io/v1/widgets": {"get": {"x-kubernetes-action": "list", "parameters": [],
                "x-kubernetes-group-version-kind": {"group": "x.io", "version": "v1", "kind": "Widget"}}}},
            "components": {"schemas": {"io.x.v1.Widget": {"type": "object", "properties": {
                "oneOf": {"type": "string", "nullable": true}, "size": {"oneOf": [{"type": "string"}, {"type": "integer"}]}}}}},
        });
        let open = json!({"components": {"schemas": {"io.x.v1.Open": {"type": "object", (OPEN): true}}}});
        let document: Value = serde_json::from_slice(&swagger(&[widget, open])).unwrap();
        assert_eq!(document["definitions"]["io.x.v1.Open"], json!({"type": "object"}));
        let definitions = document["definitions"].as_object().unwrap();
        for piece in document.to_string().split("\"$ref\":\"").skip(1) {
            let name = piece.split('"').next().unwrap().strip_prefix(V2).expect("a reference to a definition");
            assert!(definitions.contains_key(name), "{name}");
        }
        let containers = &definitions["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(
            (&containers["type"], &containers["items"]),
            (&json!("array"), &json!({"$ref": "#/definitions/io.k8s.api.core.v1.Container"}))
        );
        assert_eq!(definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"]["type"], "string");
        // Properties may have the names of keywords.
        let widget = &definitions["io.x.v1.Widget"]["properties"];
        assert_eq!((&widget["oneOf"], &widget["size"]), (&json!({"type": "string"}), &json!({"type": "string"})));
        let pods = &document["paths"]["/api/v1/namespaces/{namespace}/pods"];
        assert_eq!(pods["parameters"][0]["name"], "namespace");
        assert_eq!(pods["get"]["operationId"], "listCoreV1NamespacedPod");
        assert_eq!(pods["get"]["responses"]["200"]["schema"]["$ref"], "#/definitions/io.k8s.api.core.v1.PodList");
        let labels = pods["get"]["parameters"].as_array().unwrap().iter().find(|p| p["name"] == "labelSelector").unwrap();
        assert_eq!((&labels["type"], labels["description"].as_str().unwrap().contains("list of returned")), (&json!("string"), true));
        let role = &document["paths"]["/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}"]["patch"];
        assert_eq!(
            (&role["operationId"], &role["tags"]),
            (&json!("patchRbacAuthorizationV1ClusterRole"), &json!(["rbacAuthorization_v1"]))
        );
        assert!(role["consumes"].as_array().unwrap().contains(&json!("application/merge-patch+json")));
        assert_eq!(document["paths"]["/apis/x.io/v1/widgets"]["get"]["operationId"], "listXIoV1Widget");
    }
}
