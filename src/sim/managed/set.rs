//! Sets of fields, as `managedFields` entries write them: `f:NAME`, `k:{KEYS}` and `v:VALUE` lead down, `.` marks a member.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Deeper than any Kubernetes object, shallower than the stack.
const MAX_DEPTH: usize = 64;

/// A set of fields below one field, and whether that field itself is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set {
    /// Whether the field itself is in the set.
    pub(super) member: bool,
    /// What is below it, by path element.
    pub(super) children: BTreeMap<String, Set>,
}

impl Set {
    /// Reads a `fieldsV1`.
    pub(super) fn read(fields: &Value) -> Self {
        Self { member: false, ..Self::node(fields, 0) }
    }

    fn node(fields: &Value, depth: usize) -> Self {
        let Some(map) = fields.as_object().filter(|_| depth < MAX_DEPTH) else { return Self::default() };
        let children = map.iter().filter(|(k, _)| *k != ".").map(|(k, v)| (k.clone(), Self::node(v, depth + 1))).collect();
        Self { member: map.is_empty() || map.contains_key("."), children }
    }

    /// Writes a `fieldsV1`.
    pub(super) fn write(&self) -> Value {
        let mut map: Map<String, Value> = self.children.iter().map(|(k, v)| (k.clone(), v.write())).collect();
        if self.member && !map.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        Value::Object(map)
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// What is below a path element, made when it is not there.
    pub(super) fn below(&mut self, element: String) -> &mut Self {
        self.children.entry(element).or_default()
    }

    /// Adds all of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        self.member |= other.member;
        for (k, v) in &other.children {
            self.children.entry(k.clone()).or_default().add(v);
        }
    }

    /// Takes all of `other` away, member by member.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.member &= !other.member;
        self.children.retain(|k, v| {
            if let Some(o) = other.children.get(k) {
                v.subtract(o);
            }
            !v.is_empty()
        });
    }

    /// What is in both.
    pub(super) fn common(&self, other: &Self) -> Self {
        let both = self.children.iter().filter_map(|(k, v)| Some((k.clone(), v.common(other.children.get(k)?))));
        Self { member: self.member && other.member, children: both.filter(|(_, v)| !v.is_empty()).collect() }
    }

    /// Drops path elements without members.
    pub(super) fn tidy(&mut self) {
        for v in self.children.values_mut() {
            v.tidy();
        }
        self.children.retain(|_, v| !v.is_empty());
    }

    /// The members as people read them: `.spec.containers[name="server"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect(&mut String::new(), &mut out);
        out
    }

    fn collect(&self, path: &mut String, out: &mut Vec<String>) {
        if self.member {
            out.push(path.clone());
        }
        for (element, below) in &self.children {
            let before = path.len();
            match element.split_once(':') {
                Some(("f", name)) => {
                    path.push('.');
                    path.push_str(name);
                }
                Some(("k", keys)) => {
                    let keys = serde_json::from_str::<Map<String, Value>>(keys).unwrap_or_default();
                    let shown: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                    path.extend(["[", shown.join(",").as_str(), "]"]);
                }
                Some(("v", value)) => path.extend(["[=", value, "]"]),
                _ => path.push_str(element),
            }
            below.collect(path, out);
            path.truncate(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sets_are_read_written_and_combined() {
        let text = json!({"f:spec": {"f:replicas": {}, "f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}}, "f:set": {"v:\"x\"": {}}}});
        let mut set = Set::read(&text);
        assert_eq!(set.write(), text);
        assert_eq!(
            set.paths(),
            [".spec.containers[name=\"a\"]", ".spec.containers[name=\"a\"].image", ".spec.replicas", ".spec.set[=\"x\"]"]
        );
        let other = Set::read(&json!({"f:spec": {"f:replicas": {}, "f:paused": {}}}));
        assert_eq!(set.common(&other).paths(), [".spec.replicas"]);
        set.subtract(&other);
        assert!(!set.paths().contains(&".spec.replicas".to_owned()));
        set.add(&other);
        assert!(set.paths().contains(&".spec.paused".to_owned()));
    }
}
