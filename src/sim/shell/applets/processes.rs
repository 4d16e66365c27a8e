//! Processes and memory: `ps`, `top`, `kill`, `pkill`, `pgrep`, `killall`, `pidof`, `free`, `uptime`.

use std::time::Duration;

use super::regexes::compile;
use super::time;
use super::{columns, options, screen};
use crate::sim::shell::host::{Host, ProcessInfo};
use crate::sim::shell::process::Process;
use crate::sim::shell::synthetic::{self, NODE_CPUS, NODE_MEMORY, command_name};
use crate::sim::shell::terminal::Terminal;

/// The container's processes and the asking program itself.
fn everything<H: Host>(p: &Process<H>) -> Vec<ProcessInfo> {
    let mut all = p.host().processes();
    all.sort_by_key(|x| x.pid);
    let pid = all.iter().map(|x| x.pid).max().unwrap_or(0) + 6;
    all.push(ProcessInfo { pid, parent: 0, user: "root".to_owned(), args: p.args.clone(), cpu: 0.0, memory: 4 << 20, age: Duration::ZERO });
    all
}

pub(super) fn cpu_time(process: &ProcessInfo) -> u64 {
    Duration::try_from_secs_f64(process.cpu * process.age.as_secs_f64()).unwrap_or_default().as_secs()
}

pub(super) fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub(super) fn memory_percent(process: &ProcessInfo) -> f64 {
    process.memory as f64 * 100.0 / NODE_MEMORY as f64
}

/// What `-o` chooses, wherever it stands: `-o pid,args`, `-eo pid,args`, `-opid`, `o pid`.
fn chosen_columns(args: &[String]) -> Option<String> {
    let mut chosen = Vec::new();
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        if arg.starts_with("--") {
            continue;
        }
        let dashed = arg.starts_with('-');
        match arg.trim_start_matches('-').split_once('o') {
            Some((before, after)) if before.chars().all(|c| c.is_ascii_alphabetic()) && (dashed || after.is_empty()) => {
                let columns = if after.is_empty() { rest.next().cloned() } else { Some(after.to_owned()) };
                chosen.extend(columns);
            }
            _ => {}
        }
    }
    (!chosen.is_empty()).then(|| chosen.join(","))
}

/// `ps`, in the manner of procps or busybox.
pub(super) fn ps<H: Host>(p: &mut Process<H>) -> i32 {
    let mut all = everything(p);
    let own = all.last().map_or(0, |x| x.pid);
    let now = p.host().now();
    let by = |flag: &str| p.args.iter().position(|a| a == flag).and_then(|at| p.args.get(at + 1)).cloned();
    if !p.machine.busybox() {
        if let Some(pids) = by("-p").or_else(|| by("-q")) {
            all.retain(|x| pids.split([',', ' ']).any(|n| n == x.pid.to_string()));
        }
        if let Some(name) = by("-C") {
            all.retain(|x| name.split(',').any(|n| n == command_name(x)));
        }
    }
    let none = all.is_empty();
    if let Some(columns) = chosen_columns(&p.args) {
        return columns::print(p, &columns, all, own).max(i32::from(none));
    }
    if p.machine.busybox() {
        p.line("PID   USER     TIME  COMMAND");
        for process in all {
            let seconds = cpu_time(&process);
            p.line(format!("{:5} {:<8} {:2}:{:02} {}", process.pid, process.user, seconds / 60, seconds % 60, process.args.join(" ")));
        }
        return 0;
    }
    columns::sort(&p.args, &mut all);
    let flags: String = p.args.iter().skip(1).take_while(|a| !a.contains('=')).map(|a| a.trim_start_matches('-')).collect();
    let started = |process: &ProcessInfo| {
        let at = now.checked_sub(jiff::SignedDuration::try_from(process.age).unwrap_or_default()).unwrap_or(now);
        time::format(at, if process.age > Duration::from_hours(24) { "%b%d" } else { "%H:%M" }, true)
    };
    if flags.contains('u') {
        p.line("USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND");
        for process in all {
            let seconds = cpu_time(&process);
            p.line(format!(
                "{:<8} {:7} {:4.1} {:4.1} {:6} {:5} ?        {:<4} {:<5} {:3}:{:02} {}",
                process.user,
                process.pid,
                process.cpu * 100.0,
                memory_percent(&process),
                process.memory * 2 / 1024,
                process.memory / 1024,
                state(&process, own),
                started(&process),
                seconds / 60,
                seconds % 60,
                process.args.join(" ")
            ));
        }
    } else if flags.contains('f') {
        p.line("UID          PID    PPID  C STIME TTY          TIME CMD");
        for process in all {
            p.line(format!(
                "{:<8} {:7} {:7} {:2.0} {:<5} ?        {} {}",
                process.user,
                process.pid,
                process.parent,
                (process.cpu * 100.0).min(99.0),
                started(&process),
                clock(cpu_time(&process)),
                process.args.join(" ")
            ));
        }
    } else {
        p.line("    PID TTY          TIME CMD");
        for process in all {
            p.line(format!("{:7} ?        {} {}", process.pid, clock(cpu_time(&process)), command_name(&process)));
        }
    }
    i32::from(none)
}

