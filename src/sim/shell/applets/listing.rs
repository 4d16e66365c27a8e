//! `ls` and `stat`.

use jiff::Timestamp;
use std::fmt::Write as _;

use super::options::{self, Options};
use super::{screen, time};
use crate::sim::shell::files::{FileError, Kind, Node, absolute};
use crate::sim::shell::host::Host;
use crate::sim::shell::process::Process;

/// `drwxr-xr-x`
pub(super) fn mode_text(node: &Node) -> String {
    let kind = match node.kind {
        Kind::Directory => 'd',
        Kind::Link(_) => 'l',
        Kind::Device => 'c',
        Kind::Socket => 's',
        Kind::Regular(_) => '-',
    };
    let mut text = String::from(kind);
    for shift in [6, 3, 0] {
        let bits = node.mode >> shift;
        for (bit, letter) in [(4, 'r'), (2, 'w'), (1, 'x')] {
            text.push(if bits & bit != 0 { letter } else { '-' });
        }
    }
    if node.mode & 0o1000 != 0 {
        text.pop();
        text.push('t');
    }
    text
}

/// A size as `-h` of `ls`, `df` and `du` shows it: rounded up, one decimal under ten.
pub(super) fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["", "K", "M", "G", "T", "P"];
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let suffix = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 {
        format!("{value:.0}")
    } else if value < 9.95 {
        format!("{:.1}{suffix}", (value * 10.0).ceil() / 10.0)
    } else {
        format!("{:.0}{suffix}", value.ceil())
    }
}

fn when(modified: Timestamp, now: Timestamp) -> String {
    let recent = now.duration_since(modified).as_secs().abs() < 182 * 86_400;
    time::format(modified, if recent { "%b %e %H:%M" } else { "%b %e  %Y" }, true)
}

/// `ls`
pub(super) async fn ls<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(
        &p.args,
        "1AaldhtrRSFinsCpLgoxZ",
        &[("all", 'a'), ("human-readable", 'h'), ("color", 'C'), ("full-time", 'l'), ("reverse", 'r')],
    );
    if let Some(error) = &options.error {
        p.complain(error);
        return if p.machine.busybox() { 1 } else { 2 };
    }
    let mut code = 0;
    let mut files = Vec::new();
    let mut directories = Vec::new();
    let current = [".".to_owned()];
    let paths = if options.rest.is_empty() { current.as_slice() } else { &options.rest };
    for spelled in paths {
        let path = p.path(spelled);
        p.refresh(&path);
        let found = match p.disk(&path, 0, 1, false).await {
            Ok(()) => {
                let follow = !options.has('l') || spelled.ends_with('/') || options.has('L');
                p.machine.files(|f| {
                    let found = f.resolve(&path, follow).and_then(|r| f.node(&r).ok_or(FileError::NoEntry));
                    // A dangling link is shown itself.
                    found.or_else(|e| f.resolve(&path, false).ok().and_then(|r| f.node(&r)).ok_or(e))
                })
            }
            Err(error) => Err(error),
        };
        match found {
            Ok(node) if node.is_directory() && !options.has('d') => directories.push(spelled.clone()),
            Ok(node) => files.push((spelled.clone(), node)),
            Err(error) => {
                code = if p.machine.busybox() { 1 } else { 2 };
                let text = if p.machine.busybox() { format!("{spelled}: {error}") } else { format!("cannot access '{spelled}': {error}") };
                p.complain(text);
            }
        }
    }
    let titles = paths.len() > 1 || options.has('R');
    files.sort_by(|a, b| a.0.cmp(&b.0));
    directories.sort();
    show(p, &options, files.clone());
    let mut first = files.is_empty();
    let mut queue = directories;
    queue.reverse();
    let mut seen = 0;
    while let Some(spelled) = queue.pop() {
        seen += 1;
        if seen > 5000 {
            break;
        }
        let path = p.path(&spelled);
        if titles {
            p.print(if first { format!("{spelled}:\n") } else { format!("\n{spelled}:\n") });
        }
        first = false;
        let entries = p.machine.files(|f| {
            let mut entries = Vec::new();
            if options.has('a') {
                for dots in [".", ".."] {
                    if let Ok(node) = f.stat(&absolute(&path, dots)) {
                        entries.push((dots.to_owned(), node));
                    }
                }
            }
            for name in f.list(&path).unwrap_or_default() {
                let real = f.resolve(&path, true).unwrap_or_else(|_| path.clone());
                if (options.has('a') || options.has('A') || !name.starts_with('.'))
                    && let Some(node) = f.node(&absolute(&real, &name))
                {
                    entries.push((name, node));
                }
            }
            entries
        });
        if options.has('R') {
            for (name, node) in entries.iter().rev() {
                if node.is_directory() && name != "." && name != ".." {
                    queue.push(format!("{}/{name}", spelled.trim_end_matches('/')));
                }
            }
        }
        if options.has('l') {
            let blocks: u64 = entries.iter().map(|(_, n)| n.size().div_ceil(4096) * 4).sum();
            let total = if options.has('h') { human(blocks * 1024) } else { blocks.to_string() };
            p.line(format!("total {total}"));
        }
        show(p, &options, entries);
    }
    code
}

