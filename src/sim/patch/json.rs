//! JSON patch (RFC 6902) with the API server's behaviour and error texts.

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

/// More operations than the API server accepts in one patch.
const MAX_OPERATIONS: usize = 10_000;

/// Applies a list of operations. The error is the text after which the server answers 422, or 400 for a malformed list.
pub fn json(original: &Value, ops: &Value) -> Result<Value, String> {
    let list = ops.as_array().ok_or("json: cannot unmarshal object into Go value of type jsonpatch.Patch")?;
    if list.len() > MAX_OPERATIONS {
        return Err(format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}", list.len()));
    }
    let mut object = original.clone();
    for op in list {
        let operation: PatchOperation = serde_json::from_value(op.clone()).map_err(|_| malformed(op))?;
        // The server's library ignores a test of a missing path against null; and "remove" of a missing path is an error, as here.
        json_patch::patch(&mut object, &Patch(vec![operation])).map_err(|_| failed(op))?;
    }
    Ok(object)
}

fn text<'a>(op: &'a Value, key: &str) -> &'a str {
    op.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn malformed(op: &Value) -> String {
    format!("Unexpected kind: {}", text(op, "op"))
}

fn failed(op: &Value) -> String {
    let (name, path) = (text(op, "op"), text(op, "path"));
    match name {
        "test" => format!("testing value {path} failed"),
        "remove" => format!("remove operation does not apply: doc is missing path: \"{path}\": missing value"),
        "replace" => format!("replace operation does not apply: doc is missing path: {path}: missing value"),
        "copy" | "move" => format!("{name} operation does not apply: doc is missing from path: {}: missing value", text(op, "from")),
        _ => format!("{name} operation does not apply: doc is missing path: \"{path}\": missing value"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as value;

    #[test]
    fn operations_apply_in_order_or_not_at_all() {
        let object = value!({"spec": {"replicas": 1, "list": [1, 2]}});
        let ops = value!([{"op": "test", "path": "/spec/replicas", "value": 1}, {"op": "add", "path": "/spec/list/-", "value": 3},
            {"op": "remove", "path": "/spec/replicas"}]);
        assert_eq!(json(&object, &ops).unwrap(), value!({"spec": {"list": [1, 2, 3]}}));
        let bad = value!([{"op": "remove", "path": "/spec/nope/x"}]);
        assert!(json(&object, &bad).unwrap_err().contains("/spec/nope/x"));
        assert!(json(&object, &value!({"op": "add"})).is_err());
        assert!(json(&object, &value!([{"op": "grow", "path": "/a"}])).is_err());
    }
}