/// As `ps` shows it: the asking program runs, the first one leads its session.
pub(super) fn state(process: &ProcessInfo, own: u32) -> &'static str {
    match (process.pid, process.cpu > 0.5) {
        (pid, _) if pid == own => "R",
        (1, true) => "Rs",
        (1, false) => "Ss",
        (_, true) => "R",
        (_, false) => "S",
    }
}

/// `top -b -n N`: without `-b` there is no terminal for it.
pub(super) async fn top<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "bn:d:cHo:p:w:u:m", &[]);
    let screen = p.screen().cloned().filter(|_| !options.has('b'));
    if !options.has('b') && !p.machine.busybox() && screen.is_none() {
        p.raw_error("TERM environment variable not set.\n");
        return 1;
    }
    let rounds: u32 = options.number('n').unwrap_or(u32::MAX);
    let delay = options.value('d').and_then(time::duration).unwrap_or(Duration::from_secs(if p.machine.busybox() { 5 } else { 3 }));
    let mut round = 0;
    let _raw = screen.as_ref().map(Terminal::raw);
    while round < rounds {
        if round > 0 && screen.is_some() && screen::quits(p, delay).await {
            return 0;
        }
        if round > 0 && screen.is_none() && !p.sleep(delay).await {
            return 143;
        }
        round += 1;
        if screen.is_some() {
            p.print("\x1b[H\x1b[J");
        }
        let mut all = everything(p);
        all.sort_by(|a, b| b.cpu.total_cmp(&a.cpu).then(a.pid.cmp(&b.pid)));
        let (one, five, fifteen) = synthetic::load(&p.machine);
        let used = NODE_MEMORY / 4 + p.host().usage().1;
        let busy: f64 = all.iter().map(|x| x.cpu).sum::<f64>() * 100.0 / f64::from(NODE_CPUS);
        if p.machine.busybox() {
            p.line(format!(
                "Mem: {}K used, {}K free, 0K shrd, 65536K buff, 2097152K cached",
                used / 1024,
                (NODE_MEMORY - used.min(NODE_MEMORY)) / 1024
            ));
            p.line(format!("CPU: {busy:3.0}% usr   0% sys   0% nic {:3.0}% idle   0% io   0% irq   0% sirq", (100.0 - busy).max(0.0)));
            p.line(format!("Load average: {one:.2} {five:.2} {fifteen:.2} 2/300 {}", all.len()));
            p.line("  PID  PPID USER     STAT   VSZ %VSZ CPU %CPU COMMAND");
            for x in all {
                let vsz = format!("{}m", (x.memory * 2) >> 20);
                p.line(format!(
                    "{:5} {:5} {:<8} {:<4} {vsz:>5} {:3.0}%   0 {:3.0}% {}",
                    x.pid,
                    x.parent,
                    x.user,
                    if x.cpu > 0.5 { "R" } else { "S" },
                    memory_percent(&x) * 2.0,
                    x.cpu * 100.0 / f64::from(NODE_CPUS),
                    x.args.join(" ")
                ));
            }
            continue;
        }
        let running = all.iter().filter(|x| x.cpu > 0.5).count();
        let at = time::format(p.host().now(), "%H:%M:%S", true);
        p.line(format!("top - {at} {}, 0 users,  load average: {one:.2}, {five:.2}, {fifteen:.2}", up_text(synthetic::uptime(&p.machine))));
        p.line(format!("Tasks: {:3} total, {running:3} running, {:3} sleeping,   0 stopped,   0 zombie", all.len(), all.len() - running));
        p.line(format!("%Cpu(s): {busy:4.1} us,  0.0 sy,  0.0 ni, {:4.1} id,  0.0 wa,  0.0 hi,  0.0 si,  0.0 st", (100.0 - busy).max(0.0)));
        let mib = |bytes: u64| format!("{}.{}", bytes >> 20, (bytes >> 10) % 1024 * 10 / 1024);
        p.line(format!(
            "MiB Mem : {:>8} total, {:>8} free, {:>8} used, {:>8} buff/cache",
            mib(NODE_MEMORY),
            mib(NODE_MEMORY.saturating_sub(used + (2 << 30))),
            mib(used),
            mib(2 << 30)
        ));
        p.line(format!("MiB Swap:      0.0 total,      0.0 free,      0.0 used. {:>8} avail Mem", mib(NODE_MEMORY.saturating_sub(used))));
        p.print("\n    PID USER      PR  NI    VIRT    RES    SHR S  %CPU  %MEM     TIME+ COMMAND\n");
        for x in all {
            let seconds = cpu_time(&x);
            p.line(format!(
                "{:7} {:<8}  20   0 {:7} {:6} {:6} {} {:5.1} {:5.1} {:3}:{:02}.00 {}",
                x.pid,
                x.user,
                x.memory * 2 / 1024,
                x.memory / 1024,
                x.memory / 4096,
                if x.cpu > 0.5 { 'R' } else { 'S' },
                x.cpu * 100.0,
                memory_percent(&x),
                seconds / 60,
                seconds % 60,
                command_name(&x)
            ));
        }
    }
    0
}

