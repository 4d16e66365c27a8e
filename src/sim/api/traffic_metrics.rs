//! What the load from outside meets, service by service, for a Prometheus: `/.sim/metrics`. Not a part of Kubernetes.

use super::exposition::Exposition;
use crate::sim::world::World;

/// The text: totals since the start, and the last second.
pub(super) fn text(world: &World) -> String {
    let mut metrics = Exposition::default();
    let all: Vec<_> = world.traffic.totals().collect();
    let labels =
        |of: &'static str| move |(namespace, service): &(String, String)| [("namespace", namespace.clone()), (of, service.clone())];
    let labels = labels("service");
    let mut family = |name, kind, help, value: &dyn Fn(&crate::sim::traffic::Total) -> f64| {
        metrics.family(name, kind, help);
        for (service, total) in &all {
            let labels = labels(service);
            let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
            metrics.sample(&labels, value(total));
        }
    };
    family("service_requests_total", "counter", "Requests from outside and along the call graph.", &|t| t.requests);
    family("service_request_errors_total", "counter", "Of these, without an answer or with one of 500 and above.", &|t| t.errors);
    family("service_request_duration_seconds_total", "counter", "Time to the answers, or to giving up.", &|t| t.seconds);
    family("service_requests_per_second", "gauge", "Requests in the last second that had any.", &|t| t.last.requests);
    family("service_request_errors_per_second", "gauge", "Errors in the last second that had requests.", &|t| t.last.errors);
    family("service_request_duration_mean_seconds", "gauge", "Mean time to the answer in that second.", &|t| t.last.latency_ms / 1000.0);
    family("service_request_duration_p95_seconds", "gauge", "95th percentile of it.", &|t| t.last.p95_ms / 1000.0);
    metrics.text()
}
