//! Prompts, and the names that could be meant at them.

use crate::sim::shell::files::absolute;
use crate::sim::shell::host::Host;
use crate::sim::shell::process::Machine;

/// What a shell of this name shows for a prompt that nobody has set.
pub(crate) fn default(shell: &str, busybox: bool) -> &'static str {
    if shell.ends_with("bash") {
        // Debian's /etc/bash.bashrc.
        r"\u@\h:\w\$ "
    } else if busybox {
        r"\w \$ "
    } else {
        "# "
    }
}

/// A prompt with its escapes replaced, for root.
pub(crate) fn expand(text: &str, host: &str, cwd: &str, home: &str) -> String {
    let place = match cwd.strip_prefix(home).filter(|_| home.len() > 1) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("~{rest}"),
        _ => cwd.to_owned(),
    };
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('u') => out.push_str("root"),
            Some('h') => out.push_str(host.split('.').next().unwrap_or(host)),
            Some('H') => out.push_str(host),
            Some('w') => out.push_str(&place),
            Some('W') => out.push_str(place.rsplit('/').next().filter(|p| !p.is_empty()).unwrap_or(&place)),
            Some('$') => out.push('#'),
            Some('n') => out.push('\n'),
            Some('e') => out.push('\x1b'),
            Some('[' | ']') => {}
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}

/// What the last word of `text` could be: programs for the first word of a command, else files, directories with a stroke.
pub(super) fn complete<H: Host>(machine: &Machine<H>, directory: &str, text: &str) -> Vec<String> {
    let word = text.rsplit(' ').next().unwrap_or_default();
    let before = text.get(..text.len() - word.len()).unwrap_or_default().trim_end();
    let command = before.is_empty() || before.ends_with(['|', ';', '&', '(']);
    let mut found: Vec<String> = machine.files(|files| {
        if command && !word.contains('/') {
            let places = ["/bin", "/usr/bin", "/sbin", "/usr/sbin"];
            return places.iter().flat_map(|d| files.list(d).unwrap_or_default()).filter(|n| n.starts_with(word)).collect();
        }
        let (folder, start) =
            word.rsplit_once('/').map_or(("", word), |(folder, start)| (word.get(..=folder.len()).unwrap_or(folder), start));
        let path = absolute(directory, folder);
        let names = files
            .list(&path)
            .unwrap_or_default()
            .into_iter()
            .filter(|n| n.starts_with(start) && (!n.starts_with('.') || start.starts_with('.')));
        names
            .map(|name| {
                let stroke = if files.stat(&absolute(&path, &name)).is_ok_and(|n| n.is_directory()) { "/" } else { "" };
                format!("{folder}{name}{stroke}")
            })
            .collect()
    });
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_those_of_the_shells() {
        assert_eq!(expand(default("sh", true), "web-1", "/", "/root"), "/ # ");
        assert_eq!(expand(default("/bin/sh", false), "web-1", "/tmp", "/root"), "# ");
        assert_eq!(expand(default("/bin/bash", false), "web-1", "/home/u/x", "/home/u"), "root@web-1:~/x# ");
        assert_eq!(expand(r"[\W] \\\$\n", "web", "/var/log", "/root"), "[log] \\#\n");
    }
}
