//! The run's private folder for its trials. Input: the system's temporary folder; output: a folder that goes away with the
//! run. What a killed run left behind is removed by the next one: a lock in the folder shows whether its run is alive.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::failure::Failure;

const PREFIX: &str = "microremed-";
const OWNER: &str = "owner.lock";
/// A folder younger than this may not hold its lock yet.
const SETTLED: Duration = Duration::from_mins(1);

/// A folder that is removed when this is dropped.
pub(super) struct WorkFolder {
    path: Utf8PathBuf,
    _folder: tempfile::TempDir,
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
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&temporary).map_err(failed)?;
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned())
            .map_err(|p| Failure::harness(format!("the path of the temporary folder is not UTF-8: {}", p.display())))?;
        let lock = File::create(path.join(OWNER)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(Self { path, _folder: folder, _lock: lock })
    }

    pub(super) fn path(&self) -> &Utf8Path {
        &self.path
    }
}

/// Removes folders whose run is gone. Whatever cannot be removed is somebody else's, or stays for the next time.
fn sweep(temporary: &Path, settled: Duration) {
    for entry in std::fs::read_dir(temporary).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(OWNER)) else { continue };
        let old = lock.metadata().and_then(|m| m.modified()).is_ok_and(|t| t.elapsed().is_ok_and(|age| age >= settled));
        if old && lock.try_lock().is_ok() {
            let _removed = std::fs::remove_dir_all(entry.path());
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
        drop(make("microremed-dead"));
        drop(make("other-dead"));
        std::fs::create_dir(dir.path().join("microremed-without-lock")).unwrap();
        sweep(dir.path(), SETTLED);
        assert!(dir.path().join("microremed-dead").exists(), "it is too young");
        sweep(dir.path(), Duration::ZERO);
        let left = |name: &str| dir.path().join(name).exists();
        assert_eq!(["microremed-alive", "microremed-dead", "other-dead", "microremed-without-lock"].map(left), [true, false, true, true]);
    }
}
