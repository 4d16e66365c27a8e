//! Tests against the recordings of a real API server: what it accepted, refused, stored and printed.

use std::io::Read;
use std::sync::OnceLock;

use base64::Engine;
use serde_json::{Value, json};

use super::*;
use crate::sim::patch;

fn recorded(part: &str) -> &'static [Value] {
    static DATA: OnceLock<Value> = OnceLock::new();
    let all = DATA.get_or_init(|| {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&include_bytes!("testdata/recorded.json.gz")[..]).read_to_string(&mut text).unwrap();
        serde_json::from_str(&text).unwrap()
    });
    all[part].as_array().unwrap()
}

fn gvk(object: &Value) -> (&str, &str) {
    (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap())
}

/// The paths at which two values differ, with both values.
fn differences(a: &Value, b: &Value, path: &str, out: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let keys: std::collections::BTreeSet<_> = x.keys().chain(y.keys()).collect();
            for key in keys {
                differences(x.get(key).unwrap_or(&Value::Null), y.get(key).unwrap_or(&Value::Null), &format!("{path}.{key}"), out);
            }
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            for (index, (x, y)) in x.iter().zip(y).enumerate() {
                differences(x, y, &format!("{path}[{index}]"), out);
            }
        }
        _ if a == b => {}
        _ => out.push(format!("{path}: {a} != {b}")),
    }
}

