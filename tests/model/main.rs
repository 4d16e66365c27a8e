//! Language models over the network, against a server that misbehaves.

#![expect(clippy::unwrap_used, reason = "a failed assumption fails the test")]

mod chaos;
mod limits;
#[path = "../support/model_server.rs"]
mod model_server;
mod replies;
mod secrets;
mod tested;

use std::sync::Arc;
use std::time::{Duration, Instant};

use microremed::manifest::{Catalog, Root};
use microremed::model::{ChatModel, ChatReply, ChatRequest, Message, ModelError, ModelSpec, Role, Servers, ToolSpec, open, problems};
use model_server::{Act, ModelServer, completion};
use serde_json::{Value, json};

const KEY: &str = "sk-test-0123456789";

fn model(base_url: &str, more: &str) -> Arc<dyn ChatModel> {
    let more = if more.contains("timeout") { more.to_owned() } else { format!("timeout = '20s'\n{more}") };
    let text = format!(
        "name = 'm'\n[provider.openai]\nbase_url = '{base_url}'\nmodel = 'some-model'\nkey_env = 'THE_KEY'\n{more}\n\
         retry = {{ attempts = 3, pause = '4ms', pause_max = '10ms' }}"
    );
    let spec: ModelSpec = toml::from_str(&text).unwrap();
    open(&spec, &|name| (name == "THE_KEY").then(|| KEY.to_owned()), &Servers::default()).unwrap()
}

fn request() -> ChatRequest {
    ChatRequest {
        messages: vec![Message::new(Role::System, "You repair systems."), Message::new(Role::User, "Repair it.")],
        tools: vec![ToolSpec {
            name: "print_playbook".to_owned(),
            description: "Runs a playbook.".to_owned(),
            parameters: json!({ "type": "object", "properties": { "code": { "type": "string" } }, "required": ["code"] }),
        }],
        seed: Some(42),
        ..ChatRequest::default()
    }
}

/// What came of one request, and how often the server was asked.
async fn play(acts: Vec<Act>, more: &str) -> (Result<ChatReply, ModelError>, usize) {
    let server = ModelServer::start(acts).await.unwrap();
    let outcome = model(&server.base_url, more).chat(&request()).await;
    let asked = server.asked();
    for request in &asked {
        assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
        assert_eq!(request.body, asked[0].body, "every attempt sends the same");
    }
    // The key must not come back, whatever happened.
    let shown = match &outcome {
        Ok(reply) => format!("{reply:?} {}", serde_json::to_string(reply).unwrap()),
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains(KEY), "{shown}");
    (outcome, asked.len())
}

fn code(reply: &ChatReply) -> &Value {
    assert_eq!(reply.message.tool_calls[0].name, "print_playbook");
    &reply.message.tool_calls[0].arguments.as_ref().unwrap()["code"]
}

fn good() -> Act {
    Act::tool_call("print_playbook", &json!("{\"code\": \"- hosts: all\"}"))
}

/// `bad`, then a proper answer: it must be had at the second attempt.
async fn retried(bad: Act, more: &str, why: &str) {
    let (outcome, asked) = play(vec![bad, good()], more).await;
    let reply = outcome.unwrap();
    assert_eq!(asked, 2);
    assert_eq!(code(&reply), "- hosts: all");
    assert_eq!(reply.retries.len(), 1);
    assert!(reply.retries[0].contains(why), "{:?}", reply.retries);
}

#[tokio::test]
async fn a_good_answer_is_handed_on_with_its_counts() {
    let server = ModelServer::start(vec![good()]).await.unwrap();
    let reply = model(&server.base_url, "options = { temperature = 0.0 }").chat(&request()).await.unwrap();
    assert_eq!(code(&reply), "- hosts: all");
    assert_eq!((reply.dialect.as_str(), reply.finish_reason.as_str()), ("native", "tool_calls"));
    assert_eq!((reply.usage.prompt, reply.usage.completion, reply.usage.cached, reply.usage.reasoning), (100, 50, 40, 10));
    assert!(!reply.usage.estimated && reply.retries.is_empty());
    let body = &server.asked()[0].body;
    assert_eq!(body["model"], "some-model");
    assert_eq!(body["tools"][0]["function"]["name"], "print_playbook");
    assert_eq!((&body["tool_choice"], &body["seed"], &body["temperature"]), (&json!("required"), &json!(42), &json!(0.0)));
}

