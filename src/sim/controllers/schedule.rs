//! Cron schedules: five fields or a `@` word, in a time zone.
//!
//! The zones are those of the program's own copy of the time zone database, so that they are the same on every machine.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::sim::time::{EPOCH_UNIX_S, SimTime};

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// How far ahead a date is looked for: the longest wait for a 29 February is eight years.
const AHEAD_DAYS: u32 = 8 * 366;

/// When a job is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    minutes: BTreeSet<u8>,
    hours: BTreeSet<u8>,
    days: BTreeSet<u8>,
    months: BTreeSet<u8>,
    weekdays: BTreeSet<u8>,
    /// Whether a day of the month or a weekday will do: when both are given, either is enough.
    either: bool,
}

impl Schedule {
    /// Reads a schedule; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else { return None };
        let mut weekday = field(weekdays, 0, 7, &DAYS, 0)?;
        if weekday.remove(&7) {
            weekday.insert(0);
        }
        let free = |f: &str| f.starts_with(['*', '?']);
        Some(Self {
            minutes: field(minutes, 0, 59, &[], 0)?,
            hours: field(hours, 0, 23, &[], 0)?,
            days: field(days, 1, 31, &[], 0)?,
            months: field(months, 1, 12, &MONTHS, 1)?,
            weekdays: weekday,
            either: !free(days) && !free(weekdays),
        })
    }

    /// The first moment after `after` at which it is due. A time that a clock leaves out when it is put forward is no time; of
    /// two when it is put back, the earlier counts.
    pub fn next(&self, after: SimTime, zone: &TimeZone) -> Option<SimTime> {
        let from = EPOCH_UNIX_S + i64::try_from(after.0 / 1000).ok()?;
        let mut day = Timestamp::from_second(from).ok()?.to_zoned(zone.clone()).date();
        for _ in 0..AHEAD_DAYS {
            if self.on(day) {
                let times = self.hours.iter().flat_map(|h| self.minutes.iter().map(move |m| (*h, *m)));
                let moments = times.filter_map(|(h, m)| {
                    let at = day.at(i8::try_from(h).ok()?, i8::try_from(m).ok()?, 0, 0);
                    let at = zone.to_ambiguous_zoned(at);
                    if matches!(at.offset(), AmbiguousOffset::Gap { .. }) { None } else { Some(at.earlier().ok()?.timestamp().as_second()) }
                });
                if let Some(at) = moments.filter(|at| *at > from).min() {
                    return Some(SimTime(u64::try_from((at - EPOCH_UNIX_S) * 1000).ok()?));
                }
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn on(&self, date: Date) -> bool {
        let number = |n: i8| u8::try_from(n).unwrap_or(0);
        let of_month = self.days.contains(&number(date.day()));
        let of_week = self.weekdays.contains(&number(date.weekday().to_sunday_zero_offset()));
        let fits = if self.either { of_month || of_week } else { of_month && of_week };
        fits && self.months.contains(&number(date.month()))
    }
}

/// One field: `*`, numbers, names, ranges, steps, and lists of them.
fn field(text: &str, low: u8, high: u8, names: &[&str], first: usize) -> Option<BTreeSet<u8>> {
    let number = |t: &str| {
        let named = names.iter().position(|n| t.eq_ignore_ascii_case(n)).and_then(|i| u8::try_from(i + first).ok());
        named.or_else(|| t.parse().ok()).filter(|n| (low..=high).contains(n))
    };
    let mut out = BTreeSet::new();
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(r, s)| (r, Some(s)));
        let step: usize = step.map_or(Some(1), |s| s.parse().ok())?;
        let (from, to) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (low, high),
            Some((a, b)) => (number(a)?, number(b)?),
            // A single number with a step counts from there to the end.
            None => (number(range)?, if part.contains('/') { high } else { number(range)? }),
        };
        if step == 0 || from > to {
            return None;
        }
        out.extend((from..=to).step_by(step));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, after: &str) -> String {
        next_in(schedule, after, None)
    }

    fn next_in(schedule: &str, after: &str, name: Option<&str>) -> String {
        let after = crate::sim::time::parse_rfc3339(after).unwrap();
        let zone = crate::sim::time::zone(name).unwrap();
        Schedule::parse(schedule).and_then(|s| s.next(after, &zone)).map_or_else(|| "never".to_owned(), SimTime::rfc3339)
    }

    #[test]
    fn zones_have_their_own_days_and_clocks() {
        for (schedule, after, zone, expected) in [
            ("30 9 * * *", "2026-12-01T00:00:00Z", "Asia/Kolkata", "2026-12-01T04:00:00Z"),
            ("0 0 * * *", "2026-12-01T06:00:00Z", "America/New_York", "2026-12-02T05:00:00Z"),
            // Put forward on 14 March 2027 at two: that day has no half past two.
            ("30 2 * * *", "2027-03-14T05:30:00Z", "America/New_York", "2027-03-15T06:30:00Z"),
            // Put back on 1 November 2026: half past one comes twice.
            ("30 1 * * *", "2026-11-01T04:00:00Z", "America/New_York", "2026-11-01T05:30:00Z"),
            ("30 1 * * *", "2026-11-01T05:30:00Z", "America/New_York", "2026-11-02T06:30:00Z"),
        ] {
            assert_eq!(next_in(schedule, after, Some(zone)), expected, "{schedule} in {zone} after {after}");
        }
        assert!(["Nowhere/Land", "Local", ""].into_iter().all(|name| crate::sim::time::zone(Some(name)).is_none()));
    }

    #[test]
    fn times_are_found() {
        for (schedule, after, expected) in [
            ("*/5 * * * *", "2026-12-01T10:01:30Z", "2026-12-01T10:05:00Z"),
            ("*/5 * * * *", "2026-12-01T10:05:00Z", "2026-12-01T10:10:00Z"),
            ("0 0 * * *", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
            ("@hourly", "2026-12-01T10:00:00Z", "2026-12-01T11:00:00Z"),
            ("30 8 * * mon-fri", "2026-12-04T09:00:00Z", "2026-12-07T08:30:00Z"),
            ("0 0 13 * 5", "2026-12-01T00:00:00Z", "2026-12-04T00:00:00Z"),
            ("0 0 29 feb *", "2026-12-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 31 2 *", "2026-12-01T00:00:00Z", "never"),
            ("0 0 * * 7", "2026-12-01T00:00:00Z", "2026-12-06T00:00:00Z"),
        ] {
            assert_eq!(next(schedule, after), expected, "{schedule} after {after}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in ["", "* * * *", "60 * * * *", "* * * * mun", "*/0 * * * *", "5-1 * * * *"] {
            assert_eq!(Schedule::parse(text), None, "{text}");
        }
    }
}
