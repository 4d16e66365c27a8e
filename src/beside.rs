//! Work that waits for the disk, done beside the threads that everything else shares.
//!
//! Input: the work; output: what it gave. Where the system refuses a thread, the work is done on the spot: slower for
//! others, but not lost. (`tokio::task::spawn_blocking` panics there.)

use std::sync::{Arc, Mutex, PoisonError};

/// Does the work on a thread of its own, or here. `None`: the work panicked.
pub(crate) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    with(std::thread::Builder::new().name("beside".to_owned()), work).await
}

async fn with<T: Send + 'static>(thread: std::thread::Builder, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = tokio::sync::oneshot::channel();
    // Shared, since a refused thread gives back nothing.
    let waiting = Arc::new(Mutex::new(Some(work)));
    let taken = Arc::clone(&waiting);
    let take = move || taken.lock().unwrap_or_else(PoisonError::into_inner).take();
    let started = thread.spawn(move || {
        if let Some(work) = take() {
            // Nobody waits any more: the work is done all the same.
            let _given_up = tell.send(work());
        }
    });
    if started.is_ok() {
        return told.await.ok();
    }
    let work = waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    work.map(|work| work())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_elsewhere_and_panics_are_told() {
        let here = std::thread::current().id();
        assert_eq!(beside(move || std::thread::current().id() != here).await, Some(true));
        assert_eq!(beside(|| -> u8 { panic!("on purpose") }).await, None);
    }

    #[tokio::test]
    async fn work_is_done_here_when_no_thread_can_be_had() {
        let here = std::thread::current().id();
        // No system has room for such a stack.
        let refused = std::thread::Builder::new().stack_size(1 << 60);
        assert_eq!(with(refused, move || std::thread::current().id() == here).await, Some(true));
    }
}