const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
];

fn signal(text: &str) -> Option<i32> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    SIGNALS.iter().find(|s| s.0 == name).map(|s| s.1).or_else(|| text.parse().ok())
}

/// Takes `-9`, `-KILL`, `-s KILL` out of the arguments; the rest and the signal.
fn take_signal(args: &[String]) -> (Vec<String>, Option<i32>) {
    let mut rest = Vec::new();
    let mut chosen = None;
    let mut args = args.iter().skip(1);
    while let Some(argument) = args.next() {
        match argument.strip_prefix('-') {
            Some("s" | "-signal") => chosen = args.next().and_then(|n| signal(n)),
            Some(name) if chosen.is_none() && signal(name).is_some() => chosen = signal(name),
            _ => rest.push(argument.clone()),
        }
    }
    (rest, chosen)
}

/// `kill [-SIGNAL] PID...`
pub(super) fn kill<H: Host>(p: &mut Process<H>) -> i32 {
    if p.args.get(1).is_some_and(|a| a == "-l") {
        let numbered = p.machine.busybox();
        for (name, number) in SIGNALS {
            p.line(if numbered { format!("{number:2}) {name}") } else { (*name).to_owned() });
        }
        return 0;
    }
    let (rest, chosen) = take_signal(&p.args);
    let number = chosen.unwrap_or(15);
    let mut code = 0;
    for text in rest.iter().filter(|t| *t != "--") {
        let Ok(pid) = text.parse::<u32>() else {
            code = 1;
            p.raw_error(if p.machine.busybox() {
                format!("sh: invalid number '{text}'\n")
            } else {
                format!("sh: 1: kill: Illegal number: {text}\n")
            });
            continue;
        };
        let exists = if number == 0 { p.host().processes().iter().any(|x| x.pid == pid) } else { p.host().kill(pid, number) };
        if !exists {
            code = 1;
            p.raw_error(if p.machine.busybox() {
                format!("sh: can't kill pid {pid}: No such process\n")
            } else {
                "sh: 1: kill: No such process\n\n".to_owned()
            });
        }
    }
    code
}

