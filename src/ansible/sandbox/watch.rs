//! Watches from outside what the kernel does not limit for a whole tree of processes: their number, their memory, and the
//! space that their files take.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::family::up_to;
use super::limits::Limits;
use crate::beside::beside;

const LOOK_EVERY: Duration = Duration::from_millis(40);
/// Every so many looks the folder is measured.
const MEASURE_EVERY: u32 = 8;
/// More files than this are too many, however small they are.
const MOST_FILES: usize = 100_000;

/// What to watch.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) limits: Limits,
    /// The trial's folder.
    pub(crate) folder: PathBuf,
}

impl Watch {
    /// Resolves when a limit is exceeded by these processes and all that they started; the text names it.
    pub(crate) async fn exceeded(&self, leaders: &[i32]) -> String {
        let mut looks = 0_u32;
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            looks = looks.wrapping_add(1);
            let most = usize::try_from(self.limits.processes).unwrap_or(usize::MAX);
            let family: Vec<i32> = leaders.iter().flat_map(|leader| up_to(*leader, most)).collect();
            if family.len() as u64 > self.limits.processes {
                return self.crowd();
            }
            let (mut tasks, mut memory) = (0_u64, 0_u64);
            for pid in &family {
                let (threads, pages) = usage(*pid);
                tasks = tasks.saturating_add(threads);
                memory = memory.saturating_add(pages.saturating_mul(page));
            }
            if tasks > self.limits.processes {
                return self.crowd();
            }
            if memory > self.limits.memory {
                return format!("more than {} MiB of memory", self.limits.memory >> 20);
            }
            if looks.is_multiple_of(MEASURE_EVERY) {
                let folder = self.folder.clone();
                let most = self.limits.disk;
                let full = beside(move || exceeds(&folder, most)).await.unwrap_or(false);
                if full {
                    return format!("more than {} MiB of files, or more than {MOST_FILES} of them", self.limits.disk >> 20);
                }
            }
        }
    }
}

impl Watch {
    fn crowd(&self) -> String {
        format!("more than {} processes", self.limits.processes)
    }
}

/// Threads of a process, and pages of memory that it has for itself.
fn usage(pid: i32) -> (u64, u64) {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, |t| t.count() as u64);
    let pages = fs::read_to_string(format!("/proc/{pid}/statm")).ok().and_then(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1).map(|f| f.parse::<u64>().ok());
        let (resident, shared) = (fields.next()??, fields.next()??);
        Some(resident.saturating_sub(shared))
    });
    (threads, pages.unwrap_or(0))
}

/// Whether a folder holds more than so many bytes, without following links.
fn exceeds(folder: &Path, most: u64) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (mut todo, mut bytes, mut files) = (vec![folder.to_owned()], 0_u64, 0_usize);
    while let Some(folder) = todo.pop() {
        // A folder that the child took its own rights from cannot be filled either.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(about) = entry.metadata() else { continue };
            files += 1;
            bytes = bytes.saturating_add(about.blocks().saturating_mul(512));
            if bytes > most || files > MOST_FILES {
                return true;
            }
            if about.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_measured_without_following_links() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("in/file"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("out")).unwrap();
        assert!(exceeds(dir.path(), 50_000));
        assert!(!exceeds(dir.path(), 1_000_000));
    }

    #[test]
    fn this_process_has_threads_and_memory() {
        let (threads, pages) = usage(i32::try_from(std::process::id()).unwrap());
        assert!(threads >= 1 && pages > 0, "{threads} {pages}");
        assert_eq!(usage(-1), (0, 0));
    }

    #[tokio::test]
    async fn too_many_processes_are_noticed() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 60 & sleep 60 & sleep 60 & wait"]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let watch = Watch { limits: Limits { processes: 2, ..Limits::default() }, folder: "/nowhere".into() };
        let why = tokio::time::timeout(Duration::from_secs(20), watch.exceeded(&[pid])).await.unwrap();
        assert_eq!(why, "more than 2 processes");
        super::super::family::kill_descendants(pid);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
