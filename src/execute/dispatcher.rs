//! The one task that orders events and hands them to the sink.

use tokio::sync::{mpsc, oneshot};

use super::stop::Stop;
use crate::event::{Artifact, Event, Sink, SinkError};

enum Item {
    Event(Box<Event>),
    Artifact(Artifact),
}

type Envelope = (Item, oneshot::Sender<Result<(), SinkError>>);

/// Events in flight: trials wait for each to be stored, so a short queue is enough.
const QUEUE: usize = 64;

/// Sends events to the dispatcher; clones share it.
#[derive(Clone)]
pub(super) struct Events(mpsc::Sender<Envelope>);

impl Events {
    /// Starts the dispatcher. The handle resolves to the sink when every clone of [`Events`] is gone.
    pub(super) fn start<S: Sink + 'static>(mut sink: S) -> (Self, tokio::task::JoinHandle<S>) {
        let (tx, mut rx) = mpsc::channel::<Envelope>(QUEUE);
        let task = tokio::task::spawn(async move {
            while let Some((item, reply)) = rx.recv().await {
                let stored = match item {
                    Item::Event(e) => sink.event(*e),
                    Item::Artifact(a) => sink.artifact(a),
                };
                // A trial that was dropped meanwhile no longer listens.
                let _listening = reply.send(stored);
            }
            sink
        });
        (Self(tx), task)
    }

    /// Stores an event; returns when it is on disk.
    pub(super) async fn send(&self, event: Event) -> Result<(), Stop> {
        self.put(Item::Event(Box::new(event))).await
    }

    /// Stores an artifact.
    pub(super) async fn artifact(&self, artifact: Artifact) -> Result<(), Stop> {
        self.put(Item::Artifact(artifact)).await
    }

    async fn put(&self, item: Item) -> Result<(), Stop> {
        let (tx, rx) = oneshot::channel();
        let gone = || Stop::Journal("the journal has been closed".to_owned());
        self.0.send((item, tx)).await.map_err(|_| gone())?;
        rx.await.map_err(|_| gone())?.map_err(|e| Stop::Journal(e.to_string()))
    }
}
