//! `models test` and `models list`: what they print and how they exit, against a server of ours.

use serde_json::{Value, json};

use super::model_server::{Act, ModelServer};
use super::replies::{KEY, folder, program, text};

const PRICE: &str = "price = { prompt = 1.0, completion = 2.0 }";

/// What `models test` printed, what it said, and how it exited.
async fn test(act: Act, more: &str, args: &[&str]) -> (String, String, Option<i32>) {
    let server = ModelServer::start(vec![act]).await.unwrap();
    let dir = folder(&server.base_url, more);
    let done = program(dir.path(), Some(KEY), &[&["models", "test", "stub", "--root", "."], args].concat()).await;
    let (printed, said) = (text(&done.stdout), text(&done.stderr));
    assert!(!printed.contains(KEY) && !said.contains(KEY), "{printed}{said}");
    (printed, said, done.status.code())
}

fn call(word: &str) -> Act {
    Act::tool_call("report", &json!(json!({ "word": word }).to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn latency_tokens_cost_and_tools_are_printed() {
    let (printed, said, code) = test(call("ready"), PRICE, &[]).await;
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].starts_with("some at http://127.0.0.1:"), "{printed}");
    assert!(lines[1].starts_with("  latency  0.") && lines[1].ends_with(" s"), "{printed}");
    assert_eq!(lines[2..5], ["  tokens   100 in, 50 out", "  tools    yes: called as asked (native)", "  cost     $0.000200"]);

    let (printed, _, _) = test(call("ready"), PRICE, &["--json"]).await;
    let line: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&line["model"], &line["tools"], &line["dialect"]), (&json!("stub"), &json!("yes"), &json!("native")));
    assert_eq!((&line["usage"]["prompt"], &line["usage"]["estimated"]), (&json!(100), &json!(false)));
    assert!(line["seconds"].as_f64().unwrap() < 60.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_cannot_call_is_told_from_one_that_does_it_in_its_own_way() {
    let said = "Action: report\nAction Input: {\"word\": \"ready\"}";
    for (act, expected) in [
        (Act::message(&json!({ "content": said })), "tools    yes: called as asked (text)"),
        (Act::message(&json!({ "content": format!("I know {KEY}.") })), "tools    no: it answered without a call: \"I know [key].\""),
        (call("steady"), "tools    odd: it called report with {\"word\":\"steady\"}"),
        (Act::tool_call("report", &json!("{\"word")), "tools    malformed: the arguments could not be read"),
        (Act::message(&json!({ "content": "", "reasoning_content": "hm" })), "thinks   yes"),
    ] {
        let (printed, _, code) = test(act, "", &[]).await;
        assert!(code == Some(0) && printed.contains(expected) && !printed.contains("cost"), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_said_with_what_to_do() {
    let quoted = format!("no such key: {KEY}");
    for (act, expected, help) in [
        (Act::Answer(401, Vec::new(), quoted.clone()), "HTTP 401: no such key: [key]", "is the key in STUB_KEY valid"),
        (Act::Answer(404, Vec::new(), String::new()), "HTTP 404", "does the provider know the model \"some\""),
        (Act::Answer(503, Vec::new(), quoted), "after 2 attempts: HTTP 503: no such key: [key]", ""),
    ] {
        let (printed, said, code) = test(act, "", &[]).await;
        assert!(code == Some(1) && printed.is_empty() && said.contains(expected) && said.contains(help), "{said}");
    }
    let dir = folder("http://127.0.0.1:9/v1", "");
    let done = program(dir.path(), None, &["models", "test", "stub", "--root", "."]).await;
    assert!(done.status.code() == Some(3) && text(&done.stderr).contains("STUB_KEY is not set"), "{}", text(&done.stderr));
    let done = program(dir.path(), None, &["models", "test", "stubb", "--root", "."]).await;
    assert!(done.status.code() == Some(2) && text(&done.stderr).contains("did you mean `stub`?"), "{}", text(&done.stderr));
    let done = program(dir.path(), None, &["models", "test", "gold", "--root", "."]).await;
    assert!(done.status.code() == Some(2) && text(&done.stderr).contains("asks nobody"), "{}", text(&done.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_says_whose_key_is_there_and_never_the_key() {
    let dir = folder("http://127.0.0.1:9/v1", "");
    for (key, state) in [(Some(KEY), "STUB_KEY (set)"), (None, "STUB_KEY (not set)")] {
        let done = program(dir.path(), key, &["models", "list", "--root", "."]).await;
        let printed = text(&done.stdout);
        let line = printed.lines().find(|line| line.starts_with("stub ")).unwrap();
        assert!(line.contains(state) && !printed.contains(KEY), "{line}");
    }
}
