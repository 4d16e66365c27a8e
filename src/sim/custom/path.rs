//! The part of `JSONPath` that printer columns use: fields, indexes and filters by equality.

use serde_json::Value;

/// The first value at a path such as `.status.conditions[?(@.type=="Ready")].status`.
pub fn find<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut here = object;
    let mut rest = path.trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find(']')?;
            let (step, after) = inner.split_at(end);
            rest = after.get(1..)?;
            here = index(here, step)?;
        } else {
            let name = rest.strip_prefix('.').unwrap_or(rest);
            let (name, after) = field(name);
            rest = after;
            if !name.is_empty() {
                here = here.get(&name)?;
            }
        }
    }
    Some(here).filter(|v| !v.is_null())
}

/// A field's name, in which `\.` is a dot, and what follows.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => name.extend(letters.next().map(|(_, l)| l)),
            '.' | '[' => return (name, text.get(at..).unwrap_or_default()),
            other => name.push(other),
        }
    }
    (name, "")
}

fn index<'a>(here: &'a Value, step: &str) -> Option<&'a Value> {
    let step = step.trim();
    if let Some(filter) = step.strip_prefix("?(@").and_then(|f| f.strip_suffix(')')) {
        let (path, wanted) = filter.split_once("==")?;
        let wanted = wanted.trim().trim_matches(['"', '\'']);
        return here.as_array()?.iter().find(|item| {
            find(item, path.trim()).is_some_and(|v| {
                v.as_str().map_or_else(|| serde_json::from_str::<Value>(wanted).is_ok_and(|w| w == *v), |text| text == wanted)
            })
        });
    }
    if let Some(name) = step.strip_prefix(['"', '\'']) {
        return here.get(name.trim_end_matches(['"', '\'']));
    }
    if step == "*" {
        return here.as_array()?.first();
    }
    here.get(step.parse::<usize>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_printer_columns() {
        let o = json!({"metadata": {"annotations": {"a.b/c": "x"}}, "spec": {"list": [{"n": 1}, {"n": 2}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(find(&o, ".spec.list[1].n"), Some(&json!(2)));
        assert_eq!(find(&o, ".status.conditions[?(@.type==\"Ready\")].status"), Some(&json!("True")));
        assert_eq!(find(&o, ".status.conditions[?(@.type=='Nope')].status"), None);
        assert_eq!(find(&o, r".metadata.annotations.a\.b/c"), Some(&json!("x")));
        assert_eq!(find(&o, ".metadata.annotations['a.b/c']"), Some(&json!("x")));
        assert_eq!(find(&o, ".nope[0"), None);
    }
}
