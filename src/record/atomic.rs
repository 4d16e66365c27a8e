//! Files that are either old or new, never half. Input: a path and bytes; output: the file.

use std::io::Write;

use camino::{Utf8Path, Utf8PathBuf};

/// How the names of temporary files begin.
const TEMPORARY: &str = ".tmp-";
/// Folders below folders that are looked into.
const DEEPEST: usize = 4;

/// Why a file could not be replaced.
#[derive(Debug, thiserror::Error)]
#[error("failed to write {path}")]
pub struct AtomicWriteError {
    /// The file.
    pub path: Utf8PathBuf,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

/// Writes a file by way of a temporary one in the same folder, so that a reader or a crash never meets half of it.
/// Folders that are missing are made.
pub fn write_atomically(path: &Utf8Path, bytes: &[u8]) -> Result<(), AtomicWriteError> {
    replace(path, bytes).map_err(|source| AtomicWriteError { path: path.to_owned(), source })
}

fn replace(path: &Utf8Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
    fs_err::create_dir_all(folder)?;
    let mut options = tempfile::Builder::new();
    options.prefix(TEMPORARY);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Results are shared; the default of temporary files (0600) would follow them. The umask still applies.
        options.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = options.tempfile_in(folder)?;
    // Tells [`sweep`] that somebody is at it; where there are no locks, nothing is swept either.
    let _none = file.as_file().try_lock();
    file.write_all(bytes)?;
    file.as_file().sync_data()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Removes what was left by writers that were killed: temporary files that nobody holds, in a folder and those below it.
pub(super) fn sweep(folder: &Utf8Path) -> std::io::Result<()> {
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in folder.read_dir_utf8()? {
            let (entry, path) = entry.map(|e| (e.file_type(), e.into_path()))?;
            let entry = entry?;
            if entry.is_dir() && depth < DEEPEST {
                folders.push((path, depth + 1));
            } else if entry.is_file() && path.file_name().is_some_and(|name| name.starts_with(TEMPORARY)) {
                let free = fs_err::File::open(&path).is_ok_and(|file| file.file().try_lock().is_ok());
                match if free { fs_err::remove_file(&path) } else { Ok(()) } {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                    // Its writer was done in between.
                    Ok(()) | Err(_) => {}
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_killed_left_is_swept_and_what_others_are_at_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let (left, held, other) = (root.join("a/b/.tmp-left"), root.join("a/.tmp-held"), root.join("a/kept"));
        for path in [&left, &held, &other] {
            write_atomically(path, b"x").unwrap();
        }
        let holder = fs_err::File::open(&held).unwrap();
        holder.file().lock().unwrap();
        sweep(root).unwrap();
        assert!(!left.exists() && held.exists() && other.exists());
        drop(holder);
        sweep(root).unwrap();
        assert!(!held.exists());
    }

    #[test]
    fn replaces_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("a/b.json");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"two");
        assert_eq!(fs_err::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn failure_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(dir.path()).unwrap().join("taken");
        fs_err::create_dir(&folder).unwrap();
        fs_err::write(folder.join("x"), "x").unwrap();
        let error = write_atomically(&folder, b"a file where a folder is").unwrap_err();
        assert_eq!(error.to_string(), format!("failed to write {folder}"));
        assert!(std::error::Error::source(&error).is_some());
    }
}
