//! The latest changes of the cluster: the youngest as they are, older ones compressed.
//!
//! A watch that begins at an old resource version, and a list of the past, need every state that objects had since. As
//! values these are large (a pod is some 5 KB of text and 40 KB of maps); as text they resemble each other, and shrink to
//! a few percent. What is kept is bounded by number and by size.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde_json::Value;

use super::resource::{Key, Resource};
use super::store::{Change, ChangeKind, Expired, Told};

/// How many changes are kept, at least, unless they are too large together.
pub(super) const CHANGES: usize = 20_000;
/// How many bytes of old changes are kept, compressed.
const COLD_MAX: usize = 6 << 20;
/// So many changes are compressed together.
const BLOCK: usize = 32;
/// So many bytes of young changes, as they lie in memory, are kept as they are.
const WARM_MAX: usize = 2 << 20;
/// No state of an object is larger: a request body is not, either.
const TEXT_MAX: u64 = 256 << 20;

/// The change log.
#[derive(Debug, Default)]
pub(super) struct History {
    cold: VecDeque<Block>,
    cold_bytes: usize,
    cold_changes: usize,
    warm: VecDeque<(Change, usize)>,
    warm_bytes: usize,
    /// The block that was read last: watches that have fallen behind read the same ones, one after another.
    opened: Mutex<Option<Arc<Opened>>>,
}

impl History {
    /// Adds the latest change.
    pub(super) fn push(&mut self, change: Change) {
        let weight = weight(&change.object);
        self.warm_bytes += weight;
        self.warm.push_back((change, weight));
        while self.warm.len() >= 2 * BLOCK || (self.warm_bytes > WARM_MAX && self.warm.len() > 1) {
            self.cool();
        }
    }

    /// The revision after which every change is known; `now` when there was none.
    pub(super) fn oldest(&self, now: u64) -> u64 {
        let first = self.cold.front().and_then(|b| b.entries.first()).map(|e| e.revision);
        first.or_else(|| self.warm.front().map(|(c, _)| c.revision)).map_or(now, |r| r - 1)
    }

    /// The changes after `revision` of the objects that `about` asks for, oldest first. Old ones are unpacked on the way.
    pub(super) fn after<'a>(
        &'a self,
        revision: u64,
        now: u64,
        about: impl Fn(&Key) -> bool + Copy + 'a,
    ) -> Result<impl DoubleEndedIterator<Item = Change> + 'a, Expired> {
        let oldest = self.oldest(now);
        if revision < oldest {
            return Err(Expired { oldest });
        }
        let first = self.cold.partition_point(|b| b.last() <= revision);
        let start = self.warm.partition_point(|(c, _)| c.revision <= revision);
        let old = self.cold.range(first..).flat_map(move |b| b.changes(&self.open(b), revision, about));
        Ok(old.chain(self.warm.range(start..).map(|(c, _)| c).filter(move |c| about(&c.key)).cloned()))
    }

    /// The types of the objects that changed after `revision`; `None` when it does not reach back that far.
    pub(super) fn changed_after(&self, revision: u64, now: u64) -> Option<BTreeSet<&Resource>> {
        let old = self.cold.iter().rev().take_while(|b| b.last() > revision).flat_map(|b| b.entries.iter().map(|e| (e.revision, &e.key)));
        let young = self.warm.iter().rev().take_while(|(c, _)| c.revision > revision).map(|(c, _)| (c.revision, &c.key));
        let changed = young.chain(old).filter(|(r, _)| *r > revision).map(|(_, key)| &key.resource);
        (revision >= self.oldest(now)).then(|| changed.collect())
    }

    /// Forgets what was unpacked for readers.
    pub(super) fn settle(&mut self) {
        *self.opened.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn open(&self, block: &Block) -> Arc<Opened> {
        let mut last = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.take().filter(|o| o.last == block.last());
        // Where another block was open, its states go before this one's come.
        Arc::clone(last.insert(known.unwrap_or_else(|| Arc::new(block.open()))))
    }

    /// About how many bytes it takes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.cold_bytes + self.warm_bytes
    }

    /// Compresses the older half of the young changes.
    fn cool(&mut self) {
        let count = (self.warm.len() / 2).clamp(1, BLOCK);
        let (old, weights): (Vec<Change>, Vec<usize>) = self.warm.drain(..count).unzip();
        self.warm_bytes -= weights.iter().sum::<usize>();
        let block = Block::of(&old);
        self.cold_bytes += block.size();
        self.cold_changes += block.entries.len();
        self.cold.push_back(block);
        while let Some(front) = self.cold.front() {
            let enough = self.cold_changes + self.warm.len() - front.entries.len() >= CHANGES;
            if !enough && self.cold_bytes <= COLD_MAX {
                break;
            }
            self.cold_bytes -= front.size();
            self.cold_changes -= front.entries.len();
            self.cold.pop_front();
        }
    }
}

