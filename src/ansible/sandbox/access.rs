//! Landlock: which files a process may touch, which TCP ports it may use, whom it may signal.
//!
//! Input: a policy; effect: this process and all its descendants are confined to it, for good. They also cannot look
//! into processes outside: their memory, open files and environment.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

use super::policy::Policy;

/// What we know how to use; the kernel may know less.
const KNOWN: ABI = ABI::V6;

/// What programs need of the system. Not `/etc` as a whole: it holds keys and password hashes.
const SYSTEM: [&str; 11] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/proc", "/sys"];

/// What programs and Ansible's facts read of `/etc`.
const ETC: [&str; 63] = [
    "alpine-release",
    "alternatives",
    "ansible",
    "arch-release",
    "bash.bashrc",
    "bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "centos-release",
    "crypto-policies",
    "debian_version",
    "environment",
    "fedora-release",
    "fstab",
    "gai.conf",
    "gentoo-release",
    "group",
    "host.conf",
    "hostname",
    "hosts",
    "init.d",
    "inputrc",
    "issue",
    "issue.net",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld.so.preload",
    "locale.alias",
    "locale.conf",
    "localtime",
    "login.defs",
    "lsb-release",
    "machine-id",
    "magic",
    "mime.types",
    "mtab",
    "nsswitch.conf",
    "openssl",
    "os-release",
    "passwd",
    "pki/ca-trust",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "profile",
    "profile.d",
    "protocols",
    "python3",
    "redhat-release",
    "resolv.conf",
    "rpc",
    "selinux/config",
    "services",
    "shells",
    "ssh/ssh_host_ecdsa_key.pub",
    "ssh/ssh_host_ed25519_key.pub",
    "ssh/ssh_host_rsa_key.pub",
    "ssl/certs",
    "ssl/openssl.cnf",
    "SuSE-release",
    "system-release",
    "timezone",
];

const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/fd"];

/// Confines this process. Landlock is known to be there: that it does less than asked for is decided by its version.
pub(super) fn confine(policy: &Policy) -> Result<(), RulesetError> {
    rules(policy)?.restrict_self()?;
    Ok(())
}

/// The rules, for somebody who is to confine himself by them.
pub(super) fn ruleset(policy: &Policy) -> Result<Option<OwnedFd>, RulesetError> {
    Ok(rules(policy)?.into())
}

fn rules(policy: &Policy) -> Result<RulesetCreated, RulesetError> {
    let read = AccessFs::from_read(KNOWN);
    let change = AccessFs::from_all(KNOWN) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    let etc = ETC.map(|name| format!("/etc/{name}"));
    for path in SYSTEM.iter().map(Path::new).chain(etc.iter().map(Path::new)).chain(policy.read.iter().map(PathBuf::as_path)) {
        rules = with(rules, path, read)?;
    }
    for path in &policy.write {
        rules = with(rules, path, change)?;
    }
    for path in policy.files.iter().map(PathBuf::as_path).chain(DEVICES.iter().map(Path::new)) {
        rules = with(rules, path, device | AccessFs::Truncate)?;
    }
    for path in temporary(policy) {
        rules = with(rules, Path::new(path), change)?;
    }
    for server in &policy.servers {
        rules = rules.add_rule(NetPort::new(server.port(), AccessNet::ConnectTcp))?;
    }
    Ok(rules)
}

/// Where everybody writes. With a mount namespace these are the trial's own. Without one they are the machine's, and
/// open unless trials' folders lie there; programs cannot do without `/dev/shm`.
fn temporary(policy: &Policy) -> Vec<&'static str> {
    let mut all = vec!["/dev/shm"];
    if policy.layers.namespaces || !policy.tmp.starts_with("/tmp") {
        all.extend(["/tmp", "/var/tmp"]);
    }
    all
}

/// Adds a path that may not exist.
fn with(rules: RulesetCreated, path: &Path, rights: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    // Rights on what folders hold make no sense for a file.
    let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(KNOWN) };
    rules.add_rule(PathBeneath::new(opened, rights))
}
