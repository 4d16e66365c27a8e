//! What all trials of a run may spend on models together.
//!
//! Input: what a call will probably take, before it, and what it took, after it; output: leave to make the call, or why
//! not. Calls in flight count with what they will probably take, so that trials side by side do not overrun a bound
//! together. The first refusal is remembered: the run then begins no further trial.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::judge::span;
use super::stop::Stop;
use crate::manifest::Budgets;

/// What model calls take.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Amount {
    /// Calls.
    pub calls: u64,
    /// Tokens, of prompts and completions.
    pub tokens: u64,
    /// Dollars, of calls with a price.
    pub usd: f64,
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self { calls: self.calls.saturating_add(other.calls), tokens: self.tokens.saturating_add(other.tokens), usd: self.usd + other.usd }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(other.calls),
            tokens: self.tokens.saturating_sub(other.tokens),
            usd: (self.usd - other.usd).max(0.0),
        }
    }
}

/// The bounds of a run, and what is used of them.
#[derive(Debug)]
pub(super) struct Spending {
    calls: Option<u64>,
    tokens: Option<u64>,
    usd: Option<f64>,
    time: Option<Duration>,
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    spent: Amount,
    in_flight: Amount,
    longest_reply: u64,
    over: Option<String>,
}

/// Leave to make a call. Dropped without [`Self::settle`], the call counts for nothing.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    spending: &'a Spending,
    expected: Amount,
}

impl Spending {
    /// `spent`: what an earlier start of the same run has used already.
    pub(super) fn new(budgets: &Budgets, spent: Amount) -> Result<Self, Stop> {
        Ok(Self {
            calls: budgets.calls_total,
            tokens: budgets.tokens_total,
            usd: budgets.cost_total_usd,
            time: budgets.run_time.as_deref().map(span).transpose()?,
            begun: Instant::now(),
            state: Mutex::new(State { spent, ..State::default() }),
        })
    }

    /// Sets aside what a call will probably take.
    pub(super) fn reserve(&self, expected: Amount) -> Result<Reservation<'_>, String> {
        let mut state = self.lock();
        let total = state.spent.plus(state.in_flight).plus(expected);
        let spent = state.spent;
        let over = if self.calls.is_some_and(|most| total.calls > most) {
            Some(format!("calls_total: {} calls were made", spent.calls))
        } else if self.tokens.is_some_and(|most| total.tokens > most) {
            Some(format!("tokens_total: {} tokens are used up, and the next call takes about {}", spent.tokens, expected.tokens))
        } else if self.usd.is_some_and(|most| total.usd > most) {
            Some(format!("cost_total_usd: ${:.4} are spent, and the next call costs about ${:.4}", spent.usd, expected.usd))
        } else if self.time.is_some_and(|most| self.begun.elapsed() >= most) {
            Some(format!("run_time: {} s have passed", self.begun.elapsed().as_secs()))
        } else {
            None
        };
        if let Some(why) = over {
            return Err(state.over.get_or_insert(why).clone());
        }
        state.in_flight = state.in_flight.plus(expected);
        Ok(Reservation { spending: self, expected })
    }

    /// Completion tokens of the longest reply of the run so far.
    pub(super) fn longest_reply(&self) -> u64 {
        self.lock().longest_reply
    }

    /// Which bound has ended the run, and how.
    pub(super) fn over(&self) -> Option<String> {
        let late = self.time.is_some_and(|most| self.begun.elapsed() >= most);
        self.refused().or_else(|| late.then(|| format!("run_time: {} s have passed", self.begun.elapsed().as_secs())))
    }

    /// Which bound has refused a call.
    pub(super) fn refused(&self) -> Option<String> {
        self.lock().over.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation<'_> {
    /// The call was answered, and took this; `reply` tokens of it were the reply.
    pub(super) fn settle(self, actual: Amount, reply: u64) {
        let mut state = self.spending.lock();
        state.longest_reply = state.longest_reply.max(reply);
        state.spent = state.spent.plus(actual);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut state = self.spending.lock();
        state.in_flight = state.in_flight.minus(self.expected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spending(budgets: &Budgets) -> Spending {
        Spending::new(budgets, Amount { calls: 1, tokens: 100, usd: 0.5 }).unwrap()
    }

    fn call(tokens: u64, usd: f64) -> Amount {
        Amount { calls: 1, tokens, usd }
    }

    #[test]
    fn calls_in_flight_and_of_earlier_starts_count() {
        let spending = spending(&Budgets { tokens_total: Some(300), ..Budgets::default() });
        let first = spending.reserve(call(150, 0.0)).unwrap();
        assert!(spending.reserve(call(100, 0.0)).unwrap_err().contains("tokens_total: 100 tokens"));
        assert!(spending.over().is_some());
        first.settle(call(40, 0.0), 7);
        assert_eq!(spending.longest_reply(), 7);
        assert_eq!(spending.lock().spent.tokens, 140);
        assert_eq!(spending.lock().in_flight, Amount::default());
    }

    #[test]
    fn a_call_that_was_not_answered_costs_nothing() {
        let spending = spending(&Budgets { cost_total_usd: Some(1.0), ..Budgets::default() });
        for _ in 0..5 {
            drop(spending.reserve(call(1, 0.4)).unwrap());
        }
        assert!(spending.over().is_none());
        assert!(spending.reserve(call(1, 0.6)).unwrap_err().contains("cost_total_usd: $0.5000 are spent"));
    }

    #[test]
    fn calls_and_time_are_bounded() {
        let calls = spending(&Budgets { calls_total: Some(2), ..Budgets::default() });
        calls.reserve(call(1, 0.0)).unwrap().settle(call(1, 0.0), 1);
        assert!(calls.reserve(call(1, 0.0)).unwrap_err().contains("calls_total: 2 calls"));
        let time = spending(&Budgets { run_time: Some("0s".to_owned()), ..Budgets::default() });
        assert!(time.reserve(call(1, 0.0)).unwrap_err().contains("run_time"));
    }
}
