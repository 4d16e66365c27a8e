//! Asks the embedded cluster to let simulated time pass.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Asked at once: the runner compares the clock with its own deadline between two jumps.
const LONGEST: Duration = Duration::from_secs(30);

/// The cluster's clock, as `SIM_CLOCK` names it: `http://127.0.0.1:PORT/.sim`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SimClock {
    address: String,
    path: String,
}

impl SimClock {
    pub(super) fn from_environment() -> Option<Self> {
        Self::parse(&std::env::var("SIM_CLOCK").ok()?)
    }

    pub(super) fn parse(url: &str) -> Option<Self> {
        let (address, path) = url.strip_prefix("http://")?.split_once('/').unwrap_or((url.strip_prefix("http://")?, ""));
        Some(Self { address: address.to_owned(), path: path.trim_matches('/').to_owned() })
    }

    /// Returns when `total` of simulated time has passed. If the cluster does not answer, real time has to do.
    pub(super) fn sleep(&self, total: Duration) {
        let mut left = total;
        while !left.is_zero() {
            let part = left.min(LONGEST);
            let start = Instant::now();
            if self.get(&format!("sleep?ms={}", part.as_millis().max(1))).is_err() {
                std::thread::sleep(left.saturating_sub(start.elapsed()));
                return;
            }
            left = left.saturating_sub(part);
        }
    }

    /// A limit from now on, for another process that is to be started: what that does first must not decide when the limit
    /// begins. If the cluster does not answer, it is one of real time.
    pub(super) fn limit(&self, total: Duration) -> Limit {
        Limit { clock: self.clone(), from_ms: self.unix_ms(), total }
    }

    fn unix_ms(&self) -> Option<u64> {
        let date = self.date()?;
        let (seconds, millis) = date.split_once('.')?;
        seconds.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(millis.parse().ok()?)
    }

    /// Tells the cluster what this machine's clock shows; how far that is ahead, in milliseconds. `None`: no answer.
    pub(super) fn ahead(&self) -> Option<i64> {
        let unix_ms = jiff::Timestamp::now().as_millisecond();
        self.get(&format!("calendar?unix_ms={unix_ms}")).ok()?.trim().parse().ok()
    }

    /// The cluster's calendar time, in Unix seconds with a fraction; `None`: no answer.
    pub(super) fn date(&self) -> Option<String> {
        let date = self.get("date").ok()?;
        date.parse::<f64>().ok().map(|_| date)
    }

    /// The body of a good answer.
    fn get(&self, what: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        let (path, host) = (&self.path, &self.address);
        stream.write_all(format!("GET /{path}/{what} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        // "HTTP/1.1 200 OK"
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        if head.get(9..10) == Some("2") { Ok(body.to_owned()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
    }
}

/// See [`SimClock::limit`].
pub(super) struct Limit {
    clock: SimClock,
    from_ms: Option<u64>,
    total: Duration,
}

impl Limit {
    /// Returns when it is reached. The process on which it is set may be between two looks of its own, so the cluster lets
    /// time pass for a limit only when all has been idle for longer than for a sleep.
    pub(super) fn wait(self) {
        let begun = Instant::now();
        let Some(from) = self.from_ms else { return std::thread::sleep(self.total) };
        let end = from.saturating_add(u64::try_from(self.total.as_millis()).unwrap_or(u64::MAX));
        let step = u64::try_from(LONGEST.as_millis()).unwrap_or(u64::MAX);
        let mut at = from;
        while at < end {
            at = at.saturating_add(step).min(end);
            if self.clock.get(&format!("sleep?until={at}&limit=true")).is_err() {
                return std::thread::sleep(self.total.saturating_sub(begun.elapsed()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_setting_is_split() {
        let clock = SimClock::parse("http://127.0.0.1:7001/.sim").unwrap();
        assert_eq!((clock.address.as_str(), clock.path.as_str()), ("127.0.0.1:7001", ".sim"));
        assert_eq!(SimClock::parse("nonsense"), None);
    }

    #[test]
    fn long_waits_are_asked_in_parts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clock = SimClock::parse(&format!("http://{}/.sim", listener.local_addr().unwrap())).unwrap();
        let server = std::thread::spawn(move || {
            (0..3)
                .map(|_| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut buffer = [0; 1024];
                    let n = stream.read(&mut buffer).unwrap();
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                    String::from_utf8_lossy(&buffer[..n]).lines().next().unwrap().to_owned()
                })
                .collect::<Vec<_>>()
        });
        let start = Instant::now();
        clock.sleep(Duration::from_millis(60_500));
        assert!(start.elapsed() < Duration::from_secs(5));
        let asked = server.join().unwrap();
        assert_eq!(asked[0], "GET /.sim/sleep?ms=30000 HTTP/1.1");
        assert_eq!(asked[2], "GET /.sim/sleep?ms=500 HTTP/1.1");
    }

    #[test]
    fn without_an_answer_real_time_passes() {
        // Bound and dropped: nobody listens there.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let start = Instant::now();
        SimClock::parse(&format!("http://{address}/.sim")).unwrap().sleep(Duration::from_millis(60));
        assert!(start.elapsed() >= Duration::from_millis(55));
    }
}
