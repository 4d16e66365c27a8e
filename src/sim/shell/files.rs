//! A container's file system, in memory.
//!
//! [`Files`] is a root [`Volume`] plus volumes mounted over it. Everything but what is mounted dies with the `Files`, as a
//! container's own layer does.

use jiff::Timestamp;
use thiserror::Error;

use super::volume::{BYTES_MAX, ENTRIES_MAX, SIZE_MAX};
pub use super::volume::{Content, Kind, Node, Volume};

const LINKS_MAX: u32 = 16;

/// Why a file operation failed, in the words of `strerror`, which programs print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FileError {
    /// `ENOENT`
    #[error("No such file or directory")]
    NoEntry,
    /// `EISDIR`
    #[error("Is a directory")]
    IsDirectory,
    /// `ENOTDIR`
    #[error("Not a directory")]
    NotDirectory,
    /// `ENOTEMPTY`
    #[error("Directory not empty")]
    NotEmpty,
    /// `EEXIST`
    #[error("File exists")]
    Exists,
    /// `EROFS`
    #[error("Read-only file system")]
    ReadOnly,
    /// `ENOSPC`
    #[error("No space left on device")]
    NoSpace,
    /// `EBUSY`
    #[error("Device or resource busy")]
    Busy,
    /// `EIO`
    #[error("Input/output error")]
    Io,
    /// `EACCES`
    #[error("Permission denied")]
    Denied,
    /// `ELOOP`
    #[error("Too many levels of symbolic links")]
    Loop,
}

#[derive(Debug, Clone)]
struct Mount {
    path: String,
    volume: Volume,
    /// The directory of the volume that is mounted; empty for all of it.
    base: String,
    read_only: bool,
}

/// A container's files: see the module.
#[derive(Debug, Default)]
pub struct Files {
    root: Volume,
    /// The directory of the root that is taken for `/`; empty for all of it.
    base: String,
    /// Whether the root cannot be changed.
    pub sealed: bool,
    mounts: Vec<Mount>,
    /// Modification time of what is written; the shell sets it before each operation.
    pub now: Timestamp,
}

impl Clone for Files {
    /// Copies the container's own layer; mounted volumes stay shared.
    fn clone(&self) -> Self {
        Self { root: self.root.deep_copy(), base: self.base.clone(), sealed: self.sealed, mounts: self.mounts.clone(), now: self.now }
    }
}

/// Makes an absolute path of `path` seen from `base`, without `.`, `..` and doubled slashes.
pub fn absolute(base: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let from = if path.starts_with('/') { "" } else { base };
    for part in from.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The directory that holds `path`.
pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => path.get(..at).unwrap_or("/"),
    }
}

impl Files {
    /// An empty root.
    pub fn new() -> Self {
        Self::default()
    }

    /// A believable root of an image of this family (see [`super::Host::family`]).
    pub fn for_image(family: &str) -> Self {
        let mut files = Self::default();
        super::image::populate(&mut files, family);
        files
    }

    /// The files of a volume.
    pub(super) fn of(root: Volume, now: Timestamp) -> Self {
        Self { root, now, ..Self::default() }
    }

    /// The root, to be shared.
    pub fn into_root(self) -> Volume {
        self.root
    }

    /// The same files, as a program sees them whose root is `directory`, an absolute path without links.
    #[must_use]
    pub fn rooted(&self, directory: &str) -> Self {
        let (root, base, sealed) = self.place(directory);
        let below = |m: &Mount| m.path.strip_prefix(directory).filter(|rest| rest.starts_with('/')).map(str::to_owned);
        let mounts = self.mounts.iter().filter_map(|m| Some(Mount { path: below(m)?, ..m.clone() })).collect();
        Self { root: root.clone(), base: if base == "/" { String::new() } else { base }, sealed, mounts, now: self.now }
    }

    /// Mounts a volume at `path`; whatever the image has there is hidden.
    pub fn mount(&mut self, path: &str, volume: Volume, read_only: bool) {
        self.mount_directory(path, volume, "/", read_only);
    }

