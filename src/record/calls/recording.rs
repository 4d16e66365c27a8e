//! A model whose replies are kept, and that may answer from what was kept earlier.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use super::{CallStore, Exchange, Places};
use crate::beside::beside;
use crate::model::{ChatModel, ChatReply, ChatRequest, ModelError, ModelSpec, identity};

/// Where replies may come from instead of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Earlier {
    /// From an earlier run alone: what is not there is an error.
    Replay(CallStore),
    /// From a cache, which learns what is not there.
    Cache(CallStore),
}

/// See the module.
pub struct RecordingModel {
    live: Option<Arc<dyn ChatModel>>,
    identity: Value,
    own: CallStore,
    earlier: Option<Earlier>,
    places: Places,
}

impl RecordingModel {
    /// `live` is asked when nothing earlier answers; a replay needs none. Everything is kept in `own`.
    pub fn new(spec: &ModelSpec, live: Option<Arc<dyn ChatModel>>, own: CallStore, earlier: Option<Earlier>, places: Places) -> Self {
        Self { live, identity: identity(spec), own, earlier, places }
    }

    async fn ask(&self, request: &ChatRequest) -> Result<ChatReply, ModelError> {
        let asked = Exchange::request(&self.identity, request, &self.places);
        let found = match &self.earlier {
            Some(Earlier::Replay(store) | Earlier::Cache(store)) => store.find(&asked)?,
            None => None,
        };
        let outcome = match (found, &self.earlier, &self.live) {
            (Some(exchange), Some(Earlier::Replay(_)), _) => exchange.outcome(),
            (Some(Exchange { reply: Some(reply), .. }), Some(Earlier::Cache(_)), _) => Ok(reply),
            (None, Some(Earlier::Replay(store)), _) => return Err(ModelError::NotRecorded(store.closest_difference(&asked)?)),
            (_, earlier, Some(live)) => {
                let outcome = live.chat(request).await;
                if let (Some(Earlier::Cache(store)), Ok(reply)) = (earlier, &outcome) {
                    keep(store.clone(), asked.clone(), Ok(reply.clone())).await?;
                }
                outcome
            }
            (_, _, None) => return Err(ModelError::Store("there is no model to ask".to_owned())),
        };
        keep(self.own.clone(), asked, outcome.clone()).await?;
        outcome
    }
}

/// Writing waits for the disk, which no other trial needs to.
async fn keep(store: CallStore, request: Value, outcome: Result<ChatReply, ModelError>) -> Result<(), ModelError> {
    let (reply, error) = match outcome {
        Ok(reply) => (Some(reply), None),
        Err(error) => (None, Some(error)),
    };
    let kept = beside(move || store.keep(&Exchange { request, reply, error })).await;
    kept.unwrap_or_else(|| Err(ModelError::Store("a reply could not be kept: the writer failed".to_owned())))
}

impl ChatModel for RecordingModel {
    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ModelError>> {
        self.ask(request).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, folder, reply};
    use super::*;
    use std::sync::Mutex;

    /// Answers with the number of the call, and fails when told to.
    #[derive(Default)]
    struct Counting(Mutex<u32>);

    impl ChatModel for Counting {
        fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ModelError>> {
            let mut count = self.0.lock().unwrap();
            *count += 1;
            let fails = request.messages[0].content == "fail";
            let outcome = if fails { Err(ModelError::Script("down".to_owned())) } else { Ok(reply(&count.to_string())) };
            async move { outcome }.boxed()
        }
    }

    fn spec() -> ModelSpec {
        toml::from_str("name = 'm'\n[provider.openai]\nbase_url = 'http://x/v1'\nmodel = 'x'").unwrap()
    }

    async fn says(model: &RecordingModel, text: &str) -> String {
        match model.chat(&asked(text)).await {
            Ok(reply) => reply.message.content,
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn a_replay_answers_what_was_recorded_failures_included_and_asks_nobody() {
        let (_one, first) = folder();
        let (_two, second) = folder();
        let live = RecordingModel::new(&spec(), Some(Arc::new(Counting::default())), first.clone(), None, Places::default());
        let recorded = [says(&live, "a").await, says(&live, "b").await, says(&live, "fail").await];
        assert_eq!(recorded[..2], ["1", "2"]);
        let replay = RecordingModel::new(&spec(), None, second.clone(), Some(Earlier::Replay(first)), Places::default());
        assert_eq!([says(&replay, "a").await, says(&replay, "b").await, says(&replay, "fail").await], recorded);
        let missing = says(&replay, "c").await;
        assert!(missing.contains("chat.messages[0].content differs"), "{missing}");
        // What a replay kept can be replayed in turn.
        let (_three, third) = folder();
        let again = RecordingModel::new(&spec(), None, third, Some(Earlier::Replay(second)), Places::default());
        assert_eq!(says(&again, "b").await, "2");
    }

    #[tokio::test]
    async fn a_cache_learns_replies_and_forgets_failures() {
        let (_one, own) = folder();
        let (_two, cache) = folder();
        let counting = Arc::new(Counting::default());
        let model = |own: &CallStore| {
            let earlier = Some(Earlier::Cache(cache.clone()));
            RecordingModel::new(&spec(), Some(Arc::clone(&counting) as _), own.clone(), earlier, Places::default())
        };
        assert_eq!((says(&model(&own), "a").await, says(&model(&own), "a").await), ("1".to_owned(), "1".to_owned()));
        says(&model(&own), "fail").await;
        says(&model(&own), "fail").await;
        assert_eq!(*counting.0.lock().unwrap(), 3);
    }
}