/// `pkill`, `pgrep`, `killall`, `pidof`
pub(super) fn by_name<H: Host>(p: &mut Process<H>) -> i32 {
    let name = p.name();
    let (rest, chosen) = if name == "pgrep" { (p.args.get(1..).unwrap_or_default().to_vec(), None) } else { take_signal(&p.args) };
    let args: Vec<String> = std::iter::once(name.clone()).chain(rest).collect();
    let options = options::parse(&args, "flaxnoevqcu:P:i", &[]);
    let mut code = 1;
    let processes = p.host().processes();
    for pattern in &options.rest {
        let expression = compile(pattern, true, options.has('i'));
        let matching: Vec<&ProcessInfo> = processes
            .iter()
            .filter(|x| {
                let command = command_name(x);
                if matches!(name.as_str(), "killall" | "pidof") {
                    return command == *pattern;
                }
                let subject = if options.has('f') { x.args.join(" ") } else { command };
                if options.has('x') { subject == *pattern } else { expression.as_ref().is_some_and(|e| e.is_match(&subject)) }
            })
            .collect();
        if name == "killall" && matching.is_empty() {
            p.complain(format!("{pattern}: no process {}", if p.machine.busybox() { "killed" } else { "found" }));
        }
        for process in matching {
            code = 0;
            match name.as_str() {
                "pgrep" if options.has('a') => p.line(format!("{} {}", process.pid, process.args.join(" "))),
                "pgrep" if options.has('l') => p.line(format!("{} {}", process.pid, command_name(process))),
                "pgrep" | "pidof" => p.line(process.pid.to_string()),
                _ => {
                    p.host().kill(process.pid, chosen.unwrap_or(15));
                }
            }
        }
    }
    code
}

/// `free [-h|-m|-g|-b]`
pub(super) fn free<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "hmgbkws:t", &[("human", 'h'), ("mega", 'm')]);
    let used = NODE_MEMORY / 4 + p.host().usage().1;
    let cache = 2_u64 << 30;
    let free = NODE_MEMORY.saturating_sub(used + cache);
    let show = |bytes: u64| {
        if options.has('h') {
            let text = super::listing::human(bytes);
            if text == "0" { "0B".to_owned() } else { text + "i" }
        } else if options.has('m') {
            (bytes >> 20).to_string()
        } else if options.has('g') {
            (bytes >> 30).to_string()
        } else if options.has('b') {
            bytes.to_string()
        } else {
            (bytes >> 10).to_string()
        }
    };
    p.line("               total        used        free      shared  buff/cache   available");
    let available = NODE_MEMORY.saturating_sub(used);
    p.line(format!(
        "{:<8}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "Mem:",
        show(NODE_MEMORY),
        show(used),
        show(free),
        show(0),
        show(cache),
        show(available)
    ));
    p.line(format!("{:<8}{:>12}{:>12}{:>12}", "Swap:", show(0), show(0), show(0)));
    0
}

fn up_text(up: Duration) -> String {
    let minutes = up.as_secs() / 60;
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    let clock = if hours > 0 { format!("{hours:2}:{minutes:02}") } else { format!("{minutes} min") };
    if days > 0 { format!("up {days} days, {clock}") } else { format!("up {clock}") }
}

/// `uptime`
pub(super) fn uptime<H: Host>(p: &mut Process<H>) -> i32 {
    let (one, five, fifteen) = synthetic::load(&p.machine);
    let at = time::format(p.host().now(), "%H:%M:%S", true);
    let up = up_text(synthetic::uptime(&p.machine));
    p.line(format!(" {at} {up},  0 users,  load average: {one:.2}, {five:.2}, {fifteen:.2}"));
    0
}

/// The names that `/etc/passwd` and `/etc/group` of images have.
fn named(id: u64, group: bool) -> Option<&'static str> {
    match (id, group) {
        (0, _) => Some("root"),
        (65534, false) => Some("nobody"),
        (65534, true) => Some("nogroup"),
        _ => None,
    }
}