/// Some changes, compressed.
#[derive(Debug)]
struct Block {
    entries: Vec<Entry>,
    packed: Box<[u8]>,
}

/// One change: its states are pieces of the block's text.
#[derive(Debug)]
struct Entry {
    revision: u64,
    kind: ChangeKind,
    key: Key,
    object: Range<usize>,
    previous: Option<Range<usize>>,
}

impl Block {
    fn of(changes: &[Change]) -> Self {
        let mut text = Vec::new();
        let mut written: BTreeMap<*const Value, Range<usize>> = BTreeMap::new();
        let mut write = |state: &Arc<Value>| {
            let at = Arc::as_ptr(state);
            let place = written.entry(at).or_insert_with(|| {
                let start = text.len();
                // Writing JSON into memory cannot fail.
                let _ = serde_json::to_writer(&mut text, &**state);
                start..text.len()
            });
            place.clone()
        };
        let entries = changes
            .iter()
            .map(|c| {
                let previous = c.previous.as_ref().map(&mut write);
                Entry { revision: c.revision, kind: c.kind, key: c.key.clone(), object: write(&c.object), previous }
            })
            .collect();
        let mut packer = DeflateEncoder::new(Vec::new(), Compression::fast());
        let packed = packer.write_all(&text).and_then(|()| packer.finish()).unwrap_or_default();
        Self { entries, packed: packed.into_boxed_slice() }
    }

    fn last(&self) -> u64 {
        self.entries.last().map_or(0, |e| e.revision)
    }

    fn size(&self) -> usize {
        self.packed.len() + self.entries.len() * size_of::<Entry>()
    }

    fn open(&self) -> Opened {
        let mut text = Vec::new();
        // We packed it ourselves, and a test unpacks what was packed.
        let _read = DeflateDecoder::new(&*self.packed).take(TEXT_MAX).read_to_end(&mut text);
        Opened { last: self.last(), text, states: Mutex::default() }
    }

    fn changes(&self, opened: &Opened, after: u64, about: impl Fn(&Key) -> bool) -> Vec<Change> {
        let mut states = opened.states.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = |place: &Range<usize>| {
            let read = || Arc::new(opened.text.get(place.clone()).and_then(|t| serde_json::from_slice(t).ok()).unwrap_or_default());
            let (value, told) = states.entry(place.start).or_insert_with(|| (read(), Arc::default()));
            (Arc::clone(value), Arc::clone(told))
        };
        let open = |e: &Entry| {
            let previous = e.previous.as_ref().map(|place| state(place).0);
            // A change has a state of its own, so that what is told of it can be kept with that.
            let (object, told) = state(&e.object);
            Change { revision: e.revision, kind: e.kind, key: e.key.clone(), object, previous, told }
        };
        self.entries.iter().filter(|e| e.revision > after && about(&e.key)).map(open).collect()
    }
}

/// A state, and in which words watches have told of the change to it.
type State = (Arc<Value>, Arc<Told>);

