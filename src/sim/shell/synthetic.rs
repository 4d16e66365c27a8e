//! Files that the kernel or the kubelet would make: `/proc`, `/sys/fs/cgroup`, `/etc/hosts` and their like.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::files::{Files, Kind};
use super::host::{Host, ProcessInfo};
use super::process::Machine;

/// Memory of a node in bytes, as `/proc/meminfo` shows it (containers see the node's).
pub(crate) const NODE_MEMORY: u64 = 32 << 30;
/// How much of it holds files that could be read again.
pub(crate) const CACHE: u64 = 2 << 30;
/// How much of that is buffers.
const BUFFERS: u64 = 64 << 20;
/// Processors of a node.
pub(crate) const NODE_CPUS: u32 = 8;

/// What `/etc` lacks because nobody mounted it.
pub(crate) fn provide_etc<H: Host>(machine: &Machine<H>) {
    let host = machine.host.hostname();
    let address = machine.host.address();
    let own = || {
        format!(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
             fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n{address}\t{host}\n"
        )
    };
    let hosts = machine.host.node_hosts().map_or_else(own, |text| format!("# Kubernetes-managed hosts file (host network).\n{text}"));
    let texts = [
        ("/etc/resolv.conf", machine.host.resolver()),
        ("/etc/hosts", format!("{hosts}{}", machine.host.hosts())),
        ("/etc/hostname", format!("{host}\n")),
    ];
    machine.files(|files| {
        for (path, text) in &texts {
            if files.node(path).is_none() {
                files.put(path, text.as_bytes(), 0o644);
            }
        }
    });
}

/// Load averages: what the container uses stands for the node.
pub(crate) fn load<H: Host>(machine: &Machine<H>) -> (f64, f64, f64) {
    let (cpu, _) = machine.host.usage();
    (cpu * 1.1 + 0.2, cpu + 0.3, cpu * 0.9 + 0.3)
}

/// How long the node has been up: the container's first process and some days.
pub(crate) fn uptime<H: Host>(machine: &Machine<H>) -> Duration {
    let oldest = machine.host.processes().iter().map(|p| p.age).max().unwrap_or_default();
    oldest + Duration::from_mins(4441)
}

/// Writes the generated files anew.
pub(crate) fn refresh<H: Host>(machine: &Arc<Machine<H>>) {
    let processes = machine.host.processes();
    let (cpu_limit, memory_limit) = machine.host.limits();
    let (_, memory) = machine.host.usage();
    let up = uptime(machine);
    let (one, five, fifteen) = load(machine);
    let kib = |bytes: u64| bytes / 1024;
    let available = NODE_MEMORY.saturating_sub(NODE_MEMORY / 4).saturating_sub(memory);
    let meminfo = format!(
        "MemTotal:       {:8} kB\nMemFree:        {:8} kB\nMemAvailable:   {:8} kB\nBuffers:        {:8} kB\nCached:         {:8} kB\nSwapCached:            0 kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\n",
        kib(NODE_MEMORY),
        kib(available.saturating_sub(CACHE)),
        kib(available),
        kib(BUFFERS),
        kib(CACHE - BUFFERS)
    );
    let mut cpuinfo = String::new();
    for cpu in 0..NODE_CPUS {
        let _ = write!(
            cpuinfo,
            "processor\t: {cpu}\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Processor\ncpu MHz\t\t: 2600.000\ncache size\t: 32768 KB\n\n"
        );
    }
    let cpu = machine.host.cpu();
    let (periods, times, held_back) = cpu.throttled;
    let (usec, held_back) = (format!("{:.0}", cpu.seconds * 1e6), format!("{:.0}", held_back * 1e6));
    let mut texts = vec![
        ("/proc/meminfo".to_owned(), meminfo),
        ("/proc/cpuinfo".to_owned(), cpuinfo),
        ("/proc/loadavg".to_owned(), format!("{one:.2} {five:.2} {fifteen:.2} 1/{} {}\n", processes.len() + 300, 4242)),
        ("/proc/uptime".to_owned(), format!("{:.2} {:.2}\n", up.as_secs_f64(), up.as_secs_f64() * 6.0)),
        (
            "/proc/version".to_owned(),
            "Linux version 6.1.0-37-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1\n".to_owned(),
        ),
        ("/sys/fs/cgroup/memory.current".to_owned(), format!("{memory}\n")),
        ("/sys/fs/cgroup/memory.max".to_owned(), memory_limit.map_or_else(|| "max\n".to_owned(), |m| format!("{m}\n"))),
        (
            "/sys/fs/cgroup/cpu.max".to_owned(),
            cpu_limit.map_or_else(|| "max 100000\n".to_owned(), |c| format!("{:.0} 100000\n", (c * 100_000.0).max(1000.0))),
        ),
        (
            "/sys/fs/cgroup/cpu.stat".to_owned(),
            format!(
                "usage_usec {usec}\nuser_usec {usec}\nsystem_usec 0\ncore_sched.force_idle_usec 0\nnr_periods {periods}\nnr_throttled {times}\n\
                 throttled_usec {held_back}\nnr_bursts 0\nburst_usec 0\n"
            ),
        ),
        ("/sys/fs/cgroup/pids.current".to_owned(), format!("{}\n", processes.len())),
        ("/sys/fs/cgroup/memory.events".to_owned(), "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n".to_owned()),
    ];
    texts.push(("/proc/net/tcp".to_owned(), sockets(&machine.host.listening())));
    texts.push(("/proc/net/tcp6".to_owned(), sockets(&[])));
    for process in &processes {
        texts.push((format!("/proc/{}/cmdline", process.pid), process.args.iter().fold(String::new(), |all, a| all + a + "\0")));
        texts.push((format!("/proc/{}/comm", process.pid), format!("{}\n", command_name(process))));
        let status = format!(
            "Name:\t{}\nState:\tS (sleeping)\nPid:\t{}\nPPid:\t{}\nVmRSS:\t{:8} kB\nThreads:\t1\n",
            command_name(process),
            process.pid,
            process.parent,
            kib(process.memory)
        );
        texts.push((format!("/proc/{}/status", process.pid), status));
    }
    machine.files(|files| {
        forget_dead(files, &processes);
        for (path, text) in &texts {
            files.put(path, text.as_bytes(), 0o444);
        }
        if files.node("/proc/self").is_none() {
            files.put_node("/proc/self", Kind::Link("1".to_owned()), 0o777);
        }
    });
}

/// Sockets as the kernel lists them: numbers in hexadecimal, `0A` for one that listens.
fn sockets(ports: &[u16]) -> String {
    let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
    let mut text = format!("{head:<149}\n");
    for (at, port) in ports.iter().enumerate() {
        let line = format!(
            "{at:>4}: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 {} 1 0000000000000000 100 0 0 10 0",
            41_000 + at
        );
        let _ = writeln!(text, "{line:<149}");
    }
    text
}

fn forget_dead(files: &mut Files, processes: &[ProcessInfo]) {
    for name in files.list("/proc").unwrap_or_default() {
        if let Ok(pid) = name.parse::<u32>()
            && !processes.iter().any(|p| p.pid == pid)
        {
            for inner in ["/cmdline", "/comm", "/status", ""] {
                let _ = files.remove(&format!("/proc/{pid}{inner}"));
            }
        }
    }
}

/// The program's name of a process.
pub(crate) fn command_name(process: &ProcessInfo) -> String {
    let first = process.args.first().map_or("", String::as_str);
    first.rsplit('/').next().unwrap_or(first).chars().take(15).collect()
}
