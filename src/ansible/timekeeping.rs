//! The clock of the cluster as children need it: a small copy of what the executor knows as its pace.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::rest::RestProbe;

/// How time passes for the children of one trial. The caller fills it from the pace of the cluster.
#[derive(Clone)]
pub struct Timekeeping {
    /// Milliseconds of the cluster's time.
    pub now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Environment for children, so that sleeps inside them take the cluster's time (`SIM_CLOCK`); empty for real time.
    pub environment: Vec<(String, String)>,
    /// Tells the clock that children are at work until the returned guard is dropped.
    pub working: Arc<dyn Fn(RestProbe) -> Box<dyn Send + Sync> + Send + Sync>,
}

impl Timekeeping {
    /// Real time, for a real cluster.
    pub fn real() -> Self {
        let start = tokio::time::Instant::now();
        Self {
            now_ms: Arc::new(move || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)),
            environment: Vec::new(),
            working: Arc::new(|_rest| Box::new(())),
        }
    }

    /// The address of the server that keeps the time: the one in `SIM_CLOCK`.
    pub(crate) fn server(&self) -> Option<SocketAddr> {
        let (_, url) = self.environment.iter().find(|(name, _)| name == "SIM_CLOCK")?;
        url.strip_prefix("http://")?.split('/').next()?.parse().ok()
    }

    /// Cluster time since `start_ms`.
    pub(crate) fn since(&self, start_ms: u64) -> Duration {
        Duration::from_millis((self.now_ms)().saturating_sub(start_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_taken_from_the_setting() {
        let with = |url: &str| Timekeeping { environment: vec![("SIM_CLOCK".to_owned(), url.to_owned())], ..Timekeeping::real() };
        assert_eq!(with("http://127.0.0.1:7001/.sim").server(), Some(([127, 0, 0, 1], 7001).into()));
        assert_eq!(with("nonsense").server(), None);
        assert_eq!(Timekeeping::real().server(), None);
    }

    #[test]
    fn real_time_is_measured_from_the_start() {
        let time = Timekeeping::real();
        let from = (time.now_ms)();
        std::thread::sleep(Duration::from_millis(20));
        assert!(time.since(from) >= Duration::from_millis(19));
        assert!(time.environment.is_empty());
    }
}
