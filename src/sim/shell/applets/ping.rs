//! `ping`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::options;
use crate::sim::shell::host::{Host, Ping, ResolveError};
use crate::sim::shell::process::Process;

/// How long a resolver waits for a name server that does not answer (two tries of five seconds).
const RESOLVER_TIMEOUT: Duration = Duration::from_secs(10);

/// Finds an address: a dotted one as it is, `localhost`, or through the pod's resolver (which may take time).
pub(super) async fn resolve<H: Host>(p: &mut Process<H>, name: &str) -> Result<Ipv4Addr, ResolveError> {
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    if name == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST);
    }
    let result = p.host().resolve(name);
    if result == Err(ResolveError::NoAnswer) {
        p.sleep(RESOLVER_TIMEOUT).await;
    }
    result
}

fn millis(d: Duration) -> f64 {
    d.as_secs_f64() * 1000.0
}

/// A time as `ping` shows it: three significant digits under 100.
fn shown(ms: f64) -> String {
    match ms {
        _ if ms < 1.0 => format!("{ms:.3}"),
        _ if ms < 10.0 => format!("{ms:.2}"),
        _ if ms < 100.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// Packets in flight and what came of them.
struct Probe {
    name: String,
    address: Ipv4Addr,
    quiet: bool,
    sent: u32,
    received: Vec<f64>,
    /// When a reply arrives, its number, its round-trip time.
    flying: Vec<(Duration, u32, Duration)>,
    clock: Duration,
}

impl Probe {
    /// Waits until `until`, showing the replies that arrive; `false` when the process must end.
    async fn wait<H: Host>(&mut self, p: &mut Process<H>, until: Duration) -> bool {
        loop {
            self.flying.sort();
            let Some((arrival, number, rtt)) = self.flying.first().copied().filter(|f| f.0 <= until) else {
                let left = until.saturating_sub(self.clock);
                self.clock = until;
                return left.is_zero() || p.sleep(left).await;
            };
            if !p.sleep(arrival.saturating_sub(self.clock)).await {
                return false;
            }
            self.clock = arrival;
            self.flying.remove(0);
            self.received.push(millis(rtt));
            if self.quiet {
                continue;
            }
            let (address, ms) = (self.address, millis(rtt));
            if p.machine.busybox() {
                p.line(format!("64 bytes from {address}: seq={number} ttl=62 time={ms:.3} ms"));
            } else {
                p.line(format!("64 bytes from {address}: icmp_seq={} ttl=62 time={} ms", number + 1, shown(ms)));
            }
        }
    }

    fn summary(&self, busybox: bool, took: Duration) -> String {
        let (sent, got) = (self.sent, u32::try_from(self.received.len()).unwrap_or(u32::MAX));
        let lost = f64::from(sent.saturating_sub(got)) * 100.0 / f64::from(sent.max(1));
        let least = self.received.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.received.iter().copied().fold(0.0, f64::max);
        let count = f64::from(got.max(1));
        let mean = self.received.iter().sum::<f64>() / count;
        let mut text = format!("\n--- {} ping statistics ---\n", self.name);
        if busybox {
            let _ = writeln!(text, "{sent} packets transmitted, {got} packets received, {lost:.0}% packet loss");
            if got > 0 {
                let _ = writeln!(text, "round-trip min/avg/max = {least:.3}/{mean:.3}/{most:.3} ms");
            }
            return text;
        }
        let percent = super::echo::significant(lost, 6);
        let _ = writeln!(text, "{sent} packets transmitted, {got} received, {percent}% packet loss, time {:.0}ms", millis(took));
        if got > 0 {
            let variance = self.received.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            let _ = writeln!(text, "rtt min/avg/max/mdev = {least:.3}/{mean:.3}/{most:.3}/{:.3} ms", variance.sqrt());
        } else {
            text.push('\n');
        }
        text
    }
}

/// `ping [-c COUNT] [-i INTERVAL] [-W WAIT] [-w DEADLINE] HOST`
pub(super) async fn ping<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "c:W:w:i:qns:t:I:46AfvDO", &[]);
    let busybox = p.machine.busybox();
    let Some(name) = options.rest.first().cloned() else {
        p.raw_error(if busybox {
            "BusyBox v1.37.0 multi-call binary.\n\nUsage: ping [OPTIONS] HOST\n"
        } else {
            "ping: usage error: Destination address required\n"
        });
        return if busybox { 1 } else { 2 };
    };
    let address = match resolve(p, &name).await {
        Ok(address) => address,
        Err(error) => {
            let reason = match error {
                ResolveError::NoSuchName => "Name or service not known",
                ResolveError::NoAnswer => "Temporary failure in name resolution",
            };
            p.raw_error(if busybox { format!("ping: bad address '{name}'\n") } else { format!("ping: {name}: {reason}\n") });
            return if busybox { 1 } else { 2 };
        }
    };
    let seconds = |letter| options.value(letter).and_then(super::time::duration);
    let interval = seconds('i').unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(2));
    let linger = seconds('W').unwrap_or(Duration::from_secs(10));
    let stop = seconds('w').unwrap_or(Duration::MAX);
    let count: u32 = options.number('c').unwrap_or(u32::MAX);
    p.line(if busybox {
        format!("PING {name} ({address}): 56 data bytes")
    } else {
        format!("PING {name} ({address}) 56(84) bytes of data.")
    });
    let mut probe =
        Probe { name, address, quiet: options.has('q'), sent: 0, received: Vec::new(), flying: Vec::new(), clock: Duration::ZERO };
    let mut last_sent = Duration::ZERO;
    while probe.sent < count && probe.clock < stop {
        last_sent = probe.clock;
        if let Ping::Reply(rtt) = p.host().ping(address) {
            probe.flying.push((probe.clock + rtt, probe.sent, rtt));
        }
        probe.sent += 1;
        if probe.sent < count && !probe.wait(p, (last_sent + interval).min(stop)).await {
            return 143;
        }
    }
    // After the last request: until everything has been answered, or the time is over.
    let all_flying = probe.flying.len() + probe.received.len() == probe.sent as usize;
    let limit = (last_sent + linger).min(stop);
    let end =
        probe.flying.iter().map(|f| f.0).max().filter(|_| all_flying).unwrap_or(if all_flying { probe.clock } else { limit }).min(limit);
    if !probe.wait(p, end.max(probe.clock)).await {
        return 143;
    }
    let text = probe.summary(busybox, last_sent + Duration::from_millis(u64::from(probe.sent)));
    p.print(text);
    i32::from(probe.received.is_empty() || (options.has('w') && options.has('c') && probe.sent < count))
}
