//! JSON patch (RFC 6902) with the API server's behaviour and error texts.

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

/// As many operations as the API server accepts in one patch.
const MAX_OPERATIONS: usize = 10_000;

/// What the server says, with code 422 and reason `Invalid`, when an operation does not apply. It never says which.
pub const NOT_APPLICABLE: &str = "the server rejected our request due to an error in our request";

/// Applies a list of operations. The error is [`NOT_APPLICABLE`], or the text of a 400 when the patch is no list of operations.
pub fn json(original: &Value, ops: &Value) -> Result<Value, String> {
    let list = ops.as_array().ok_or_else(|| {
        let given = if ops.is_object() { "object" } else { "value" };
        format!("json: cannot unmarshal {given} into Go value of type jsonpatch.Patch")
    })?;
    if list.len() > MAX_OPERATIONS {
        return Err(format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}", list.len()));
    }
    let mut object = original.clone();
    for op in list {
        if !op.is_object() {
            return Err("json: cannot unmarshal value into Go value of type jsonpatch.Operation".to_owned());
        }
        if is_test_of_nothing(op, &object) {
            continue;
        }
        let operation: PatchOperation = serde_json::from_value(op.clone()).map_err(|_| NOT_APPLICABLE.to_owned())?;
        json_patch::patch(&mut object, &Patch(vec![operation])).map_err(|_| NOT_APPLICABLE.to_owned())?;
    }
    Ok(object)
}

/// The server's library lets a test for null pass when there is nothing at the path.
fn is_test_of_nothing(op: &Value, object: &Value) -> bool {
    let text = |key: &str| op.get(key).and_then(Value::as_str);
    text("op") == Some("test")
        && op.get("value").is_none_or(Value::is_null)
        && text("path").is_some_and(|path| object.pointer(path).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as value;

    #[test]
    fn operations_apply_in_order_or_not_at_all() {
        let object = value!({"spec": {"replicas": 1, "list": [1, 2]}});
        let ops = value!([{"op": "test", "path": "/spec/replicas", "value": 1}, {"op": "add", "path": "/spec/list/-", "value": 3},
            {"op": "test", "path": "/spec/paused", "value": null}, {"op": "remove", "path": "/spec/replicas"}]);
        assert_eq!(json(&object, &ops).unwrap(), value!({"spec": {"list": [1, 2, 3]}}));
        for bad in [
            value!([{"op": "remove", "path": "/spec/nope/x"}]),
            value!([{"op": "test", "path": "/spec/replicas", "value": 2}]),
            value!([{"op": "grow", "path": "/a"}]),
        ] {
            assert_eq!(json(&object, &bad).unwrap_err(), NOT_APPLICABLE);
        }
        assert_eq!(
            json(&object, &value!({"op": "add"})).unwrap_err(),
            "json: cannot unmarshal object into Go value of type jsonpatch.Patch"
        );
    }
}
