//! Durations and points in time.

#![expect(clippy::needless_pass_by_value, reason = "the interpreter says what its functions look like")]

use std::cmp::Ordering;
use std::sync::LazyLock;

use cel::common::traits::{Adder, Comparer, Subtractor};
use cel::common::types::{self, CelInt, CelString};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError};

use super::types::{DURATION, TIMESTAMP, argument, overload, value};

/// A duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(pub(super) jiff::SignedDuration);

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) jiff::Timestamp);

impl Span {
    /// Reads `1h30m`, as Go does.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let short = text.bytes().all(|b| b.is_ascii_digit() || b"-+.hmsun".contains(&b) || !b.is_ascii());
        if !short {
            return None;
        }
        if text == "0" {
            return Some(Self(jiff::SignedDuration::ZERO));
        }
        text.parse().ok().map(Self)
    }
}

impl Moment {
    /// Reads RFC 3339.
    pub(super) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().or_else(|| format!("{text}T00:00:00Z").parse().ok()).map(Self)
    }
}

macro_rules! time_value {
    ($name:ident, $type:ident) => {
        value!(
            $name,
            $type,
            fn as_comparer(&self) -> Option<&dyn Comparer> {
                Some(self)
            },
            fn as_adder<'b, 'v>(&'b self) -> Option<&'b (dyn Adder + 'v)>
            where
                Self: 'v,
            {
                Some(self)
            },
            fn as_subtractor<'b, 'v>(&'b self) -> Option<&'b (dyn Subtractor + 'v)>
            where
                Self: 'v,
            {
                Some(self)
            }
        );

        impl Comparer for $name {
            fn compare(&self, other: &dyn Val) -> Result<Ordering, ExecutionError> {
                other.downcast_ref::<Self>().map(|other| self.cmp(other)).ok_or_else(|| overload("_<_"))
            }
        }
    };
}

time_value!(Span, DURATION);
time_value!(Moment, TIMESTAMP);

fn out_of_range() -> ExecutionError {
    ExecutionError::function_error("time", "timestamp out of range")
}

impl Adder for Span {
    fn add<'b, 'v>(&'b self, other: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        if let Some(span) = other.downcast_ref::<Self>() {
            return self.0.checked_add(span.0).map(|s| CowVal::owned(Self(s))).ok_or_else(out_of_range);
        }
        let moment = other.downcast_ref::<Moment>().ok_or_else(|| overload("_+_"))?;
        moment.0.checked_add(self.0).map(|m| CowVal::owned(Moment(m))).map_err(|_| out_of_range())
    }
}

impl Subtractor for Span {
    fn sub<'b, 'v>(&'b self, other: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let span = other.downcast_ref::<Self>().ok_or_else(|| overload("_-_"))?;
        self.0.checked_sub(span.0).map(|s| CowVal::owned(Self(s))).ok_or_else(out_of_range)
    }
}

impl Adder for Moment {
    fn add<'b, 'v>(&'b self, other: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let span = other.downcast_ref::<Span>().ok_or_else(|| overload("_+_"))?;
        self.0.checked_add(span.0).map(|m| CowVal::owned(Self(m))).map_err(|_| out_of_range())
    }
}

impl Subtractor for Moment {
    fn sub<'b, 'v>(&'b self, other: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        if let Some(moment) = other.downcast_ref::<Self>() {
            return Ok(CowVal::owned(Span(self.0.duration_since(moment.0))));
        }
        let span = other.downcast_ref::<Span>().ok_or_else(|| overload("_-_"))?;
        self.0.checked_sub(span.0).map(|m| CowVal::owned(Self(m))).map_err(|_| out_of_range())
    }
}

fn duration<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = argument::<CelString<'_>>(&args, 0, "duration")?;
    let wrong = || ExecutionError::function_error("duration", format!("time: invalid duration {:?}", text.inner()));
    Span::parse(text.inner()).map(CowVal::owned).ok_or_else(wrong)
}

fn timestamp<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = argument::<CelString<'_>>(&args, 0, "timestamp")?;
    let wrong = || ExecutionError::function_error("timestamp", format!("cannot parse {:?} as a timestamp", text.inner()));
    text.inner().parse().map(|at| CowVal::owned(Moment(at))).map_err(|_| wrong())
}

fn of_span(args: &[CowVal<'_, '_>], unit_ms: i128) -> Result<CelInt, ExecutionError> {
    let span = argument::<Span>(args, 0, "getSeconds")?.0;
    Ok(CelInt::from(i64::try_from(span.as_millis() / unit_ms).unwrap_or(i64::MAX)))
}

fn span_hours<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    of_span(&args, 3_600_000).map(CowVal::owned)
}

fn span_minutes<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    of_span(&args, 60_000).map(CowVal::owned)
}

fn span_seconds<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    of_span(&args, 1000).map(CowVal::owned)
}

fn span_milliseconds<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    of_span(&args, 1).map(CowVal::owned)
}

fn of_moment<'b, 'v>(args: &[CowVal<'_, '_>], part: fn(&jiff::Zoned) -> i64) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let zoned = argument::<Moment>(args, 0, "getFullYear")?.0.to_zoned(jiff::tz::TimeZone::UTC);
    Ok(CowVal::owned(CelInt::from(part(&zoned))))
}

macro_rules! part_of_moment {
    ($name:ident, $part:expr) => {
        fn $name<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
            of_moment(&args, $part)
        }
    };
}

part_of_moment!(year, |z| z.year().into());
part_of_moment!(month, |z| i64::from(z.month()) - 1);
part_of_moment!(day_of_month, |z| i64::from(z.day()) - 1);
part_of_moment!(date, |z| z.day().into());
part_of_moment!(day_of_week, |z| z.weekday().to_sunday_zero_offset().into());
part_of_moment!(day_of_year, |z| i64::from(z.day_of_year()) - 1);
part_of_moment!(hours, |z| z.hour().into());
part_of_moment!(minutes, |z| z.minute().into());
part_of_moment!(seconds, |z| z.second().into());
part_of_moment!(milliseconds, |z| z.millisecond().into());

/// `duration`, `timestamp` and what can be asked of them.
pub(super) fn extension(env: &mut Env) -> Result<(), DeclarationError> {
    let text = || types::STRING_TYPE.to_owned();
    env.add_overload("duration", "string_to_duration", vec![text()], duration)?;
    env.add_overload("timestamp", "string_to_timestamp", vec![text()], timestamp)?;
    let spans: [(&str, cel::common::functions::Function); 4] =
        [("getHours", span_hours), ("getMinutes", span_minutes), ("getSeconds", span_seconds), ("getMilliseconds", span_milliseconds)];
    for (name, function) in spans {
        env.add_member_overload(name, &format!("duration_{name}"), LazyLock::force(&DURATION).to_owned(), vec![], function)?;
    }
    let moments: [(&str, cel::common::functions::Function); 10] = [
        ("getFullYear", year),
        ("getMonth", month),
        ("getDayOfMonth", day_of_month),
        ("getDate", date),
        ("getDayOfWeek", day_of_week),
        ("getDayOfYear", day_of_year),
        ("getHours", hours),
        ("getMinutes", minutes),
        ("getSeconds", seconds),
        ("getMilliseconds", milliseconds),
    ];
    for (name, function) in moments {
        env.add_member_overload(name, &format!("timestamp_{name}"), LazyLock::force(&TIMESTAMP).to_owned(), vec![], function)?;
    }
    Ok(())
}
