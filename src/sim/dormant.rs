//! Dormant objects: events, which are many, rarely read and kept for an hour.
//!
//! As a value an event takes some 4 KiB, most of it maps of its managed fields, which are alike. Here it is its text, and the
//! shape of its fields is kept once. Whoever reads it gets a value, which lasts until the next change of the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::Value;

use super::resource::{Key, Resource};

/// More shapes of fields are not told apart.
const SHAPES: usize = 64;

/// The objects.
#[derive(Debug, Default)]
pub(super) struct Dormant {
    objects: BTreeMap<Key, Packed>,
    shapes: Vec<String>,
    awake: Mutex<Vec<Key>>,
}

#[derive(Debug)]
struct Packed {
    text: Box<str>,
    /// Which of the shapes the fields of its only manager have.
    shape: Option<usize>,
    value: OnceLock<Arc<Value>>,
}

/// Whether an object is one to be kept so: an event that nobody owns or holds back.
pub(super) fn suits(key: &Key, object: &Value) -> bool {
    let metadata = &object["metadata"];
    holds(&key.resource) && ["ownerReferences", "finalizers", "deletionTimestamp"].iter().all(|field| metadata[*field].is_null())
}

fn holds(resource: &Resource) -> bool {
    &*resource.plural == "events" && resource.group.is_empty()
}

impl Dormant {
    /// Lays an object to dormant.
    pub(super) fn insert(&mut self, key: Key, object: &Value) {
        let fields = object["metadata"]["managedFields"].as_array().filter(|all| all.len() == 1).map(|all| all[0]["fieldsV1"].to_string());
        let shape = fields.and_then(|fields| {
            let known = self.shapes.iter().position(|s| *s == fields);
            if known.is_none() && self.shapes.len() < SHAPES {
                self.shapes.push(fields);
                return Some(self.shapes.len() - 1);
            }
            known
        });
        let text = if shape.is_some() {
            let mut bare = object.clone();
            bare["metadata"]["managedFields"][0]["fieldsV1"] = Value::Null;
            bare.to_string()
        } else {
            object.to_string()
        };
        self.objects.insert(key, Packed { text: text.into(), shape, value: OnceLock::new() });
    }

    /// Takes an object out.
    pub(super) fn remove(&mut self, key: &Key) -> Option<(Key, Arc<Value>)> {
        if !holds(&key.resource) {
            return None;
        }
        let (key, packed) = self.objects.remove_entry(key)?;
        let value = self.unpack(&packed);
        Some((key, value))
    }

    /// One object.
    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        if !holds(&key.resource) {
            return None;
        }
        self.objects.get_key_value(key).map(|(key, packed)| self.wake(key, packed))
    }

    /// Those of a type and namespace, in order.
    pub(super) fn list<'a>(
        &'a self,
        resource: &Resource,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> + use<'a> {
        let range = holds(resource).then(|| self.objects.range(Key::new(resource, namespace.unwrap_or(""), "")..));
        let ours = range.into_iter().flatten().take_while(move |(key, _)| namespace.is_none_or(|n| *key.namespace == *n));
        ours.map(|(key, packed)| (key, self.wake(key, packed)))
    }

    /// The keys of all.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.objects.keys()
    }

    /// Forgets the values that were read.
    pub(super) fn settle(&mut self) {
        for key in std::mem::take(self.awake.get_mut().unwrap_or_else(PoisonError::into_inner)) {
            if let Some(packed) = self.objects.get_mut(&key) {
                packed.value = OnceLock::new();
            }
        }
    }

    fn wake<'a>(&'a self, key: &Key, packed: &'a Packed) -> &'a Arc<Value> {
        packed.value.get_or_init(|| {
            self.awake.lock().unwrap_or_else(PoisonError::into_inner).push(key.clone());
            self.unpack(packed)
        })
    }

    fn unpack(&self, packed: &Packed) -> Arc<Value> {
        // It was written by ourselves: it can be read.
        let mut value: Value = serde_json::from_str(&packed.text).unwrap_or_default();
        if let Some(fields) = packed.shape.and_then(|shape| self.shapes.get(shape)) {
            value["metadata"]["managedFields"][0]["fieldsV1"] = serde_json::from_str(fields).unwrap_or_default();
        }
        Arc::new(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_dormant_is_read_as_it_was() {
        let events = Resource::new("", "events");
        let mut dormant = Dormant::default();
        let event = |n: u64, managers: usize| {
            let fields = json!({"manager": "m", "fieldsV1": {"f:count": {}, "f:source": {"f:host": {}}}});
            json!({"metadata": {"name": n.to_string(), "managedFields": vec![fields; managers]}, "count": n})
        };
        let key = |n: u64| Key::new(&events, "a", &n.to_string());
        for (n, managers) in [(1, 1), (2, 1), (3, 0), (4, 2)] {
            assert!(suits(&key(n), &event(n, managers)));
            dormant.insert(key(n), &event(n, managers));
        }
        assert_eq!(dormant.shapes.len(), 1);
        assert_eq!(**dormant.get(&key(1)).unwrap(), event(1, 1));
        let all: Vec<Value> = dormant.list(&events, Some("a")).map(|(_, v)| (**v).clone()).collect();
        assert_eq!(all, [event(1, 1), event(2, 1), event(3, 0), event(4, 2)]);
        dormant.settle();
        assert!(dormant.objects.values().all(|p| p.value.get().is_none()));
        assert_eq!(*dormant.remove(&key(4)).unwrap().1, event(4, 2));
        assert!(dormant.remove(&key(4)).is_none() && dormant.list(&events, Some("b")).next().is_none());
        let owned = json!({"metadata": {"name": "x", "ownerReferences": [{"uid": "u"}]}});
        assert!(!suits(&key(1), &owned));
    }
}
