//! Scripts that do something and then sleep (`echo ready > /tmp/f; sleep 3600`): what comes before the sleep is run, the sleep
//! itself is the container's, so that no timer of a shell moves time.

use std::time::Duration;

use super::quantity;

/// The code of a script that has come to its sleep.
pub(super) const ASLEEP: i32 = 213;

/// A script that ends with a sleep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nap {
    /// The same command, but that it ends with [`ASLEEP`] where it would sleep.
    pub(super) before: Vec<String>,
    /// How long it sleeps; `None`: for ever.
    pub(super) sleep: Option<Duration>,
}

impl Nap {
    /// Reads the last command of a `sh -c` line; `None` when this is no sleep, or the only one.
    pub(super) fn read(command: &[String]) -> Option<Self> {
        let script = script(command)?.trim_end_matches([';', ' ', '\n']);
        let (at, length) = ["&&", ";", "\n"].iter().filter_map(|s| Some((script.rfind(s)?, s.len()))).max()?;
        let (head, last) = script.split_at_checked(at + length)?;
        let mut words = last.split_whitespace().skip_while(|w| *w == "exec");
        let sleep = match (words.next()?, words.next()?) {
            ("sleep", "infinity" | "inf") | ("tail", "-f" | "-F") => None,
            ("sleep", time) => Some(span(time)?),
            _ => return None,
        };
        // A here-document, a quoted text or a group may end like a sleep.
        let closed = head.matches('\'').count() % 2 == 0 && head.matches('"').count() % 2 == 0 && !head.contains("<<");
        if script.split_at_checked(at)?.0.trim().is_empty() || !closed || words.count() > 1 {
            return None;
        }
        let mut before = command.to_vec();
        *before.get_mut(2)? = format!("{head} exit {ASLEEP}");
        Some(Self { before, sleep })
    }
}

/// Whether a script sleeps and then does something else.
pub(super) fn between(command: &[String]) -> bool {
    let several = |s: &str| s.contains("sleep ") && s.trim_end_matches([';', ' ']).contains(['\n', ';', '&']);
    script(command).is_some_and(several) && Nap::read(command).is_none()
}

/// Programs of a shell's image that do something and end.
const ENDING: [&str; 36] = [
    "[", "cat", "cd", "chmod", "cp", "curl", "date", "df", "dig", "du", "echo", "env", "exit", "export", "false", "find", "free", "grep",
    "head", "hostname", "id", "ls", "mkdir", "nslookup", "printenv", "printf", "ps", "pwd", "rm", "set", "sort", "stat", "true", "uname",
    "wc", "wget",
];

/// Whether each program that a command names ends by itself.
pub(super) fn ends(command: &[String]) -> bool {
    let known = |word: &str| ENDING.contains(&word.rsplit('/').next().unwrap_or(word));
    let first = |part: &str| part.split_whitespace().next().is_none_or(known);
    match (script(command), command) {
        (Some(script), _) => !script.is_empty() && script.split([';', '&', '|', '\n']).all(first),
        (None, [program, ..]) => known(program),
        (None, []) => false,
    }
}

/// The line of a `sh -c` command.
pub(super) fn script(command: &[String]) -> Option<&str> {
    match command {
        [shell, flag, line, ..] if matches!(shell.rsplit('/').next(), Some("sh" | "bash" | "ash")) && flag.ends_with('c') => {
            Some(line.trim())
        }
        _ => None,
    }
}

/// The time of a `sleep`: seconds, or with a unit.
pub(super) fn span(text: &str) -> Option<Duration> {
    quantity::duration(text).or_else(|| text.parse::<f64>().ok().and_then(|s| Duration::try_from_secs_f64(s).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(script: &str) -> Option<(String, Option<Duration>)> {
        let words = ["sh", "-c", script].map(str::to_owned);
        Nap::read(&words).map(|n| (n.before.into_iter().nth(2).unwrap_or_default(), n.sleep))
    }

    #[test]
    fn what_comes_before_a_sleep_is_told_from_it() {
        let hour = Some(Duration::from_hours(1));
        assert_eq!(read("echo a > /tmp/f && sleep 3600"), Some(("echo a > /tmp/f && exit 213".to_owned(), hour)));
        assert_eq!(read("set -e\necho a; sleep 1h;\n"), Some(("set -e\necho a; exit 213".to_owned(), hour)));
        assert_eq!(read("date;exec sleep infinity"), Some(("date; exit 213".to_owned(), None)));
        assert_eq!(read("date; tail -f /dev/null"), Some(("date; exit 213".to_owned(), None)));
    }

    #[test]
    fn other_scripts_are_left_alone() {
        for script in [
            "sleep 3600",
            "; sleep 5",
            "echo 'a; sleep 5'",
            "while true; do date; sleep 5; done",
            "date | sleep 5",
            "echo a; sleep 5 & wait",
        ] {
            assert_eq!(read(script), None, "{script}");
        }
        assert_eq!(Nap::read(&["sleep".to_owned(), "5".to_owned()]), None);
        let of = |script: &str| ends(&["sh", "-c", script].map(str::to_owned));
        assert!(of("wget -qO- http://web | grep -c up; date") && !of("date; httpd -f") && !of(""));
        assert!(ends(&["/bin/date".to_owned()]) && !ends(&["httpd".to_owned()]) && !ends(&[]));
        let of = |script: &str| between(&["sh", "-c", script].map(str::to_owned));
        assert!(of("echo a; sleep 5; echo b") && !of("echo a; sleep 5") && !of("sleep 5;"));
    }
}
