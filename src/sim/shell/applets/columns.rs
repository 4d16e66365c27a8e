//! `ps -o`: columns that the user chooses, and the order of the rows.

use std::time::Duration;

use super::processes::{clock, cpu_time, memory_percent, state};
use super::time;
use crate::sim::shell::host::{Host, ProcessInfo};
use crate::sim::shell::process::Process;
use crate::sim::shell::synthetic::command_name;

/// Title, width, and whether it is written from the left, as procps has them.
fn column(name: &str) -> (&'static str, usize, bool) {
    match name {
        "pid" | "tgid" => ("PID", 7, false),
        "ppid" => ("PPID", 7, false),
        "pgid" | "pgrp" => ("PGID", 7, false),
        "sid" | "sess" => ("SID", 7, false),
        "user" | "uname" => ("USER", 8, true),
        "euser" => ("EUSER", 8, true),
        "uid" | "euid" => ("UID", 5, false),
        "%cpu" | "pcpu" => ("%CPU", 4, false),
        "c" => ("C", 2, false),
        "%mem" | "pmem" => ("%MEM", 4, false),
        "rss" | "rssize" | "rsz" => ("RSS", 5, false),
        "vsz" | "vsize" => ("VSZ", 6, false),
        "comm" | "ucmd" | "ucomm" => ("COMMAND", 15, true),
        "args" | "command" => ("COMMAND", 27, true),
        "cmd" => ("CMD", 27, true),
        "etime" => ("ELAPSED", 11, false),
        "etimes" => ("ELAPSED", 7, false),
        "time" | "cputime" => ("TIME", 8, false),
        "stat" => ("STAT", 4, true),
        "s" | "state" => ("S", 1, true),
        "tty" | "tt" | "tname" => ("TTY", 8, true),
        "start" => ("STARTED", 8, false),
        "stime" | "start_time" => ("START", 5, true),
        "lstart" => ("STARTED", 24, false),
        "ni" | "nice" => ("NI", 3, false),
        "pri" => ("PRI", 3, false),
        "nlwp" | "thcount" => ("NLWP", 4, false),
        _ => ("-", 1, true),
    }
}

/// Busybox has narrower columns, all titles from the left, and fewer names.
fn small_column(name: &str) -> Option<(&'static str, usize)> {
    Some(match name {
        "pid" => ("PID", 5),
        "ppid" => ("PPID", 5),
        "pgid" => ("PGID", 5),
        "user" => ("USER", 8),
        "comm" => ("COMMAND", 16),
        "args" => ("COMMAND", 256),
        "etime" => ("ELAPSED", 7),
        "time" => ("TIME", 6),
        "tty" => ("TT", 6),
        "vsz" => ("VSZ", 4),
        "rss" => ("RSS", 4),
        "stat" => ("STAT", 4),
        _ => return None,
    })
}

