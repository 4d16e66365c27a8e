//! What is said about trials: calibration, judging again, a hidden injector, and that nothing leaks from one trial into the next.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{root, rows, run, run_dir, text};

fn ran(args: &[&str], dir: &Path) -> (String, String) {
    let done = run(args, dir);
    assert!(done.status.success(), "{args:?}\n{}\n{}", text(&done.stdout), text(&done.stderr));
    (text(&done.stdout), text(&done.stderr))
}

/// A folder with some data files; everything else is built in.
fn data(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["systems", "faults"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

#[test]
fn checks_are_calibrated_judged_again_and_remembered() {
    let out = tempfile::tempdir().unwrap();
    let at = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
    let args = ["calibrate", "--system", "simple-micro", "--fault", "cpu-stress", "--targets", "1", "--out", &at("c")];
    let (page, _) = ran(&args, root());
    assert!(page.contains("calibration of the checks") && page.contains("strict cpu_usage"), "{page}");
    let calibrated = run_dir(&out.path().join("c"));
    let found: serde_json::Value = serde_json::from_slice(&fs::read(calibrated.join("report/calibration.json")).unwrap()).unwrap();
    let sets: Vec<&serde_json::Value> = found.as_array().unwrap().iter().filter(|c| c["check"].is_null()).collect();
    assert_eq!(sets.len(), 2);
    for set in sets {
        let numbers = ["false_pass", "false_fail", "floor"].map(|k| (set[k]["hits"].as_u64().unwrap(), set[k]["n"].as_u64().unwrap()));
        assert_eq!((numbers[0], numbers[1], numbers[2].1, &set["flagged"]), ((0, 2), (0, 2), 1, &false.into()), "{set}");
    }

    // It is resumed as any run.
    let (_, said) = ran(&["resume", calibrated.to_str().unwrap()], root());
    assert!(said.contains("5 of them done"), "{said}");

    // Judging again needs no cluster and leaves the journal alone.
    let journal = fs::read(calibrated.join("events.jsonl")).unwrap();
    let dir = calibrated.to_str().unwrap();
    let empty = tempfile::tempdir().unwrap();
    let again = |more: &[&str]| run(&[&["rescore", dir], more].concat(), empty.path());
    let same = again(&[]);
    assert!(text(&same.stderr).contains("0 of 10 verdicts changed\n"), "{}", text(&same.stderr));
    assert_eq!(rows(&calibrated), rows_of(&calibrated.join("report-rescored")));
    let lax = again(&["--set", "checks.compat.usage.below=100", "--fault", "cpu-stress", "--out", &at("lax")]);
    assert!(text(&lax.stderr).contains("(compat passed: 2)"), "{}", text(&lax.stderr));
    let noop = rows_of(&out.path().join("lax")).into_iter().find(|r| r["model"] == "noop" && r["method"] == "sologen").unwrap();
    assert_eq!((noop["compat"].as_str(), noop["strict"].as_str()), ("true", "false"));
    let longer = again(&["--set", "checks.strict.need=50"]);
    assert!(text(&longer.stderr).contains("cannot be known"), "{}", text(&longer.stderr));
    let wrong = again(&["--set", "checks.strict.usage.belov=1"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("did you mean `below`"), "{}", text(&wrong.stderr));
    assert_eq!(fs::read(calibrated.join("events.jsonl")).unwrap(), journal);

    // A later run carries what was found in its own journal.
    let one = ["run", "quickstart", "--fault", "cpu-stress", "--method", "sologen", "--model", "noop"];
    ran(&[&one[..], &["--calibration", dir, "--out", &at("later")]].concat(), root());
    let later = fs::read_to_string(run_dir(&out.path().join("later")).join("events.jsonl")).unwrap();
    let head: serde_json::Value = serde_json::from_str(later.lines().next().unwrap()).unwrap();
    assert_eq!(head["event"]["run_started"]["calibration"].as_array().unwrap().len(), 2);
}

fn rows_of(report: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(report.join("trials.csv")).unwrap();
    let head: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    reader.records().map(|r| head.iter().cloned().zip(r.unwrap().iter().map(str::to_owned)).collect()).collect()
}

/// Looks at everything that could show the injector, then repairs nothing.
const NOSY: &str = r#"
name = "nosy"
[[provider.scripted.turns]]
when = "'probe_system' in tools and turn == 0"
tool = "probe_system"
arguments = { cmds = "kubectl api-versions; kubectl api-resources -o name; kubectl get crd,ns -o name; kubectl get events -A -o yaml; kubectl -n {{ namespace }} describe pods; kubectl -n {{ namespace }} get pods,deploy -o yaml --show-managed-fields; kubectl get --raw /openapi/v3; kubectl get podchaos.chaos-mesh.org -A" }
[[provider.scripted.turns]]
text = "I have seen enough."
"#;

#[test]
fn a_hidden_injector_shows_nowhere_and_its_fault_can_be_repaired() {
    let dir = data(&[("models/nosy.toml", NOSY)]);
    // Somebody's own cluster hides nothing by itself.
    let own = ["run", "quickstart", "--kubeconfig", "theirs", "--set", "agent.sees_injector=false", "--out", "out"];
    let refused = run(&own, dir.path());
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("--agent-kubeconfig") && !dir.path().join("out").exists(), "{}", text(&refused.stderr));
    let base = ["run", "quickstart", "--root", ".", "--fault", "pod-fail", "--method", "thinkremed", "--out", "out"];
    let args =
        [&base[..], &["--model", "nosy", "--model", "gold", "--model", "restart", "--set", "matrix.sees_injector=[true, false]"]].concat();
    ran(&args, dir.path());
    let run_folder = run_dir(&dir.path().join("out"));
    let all = rows(&run_folder);
    assert_eq!(all.len(), 6);
    assert_eq!(all.iter().map(|r| &r["trial_id"]).collect::<std::collections::BTreeSet<_>>().len(), 6);
    let seen = |sees: &str| {
        let row = all.iter().find(|r| r["model"] == "nosy" && r["sees_injector"] == sees).unwrap();
        let probes = fs::read_to_string(run_folder.join("trials").join(&row["trial_id"]).join("probes.jsonl")).unwrap();
        let probe: serde_json::Value = serde_json::from_str(probes.lines().next().unwrap()).unwrap();
        let part = |name: &str| probe["outcome"][name].as_str().unwrap().to_lowercase();
        (part("stdout"), part("stderr"))
    };
    let (visible, _) = seen("true");
    for trace in ["chaos-mesh.org/v1alpha1", "podchaos.chaos-mesh.org", "kind: podchaos", "chaos-mesh.org/pod-fail"] {
        assert!(visible.contains(trace), "{trace} is not shown to those who may see it");
    }
    let (hidden, complaint) = seen("false");
    let at = hidden.find("chaos").map(|at| &hidden[at.saturating_sub(200)..(at + 200).min(hidden.len())]);
    assert_eq!(at, None);
    assert!(hidden.contains("pause:latest"), "what it does to containers stays");
    assert!(complaint.contains("doesn't have a resource type"), "{complaint}");
    // The reference repair takes the injector away, so it keeps its sight; whoever has none can still make new pods.
    for row in all.iter().filter(|r| r["model"] != "nosy") {
        assert_eq!((row["compat"].as_str(), row["strict"].as_str()), ("true", "true"), "{row:?}");
    }
}

#[test]
fn the_order_of_trials_changes_no_verdict() {
    let hard: toml::Table = fs::read_to_string(root().join("experiments/sequences/hard.toml")).unwrap().parse().unwrap();
    let there: Vec<&str> = hard["faults"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    let back: Vec<&str> = there.iter().rev().copied().collect();
    let sequence = |name: &str, faults: &[&str]| format!("name = \"{name}\"\nfaults = {faults:?}\n");
    let experiment = |name: &str| {
        format!(
            "name = \"{name}\"\n[matrix]\nsystem = [\"simple-micro\"]\nsequence = [\"{name}\"]\nmethod = [\"sologen\"]\nmodel = [\"gold\"]\n"
        )
    };
    let dir = data(&[
        ("experiments/sequences/there.toml", &sequence("there", &there)),
        ("experiments/sequences/back.toml", &sequence("back", &back)),
        ("experiments/there.toml", &experiment("there")),
        ("experiments/back.toml", &experiment("back")),
    ]);
    // Targets go by the place in the sequence, so that a fault's trials are compared as they are, whichever comes first.
    let verdicts = |name: &str, jobs: &str| -> Vec<[String; 4]> {
        let out = PathBuf::from(format!("out-{name}"));
        ran(&["run", name, "--root", ".", "-j", jobs, "--out", out.to_str().unwrap()], dir.path());
        let pick = |r: BTreeMap<String, String>| ["fault", "compat", "strict", "collateral"].map(|column| r[column].clone());
        let mut all: Vec<_> = rows(&run_dir(&dir.path().join(out))).into_iter().map(pick).collect();
        all.sort();
        all
    };
    let (one, other) = (verdicts("there", "2"), verdicts("back", "4"));
    assert_eq!(one.len(), there.len());
    assert_eq!(one, other);
    assert_eq!(one.len(), 80);
    assert!(one.iter().all(|[_, compat, strict, collateral]| compat == "true" && strict == "true" && collateral.is_empty()), "{one:?}");
}
