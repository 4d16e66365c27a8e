use serde_json::{Value, json};

use super::*;

fn client(manager: &str) -> Writer {
    Writer::Client { manager: manager.to_owned(), api_version: "apps/v1".to_owned(), subresource: String::new() }
}

fn deployment(image: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "strategy": {"type": "Recreate"},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
            {"name": "server", "image": image, "ports": [{"containerPort": 80, "protocol": "TCP"}], "resources": {"limits": {"cpu": "1"}}}]}}}})
}

#[test]
fn a_created_object_is_its_creator_s() {
    let mut new = deployment("a:1", 1);
    update(("apps/v1", "Deployment", None), None, &mut new, &client("me"), "T1");
    assert_eq!(
        new["metadata"]["managedFields"],
        json!([{"manager": "me", "operation": "Update", "apiVersion": "apps/v1", "time": "T1", "fieldsType": "FieldsV1", "fieldsV1": {
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:replicas": {}, "f:selector": {}, "f:strategy": {"f:type": {}}, "f:template": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"server\"}": {".": {}, "f:image": {}, "f:name": {},
                    "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}}},
                    "f:resources": {".": {}, "f:limits": {".": {}, "f:cpu": {}}}}}}}}}}])
    );
}

#[test]
fn a_change_moves_the_field_to_its_writer() {
    let mut old = deployment("a:1", 1);
    update(("apps/v1", "Deployment", None), None, &mut old, &client("me"), "T1");
    let mut new = old.clone();
    new["spec"]["replicas"] = 2.into();
    update(("apps/v1", "Deployment", None), Some(&old), &mut new, &client("you"), "T2");
    let entries = new["metadata"]["managedFields"].as_array().unwrap();
    assert!(entries[0]["fieldsV1"]["f:spec"]["f:replicas"].is_null());
    assert_eq!((&entries[1]["manager"], &entries[1]["fieldsV1"]), (&json!("you"), &json!({"f:spec": {"f:replicas": {}}})));
    let before = new.clone();
    update(("apps/v1", "Deployment", None), Some(&before), &mut new, &client("third"), "T3");
    assert_eq!(new, before);
}

#[test]
fn applying_conflicts_forces_and_gives_up() {
    let config = |image: &str, port: u32| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {"spec": {"containers": [
            {"name": "server", "image": image, "ports": [{"containerPort": port}]}]}}}})
    };
    let mut live = deployment("a:1", 1);
    update(("apps/v1", "Deployment", None), None, &mut live, &client("me"), "T1");
    let conflicts = apply(("apps/v1", "Deployment", None), Some(&live), &config("b:1", 80), "tool", false, "T2").unwrap_err();
    let fields = vec![".spec.template.spec.containers[name=\"server\"].image".to_owned()];
    assert_eq!(conflicts, [Conflict { manager: "\"me\" using apps/v1".to_owned(), fields }]);
    let forced = apply(("apps/v1", "Deployment", None), Some(&live), &config("b:1", 80), "tool", true, "T2").unwrap();
    let container = &forced["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["image"], &container["ports"][0]["protocol"]), (&json!("b:1"), &json!("TCP")));
    // A port that nobody else has goes with its configuration; the image stays, somebody else has it.
    let second = apply(("apps/v1", "Deployment", None), Some(&forced), &config("b:1", 81), "tool", false, "T3").unwrap();
    assert_eq!(second["spec"]["template"]["spec"]["containers"][0]["ports"].as_array().map(Vec::len), Some(2), "the creator keeps port 80");
    let third = apply(("apps/v1", "Deployment", None), Some(&second), &config("b:1", 80), "tool", false, "T4").unwrap();
    assert_eq!(third["spec"]["template"]["spec"]["containers"][0]["ports"].as_array().map(Vec::len), Some(1));
    let again = apply(("apps/v1", "Deployment", None), Some(&third), &config("b:1", 80), "tool", false, "T5").unwrap();
    assert_eq!(again, third);
}

#[test]
fn lists_of_defined_kinds_are_taken_apart_as_their_schema_says() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "rules": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "proto"], "items": {"type": "object",
            "properties": {"port": {"type": "integer"}, "proto": {"type": "string", "default": "tcp"}, "host": {"type": "string"}}}},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "plain": {"type": "array", "items": {"type": "string"}},
        "one": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}}}}}});
    let gate =
        |spec: Value| json!({"apiVersion": "e.com/v1", "kind": "Gate", "metadata": {"name": "g", "finalizers": ["e.com/f"]}, "spec": spec});
    let kind = ("e.com/v1", "Gate", Some(&schema));
    let first = gate(json!({"rules": [{"port": 80, "host": "a"}], "tags": ["x"], "plain": ["p"], "one": {"k": "v"}}));
    let live = apply(kind, None, &first, "first", false, "T1").unwrap();
    assert_eq!(
        live["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:metadata": {"f:finalizers": {"v:\"e.com/f\"": {}}}, "f:spec": {"f:one": {}, "f:plain": {},
            "f:rules": {"k:{\"port\":80,\"proto\":\"tcp\"}": {".": {}, "f:host": {}, "f:port": {}}}, "f:tags": {"v:\"x\"": {}}}})
    );
    let second = gate(json!({"rules": [{"port": 443, "proto": "tcp", "host": "b"}], "tags": ["y"]}));
    let both = apply(kind, Some(&live), &second, "second", false, "T2").unwrap();
    assert_eq!(both["spec"]["rules"], json!([{"port": 80, "host": "a"}, {"port": 443, "proto": "tcp", "host": "b"}]));
    assert_eq!(both["spec"]["tags"], json!(["x", "y"]));
    // What is one value is somebody's as a whole.
    let conflicts = apply(kind, Some(&both), &gate(json!({"one": {"l": "w"}})), "third", false, "T3").unwrap_err();
    assert_eq!(conflicts, [Conflict { manager: "\"first\"".to_owned(), fields: vec![".spec.one".to_owned()] }]);
    let left = apply(kind, Some(&both), &gate(json!({"tags": ["y"]})), "second", false, "T4").unwrap();
    assert_eq!((&left["spec"]["rules"], &left["spec"]["tags"]), (&json!([{"port": 80, "host": "a"}]), &json!(["x", "y"])));
}
