//! A person's word before a playbook runs (`policy.ask`).
//!
//! Input: a playbook and whose it is; output: whether it may run, and how long that took to hear. Where the person is, and how it
//! is asked, is not known here. While it thinks, nothing that bounds a trial in real time runs on.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::plan::TrialSpec;

/// Shortest time between two looks at whether a trial's time is used up.
const LOOK: Duration = Duration::from_millis(100);

/// What a person is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The trial.
    pub trial: &'a TrialSpec,
    /// Number of the playbook in the trial, from 1.
    pub attempt: u32,
    /// The playbook.
    pub code: &'a str,
}

/// Somebody who can be asked; one question at a time, however many trials have one.
pub trait Approver: Send + Sync {
    /// Whether the playbook may run. Errors say why there is no answer. Cancel by dropping the future.
    fn ask<'a>(&'a self, question: Question<'a>) -> BoxFuture<'a, Result<bool, String>>;
}

/// How long a trial has waited for a person.
#[derive(Debug, Default)]
pub(super) struct Patience(Mutex<(Duration, Option<Instant>)>);

impl Patience {
    /// Waiting begins; it ends when the guard is dropped, by an answer or by an interruption.
    pub(super) fn begin(&self) -> Waits<'_> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(Instant::now());
        Waits(self)
    }

    /// So far, a question that is open included.
    pub(super) fn total(&self) -> Duration {
        let (past, open) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        past + open.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Resolves when so much time has passed that was not a person's. Bounded as the questions are.
    pub(super) async fn without_it(&self, limit: Duration) {
        let begun = Instant::now();
        loop {
            let left = limit.saturating_sub(begun.elapsed().saturating_sub(self.total()));
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.max(LOOK)).await;
        }
    }
}

/// A guard; see [`Patience::begin`].
pub(super) struct Waits<'a>(&'a Patience);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = state.1.take() {
            state.0 += since.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_limit_does_not_run_on_while_somebody_thinks() {
        let patience = Patience::default();
        let begun = Instant::now();
        let thinks = async {
            let waits = patience.begin();
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(waits);
        };
        let limit = Duration::from_millis(300);
        let both = async { tokio::join!(thinks, patience.without_it(limit)) };
        tokio::time::timeout(Duration::from_mins(1), both).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(1) + limit, "{:?}", begun.elapsed());
        assert!(patience.total() >= Duration::from_secs(1));
    }
}
