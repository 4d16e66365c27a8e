//! Namespaces: users, mounts, processes, messages, networks.
//!
//! Input: a policy; effect: the next child of this process is the first of a process namespace, sees its own `/tmp` and
//! `/dev/shm`, and has no rights over the machine whoever it is. Must be called before there is a second thread.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change, mount_remount};
use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::policy::Policy;

/// The first process mounts its own `/proc` and then drops what it has.
const NEEDED: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::SETPCAP).union(CapabilitySet::SYS_RESOURCE);
const HOSTS: &str = "/etc/hosts";
const SHARED_MEMORY: &std::ffi::CStr = c"size=64m,mode=1777";
/// The smallest that the kernel takes.
const FEWEST_IDS: u64 = 301;

/// Leaves the machine's namespaces. The child must then call [`settle`].
pub(super) fn enter(policy: &Policy) -> std::io::Result<()> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let mut spaces = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC;
    spaces.set(CloneFlags::CLONE_NEWNET, policy.layers.network);
    unshare(spaces)?;
    // Root may keep all users apart; everybody else has only themselves.
    if user != 0 || fs::write("/proc/self/uid_map", "0 0 4294967295").is_err() || fs::write("/proc/self/gid_map", "0 0 4294967295").is_err()
    {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
        fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    }
    let work = std::env::current_dir()?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // Not every machine has it.
    if let Some(hosts) = policy.hosts.as_ref().filter(|_| policy.layers.network && Path::new(HOSTS).is_file()) {
        mount_bind_recursive(hosts, HOSTS)?;
    }
    let kept = below_tmp(policy.read.iter().chain([&policy.program]), true)?;
    let changing = below_tmp(policy.write.iter().chain(&policy.files), false)?;
    mount_bind_recursive(&policy.tmp, "/tmp")?;
    // Not every machine has it.
    if Path::new("/var/tmp").is_dir() {
        mount_bind_recursive("/tmp", "/var/tmp")?;
    }
    for (path, opened) in &kept {
        let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
        if fs::metadata(&source)?.is_dir() {
            fs::create_dir_all(path)?;
        } else {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::File::create(path)?;
        }
        mount_bind_recursive(&source, path)?;
    }
    // Landlock opens `/tmp` as a whole, so what lies in there is closed again here, but for what may be changed.
    for (path, _) in &kept {
        mount_remount(path, kept_flags(path)? | MountFlags::BIND | MountFlags::RDONLY, "")?;
    }
    for (path, opened) in changing {
        mount_bind_recursive(format!("/proc/self/fd/{}", opened.as_raw_fd()), path)?;
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
fn below_tmp<'a>(paths: impl Iterator<Item = &'a PathBuf>, highest: bool) -> std::io::Result<Vec<(PathBuf, OwnedFd)>> {
    let mut paths: Vec<&PathBuf> = paths.collect();
    paths.retain(|p| (p.starts_with("/tmp") || p.starts_with("/var/tmp")) && p.exists());
    paths.sort();
    let mut kept: Vec<(PathBuf, OwnedFd)> = Vec::new();
    for path in paths {
        if !highest || !kept.iter().any(|(above, _)| path.starts_with(above)) {
            let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            kept.push((path.clone(), opened));
        }
    }
    Ok(kept)
}

/// What the kernel does not let a new mount of the same file system be without.
fn kept_flags(path: &Path) -> std::io::Result<MountFlags> {
    let now = rustix::fs::statvfs(path)?.f_flag;
    let pairs = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
    ];
    Ok(pairs.into_iter().filter(|(has, _)| now.contains(*has)).fold(MountFlags::empty(), |all, (_, flag)| all | flag))
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