#[test]
fn every_printed_object_is_known_valid_and_has_its_defaults() {
    let mut problems = Vec::new();
    for object in recorded("objects") {
        let (version, kind) = gvk(object);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        problems.extend(unknown_fields(version, kind, object).into_iter().map(|e| format!("{kind} {name} {e}")));
        problems.extend(decode_error(version, kind, object).into_iter().map(|e| format!("{kind} {name} {e}")));
        problems.extend(validate(version, kind, object).into_iter().map(|c| format!("{kind} {name} {}", c.text())));
        problems.extend(missing_required(version, kind, object).into_iter().map(|e| format!("{kind} {name} lacks {e}")));
        let mut again = object.clone();
        defaults(version, kind, &mut again);
        differences(&again, object, &format!("{kind} {name} "), &mut problems);
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn accepted_objects_get_the_servers_defaults() {
    let mut problems = Vec::new();
    for case in recorded("creates") {
        let (mut given, expected) = (case["request"].clone(), &case["response"]);
        let (version, kind) = gvk(expected);
        let strict = unknown_fields(version, kind, &given);
        problems.extend(strict.into_iter().map(|e| format!("{} {e}", case["name"])));
        defaults(version, kind, &mut given);
        problems.extend(validate(version, kind, &given).into_iter().map(|c| format!("{} {}", case["name"], c.text())));
        problems.extend(missing_required(version, kind, &given).into_iter().map(|e| format!("{} lacks {e}", case["name"])));
        differences(&given["spec"], &expected["spec"], &format!("{} {kind} spec", case["name"]), &mut problems);
        differences(&given["status"], &expected["status"], &format!("{} {kind} status", case["name"]), &mut problems);
    }
    // What admission, address allocation and the job's own identity add.
    let elsewhere = ["clusterIP", "kube-api-access", "node.kubernetes.io/not-ready", "controller-uid"];
    problems.retain(|problem| !elsewhere.iter().any(|text| problem.contains(text)));
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn refused_objects_are_refused_in_the_same_words() {
    for case in recorded("refused") {
        let mut given = case["request"].clone();
        let owned = given.clone();
        let (version, kind) = gvk(&owned);
        let message = if let Some(error) = decode_error(version, kind, &given) {
            format!("{kind} in version {:?} cannot be handled as a {kind}: {error}", version.rsplit('/').next().unwrap())
        } else if let Some(error) = unknown_fields(version, kind, &given).first() {
            format!(
                "{kind} in version {:?} cannot be handled as a {kind}: strict decoding error: {error}",
                version.rsplit('/').next().unwrap()
            )
        } else {
            defaults(version, kind, &mut given);
            let causes = validate(version, kind, &given);
            assert_eq!(causes.iter().map(Cause::body).collect::<Vec<_>>(), *case["causes"].as_array().unwrap());
            let group = version.split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
            format!("{kind}{group} \"{}\" is invalid: {}", given["metadata"]["name"].as_str().unwrap(), summary(&causes))
        };
        assert_eq!(message, case["message"].as_str().unwrap(), "{}", case["name"]);
    }
}

#[test]
fn protobuf_bodies_decode_to_the_json_that_the_server_prints() {
    let mut problems = Vec::new();
    for case in recorded("protobuf") {
        let bytes = base64::engine::general_purpose::STANDARD.decode(case["base64"].as_str().unwrap()).unwrap();
        let mut decoded = decode_protobuf(&bytes).unwrap_or_else(|e| panic!("{}: {e}", case["name"]));
        let owned = decoded.clone();
        let (version, kind) = gvk(&owned);
        problems.extend(unknown_fields(version, kind, &decoded).into_iter().map(|e| format!("{kind} {e}")));
        problems.extend(decode_error(version, kind, &decoded).into_iter().map(|e| format!("{kind} {e}")));
        if !case["json"].is_null() {
            defaults(version, kind, &mut decoded);
            differences(&decoded, &case["json"], &format!("{kind} {}", case["name"]), &mut problems);
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn accepted_patches_give_the_servers_result() {
    let mut problems = Vec::new();
    for case in recorded("patches") {
        let (before, after) = (&case["before"], &case["after"]);
        let (version, kind) = gvk(before);
        let result = match case["type"].as_str().unwrap() {
            "strategic-merge-patch" => patch::strategic(version, kind, before, &case["patch"]),
            "json-patch" => patch::json(before, &case["patch"]),
            _ => {
                let mut object = before.clone();
                patch::merge(&mut object, &case["patch"]);
                Ok(object)
            }
        };
        let mut result = result.unwrap_or_else(|e| panic!("{}: {e}", case["name"]));
        defaults(version, kind, &mut result);
        differences(&result["spec"], &after["spec"], &format!("{} spec", case["name"]), &mut problems);
        for key in ["labels", "annotations", "finalizers", "name"] {
            differences(&result["metadata"][key], &after["metadata"][key], &format!("{} {key}", case["name"]), &mut problems);
        }
    }
    // The controller counts revisions.
    problems.retain(|problem| !problem.contains("deployment.kubernetes.io/revision"));
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn custom_kinds_have_no_strategic_merge() {
    assert!(patch::strategic("chaos-mesh.org/v1alpha1", "StressChaos", &json!({}), &json!({"spec": {"mode": "all"}})).is_err());
}

/// All places inside a value, as JSON pointers.
fn places(value: &Value, path: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, item) in map {
                places(item, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), out);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{path}/{index}"), out);
            }
        }
        _ => {}
    }
    out.push(path.to_owned());
}

#[test]
fn no_shape_of_an_object_panics() {
    let odd = [
        json!(null),
        json!(-1),
        json!(true),
        json!(""),
        json!("\u{e9}="),
        json!([]),
        json!({}),
        json!([[{}]]),
        json!({"a": {"b": 1}}),
        json!(1.5),
    ];
    let mut turn = 0;
    let mut kinds = std::collections::BTreeSet::new();
    for object in recorded("objects") {
        let (version, kind) = gvk(object);
        if !kinds.insert(kind) {
            continue;
        }
        let mut all = Vec::new();
        places(object, "", &mut all);
        for place in all {
            let mut mutant = object.clone();
            turn += 1;
            *mutant.pointer_mut(&place).unwrap() = odd[turn % odd.len()].clone();
            let refused = decode_error(version, kind, &mutant).is_some();
            let _ = patch::strategic(version, kind, object, &mutant);
            let _ = patch::strategic(version, kind, &mutant, object);
            let _ = patch::result_error(version, kind, &mutant, Some(&mutant));
            let _ = validate_update(version, kind, &mutant, object);
            let mut tidy = mutant.clone();
            prune(version, kind, &mut tidy);
            defaults(version, kind, &mut tidy);
            let _ = validate(version, kind, &tidy);
            let again = tidy.clone();
            defaults(version, kind, &mut tidy);
            assert!(refused || tidy == again, "defaults of {kind} with {place} changed are no fixed point");
        }
    }
    assert!(turn > 1000);
}
