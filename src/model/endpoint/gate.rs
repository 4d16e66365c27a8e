//! What a server allows, kept by everybody who asks it, whichever model files they come from: calls side by side, requests and tokens a minute.
//!
//! Input: a call's estimated tokens before it and its true ones after; output: leave to begin, when it is time. A 429
//! halves the calls side by side and makes everybody wait; each success lets them grow again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::Limits;

/// The time for which limits are given.
const MINUTE: Duration = Duration::from_mins(1);

/// Longest wait for leave; beyond it something is wrong with the limits.
const LONGEST_WAIT: Duration = Duration::from_hours(6);

/// Calls side by side where the model file sets no bound.
const UNBOUNDED: f64 = 4096.0;

/// The gate of a server.
#[derive(Debug)]
pub(super) struct Gate {
    /// The time over which requests and tokens are counted.
    window: Duration,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    in_flight: u32,
    /// Calls allowed side by side just now.
    allowed: f64,
    not_before: Option<Instant>,
    /// Calls of the last minute: when they began, their number, and their tokens.
    begun: VecDeque<(Instant, u64, u64)>,
    next: u64,
}

/// Leave to make one call; it counts as in flight until this is dropped.
#[derive(Debug)]
pub(super) struct Leave<'a> {
    gate: &'a Gate,
    number: u64,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        Self::with_window(limits, MINUTE)
    }

    fn with_window(limits: Limits, window: Duration) -> Self {
        let allowed = most(limits);
        let state = State { limits, in_flight: 0, allowed, not_before: None, begun: VecDeque::new(), next: 0 };
        Self { window, state: Mutex::new(state), freed: Notify::new() }
    }

    /// Another file names limits of the same server: of each number the smaller counts, for everybody.
    pub(super) fn tighten(&self, other: Limits) {
        let mut state = self.lock();
        state.limits = stricter(state.limits, other);
        state.allowed = state.allowed.min(most(state.limits));
    }

    /// Waits until a call of about `tokens` tokens may begin. None: it would never be time.
    pub(super) async fn enter(&self, tokens: u64) -> Option<Leave<'_>> {
        let deadline = Instant::now() + LONGEST_WAIT;
        while Instant::now() < deadline {
            // Listening begins before looking, so that nothing freed in between is missed.
            let freed = self.freed.notified();
            match self.try_enter(tokens) {
                Ok(number) => return Some(Leave { gate: self, number }),
                Err(Some(until)) => tokio::time::sleep_until(until.min(deadline)).await,
                Err(None) => {
                    let _timed_out = tokio::time::timeout_at(deadline, freed).await;
                }
            }
        }
        None
    }

    /// The number of the call; or when to look again; or nothing, when only the end of another call can help.
    fn try_enter(&self, tokens: u64) -> Result<u64, Option<Instant>> {
        let now = Instant::now();
        let mut state = self.lock();
        while state.begun.front().is_some_and(|(at, ..)| now.duration_since(*at) >= self.window) {
            state.begun.pop_front();
        }
        if let Some(until) = state.not_before.filter(|until| *until > now) {
            return Err(Some(until));
        }
        if f64::from(state.in_flight) + 1.0 > state.allowed.max(1.0) {
            return Err(None);
        }
        let requests = state.limits.requests_per_minute.map_or(usize::MAX, |most| usize::try_from(most.max(1)).unwrap_or(usize::MAX));
        let used: u64 = state.begun.iter().map(|(_, _, tokens)| tokens).sum();
        // A call that is larger than the whole minute's tokens may begin when the minute is empty.
        let too_many = state.limits.tokens_per_minute.is_some_and(|most| used > 0 && used.saturating_add(tokens) > most);
        if state.begun.len() >= requests || too_many {
            return Err(Some(state.begun.front().map_or(now, |(at, ..)| *at + self.window)));
        }
        let number = state.next;
        state.next += 1;
        state.in_flight += 1;
        if state.limits.requests_per_minute.is_some() || state.limits.tokens_per_minute.is_some() {
            state.begun.push_back((now, number, tokens));
        }
        Ok(number)
    }

    /// The provider asked for less, and for `pause` of silence.
    pub(super) fn slow_down(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        // From what is in flight, not from a bound that was never reached.
        state.allowed = (state.allowed.min(f64::from(state.in_flight.max(1))) / 2.0).max(1.0);
        state.not_before = Some(state.not_before.map_or(until, |earlier| earlier.max(until)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave<'_> {
    /// The call succeeded and took so many tokens.
    pub(super) fn succeeded(&self, tokens: u64) {
        let mut state = self.gate.lock();
        state.allowed = (state.allowed + 1.0 / state.allowed.max(1.0)).min(most(state.limits));
        if let Some(call) = state.begun.iter_mut().find(|(_, number, _)| *number == self.number) {
            call.2 = tokens;
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        drop(state);
        self.gate.freed.notify_waiters();
    }
}

/// Calls side by side at most.
fn most(limits: Limits) -> f64 {
    limits.concurrent.map_or(UNBOUNDED, |most| f64::from(most.max(1)))
}

/// Of each limit the smaller; none only where both have none.
fn stricter(one: Limits, other: Limits) -> Limits {
    fn smaller<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
        one.into_iter().chain(other).min()
    }
    Limits {
        concurrent: smaller(one.concurrent, other.concurrent),
        requests_per_minute: smaller(one.requests_per_minute, other.requests_per_minute),
        tokens_per_minute: smaller(one.tokens_per_minute, other.tokens_per_minute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The minute of these tests.
    const WINDOW: Duration = Duration::from_millis(200);
    const SOON: Duration = Duration::from_millis(50);

    fn gate(concurrent: Option<u32>, requests: Option<u32>, tokens: Option<u64>) -> Gate {
        Gate::with_window(Limits { concurrent, requests_per_minute: requests, tokens_per_minute: tokens }, WINDOW)
    }

    async fn waits(gate: &Gate, tokens: u64) -> Duration {
        let before = Instant::now();
        let leave = gate.enter(tokens).await.unwrap();
        leave.succeeded(tokens);
        before.elapsed()
    }

    #[tokio::test]
    async fn requests_and_tokens_of_a_minute_are_bounded() {
        let begun = Instant::now();
        let requests = gate(None, Some(2), None);
        for _ in 0..5 {
            waits(&requests, 1).await;
        }
        assert!(begun.elapsed() >= WINDOW * 2, "three windows are touched");
        let begun = Instant::now();
        let tokens = gate(None, None, Some(100));
        // Alone it may be too large.
        waits(&tokens, 500).await;
        waits(&tokens, 60).await;
        assert!(begun.elapsed() >= WINDOW);
        waits(&tokens, 60).await;
        assert!(begun.elapsed() >= WINDOW * 2);
    }

    #[tokio::test]
    async fn calls_side_by_side_are_bounded() {
        let gate = gate(Some(2), None, None);
        let (first, second) = (gate.enter(1).await, gate.enter(1).await);
        let third = tokio::time::timeout(SOON, gate.enter(1)).await;
        assert!(first.is_some() && second.is_some() && third.is_err());
        let (entered, ()) = tokio::join!(gate.enter(1), async { drop(first) });
        assert!(entered.is_some());
    }

    #[tokio::test]
    async fn a_429_halves_and_silences_and_successes_restore() {
        let gate = gate(Some(8), None, None);
        let mut leaves = Vec::new();
        for _ in 0..8 {
            leaves.push(gate.enter(1).await.unwrap());
        }
        gate.slow_down(WINDOW);
        drop(leaves);
        assert!(waits(&gate, 1).await >= WINDOW.checked_sub(SOON).unwrap());
        let held = [gate.enter(1).await, gate.enter(1).await, gate.enter(1).await, gate.enter(1).await];
        assert!(tokio::time::timeout(SOON, gate.enter(1)).await.is_err(), "half of eight");
        drop(held);
        for _ in 0..60 {
            waits(&gate, 1).await;
        }
        assert!((gate.lock().allowed - 8.0).abs() < f64::EPSILON);
    }

    #[tokio::test]
    async fn of_two_files_each_smaller_number_counts() {
        let gate = gate(Some(8), None, Some(100));
        gate.tighten(Limits { concurrent: Some(2), requests_per_minute: Some(3), tokens_per_minute: None });
        gate.tighten(Limits { concurrent: Some(5), requests_per_minute: None, tokens_per_minute: Some(500) });
        let smallest = Limits { concurrent: Some(2), requests_per_minute: Some(3), tokens_per_minute: Some(100) };
        assert_eq!(gate.lock().limits, smallest);
        let (first, second) = (gate.enter(1).await, gate.enter(1).await);
        assert!(tokio::time::timeout(SOON, gate.enter(1)).await.is_err(), "two side by side");
        drop((first, second));
        let begun = Instant::now();
        waits(&gate, 1).await;
        waits(&gate, 1).await;
        assert!(begun.elapsed() >= WINDOW / 2, "the fourth of a window waits");
    }
}