    /// Mounts a directory of a volume at `path`. It is made if it is not there.
    pub fn mount_directory(&mut self, path: &str, volume: Volume, directory: &str, read_only: bool) {
        let path = absolute("/", path);
        self.make_directories(&path);
        self.mounts.retain(|m| m.path != path);
        let base = absolute("/", directory);
        volume.make_directory(&base, self.now);
        self.mounts.push(Mount { path, volume, base: if base == "/" { String::new() } else { base }, read_only });
        self.mounts.sort_by(|a, b| b.path.len().cmp(&a.path.len()).then_with(|| a.path.cmp(&b.path)));
    }

    /// Mount points, for `df` and `mount`: path and whether it is read-only.
    pub fn mount_points(&self) -> Vec<(String, bool)> {
        let mut points: Vec<_> = self.mounts.iter().map(|m| (m.path.clone(), m.read_only)).collect();
        points.sort();
        points
    }

    /// Bytes in the files of the volume that holds `path`.
    pub fn volume_size(&self, path: &str) -> u64 {
        self.place(path).0.size()
    }

    /// Writes a file with its directories, ignoring bounds and read-only mounts: for those who set a container up.
    pub fn put(&mut self, path: &str, bytes: &[u8], mode: u32) {
        let path = absolute("/", path);
        self.make_directories(parent(&path));
        let kind = Kind::Regular(Content { head: bytes.to_vec(), zeros: 0 });
        self.insert(&path, Node { kind, mode, modified: self.now });
    }

    /// Adds an entry as it is, with its directories, ignoring bounds.
    pub fn put_node(&mut self, path: &str, kind: Kind, mode: u32) {
        let path = absolute("/", path);
        self.make_directories(parent(&path));
        self.insert(&path, Node { kind, mode, modified: self.now });
    }

    pub(super) fn make_directories(&mut self, path: &str) {
        let mut at = String::new();
        for part in path.split('/').filter(|p| !p.is_empty()) {
            at.push('/');
            at.push_str(part);
            if self.node(&at).is_none() {
                self.insert(&at, Node { kind: Kind::Directory, mode: 0o755, modified: self.now });
            }
        }
    }

    fn insert(&self, path: &str, node: Node) {
        let (volume, inner, _) = self.place(path);
        volume.tree().insert(inner, node);
    }

    /// The volume of an absolute path, the path in it and whether it is read-only.
    fn place(&self, path: &str) -> (&Volume, String, bool) {
        for mount in &self.mounts {
            if let Some(rest) = path.strip_prefix(&mount.path)
                && (rest.is_empty() || rest.starts_with('/') || mount.path == "/")
            {
                let inner = format!("{}{}", mount.base, if rest.is_empty() { String::new() } else { absolute("/", rest) });
                return (&mount.volume, if inner.is_empty() { "/".to_owned() } else { inner }, mount.read_only);
            }
        }
        let inner = if self.base.is_empty() { path.to_owned() } else { format!("{}{}", self.base, path.trim_end_matches('/')) };
        (&self.root, inner, self.sealed)
    }

    /// The entry at exactly this path, not following a link in its last component.
    pub fn node(&self, path: &str) -> Option<Node> {
        let (volume, inner, _) = self.place(path);
        if inner == "/" {
            return Some(Node { kind: Kind::Directory, mode: 0o755, modified: self.now });
        }
        volume.tree().get(&inner).cloned()
    }

