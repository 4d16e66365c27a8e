//! Trials one after the other on a cluster that outlives them: what one leaves behind, the next does not find.
//!
//! The cluster is the embedded one, reached by its kubeconfig as anybody's own would be. Faults, models that leave things
//! behind, and short windows (the time is real here) are in `tests/quickstart/shared`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{copy, program, root, rows, run, run_dir, text};

/// A cluster that ends with the test.
struct Shared(Child);

impl Shared {
    /// Starts it; its kubeconfig is `kubeconfig` in the folder.
    fn up(dir: &Path) -> Self {
        let args = ["cluster", "up", "--speed", "30", "--kubeconfig-out", "kubeconfig"];
        let child = program().args(args).current_dir(dir).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while !dir.join("kubeconfig").exists() {
            assert!(begun.elapsed() < Duration::from_mins(1), "the cluster did not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self(child)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// The root of these tests: other people's data, the files of this one, and a course of trials that waits little.
/// `restored`: how long bringing back may take; `ready`: how long the system may take to start. Both in real time.
fn data(restored: &str, ready: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&root().join("tests/quickstart/root"), dir.path());
    copy(&root().join("tests/quickstart/shared"), dir.path());
    let course = fs::read_to_string(root().join("pipelines/trial.toml")).unwrap();
    let short = course.replace("watch = \"30s\"", "watch = \"1s\"").replace("timeout = \"300s\"", &format!("timeout = \"{restored}\""));
    assert_eq!(short.lines().zip(course.lines()).filter(|(a, b)| a != b).count(), 2);
    fs::write(dir.path().join("pipelines/trial.toml"), short).unwrap();
    // Without a probe, pods whose programs were replaced by ones that do nothing would count as ready.
    let objects = dir.path().join("systems/their-shop/k8s/shop.yaml.j2");
    let text = fs::read_to_string(&objects).unwrap();
    let ports = "ports: [{ containerPort: {{ service.port }} }]";
    let probed = text.replace(
        ports,
        &format!("{ports}\n          readinessProbe: {{ tcpSocket: {{ port: {{{{ service.port }}}} }}, periodSeconds: 1 }}"),
    );
    assert_ne!(probed, text);
    fs::write(objects, probed).unwrap();
    let system = dir.path().join("systems/their-shop/system.toml");
    let text = fs::read_to_string(&system).unwrap();
    let sooner = text.replace("ready_timeout = \"120s\"", &format!("ready_timeout = \"{ready}\""));
    assert_ne!(sooner, text);
    fs::write(system, sooner + "\n[targets]\nno-replicas = [\"front\"]\nfrozen = [\"stock\"]\n").unwrap();
    dir
}

/// Runs an experiment on the shared cluster; exit code, what was said, and the rows.
fn on_shared(dir: &Path, experiment: &str) -> (Option<i32>, String, Vec<BTreeMap<String, String>>) {
    let out = format!("out-{experiment}");
    let done = run(&["run", experiment, "--root", ".", "--kubeconfig", "kubeconfig", "--keep-going", "--out", &out], dir);
    (done.status.code(), text(&done.stderr), rows(&run_dir(&dir.join(out))))
}

/// What is in the namespace: of every object that somebody made, the labels and what was asked for.
async fn state(dir: &Path) -> BTreeMap<String, Value> {
    let cluster = connected(dir).await;
    let mut found = BTreeMap::new();
    for (version, kind) in [
        ("apps/v1", "Deployment"),
        ("v1", "Service"),
        ("v1", "ConfigMap"),
        ("v1", "ResourceQuota"),
        ("rbac.authorization.k8s.io/v1", "Role"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("chaos-mesh.org/v1alpha1", "PodChaos"),
    ] {
        for object in cluster.list(version, kind, "their-shop", "").await.unwrap() {
            let name = object["metadata"]["name"].as_str().unwrap();
            found.insert(format!("{kind} {name}"), serde_json::json!([object["metadata"]["labels"], object["spec"], object["data"]]));
        }
    }
    for pod in cluster.list("v1", "Pod", "their-shop", "").await.unwrap() {
        let owner = pod["metadata"]["ownerReferences"][0]["kind"].as_str().unwrap_or("nobody");
        let count = found.entry(format!("pods of {owner} {}", pod["metadata"]["labels"]["app"])).or_insert(0.into());
        *count = (count.as_u64().unwrap() + 1).into();
    }
    for node in cluster.list("v1", "Node", "", "").await.unwrap() {
        found.insert(
            format!("Node {}", node["metadata"]["name"]),
            serde_json::json!([node["spec"]["unschedulable"], node["spec"]["taints"]]),
        );
    }
    found
}

async fn connected(dir: &Path) -> microremed::cluster::Cluster {
    let file = dir.join("kubeconfig").to_str().unwrap().to_owned();
    let target = microremed::cluster::Target::Kubeconfig { file: Some(file), context: None, agent: None, account: false };
    microremed::cluster::connect(&target).await.unwrap()
}

/// When the system's namespace was made.
async fn uid(dir: &Path) -> String {
    let cluster = connected(dir).await;
    let at = microremed::cluster::ObjectRef::new("v1", "Namespace", "", "their-shop");
    cluster.get(&at).await.unwrap().map_or(String::new(), |n| n["metadata"]["uid"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn what_a_trial_leaves_behind_the_next_does_not_find() {
    let dir = data("60s", "60s");
    let _cluster = Shared::up(dir.path());
    let verdicts = |rows: &[BTreeMap<String, String>]| -> BTreeMap<(String, String), [String; 3]> {
        let columns = ["outcome", "compat", "strict"];
        rows.iter().map(|r| ((r["fault"].clone(), r["model"].clone()), columns.map(|c| r[c].clone()))).collect()
    };
    let (code, said, there) = on_shared(dir.path(), "there");
    assert_eq!(code, Some(0), "{said}\n{there:?}");
    let after_there = state(dir.path()).await;
    let made = uid(dir.path()).await;
    let (code, said, back) = on_shared(dir.path(), "back");
    assert_eq!(code, Some(0), "{said}\n{back:?}");
    assert_eq!(verdicts(&there), verdicts(&back));
    // The reference comes after somebody who left much behind, and finds none of it.
    for row in there.iter().chain(&back) {
        let results = ["outcome", "compat", "strict"].map(|c| row[c].as_str());
        if row["model"] == "gold" {
            assert_eq!((results, row["collateral"].as_str()), (["recovered", "true", "true"], ""), "{row:?}");
        } else {
            assert!(row["collateral"].contains("configmap/left-behind created"), "{row:?}");
        }
    }
    assert_eq!(state(dir.path()).await, after_there);
    let names: Vec<&str> = after_there.keys().map(String::as_str).filter(|n| n.contains("left-behind") || n.contains("nobody")).collect();
    assert_eq!(names, Vec::<&str>::new());
    assert_eq!(after_there["Node \"node-1\""], serde_json::json!([null, null]), "{after_there:?}");
    // All of it was put back, so there was no need for another namespace.
    assert_eq!(uid(dir.path()).await, made);
}

#[tokio::test]
async fn a_cluster_that_cannot_be_brought_back_is_emptied_or_given_up() {
    let dir = data("10s", "20s");
    let _cluster = Shared::up(dir.path());
    // The namespace as the first trial has made it.
    let (code, said, rows) = on_shared(dir.path(), "clean");
    assert_eq!((code, rows[0]["outcome"].as_str()), (Some(0), "recovered"), "{said}");
    let made = uid(dir.path()).await;
    let (code, said, rows) = on_shared(dir.path(), "dirty");
    let row = |model: &str| rows.iter().find(|r| r["model"] == model).unwrap();
    // The first breaks the pods from another namespace, out of reach of what puts this one back. It is scored all the same,
    // and the next trial has a namespace of its own making.
    assert_eq!((row("outsider")["strict"].as_str(), row("outsider")["error"].as_str()), ("false", ""), "{said}");
    assert_eq!((row("gold")["outcome"].as_str(), row("gold")["collateral"].as_str()), ("recovered", ""), "{said}");
    assert!(!made.is_empty() && uid(dir.path()).await != made);
    // The last leaves an object that cannot be deleted, so not even that helps: nobody is scored on such a cluster.
    assert_eq!((code, row("clogger")["outcome"].as_str()), (Some(1), "infra_error"), "{said}");
    let why = &row("clogger")["error"];
    assert!(why.contains("configmap/stays is new") && why.contains("could not be emptied"), "{why}");
    let (code, said, rows) = on_shared(dir.path(), "there");
    assert_eq!((code, rows[0]["outcome"].as_str()), (Some(1), "infra_error"), "{said}");
}

/// Events of a run, by kind, in order.
fn kinds(out: &Path) -> Vec<String> {
    let journal = fs::read_to_string(run_dir(out).join("events.jsonl")).unwrap_or_default();
    let kind = |line: &str| Some(serde_json::from_str::<Value>(line).ok()?["event"].as_object()?.keys().next()?.clone());
    journal.lines().filter_map(kind).collect()
}

fn experiment(dir: &Path, name: &str, faults: &str, models: &str) {
    let sequence = format!("name = {name:?}\nfaults = [{faults}]\n");
    fs::write(dir.join(format!("experiments/sequences/{name}.toml")), sequence).unwrap();
    let matrix = format!("{{ system = [\"their-shop\"], sequence = [{name:?}], method = [\"single\"], model = [{models}] }}");
    fs::write(dir.join(format!("experiments/{name}.toml")), format!("name = {name:?}\nmatrix = {matrix}\n")).unwrap();
}

#[tokio::test]
async fn what_a_killed_run_left_in_the_cluster_is_taken_back_before_it_goes_on() {
    let dir = data("60s", "60s");
    let _cluster = Shared::up(dir.path());
    // A fault outside the system's namespace: nothing that the next trial makes anew would mend it.
    experiment(dir.path(), "cordon", "\"fenced\"", "\"noop\"");
    let words = ["run", "cordon", "--root", ".", "--kubeconfig", "kubeconfig", "--out", "out"];
    let mut child = program().args(words).current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let out = dir.path().join("out");
    let cordoned = async || state(dir.path()).await["Node \"node-1\""][0] == true;
    let begun = Instant::now();
    while !cordoned().await {
        assert!(begun.elapsed() < Duration::from_mins(2), "no fault was injected");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(cordoned().await && !kinds(&out).contains(&"undo_paid".to_owned()));
    let run_folder = run_dir(&out);
    // Something holds the namespace: taking back takes as long as that, and can be given up for now.
    let held = microremed::cluster::ObjectRef::new("v1", "ConfigMap", "their-shop", "held");
    let finalizers = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "namespace": "their-shop", "finalizers": ["example.com/held"]}});
    let cluster = connected(dir.path()).await;
    cluster.create(&finalizers, "their-shop").await.unwrap();
    let mut child =
        program().args(["resume", run_folder.to_str().unwrap()]).current_dir(dir.path()).stderr(Stdio::piped()).spawn().unwrap();
    let namespace = microremed::cluster::ObjectRef::new("v1", "Namespace", "", "their-shop");
    let begun = Instant::now();
    while cluster.get(&namespace).await.unwrap().is_none_or(|n| n["metadata"]["deletionTimestamp"].is_null()) {
        assert!(begun.elapsed() < Duration::from_mins(2), "nothing was taken back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let stopped = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(stopped.code(), Some(130), "{said}");
    assert!(!kinds(&out).contains(&"undo_paid".to_owned()), "{said}");
    cluster.patch(&held, "merge", &serde_json::json!({"metadata": {"finalizers": null}})).await.unwrap();
    let resumed = run(&["resume", run_folder.to_str().unwrap()], dir.path());
    let row = &rows(&run_folder)[0];
    assert_eq!(row["outcome"], "not_recovered", "{}\n{row:?}", text(&resumed.stderr));
    let kinds = kinds(&out);
    let of = |kind: &str| kinds.iter().enumerate().filter(|(_, k)| *k == kind).map(|(n, _)| n).collect::<Vec<_>>();
    let (runs, trials, paid) = (of("run_started"), of("trial_started"), of("undo_paid"));
    assert!(runs[1] < paid[0] && paid[0] < trials[1], "{runs:?} {trials:?} {paid:?}");
    assert!(!cordoned().await);
    // The same run with another cluster: what is left in the first one must not be forgotten.
    let journal = run_folder.join("events.jsonl");
    let left: String = fs::read_to_string(&journal).unwrap().split_inclusive('\n').take(paid[0].min(trials[1]) - 1).collect();
    fs::write(&journal, left).unwrap();
    let elsewhere = fs::read_to_string(dir.path().join("kubeconfig")).unwrap().replace("127.0.0.1", "localhost");
    fs::write(dir.path().join("kubeconfig"), elsewhere).unwrap();
    let refused = run(&["resume", run_folder.to_str().unwrap()], dir.path());
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("its fault is still in the cluster http://127.0.0.1"), "{}", text(&refused.stderr));
}

/// A kubeconfig with a context for each of these clusters.
fn contexts(file: &Path, servers: &[(&str, String)]) {
    let named = |key: &str, rest: &dyn Fn(&str, &str) -> Value| -> Vec<Value> {
        servers.iter().map(|(name, server)| serde_json::json!({"name": name, key: rest(name, server)})).collect()
    };
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": servers[0].0,
        "clusters": named("cluster", &|_, server| serde_json::json!({"server": server})),
        "users": named("user", &|_, _| serde_json::json!({})),
        "contexts": named("context", &|name, _| serde_json::json!({"cluster": name, "user": name})),
    });
    fs::write(file, config.to_string()).unwrap();
}

#[tokio::test]
async fn trials_share_out_several_clusters_and_one_that_is_gone_is_set_aside() {
    let dir = data("60s", "60s");
    let (_one, other) = (Shared::up(dir.path()), tempfile::tempdir().unwrap());
    let _two = Shared::up(other.path());
    let server = |of: &Path| microremed::cluster::server_of(of.join("kubeconfig").to_str(), None).unwrap();
    let (first, second) = (server(dir.path()), server(other.path()));
    contexts(
        &dir.path().join("all"),
        &[("gone", "http://127.0.0.1:1".to_owned()), ("one", first.clone()), ("two", second), ("again", first)],
    );
    experiment(dir.path(), "spread", "\"no-replicas\", \"frozen\"", "\"gold\", \"noop\"");
    let words = ["run", "spread", "--root", ".", "--kubeconfig", "all", "--out", "out"];
    let with = |names: &[&'static str]| [&words[..], &names.iter().flat_map(|n| ["--context", n]).collect::<Vec<_>>()].concat();
    // Two trials in one namespace would fail each other.
    let refused = run(&with(&["one", "two", "again"]), dir.path());
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("are of one cluster"), "{}", text(&refused.stderr));
    let done = run(&with(&["gone", "one", "two"]), dir.path());
    let said = text(&done.stderr);
    let out = dir.path().join("out");
    let rows = rows(&run_dir(&out));
    let found: Vec<(&str, &str)> = rows.iter().map(|r| (r["model"].as_str(), r["outcome"].as_str())).collect();
    let expected = [("gold", "recovered"), ("noop", "not_recovered")].repeat(2);
    assert_eq!((done.status.code(), found), (Some(0), expected), "{said}");
    assert!(said.contains("no further trials were run on gone"), "{said}");
    // Side by side: the second began before the first had ended.
    let kinds = kinds(&out);
    let starts: Vec<usize> = kinds.iter().enumerate().filter(|(_, k)| *k == "trial_started").map(|(n, _)| n).collect();
    let ends: Vec<usize> = kinds.iter().enumerate().filter(|(_, k)| *k == "trial_finished").map(|(n, _)| n).collect();
    assert!(starts[1] < ends[0], "{starts:?} {ends:?}");
    // Both have had the system.
    for folder in [dir.path(), other.path()] {
        assert!(!state(folder).await.is_empty());
        assert_ne!(uid(folder).await, "", "a cluster was not used");
    }
}
