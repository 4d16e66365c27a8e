//! Room for trials that compute, when many more run side by side to wait for their models.
//!
//! Input: a trial that computes; output: its slot, in the order of asking. Without slots all trials of a large `-j` would deploy at
//! once, share the cores, and reach their models together, late; with them the first one asks while the others still deploy.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Slots for each core: a trial that computes waits for its children, and those for the disk and for each other, most of the time.
const A_CORE: usize = 4;

/// The slots of a run.
#[derive(Debug, Clone)]
pub(super) struct Slots(Option<Arc<Semaphore>>);

/// A trial that holds it may compute.
#[derive(Debug)]
pub(super) struct Slot(#[expect(dead_code, reason = "it is given back when it is dropped")] Option<OwnedSemaphorePermit>);

impl Slots {
    /// As many as the cores have use for. `skipping`: waits for the cluster take no real time; where they do, a slot
    /// would be held by a trial that only waits, so that there is no bound.
    pub(super) fn new(skipping: bool) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(skipping.then(|| Arc::new(Semaphore::new(cores * A_CORE))))
    }

    /// Waits for a slot. Bounded: those who have one give it back when they wait for a model, and at their end.
    pub(super) async fn take(&self) -> Slot {
        match &self.0 {
            // It is never closed.
            Some(slots) => Slot(Arc::clone(slots).acquire_owned().await.ok()),
            None => Slot(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn slots_are_handed_on_in_the_order_of_asking() {
        let slots = Slots(Some(Arc::new(Semaphore::new(1))));
        let order = std::sync::Mutex::new(Vec::new());
        let trial = async |name: &str| {
            let slot = slots.take().await;
            order.lock().unwrap().push(format!("{name} begins"));
            drop(slot);
            // The model answers.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _slot = slots.take().await;
            order.lock().unwrap().push(format!("{name} ends"));
        };
        tokio::join!(trial("a"), trial("b"), trial("c"));
        // All have begun while the first one's model answers.
        assert_eq!(order.lock().unwrap()[..3], ["a begins", "b begins", "c begins"]);
    }

    #[tokio::test]
    async fn where_waiting_takes_real_time_there_is_room_for_all() {
        let slots = Slots::new(false);
        let held = [slots.take().await, slots.take().await];
        let more = futures::future::join_all((0..1000).map(|_| slots.take()));
        assert_eq!(tokio::time::timeout(Duration::from_secs(5), more).await.unwrap().len() + held.len(), 1002);
    }
}
