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

    /// When so many replies will have come, if no more requests are sent; `None`: never.
    fn answered(&self, wanted: u32) -> Option<Duration> {
        let missing = (wanted as usize).saturating_sub(self.received.len());
        let mut arrivals: Vec<Duration> = self.flying.iter().map(|f| f.0).collect();
        arrivals.sort_unstable();
        if missing == 0 { Some(self.clock) } else { arrivals.get(missing - 1).copied() }
    }

    /// How long is waited after the last request, which has just been sent: if anything has come so far, for two of the longest
    /// round trips; busybox counts them in whole seconds of 2^20 microseconds, one at least, iputils waits for one interval at least.
    fn patience(&self, busybox: bool, linger: Duration, interval: Duration) -> Duration {
        let Some(longest) = self.received.iter().copied().max_by(f64::total_cmp) else { return linger };
        if busybox {
            let seconds = (longest * 1000.0 / 524_288.0).floor().max(1.0);
            Duration::from_secs_f64(seconds)
        } else {
            Duration::from_secs_f64(2.0 * longest / 1000.0).max(interval)
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
    // With a deadline, iputils counts replies and not requests.
    let by_replies = !busybox && options.has('w') && options.has('c');
    let mut last_sent;
    loop {
        last_sent = probe.clock;
        if let Ping::Reply(rtt) = p.host().ping(address) {
            probe.flying.push((probe.clock + rtt, probe.sent, rtt));
        }
        probe.sent += 1;
        if probe.sent >= count && !by_replies {
            break;
        }
        let next = (last_sent + interval).min(stop);
        let until = if by_replies { probe.answered(count).map_or(next, |at| at.min(next)) } else { next };
        if !probe.wait(p, until).await {
            return 143;
        }
        if probe.clock >= stop || by_replies && probe.received.len() >= count as usize {
            break;
        }
    }
    // After the last request: until as many replies have come as requests were sent, or the time is over.
    let limit = (last_sent + probe.patience(busybox, linger, interval)).min(stop).max(probe.clock);
    let wanted = if by_replies { count } else { probe.sent };
    let end = probe.answered(wanted).map_or(limit, |at| at.min(limit));
    if !probe.wait(p, end.max(probe.clock)).await {
        return 143;
    }
    let text = probe.summary(busybox, last_sent + Duration::from_millis(u64::from(probe.sent)));
    p.print(text);
    i32::from(probe.received.is_empty() || (options.has('w') && options.has('c') && probe.received.len() < count as usize))
}
