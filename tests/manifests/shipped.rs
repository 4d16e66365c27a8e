//! The shipped data files load, validate and render.

use std::collections::BTreeSet;

use microremed::manifest::{Catalog, Kind, Root, schema};
use microremed::model::Provider;
use microremed::plan::{Injection, Selection, TrialInputs, blank_state, expand};
use microremed::template;

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
    assert!(catalog.faults.len() >= 7);
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
        let mut parts = inputs.render_injection().unwrap();
        assert_eq!(parts.len(), 1);
        match parts.remove(0) {
            Injection::Objects(list) => {
                assert_eq!(list.len(), 1);
                assert_eq!(list[0]["spec"]["selector"]["labelSelectors"]["app"], spec.target.as_str());
                assert_eq!(list[0]["metadata"]["name"], spec.fault.as_str());
            }
            Injection::Patch { name, patch, .. } => {
                assert_eq!(name.as_ref(), Some(&spec.target));
                assert_eq!(patch["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"], "2m");
            }
            Injection::Evict(selector) => panic!("{selector}"),
        }
        let rights = inputs.render_rights().unwrap().unwrap();
        assert_eq!((&rights[0]["kind"], &rights[0]["metadata"]["namespace"]), (&"Role".into(), &"simple-micro".into()));
        assert_eq!((&rights[1]["kind"], rights.len()), (&"ClusterRole".into(), 2));
        let gold: serde_json::Value = serde_saphyr::from_str(&inputs.render_gold().unwrap()).unwrap();
        assert_eq!(gold[0]["hosts"], "localhost");
        assert!(gold.to_string().contains(&spec.target));
    }
}

/// What the executor knows when it renders a prompt.
fn context(inputs: &TrialInputs) -> serde_json::Value {
    let mut context = inputs.context();
    let all = context.as_object_mut().unwrap();
    all.extend(blank_state().as_object().unwrap().clone());
    all.insert("inventory".to_owned(), "[local]\nlocalhost ansible_connection=local\n".into());
    all.insert("playbook_command".to_owned(), "ansible-playbook -i inventory.ini remediation.yml".into());
    all.insert("tools".to_owned(), serde_json::json!(["print_playbook", "probe_system"]));
    context
}

#[test]
fn every_prompt_renders_and_the_first_one_says_what_it_must() {
    let catalog = built_in();
    let selection = Selection { methods: catalog.methods().iter().map(|m| (*m).to_owned()).collect(), ..Selection::default() };
    let plan = expand(&catalog, &catalog.experiments["quickstart"], &selection, "").unwrap();
    let mut rendered = 0;
    for spec in plan.iter() {
        let inputs = TrialInputs::resolve(&catalog, &spec, plan.experiment()).unwrap();
        let context = context(&inputs);
        for name in catalog.prompts().iter().filter(|n| n.starts_with(&format!("{}/", spec.method))) {
            let text = inputs.prompt(name, &context).unwrap();
            rendered += 1;
            if name.ends_with("/system") {
                let needed = [
                    "runs on k3s",
                    &spec.target,
                    &spec.fault,
                    "simple-micro",
                    "localhost ansible_connection=local",
                    "ansible-playbook -i inventory.ini",
                ];
                for word in needed {
                    assert!(text.contains(word), "{name} lacks {word}:\n{text}");
                }
                assert_eq!(text.contains("probe_system"), ["thinkremed", "react"].contains(&spec.method.as_str()));
            }
        }
        if inputs.method.role.is_some() {
            // An arm of a calibration asks no model.
            continue;
        }
        let first = inputs.method.steps.first().map(|s| serde_json::to_value(s).unwrap()).unwrap();
        assert_eq!(first["say"]["prompt"], format!("{}/system", spec.method));
    }
    assert!(rendered > 100);
}

