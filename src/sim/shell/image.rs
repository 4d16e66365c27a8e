//! What an image family contains: programs and the root's files.

use super::files::{Files, Kind};

/// Programs of coreutils and the other packages that Debian marks essential.
const DEBIAN_SLIM: &str = "[ arch awk base64 basename bash cat chgrp chmod chown chroot cksum clear cmp comm cp cut dash date dd df diff dirname \
 du echo egrep env expand expr false fgrep find fold getent grep groups gzip gunzip head hostid hostname id join kill ln ls \
 mawk md5sum mkdir mktemp mount mv nice nl nohup nproc od paste perl printenv printf pwd readlink realpath rev rm rmdir sed seq sh sha1sum sha256sum \
 shuf sleep sort split stat stty sync tac tail tar tee test timeout touch tr true truncate tty uname uniq wc which whoami xargs yes zcat";

/// What the full image adds: procps, iproute2, curl, wget and others (buildpack-deps has them).
const DEBIAN: &str = "free pgrep pidof pkill ps top uptime watch curl wget nc ip ss tc ping nslookup dig host vi";

/// Applets of busybox.
const BUSYBOX: &str = "[ [[ arch ash awk base64 basename cat chgrp chmod chown chroot clear cmp cp cut date dd df diff dirname du echo egrep env \
 expr factor false fgrep find fold free fsync getopt grep groups gunzip gzip head hexdump hostid hostname id ifconfig ip kill killall less ln ls md5sum \
 mkdir mkfifo mktemp more mount mv nc netstat nice nl nohup nproc nslookup od paste pgrep pidof ping pkill printenv printf ps pwd readlink \
 realpath rev rm rmdir sed seq sh sha1sum sha256sum shuf sleep sort split stat stty sync tac tail tar tee test time timeout top touch tr true \
 truncate tty uname uniq uptime usleep vi watch wc wget which whoami xargs yes zcat";

/// Whether a family's tools are busybox applets.
pub(crate) fn is_busybox(family: &str) -> bool {
    matches!(family, "busybox" | "alpine")
}

/// Every program name of a family, in no particular order.
pub(crate) fn programs(family: &str) -> Vec<&'static str> {
    let lists: &[&str] = match family {
        "busybox" => &[BUSYBOX],
        "alpine" => &[BUSYBOX, "apk getent"],
        "debian" => &[DEBIAN_SLIM, DEBIAN, "apt apt-get dpkg"],
        "debian-slim" => &[DEBIAN_SLIM, "apt apt-get dpkg"],
        _ => &[],
    };
    lists.iter().flat_map(|l| l.split_ascii_whitespace()).collect()
}

/// The directory where a program lives.
pub(crate) fn directory(family: &str) -> &'static str {
    if is_busybox(family) { "/bin" } else { "/usr/bin" }
}

/// Fills an empty root.
pub(crate) fn populate(files: &mut Files, family: &str) {
    for directory in ["/proc", "/sys", "/dev", "/etc", "/tmp", "/var/run", "/run", "/root", "/home", "/usr"] {
        files.put_node(directory, Kind::Directory, if directory == "/tmp" { 0o1777 } else { 0o755 });
    }
    for device in ["null", "zero", "random", "urandom", "full", "tty"] {
        files.put_node(&format!("/dev/{device}"), Kind::Device, 0o666);
    }
    for (name, target) in
        [("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"), ("fd", "/proc/self/fd")]
    {
        files.put_node(&format!("/dev/{name}"), Kind::Link(target.to_owned()), 0o777);
    }
    let release = match family {
        "alpine" => {
            "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.22.1\nPRETTY_NAME=\"Alpine Linux v3.22\"\nHOME_URL=\"https://alpinelinux.org/\"\n"
        }
        "debian" | "debian-slim" | "distroless" => {
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n"
        }
        _ => "",
    };
    if !release.is_empty() {
        files.put("/etc/os-release", release.as_bytes(), 0o644);
    }
    match family {
        "alpine" => files.put("/etc/alpine-release", b"3.22.1\n", 0o644),
        "debian" | "debian-slim" => files.put("/etc/debian_version", b"12.11\n", 0o644),
        _ => {}
    }
    files.put("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n", 0o644);
    files.put("/etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644);
    let home = directory(family);
    if home == "/usr/bin" {
        files.put_node("/usr/bin", Kind::Directory, 0o755);
        if family != "distroless" {
            files.put_node("/bin", Kind::Link("usr/bin".to_owned()), 0o777);
        }
    }
    for program in programs(family) {
        let path = format!("{home}/{program}");
        if home == "/bin" && program != "sh" {
            files.put_node(&path, Kind::Link("/bin/busybox".to_owned()), 0o777);
        } else {
            files.put(&path, b"\x7fELF", 0o755);
        }
    }
    if home == "/bin" {
        files.put("/bin/busybox", b"\x7fELF", 0o755);
    }
}
