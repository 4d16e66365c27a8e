//! What a trial may still spend on its model.
//!
//! Input: the budgets, what is used, and the next request; output: what the call will probably take, or which budget has
//! no room for it. A call is refused before it is made, so that a budget is a bound and not a mark that was passed.

use std::time::Duration;

use crate::execute::spending::Amount;
use crate::execute::tally::Tally;
use crate::manifest::Budgets;
use crate::model::{ChatRequest, Price, Usage};

/// What the next call will probably take: its prompt by its length, corrected by how far off the last estimate was, and
/// as long a reply as the trial's longest so far, or, before the first one, the run's (`longest_of_run`).
pub(super) fn expected(request: &ChatRequest, tally: &Tally, longest_of_run: u64, price: Option<&Price>) -> (u64, Amount) {
    let estimate = Usage::estimate(request.characters(), 0).prompt;
    let prompt = match tally.last_prompt {
        Some((estimated, actual)) if estimated > 0 => scaled(estimate, actual, estimated),
        _ => estimate,
    };
    let completion = if tally.calls == 0 { longest_of_run } else { tally.longest_reply };
    let usage = Usage { prompt, completion, ..Usage::default() };
    let usd = price.map_or(0.0, |price| usage.cost(price));
    (estimate, Amount { calls: 1, tokens: prompt.saturating_add(completion), usd })
}

/// `value` times `numerator` by `denominator`, which is not zero.
fn scaled(value: u64, numerator: u64, denominator: u64) -> u64 {
    let product = u128::from(value) * u128::from(numerator);
    u64::try_from(product / u128::from(denominator.max(1))).unwrap_or(u64::MAX)
}

/// Which budget of the trial has no room for a call. `model_time`: the parsed budget of that name.
pub(super) fn refusal(budgets: &Budgets, tally: &Tally, expected: Amount, model_time: Option<Duration>) -> Option<String> {
    if tally.calls >= budgets.calls {
        return Some(format!("the budget of {} model calls is used up", budgets.calls));
    }
    let used = tally.usage.prompt.saturating_add(tally.usage.completion);
    if used.saturating_add(expected.tokens) > budgets.tokens_per_trial {
        return Some(format!(
            "{used} of {} tokens are used up, and the next call takes about {}",
            budgets.tokens_per_trial, expected.tokens
        ));
    }
    let spent = tally.cost_usd.unwrap_or(0.0);
    if let Some(most) = budgets.cost_per_trial_usd.filter(|most| spent + expected.usd > *most) {
        return Some(format!("${spent:.4} of ${most} are spent, and the next call costs about ${:.4}", expected.usd));
    }
    if model_time.is_some_and(|most| tally.model >= most) {
        return Some(format!(
            "{:.0} s of model_time = {:?} are used up",
            tally.model.as_secs_f64(),
            budgets.model_time.as_deref().unwrap_or_default()
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Message, Role};

    fn request(characters: usize) -> ChatRequest {
        ChatRequest { messages: vec![Message::new(Role::User, "x".repeat(characters))], ..ChatRequest::default() }
    }

    #[test]
    fn the_estimate_learns_from_the_last_call() {
        let price = Price { prompt: 1.0, completion: 2.0, cached: None };
        let (estimate, amount) = expected(&request(400), &Tally::default(), 30, Some(&price));
        assert_eq!((estimate, amount.tokens), (100, 130));
        let tally = Tally { calls: 1, last_prompt: Some((100, 150)), longest_reply: 50, ..Tally::default() };
        let (estimate, amount) = expected(&request(800), &tally, 900, Some(&price));
        assert_eq!((estimate, amount.tokens), (200, 350));
        assert!((amount.usd - 400e-6).abs() < 1e-12, "{}", amount.usd);
    }

    #[test]
    fn a_call_is_refused_before_it_exceeds_a_budget() {
        let tally =
            Tally { calls: 3, usage: Usage { prompt: 800, completion: 100, ..Usage::default() }, cost_usd: Some(0.9), ..Tally::default() };
        let call = Amount { calls: 1, tokens: 100, usd: 0.1 };
        let budgets = Budgets { calls: 4, tokens_per_trial: 1000, cost_per_trial_usd: Some(1.0), ..Budgets::default() };
        assert_eq!(refusal(&budgets, &tally, call, None), None);
        for (tighter, part) in [
            (Budgets { calls: 3, ..budgets.clone() }, "3 model calls"),
            (Budgets { tokens_per_trial: 999, ..budgets.clone() }, "900 of 999 tokens"),
            (Budgets { cost_per_trial_usd: Some(0.99), ..budgets.clone() }, "$0.9000 of $0.99"),
        ] {
            let said = refusal(&tighter, &tally, call, None).unwrap();
            assert!(said.contains(part), "{said}");
        }
        let slow = Tally { model: Duration::from_secs(61), ..tally };
        assert!(refusal(&budgets, &slow, call, Some(Duration::from_mins(1))).unwrap().contains("61 s of model_time"));
    }
}
