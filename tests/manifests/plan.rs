//! Plans: counts, order, pairing, identities.

use std::collections::BTreeSet;

use microremed::plan::{Plan, Selection, Shard, TrialSpec, expand};

use crate::shipped::built_in;

fn plan(experiment: &str, selection: &Selection) -> Plan {
    let catalog = built_in();
    expand(&catalog, &catalog.experiments[experiment], selection, "ansible 1").unwrap()
}

#[test]
fn the_quickstart_has_42_trials_with_models_innermost() {
    let plan = plan("quickstart", &Selection::default());
    let trials: Vec<TrialSpec> = plan.iter().collect();
    assert_eq!((plan.len(), trials.len()), (42, 42));
    let first: Vec<_> = trials.iter().take(7).map(|t| (t.index, t.method.as_str(), t.model.as_str())).collect();
    assert_eq!(
        first,
        [
            (0, "sologen", "gold"),
            (0, "sologen", "restart"),
            (0, "sologen", "noop"),
            (0, "thinkremed", "gold"),
            (0, "thinkremed", "restart"),
            (0, "thinkremed", "noop"),
            (1, "sologen", "gold"),
        ]
    );
    assert_eq!(trials.iter().map(|t| &t.id).collect::<BTreeSet<_>>().len(), 42);
}

#[test]
fn methods_models_repeats_and_filters_meet_the_same_targets() {
    let whole = plan("hard", &Selection { repeats: Some(2), ..Selection::default() });
    let target = |t: &TrialSpec| (t.index, t.fault.clone(), t.target.clone());
    let drawn: BTreeSet<_> = whole.iter().map(|t| target(&t)).collect();
    assert_eq!(drawn.len(), 80);
    let part =
        plan("hard", &Selection { faults: vec!["disk-io".to_owned()], models: vec!["qwen-plus".to_owned()], ..Selection::default() });
    assert_eq!(part.len(), 14 * 2);
    assert!(part.iter().all(|t| drawn.contains(&target(&t))));
    let other = plan("hard", &Selection { seed: Some(7), ..Selection::default() });
    assert_ne!(other.iter().map(|t| target(&t)).collect::<BTreeSet<_>>(), drawn);
}

#[test]
fn repeats_differ_in_seed_and_identity_only() {
    let two = plan("quickstart", &Selection { repeats: Some(2), ..Selection::default() });
    let (a, b) = (two.get(0).unwrap(), two.get(42).unwrap());
    assert_eq!((a.repeat, b.repeat), (0, 1));
    assert_eq!((&a.fault, &a.target), (&b.fault, &b.target));
    assert!(a.seed != b.seed && a.id != b.id);
    assert_eq!(plan("quickstart", &Selection::default()).get(0).unwrap(), a);
}

#[test]
fn shards_are_a_partition() {
    let whole: BTreeSet<_> = plan("easy", &Selection::default()).iter().map(|t| t.id).collect();
    let mut parts = BTreeSet::new();
    let mut count = 0;
    for index in 1..=4 {
        let part = plan("easy", &Selection { shard: Some(Shard { index, count: 4 }), ..Selection::default() });
        assert_eq!(part.len(), part.iter().count() as u64);
        count += part.len();
        parts.extend(part.iter().map(|t| t.id));
    }
    assert_eq!((parts, count), (whole.clone(), whole.len() as u64));
}
