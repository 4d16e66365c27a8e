//! Request bodies: JSON, YAML and protobuf become one JSON value of the expected kind.

use serde_json::Value;

use crate::sim::catalog::Kind;
use crate::sim::schema;
use crate::sim::status::Status;

const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// 415 with the media types that would do.
pub(super) fn unsupported(accepted: &str) -> Status {
    Status::new(
        415,
        "UnsupportedMediaType",
        format!("the body of the request was in an unknown format - accepted media types include: {accepted}"),
    )
}

/// Reads an object of `kind` (by name, in `api_version`); empty kinds and versions in the body are taken for the right ones.
pub(super) fn object(content_type: &str, body: &[u8], api_version: &str, kind: &str) -> Result<Value, Status> {
    let value = value(content_type, body).map_err(|e| match e {
        Unreadable::Format => unsupported(ACCEPTED),
        Unreadable::Text(e) => Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {e}")),
    })?;
    if !value.is_object() {
        return Err(Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): it is no object")));
    }
    let given = (value["apiVersion"].as_str().unwrap_or_default(), value["kind"].as_str().unwrap_or_default());
    if !given.1.is_empty() && given.1 != kind {
        return Err(Status::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {kind}: converting ({}) to ({kind}): unknown conversion",
            given.1,
            given.0.rsplit('/').next().unwrap_or_default(),
            given.1
        )));
    }
    if !given.0.is_empty() && given.0 != api_version {
        return Err(Status::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({api_version})",
            given.0
        )));
    }
    Ok(value)
}

/// Reads an object of a kind of the catalogue.
pub(super) fn of_kind(content_type: &str, body: &[u8], kind: &Kind) -> Result<Value, Status> {
    object(content_type, body, &kind.api_version(), &kind.kind)
}

enum Unreadable {
    Format,
    Text(String),
}

fn value(content_type: &str, body: &[u8]) -> Result<Value, Unreadable> {
    match content_type {
        "" | "application/json" | "*/*" => json(body).map_err(Unreadable::Text),
        "application/yaml" | "application/x-yaml" | "text/yaml" => yaml(body).map_err(Unreadable::Text),
        "application/vnd.kubernetes.protobuf" => schema::decode_protobuf(body).map_err(Unreadable::Text),
        _ => Err(Unreadable::Format),
    }
}

/// A patch: JSON text.
pub(super) fn patch(content_type: &str, body: &[u8]) -> Result<Value, Status> {
    let strategic = content_type == "application/strategic-merge-patch+json";
    let told = |e| Status::bad_request(if strategic { words(&e) } else { format!("error decoding patch: {}", words(&e)) });
    serde_json::from_slice(body).map_err(told)
}

/// Go's words for an error in JSON.
fn words(e: &serde_json::Error) -> String {
    if e.is_eof() { "unexpected end of JSON input".to_owned() } else { e.to_string() }
}

/// JSON text, with Go's words for errors.
fn json(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|e| {
        let why = words(&e);
        let shown: String = String::from_utf8_lossy(body).chars().take(200).collect();
        format!("couldn't get version/kind; json parse error: {why} ({shown})")
    })
}

/// YAML text, of which JSON is a part.
pub(super) fn yaml(body: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
    serde_json::from_str(text).or_else(|_| serde_saphyr::from_str(text).map_err(|e| format!("error converting YAML to JSON: {e}")))
}

/// Options of a deletion, or any other optional body.
pub(super) fn optional(content_type: &str, body: &[u8]) -> Result<Value, Status> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    value(content_type, body).map_err(|e| match e {
        Unreadable::Format => unsupported(ACCEPTED),
        Unreadable::Text(e) => Status::bad_request(e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_worded_like_recorded() {
        let e = object("application/json", b"{\"kind\":", "v1", "ConfigMap").unwrap_err();
        assert_eq!(
            e.message,
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input ({\"kind\":)"
        );
        let e = object("text/plain", b"x", "v1", "ConfigMap").unwrap_err();
        assert_eq!(
            (e.code, e.message.as_str()),
            (
                415,
                "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"
            )
        );
        assert_eq!(object("application/json", b"{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}", "v1", "ConfigMap").unwrap_err().code, 400);
    }

    #[test]
    fn yaml_is_read() {
        let v = object("application/yaml", b"kind: ConfigMap\ndata:\n  a: \"1\"\n", "v1", "ConfigMap").unwrap();
        assert_eq!(v["data"]["a"], "1");
    }
}
