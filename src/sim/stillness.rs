//! When outside processes can be taken to wait: decided from looks at them, as many as it takes.
//!
//! Input: what each look showed; output: whether time may jump, or when to look again. Pure but for the clock readings that
//! it is given.

use std::time::{Duration, Instant};

use crate::rest::{Rest, Stance};

/// How idleness of outside processes is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// How long everybody must be idle on a quiet machine.
    idle_for: Duration,
    /// Real time between two looks.
    look_every: Duration,
    /// On a crowded machine something may be on its way between two processes for as long as either is kept from the
    /// processor. How late we wake ourselves tells how long that is; so many times as long is added.
    lateness_factor: u32,
    /// Whether it is enough that everybody stays in one [`Stance`] for [`STILL`], longer than their time-outs that end soon.
    by_stance: bool,
}

/// Somebody sleeps, and says so: one look may catch another process between two steps of a computation, a few do not.
pub(super) const SLEEPING: Patience =
    Patience { idle_for: STILL, look_every: Duration::from_millis(3), lateness_factor: 4, by_stance: false };
/// They wait for watches or limits: client-go looks every 100 ms whether the first list of a watch has come
/// (`cache.WaitForCacheSync`), and is idle in between without waiting for the cluster.
pub(super) const WATCHING: Patience =
    Patience { idle_for: Duration::from_millis(150), look_every: Duration::from_millis(15), lateness_factor: 1, by_stance: true };
/// Only limits are left: a client hangs, or is between two requests. Nothing but the limit can come of it, which is not to
/// be reached before its time, and it is rare enough to cost a second.
pub(super) const HANGING: Patience =
    Patience { idle_for: Duration::from_secs(1), look_every: Duration::from_millis(15), lateness_factor: 4, by_stance: false };

/// How long several looks must show the same on a quiet machine.
const STILL: Duration = Duration::from_millis(9);
/// [`Patience::lateness_factor`] for it.
const STILL_LATENESS: u32 = 4;
/// Between two looks that may show the same.
const STILL_LOOK: Duration = Duration::from_millis(3);
/// Between looks at processes that compute, where what follows may be settled soon.
const BUSY_LOOK: Duration = Duration::from_millis(8);

/// What the looks since the last jump have shown.
#[derive(Debug, Default)]
pub(super) struct Stillness {
    idle_since: Option<Instant>,
    stance: Option<(Stance, Instant)>,
    lateness: Duration,
}

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Everybody waits.
    Jump,
    /// To look again after so long.
    LookIn(Duration),
}

impl Stillness {
    /// Somebody computes in this process, or time has moved: what was seen before says nothing.
    pub(super) fn forget(&mut self) {
        (self.idle_since, self.stance) = (None, None);
    }

    /// Takes in a look that began at `now`.
    pub(super) fn look(&mut self, rest: Option<Rest>, patience: Patience, now: Instant) -> Next {
        let Some(rest) = rest else {
            self.forget();
            return Next::LookIn(if patience.by_stance { BUSY_LOOK } else { patience.look_every });
        };
        let idle = now.saturating_duration_since(*self.idle_since.get_or_insert(now));
        if idle >= patience.idle_for + self.lateness * patience.lateness_factor {
            return Next::Jump;
        }
        let Some(stance) = rest.stance.filter(|_| patience.by_stance) else {
            self.stance = None;
            return Next::LookIn(patience.look_every);
        };
        let (_, since) = *self.stance.insert(self.stance.filter(|(before, _)| before.mark == stance.mark).unwrap_or((stance, now)));
        // A quarter more: the kernel wakes nobody early, but some late.
        let still = STILL + stance.wakes_within * 5 / 4 + self.lateness * STILL_LATENESS;
        if now.saturating_duration_since(since) >= still {
            return Next::Jump;
        }
        Next::LookIn(STILL_LOOK)
    }

    /// We slept for `took` where `asked` was meant.
    pub(super) fn slept(&mut self, asked: Duration, took: Duration) {
        // Timers of tokio are exact to a millisecond; what is beyond that is the machine's load. It is forgotten slowly,
        // since a crowded machine is not late each time.
        let late = took.saturating_sub(asked + Duration::from_millis(1));
        self.lateness = late.max(self.lateness * 9 / 10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn stance(mark: u64, wakes_within: Duration) -> Rest {
        Rest { stance: Some(Stance { mark, wakes_within }) }
    }

    /// Looks as often as it is told to, until it may jump; gives the time that took.
    fn until_jump(s: &mut Stillness, patience: Patience, seen: impl Fn(Duration) -> Option<Rest>) -> Duration {
        let start = Instant::now();
        let mut at = Duration::ZERO;
        for _ in 0..1000 {
            match s.look(seen(at), patience, start + at) {
                Next::Jump => return at,
                Next::LookIn(d) => at += d,
            }
        }
        panic!("never");
    }

    #[test]
    fn a_stance_that_stays_is_enough() {
        let took = until_jump(&mut Stillness::default(), WATCHING, |_| Some(stance(7, Duration::ZERO)));
        assert!(took >= STILL && took < 20 * MS, "{took:?}");
    }

    #[test]
    fn a_time_out_that_ends_soon_is_awaited() {
        // A client that polls every 100 ms finds its list at the second poll, and then waits for good.
        let polls = |at: Duration| match at.as_millis() {
            0..100 => stance(1, 100 * MS),
            100..200 => stance(2, 100 * MS),
            _ => stance(3, Duration::ZERO),
        };
        let took =
            until_jump(&mut Stillness::default(), WATCHING, |at| if at < 100 * MS { Some(polls(at)) } else { Some(polls(at + 100 * MS)) });
        assert!(took >= 100 * MS + STILL && took < 130 * MS, "{took:?}");
    }

    #[test]
    fn those_that_go_on_and_on_are_idle_after_all() {
        let took = until_jump(&mut Stillness::default(), WATCHING, |at| Some(stance(u64::try_from(at.as_millis()).unwrap(), MS)));
        assert!(took >= 150 * MS && took < 170 * MS, "{took:?}");
    }

    #[test]
    fn where_nothing_is_shown_it_takes_longer() {
        let took = until_jump(&mut Stillness::default(), WATCHING, |_| Some(Rest::default()));
        assert!(took >= 150 * MS && took < 180 * MS, "{took:?}");
        let took = until_jump(&mut Stillness::default(), SLEEPING, |_| Some(Rest::default()));
        assert!(took >= STILL && took < 20 * MS, "{took:?}");
    }

    #[test]
    fn one_who_computes_starts_it_anew() {
        let busy_until = 40 * MS;
        let took = until_jump(&mut Stillness::default(), WATCHING, |at| {
            if at == 3 * MS || at < busy_until && at > 6 * MS { None } else { Some(stance(1, Duration::ZERO)) }
        });
        assert!(took >= busy_until + STILL, "{took:?}");
    }

    #[test]
    fn a_late_machine_gets_more_time() {
        let mut s = Stillness::default();
        s.slept(3 * MS, 14 * MS);
        let took = until_jump(&mut s, WATCHING, |_| Some(stance(1, Duration::ZERO)));
        assert!(took >= STILL + 40 * MS, "{took:?}");
    }
}
