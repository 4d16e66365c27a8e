//! From what happened to the trial's outcome.

use super::stop::Stop;
use super::tally::{LastPlaybook, Tally};
use crate::event::Outcome;

/// The outcome of a trial whose pipeline ended with `end`, and a line about it.
///
/// A harness failure is never scored as the model's. Otherwise the strict verdict decides whether the system
/// recovered, and what the model did decides which kind of failure it was.
pub(super) fn of(end: &Result<(), Stop>, strict: Option<bool>, tally: &Tally) -> (Outcome, String) {
    match end {
        Err(Stop::Outcome(outcome, why)) => (*outcome, why.clone()),
        Err(Stop::Infra(why) | Stop::Journal(why)) => (Outcome::InfraError, why.clone()),
        Err(Stop::Cancelled) => (Outcome::Cancelled, String::new()),
        Err(Stop::Budget(why)) => (Outcome::BudgetExhausted, why.clone()),
        Ok(()) => match (tally.last, strict) {
            (LastPlaybook::None, _) => match &tally.exhausted {
                Some(why) => (Outcome::BudgetExhausted, why.clone()),
                None => (Outcome::NoPlaybook, String::new()),
            },
            (_, Some(true)) => (Outcome::Recovered, String::new()),
            (_, None) => (Outcome::InfraError, "the trial's pipeline took no strict verdict".to_owned()),
            (LastPlaybook::Invalid, _) => (Outcome::InvalidPlaybook, String::new()),
            (LastPlaybook::Failed, _) => (Outcome::PlaybookFailed, String::new()),
            (LastPlaybook::Ran, _) => (Outcome::NotRecovered, String::new()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_the_harness_are_never_scored() {
        let t = Tally::default();
        assert!(!of(&Err(Stop::Infra("x".into())), Some(false), &t).0.scored());
        assert!(!of(&Err(Stop::Cancelled), None, &t).0.scored());
    }

    #[test]
    fn the_model_answers_for_its_playbook() {
        let with = |last, exhausted: Option<&str>| Tally { last, exhausted: exhausted.map(str::to_owned), ..Tally::default() };
        assert_eq!(of(&Ok(()), Some(true), &with(LastPlaybook::Failed, None)).0, Outcome::Recovered);
        assert_eq!(of(&Ok(()), Some(false), &with(LastPlaybook::Failed, None)).0, Outcome::PlaybookFailed);
        assert_eq!(of(&Ok(()), Some(true), &with(LastPlaybook::None, None)).0, Outcome::NoPlaybook);
        assert_eq!(of(&Ok(()), Some(false), &with(LastPlaybook::None, Some("calls"))).0, Outcome::BudgetExhausted);
        assert_eq!(of(&Ok(()), Some(false), &with(LastPlaybook::Ran, None)).0, Outcome::NotRecovered);
    }
}
