//! Plans: counts, order, pairing, identities.

use std::collections::BTreeSet;

use std::sync::LazyLock;

use microremed::manifest::source::SourceFile;
use microremed::manifest::{Catalog, ExperimentManifest};
use microremed::plan::{Plan, PlanError, Selection, Shard, TrialInputs, TrialSpec, apply_setting, expand};
use proptest::prelude::*;
use proptest::sample::subsequence;

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
fn whatever_changes_a_result_changes_the_identity_and_nothing_else_does() {
    let catalog = built_in();
    let id = |catalog: &Catalog, experiment: &ExperimentManifest, tools: &str| {
        expand(catalog, experiment, &Selection::default(), tools).unwrap().get(0).unwrap().id
    };
    let quickstart = &catalog.experiments["quickstart"];
    let plain = id(&catalog, quickstart, "");
    assert_ne!(id(&catalog, quickstart, "ansible 2"), plain);
    for setting in ["budgets.probes=5", "params.cpu-stress.load=50", "options.sologen.wait=5s", "time.clock=real", "seed=7"] {
        assert_ne!(id(&catalog, &apply_setting(quickstart, setting).unwrap(), ""), plain, "{setting}");
    }
    for setting in
        ["budgets.cost_total_usd=5.0", "description=x", "params.pod-fail.duration=60s", "options.thinkremed.wait=5s", "repeats=3"]
    {
        assert_eq!(id(&catalog, &apply_setting(quickstart, setting).unwrap(), ""), plain, "{setting}");
    }
    for file in [
        "prompts/sologen/system.md.j2",
        "faults/templates/cpu-stress.yaml.j2",
        "faults/gold/cpu-stress.yml.j2",
        "systems/simple-micro/k8s/workload.yaml.j2",
    ] {
        let mut changed = catalog.clone();
        let old = changed.files[file].clone();
        changed.files.insert(file.to_owned(), SourceFile::new(old.shown, &format!("{} ", old.text)));
        assert_ne!(id(&changed, quickstart, ""), plain, "{file}");
    }
    let mut changed = catalog.clone();
    changed.files.insert("prompts/thinkremed/system.md.j2".to_owned(), SourceFile::new("x".into(), "x"));
    assert_eq!(id(&changed, quickstart, ""), plain);
}

#[test]
fn a_million_trials_are_not_stored() {
    let plan = plan("hard", &Selection { repeats: Some(10_000_000), ..Selection::default() });
    assert_eq!(plan.len(), 10_000_000 * 80 * 2 * 3);
    let last = plan.get(plan.len() - 1).unwrap();
    assert_eq!((last.repeat, last.index, last.model.as_str()), (9_999_999, 79, "noop"));
    assert_eq!(plan.get(plan.len()), None);
}

#[test]
fn worst_cases_are_bounded_and_longer_with_more_attempts() {
    let plan = plan("quickstart", &Selection::default());
    let longest = |method: &str| plan.iter().filter(|t| t.method == method).map(|t| plan.worst_case(&t)).max().unwrap();
    assert!(longest("sologen") >= std::time::Duration::from_mins(10));
    assert!(longest("thinkremed") >= longest("sologen"));
    assert!(longest("thinkremed") <= std::time::Duration::from_secs(20 * 60 + 330));
}

