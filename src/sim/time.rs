//! Simulated time: milliseconds since the cluster's epoch, and its mapping to calendar time.

use std::time::Duration;

/// A moment of simulated time, in milliseconds since the start of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct SimTime(pub u64);

/// The calendar moment of `SimTime(0)`: 2026-01-01T00:00:00Z, in Unix seconds. Fixed, so that runs are repeatable.
pub const EPOCH_UNIX_S: i64 = 1_767_225_600;

impl SimTime {
    /// The moment `d` later (whole milliseconds; saturating).
    #[must_use]
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Time elapsed since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment of a calendar time; the epoch for earlier ones.
    pub fn of(at: jiff::Timestamp) -> Self {
        Self::of_unix_ms(at.as_millisecond())
    }

    /// The same, for milliseconds of Unix time.
    pub fn of_unix_ms(ms: i64) -> Self {
        Self(u64::try_from(ms.saturating_sub(EPOCH_UNIX_S * 1000)).unwrap_or(0))
    }

    /// Calendar time.
    pub fn timestamp(self) -> jiff::Timestamp {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX / 2);
        jiff::Timestamp::from_millisecond(EPOCH_UNIX_S * 1000 + ms).unwrap_or(jiff::Timestamp::MAX)
    }

    /// `metav1.Time` text: whole seconds, `2026-01-01T00:00:00Z`.
    pub fn rfc3339(self) -> String {
        self.timestamp().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// `metav1.MicroTime` text: microseconds, `2026-01-01T00:00:00.000000Z`.
    pub fn rfc3339_micro(self) -> String {
        self.timestamp().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    }
}

/// Reads `metav1.Time` or `MicroTime` text back into simulated time; `None` for other text or times before the epoch.
pub fn parse_rfc3339(text: &str) -> Option<SimTime> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond() - EPOCH_UNIX_S * 1000).ok().map(SimTime)
}
/// A time zone by its name; UTC without one. `None`: there is no such zone.
pub fn zone(name: Option<&str>) -> Option<jiff::tz::TimeZone> {
    match name {
        None => Some(jiff::tz::TimeZone::UTC),
        // Whatever this machine's clock shows is nobody's zone.
        Some(name) if name.is_empty() || name.eq_ignore_ascii_case("local") => None,
        Some(name) => jiff::tz::TimeZone::get(name).ok(),
    }
}
