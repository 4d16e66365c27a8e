//! Namespaces: users, mounts, processes, messages.
//!
//! Input: a policy; effect: the next child of this process is the first of a process namespace, sees its own `/tmp` and
//! `/dev/shm`, and has no rights over the machine whoever it is. Must be called before there is a second thread.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change};
use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::policy::Policy;

/// The first process mounts its own `/proc` and then drops what it has.
const NEEDED: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::SETPCAP).union(CapabilitySet::SYS_RESOURCE);
const SHARED_MEMORY: &std::ffi::CStr = c"size=64m,mode=1777";
/// The smallest that the kernel takes.
const FEWEST_IDS: u64 = 301;

/// Leaves the machine's namespaces. The child must then call [`settle`].
pub(super) fn enter(policy: &Policy) -> std::io::Result<()> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC)?;
    // Root may keep all users apart; everybody else has only themselves.
    if user != 0 || fs::write("/proc/self/uid_map", "0 0 4294967295").is_err() || fs::write("/proc/self/gid_map", "0 0 4294967295").is_err()
    {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
        fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    }
    let work = std::env::current_dir()?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let kept = below_tmp(policy)?;
    mount_bind_recursive(&policy.tmp, "/tmp")?;
    // Not every machine has it.
    if Path::new("/var/tmp").is_dir() {
        mount_bind_recursive("/tmp", "/var/tmp")?;
    }
    for (path, opened) in kept {
        let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
        if fs::metadata(&source)?.is_dir() {
            fs::create_dir_all(&path)?;
        } else {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::File::create(&path)?;
        }
        mount_bind_recursive(&source, &path)?;
    }
    mount("tmpfs", "/dev/shm", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, SHARED_MEMORY)?;
    std::env::set_current_dir(work)?;
    if user != 0 {
        // Kept across the start of the inner launcher, which starts as nobody special.
        let all = rustix::thread::capabilities(None)?;
        set_capabilities(None, CapabilitySets { inheritable: NEEDED, ..all })?;
        for one in NEEDED.iter() {
            rustix::thread::configure_capability_in_ambient_set(one, true)?;
        }
    }
    Ok(())
}

/// What has to stay visible under its path although another folder becomes `/tmp`.
fn below_tmp(policy: &Policy) -> std::io::Result<Vec<(PathBuf, OwnedFd)>> {
    let mut paths: Vec<&PathBuf> =
        policy.read.iter().chain(&policy.write).chain(&policy.files).chain([&policy.program, &policy.trouble]).collect();
    paths.retain(|p| (p.starts_with("/tmp") || p.starts_with("/var/tmp")) && p.exists());
    paths.sort();
    let mut kept: Vec<(PathBuf, OwnedFd)> = Vec::new();
    for path in paths {
        if !kept.iter().any(|(above, _)| path.starts_with(above)) {
            let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            kept.push((path.clone(), opened));
        }
    }
    Ok(kept)
}

/// As the first process of the new namespaces: shows only them in `/proc`.
pub(super) fn settle(policy: &Policy) {
    // In a container `/proc` may be partly covered, and then no new one is allowed. The old one stays: it shows names of
    // other processes, and the other layers keep them out of reach.
    let _covered = mount("proc", "/proc", "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None);
    // Older kernels have one limit for all; there the limit of processes of a user and the runner's watch hold.
    let most = policy.limits.processes.max(FEWEST_IDS);
    let _older = fs::write("/proc/sys/kernel/pid_max", most.to_string());
}
