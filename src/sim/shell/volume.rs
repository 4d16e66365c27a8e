//! A directory tree that containers can share.
//!
//! A [`Volume`] is shared by cloning: give the same one to two containers' [`super::files::Files::mount`] and they see each
//! other's files, as with an `emptyDir`. Sizes are bounded; runs of zero bytes cost nothing (see [`Content`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::files::Files;

/// Most bytes a volume stores (zeros written by `dd` do not count).
pub(super) const BYTES_MAX: u64 = 64 << 20;
/// Most bytes of one volume as `df` and `ls` see it.
pub(super) const SIZE_MAX: u64 = 40 << 30;
/// Most files and directories of one volume.
pub(super) const ENTRIES_MAX: usize = 20_000;

/// Bytes of a regular file: `head`, then `zeros` zero bytes that are not stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Stored bytes.
    pub head: Vec<u8>,
    /// Zero bytes after them.
    pub zeros: u64,
}

impl Content {
    /// Length of the file.
    pub fn len(&self) -> u64 {
        self.head.len() as u64 + self.zeros
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes, cut at `max`.
    pub fn bytes(&self, max: usize) -> Vec<u8> {
        let mut bytes = self.head.clone();
        let zeros = usize::try_from(self.zeros).unwrap_or(max).min(max.saturating_sub(bytes.len()));
        bytes.resize(bytes.len() + zeros, 0);
        bytes
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    Regular(Content),
    /// A symbolic link to this path.
    Link(String),
    /// A character device.
    Device,
    /// A socket.
    Socket,
}

/// One entry of a directory tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Last modification.
    pub modified: Timestamp,
}

impl Node {
    /// Size as `ls` shows it.
    pub fn size(&self) -> u64 {
        match &self.kind {
            Kind::Directory => 4096,
            Kind::Regular(content) => content.len(),
            Kind::Link(target) => target.len() as u64,
            Kind::Device | Kind::Socket => 0,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }
}

pub(super) type Tree = BTreeMap<String, Node>;

/// A directory tree that containers can share. Clones are the same volume.
#[derive(Debug, Clone, Default)]
pub struct Volume(Arc<Mutex<Tree>>);

impl Volume {
    pub(super) fn tree(&self) -> MutexGuard<'_, Tree> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes in its files.
    pub fn size(&self) -> u64 {
        self.tree().values().filter(|n| !n.is_directory()).map(Node::size).sum()
    }

    /// Puts something in the place of everything that is there: paths (from the volume's root), what is there, permission bits.
    pub fn replace(&self, entries: impl IntoIterator<Item = (String, Kind, u32)>, now: Timestamp) {
        self.tree().clear();
        let mut files = Files::of(self.clone(), now);
        for (path, kind, mode) in entries {
            files.put_node(&path, kind, mode);
        }
    }

    /// Makes a directory at `path` (from the volume's root) and those above it, if there is nothing.
    pub fn make_directory(&self, path: &str, now: Timestamp) {
        Files::of(self.clone(), now).make_directories(path);
    }

    /// Adds an entry at `path` (from the volume's root), with its directories.
    pub fn add(&self, path: &str, kind: Kind, now: Timestamp) {
        Files::of(self.clone(), now).put_node(path, kind, 0o644);
    }

    /// What is at `path` (from the volume's root), links followed.
    pub fn at(&self, path: &str) -> Option<Node> {
        Files::of(self.clone(), Timestamp::default()).stat(path).ok()
    }

    pub(super) fn deep_copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.tree().clone())))
    }
}
