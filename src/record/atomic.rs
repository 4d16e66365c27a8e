//! Files that are either old or new, never half. Input: a path and bytes; output: the file.

use std::io::Write;

use camino::{Utf8Path, Utf8PathBuf};

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
    options.prefix(".tmp-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Results are shared; the default of temporary files (0600) would follow them. The umask still applies.
        options.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = options.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_data()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
