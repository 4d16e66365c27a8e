//! Echo requests from the target's pods: loss and mean round trip.

use std::time::Duration;

use serde_json::Value;

use crate::cluster::ExecOutcome;
use crate::execute::baseline::text;
use crate::execute::judge::{Finding, Judge, Readiness, ready};
use crate::execute::stop::Stop;
use crate::manifest::fault::PingCheck;
use crate::template;

/// Time limit of one `ping` process, in the cluster's time; the published check's.
const LIMIT: Duration = Duration::from_secs(30);

/// Pings from every pod of the target. The value is the loss in percent, or the mean round trip in ms when nothing was lost.
pub(in crate::execute) async fn measure(judge: &Judge<'_>, check: &PingCheck) -> Result<Vec<Finding>, Stop> {
    let pods = judge.pods().await?;
    let mut context = judge.context.clone();
    context["peer_ip"] = peer(judge).await?;
    let host = template::render("ping.host", &check.host, &context).map_err(|e| Stop::Infra(e.to_string()))?;
    if host.trim().is_empty() {
        return Ok(vec![Finding::fail("", None, "no other ready pod to ping")]);
    }
    let command: Vec<String> =
        ["ping", "-c", &check.count.to_string(), "-W", &check.wait_s.to_string(), host.trim()].iter().map(|s| (*s).to_owned()).collect();
    let mut findings = Vec::new();
    for pod in &pods {
        let name = text(&pod["metadata"]["name"]);
        let limit = LIMIT.max(Duration::from_secs(u64::from(check.count) * (1 + u64::from(check.wait_s))));
        let mut outcome = judge.cluster.exec(judge.namespace, &name, check.container.as_deref(), &command, limit).await?;
        if let (true, Some(other)) = (missing(&outcome), &check.fallback_container) {
            outcome = judge.cluster.exec(judge.namespace, &name, Some(other), &command, limit).await?;
        }
        findings.push(rate(check, &name, &outcome));
    }
    if findings.is_empty() {
        findings.push(Finding::fail("", None, "the target has no pods"));
    }
    Ok(findings)
}

/// The address of a ready pod of another service.
async fn peer(judge: &Judge<'_>) -> Result<Value, Stop> {
    let pods = judge.other_pods().await?;
    Ok(pods.iter().find(|p| ready(p) == Readiness::Ready).map_or(Value::String(String::new()), |p| p["status"]["podIP"].clone()))
}

fn missing(outcome: &ExecOutcome) -> bool {
    let said = |t: &str| t.contains("executable file not found") || t.contains("OCI runtime exec failed");
    outcome.code != Some(0) && (said(&outcome.failure) || said(&outcome.stderr) || said(&outcome.stdout))
}

fn rate(check: &PingCheck, pod: &str, outcome: &ExecOutcome) -> Finding {
    if outcome.timed_out {
        return Finding::fail(pod, None, "ping did not end in time");
    }
    let Some(loss) = loss(&outcome.stdout) else {
        let why = if outcome.failure.is_empty() { outcome.stderr.trim() } else { outcome.failure.trim() };
        return Finding::fail(pod, None, format!("ping failed: {why}"));
    };
    let average = average(&outcome.stdout);
    let numbers = [("loss_percent", Some(loss)), ("average_ms", average)].into_iter().filter_map(|(name, value)| Some((name, value?)));
    if loss > check.max_loss_percent {
        return Finding::fail(pod, Some(loss), format!("{loss} % packet loss")).with(numbers);
    }
    let finding = match average {
        Some(ms) if ms <= check.max_average_ms => Finding::pass(pod, ms),
        Some(ms) => Finding::fail(pod, Some(ms), format!("mean round trip {ms} ms")),
        None => Finding::fail(pod, Some(loss), "no round-trip line"),
    };
    finding.with(numbers)
}

/// `3 packets transmitted, 2 received, 33% packet loss` (both spellings of ping).
fn loss(output: &str) -> Option<f64> {
    let line = output.lines().find(|l| l.contains("transmitted") && l.contains("packet loss"))?;
    line.split(',').find(|p| p.contains("packet loss"))?.trim().split('%').next()?.trim().parse().ok()
}

/// `rtt min/avg/max/mdev = 1.0/2.0/3.0/0.1 ms` and `round-trip min/avg/max = 1.0/2.0/3.0 ms`.
fn average(output: &str) -> Option<f64> {
    let line = output.lines().find(|l| l.contains("min/avg/max"))?;
    line.split('=').nth(1)?.split('/').nth(1)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        let busybox = "3 packets transmitted, 3 packets received, 0% packet loss\nround-trip min/avg/max = 0.1/1000.4/2.0 ms\n";
        let iputils = "3 packets transmitted, 2 received, 33.3333% packet loss, time 2003ms\nrtt min/avg/max/mdev = 1.0/2.5/3.0/0.1 ms\n";
        assert_eq!((loss(busybox), average(busybox)), (Some(0.0), Some(1000.4)));
        assert_eq!((loss(iputils), average(iputils)), (Some(33.3333), Some(2.5)));
        assert_eq!(loss("ping: bad address"), None);
    }

    #[test]
    fn the_published_rule_is_no_loss_and_a_second_at_most() {
        let check: PingCheck = serde_json::from_value(
            serde_json::json!({"host": "8.8.8.8", "count": 3, "wait_s": 2, "max_loss_percent": 0.0, "max_average_ms": 1000.0}),
        )
        .unwrap();
        let passes = |lost: &str, average: &str| {
            let stdout =
                format!("3 packets transmitted, 3 received, {lost}% packet loss\nrtt min/avg/max/mdev = 1.0/{average}/3.0/0.1 ms\n");
            rate(&check, "p", &ExecOutcome { stdout, code: Some(0), ..ExecOutcome::default() })
        };
        assert!(passes("0", "1000.0").passed, "as long as the injected delay itself");
        assert!(!passes("0", "1000.4").passed);
        assert!(!passes("33.3333", "1.0").passed);
        assert_eq!(passes("33.3333", "1.0").numbers["average_ms"].to_bits(), 1.0_f64.to_bits(), "kept for other thresholds");
        assert!(!rate(&check, "p", &ExecOutcome { code: Some(127), ..ExecOutcome::default() }).passed);
    }
}
