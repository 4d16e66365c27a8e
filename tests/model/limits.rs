//! What a provider allows, kept by all conversations together: calls side by side, and less of them after a 429.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use microremed::model::{ChatModel, ChatRequest, Message, ModelSpec, Role, Servers, open};
use serde_json::json;

use super::model_server::completion;

/// A server that answers so many at once, and the others with 429.
#[derive(Clone)]
struct Busy {
    most: usize,
    now: Arc<AtomicUsize>,
    peak: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

async fn serve(State(busy): State<Busy>) -> Response {
    let now = busy.now.fetch_add(1, Ordering::SeqCst) + 1;
    busy.peak.fetch_max(now, Ordering::SeqCst);
    let response = if now > busy.most {
        busy.refused.fetch_add(1, Ordering::SeqCst);
        Response::builder().status(429).body(Body::from("too many at once")).unwrap()
    } else {
        tokio::time::sleep(Duration::from_millis(200)).await;
        Response::new(Body::from(completion(&json!({ "content": "yes" })).to_string()))
    };
    busy.now.fetch_sub(1, Ordering::SeqCst);
    response
}

/// The server and a model for each of the files: whose key it names, and what else it says.
async fn start_all(most: usize, files: &[(&str, &str)]) -> (Busy, Vec<Arc<dyn ChatModel>>) {
    let busy = Busy { most, now: Arc::default(), peak: Arc::default(), refused: Arc::default() };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(serve).with_state(busy.clone());
    tokio::spawn(async move { drop(axum::serve(listener, router).await) });
    let servers = Servers::default();
    let open = |(account, more): &(&str, &str)| {
        let text = format!(
            "name = 'm'\n{more}\n[provider.openai]\nbase_url = 'http://{address}/v1'\nmodel = 'm'\nkey_env = '{account}'\n\
             retry = {{ attempts = 30, pause = '20ms', pause_max = '40ms' }}"
        );
        let spec: ModelSpec = toml::from_str(&text).unwrap();
        open(&spec, &|name| Some(format!("sk-of-{name}")), &servers).unwrap()
    };
    (busy, files.iter().map(open).collect())
}

async fn start(most: usize, more: &str) -> (Busy, Arc<dyn ChatModel>) {
    let (busy, mut models) = start_all(most, &[("US", more)]).await;
    (busy, models.remove(0))
}

/// So many conversations at once; how often they were sent away.
async fn converse(model: &Arc<dyn ChatModel>, conversations: usize) -> usize {
    let all = (0..conversations).map(|number| {
        let model = Arc::clone(model);
        async move {
            let messages = vec![Message::new(Role::User, number.to_string())];
            let reply = model.chat(&ChatRequest { messages, ..ChatRequest::default() }).await.unwrap();
            reply.retries.iter().inspect(|why| assert!(why.contains("429"), "{why}")).count()
        }
    });
    futures::future::join_all(all).await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_side_by_side_stay_within_the_limit_of_the_file() {
    let (busy, model) = start(usize::MAX, "limits = { concurrent = 3 }").await;
    assert_eq!(converse(&model, 12).await, 0);
    assert_eq!(busy.peak.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_asked_too_much_is_asked_less_and_everybody_is_served() {
    let (busy, model) = start(4, "").await;
    let sent_away = converse(&model, 40).await;
    assert_eq!(sent_away, busy.refused.load(Ordering::SeqCst));
    // The first rush meets the limit. A client that did not learn from it would meet it with nearly all of its retries,
    // which are some hundreds in the two seconds that ten rounds of four take.
    assert!((4..150).contains(&sent_away), "{sent_away}");
    // It has learnt: the next rush is let in at the rate that the provider can follow.
    let later = converse(&model, 40).await;
    assert!(later < 100, "{later}");
}

/// So many conversations with each of the models, all at once; how often they were sent away.
async fn converse_all(models: &[Arc<dyn ChatModel>], conversations: usize) -> usize {
    futures::future::join_all(models.iter().map(|model| converse(model, conversations))).await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_files_of_one_server_share_the_stricter_limit_and_another_account_has_its_own() {
    let files = [("US", "limits = { concurrent = 5 }"), ("US", "limits = { concurrent = 3 }"), ("US", "")];
    let (busy, models) = start_all(usize::MAX, &files).await;
    assert_eq!(converse_all(&models, 6).await, 0);
    assert_eq!(busy.peak.load(Ordering::SeqCst), 3);

    let files = [("US", "limits = { concurrent = 3 }"), ("THEM", "limits = { concurrent = 4 }")];
    let (busy, models) = start_all(usize::MAX, &files).await;
    assert_eq!(converse_all(&models, 8).await, 0);
    assert_eq!(busy.peak.load(Ordering::SeqCst), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_model_is_refused_the_other_model_of_the_server_learns_from() {
    let (busy, models) = start_all(4, &[("US", ""), ("US", "")]).await;
    let (taught, learnt) = (&models[0], &models[1]);
    assert!(converse(taught, 40).await >= 4);
    let before = busy.refused.load(Ordering::SeqCst);
    // Alone it would begin with all forty at once, of which thirty-six are refused.
    let refused_now = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        busy.refused.load(Ordering::SeqCst) - before
    };
    let (_, at_first) = tokio::join!(converse(learnt, 40), refused_now);
    assert!(at_first < 20, "{at_first}");
}