/// `MM:SS`, `HH:MM:SS` or `D-HH:MM:SS`.
fn elapsed(age: Duration) -> String {
    let s = age.as_secs();
    match (s / 86_400, s / 3600 % 24) {
        (0, 0) => format!("{:02}:{:02}", s / 60, s % 60),
        (0, hours) => format!("{hours:02}:{:02}:{:02}", s / 60 % 60, s % 60),
        (days, hours) => format!("{days}-{hours:02}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

fn cell(name: &str, process: &ProcessInfo, own: u32, now: jiff::Timestamp) -> String {
    let at = |template: &str| {
        let started = now.checked_sub(jiff::SignedDuration::try_from(process.age).unwrap_or_default()).unwrap_or(now);
        time::format(started, template, true)
    };
    match name {
        "pid" | "tgid" => process.pid.to_string(),
        "pgid" | "pgrp" | "sid" | "sess" => if process.parent == 0 { process.pid } else { 1 }.to_string(),
        "ppid" => process.parent.to_string(),
        "user" | "euser" | "uname" => process.user.clone(),
        "uid" | "euid" | "ni" | "nice" => "0".to_owned(),
        "pri" => "19".to_owned(),
        "nlwp" | "thcount" => "1".to_owned(),
        "%cpu" | "pcpu" => format!("{:.1}", process.cpu * 100.0),
        "c" => format!("{:.0}", (process.cpu * 100.0).min(99.0)),
        "%mem" | "pmem" => format!("{:.1}", memory_percent(process)),
        "rss" | "rssize" | "rsz" => (process.memory / 1024).to_string(),
        "vsz" | "vsize" => (process.memory * 2 / 1024).to_string(),
        "comm" | "ucmd" | "ucomm" => command_name(process),
        "args" | "command" | "cmd" => process.args.join(" "),
        "etime" => elapsed(process.age),
        "etimes" => process.age.as_secs().to_string(),
        "time" | "cputime" => clock(cpu_time(process)),
        "stat" => state(process, own).to_owned(),
        "s" | "state" => state(process, own).chars().take(1).collect(),
        "tty" | "tt" | "tname" => "?".to_owned(),
        "start" => at("%H:%M:%S"),
        "stime" | "start_time" => at(if process.age > Duration::from_hours(24) { "%b%d" } else { "%H:%M" }),
        "lstart" => at("%a %b %e %H:%M:%S %Y"),
        _ => "-".to_owned(),
    }
}

/// `ps -o pid,args,...`, and `--sort`.
pub(super) fn print<H: Host>(p: &mut Process<H>, columns: &str, mut all: Vec<ProcessInfo>, own: u32) -> i32 {
    let (now, small) = (p.host().now(), p.machine.busybox());
    let names: Vec<(&str, Option<&str>)> = columns
        .split([',', ' '])
        .filter(|c| !c.is_empty())
        .map(|c| c.split_once('=').map_or((c, None), |(n, title)| (n, Some(title))))
        .collect();
    sort(&p.args, &mut all);
    if small && let Some((unknown, _)) = names.iter().find(|(name, _)| small_column(name).is_none()) {
        p.complain(format!("bad -o argument '{unknown}', supported arguments: user,group,comm,args,pid,ppid,pgid,etime,nice,rgroup,ruser,time,tty,vsz,sid,stat,rss"));
        return 1;
    }
    let shape = |name: &str| match small_column(name).filter(|_| small) {
        Some((title, width)) => (title, width, matches!(name, "user" | "comm" | "args" | "stat")),
        None => column(name),
    };
    let pad = |text: &str, width: usize, left: bool| if left { format!("{text:<width$}") } else { format!("{text:>width$}") };
    if names.iter().any(|(_, title)| title.is_none_or(|t| !t.is_empty())) {
        let titles = names.iter().map(|(name, title)| {
            let (own, width, left) = shape(name);
            pad(title.unwrap_or(own), width, left || small)
        });
        let head = titles.collect::<Vec<_>>().join(" ");
        p.line(head.trim_end());
    }
    for process in &all {
        let cells = names.iter().map(|(name, _)| {
            let (_, width, left) = shape(name);
            pad(&cell(name, process, own, now), width, left)
        });
        let row = cells.collect::<Vec<_>>().join(" ");
        p.line(row.trim_end());
    }
    0
}

/// By `--sort=-%cpu` or `--sort -pcpu`.
pub(super) fn sort(args: &[String], all: &mut [ProcessInfo]) {
    let given = args.iter().enumerate().find_map(|(i, a)| match a.strip_prefix("--sort")? {
        "" => args.get(i + 1).map(String::as_str),
        rest => rest.strip_prefix('='),
    });
    let Some(given) = given else { return };
    let key = given.split(',').next().unwrap_or_default();
    let (down, key) = (key.starts_with('-'), key.trim_start_matches(['-', '+']));
    all.sort_by(|a, b| {
        let order = match key {
            "%cpu" | "pcpu" | "c" => a.cpu.total_cmp(&b.cpu),
            "%mem" | "pmem" | "rss" | "vsz" | "size" => a.memory.cmp(&b.memory),
            "etime" | "etimes" => a.age.cmp(&b.age),
            "start_time" | "start" | "lstart" => b.age.cmp(&a.age),
            "time" | "cputime" => cpu_time(a).cmp(&cpu_time(b)),
            "comm" | "args" | "cmd" => a.args.cmp(&b.args),
            _ => a.pid.cmp(&b.pid),
        };
        if down { order.reverse() } else { order }
    });
}
