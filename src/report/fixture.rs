//! A small hand-made journal for the tests of this module.

use std::collections::BTreeMap;

use crate::event::{Asked, Event, JOURNAL_VERSION, Outcome, Record, ReferenceRole, RunStarted, TrialFinished};
use crate::ids::TrialId;
use crate::model::Usage;
use crate::plan::TrialSpec;

/// Trials in [`records`].
pub(super) const TRIALS: usize = 21;

pub(super) fn roles() -> BTreeMap<String, ReferenceRole> {
    [("gold", ReferenceRole::MustPass), ("noop", ReferenceRole::MustFail), ("restart", ReferenceRole::Floor)]
        .map(|(name, role)| (name.to_owned(), role))
        .into()
}

pub(super) fn row(index: u32, method: &str, model: &str, outcome: Outcome, compat: Option<bool>, strict: Option<bool>) -> TrialFinished {
    let ran = matches!(outcome, Outcome::Recovered | Outcome::NotRecovered | Outcome::PlaybookFailed);
    let number = f64::from(index);
    TrialFinished {
        spec: TrialSpec {
            id: TrialId(format!("{index}-{method}-{model}")),
            system: "shop".to_owned(),
            sequence: "easy".to_owned(),
            index,
            fault: format!("fault-{}", index % 3),
            target: "cart".to_owned(),
            method: method.to_owned(),
            model: model.to_owned(),
            repeat: 0,
            seed: 42,
            params: std::collections::BTreeMap::new(),
            sees_injector: true,
        },
        category: "resource".to_owned(),
        outcome,
        compat,
        strict,
        strategy: if ran { ["restarted", "injector_removed+restarted", "limits_raised"][index as usize % 3] } else { "nothing" }.to_owned(),
        attempts: u32::from(ran),
        probes: index,
        usage: Usage { prompt: 1000 + u64::from(index), completion: 100, ..Usage::default() },
        cost_usd: if model == "gold" { None } else { Some(0.0125) },
        model_s: 1.5,
        playbook_s: 2.25,
        remediation_s: 10.0 + number,
        total_s: 60.5,
        downtime_s: if ran { Some(number) } else { None },
        failed_requests: None,
        collateral: if index == 1 { vec!["deployment/a".to_owned(), "deployment/b".to_owned()] } else { Vec::new() },
        stages_ms: vec![("deploy".to_owned(), 12.5)],
        overhead_ms: 3.125,
        error: if outcome == Outcome::InfraError { "the provider said \"no\", twice".to_owned() } else { String::new() },
    }
}

/// Events by trial, each list in its own order.
pub(super) fn trials() -> Vec<Vec<Event>> {
    use Outcome::{Cancelled, InfraError, InjectionFailed, InvalidPlaybook, NoPlaybook, NotRecovered, PlaybookFailed, Recovered};
    let mut rows = Vec::new();
    for index in 0..4 {
        rows.push(row(index, "solo", "gold", Recovered, Some(true), Some(true)));
        rows.push(row(index, "solo", "model-a", if index < 3 { Recovered } else { NotRecovered }, Some(true), Some(index < 3)));
        rows.push(row(index, "think", "model-a", Recovered, Some(true), Some(true)));
    }
    rows.push(row(0, "solo", "model-b", NoPlaybook, None, None));
    rows.push(row(1, "solo", "model-b", InvalidPlaybook, Some(false), Some(false)));
    rows.push(row(2, "solo", "model-b", PlaybookFailed, Some(true), Some(false)));
    rows.push(row(3, "solo", "model-b", InjectionFailed, None, None));
    rows.push(row(0, "solo", "noop", NoPlaybook, Some(false), Some(false)));
    rows.push(row(1, "solo", "noop", NoPlaybook, Some(true), Some(true)));
    rows.push(row(0, "think", "model-b", InfraError, None, None));
    rows.push(row(1, "think", "model-b", Cancelled, None, None));
    rows.push(row(0, "solo", "restart", NotRecovered, Some(true), Some(false)));
    rows.into_iter().map(events).collect()
}

fn events(row: TrialFinished) -> Vec<Event> {
    let asked = Asked {
        trial: row.spec.id.clone(),
        call: 1,
        tool: String::new(),
        usage: row.usage,
        cost_usd: row.cost_usd,
        real_s: 1.5,
        retries: 0,
        dialect: "native".to_owned(),
        malformed: String::new(),
        correction: false,
    };
    vec![Event::TrialStarted(row.spec.clone()), Event::Asked(asked), Event::TrialFinished(Box::new(row))]
}

pub(super) fn head() -> Event {
    Event::RunStarted(RunStarted {
        version: JOURNAL_VERSION,
        program: "0.1.0".to_owned(),
        experiment: "demo".to_owned(),
        planned: 22,
        tools: BTreeMap::from([("ansible".to_owned(), "2.20.0".to_owned())]),
        cluster: "embedded".to_owned(),
        sandbox: "namespaces, Landlock 6, seccomp".to_owned(),
        resumed: false,
        roles: roles(),
        method_roles: BTreeMap::new(),
        axes: BTreeMap::new(),
        calibration: Vec::new(),
    })
}

pub(super) fn number(events: impl IntoIterator<Item = Event>) -> Vec<Record> {
    events.into_iter().enumerate().map(|(n, event)| Record { n: n as u64, at: format!("at {n}"), event }).collect()
}

pub(super) fn records() -> Vec<Record> {
    number(std::iter::once(head()).chain(trials().into_iter().flatten()).chain([Event::RunFinished { how: "done".to_owned() }]))
}