    /// The path with symbolic links followed (of the last component too, when asked).
    pub fn resolve(&self, path: &str, follow_last: bool) -> Result<String, FileError> {
        let mut rest: Vec<String> = path.split('/').filter(|p| !p.is_empty()).rev().map(str::to_owned).collect();
        let mut at = String::new();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            let next = format!("{at}/{part}");
            let node = self.node(&next);
            match node.map(|n| n.kind) {
                Some(Kind::Link(target)) if follow_last || !rest.is_empty() => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(FileError::Loop);
                    }
                    let target = absolute(if at.is_empty() { "/" } else { &at }, &target);
                    at.clear();
                    rest.extend(target.split('/').filter(|p| !p.is_empty()).rev().map(str::to_owned));
                }
                Some(Kind::Directory) | None => at = next,
                Some(_) if rest.is_empty() => at = next,
                Some(_) => return Err(FileError::NotDirectory),
            }
        }
        Ok(if at.is_empty() { "/".to_owned() } else { at })
    }

    /// The entry at a path, links followed.
    pub fn stat(&self, path: &str) -> Result<Node, FileError> {
        let path = self.resolve(path, true)?;
        self.node(&path).ok_or(FileError::NoEntry)
    }

    /// A regular file's content.
    pub fn read(&self, path: &str) -> Result<Content, FileError> {
        match self.stat(path)?.kind {
            Kind::Regular(content) => Ok(content),
            Kind::Directory => Err(FileError::IsDirectory),
            Kind::Device | Kind::Socket | Kind::Link(_) => Ok(Content::default()),
        }
    }

    /// Replaces or appends to a regular file, creating it.
    pub fn write(&mut self, path: &str, content: &Content, append: bool) -> Result<(), FileError> {
        let path = self.resolve(path, true)?;
        let old = match self.node(&path) {
            Some(Node { kind: Kind::Directory, .. }) => return Err(FileError::IsDirectory),
            Some(Node { kind: Kind::Device, .. }) => return Ok(()),
            other => other,
        };
        if old.is_none() {
            self.check_parent(&path)?;
        }
        let (volume, inner, read_only) = self.place(&path);
        if read_only {
            return Err(FileError::ReadOnly);
        }
        let mut tree = volume.tree();
        let stored: u64 = tree.values().map(|n| if let Kind::Regular(c) = &n.kind { c.head.len() as u64 } else { 0 }).sum();
        let size: u64 = tree.values().map(Node::size).sum();
        let mode = old.as_ref().map_or(0o644, |n| n.mode);
        let mut new = match old {
            Some(Node { kind: Kind::Regular(content), .. }) if append => content,
            _ => Content::default(),
        };
        let grows = content.head.len() as u64 + if content.head.is_empty() { 0 } else { new.zeros };
        if stored + grows > BYTES_MAX || size + content.len() > SIZE_MAX || tree.len() >= ENTRIES_MAX {
            return Err(FileError::NoSpace);
        }
        if !content.head.is_empty() {
            let zeros = usize::try_from(new.zeros).map_err(|_| FileError::NoSpace)?;
            new.head.resize(new.head.len() + zeros, 0);
            new.zeros = 0;
            new.head.extend_from_slice(&content.head);
        }
        new.zeros += content.zeros;
        tree.insert(inner, Node { kind: Kind::Regular(new), mode, modified: self.now });
        Ok(())
    }

    fn check_parent(&self, path: &str) -> Result<(), FileError> {
        match self.stat(parent(path)) {
            Ok(node) if node.is_directory() => Ok(()),
            Ok(_) => Err(FileError::NotDirectory),
            Err(error) => Err(error),
        }
    }

    /// Adds an entry where there is none.
    pub fn create(&mut self, path: &str, kind: Kind, mode: u32) -> Result<(), FileError> {
        let path = self.resolve(path, false)?;
        if self.node(&path).is_some() {
            return Err(FileError::Exists);
        }
        self.check_parent(&path)?;
        let (volume, inner, read_only) = self.place(&path);
        if read_only {
            return Err(FileError::ReadOnly);
        }
        let mut tree = volume.tree();
        if tree.len() >= ENTRIES_MAX {
            return Err(FileError::NoSpace);
        }
        tree.insert(inner, Node { kind, mode, modified: self.now });
        Ok(())
    }

    /// Changes mode or time of an entry.
    pub fn change(&mut self, path: &str, f: impl FnOnce(&mut Node)) -> Result<(), FileError> {
        let path = self.resolve(path, true)?;
        let (volume, inner, read_only) = self.place(&path);
        if read_only {
            return Err(FileError::ReadOnly);
        }
        match volume.tree().get_mut(&inner) {
            Some(node) => {
                f(node);
                Ok(())
            }
            None if inner == "/" => Ok(()),
            None => Err(FileError::NoEntry),
        }
    }

    /// Removes a file, link or empty directory.
    pub fn remove(&mut self, path: &str) -> Result<(), FileError> {
        let path = self.resolve(path, false)?;
        let node = self.node(&path).ok_or(FileError::NoEntry)?;
        if node.is_directory() && !self.list(&path)?.is_empty() {
            return Err(FileError::NotEmpty);
        }
        let (volume, inner, read_only) = self.place(&path);
        if inner == "/" || self.mounts.iter().any(|m| m.path == path) {
            return Err(FileError::Busy);
        }
        if read_only {
            return Err(FileError::ReadOnly);
        }
        volume.tree().remove(&inner);
        Ok(())
    }

    /// Names in a directory, sorted.
    pub fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let path = self.resolve(path, true)?;
        if !self.node(&path).ok_or(FileError::NoEntry)?.is_directory() {
            return Err(FileError::NotDirectory);
        }
        let (volume, inner, _) = self.place(&path);
        let prefix = if inner == "/" { "/".to_owned() } else { format!("{inner}/") };
        let tree = volume.tree();
        Ok(tree
            .range(prefix.clone()..)
            .map_while(|(key, _)| key.strip_prefix(&prefix))
            .filter(|name| !name.is_empty() && !name.contains('/'))
            .map(str::to_owned)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(t: &str) -> Content {
        Content { head: t.as_bytes().to_vec(), zeros: 0 }
    }

    #[test]
    fn two_containers_share_a_mounted_volume_and_nothing_else() {
        let volume = Volume::default();
        let (mut a, mut b) = (Files::for_image("busybox"), Files::for_image("debian-slim"));
        a.mount("/cache", volume.clone(), false);
        b.mount("/srv/cache/", volume, true);
        a.write("/cache/x", &text("1"), false).unwrap();
        assert_eq!(b.read("/srv/cache/x").unwrap(), text("1"));
        assert_eq!(b.write("/srv/cache/y", &text("2"), false), Err(FileError::ReadOnly));
        a.write("/tmp/own", &text("1"), false).unwrap();
        assert_eq!(b.read("/tmp/own"), Err(FileError::NoEntry));
        assert_eq!(a.list("/cache").unwrap(), ["x"]);
        assert_eq!(a.remove("/cache"), Err(FileError::NotEmpty));
    }

    #[test]
    fn zeros_cost_nothing_and_stored_bytes_are_bounded() {
        let mut files = Files::for_image("busybox");
        files.write("/tmp/big", &Content { head: Vec::new(), zeros: 10 << 30 }, false).unwrap();
        assert_eq!(files.stat("/tmp/big").unwrap().size(), 10 << 30);
        assert_eq!(files.write("/tmp/big", &text("x"), true), Err(FileError::NoSpace));
        let too_much = Content { head: vec![1; usize::try_from(BYTES_MAX).unwrap() + 1], zeros: 0 };
        assert_eq!(files.write("/tmp/y", &too_much, false), Err(FileError::NoSpace));
    }

    #[test]
    fn links_are_followed_and_loops_end() {
        let mut files = Files::for_image("busybox");
        files.put("/etc/app/real.conf", b"a", 0o644);
        files.create("/tmp/l", Kind::Link("../etc/app".to_owned()), 0o777).unwrap();
        assert_eq!(files.read("/tmp/l/real.conf").unwrap(), text("a"));
        files.create("/tmp/m", Kind::Link("m".to_owned()), 0o777).unwrap();
        assert_eq!(files.read("/tmp/m"), Err(FileError::Loop));
    }
}
