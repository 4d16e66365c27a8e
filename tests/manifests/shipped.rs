//! The shipped data files load, validate and render.

use microremed::manifest::{Catalog, Kind, Root, schema};
use microremed::plan::{Injection, Selection, TrialInputs, expand};

/// The built-in files, with no mistake in them.
pub(crate) fn built_in() -> Catalog {
    let (catalog, diagnostics) = Catalog::load(&Root::built_in());
    assert!(diagnostics.is_empty(), "{}", diagnostics.render(false, 140));
    catalog
}

#[test]
fn shipped_files_have_no_mistakes_and_all_kinds_are_there() {
    let catalog = built_in();
    for kind in Kind::ALL {
        assert!(!catalog.names(kind).is_empty(), "no {}", kind.name());
    }
    assert_eq!(catalog.faults.len(), 7);
    for method in ["sologen", "thinkremed", "reflexgen"] {
        assert!(catalog.methods().contains(method));
    }
}

#[test]
fn published_sequences_have_their_lengths() {
    let catalog = built_in();
    let published = [
        "easy",
        "medium",
        "hard",
        "cpu-stress",
        "memory-stress",
        "disk-io",
        "network-loss",
        "network-delay",
        "pod-fail",
        "pod-config-error",
    ];
    let lengths: Vec<usize> = published.iter().map(|n| catalog.sequences[*n].faults.len()).collect();
    assert_eq!(lengths, [23, 49, 80, 15, 15, 15, 15, 15, 15, 15]);
}

#[test]
fn everything_renders_for_every_trial_of_the_quickstart() {
    let catalog = built_in();
    let plan = expand(&catalog, &catalog.experiments["quickstart"], &Selection::default(), "").unwrap();
    for spec in plan.iter() {
        let inputs = TrialInputs::resolve(&catalog, &spec, plan.experiment()).unwrap();
        let objects = inputs.render_system_manifests().unwrap();
        assert_eq!(
            objects.iter().map(|o| o["kind"].as_str().unwrap()).collect::<Vec<_>>(),
            ["Deployment", "Service", "Deployment", "Service"]
        );
        match inputs.render_injection().unwrap() {
            Injection::Objects(list) => {
                assert_eq!(list.len(), 1);
                assert_eq!(list[0]["spec"]["selector"]["labelSelectors"]["app"], spec.target.as_str());
                assert_eq!(list[0]["metadata"]["name"], spec.fault.as_str());
            }
            Injection::Patch { name, patch, .. } => {
                assert_eq!(name, spec.target);
                assert_eq!(patch["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"], "2m");
            }
        }
        let gold: serde_json::Value = serde_saphyr::from_str(&inputs.render_gold().unwrap()).unwrap();
        assert_eq!(gold[0]["hosts"], "localhost");
        assert!(gold.to_string().contains(&spec.target));
    }
}

#[test]
fn the_system_is_the_published_one() {
    let catalog = built_in();
    let plan = expand(&catalog, &catalog.experiments["quickstart"], &Selection::default(), "").unwrap();
    let spec = plan.get(0).unwrap();
    let objects = TrialInputs::resolve(&catalog, &spec, plan.experiment()).unwrap().render_system_manifests().unwrap();
    let pod = &objects[2]["spec"]["template"]["spec"];
    assert_eq!(objects[2]["metadata"]["name"], "hello-service");
    assert_eq!(pod["containers"][0]["resources"]["limits"], serde_json::json!({ "cpu": "500m", "memory": "2000Mi" }));
    assert_eq!(pod["containers"][1]["securityContext"]["capabilities"]["add"][0], "NET_RAW");
    assert_eq!(pod["containers"][0]["readinessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(objects[3]["spec"]["ports"][0]["nodePort"], 30080);
    let script = pod["containers"][0]["args"][0].as_str().unwrap();
    assert!(script.contains("\nimport urllib.request\n") && script.contains("\nexec python3 /tmp/server.py"), "{script}");
}

/// Writes what is wrong, so that the command in the message repairs it.
#[test]
fn committed_schemas_are_those_of_the_types() {
    let folder = camino::Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let repair = std::env::var_os("MICROREMED_WRITE_SCHEMAS").is_some();
    for kind in Kind::ALL {
        let path = folder.join(format!("{}.json", kind.name()));
        if repair {
            std::fs::write(&path, schema::text(kind)).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == schema::text(kind),
            "{path} is out of date; run: MICROREMED_WRITE_SCHEMAS=1 cargo test --test manifests schemas"
        );
    }
}
