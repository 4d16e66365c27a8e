//! Where data files come from: the copies built into the program, overlaid by a folder.
//!
//! Inputs: a folder named, or the folder to look from; outputs: texts by their path below the root (`faults/x.toml`).

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

use super::kind::Kind;
use crate::diagnostic::{Diagnostic, Diagnostics};

/// The folders of a root.
pub const FOLDERS: [&str; 6] = ["systems", "faults", "prompts", "pipelines", "experiments", "models"];
/// Deepest nesting of folders read.
const DEEPEST: usize = 8;
/// Largest file read.
const LARGEST: u64 = 4 << 20;

static BUILT_IN: [(&str, Dir<'static>); 6] = [
    ("systems", include_dir!("$CARGO_MANIFEST_DIR/systems")),
    ("faults", include_dir!("$CARGO_MANIFEST_DIR/faults")),
    ("prompts", include_dir!("$CARGO_MANIFEST_DIR/prompts")),
    ("pipelines", include_dir!("$CARGO_MANIFEST_DIR/pipelines")),
    ("experiments", include_dir!("$CARGO_MANIFEST_DIR/experiments")),
    ("models", include_dir!("$CARGO_MANIFEST_DIR/models")),
];

/// A data file's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path as people see it.
    pub shown: Utf8PathBuf,
    /// The text.
    pub text: Arc<str>,
    /// SHA-256 of the text, hexadecimal.
    pub digest: Arc<str>,
}

impl SourceFile {
    /// Of a text.
    pub fn new(shown: Utf8PathBuf, text: &str) -> Self {
        Self { shown, text: text.into(), digest: hex(&Sha256::digest(text.as_bytes())).into() }
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

/// Why no root could be had.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The folder named is no folder.
    #[error("{0} is no folder")]
    NoFolder(Utf8PathBuf),
}

/// Where data files are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    built_in: bool,
    folder: Option<Utf8PathBuf>,
}

impl Root {
    /// The built-in files alone.
    pub fn built_in() -> Self {
        Self { built_in: true, folder: None }
    }

    /// A folder over the built-in files: it may hold just what it adds or changes.
    pub fn folder(path: impl Into<Utf8PathBuf>) -> Self {
        Self { built_in: true, folder: Some(path.into()) }
    }

    /// A folder alone.
    pub fn only(path: impl Into<Utf8PathBuf>) -> Self {
        Self { built_in: false, folder: Some(path.into()) }
    }

    /// The folder named; else the first folder from `from` upwards that has `systems/` and `faults/`; else the built-in files.
    pub fn find(named: Option<&Utf8Path>, from: &Utf8Path) -> Result<Self, RootError> {
        if let Some(path) = named {
            return if path.is_dir() { Ok(Self::folder(path)) } else { Err(RootError::NoFolder(path.to_owned())) };
        }
        let found = from.ancestors().find(|p| p.join("systems").is_dir() && p.join("faults").is_dir());
        Ok(found.map_or_else(Self::built_in, Self::folder))
    }

    /// The folder, when there is one.
    pub fn path(&self) -> Option<&Utf8Path> {
        self.folder.as_deref()
    }

    /// All texts by path below the root. A manifest of the folder replaces the built-in one of its name, whatever the format.
    pub fn read(&self) -> (BTreeMap<String, SourceFile>, Diagnostics) {
        let mut files = BTreeMap::new();
        let mut diagnostics = Diagnostics::new();
        if self.built_in {
            for (name, dir) in &BUILT_IN {
                built_in(name, dir, &mut files);
            }
        }
        if let Some(folder) = &self.folder {
            let mut own = BTreeMap::new();
            for name in FOLDERS {
                walk(&folder.join(name), name, DEEPEST, &mut (&mut own, &mut diagnostics));
            }
            let names: Vec<_> = own.keys().filter_map(|p| Kind::of_path(p)).collect();
            files.retain(|path, _| Kind::of_path(path).is_none_or(|k| !names.contains(&k)));
            files.extend(own);
        }
        (files, diagnostics)
    }
}

fn built_in(name: &str, dir: &'static Dir<'static>, files: &mut BTreeMap<String, SourceFile>) {
    for file in dir.files() {
        if let (Some(path), Some(text)) = (file.path().to_str(), file.contents_utf8()) {
            let path = format!("{name}/{path}");
            files.insert(path.clone(), SourceFile::new(Utf8PathBuf::from("(built in)").join(path), text));
        }
    }
    for dir in dir.dirs() {
        built_in(name, dir, files);
    }
}

fn walk(dir: &Utf8Path, below: &str, depth: usize, found: &mut (&mut BTreeMap<String, SourceFile>, &mut Diagnostics)) {
    let complain = |found: &mut (&mut BTreeMap<String, SourceFile>, &mut Diagnostics), path: &Utf8Path, what: String| {
        found.1.push(Diagnostic::new("unreadable_file", path, "".into(), what));
    };
    if !dir.is_dir() {
        return;
    }
    if depth == 0 {
        return complain(found, dir, "folders are nested too deeply here".to_owned());
    }
    let entries = match dir.read_dir_utf8() {
        Ok(entries) => entries,
        Err(e) => return complain(found, dir, format!("failed to read the folder: {e}")),
    };
    let mut paths: Vec<Utf8PathBuf> = entries.filter_map(Result::ok).map(camino::Utf8DirEntry::into_path).collect();
    paths.sort();
    for path in paths {
        let Some(name) = path.file_name().filter(|n| !n.starts_with('.') && !n.ends_with('~')) else { continue };
        let below = format!("{below}/{name}");
        if path.is_dir() {
            walk(&path, &below, depth - 1, found);
        } else if path.metadata().is_ok_and(|m| m.len() > LARGEST) {
            complain(found, &path, "the file is larger than 4 MiB".to_owned());
        } else {
            match fs_err::read_to_string(&path) {
                Ok(text) => {
                    found.0.insert(below, SourceFile::new(path, &text));
                }
                Err(e) => complain(found, &path, format!("failed to read the file: {}", e.kind())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_overlays_by_name_whatever_the_format() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        fs_err::create_dir_all(root.join("models")).unwrap();
        fs_err::write(root.join("models/noop.yaml"), "name: noop\n").unwrap();
        let (files, diagnostics) = Root::folder(root).read();
        assert!(diagnostics.is_empty());
        assert!(files.contains_key("models/noop.yaml") && !files.contains_key("models/noop.toml"));
        assert!(files.contains_key("models/gold.toml"));
    }

    #[test]
    fn the_root_is_looked_for_upwards() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        for d in ["systems", "faults", "a/b"] {
            fs_err::create_dir_all(root.join(d)).unwrap();
        }
        assert_eq!(Root::find(None, &root.join("a/b")).unwrap().path(), Some(root));
        assert!(Root::find(Some(&root.join("nowhere")), root).is_err());
    }

    #[test]
    fn unreadable_text_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        fs_err::create_dir_all(root.join("faults")).unwrap();
        fs_err::write(root.join("faults/x.toml"), [0xff, 0xfe]).unwrap();
        assert_eq!(Root::only(root).read().1.len(), 1);
    }
}