fn show<H: Host>(p: &mut Process<H>, options: &Options, mut entries: Vec<(String, Node)>) {
    if options.has('t') {
        entries.sort_by_key(|e| std::cmp::Reverse(e.1.modified));
    } else if options.has('S') {
        entries.sort_by_key(|e| std::cmp::Reverse(e.1.size()));
    }
    if options.has('r') {
        entries.reverse();
    }
    let now = p.host().now();
    let busybox = p.machine.busybox();
    let size = |node: &Node| if options.has('h') { human(node.size()) } else { node.size().to_string() };
    let plain = !options.has('l') && !options.has('1');
    if let Some(terminal) = p.screen().filter(|_| plain).cloned() {
        let names: Vec<(String, &str)> = entries
            .iter()
            .map(|(name, node)| {
                let stroke = if (options.has('F') || options.has('p')) && node.is_directory() { "/" } else { "" };
                (format!("{name}{stroke}"), if busybox || options.has('C') { screen::colour(node) } else { "" })
            })
            .collect();
        p.print(screen::columns(&names, terminal.size().0));
        return;
    }
    let width = if busybox { 9 } else { entries.iter().map(|(_, n)| size(n).len()).max().unwrap_or(0) };
    for (name, node) in entries {
        let mut shown = name;
        if options.has('l') {
            if let Kind::Link(target) = &node.kind {
                shown = format!("{shown} -> {target}");
            }
            let links = if node.is_directory() { 2 } else { 1 };
            let owner = if busybox { "root     root    " } else { "root root" };
            let links = if busybox { format!("{links:5}") } else { links.to_string() };
            shown = format!("{} {links} {owner} {:>width$} {} {shown}", mode_text(&node), size(&node), when(node.modified, now));
        } else if (options.has('F') || options.has('p')) && node.is_directory() {
            shown.push('/');
        }
        p.line(shown);
    }
}

/// `stat [-c FORMAT] FILE...`
pub(super) async fn stat<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "c:Lft", &[("format", 'c'), ("dereference", 'L')]);
    let mut code = 0;
    for spelled in &options.rest {
        let path = p.path(spelled);
        p.refresh(&path);
        let result = match p.disk(&path, 0, 1, false).await {
            Ok(()) => p.machine.files(|f| f.resolve(&path, options.has('L')).and_then(|r| f.node(&r).ok_or(FileError::NoEntry))),
            Err(error) => Err(error),
        };
        let node = match result {
            Ok(node) => node,
            Err(error) => {
                code = 1;
                p.file_error_verb(spelled, "cannot statx", "can't stat", error);
                continue;
            }
        };
        let kind = match &node.kind {
            Kind::Directory => "directory",
            Kind::Regular(c) if c.is_empty() => "regular empty file",
            Kind::Regular(_) => "regular file",
            Kind::Link(_) => "symbolic link",
            Kind::Device => "character special file",
            Kind::Socket => "socket",
        };
        let stamp = time::format(node.modified, "%Y-%m-%d %H:%M:%S.%N +0000", true);
        if let Some(template) = options.value('c') {
            let mut text = String::new();
            let mut chars = template.chars();
            while let Some(c) = chars.next() {
                if c != '%' {
                    text.push(c);
                    continue;
                }
                match chars.next() {
                    Some('n') => text.push_str(spelled),
                    Some('s') => text.push_str(&node.size().to_string()),
                    Some('a') => {
                        let _ = write!(text, "{:o}", node.mode);
                    }
                    Some('A') => text.push_str(&mode_text(&node)),
                    Some('F') => text.push_str(kind),
                    Some('U' | 'G') => text.push_str("root"),
                    Some('u' | 'g') => text.push('0'),
                    Some('h') => text.push('1'),
                    Some('b') => text.push_str(&(node.size().div_ceil(4096) * 8).to_string()),
                    Some('y' | 'x' | 'z') => text.push_str(&stamp),
                    Some('Y' | 'X' | 'Z') => text.push_str(&node.modified.as_second().to_string()),
                    Some(other) => text.push(other),
                    None => text.push('%'),
                }
            }
            p.line(text);
            continue;
        }
        p.print(format!(
            "  File: {spelled}\n  Size: {:<10}\tBlocks: {:<10} IO Block: 4096   {kind}\nDevice: 0,52\tInode: 1048602     Links: 1\n\
             Access: ({:04o}/{})  Uid: (    0/    root)   Gid: (    0/    root)\nAccess: {stamp}\nModify: {stamp}\nChange: {stamp}\n",
            node.size(),
            node.size().div_ceil(4096) * 8,
            node.mode,
            mode_text(&node)
        ));
    }
    code
}
