//! Programs about time: `sleep`, `date`, `timeout`, and `seq`, `time`, `nohup`, `nice`.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};

use super::options;
use super::shell::child;
use crate::sim::shell::host::Host;
use crate::sim::shell::process::{BYTES_MAX, Process};

/// Formats a time as `date` does. Without `nanoseconds` (busybox) `%N` stays as it is.
pub(super) fn format(at: Timestamp, template: &str, nanoseconds: bool) -> String {
    let zoned = at.to_zoned(TimeZone::UTC);
    let nanos = u32::try_from(at.as_nanosecond().rem_euclid(1_000_000_000)).unwrap_or(0);
    let mut text = String::new();
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut conversion = String::from("%");
        while let Some(flag) = chars.peek().copied().filter(|c| c.is_ascii_digit() || matches!(c, '-' | '_' | ':' | '^' | '#')) {
            conversion.push(flag);
            chars.next();
        }
        let Some(letter) = chars.next() else {
            text.push_str(&conversion);
            break;
        };
        conversion.push(letter);
        match letter {
            '%' => text.push('%'),
            'n' => text.push('\n'),
            't' => text.push('\t'),
            's' => text.push_str(&at.as_second().to_string()),
            'N' if nanoseconds => {
                let digits: usize = conversion.trim_matches(['%', 'N', '-', '_']).parse().unwrap_or(9);
                let all = format!("{nanos:09}");
                text.extend(all.chars().chain(std::iter::repeat('0')).take(digits.min(30)));
            }
            'N' => text.push_str(&conversion),
            'x' => text.push_str(&format(at, "%m/%d/%y", nanoseconds)),
            'X' => text.push_str(&format(at, "%H:%M:%S", nanoseconds)),
            'c' => text.push_str(&format(at, "%a %b %e %H:%M:%S %Y", nanoseconds)),
            'r' => text.push_str(&format(at, "%I:%M:%S %p", nanoseconds)),
            _ => text.push_str(&jiff::fmt::strtime::format(&conversion, &zoned).unwrap_or(conversion)),
        }
    }
    text
}

fn given(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = text.trim();
    if let Some(seconds) = text.strip_prefix('@') {
        return Timestamp::from_second(seconds.split('.').next()?.parse().ok()?).ok();
    }
    if matches!(text, "" | "now" | "today") {
        return Some(now);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    for pattern in ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"] {
        if let Ok(at) = jiff::civil::DateTime::strptime(pattern, text) {
            return at.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp());
        }
    }
    if let Ok(date) = jiff::civil::Date::strptime("%Y-%m-%d", text) {
        return date.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp());
    }
    let mut words = text.split_ascii_whitespace();
    let amount: i64 = match words.next()? {
        "yesterday" => return now.checked_sub(24.hours()).ok(),
        "tomorrow" => return now.checked_add(24.hours()).ok(),
        number => number.parse().ok()?,
    };
    let unit = match words.next()?.trim_end_matches('s') {
        "second" | "sec" => 1,
        "minute" | "min" => 60,
        "hour" => 3600,
        "day" => 86_400,
        "week" => 604_800,
        _ => return None,
    };
    let sign = if words.next() == Some("ago") { -1 } else { 1 };
    now.checked_add(SignedDuration::from_secs(amount.checked_mul(unit)?.checked_mul(sign)?)).ok()
}

/// `date [-u] [-d WHEN] [+FORMAT]`
pub(super) fn date<H: Host>(p: &mut Process<H>) -> i32 {
    let args: Vec<String> =
        p.args.iter().map(|a| a.strip_prefix("-I").map_or_else(|| a.clone(), |unit| format!("--iso-8601={unit}"))).collect();
    let options = options::parse(&args, "ud:Rr:s:", &[("date", 'd'), ("utc", 'u'), ("rfc-email", 'R'), ("iso-8601", 'I')]);
    let busybox = p.machine.busybox();
    let mut at = p.host().now();
    if let Some(text) = options.value('d') {
        if let Some(time) = given(text, at) {
            at = time;
        } else {
            p.complain(format!("invalid date '{text}'"));
            return 1;
        }
    }
    if let Some(path) = options.value('r') {
        let path = p.path(path);
        match p.machine.files(|f| f.stat(&path)) {
            Ok(node) => at = node.modified,
            Err(error) => {
                p.complain(format!("{path}: {error}"));
                return 1;
            }
        }
    }
    if options.has('s') {
        p.complain("cannot set date: Operation not permitted");
        return 1;
    }
    let template = match options.rest.first() {
        Some(text) => {
            if let Some(template) = text.strip_prefix('+') {
                template.to_owned()
            } else {
                p.complain(format!("invalid date '{text}'"));
                return 1;
            }
        }
        None if options.has('R') => "%a, %d %b %Y %H:%M:%S +0000".to_owned(),
        None if options.has('I') => match options.value('I') {
            Some("seconds" | "s") => "%Y-%m-%dT%H:%M:%S+00:00".to_owned(),
            _ => "%Y-%m-%d".to_owned(),
        },
        None => "%a %b %e %H:%M:%S UTC %Y".to_owned(),
    };
    p.line(format(at, &template, !busybox));
    0
}

