//! `--json`: one object a line, from every command, and no word of it for people.

use serde_json::Value;

use super::{good, program};

fn objects(args: &[&str]) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    good(args, dir.path()).lines().map(|line| serde_json::from_str(line).unwrap()).inspect(|v: &Value| assert!(v.is_object())).collect()
}

#[test]
fn render_is_one_object_with_everything_that_people_are_shown() {
    let whole = objects(&["render", "quickstart", "--fault", "pod-config-error", "--json"]);
    let [trial] = &whole[..] else { panic!("{} lines", whole.len()) };
    let keys: Vec<&str> = trial.as_object().unwrap().keys().map(String::as_str).collect();
    for key in ["trial", "manifests", "injection", "checks", "reference_repair", "prompts"] {
        assert!(keys.contains(&key), "{keys:?}");
    }
    assert_eq!(trial["trial"]["fault"], "pod-config-error");
    assert_eq!(trial["injection"][0]["patch"]["kind"], "Deployment");
    assert!(trial["reference_repair"].as_str().unwrap().contains("hosts:"));
    assert!(trial["prompts"].as_object().unwrap().values().all(|text| text.as_str().is_some_and(|text| !text.is_empty())));

    let manifests = objects(&["render", "quickstart", "--manifests", "--json"]);
    assert_eq!(Value::Array(manifests), objects(&["render", "quickstart", "--json"])[0]["manifests"]);
}

#[test]
fn other_commands_are_objects_too() {
    assert_eq!(objects(&["schema", "fault", "--json"]).len(), 1);
    assert_eq!(objects(&["plan", "quickstart", "--json"]).len(), 42);
    assert_eq!(objects(&["plan", "quickstart", "--json", "--format", "json"]).len(), 42);
    assert!(objects(&["models", "list", "--json"]).len() > 20);
    assert!(objects(&["check", "--json"]).is_empty());
}

#[test]
fn words_that_contradict_each_other_are_a_mistake_and_no_word_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    for (args, says) in [
        (&["plan", "quickstart", "--json", "--format", "csv"][..], "--format csv"),
        (&["report", "somewhere", "--json", "--format", "latex"], "--format latex"),
        (&["report", "somewhere", "--format", "trials", "--by", "model"], "--by"),
        (&["completions", "bash", "--json"], "no JSON"),
        (&["run", "quickstart", "--agent-kubeconfig", "theirs"], "--agent-kubeconfig"),
        (&["check", ".", "--root", "."], "--root"),
        (&["plan", "quickstart", "--json", "--repeats", "0"], "--repeats"),
    ] {
        let done = program(args, dir.path());
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
        if args.contains(&"--json") {
            let error: Value = serde_json::from_str(&said).unwrap();
            assert_eq!((error["exit_code"].as_u64(), error["error"].as_str().is_some()), (Some(2), true), "{said}");
        }
    }
}