#[tokio::test]
async fn rate_limits_are_waited_for_as_long_as_asked() {
    let started = Instant::now();
    let limited = Act::Answer(429, vec![("retry-after", "1".to_owned())], "slow down".to_owned());
    retried(limited, "", "HTTP 429: slow down").await;
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_limit_that_lasts_for_hours_is_not_waited_for() {
    let limited = Act::Answer(429, vec![("retry-after", "7200".to_owned())], "quota".to_owned());
    let (outcome, asked) = play(vec![limited], "").await;
    assert!(matches!(outcome.unwrap_err(), ModelError::Unavailable { attempts: 1, last, .. } if last.contains("quota")));
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn server_errors_are_retried() {
    retried(Act::Answer(500, Vec::new(), format!("key {KEY} broke me")), "", "HTTP 500: key [key] broke me").await;
    retried(Act::Answer(408, Vec::new(), String::new()), "", "HTTP 408").await;
    retried(Act::json(200, &json!({ "error": { "code": 502, "message": "upstream" } })), "", "upstream").await;
}

#[tokio::test]
async fn retries_are_bounded() {
    let (outcome, asked) = play(vec![Act::Answer(503, Vec::new(), "down".to_owned())], "").await;
    let ModelError::Unavailable { endpoint, attempts, last } = outcome.unwrap_err() else { panic!("another error") };
    assert_eq!((attempts, asked), (3, 3));
    assert!(endpoint.starts_with("http://127.0.0.1:") && endpoint.ends_with("/v1/chat/completions"), "{endpoint}");
    assert_eq!(last, "HTTP 503: down");
}

#[tokio::test]
async fn silence_ends_with_the_time_limit() {
    retried(Act::Hang, "timeout = '600ms'", "no complete answer within 600ms").await;
    retried(Act::Stall("{\"choices\": [".to_owned()), "timeout = '600ms'", "no complete answer within 600ms").await;
}

#[tokio::test]
async fn dropping_the_future_ends_the_waiting() {
    let server = ModelServer::start(vec![Act::Hang]).await.unwrap();
    let model = model(&server.base_url, "");
    let started = Instant::now();
    let ended = tokio::time::timeout(Duration::from_millis(300), model.chat(&request())).await;
    assert!(ended.is_err() && started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn bodies_that_are_cut_off_or_malformed_are_retried() {
    retried(Act::Cut("application/json", "{\"choices\": [{\"mess".to_owned()), "", "body").await;
    retried(Act::Answer(200, Vec::new(), "{\"choices\": [{\"mess".to_owned()), "", "cut off or no JSON").await;
    retried(Act::Answer(200, Vec::new(), "<html>welcome</html>".to_owned()), "", "no JSON").await;
    retried(Act::json(200, &json!({ "choices": [] })), "", "no choices").await;
}

#[tokio::test]
async fn refusals_are_final_and_show_no_key() {
    for status in [400, 401, 403, 404, 422, 307] {
        let body = format!("Incorrect API key provided: {KEY}. {}", "x".repeat(5000));
        let (outcome, asked) = play(vec![Act::Answer(status, vec![("location", "http://127.0.0.1:1/".to_owned())], body)], "").await;
        let ModelError::Refused { status: found, body, .. } = outcome.unwrap_err() else { panic!("another error") };
        assert_eq!((found, asked), (status, 1));
        assert!(body.starts_with("Incorrect API key provided: [key]") && body.len() < 1000, "{body}");
    }
    // Where the text is cut, half a key must not stay.
    for before in 580..605 {
        let (outcome, _) = play(vec![Act::Answer(401, Vec::new(), format!("{}{KEY} is wrong", "x".repeat(before)))], "").await;
        let shown = outcome.unwrap_err().to_string();
        assert!(!shown.contains("sk-t"), "{shown}");
    }
}

#[tokio::test]
async fn a_bad_answer_is_an_answer() {
    let (outcome, asked) = play(vec![Act::tool_call("Print-Playbook", &json!("{\"code\": \"- hosts"))], "").await;
    let reply = outcome.unwrap();
    let call = &reply.message.tool_calls[0];
    assert_eq!((call.name.as_str(), reply.dialect.as_str(), asked), ("print_playbook", "native", 1));
    assert_eq!(call.arguments.as_ref().unwrap_err().text, "{\"code\": \"- hosts");

    let (outcome, asked) = play(vec![Act::message(&json!({ "role": "assistant", "content": format!("I quote {KEY}.") }))], "").await;
    let reply = outcome.unwrap();
    assert_eq!((reply.dialect.as_str(), reply.message.content.as_str(), asked), ("none", "I quote [key].", 1));
    assert!(reply.message.tool_calls.is_empty());
}

#[tokio::test]
async fn calls_in_the_text_are_found_unless_only_native_ones_count() {
    let text = "```json\n{\"name\": \"print_playbook\", \"arguments\": {\"code\": \"- hosts: all\"}}\n```";
    let act = || vec![Act::message(&json!({ "content": format!("<think>\nhm\n</think>\n{text}") }))];
    for tools in ["auto", "text"] {
        let reply = play(act(), &format!("tools = '{tools}'")).await.0.unwrap();
        assert_eq!((code(&reply), reply.dialect.as_str()), (&json!("- hosts: all"), "text"));
        assert_eq!((reply.message.reasoning.as_deref(), reply.message.content.as_str()), (Some("hm"), text));
    }
    let reply = play(act(), "tools = 'native'").await.0.unwrap();
    assert!(reply.message.tool_calls.is_empty() && reply.dialect == "none");
}

#[tokio::test]
async fn servers_without_tools_get_them_described() {
    let server =
        ModelServer::start(vec![Act::message(&json!({ "content": "Action: print_playbook\nAction Input: - hosts: all" }))]).await.unwrap();
    let reply = model(&server.base_url, "tools = 'text'").chat(&request()).await.unwrap();
    assert_eq!(code(&reply), "- hosts: all");
    let body = &server.asked()[0].body;
    assert!(body.get("tools").is_none());
    assert!(body["messages"][0]["content"].as_str().unwrap().contains("print_playbook"));
}

#[tokio::test]
async fn content_in_parts_and_arguments_as_an_object_are_read() {
    let message = json!({
        "content": [{ "type": "text", "text": "I re" }, { "type": "text", "text": "pair." }],
        "reasoning_content": "because",
        "tool_calls": [{ "id": "c", "function": { "name": "print_playbook", "arguments": { "code": "- hosts: all" } } }],
    });
    let reply = play(vec![Act::message(&message)], "").await.0.unwrap();
    assert_eq!((reply.message.content.as_str(), reply.message.reasoning.as_deref()), ("I repair.", Some("because")));
    assert_eq!(code(&reply), "- hosts: all");
}

#[tokio::test]
async fn missing_counts_are_estimated() {
    let mut body = completion(&json!({ "content": "x".repeat(400) }));
    body.as_object_mut().unwrap().remove("usage");
    let reply = play(vec![Act::json(200, &body)], "").await.0.unwrap();
    assert!(reply.usage.estimated);
    assert_eq!(reply.usage.completion, 100);
    assert!(reply.usage.prompt > 10);
}

fn deltas() -> Vec<Value> {
    vec![
        json!({ "role": "assistant", "content": "I re" }),
        json!({ "content": "pair." }),
        json!({ "tool_calls": [{ "index": 0, "id": "s-1", "function": { "name": "print_playbook", "arguments": "" } }] }),
        json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"code\": \"- ho" } }] }),
        json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "sts: all\"}" } }] }),
    ]
}

