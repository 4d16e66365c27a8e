//! Requests along the call graph, second by second: rate, errors and latency of every service.

/// The time series of all services.
#[derive(Debug, Default)]
pub struct Traffic {}
