//! Keys: in no file of a run, in nothing printed, in no child's environment, wherever they come from and whoever quotes them.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::model_server::{Act, ModelServer};
use super::replies::{KEY, events, files, folder, playbook, program, rows, run_dir, text};

/// A key that stands in a file; where it is too, nothing of it may be seen.
const FILED: &str = "sk-from-a-file-9876543210";

/// Whether bytes hold a key, as it is or as it is written in other ways.
fn holds(bytes: &[u8]) -> bool {
    use base64::Engine as _;
    let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    [KEY, FILED].iter().any(|key| has(key.as_bytes()) || has(base64::engine::general_purpose::STANDARD.encode(key).as_bytes()))
}

fn no_key_in(folder: &Path) {
    let all = files(folder);
    assert!(!all.is_empty());
    for file in all {
        assert!(!holds(&fs::read(&file).unwrap()), "{} holds a key", file.display());
    }
}

/// `stub` with its key in a file beside the root; returns the file's path.
fn filed(dir: &Path) -> String {
    let path = dir.join("key.txt");
    fs::write(&path, format!("{FILED}\n")).unwrap();
    let model = dir.join("models/stub.toml");
    let with_file = fs::read_to_string(&model).unwrap().replace("key_env = \"STUB_KEY\"", &format!("key_file = \"{}\"", path.display()));
    fs::write(model, with_file).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_from_a_file_is_seen_nowhere_even_when_a_child_reads_the_file() {
    let base = tempfile::tempdir().unwrap();
    // The child is told where the file is, and no sandbox keeps it away: the worst case.
    let look = format!("cat {}/key.txt; env; cat /proc/self/environ", base.path().display());
    let code = format!(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: look\n      ansible.builtin.shell: {look}\n      register: seen\n    \
         - ansible.builtin.debug:\n        var: seen.stdout\n"
    );
    let echo = vec![("x-request-authorization", format!("Bearer {FILED}")), ("content-type", "application/json".to_owned())];
    let server = ModelServer::start(vec![
        Act::Answer(500, echo, format!("{{\"authorization\": \"Bearer {FILED}\"}}")),
        Act::tool_call("probe_system", &json!(json!({ "cmds": look }).to_string())),
        playbook(&code),
    ])
    .await
    .unwrap();
    let made = folder(&server.base_url, "");
    for name in ["models", "systems", "faults"] {
        fs::rename(made.path().join(name), base.path().join(name)).unwrap();
    }
    filed(base.path());
    let run = ["run", "quickstart", "--root", ".", "--model", "stub", "--fault", "pod-fail", "--method", "thinkremed", "-j", "1"];
    let done = program(
        base.path(),
        Some(KEY),
        &[&run[..], &["--json", "--out", "out", "--no-sandbox", "--set", "options.thinkremed.t_max=1"]].concat(),
    )
    .await;
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
    assert!(!holds(&done.stdout) && !holds(&done.stderr));
    let out = run_dir(&base.path().join("out"));
    no_key_in(&out);
    // The key was sent, the children did print, and what they printed of it was taken out.
    assert!(server.asked().iter().all(|asked| asked.headers["authorization"] == format!("Bearer {FILED}")));
    assert!(server.asked().iter().all(|asked| !holds(asked.body.to_string().as_bytes())), "the model was shown the key");
    let probe = &events(&out, "probed")[0]["outcome"]["stdout"];
    assert!(probe.as_str().unwrap().starts_with("[key]\n") && probe.as_str().unwrap().contains("PATH="), "{probe}");
    let played = events(&out, "playbook_ran")[0]["outcome"].to_string();
    assert!(played.contains("[key]") && !played.contains("STUB_KEY"), "{played}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_quote_the_key_show_none() {
    let stream =
        |event: &serde_json::Value| Act::Answer(200, vec![("content-type", "text/event-stream".to_owned())], format!("data: {event}\n\n"));
    let acts = [
        Act::Answer(401, vec![("www-authenticate", format!("Bearer error=\"{KEY}\""))], format!("authorization: Bearer {KEY}")),
        Act::Answer(307, vec![("location", format!("http://127.0.0.1:9/?key={KEY}"))], String::new()),
        Act::Answer(200, Vec::new(), format!("{KEY} is no JSON")),
        Act::json(200, &json!({ "error": { "message": format!("bad key {KEY}"), "code": 401 } })),
        Act::json(200, &json!({ "error": KEY })),
        stream(&json!({ "error": { "message": format!("bad key {KEY}") } })),
        Act::Cut("application/json", format!("{{\"{KEY}\": ")),
    ];
    let run =
        ["run", "quickstart", "--root", ".", "--model", "stub", "--fault", "pod-fail", "--method", "sologen", "-j", "1", "--out", "out"];
    for act in acts {
        let server = ModelServer::start(vec![act.clone()]).await.unwrap();
        let dir = folder(&server.base_url, "");
        let done = program(dir.path(), Some(KEY), &run).await;
        assert_eq!(done.status.code(), Some(1), "{act:?}: {}", text(&done.stderr));
        assert!(!holds(&done.stdout) && !holds(&done.stderr), "{act:?}");
        let out = run_dir(&dir.path().join("out"));
        no_key_in(&out);
        // Whatever the provider did is no result of the model, and says what it was.
        let row = &rows(&out)[0];
        assert!(row["outcome"] == "infra_error" && row["error"].contains("the model endpoint"), "{act:?}: {row:?}");
    }
}