#[tokio::test]
async fn streams_are_joined() {
    let server = ModelServer::start(vec![Act::stream(&deltas())]).await.unwrap();
    let reply = model(&server.base_url, "stream = true").chat(&request()).await.unwrap();
    assert_eq!((code(&reply), reply.message.content.as_str()), (&json!("- hosts: all"), "I repair."));
    assert_eq!((reply.message.tool_calls[0].id.as_str(), reply.usage.prompt), ("s-1", 30));
    assert_eq!(server.asked()[0].body["stream_options"]["include_usage"], true);
}

#[tokio::test]
async fn streams_that_end_early_are_retried() {
    retried(Act::short_stream(&deltas()), "stream = true", "before the answer did").await;
    let start = format!("data: {}\n\ndata: {{\"cho", json!({ "choices": [{ "delta": { "content": "half" } }] }));
    retried(Act::Cut("text/event-stream", start), "stream = true", "body").await;
}

#[tokio::test]
async fn long_answers_are_read_and_endless_ones_are_not() {
    let long = "y".repeat(10 << 20);
    let (outcome, asked) = play(vec![Act::message(&json!({ "content": long }))], "").await;
    assert_eq!((outcome.unwrap().message.content.len(), asked), (10 << 20, 1));

    let (outcome, asked) = play(vec![Act::Answer(200, Vec::new(), "z".repeat(33 << 20))], "").await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("longer than 32 MiB") && asked == 1, "{error}");
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_unavailable() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = model(&format!("http://{address}/v1"), "").chat(&request()).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(KEY), "{shown}");
    let ModelError::Unavailable { attempts, last, .. } = error else { panic!("another error") };
    assert_eq!(attempts, 3);
    assert!(last.to_lowercase().contains("refused"), "{last}");
}

#[test]
fn shipped_models_have_no_mistakes() {
    let (catalog, diagnostics) = Catalog::load(&Root::built_in());
    assert!(diagnostics.is_empty(), "{}", diagnostics.plain());
    assert!(catalog.models.len() > 20);
    for (name, spec) in &catalog.models {
        assert_eq!(problems(spec), [], "{name}");
        // Every endpoint opens, once it has its key.
        if spec.provider.endpoint().is_some() {
            assert!(open(spec, &|_| Some(KEY.to_owned()), &Servers::default()).is_ok(), "{name}");
        }
    }
}
