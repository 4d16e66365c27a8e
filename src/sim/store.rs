//! Versioned objects and their change log: no semantics at all, those are in [`super::registry`].
//!
//! One counter numbers all changes (`resourceVersion`); the last [`LOG_LIMIT`] changes are kept for watches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::resource::{Key, Resource};

/// How many changes are kept for watches; older resource versions answer 410 Expired.
pub const LOG_LIMIT: usize = 20_000;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was created.
    Added,
    /// It was changed.
    Modified,
    /// It is gone; `object` is its last state, with the resource version of the deletion.
    Deleted,
}

/// One entry of the change log.
#[derive(Debug, Clone)]
pub struct Change {
    /// The resource version of this change.
    pub revision: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// To which object.
    pub key: Key,
    /// Its state afterwards (for deletions: the last state).
    pub object: Arc<Value>,
    /// Its state before; `None` for creations. Selector watches need it to tell "left the selection" from "changed".
    pub previous: Option<Arc<Value>>,
}

/// A watch asked for changes older than the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// The oldest revision from which changes are complete.
    pub oldest: u64,
}

/// All objects of the cluster.
#[derive(Debug, Default)]
pub struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    revision: u64,
    log: VecDeque<Change>,
}

impl Store {
    /// The revision of the latest change: the `resourceVersion` of lists.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// All objects of a type, of one namespace or of all, ordered by namespace and name.
    pub fn list<'a>(
        &'a self,
        resource: &Resource,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> + use<'a> {
        let from = Key::new(resource, namespace.unwrap_or(""), "");
        let resource = resource.clone();
        self.objects.range(from..).take_while(move |(k, _)| k.resource == resource && namespace.is_none_or(|n| *k.namespace == *n))
    }

    /// What [`Store::list`] gave at an earlier revision.
    ///
    /// # Errors
    /// [`Expired`] when the log no longer reaches back that far.
    pub fn list_at(&self, resource: &Resource, namespace: Option<&str>, revision: u64) -> Result<BTreeMap<Key, Arc<Value>>, Expired> {
        let mut then: BTreeMap<Key, Arc<Value>> = self.list(resource, namespace).map(|(k, v)| (k.clone(), Arc::clone(v))).collect();
        let changes: Vec<&Change> = self.changes_after(revision)?.collect();
        let ours = |c: &&&Change| c.key.resource == *resource && namespace.is_none_or(|n| *c.key.namespace == *n);
        for change in changes.iter().rev().filter(ours) {
            match &change.previous {
                Some(previous) => then.insert(change.key.clone(), Arc::clone(previous)),
                None => then.remove(&change.key),
            };
        }
        Ok(then)
    }

    /// Every object of every type in a namespace.
    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        self.objects.iter().filter(move |(k, _)| *k.namespace == *namespace)
    }

    /// Every object.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    /// Creates or replaces an object, stamps `metadata.resourceVersion` and logs the change. Returns what is stored.
    pub fn put(&mut self, key: &Key, mut value: Value) -> Arc<Value> {
        self.revision += 1;
        value["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let object = Arc::new(value);
        let previous = self.objects.insert(key.clone(), Arc::clone(&object));
        let kind = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        self.push(Change { revision: self.revision, kind, key: key.clone(), object: Arc::clone(&object), previous });
        object
    }

    /// Removes an object and logs its deletion. Returns its last state, stamped with the deletion's version.
    pub fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let previous = self.objects.remove(key)?;
        self.revision += 1;
        let mut last = (*previous).clone();
        last["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let object = Arc::new(last);
        self.push(Change {
            revision: self.revision,
            kind: ChangeKind::Deleted,
            key: key.clone(),
            object: Arc::clone(&object),
            previous: Some(previous),
        });
        Some(object)
    }

    /// The changes after `revision`, oldest first.
    ///
    /// # Errors
    /// [`Expired`] when the log no longer reaches back that far.
    pub fn changes_after(&self, revision: u64) -> Result<impl Iterator<Item = &Change>, Expired> {
        let oldest = self.log.front().map_or(self.revision, |c| c.revision - 1);
        if revision < oldest {
            return Err(Expired { oldest });
        }
        let start = self.log.partition_point(|c| c.revision <= revision);
        Ok(self.log.range(start..))
    }

    fn push(&mut self, change: Change) {
        if self.log.len() == LOG_LIMIT {
            self.log.pop_front();
        }
        self.log.push_back(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_are_scoped_and_ordered() {
        let mut s = Store::default();
        let pods = Resource::new("", "pods");
        for (ns, name) in [("b", "x"), ("a", "z"), ("a", "y")] {
            s.put(&Key::new(&pods, ns, name), json!({"metadata": {"name": name}}));
        }
        s.put(&Key::new(&Resource::new("", "services"), "a", "s"), json!({"metadata": {}}));
        let names = |ns| s.list(&pods, ns).map(|(k, _)| k.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(Some("a")), ["y", "z"]);
        assert_eq!(names(None), ["y", "z", "x"]);
    }

    #[test]
    fn lists_of_the_past_are_consistent() {
        let mut s = Store::default();
        let pods = Resource::new("", "pods");
        let key = |n: &str| Key::new(&pods, "a", n);
        s.put(&key("x"), json!({"n": 1}));
        s.put(&key("y"), json!({"n": 1}));
        s.put(&key("x"), json!({"n": 2}));
        s.remove(&key("y"));
        s.put(&key("z"), json!({"n": 1}));
        let at = |r| s.list_at(&pods, Some("a"), r).unwrap().iter().map(|(k, v)| format!("{}{}", k.name, v["n"])).collect::<Vec<_>>();
        assert_eq!((at(2), at(3), at(5)), (vec!["x1".into(), "y1".into()], vec!["x2".into(), "y1".into()], vec!["x2".into(), "z1".into()]));
    }

    #[test]
    fn changes_are_numbered_and_expire() {
        let mut s = Store::default();
        let key = Key::new(&Resource::new("", "pods"), "a", "x");
        s.put(&key, json!({"metadata": {}}));
        s.put(&key, json!({"metadata": {}}));
        s.remove(&key);
        let kinds: Vec<_> = s.changes_after(1).map(|c| c.map(|c| c.kind).collect::<Vec<_>>()).unwrap_or_default();
        assert_eq!(kinds, [ChangeKind::Modified, ChangeKind::Deleted]);
        for _ in 0..LOG_LIMIT {
            s.put(&key, json!({"metadata": {}}));
        }
        assert!(s.changes_after(1).is_err());
    }
}
