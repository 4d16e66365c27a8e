//! What the registry and the API need of schemas and patches, until the schema table is here.

use serde_json::Value;

/// One reason why an object is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, ...
    pub reason: String,
    /// Text.
    pub message: String,
    /// Path of the field.
    pub field: String,
}

/// Fills in what was left out.
pub fn defaults(_api_version: &str, _kind: &str, _object: &mut Value) {}

/// Fields that the kind does not have.
pub fn unknown_fields(_api_version: &str, _kind: &str, _object: &Value) -> Vec<String> {
    Vec::new()
}

/// What is wrong with an object.
pub fn validate(_api_version: &str, _kind: &str, _object: &Value) -> Vec<Cause> {
    Vec::new()
}

/// An object from its protobuf envelope.
pub fn decode_protobuf(_body: &[u8]) -> Result<Value, String> {
    Err("protobuf is not understood".to_owned())
}

/// Strategic merge patch.
pub fn strategic(_api_version: &str, _kind: &str, original: &Value, patch: &Value) -> Result<Value, String> {
    let mut v = original.clone();
    json_patch::merge(&mut v, patch);
    Ok(v)
}

/// Merge patch.
pub fn merge(original: &mut Value, patch: &Value) {
    json_patch::merge(original, patch);
}

/// JSON patch.
pub fn json(original: &Value, ops: &Value) -> Result<Value, String> {
    let patch: json_patch::Patch = serde_json::from_value(ops.clone()).map_err(|e| e.to_string())?;
    let mut v = original.clone();
    json_patch::patch(&mut v, &patch).map_err(|e| e.to_string())?;
    Ok(v)
}
