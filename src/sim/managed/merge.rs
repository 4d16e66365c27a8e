//! Objects changed by field: an applied configuration is merged in, fields that nobody wants any more are taken out.

use serde_json::{Map, Value};

use super::set::Set;
use super::shape::Shape;

/// Deeper than any Kubernetes object, shallower than the stack.
const MAX_DEPTH: usize = 64;

/// `live` with everything that `config` says.
pub(super) fn merged(shape: Shape<'_>, live: &Value, config: &Value, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return config.clone();
    }
    if let (Some(before), Some(after)) = (shape.as_map(live), shape.as_map(config)) {
        let mut out: Map<String, Value> = before.clone();
        for (key, value) in after {
            let (inner, _) = shape.below(key);
            let new = before.get(key).map_or_else(|| value.clone(), |old| merged(inner, old, value, depth + 1));
            out.insert(key.clone(), new);
        }
        return Value::Object(out);
    }
    let (Some(before), Some(after)) = (shape.items(live), shape.items(config)) else { return config.clone() };
    // The configuration's order counts; what only the object has stays where it was.
    let mut wanted = after.iter();
    let mut out = Vec::new();
    for (element, _, item) in &before {
        if !after.iter().any(|(e, _, _)| e == element) {
            out.push((*item).clone());
        } else if let Some(next) = wanted.next() {
            out.push(with_old(&before, next, depth));
        }
    }
    out.extend(wanted.map(|next| with_old(&before, next, depth)));
    Value::Array(out)
}

fn with_old(before: &[(String, Shape<'_>, &Value)], (element, shape, item): &(String, Shape<'_>, &Value), depth: usize) -> Value {
    let old = before.iter().find(|(e, _, _)| e == element);
    old.map_or_else(|| (*item).clone(), |(_, _, old)| merged(*shape, old, item, depth + 1))
}

/// Takes the fields of `gone` out of `value`, but for what `kept` names. Says whether nothing is left.
pub(super) fn remove(shape: Shape<'_>, value: &mut Value, gone: &Set, kept: Option<&Set>) -> bool {
    let kept_below = |element: &str| kept.and_then(|k| k.children.get(element));
    if let Value::Object(map) = value {
        for (element, below) in &gone.children {
            let Some(name) = element.strip_prefix("f:") else { continue };
            let kept = kept_below(element);
            let Some(inner) = map.get_mut(name) else { continue };
            if (below.member && kept.is_none()) || remove(shape.below(name).0, inner, below, kept) {
                map.remove(name);
            }
        }
        return map.is_empty() && !gone.children.is_empty();
    }
    // A list that is one value goes with its field or not at all.
    let Some(items) = shape.items(value) else { return false };
    let elements: Vec<(String, Shape<'_>)> = items.into_iter().map(|(e, s, _)| (e, s)).collect();
    let Value::Array(list) = value else { return false };
    let mut left = Vec::with_capacity(list.len());
    for (mut item, (element, inner)) in std::mem::take(list).into_iter().zip(elements) {
        if let Some(below) = gone.children.get(&element) {
            let kept = kept_below(&element);
            if below.member && kept.is_none() {
                continue;
            }
            remove(inner, &mut item, below, kept);
        }
        left.push(item);
    }
    *list = left;
    list.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_keep_stays_whole() {
        let shape = Shape::of_kind("v1", "Pod", None);
        let mut pod = json!({"spec": {"containers": [{"name": "a", "command": ["sh", "-c"], "image": "x"}]}});
        let gone = Set::read(&json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:command": {}, "f:image": {}}}}}));
        let kept = Set::read(&json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:command": {}}}}}));
        remove(shape, &mut pod, &gone, Some(&kept));
        assert_eq!(pod, json!({"spec": {"containers": [{"name": "a", "command": ["sh", "-c"]}]}}));
        assert!(remove(shape, &mut pod, &gone, None));
    }
}
