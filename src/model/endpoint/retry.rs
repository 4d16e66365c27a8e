//! How long to wait before an endpoint is asked again.
//!
//! Input: the number of the failed attempt, what the server asked for, and the request's bytes, from which the jitter
//! is drawn so that equal runs pause equally. Output: the pause, or none when asking again is pointless.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use sha2::{Digest, Sha256};

/// A server that asks for more than this is out of service as far as a benchmark is concerned.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// The bounds of all retries of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) attempts: u32,
    pub(super) pause: Duration,
    pub(super) pause_max: Duration,
}

impl Backoff {
    /// The pause after attempt number `attempt` (from 1) has failed; none when no further attempt is left, or when the
    /// server asks for more patience than there is.
    pub(super) fn pause(&self, attempt: u32, asked: Option<Duration>, content: &[u8]) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let full = self.pause.saturating_mul(2_u32.saturating_pow(attempt - 1)).min(self.pause_max);
        // Between half and all of it, so that many trials do not return at the same moment.
        let own = full.mul_f64(0.5 + 0.5 * fraction(attempt, content));
        let pause = asked.map_or(own, |asked| asked.max(own));
        (pause <= LONGEST_WAIT.max(self.pause_max)).then_some(pause)
    }
}

/// A number in [0, 1) that depends on the request and the attempt alone.
fn fraction(attempt: u32, content: &[u8]) -> f64 {
    let digest = Sha256::new().chain_update(attempt.to_be_bytes()).chain_update(content).finalize();
    let first = digest.iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    f64::from(first) / (f64::from(u32::MAX) + 1.0)
}

/// What `Retry-After` asks for: seconds, or a date, which is compared with the server's own clock where it tells it.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = http_date(text)?;
    let now = headers.get(DATE).and_then(|date| http_date(date.to_str().ok()?)).unwrap_or_else(jiff::Timestamp::now);
    Some(Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO))
}

fn http_date(text: &str) -> Option<jiff::Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { attempts: 6, pause: Duration::from_secs(1), pause_max: Duration::from_secs(5) };

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_the_attempts() {
        for (attempt, full) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (5, 5.0)] {
            let pause = BACKOFF.pause(attempt, None, b"request").unwrap().as_secs_f64();
            assert!(pause >= full / 2.0 && pause <= full, "{attempt}: {pause}");
        }
        assert_eq!(BACKOFF.pause(6, None, b"request"), None);
    }

    #[test]
    fn the_jitter_depends_on_the_request_alone() {
        assert_eq!(BACKOFF.pause(1, None, b"a"), BACKOFF.pause(1, None, b"a"));
        assert_ne!(BACKOFF.pause(1, None, b"a"), BACKOFF.pause(1, None, b"b"));
    }

    #[test]
    fn the_longer_of_both_pauses_counts() {
        assert_eq!(BACKOFF.pause(1, Some(Duration::from_secs(30)), b"a"), Some(Duration::from_secs(30)));
        assert!(BACKOFF.pause(4, Some(Duration::ZERO), b"a").unwrap() >= Duration::from_millis(2500));
        assert_eq!(BACKOFF.pause(1, Some(Duration::from_hours(24)), b"a"), None);
    }

    fn asked(retry_after_text: &'static str, date: Option<&'static str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after_text.parse().unwrap());
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        retry_after(&headers)
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        assert_eq!(asked("7", None), Some(Duration::from_secs(7)));
        assert_eq!(asked("0.5", None), Some(Duration::from_millis(500)));
        assert_eq!(asked("-1", None), None);
        assert_eq!(asked("later", None), None);
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(asked("Sun, 06 Nov 1994 08:50:07 GMT", date), Some(Duration::from_secs(30)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:07 GMT", date), Some(Duration::ZERO));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:07 GMT", None), Some(Duration::ZERO));
    }
}
