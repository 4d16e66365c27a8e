//! Objects as text, kept while they stay as they are: clients read the same ones again and again.
//!
//! Input: an object as the store holds it and how it is written. Output: its text, written once for each of its versions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;

use super::resource::Key;

/// So many bytes of text are kept: some two hundred pods.
const MOST: usize = 1 << 20;

/// The texts.
#[derive(Debug, Default)]
pub(super) struct Printed(Mutex<Texts>);

#[derive(Debug, Default)]
struct Texts {
    known: BTreeMap<Key, (Weak<Value>, Arc<[u8]>)>,
    bytes: usize,
}

impl Printed {
    /// The text of an object. `object` is what the store has under `key`: whether a text is of this version is told by where it lies.
    pub(super) fn text(&self, key: &Key, object: &Arc<Value>, write: impl FnOnce(&Value) -> Vec<u8>) -> Arc<[u8]> {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // As long as somebody knows of an object, though it is gone, no other can lie in its place.
        if let Some((of, text)) = texts.known.get(key)
            && std::ptr::eq(of.as_ptr(), Arc::as_ptr(object))
        {
            return Arc::clone(text);
        }
        let text: Arc<[u8]> = write(object).into();
        if text.len() > MOST / 16 {
            return text;
        }
        if texts.bytes + text.len() > MOST {
            texts.tidy();
        }
        texts.bytes += text.len();
        if let Some((_, old)) = texts.known.insert(key.clone(), (Arc::downgrade(object), Arc::clone(&text))) {
            texts.bytes -= old.len();
        }
        text
    }
}

impl Texts {
    /// Forgets what is of the past, or everything if that does not help much.
    fn tidy(&mut self) {
        self.known.retain(|_, (of, _)| of.strong_count() > 0);
        self.bytes = self.known.values().map(|(_, text)| text.len()).sum();
        if self.bytes > MOST / 2 {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sim::resource::Resource;

    fn write(value: &Value) -> Vec<u8> {
        value.to_string().into()
    }

    fn key(n: usize) -> Key {
        Key::new(&Resource::new("", "configmaps"), "default", &n.to_string())
    }

    #[test]
    fn each_version_is_written_once() {
        let printed = Printed::default();
        let (first, second) = (Arc::new(json!({"a": 1})), Arc::new(json!({"a": 2})));
        assert_eq!(&*printed.text(&key(0), &first, write), b"{\"a\":1}");
        assert_eq!(&*printed.text(&key(0), &first, |_| panic!("written already")), b"{\"a\":1}");
        assert_eq!(&*printed.text(&key(0), &second, write), b"{\"a\":2}");
        assert_eq!(printed.0.lock().unwrap().bytes, 7);
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let printed = Printed::default();
        let object = Arc::new(json!("x".repeat(100_000)));
        for n in 0..200 {
            printed.text(&key(n), &object, write);
        }
        assert!(printed.0.lock().unwrap().bytes <= MOST);
        let huge = Arc::new(json!("x".repeat(MOST)));
        printed.text(&key(0), &huge, write);
        assert!(printed.0.lock().unwrap().bytes <= MOST);
    }
}
