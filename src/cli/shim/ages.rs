//! Ages that kubectl computes by itself.
//!
//! `kubectl describe` and `kubectl events` compare the times of objects with this machine's clock. The cluster is told
//! what that clock shows and moves the times in its answers ; what is printed as a date
//! is moved back here, line by line. Input: kubectl's standard output; output: the same, in the cluster's calendar.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use regex::{Captures, Regex};

use super::clock::SimClock;
use super::{code_of, say};

/// As Go prints `time.RFC1123Z`.
const DATE: &str = "%a, %d %b %Y %H:%M:%S %z";

/// How the names of fields that hold the time of something end.
const ENDINGS: [&str; 3] = ["Time", "Timestamp", " At"];

#[expect(clippy::expect_used, reason = "a constant, tested below")]
static DATES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} [+-]\d{4}").expect("a valid pattern"));
/// `Creation Timestamp:  2026-01-01T00:00:05Z`: how fields of kinds that kubectl has no words for are printed.
#[expect(clippy::expect_used, reason = "a constant, tested below")]
static FIELDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(\s*(?:- )?([A-Z][A-Za-z ]*):\s+)(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z)$").expect("a valid pattern")
});

/// Runs kubectl, whose clock is so many milliseconds ahead of the cluster's.
pub(super) fn run(mut command: Command, clock: &SimClock) -> ExitCode {
    let Some(ahead) = clock.ahead() else { return super::exec(command) };
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            say(&format!("kubectl: {error}"));
            return ExitCode::from(126);
        }
    };
    if let Some(stdout) = child.stdout.take() {
        let mut out = std::io::stdout().lock();
        // Ends with the child's output, or when nobody reads ours.
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let text = match std::str::from_utf8(&line) {
                Ok(text) => back(text, ahead).into_bytes(),
                Err(_) => line,
            };
            if out.write_all(&text).and_then(|()| out.write_all(b"\n")).is_err() {
                break;
            }
        }
    }
    match child.wait() {
        Ok(status) => code_of(status),
        Err(error) => {
            say(&format!("kubectl: {error}"));
            ExitCode::from(126)
        }
    }
}

/// A line with its dates in the cluster's calendar.
fn back(line: &str, ahead: i64) -> String {
    let line = DATES.replace_all(line, |date: &Captures<'_>| {
        let text = date.get(0).map_or("", |m| m.as_str());
        jiff::fmt::strtime::parse(DATE, text)
            .and_then(|t| t.to_timestamp())
            .ok()
            .and_then(|at| whole_second(at, ahead))
            .map_or_else(|| text.to_owned(), |at| at.strftime(DATE).to_string())
    });
    FIELDS
        .replace(&line, |field: &Captures<'_>| {
            let part = |i: usize| field.get(i).map_or("", |m| m.as_str());
            let known = ENDINGS.iter().any(|ending| part(2).ends_with(ending));
            let at = known.then(|| part(3).parse::<Timestamp>().ok()?.checked_sub(SignedDuration::from_millis(ahead)).ok()).flatten();
            at.map_or_else(|| part(0).to_owned(), |at| format!("{}{}", part(1), at.strftime("%Y-%m-%dT%H:%M:%S%.fZ")))
        })
        .into_owned()
}

/// The printed date has lost its fraction of a second: what was there was the next whole second of the cluster.
fn whole_second(at: Timestamp, ahead: i64) -> Option<Timestamp> {
    let ms = at.as_millisecond().checked_sub(ahead)?;
    Timestamp::from_second(ms.div_euclid(1000) + i64::from(ms.rem_euclid(1000) > 0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AHEAD: i64 = 86_400_123;

    #[test]
    fn dates_go_back_and_other_text_stays() {
        for (moved, own) in [
            ("Start Time:       Fri, 02 Jan 2026 00:00:05 +0000", "Start Time:       Thu, 01 Jan 2026 00:00:05 +0000"),
            ("  Creation Timestamp:  2026-01-02T00:00:05.123Z", "  Creation Timestamp:  2026-01-01T00:00:05Z"),
            ("    restartedAt:  2026-01-02T00:00:05.123Z", "    restartedAt:  2026-01-02T00:00:05.123Z"),
            ("  Normal  Pulled  12s  kubelet  at 2026-01-02T00:00:05Z", "  Normal  Pulled  12s  kubelet  at 2026-01-02T00:00:05Z"),
            ("", ""),
        ] {
            assert_eq!(back(moved, AHEAD), own);
        }
    }
}
