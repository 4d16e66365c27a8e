//! Every format against a server that misbehaves at random, and many conversations side by side.

mod answer;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Uri;
use axum::response::Response;
use futures::StreamExt as _;
use microremed::model::{ChatModel, ChatReply, ChatRequest, Message, ModelError, ModelSpec, Role, Servers, ToolSpec, open};
use serde_json::json;

use answer::{Say, answer};
use server::{Done, Fate, Server};

/// Conversations for each format.
const CALLS: u64 = 1000;
/// Of them at the same time.
const SIDE_BY_SIDE: usize = 24;
/// Attempts of a request.
const ATTEMPTS: u32 = 20;
const SEED: u64 = 7;

fn model(provider: &str, base_url: &str, stream: bool) -> Arc<dyn ChatModel> {
    let text = format!(
        "name = 'm'\n[provider.{provider}]\nbase_url = '{base_url}'\nmodel = 'm'\nkey_env = 'K'\nstream = {stream}\ntimeout = '4s'\n\
         retry = {{ attempts = {ATTEMPTS}, pause = '1ms', pause_max = '3ms' }}"
    );
    let spec: ModelSpec = toml::from_str(&text).unwrap();
    open(&spec, &|_| Some("sk-chaos-0123456789".to_owned()), &Servers::default()).unwrap()
}

fn request(number: u64) -> ChatRequest {
    ChatRequest {
        messages: vec![Message::new(Role::System, "Repair."), Message::new(Role::User, format!("number<{number}>"))],
        tools: vec![ToolSpec {
            name: "play".to_owned(),
            description: String::new(),
            parameters: json!({ "type": "object", "properties": { "code": { "type": "string" } }, "required": ["code"] }),
        }],
        ..ChatRequest::default()
    }
}

/// Whether what came of a conversation is what the server did in it.
fn check(provider: &str, number: u64, outcome: Result<ChatReply, ModelError>, done: &Done) {
    let what = format!("{provider} {number}: {done:?}");
    match (Fate::of(number), outcome) {
        // The provider's faults are the provider's: no reply, nothing that could be scored.
        (Fate::Down, Err(ModelError::Unavailable { attempts, .. })) => {
            assert_eq!((attempts, done.faults, done.answers), (ATTEMPTS, u64::from(ATTEMPTS), 0), "{what}");
        }
        (Fate::Refused, Err(ModelError::Refused { status: 401, .. })) => assert_eq!((done.refusals, done.answers), (1, 0), "{what}"),
        (fate @ (Fate::Good | Fate::Long | Fate::Malformed | Fate::Words), Ok(reply)) => {
            // Every fault was met by one more attempt, and no answer, however bad, was asked for twice.
            assert_eq!((reply.retries.len() as u64, done.answers), (done.faults, 1), "{what}");
            assert_eq!((reply.usage.prompt, reply.usage.completion, reply.usage.estimated), (5, 7, false), "{what}");
            let calls = &reply.message.tool_calls;
            if fate == Fate::Words {
                assert!(calls.is_empty() && reply.message.content == "I would rather not.", "{what}");
                return;
            }
            assert_eq!((calls[0].name.as_str(), calls.len(), reply.dialect.as_str()), ("play", 1, "native"), "{what}");
            match (&calls[0].arguments, fate) {
                (Ok(arguments), Fate::Good | Fate::Long) => {
                    assert_eq!(arguments["code"], number.to_string(), "somebody else's answer: {what}");
                    let padding = arguments["padding"].as_str().unwrap().len();
                    assert_eq!(padding, if fate == Fate::Long { 10 << 20 } else { 0 }, "{what}");
                }
                (Err(malformed), Fate::Malformed) => assert!(malformed.text.contains("- hosts"), "{what}"),
                (other, _) => panic!("{other:?}: {what}"),
            }
        }
        (fate, outcome) => panic!("{what}: {fate:?} ended as {outcome:?}"),
    }
}

async fn survives(provider: &str, streams: bool) {
    let server = Server::start(SEED).await;
    let models = [model(provider, &server.address, false), model(provider, &server.address, streams)];
    let outcomes: Vec<(u64, Result<_, _>)> = futures::stream::iter(0..CALLS)
        .map(|number| {
            let model = Arc::clone(&models[usize::try_from(number % 2).unwrap()]);
            async move { (number, model.chat(&request(number)).await) }
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    let ledger = server.ledger();
    assert_eq!((outcomes.len() as u64, ledger.conversations.len() as u64), (CALLS, CALLS), "{provider}: something is lost");
    for (number, outcome) in outcomes {
        check(provider, number, outcome, &ledger.conversations[&number]);
    }
    // The test has tested: every kind of fault was met.
    assert!(ledger.kinds.len() == 18, "{provider}: {:?}", ledger.kinds);
    assert!(ledger.kinds.values().sum::<u64>() > CALLS / 4, "{provider}: {:?}", ledger.kinds);
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_completions_survive_chaos() {
    survives("openai", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_survives_chaos() {
    survives("azure", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_survive_chaos() {
    survives("openai-responses", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_survive_chaos() {
    survives("anthropic", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gemini_survives_chaos() {
    survives("gemini", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn converse_survives_chaos() {
    survives("bedrock", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slow_conversations_take_hardly_longer_than_one() {
    const CALL: Duration = Duration::from_secs(2);
    const TURNS: u32 = 2;
    let slow = |uri: Uri| async move {
        tokio::time::sleep(CALL).await;
        Response::new(Body::from(answer(uri.path(), Say::Call("{\"code\": \"1\"}")).0.to_string()))
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { drop(axum::serve(listener, Router::new().fallback(slow)).await) });
    let model = model("openai", &base_url, false);
    let begun = Instant::now();
    let conversations = (0..64).map(|number| {
        let model = Arc::clone(&model);
        async move {
            for _ in 0..TURNS {
                model.chat(&request(number)).await.unwrap();
            }
        }
    });
    futures::future::join_all(conversations).await;
    let ideal = CALL * TURNS;
    assert!(begun.elapsed() < ideal.mul_f64(1.3), "{:?} for an ideal of {ideal:?}", begun.elapsed());
}
