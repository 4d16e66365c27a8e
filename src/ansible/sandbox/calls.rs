//! seccomp: system calls that no playbook needs and that could lead out of the sandbox.
//!
//! A list of what is denied, not of what is allowed: Ansible runs whatever is on the machine, and a program that meets a
//! denial that it does not expect would count as the model's failure. Files and addresses are Landlock's business.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Calls that are denied whatever their arguments.
const DENIED: &[libc::c_long] = &[
    // other processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    // namespaces and mounts
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // the kernel itself
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_fanotify_init,
    libc::SYS_personality,
];

#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[libc::c_long] = &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_lookup_dcookie];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[libc::c_long] = &[];

/// The second set of numbers under which an x86-64 kernel may offer its calls.
#[cfg(target_arch = "x86_64")]
const ALIAS: Option<i64> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const ALIAS: Option<i64> = None;

/// Why the filter could not be put on.
#[derive(Debug, thiserror::Error)]
pub enum CallsError {
    /// There is no filter for this processor.
    #[error("failed to build the filter of system calls")]
    Build(#[from] BackendError),
    /// The kernel refused it.
    #[error("failed to put on the filter of system calls")]
    Apply(#[from] seccompiler::Error),
}

/// Puts the filters on this process and all that it will start.
pub(super) fn confine() -> Result<(), CallsError> {
    for filter in programs()? {
        seccompiler::apply_filter(&filter)?;
    }
    Ok(())
}

/// The filters as the kernel takes them, for somebody who is to put them on himself.
pub(super) fn bytes() -> Result<Vec<Vec<u8>>, CallsError> {
    let bytes = |filter: BpfProgram| {
        filter.iter().flat_map(|one| [&one.code.to_ne_bytes()[..], &[one.jt, one.jf], &one.k.to_ne_bytes()].concat()).collect()
    };
    Ok(programs()?.into_iter().map(bytes).collect())
}

fn programs() -> Result<[BpfProgram; 2], CallsError> {
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().chain(DENIED_HERE).map(|n| (*n, Vec::new())).collect();
    denied.insert(libc::SYS_socket, sockets()?);
    denied.insert(libc::SYS_socketpair, vec![rule(vec![unlike(0, libc::AF_UNIX)?])?]);
    denied.insert(libc::SYS_clone, namespaces()?);
    // Connects on the side, past Landlock's rules for connecting.
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        denied.insert(call, vec![rule(vec![SeccompCmpOp::MaskedEq(FAST_OPEN).with(flags, libc::MSG_FASTOPEN)?])?]);
    }
    denied.insert(libc::SYS_setsockopt, vec![rule(vec![is(1, libc::IPPROTO_TCP)?, is(2, libc::TCP_ULP)?])?]);
    // Keys pressed on somebody's terminal.
    denied.insert(libc::SYS_ioctl, vec![rule(vec![is(1, libc::TIOCSTI)?])?, rule(vec![is(1, TIOCLINUX)?])?]);
    // Its flags lie in memory, where a filter cannot look. Programs take "no such call" for an old kernel and use `clone`.
    let newer = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok([program(denied, libc::EPERM)?, program(newer, libc::ENOSYS)?])
}

const FAST_OPEN: u64 = 0x2000_0000;
/// `SOCK_PACKET` of long ago.
const OLD_PACKET: libc::c_int = 10;
const TIOCLINUX: u64 = 0x541C;

fn program(mut denied: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int) -> Result<BpfProgram, CallsError> {
    if let Some(alias) = ALIAS {
        denied = denied.into_iter().flat_map(|(n, rules)| [(n, rules.clone()), (n | alias, rules)]).collect();
    }
    let here: TargetArch = std::env::consts::ARCH.try_into()?;
    let errno = SeccompAction::Errno(errno.unsigned_abs());
    Ok(SeccompFilter::new(denied, SeccompAction::Allow, errno, here)?.try_into()?)
}

/// Allowed are streams over TCP and asking the kernel for routes (facts do). Sockets in the file system are denied: Landlock
/// does not keep anybody from connecting to those of others, among them that of a container engine.
fn sockets() -> Result<Vec<SeccompRule>, BackendError> {
    let (v4, v6, netlink) = (libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK);
    let mut rules = vec![rule(vec![unlike(0, v4)?, unlike(0, v6)?, unlike(0, netlink)?])?];
    rules.push(rule(vec![is(0, netlink)?, unlike(2, libc::NETLINK_ROUTE)?])?);
    for family in [v4, v6] {
        // The lowest bits are the type; the others say how the descriptor behaves.
        let kind = |wanted: libc::c_int| SeccompCmpOp::MaskedEq(0xf).with(1, wanted);
        for wanted in [libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET, libc::SOCK_DCCP, OLD_PACKET] {
            rules.push(rule(vec![is(0, family)?, kind(wanted)?])?);
        }
        // Streams of another protocol (MPTCP, SCTP) are not under Landlock's rules for TCP.
        rules.push(rule(vec![is(0, family)?, unlike(2, 0)?, unlike(2, libc::IPPROTO_TCP)?])?);
    }
    Ok(rules)
}

/// New processes in namespaces of their own.
fn namespaces() -> Result<Vec<SeccompRule>, BackendError> {
    [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ]
    .into_iter()
    .map(|flag| {
        let flag = u64::from(flag.unsigned_abs());
        rule(vec![SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?])
    })
    .collect()
}

/// A comparison that waits for the argument's number and value.
trait With {
    fn with(self, argument: u8, value: libc::c_int) -> Result<SeccompCondition, BackendError>;
}

impl With for SeccompCmpOp {
    fn with(self, argument: u8, value: libc::c_int) -> Result<SeccompCondition, BackendError> {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, self, u64::from(value.unsigned_abs()))
    }
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions)
}

fn is(argument: u8, value: impl TryInto<u64>) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value.try_into().unwrap_or_default())
}

fn unlike(argument: u8, value: libc::c_int) -> Result<SeccompCondition, BackendError> {
    SeccompCmpOp::Ne.with(argument, value)
}
