//! What programs do differently at a terminal: columns, colours, keys; `clear`, `reset`, `stty`.

use std::time::Duration;

use crate::sim::shell::files::{Kind, Node};
use crate::sim::shell::host::Host;
use crate::sim::shell::process::{Process, Source};

/// The escape sequence of a file's colour in a listing, empty for none.
pub(super) const fn colour(node: &Node) -> &'static str {
    match node.kind {
        Kind::Directory => "\x1b[1;34m",
        Kind::Link(_) => "\x1b[1;36m",
        Kind::Device => "\x1b[1;33m",
        Kind::Socket => "\x1b[1;35m",
        Kind::Regular(_) if node.mode & 0o111 != 0 => "\x1b[1;32m",
        Kind::Regular(_) => "",
    }
}

/// Names and their colours in columns, from top to bottom, as many as have room in `width`.
pub(super) fn columns(names: &[(String, &str)], width: usize) -> String {
    let longest = names.iter().map(|(n, _)| n.chars().count()).max().unwrap_or(0) + 2;
    let across = (width / longest).max(1);
    let down = names.len().div_ceil(across).max(1);
    let mut out = String::new();
    for row in 0..down.min(names.len()) {
        let line: Vec<&(String, &str)> = names.iter().skip(row).step_by(down).collect();
        for (at, (name, colour)) in line.iter().enumerate() {
            let end = if colour.is_empty() { "" } else { "\x1b[m" };
            out.extend([*colour, name, end]);
            if at + 1 < line.len() {
                out.push_str(&" ".repeat(longest - name.chars().count()));
            }
        }
        out.push('\n');
    }
    out
}

/// Waits at a terminal whose keys come one by one; whether its user quits meanwhile.
pub(super) async fn quits<H: Host>(p: &mut Process<H>, delay: Duration) -> bool {
    let Source::Client(input) = p.io.input.clone() else { return !p.sleep(delay).await };
    let mut input = input.lock().await;
    p.renew();
    let started = p.host().now();
    loop {
        let passed = Duration::try_from(p.host().now().duration_since(started)).unwrap_or_default();
        let Some(left) = delay.checked_sub(passed).filter(|l| !l.is_zero()) else { return false };
        tokio::select! {
            on = p.sleep(left) => return !on,
            key = input.0.recv() => if key.is_none_or(|k| k.contains(&b'q')) { return true },
        }
    }
}

/// `clear`, `reset`, `stty size`
pub(super) fn screen<H: Host>(p: &mut Process<H>) -> i32 {
    let sizes = p.args.get(1).is_some_and(|a| a == "size");
    match (p.name().as_str(), p.machine.terminal.as_ref().map(|t| t.size())) {
        ("stty", None) => {
            let text = if p.machine.busybox() { "standard input: Not a tty" } else { "'standard input': Inappropriate ioctl for device" };
            p.complain(text);
            return 1;
        }
        ("stty", Some((columns, rows))) if sizes => p.line(format!("{rows} {columns}")),
        ("stty", Some((columns, rows))) if p.args.len() == 1 => {
            p.line(format!("speed 38400 baud; rows {rows}; columns {columns}; line = 0;"));
        }
        ("stty", _) => {}
        _ => p.print("\x1b[H\x1b[J"),
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_down_and_then_across() {
        let names: Vec<(String, &str)> = ["a", "bb", "ccc", "d", "e"].map(|n| (n.to_owned(), "")).into();
        assert_eq!(columns(&names, 12), "a    d\nbb   e\nccc\n");
        assert_eq!(columns(&names, 3), "a\nbb\nccc\nd\ne\n");
        assert_eq!(columns(&[], 80), "");
    }
}