/// `id`, `whoami`, `groups`, `logname`
fn who<H: Host>(p: &mut Process<H>, name: &str, options: &options::Options) -> i32 {
    let (user, mut groups) = p.host().identity();
    let main = groups.first().copied().unwrap_or(0);
    let mut seen = Vec::new();
    groups.retain(|g| {
        !seen.contains(g) && {
            seen.push(*g);
            true
        }
    });
    let shown = |id: u64, group: bool| named(id, group).map_or_else(|| id.to_string(), |n| format!("{id}({n})"));
    let wanted = match name {
        "id" if options.has('u') => Some((user, false)),
        "id" if options.has('g') => Some((main, true)),
        "whoami" | "logname" => Some((user, false)),
        _ => None,
    };
    let plain = name == "id" && !options.has('n');
    let text = match wanted {
        Some((id, _)) if plain => id.to_string(),
        Some((id, group)) => match named(id, group) {
            Some(known) => known.to_owned(),
            None if p.machine.busybox() => {
                p.raw_error(format!("{name}: unknown {} {id}\n", if name == "id" { "ID" } else { "uid" }));
                return 1;
            }
            None => {
                let what = if group { "group" } else { "user" };
                p.raw_error(format!("{name}: cannot find name for {what} ID {id}\n"));
                return 1;
            }
        },
        None if name == "groups" || options.has('G') => {
            let all = groups.iter().map(|g| named(*g, true).filter(|_| !plain).map_or_else(|| g.to_string(), str::to_owned));
            all.collect::<Vec<_>>().join(" ")
        }
        None => {
            let all: Vec<String> = groups.iter().map(|g| shown(*g, true)).collect();
            format!("uid={} gid={} groups={}", shown(user, false), shown(main, true), all.join(","))
        }
    };
    p.line(text);
    0
}

/// `id`, `whoami`, `groups`, `uname`, `hostname`, `nproc`, `arch`, `tty`, `mount`
pub(super) fn identity<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "ugnrGasmovpfiIdt:", &[("all", 'a')]);
    let host = p.host().hostname();
    match p.name().as_str() {
        name @ ("id" | "whoami" | "groups" | "logname") => return who(p, name, &options),
        "hostname" if options.has('i') || options.has('I') => {
            let address = p.host().address();
            p.line(address.to_string());
        }
        "hostname" if !options.rest.is_empty() => {
            p.raw_error("hostname: sethostname: Operation not permitted\n");
            return 1;
        }
        "hostname" => p.line(host),
        "nproc" => p.line(NODE_CPUS.to_string()),
        "arch" => p.line("x86_64"),
        "tty" if p.machine.terminal.is_some() => p.line("/dev/pts/0"),
        "tty" => {
            p.line("not a tty");
            return 1;
        }
        "mount" => {
            if !options.rest.is_empty() {
                p.raw_error("mount: permission denied (are you root?)\n");
                return 1;
            }
            p.line("overlay on / type overlay (rw,relatime)");
            p.line("proc on /proc type proc (rw,nosuid,nodev,noexec,relatime)");
            p.line("cgroup2 on /sys/fs/cgroup type cgroup2 (ro,nosuid,nodev,noexec,relatime)");
            for (path, read_only) in p.machine.files(|f| f.mount_points()) {
                let (device, kind) = super::disk::device(&path);
                p.line(format!("{device} on {path} type {kind} ({},relatime)", if read_only { "ro" } else { "rw" }));
            }
        }
        _ => {
            let release = "6.1.0-37-amd64";
            let version = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1";
            let all = options.has('a');
            let plain = !['n', 'r', 'v', 'm', 'o', 'p', 'i'].iter().any(|c| options.has(*c));
            let mut parts = Vec::new();
            for (letter, text) in [
                ('s', "Linux"),
                ('n', host.as_str()),
                ('r', release),
                ('v', version),
                ('m', "x86_64"),
                ('o', if p.machine.busybox() { "Linux" } else { "GNU/Linux" }),
            ] {
                if all || options.has(letter) || (plain && letter == 's') {
                    parts.push(text);
                }
            }
            p.line(parts.join(" "));
        }
    }
    0
}
