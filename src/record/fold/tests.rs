use proptest::prelude::*;

use super::*;
use crate::event::{Asked, JOURNAL_VERSION, Outcome};

fn id(trial: u8) -> TrialId {
    TrialId(format!("t{trial}"))
}

fn spec(trial: u8) -> TrialSpec {
    TrialSpec {
        id: id(trial),
        system: "s".to_owned(),
        sequence: "q".to_owned(),
        index: u32::from(trial),
        fault: "f".to_owned(),
        target: "x".to_owned(),
        method: "m".to_owned(),
        model: "o".to_owned(),
        repeat: 0,
        seed: 1,
        params: std::collections::BTreeMap::new(),
        sees_injector: true,
    }
}

pub(in crate::record) fn finished(trial: u8, outcome: Outcome, attempts: u32) -> Event {
    Event::TrialFinished(Box::new(TrialFinished {
        spec: spec(trial),
        category: String::new(),
        outcome,
        compat: None,
        strict: None,
        strategy: String::new(),
        attempts,
        probes: 0,
        usage: Usage::default(),
        cost_usd: None,
        model_s: 0.0,
        playbook_s: 0.0,
        remediation_s: 0.0,
        total_s: 0.0,
        downtime_s: None,
        failed_requests: None,
        collateral: Vec::new(),
        stages_ms: Vec::new(),
        overhead_ms: 0.0,
        error: String::new(),
    }))
}

fn owed(trial: u8, debt: &str) -> Event {
    Event::UndoOwed { trial: id(trial), debt: debt.to_owned(), undo: Value::from(debt) }
}

fn paid(trial: u8, debt: &str) -> Event {
    Event::UndoPaid { trial: id(trial), debt: debt.to_owned() }
}

pub(in crate::record) fn head(program: &str) -> Event {
    Event::RunStarted(RunStarted {
        sandbox: String::new(),
        version: JOURNAL_VERSION,
        program: program.to_owned(),
        experiment: "e".to_owned(),
        planned: 4,
        tools: BTreeMap::new(),
        cluster: "embedded".to_owned(),
        resumed: false,
        roles: BTreeMap::new(),
        method_roles: BTreeMap::new(),
        axes: BTreeMap::new(),
        calibration: Vec::new(),
    })
}

fn fold(events: &[Event]) -> RunState {
    let mut state = RunState::default();
    for event in events {
        state.apply(event);
    }
    state
}

fn ids(trials: &[u8]) -> Vec<TrialId> {
    trials.iter().copied().map(id).collect()
}

#[test]
fn a_settled_result_is_not_lost_to_a_later_failure_of_the_harness() {
    let state = fold(&[finished(1, Outcome::Recovered, 1), finished(1, Outcome::InfraError, 2), finished(2, Outcome::Cancelled, 1)]);
    assert_eq!(state.finished[&id(1)].outcome, Outcome::Recovered);
    assert_eq!(outstanding(&ids(&[2, 1, 3]), &state), ids(&[2, 3]));
    let state = fold(&[finished(1, Outcome::InfraError, 1), finished(1, Outcome::NoPlaybook, 2), finished(1, Outcome::NotRecovered, 3)]);
    assert_eq!(state.finished[&id(1)].attempts, 3);
}

#[test]
fn a_trial_that_began_and_never_ended_is_known() {
    let state = fold(&[head("1"), Event::TrialStarted(spec(1)), Event::TrialStarted(spec(2)), finished(1, Outcome::Recovered, 1)]);
    assert_eq!(state.begun.keys().cloned().collect::<Vec<_>>(), ids(&[2]));
    assert_eq!(state.ended, None);
}

#[test]
fn debts_are_paid_last_first() {
    let state = fold(&[owed(1, "a"), owed(1, "b"), owed(2, "a"), owed(1, "c"), paid(1, "b"), paid(3, "never owed")]);
    let owed: Vec<(&str, &str)> = state.debts().iter().map(|d| (d.trial.0.as_str(), d.debt.as_str())).collect();
    assert_eq!(owed, [("t1", "c"), ("t1", "a"), ("t2", "a")]);
}

