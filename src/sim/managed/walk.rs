//! From objects to sets of fields: what an applied configuration holds, and what differs between two objects.

use serde_json::Value;

use super::set::Set;
use super::shape::Shape;

/// Deeper than any Kubernetes object, shallower than the stack.
const MAX_DEPTH: usize = 64;

/// The fields of an applied configuration.
pub(super) fn fields(shape: Shape<'_>, value: &Value) -> Set {
    let mut set = Set::default();
    fields_in(shape, value, &mut set, 0);
    set.member = false;
    set
}

fn fields_in(shape: Shape<'_>, value: &Value, set: &mut Set, depth: usize) {
    if depth > MAX_DEPTH {
        set.member = true;
    } else if let Some(map) = shape.as_map(value) {
        for (key, below) in map {
            let (inner, declared) = shape.below(key);
            let child = set.below(format!("f:{key}"));
            fields_in(inner, below, child, depth + 1);
            let empty = below.is_null() || below.as_object().is_some_and(serde_json::Map::is_empty);
            child.member |= empty || !declared;
        }
    } else if let Some(items) = shape.items(value) {
        for (element, inner, item) in items {
            let child = set.below(element);
            fields_in(inner, item, child, depth + 1);
            child.member = true;
        }
    } else {
        set.member = true;
    }
}

/// What differs between two objects.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Added or changed fields.
    pub(super) written: Set,
    /// Fields that are gone.
    pub(super) removed: Set,
}

/// Compares two objects.
pub(super) fn compare(shape: Shape<'_>, old: &Value, new: &Value) -> Difference {
    let mut out = Difference::default();
    if let (Some(before), Some(after)) = (old.as_object(), new.as_object()) {
        let keys = before.keys().chain(after.keys().filter(|k| !before.contains_key(*k)));
        for key in keys {
            let (inner, _) = shape.below(key);
            let element = format!("f:{key}");
            pair(inner, present(before.get(key)), present(after.get(key)), element, &mut out.written, &mut out.removed, 1);
        }
        out.written.tidy();
        out.removed.tidy();
    }
    out
}

fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|v| !v.is_null())
}

fn pair(shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>, element: String, written: &mut Set, removed: &mut Set, depth: usize) {
    if old == new {
        return;
    }
    let (w, r) = (written.below(element.clone()), removed.below(element));
    let as_map = |v: Option<&'_ Value>| v.is_none_or(|v| shape.as_map(v).is_some());
    let empty = |v: Option<&Value>| {
        v.is_none_or(|v| v.as_object().is_some_and(serde_json::Map::is_empty) || v.as_array().is_some_and(Vec::is_empty))
    };
    let leaf = depth > MAX_DEPTH || (empty(old) && empty(new));
    if !leaf && as_map(old) && as_map(new) {
        let none = serde_json::Map::new();
        let before = old.and_then(|v| shape.as_map(v)).unwrap_or(&none);
        let after = new.and_then(|v| shape.as_map(v)).unwrap_or(&none);
        for key in before.keys().chain(after.keys().filter(|k| !before.contains_key(*k))) {
            let (inner, _) = shape.below(key);
            pair(inner, present(before.get(key)), present(after.get(key)), format!("f:{key}"), w, r, depth + 1);
        }
    } else if !leaf && let (Some(before), Some(after)) = (items(shape, old), items(shape, new)) {
        for (element, inner, item) in &before {
            let other = after.iter().find(|(e, _, _)| e == element).map(|(_, _, v)| *v);
            pair(*inner, Some(item), other, element.clone(), w, r, depth + 1);
        }
        for (element, inner, item) in after.iter().filter(|(e, _, _)| !before.iter().any(|(b, _, _)| b == e)) {
            pair(*inner, None, Some(item), element.clone(), w, r, depth + 1);
        }
    } else if old.is_some() && new.is_some() {
        w.member = true;
        return;
    }
    w.member |= old.is_none();
    r.member |= new.is_none();
}

fn items<'s, 'v>(shape: Shape<'s>, value: Option<&'v Value>) -> Option<Vec<(String, Shape<'s>, &'v Value)>> {
    match value {
        None if shape.has_items() => Some(Vec::new()),
        None => None,
        Some(v) => shape.items(v),
    }
}
