//! The run's private folder for its trials. Input: the system's temporary folder; output: a folder that goes away with the
//! run. What a killed run left behind is removed by the next one: a lock in the folder shows whether its run is alive. A folder
//! gets its name when its lock is held, so that one without is dead, however young it is.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::failure::Failure;

const PREFIX: &str = "microremed-";
const OWNER: &str = "owner.lock";
/// Of a folder that has no lock yet; one that is older than this gets none any more.
const BEGUN: &str = ".microremed-begun-";
const SETTLED: Duration = Duration::from_mins(1);

/// A folder that is removed when this is dropped.
pub(super) struct WorkFolder {
    path: Utf8PathBuf,
    _lock: File,
}

impl WorkFolder {
    /// Makes it, and removes those of runs that were killed.
    pub(super) fn create() -> Result<Self, Failure> {
        let temporary = std::env::temp_dir();
        sweep(&temporary, SETTLED);
        let failed = |e: std::io::Error| {
            Failure::harness(format!("failed to make a temporary folder in {}: {e}", temporary.display()))
                .help("the variable TMPDIR names another folder")
        };
        let unfit = |path: &Path| Failure::harness(format!("the path of the temporary folder is not UTF-8: {}", path.display()));
        let begun = tempfile::Builder::new().prefix(BEGUN).tempdir_in(&temporary).map_err(failed)?;
        let lock = File::create(begun.path().join(OWNER)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let name = begun.path().file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(BEGUN));
        let path = temporary.join(format!("{PREFIX}{}", name.ok_or_else(|| unfit(begun.path()))?));
        let path = Utf8PathBuf::from_path_buf(path).map_err(|path| unfit(&path))?;
        std::fs::rename(begun.path(), &path).map_err(failed)?;
        // It has gone from where it was made.
        let _moved = begun.keep();
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Utf8Path {
        &self.path
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // What cannot be removed now stays for the next run.
        let _removed = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes folders whose run is gone. Whatever cannot be removed is somebody else's, or stays for the next time.
fn sweep(temporary: &Path, settled: Duration) {
    for entry in std::fs::read_dir(temporary).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let old = || entry.metadata().and_then(|m| m.modified()).is_ok_and(|t| t.elapsed().is_ok_and(|age| age >= settled));
        let dead = if name.to_string_lossy().starts_with(PREFIX) {
            File::open(path.join(OWNER)).is_ok_and(|lock| lock.try_lock().is_ok())
        } else {
            name.to_string_lossy().starts_with(BEGUN) && old()
        };
        if dead {
            let _removed = std::fs::remove_dir_all(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_dead_runs_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            File::create(dir.path().join(name).join(OWNER)).unwrap()
        };
        let alive = make("microremed-alive");
        alive.lock().unwrap();
        for name in ["microremed-dead", "other-dead", ".microremed-begun-a"] {
            drop(make(name));
        }
        std::fs::create_dir(dir.path().join("microremed-without-lock")).unwrap();
        let left = || {
            let names = ["microremed-alive", "microremed-dead", "other-dead", "microremed-without-lock", ".microremed-begun-a"];
            names.map(|name| dir.path().join(name).exists())
        };
        sweep(dir.path(), SETTLED);
        assert_eq!(left(), [true, false, true, true, true]);
        sweep(dir.path(), Duration::ZERO);
        assert_eq!(left(), [true, false, true, true, false]);
    }

    #[test]
    fn a_folder_has_its_lock_when_it_has_its_name_and_goes_with_its_owner() {
        let folder = WorkFolder::create().unwrap();
        let path = folder.path().to_owned();
        assert!(path.file_name().unwrap().starts_with(PREFIX));
        assert!(File::open(path.join(OWNER)).unwrap().try_lock().is_err());
        drop(folder);
        assert!(!path.exists());
    }
}