#[test]
fn a_resumed_run_has_not_ended() {
    let mut state = fold(&[head("1"), Event::RunFinished { how: "interrupted".to_owned() }]);
    assert_eq!(state.ended.as_deref(), Some("interrupted"));
    state.apply(&head("2"));
    assert_eq!((state.ended, state.programs), (None, vec!["1".to_owned(), "2".to_owned()]));
}

/// Events of one trial. Costs are such that their sum depends on the order of summation.
fn trial_events(trial: u8) -> impl Strategy<Value = Vec<Event>> {
    let outcome = prop::sample::select(vec![Outcome::Recovered, Outcome::NotRecovered, Outcome::InfraError, Outcome::Cancelled]);
    let debt = prop::sample::select(vec!["a", "b", "c"]);
    let event = prop_oneof![
        Just(Event::TrialStarted(spec(trial))),
        debt.clone().prop_map(move |d| owed(trial, d)),
        debt.prop_map(move |d| paid(trial, d)),
        (outcome, 0..9_u32).prop_map(move |(o, n)| finished(trial, o, n)),
        (prop::option::of(0.0..1e9_f64), 0..1000_u64).prop_map(move |(cost_usd, prompt)| {
            Event::Asked(Asked {
                trial: id(trial),
                call: 1,
                tool: String::new(),
                usage: Usage { prompt, ..Usage::default() },
                cost_usd,
                real_s: 0.5,
                retries: 0,
                dialect: "native".to_owned(),
                malformed: String::new(),
                correction: false,
            })
        }),
    ];
    prop::collection::vec(event, 0..12)
}

pub(in crate::record) fn trials() -> impl Strategy<Value = Vec<Vec<Event>>> {
    (trial_events(0), trial_events(1), trial_events(2)).prop_map(|(a, b, c)| vec![a, b, c])
}

/// Merges the lists, each kept in order, as the choices say.
fn interleave(mut lists: Vec<Vec<Event>>, choices: &[usize]) -> Vec<Event> {
    for list in &mut lists {
        list.reverse();
    }
    let mut merged = Vec::new();
    let mut choices = choices.iter().cycle();
    while lists.iter().any(|l| !l.is_empty()) {
        lists.retain(|l| !l.is_empty());
        let at = choices.next().unwrap() % lists.len();
        merged.extend(lists[at].pop());
    }
    merged
}

proptest! {
    #[test]
    fn any_prefix_then_the_rest_equals_the_whole(lists in trials(), choices in prop::collection::vec(0..6_usize, 1..40), cut in 0..40_usize) {
        let events = interleave(lists, &choices);
        let (before, after) = events.split_at(cut.min(events.len()));
        // Through the disk format, as resume does it.
        let stored = serde_json::to_string(before).unwrap();
        let mut state = fold(&serde_json::from_str::<Vec<Event>>(&stored).unwrap());
        for event in after {
            state.apply(event);
        }
        // JSON may change the last bit of a number; that a sum keeps all of them is the next property.
        prop_assert_eq!(state.spent().calls, fold(&events).spent().calls);
        state.spent = fold(&events).spent;
        prop_assert_eq!(state, fold(&events));
    }

    #[test]
    fn interleaving_does_not_matter(lists in trials(), choices in prop::collection::vec(0..6_usize, 1..40)) {
        let plain: Vec<Event> = lists.concat();
        let mixed = fold(&interleave(lists, &choices));
        prop_assert_eq!(mixed.spent().cost_usd.to_bits(), fold(&plain).spent().cost_usd.to_bits());
        prop_assert_eq!(mixed, fold(&plain));
    }

    #[test]
    fn outstanding_and_settled_make_up_the_plan(lists in trials()) {
        let state = fold(&lists.concat());
        let plan = ids(&[2, 0, 1, 9]);
        let open = outstanding(&plan, &state);
        for trial in &plan {
            prop_assert!(open.contains(trial) != state.settled(trial));
        }
        prop_assert!(open.contains(&id(9)));
    }
}