/// A duration such as `0.5`, `3m` or `infinity`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if matches!(text, "infinity" | "inf") {
        return Some(Duration::MAX);
    }
    let (number, factor) = match text.chars().last()? {
        's' => (text.trim_end_matches('s'), 1.0),
        'm' => (text.trim_end_matches('m'), 60.0),
        'h' => (text.trim_end_matches('h'), 3600.0),
        'd' => (text.trim_end_matches('d'), 86_400.0),
        _ => (text, 1.0),
    };
    if !number.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * factor).ok()
}

/// `sleep DURATION...`, `usleep MICROSECONDS`
pub(super) async fn sleep<H: Host>(p: &mut Process<H>) -> i32 {
    let micro = p.name() == "usleep";
    let mut total = Duration::ZERO;
    if p.args.len() < 2 {
        p.complain("missing operand");
        return 1;
    }
    for argument in p.args.clone().iter().skip(1) {
        let Some(part) = duration(argument) else {
            p.complain(if p.machine.busybox() {
                format!("invalid number '{argument}'")
            } else {
                format!("invalid time interval '{argument}'\nTry 'sleep --help' for more information.")
            });
            return 1;
        };
        total = total.saturating_add(if micro { part / 1_000_000 } else { part });
    }
    if p.sleep(total).await { 0 } else { 143 }
}

/// `timeout [-s SIGNAL] [-k AFTER] DURATION COMMAND...`
pub(super) async fn timeout<H: Host>(p: &mut Process<H>) -> i32 {
    let options =
        options::parse(&p.args, "+s:k:t:v", &[("signal", 's'), ("kill-after", 'k'), ("preserve-status", 'p'), ("foreground", 'f')]);
    let Some((limit, command)) = options.rest.split_first() else {
        p.complain("missing operand");
        return 125;
    };
    let Some(limit) = duration(limit) else {
        p.complain(format!("invalid time interval '{limit}'"));
        return 125;
    };
    let now = p.host().now();
    let own = now.checked_add(SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX);
    let outer = p.deadline;
    p.deadline = own.min(outer);
    let code = child(p, command).await;
    let expired = !limit.is_zero() && own <= outer && p.host().now() >= own;
    p.deadline = outer;
    match (expired, p.machine.busybox()) {
        (false, _) => code,
        (true, false) => 124,
        (true, true) => 143,
    }
}

/// `time`, `nohup`, `nice`: run the rest.
pub(super) async fn wrapper<H: Host>(p: &mut Process<H>) -> i32 {
    let name = p.name();
    let options = options::parse(&p.args, "+n:pv", &[]);
    let start = p.host().now();
    let rest = options.rest.clone();
    if rest.is_empty() {
        return 0;
    }
    let code = child(p, &rest).await;
    if name == "time" {
        let took = p.host().now().duration_since(start).as_secs_f64();
        let minutes = (took / 60.0).floor();
        p.raw_error(format!("real\t{minutes:.0}m {:.2}s\nuser\t0m 0.00s\nsys\t0m 0.00s\n", took - minutes * 60.0));
    }
    code
}

/// `seq [FIRST [STEP]] LAST`
pub(super) fn seq<H: Host>(p: &mut Process<H>) -> i32 {
    let mut separator = "\n".to_owned();
    let mut pad = false;
    let mut values = Vec::new();
    let mut args = p.args.clone().into_iter().skip(1);
    while let Some(argument) = args.next() {
        match argument.as_str() {
            "-s" => separator = args.next().unwrap_or_default(),
            attached if attached.starts_with("-s") => attached.trim_start_matches("-s").clone_into(&mut separator),
            "-w" => pad = true,
            _ => values.push(argument),
        }
    }
    let decimals = values.iter().map(|v| v.split_once('.').map_or(0, |(_, d)| d.len())).max().unwrap_or(0).min(20);
    let mut numbers = Vec::new();
    for value in &values {
        let Ok(number) = value.parse::<f64>() else {
            p.complain(format!("invalid floating point argument: '{value}'"));
            return 1;
        };
        numbers.push(number);
    }
    let (first, step, last) = match numbers.as_slice() {
        [last] => (1.0, 1.0, *last),
        [first, last] => (*first, 1.0, *last),
        [first, step, last] => (*first, *step, *last),
        _ => {
            p.complain("missing operand");
            return 1;
        }
    };
    if step == 0.0 {
        p.complain("invalid Zero increment value: '0'");
        return 1;
    }
    let width = if pad { format!("{last:.decimals$}").len() } else { 0 };
    let count = ((last - first) / step + 1e-9).floor();
    let mut text = String::new();
    let mut index = 0.0;
    while index <= count && text.len() < BYTES_MAX {
        if index > 0.0 {
            text.push_str(&separator);
        }
        let _ = write!(text, "{:0width$.decimals$}", first + step * index);
        index += 1.0;
    }
    if !text.is_empty() {
        p.line(text);
    }
    0
}
