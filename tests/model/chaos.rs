//! Every format against a server that misbehaves at random, and many conversations side by side.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use futures::StreamExt as _;
use microremed::model::{ChatModel, ChatRequest, Message, ModelSpec, Role, ToolSpec, open};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

/// Conversations for each format.
const CALLS: u64 = 1000;
/// Of them at the same time.
const SIDE_BY_SIDE: usize = 24;

/// The server: good answers, unless the dice say otherwise.
#[derive(Clone)]
struct Chaos {
    dice: Arc<Mutex<ChaCha8Rng>>,
    faults: Arc<AtomicU64>,
}

/// A good answer to the conversation with a number, in the format that the address belongs to. `padding` makes it long.
fn answer(uri: &Uri, number: &str, padding: &str) -> (Value, Vec<Value>) {
    let path = uri.path();
    let arguments = json!({ "code": number, "padding": padding });
    if path.ends_with("/messages") {
        let call = json!({ "type": "tool_use", "id": "t", "name": "play", "input": arguments });
        let whole =
            json!({ "type": "message", "content": [call], "stop_reason": "tool_use", "usage": { "input_tokens": 5, "output_tokens": 7 } });
        let events = vec![
            json!({ "type": "message_start", "message": { "usage": { "input_tokens": 5, "output_tokens": 1 } } }),
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "tool_use", "id": "t", "name": "play", "input": {} } }),
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "input_json_delta", "partial_json": arguments.to_string() } }),
            json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use" }, "usage": { "output_tokens": 7 } }),
            json!({ "type": "message_stop" }),
        ];
        (whole, events)
    } else if path.ends_with("/responses") {
        let call = json!({ "type": "function_call", "call_id": "t", "name": "play", "arguments": arguments.to_string() });
        let whole = json!({ "status": "completed", "output": [call], "usage": { "input_tokens": 5, "output_tokens": 7 } });
        let events = vec![json!({ "type": "response.created" }), json!({ "type": "response.completed", "response": whole })];
        (whole, events)
    } else if path.contains("enerateContent") {
        let part = json!({ "functionCall": { "name": "play", "args": arguments } });
        let usage = json!({ "promptTokenCount": 5, "candidatesTokenCount": 7 });
        let whole = json!({ "candidates": [{ "content": { "parts": [part] }, "finishReason": "STOP" }], "usageMetadata": usage });
        let start = json!({ "candidates": [{ "content": { "parts": [part] } }] });
        let events = vec![start, json!({ "candidates": [{ "content": {}, "finishReason": "STOP" }], "usageMetadata": usage })];
        (whole, events)
    } else {
        let call = json!({ "index": 0, "id": "t", "function": { "name": "play", "arguments": arguments.to_string() } });
        let usage = json!({ "prompt_tokens": 5, "completion_tokens": 7 });
        let whole =
            json!({ "choices": [{ "message": { "content": null, "tool_calls": [call] }, "finish_reason": "tool_calls" }], "usage": usage });
        let events = vec![
            json!({ "choices": [{ "delta": { "tool_calls": [call] } }] }),
            json!({ "choices": [{ "delta": {}, "finish_reason": "tool_calls" }] }),
            json!({ "choices": [], "usage": usage }),
        ];
        (whole, events)
    }
}

fn respond(status: u16, kind: &str, body: Body) -> Response {
    Response::builder().status(status).header("content-type", kind).header("retry-after", "0").body(body).unwrap()
}

/// The body in pieces; `cut`: with an error of the transport after them.
fn pieces(text: &str, size: usize, pause: Duration, cut: bool) -> Body {
    let mut parts: Vec<Result<Bytes, std::io::Error>> = text.as_bytes().chunks(size).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    if cut {
        parts.push(Err(std::io::Error::other("cut")));
    }
    Body::from_stream(futures::stream::iter(parts).then(move |part| async move {
        tokio::time::sleep(pause).await;
        part
    }))
}