#[test]
fn unknown_names_are_explained() {
    let catalog = built_in();
    let selection = Selection { models: vec!["qwen-pls".to_owned()], ..Selection::default() };
    let error = expand(&catalog, &catalog.experiments["easy"], &selection, "").unwrap_err();
    assert_eq!(error.to_string(), "there is no model `qwen-pls`; did you mean `qwen-plus`?");
    let selection = Selection { faults: vec!["pod-fail".to_owned()], ..Selection::default() };
    assert!(matches!(expand(&catalog, &catalog.experiments["easy"], &selection, ""), Err(PlanError::Empty(_))));
    assert!("0/4".parse::<Shard>().is_err() && "5/4".parse::<Shard>().is_err() && "2/4".parse::<Shard>().is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_count_is_the_number_of_distinct_trials(
        repeats in 0u32..4,
        methods in subsequence(vec!["sologen", "thinkremed", "reflexgen"], 1..=3),
        models in subsequence(vec!["gold", "noop", "restart", "gpt-4o"], 1..=4),
        sequences in subsequence(vec!["seven", "pod-fail", "easy"], 1..=3),
        faults in subsequence(vec!["cpu-stress", "pod-fail", "disk-io"], 0..=3),
        shard in proptest::option::of((1u32..4).prop_flat_map(|count| (1..=count, Just(count)))),
    ) {
        static CATALOG: LazyLock<Catalog> = LazyLock::new(built_in);
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let selection = Selection {
            sequences: own(&sequences),
            methods: own(&methods),
            models: own(&models),
            faults: own(&faults),
            repeats: Some(repeats),
            shard: shard.map(|(index, count)| Shard { index, count }),
            ..Selection::default()
        };
        match expand(&CATALOG, &CATALOG.experiments["easy"], &selection, "") {
            Err(e) => prop_assert!(matches!(e, PlanError::Empty(_)), "{}", e),
            Ok(plan) => {
                let ids: BTreeSet<_> = plan.iter().map(|t| t.id).collect();
                prop_assert_eq!(ids.len() as u64, plan.len());
                prop_assert_eq!(plan.iter().count() as u64, plan.len());
            }
        }
    }
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

#[test]
fn parameters_are_an_axis_that_changes_neither_target_nor_cluster() {
    let plan = plan("dose", &Selection { models: vec!["gold".to_owned()], ..Selection::default() });
    let trials: Vec<TrialSpec> = plan.iter().collect();
    let loss: Vec<_> = trials.iter().filter(|t| t.fault == "network-loss").collect();
    assert_eq!(loss.iter().map(|t| t.params["loss"].as_u64().unwrap()).collect::<Vec<_>>(), [10, 30, 50, 80]);
    assert_eq!(loss.iter().map(|t| (&t.target, t.seed)).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(trials.iter().map(|t| &t.id).collect::<BTreeSet<_>>().len(), 8);
    let catalog = built_in();
    let last = TrialInputs::resolve(&catalog, loss[3], plan.experiment()).unwrap();
    assert!(format!("{:?}", last.render_injection().unwrap()).contains("\"80\""));
    // A trial without such an axis says nothing about parameters, in the journal and in its identity.
    assert!(!serde_json::to_string(&self::plan("quickstart", &Selection::default()).get(0).unwrap()).unwrap().contains("params"));
}

#[test]
fn the_paper_is_three_systems_by_three_levels_by_two_methods() {
    let plan = plan("paper", &Selection { models: vec!["gold".to_owned(), "noop".to_owned()], ..Selection::default() });
    assert_eq!(plan.len(), 3 * (23 + 49 + 80) * 2 * 2);
    let catalog = built_in();
    let inputs = TrialInputs::resolve(&catalog, &plan.get(0).unwrap(), plan.experiment()).unwrap();
    assert_eq!((inputs.fault.confirm.poll.as_str(), inputs.fault.confirm.timeout.as_str()), ("10s", "60s"));
}

#[test]
fn a_namespace_of_the_experiment_replaces_the_systems_own() {
    let catalog = built_in();
    let mut experiment = catalog.experiments["quickstart"].clone();
    let before = expand(&catalog, &experiment, &Selection::default(), "").unwrap().get(0).unwrap();
    experiment.runner.namespace.insert("simple-micro".to_owned(), "elsewhere".to_owned());
    let spec = expand(&catalog, &experiment, &Selection::default(), "").unwrap().get(0).unwrap();
    assert_ne!(spec.id, before.id);
    let inputs = TrialInputs::resolve(&catalog, &spec, &experiment).unwrap();
    for object in inputs.render_system_manifests().unwrap() {
        assert_eq!(object["metadata"]["namespace"], "elsewhere");
    }
}
