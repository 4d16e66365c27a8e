//! Faults of a pod's network and disks, and what they do to packets, connections and writes.
//!
//! Simplification: every lost TCP segment, also of the handshake, is sent again after 200 ms, 400 ms, ... as an
//! established connection does; so loss slows requests and only rarely breaks one with a time-out of a second.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::runtime::PodRun;
use crate::sim::world::World;

/// First retransmission time-out; it doubles with every loss.
const RETRANSMIT: f64 = 0.2;
/// Most retransmissions of one segment.
const RETRIES: u32 = 8;

/// What netem does to the packets that leave a pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Netem {
    /// Added delay in seconds.
    pub delay: f64,
    /// Deviation of the delay in seconds.
    pub jitter: f64,
    /// Probability that a packet is lost.
    pub loss: f64,
    /// Probability that it is sent twice.
    pub duplicate: f64,
    /// Probability that it is damaged: the receiver drops it.
    pub corrupt: f64,
    /// Bytes a second, when limited.
    pub rate: Option<f64>,
}

/// A network fault on one pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetFault {
    /// What happens to packets.
    pub netem: Netem,
    /// Packets that arrive are dropped as well.
    pub inbound: bool,
    /// Packets that leave are affected.
    pub outbound: bool,
    /// Only these peers; `None`: all.
    pub peers: Option<BTreeSet<Ipv4Addr>>,
}

/// A disk fault on one container.
#[derive(Debug, Clone, PartialEq)]
pub struct IoFault {
    /// The container's name.
    pub container: String,
    /// The mount it covers.
    pub mount: String,
    /// Path pattern; empty: everything below the mount.
    pub pattern: String,
    /// Methods affected; empty: all.
    pub methods: Vec<String>,
    /// Added to each call.
    pub delay: Duration,
    /// The error number name, when calls fail.
    pub error: Option<&'static str>,
    /// Share of calls affected, 0 to 1.
    pub share: f64,
}

/// The faults on what `pod` sends to `peer`, together.
pub fn egress(pod: &PodRun, peer: Option<Ipv4Addr>) -> Netem {
    let mut all = Netem::default();
    for (_, f) in pod.net.iter().filter(|(_, f)| f.outbound && affects(f, peer)) {
        all = join(&all, &f.netem);
    }
    all
}

/// The faults on what reaches `pod` from `peer`.
pub fn ingress(pod: &PodRun, peer: Option<Ipv4Addr>) -> Netem {
    let mut all = Netem::default();
    for (_, f) in pod.net.iter().filter(|(_, f)| f.inbound && affects(f, peer)) {
        all = join(&all, &f.netem);
    }
    all
}

fn affects(fault: &NetFault, peer: Option<Ipv4Addr>) -> bool {
    fault.peers.as_ref().is_none_or(|p| peer.is_some_and(|a| p.contains(&a)))
}

/// Two faults one after the other.
pub fn join(a: &Netem, b: &Netem) -> Netem {
    let either = |x: f64, y: f64| 1.0 - (1.0 - x) * (1.0 - y);
    Netem {
        delay: a.delay + b.delay,
        jitter: a.jitter + b.jitter,
        loss: either(a.loss, b.loss),
        duplicate: either(a.duplicate, b.duplicate),
        corrupt: either(a.corrupt, b.corrupt),
        rate: match (a.rate, b.rate) {
            (Some(x), Some(y)) => Some(x.min(y)),
            (x, y) => x.or(y),
        },
    }
}

impl Netem {
    /// Probability that a packet does not arrive in order to be used.
    pub fn lost(&self) -> f64 {
        1.0 - (1.0 - self.loss) * (1.0 - self.corrupt)
    }

    /// One packet of `bytes`: its delay in seconds, or `None` when it is lost. Draws nothing when there is no fault.
    pub fn packet(&self, world: &mut World, bytes: f64) -> Option<f64> {
        let lost = self.lost();
        if lost > 0.0 && world.uniform() < lost {
            return None;
        }
        let jitter = if self.jitter > 0.0 { (world.uniform() * 2.0 - 1.0) * self.jitter } else { 0.0 };
        Some((self.delay + jitter).max(0.0) + self.rate.map_or(0.0, |r| bytes / r.max(1.0)))
    }

    /// One TCP segment with its retransmissions: its delay in seconds, or `None` when it never arrives.
    pub fn segment(&self, world: &mut World, bytes: f64) -> Option<f64> {
        let (mut waited, mut timeout) = (0.0, RETRANSMIT);
        for _ in 0..RETRIES {
            if let Some(d) = self.packet(world, bytes) {
                return Some(waited + d);
            }
            waited += timeout;
            timeout *= 2.0;
        }
        None
    }

    /// Expected delay in seconds of a TCP segment, and the probability that it takes longer than `limit`.
    pub fn expected(&self, limit: f64) -> (f64, f64) {
        let lost = self.lost();
        let (mut mean, mut late, mut waited, mut timeout, mut p) = (0.0, 0.0, 0.0, RETRANSMIT, 1.0);
        for _ in 0..RETRIES {
            let here = p * (1.0 - lost);
            mean += here * (waited + self.delay);
            if waited + self.delay > limit {
                late += here;
            }
            p *= lost;
            waited += timeout;
            timeout *= 2.0;
        }
        (mean + p * waited, late + p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_slows_but_rarely_breaks() {
        let half = Netem { loss: 0.5, ..Netem::default() };
        let (mean, late) = half.expected(1.0);
        assert!(mean > 0.1 && late < 0.2, "{mean} {late}");
        let slow = Netem { delay: 1.0, ..Netem::default() };
        assert!((slow.expected(2.0).0 - 1.0).abs() < 1e-9 && slow.expected(2.0).1 < 1e-9);
        assert!(slow.expected(0.5).1 > 0.999);
    }
}
