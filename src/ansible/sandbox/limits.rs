//! Limits on what a child and everything it starts may use up.
//!
//! Those that the kernel keeps by itself are set by the launcher; the others are watched by the runner ([`super::watch`]).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// What one child may use, with all its descendants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Processes and threads at a time.
    pub processes: u64,
    /// Bytes of memory of all processes together; none of them may reserve more than twice as much.
    pub memory: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of all files in the trial's folder.
    pub disk: u64,
    /// Open files of a process.
    pub open_files: u64,
    /// Seconds of processor time of a process.
    pub cpu_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { processes: 512, memory: 2 << 30, file: 128 << 20, disk: 256 << 20, open_files: 1024, cpu_s: 900 }
    }
}

/// kubectl reserves far more address space than it uses.
const RESERVED: u64 = 2;

impl Limits {
    /// Sets what the kernel keeps for this process and those it will start. `own_users`: processes are counted for this
    /// child alone, not for the user as a whole.
    pub(super) fn set(&self, own_users: bool) -> rustix::io::Result<()> {
        self.list(own_users).into_iter().try_for_each(|(resource, limit)| lower(resource, limit))
    }

    /// What the kernel keeps.
    pub(super) fn list(&self, own_users: bool) -> Vec<(Resource, u64)> {
        let mut list = vec![
            (Resource::As, self.memory.saturating_mul(RESERVED)),
            (Resource::Data, self.memory),
            (Resource::Fsize, self.file),
            (Resource::Nofile, self.open_files),
            (Resource::Cpu, self.cpu_s),
            (Resource::Core, 0),
            (Resource::Memlock, 0),
            (Resource::Msgqueue, 0),
        ];
        if own_users {
            list.push((Resource::Nproc, self.processes));
        }
        list
    }
}

/// Never above what we were given.
fn lower(resource: Resource, limit: u64) -> rustix::io::Result<()> {
    let now = getrlimit(resource);
    let limit = now.maximum.map_or(limit, |most| most.min(limit));
    setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })
}
