//! A command in the target's pods: the number in its last line, or the time that it took.

use serde_json::{Value, json};

use crate::execute::baseline::{label, text};
use crate::execute::judge::{Finding, Judge, Readiness, ready, span};
use crate::execute::stop::Stop;
use crate::manifest::fault::ExecCheck;
use crate::template;

/// Runs the command in every pod of the target.
pub(in crate::execute) async fn measure(judge: &Judge<'_>, check: &ExecCheck) -> Result<Vec<Finding>, Stop> {
    let broken = |e: template::TemplateError| Stop::Infra(e.to_string());
    let command: Vec<String> =
        check.command.iter().map(|c| template::render("exec.command", c, judge.context)).collect::<Result<_, _>>().map_err(broken)?;
    let limit = span(&check.timeout)?;
    let mut findings = Vec::new();
    let pods = match check.from.as_str() {
        "peer" | "peer-probe" => judge.other_pods().await?.into_iter().filter(|p| ready(p) == Readiness::Ready).take(1).collect(),
        _ => judge.pods().await?,
    };
    for pod in &pods {
        let name = text(&pod["metadata"]["name"]);
        let container = check.container.clone().or_else(|| if check.from.ends_with("probe") { probe_container(judge, pod) } else { None });
        let begun = judge.cluster.pace().now_ms();
        let outcome = judge.cluster.exec(judge.namespace, &name, container.as_deref(), &command, limit).await?;
        findings.push(if outcome.timed_out {
            Finding::fail(name, None, format!("no answer within {}", check.timeout))
        } else if check.exit_zero && outcome.code != Some(0) {
            let why = if outcome.failure.is_empty() { outcome.stderr.trim() } else { outcome.failure.trim() };
            Finding::fail(name, None, format!("the command failed: {why}"))
        } else {
            let said = || outcome.stdout.trim().lines().last().and_then(|l| l.trim().parse::<f64>().ok());
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of one command")]
            let elapsed = || judge.cluster.pace().now_ms().saturating_sub(begun) as f64;
            match if check.measure == "elapsed" { Some(elapsed()) } else { said() } {
                None => Finding::fail(name, None, "the last line is no number"),
                Some(value) => {
                    let passed = template::evaluate(&check.pass, &json!({"value": value})).map_err(broken)?;
                    if passed == json!(true) {
                        Finding::pass(name, value)
                    } else {
                        Finding::fail(name, Some(value), format!("not {}", check.pass))
                    }
                }
            }
        });
    }
    if findings.is_empty() {
        findings.push(Finding::fail("", None, "there is no pod to run it in"));
    }
    Ok(findings)
}

/// The probe container of the service that a pod belongs to; none: the pod's default container.
fn probe_container(judge: &Judge<'_>, pod: &Value) -> Option<String> {
    let service = judge.context["services"].as_array()?.iter().find(|s| s["name"] == label(pod).as_str())?;
    service["probe_container"].as_str().map(str::to_owned)
}
