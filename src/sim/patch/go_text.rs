//! Values as Go prints them, for error texts that show a part of a patch.

use serde_json::Value;

/// Deeper than any Kubernetes object, shallower than the stack.
const MAX_DEPTH: usize = 64;

/// A value as Go's `%+v` prints it: `map[a:1 b:[x y]]`.
pub(super) fn go_text(value: &Value) -> String {
    at_depth(value, 0)
}

fn at_depth(value: &Value, depth: usize) -> String {
    match value {
        _ if depth > MAX_DEPTH => "...".to_owned(),
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(|item| at_depth(item, depth + 1)).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut pairs: Vec<(&String, &Value)> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            let pairs: Vec<String> = pairs.into_iter().map(|(key, item)| format!("{key}:{}", at_depth(item, depth + 1))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn maps_and_lists() {
        assert_eq!(go_text(&json!({"b": ["x", null], "a": {"c": 1, "d": true}})), "map[a:map[c:1 d:true] b:[x <nil>]]");
    }
}
