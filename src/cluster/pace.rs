//! How time passes for a trial: real time on a real cluster, simulated time on an embedded one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::rest::RestProbe;

/// The clock of a trial. On a real cluster all guards do nothing and time is real time since the connection.
///
/// Whoever connected computes, and simulated time stands still, but while it waits in one of these ways. It is one task: it
/// waits for one thing at a time.
pub trait Pace: Send + Sync {
    /// Milliseconds since the cluster was connected.
    fn now_ms(&self) -> u64;
    /// Calendar time of the cluster.
    fn timestamp(&self) -> jiff::Timestamp;
    /// The caller waits, until the guard is dropped, for an answer of the cluster that may take the cluster's time.
    fn waiting(&self) -> Waiting;
    /// Waits.
    fn sleep(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// Resolves when so much time has passed since this call, for a limit on something that is awaited meanwhile.
    fn deadline(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// Child processes are at work until the guard is dropped; `rest` is sampled to find out when they only wait.
    fn working(&self, rest: RestProbe) -> Working;
    /// Environment for child processes, so that `sleep`s inside them take the cluster's time: empty on a real cluster.
    fn child_environment(&self) -> Vec<(String, String)>;
}

/// A guard; see [`Pace::waiting`].
pub struct Waiting(pub Option<Box<dyn Send + Sync>>);

/// A guard; see [`Pace::working`].
pub struct Working(pub Option<Box<dyn Send + Sync>>);

/// Real time.
pub struct RealPace {
    start: tokio::time::Instant,
}

impl RealPace {
    /// Starts at zero now.
    pub fn start() -> Arc<Self> {
        Arc::new(Self { start: tokio::time::Instant::now() })
    }
}

impl Pace for RealPace {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn timestamp(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    fn waiting(&self) -> Waiting {
        Waiting(None)
    }

    fn sleep(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(d))
    }

    fn deadline(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(d))
    }

    fn working(&self, _rest: RestProbe) -> Working {
        Working(None)
    }

    fn child_environment(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}
