//! Requests through the target and through the entry services are as good as before the fault.

use crate::event::LATENCY_SLACK_MS;
use crate::execute::baseline::{ServiceTraffic, traffic};
use crate::execute::judge::{Finding, Judge};
use crate::manifest::fault::RequestsCheck;

/// Compares the last seconds with the baseline, for the target and every service that had traffic. A cluster that
/// measures none passes with a note.
pub(in crate::execute) fn measure(judge: &Judge<'_>, check: &RequestsCheck) -> Vec<Finding> {
    if judge.cluster.observations().traffic.is_none() {
        return vec![Finding { passed: true, note: "this cluster does not measure requests".to_owned(), ..Finding::default() }];
    }
    let now = judge.cluster.pace().now_ms() / 1000;
    let from = now.saturating_sub(u64::from(check.window_s));
    let mut findings = Vec::new();
    for (service, before) in &judge.baseline.traffic {
        findings.push(match traffic(judge.cluster, judge.namespace, service, from, now) {
            None => Finding::fail(service.clone(), None, "no requests arrive any more"),
            Some(t) => compare(check, service, *before, t).with([
                ("error_rate", t.error_rate),
                ("error_rate_before", before.error_rate),
                ("latency_ms", t.latency_ms),
                ("latency_before_ms", before.latency_ms),
            ]),
        });
    }
    if findings.is_empty() {
        findings.push(Finding { passed: true, note: "no service had requests before the fault".to_owned(), ..Finding::default() });
    }
    findings
}

fn compare(check: &RequestsCheck, service: &str, before: ServiceTraffic, now: ServiceTraffic) -> Finding {
    if now.error_rate > before.error_rate + check.max_extra_error_rate {
        return Finding::fail(service, Some(now.error_rate), format!("{:.1} % of the requests fail", now.error_rate * 100.0));
    }
    if now.latency_ms > before.latency_ms.mul_add(check.max_latency_times, LATENCY_SLACK_MS) {
        return Finding::fail(
            service,
            Some(now.latency_ms),
            format!("requests take {:.0} ms, before the fault {:.0} ms", now.latency_ms, before.latency_ms),
        );
    }
    Finding::pass(service, now.latency_ms)
}