async fn serve(State(chaos): State<Chaos>, uri: Uri, body: Bytes) -> Response {
    let asked = String::from_utf8_lossy(&body).into_owned();
    let number = asked.split("number<").nth(1).and_then(|rest| rest.split('>').next()).unwrap_or("none").to_owned();
    let streamed = asked.contains("\"stream\":true") || uri.path().contains("stream");
    let roll = chaos.dice.lock().unwrap().next_u32() % 1000;
    // 10 MB are taken as they are: they are an answer.
    let padding = if roll < 3 { "x".repeat(10 << 20) } else { String::new() };
    let (whole, events) = answer(&uri, &number, &padding);
    let kind = if streamed { "text/event-stream" } else { "application/json" };
    let good = if streamed {
        events.iter().flat_map(|event| ["data: ".to_owned(), event.to_string(), "\n\n".to_owned()]).collect()
    } else {
        whole.to_string()
    };
    let half: String = good.chars().take(good.len() / 2).collect();
    let (json, instant) = ("application/json", Duration::ZERO);
    if !(40..340).contains(&roll) {
        let (size, pause) = if roll < 3 {
            (1 << 20, instant)
        } else if roll < 40 {
            (16, Duration::from_micros(200))
        } else {
            (1 << 20, instant)
        };
        return respond(200, kind, pieces(&good, size, pause, false));
    }
    chaos.faults.fetch_add(1, Ordering::Relaxed);
    match roll {
        40..80 => respond(429, json, Body::from("{\"error\": {\"message\": \"slow down\"}}")),
        80..110 => respond(503, json, Body::from("overloaded")),
        110..130 => respond(529, json, Body::from("{\"type\": \"error\", \"error\": {\"type\": \"overloaded_error\"}}")),
        130..150 => respond(408, json, Body::empty()),
        150..180 => respond(200, kind, pieces(&half, 64, instant, true)),
        180..220 => respond(200, kind, Body::from(half)),
        220..250 => respond(200, json, Body::from("<html>welcome</html>")),
        250..270 => respond(200, json, Body::empty()),
        270..300 => respond(200, json, Body::from("{\"error\": {\"code\": 502, \"message\": \"upstream\"}}")),
        300..320 => respond(200, json, Body::from("[]")),
        // A stream that stops at an event's end, with no error anywhere.
        _ => respond(200, "text/event-stream", Body::from(events.first().map(|event| format!("data: {event}\n\n")).unwrap_or_default())),
    }
}

async fn start() -> (String, Arc<AtomicU64>) {
    let chaos = Chaos { dice: Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(7))), faults: Arc::default() };
    let faults = Arc::clone(&chaos.faults);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let router = Router::new().fallback(serve).with_state(chaos);
    tokio::spawn(async move { drop(axum::serve(listener, router).await) });
    (address, faults)
}

fn model(provider: &str, base_url: &str, stream: bool) -> Arc<dyn ChatModel> {
    let text = format!(
        "name = 'm'\n[provider.{provider}]\nbase_url = '{base_url}'\nmodel = 'm'\nkey_env = 'K'\nstream = {stream}\n\
         retry = {{ attempts = 20, pause = '1ms', pause_max = '3ms' }}"
    );
    let spec: ModelSpec = toml::from_str(&text).unwrap();
    open(&spec, &|_| Some("sk-chaos-0123456789".to_owned())).unwrap()
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

async fn survives(provider: &str) {
    let (base_url, faults) = start().await;
    let models = [model(provider, &base_url, false), model(provider, &base_url, true)];
    let outcomes: Vec<(u64, Result<_, _>)> = futures::stream::iter(0..CALLS)
        .map(|number| {
            let model = Arc::clone(&models[usize::try_from(number % 2).unwrap()]);
            async move { (number, model.chat(&request(number)).await) }
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    assert_eq!(outcomes.len() as u64, CALLS);
    let mut retries = 0;
    for (number, outcome) in outcomes {
        let reply = outcome.unwrap_or_else(|error| panic!("{provider} {number}: {error}"));
        let call = &reply.message.tool_calls[0];
        assert_eq!((call.name.as_str(), reply.dialect.as_str()), ("play", "native"), "{provider} {number}");
        assert_eq!(call.arguments.as_ref().unwrap()["code"], number.to_string(), "{provider}: somebody else's answer");
        assert_eq!((reply.usage.prompt, reply.usage.completion, reply.usage.estimated), (5, 7, false), "{provider} {number}");
        retries += reply.retries.len() as u64;
    }
    // Every fault was met by one more attempt, and nothing else was.
    assert_eq!(retries, faults.load(Ordering::Relaxed), "{provider}");
    assert!(retries > CALLS / 5, "{retries}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_completions_survive_chaos() {
    survives("openai").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_survives_chaos() {
    survives("azure").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_survive_chaos() {
    survives("openai-responses").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_survive_chaos() {
    survives("anthropic").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gemini_survives_chaos() {
    survives("gemini").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slow_conversations_take_hardly_longer_than_one() {
    const CALL: Duration = Duration::from_secs(2);
    const TURNS: u32 = 2;
    let slow = |uri: Uri| async move {
        tokio::time::sleep(CALL).await;
        respond(200, "application/json", Body::from(answer(&uri, "1", "").0.to_string()))
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
