//! Versioned objects and their change log: no semantics at all, those are in [`super::registry`].
//!
//! One counter numbers all changes (`resourceVersion`); the latest are kept for watches: [`super::history`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::dormant::{self, Dormant};
use super::history::History;
use super::resource::{Key, Resource};

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
    /// In which words watches have told of it.
    pub told: Arc<Told>,
}

/// The texts in which a change was told, by form: many watches share them.
#[derive(Debug, Default)]
pub struct Told(Mutex<Vec<(String, Arc<[u8]>)>>);

impl Told {
    /// More forms are not kept: a table's changes with each second.
    const FORMS: usize = 4;

    /// The text in one form, made on first use.
    pub fn text(&self, form: String, make: impl FnOnce() -> Vec<u8>) -> Arc<[u8]> {
        let mut forms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = forms.iter().find(|(known, _)| *known == form) {
            return Arc::clone(text);
        }
        let text: Arc<[u8]> = make().into();
        if forms.len() == Self::FORMS {
            forms.remove(0);
        }
        forms.push((form, Arc::clone(&text)));
        text
    }
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
    dormant: Dormant,
    revision: u64,
    log: History,
}

impl Store {
    /// The revision of the latest change: the `resourceVersion` of lists.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key).or_else(|| self.dormant.get(key))
    }

    /// All objects of a type, of one namespace or of all, ordered by namespace and name.
    pub fn list<'a>(
        &'a self,
        resource: &Resource,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> + use<'a> {
        let from = Key::new(resource, namespace.unwrap_or(""), "");
        let mut sleeping = self.dormant.list(resource, namespace).peekable();
        let resource = resource.clone();
        let mut others = self
            .objects
            .range(from..)
            .take_while(move |(k, _)| k.resource == resource && namespace.is_none_or(|n| *k.namespace == *n))
            .peekable();
        std::iter::from_fn(move || match (others.peek(), sleeping.peek()) {
            (Some((a, _)), Some((b, _))) if a > b => sleeping.next(),
            (None, Some(_)) => sleeping.next(),
            _ => others.next(),
        })
    }

    /// What [`Store::list`] gave at an earlier revision.
    ///
    /// # Errors
    /// [`Expired`] when the log no longer reaches back that far.
    pub fn list_at(&self, resource: &Resource, namespace: Option<&str>, revision: u64) -> Result<BTreeMap<Key, Arc<Value>>, Expired> {
        let mut then: BTreeMap<Key, Arc<Value>> = self.list(resource, namespace).map(|(k, v)| (k.clone(), Arc::clone(v))).collect();
        let ours = |key: &Key| key.resource == *resource && namespace.is_none_or(|n| *key.namespace == *n);
        for change in self.changes_after(revision, ours)?.rev() {
            match change.previous {
                Some(previous) => then.insert(change.key, previous),
                None => then.remove(&change.key),
            };
        }
        Ok(then)
    }

    /// The objects of every type in a namespace, but for events that nobody owns.
    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        self.objects.iter().filter(move |(k, _)| *k.namespace == *namespace)
    }

    /// The keys of all objects in a namespace, in order.
    pub fn keys_in_namespace(&self, namespace: &str) -> BTreeSet<Key> {
        self.objects.keys().chain(self.dormant.keys()).filter(|k| *k.namespace == *namespace).cloned().collect()
    }

    /// Every object, but for events that nobody owns.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    /// Creates or replaces an object, stamps `metadata.resourceVersion` and logs the change. Returns what is stored.
    pub fn put(&mut self, key: &Key, mut value: Value) -> Arc<Value> {
        self.revision += 1;
        value["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let object = Arc::new(value);
        self.dormant.settle();
        // All changes of an object share its key.
        let sleeping = self.dormant.remove(key);
        let known = sleeping.as_ref().map(|(k, _)| k).or_else(|| self.objects.get_key_value(key).map(|(k, _)| k));
        let key = known.unwrap_or(key).clone();
        let previous = if dormant::suits(&key, &object) {
            self.dormant.insert(key.clone(), &object);
            self.objects.remove(&key)
        } else {
            self.objects.insert(key.clone(), Arc::clone(&object))
        };
        let previous = previous.or(sleeping.map(|(_, value)| value));
        let kind = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        self.log.push(Change { revision: self.revision, kind, key, object: Arc::clone(&object), previous, told: Arc::default() });
        object
    }

    /// Removes an object and logs its deletion. Returns its last state, stamped with the deletion's version.
    pub fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        self.dormant.settle();
        let (key, previous) = self.objects.remove_entry(key).or_else(|| self.dormant.remove(key))?;
        self.revision += 1;
        let mut last = (*previous).clone();
        last["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let object = Arc::new(last);
        self.log.push(Change {
            revision: self.revision,
            kind: ChangeKind::Deleted,
            key,
            object: Arc::clone(&object),
            previous: Some(previous),
            told: Arc::default(),
        });
        Some(object)
    }

    /// The changes after `revision` of the objects that `about` asks for, oldest first.
    ///
    /// # Errors
    /// [`Expired`] when the log no longer reaches back that far.
    pub fn changes_after<'a>(
        &'a self,
        revision: u64,
        about: impl Fn(&Key) -> bool + Copy + 'a,
    ) -> Result<impl DoubleEndedIterator<Item = Change> + 'a, Expired> {
        self.log.after(revision, self.revision, about)
    }

    /// The types of the objects that changed after `revision`; `None` when the log no longer reaches back that far.
    pub fn changed_after(&self, revision: u64) -> Option<BTreeSet<&Resource>> {
        self.log.changed_after(revision, self.revision)
    }

    /// Forgets what was unpacked of the past for readers.
    pub fn settle(&mut self) {
        self.log.settle();
    }

    /// About how many bytes the change log takes.
    #[cfg(test)]
    pub(super) fn log_bytes(&self) -> usize {
        self.log.bytes()
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
    fn changes_are_numbered() {
        let mut s = Store::default();
        let key = Key::new(&Resource::new("", "pods"), "a", "x");
        s.put(&key, json!({"metadata": {}}));
        s.put(&key, json!({"metadata": {}}));
        s.remove(&key);
        let kinds: Vec<_> = s.changes_after(1, |_| true).map(|c| c.map(|c| c.kind).collect()).unwrap_or_default();
        assert_eq!(kinds, [ChangeKind::Modified, ChangeKind::Deleted]);
    }
}