#[test]
fn scripted_models_render_playbooks() {
    let catalog = built_in();
    let plan = expand(&catalog, &catalog.experiments["quickstart"], &Selection::default(), "").unwrap();
    for spec in plan.iter() {
        let inputs = TrialInputs::resolve(&catalog, &spec, plan.experiment()).unwrap();
        let Provider::Scripted(scripted) = &inputs.model.provider else { panic!("{} is no scripted model", spec.model) };
        let mut context = inputs.reference().unwrap();
        context["tools"] = serde_json::json!(["print_playbook"]);
        context["turn"] = 0.into();
        let holds = |when: &String| template::holds(when, &context).unwrap();
        let turn = scripted.turns.iter().find(|t| t.when.as_ref().is_none_or(holds)).unwrap();
        let playbook: serde_json::Value =
            serde_saphyr::from_str(&template::render("code", &turn.arguments["code"], &context).unwrap()).unwrap();
        assert_eq!(playbook[0]["hosts"], "localhost");
        assert_eq!(playbook[0]["tasks"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn common_checks_are_in_every_stage_of_the_strict_set_only() {
    let catalog = built_in();
    let plan = expand(&catalog, &catalog.experiments["quickstart"], &Selection::default(), "").unwrap();
    for spec in plan.iter() {
        let inputs = TrialInputs::resolve(&catalog, &spec, plan.experiment()).unwrap();
        let names = |set: &str| -> Vec<Vec<String>> {
            let stages = serde_json::to_value(&inputs.checks[set]).unwrap()["stages"].as_array().unwrap().clone();
            stages
                .iter()
                .map(|s| s["all"].as_array().unwrap().iter().map(|c| c.as_object().unwrap().keys().next().unwrap().clone()).collect())
                .collect()
        };
        for stage in names("strict") {
            assert!(["others", "not-expired", "limits", "restored"].iter().all(|c| stage.iter().any(|s| s == c)), "{stage:?}");
        }
        assert!(names("compat").iter().all(|stage| stage.len() == 1));
        assert!(inputs.method.tools.contains_key("print_playbook"));
    }
}

#[test]
fn every_system_renders_and_every_fault_on_every_service() {
    let catalog = built_in();
    let mut rendered = 0;
    for (name, system) in &catalog.systems {
        let selection = Selection { systems: vec![name.clone()], ..Selection::default() };
        let plan = expand(&catalog, &catalog.experiments["quickstart"], &selection, "").unwrap();
        let mut spec = plan.get(0).unwrap();
        let objects = TrialInputs::resolve(&catalog, &spec, plan.experiment()).unwrap().render_system_manifests().unwrap();
        let workloads: Vec<_> = objects.iter().filter(|o| o["kind"] == "Deployment" || o["kind"] == "StatefulSet").collect();
        let deployed: BTreeSet<(&str, &str)> =
            workloads.iter().map(|o| (o["kind"].as_str().unwrap(), o["metadata"]["name"].as_str().unwrap())).collect();
        assert_eq!(deployed, system.services.iter().map(|s| (s.kind.as_str(), s.name.as_str())).collect());
        for object in workloads {
            let service = system.service(object["metadata"]["name"].as_str().unwrap()).unwrap();
            let containers = object["spec"]["template"]["spec"]["containers"].as_array().unwrap();
            assert_eq!(containers[0]["name"], service.main_container());
            assert_eq!(containers.len(), 1 + service.sidecars.len());
        }
        for fault in catalog.faults.keys() {
            for target in system.targets_of(fault) {
                (spec.fault, spec.target) = (fault.clone(), target.to_owned());
                let inputs = TrialInputs::resolve(&catalog, &spec, plan.experiment()).unwrap();
                inputs.render_injection().unwrap();
                serde_saphyr::from_str::<serde_json::Value>(&inputs.render_gold().unwrap()).unwrap();
                rendered += 1;
            }
        }
    }
    // The published seven alone.
    assert!(rendered > (7 * 2) + (6 * 12 + 11) + (6 * 46 + 1), "{rendered}");
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

#[test]
fn yaml_says_the_same_as_toml() {
    let dir = tempfile::tempdir().unwrap();
    let root = camino::Utf8Path::from_path(dir.path()).unwrap();
    let catalog = built_in();
    for (path, file) in &catalog.files {
        let yaml = Kind::of_path(path).map(|_| serde_saphyr::to_string(&toml::from_str::<serde_json::Value>(&file.text).unwrap()).unwrap());
        let target = root.join(if yaml.is_some() { path.replace(".toml", ".yaml") } else { path.clone() });
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, yaml.as_deref().unwrap_or(&file.text)).unwrap();
    }
    let (same, diagnostics) = Catalog::load(&Root::only(root));
    assert!(diagnostics.is_empty(), "{}", diagnostics.render(false, 140));
    let trials = |c: &Catalog| expand(c, &c.experiments["hard"], &Selection::default(), "").unwrap().iter().collect::<Vec<_>>();
    assert_eq!(trials(&same), trials(&catalog));
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