/// A block as it is read: only the states that somebody asks for become values.
#[derive(Debug)]
struct Opened {
    last: u64,
    text: Vec<u8>,
    /// By where their text begins.
    states: Mutex<BTreeMap<usize, State>>,
}

/// About how many bytes a value takes. Maps are trees of nodes for eleven entries each, however few there are.
fn weight(value: &Value) -> usize {
    const NODE: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 16;
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|v| size_of::<Value>() + weight(v)).sum(),
        Value::Object(map) => map.len().div_ceil(8) * NODE + map.iter().map(|(k, v)| k.len() + weight(v)).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sim::store::Store;

    fn pod(n: u64, filling: &str) -> Value {
        json!({"metadata": {"name": "x", "n": n}, "status": {"text": filling, "half": 0.5, "large": u64::MAX}})
    }

    #[test]
    fn old_changes_come_back_as_they_were() {
        let mut store = Store::default();
        let (pods, maps) = (Resource::new("", "pods"), Resource::new("", "configmaps"));
        let mut expected = Vec::new();
        for n in 0..1000 {
            let key = Key::new(if n % 3 == 0 { &maps } else { &pods }, "a", &format!("x{}", n % 7));
            let object = store.put(&key, pod(n, "filling"));
            expected.push((store.revision(), key, object));
        }
        let changes: Vec<Change> = store.changes_after(0, |_| true).unwrap().collect();
        assert_eq!(changes.len(), 1000);
        let mut last: BTreeMap<&Key, &Arc<Value>> = BTreeMap::new();
        for ((revision, key, object), change) in expected.iter().zip(&changes) {
            assert_eq!((revision, key, object), (&change.revision, &change.key, &change.object));
            assert_eq!(change.previous.as_ref(), last.insert(key, object));
        }
        let some = store.changes_after(500, |k| k.resource == maps).unwrap();
        assert_eq!(some.count(), expected.iter().filter(|(r, k, _)| *r > 500 && k.resource == maps).count());
    }

    #[test]
    fn readers_of_the_same_past_share_it() {
        let key = Key::new(&Resource::new("", "pods"), "a", "x");
        let mut store = Store::default();
        for n in 0..200 {
            store.put(&key, pod(n, ""));
        }
        let fifth = |store: &Store| store.changes_after(4, |_| true).unwrap().next().unwrap();
        let (one, other) = (fifth(&store), fifth(&store));
        assert!(Arc::ptr_eq(&one.object, &other.object) && Arc::ptr_eq(&one.told, &other.told));
        let later = store.changes_after(40, |_| true).unwrap().next().unwrap();
        assert_eq!((one.revision, later.revision), (5, 41));
        assert!(!Arc::ptr_eq(&one.object, &fifth(&store).object));
        let again = fifth(&store);
        store.settle();
        assert!(!Arc::ptr_eq(&again.object, &fifth(&store).object));
        assert_eq!(again.object, fifth(&store).object);
    }

    #[test]
    fn it_is_bounded_by_number_and_by_size() {
        let key = Key::new(&Resource::new("", "pods"), "a", "x");
        let mut store = Store::default();
        for n in 0..u64::try_from(CHANGES + 3 * BLOCK).unwrap() {
            store.put(&key, pod(n, ""));
        }
        assert!(store.changes_after(1, |_| true).is_err());
        assert!(store.changes_after(u64::try_from(4 * BLOCK).unwrap(), |_| true).is_ok());
        // Text that does not compress: the log forgets early, and holds the latest whatever its size.
        let mut store = Store::default();
        let mut noise = 1_u64;
        for n in 0..40 {
            let filling: String = (0..500_000)
                .map(|_| {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    char::from(b' ' + u8::try_from((noise >> 33) % 90).unwrap())
                })
                .collect();
            store.put(&key, pod(n, &filling));
        }
        assert!(store.log_bytes() <= WARM_MAX + COLD_MAX + (1 << 20), "{}", store.log_bytes());
        assert!(store.changes_after(1, |_| true).is_err());
        assert_eq!(store.changes_after(39, |_| true).unwrap().count(), 1);
    }
}
