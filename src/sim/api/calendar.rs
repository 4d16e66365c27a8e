//! Times in answers to clients that compute ages by themselves, moved so that their own clocks give the right ones.
//!
//! `kubectl describe` and `kubectl events` subtract the times of objects from the time of the machine they run on, which
//! is not the cluster's: everything would be months old. A client that knows of this says what its clock shows
//! (`GET /.sim/calendar?unix_ms=N`); from then on the times in answers to these two commands are moved by the
//! difference, which it is told, in milliseconds, so that it can move back what is printed as a date.
//!
//! Input: an answer; output: the same with its times moved. Which commands ask is in the header `Kubectl-Command`, that
//! kubectl sends with each request.

use axum::http::HeaderMap;
use serde_json::Value;

use super::answer::Answer;
use crate::sim::time::{EPOCH_UNIX_S, SimTime};

/// Commands that print ages.
const COMMANDS: [&str; 2] = ["kubectl describe", "kubectl events"];

/// How the names of fields end that hold the time of something.
const ENDINGS: [&str; 5] = ["Time", "Timestamp", "At", "time", "timestamp"];
/// Maps whose keys are chosen by users.
const FREE: [&str; 4] = ["annotations", "labels", "data", "stringData"];

/// How far the calendar of a client that shows `unix_ms` is ahead of the cluster's, in milliseconds.
///
/// Objects have their times in whole seconds, and so has the client's present then: its ages do not depend on how long
/// it takes to print them, as long as that is less than a second.
pub(super) fn ahead(now: SimTime, unix_ms: i64) -> i64 {
    unix_ms - (EPOCH_UNIX_S + i64::try_from(now.0 / 1000).unwrap_or(0)) * 1000
}

/// Whether the request comes from a command that prints ages.
pub(super) fn asked(headers: &HeaderMap) -> bool {
    headers.get("kubectl-command").is_some_and(|c| COMMANDS.iter().any(|known| c == known))
}

/// The answer with its times moved by so many milliseconds.
pub(super) fn moved(mut answer: Answer, ms: i64) -> Answer {
    if answer.content_type == "application/json"
        && let Ok(mut value) = serde_json::from_slice::<Value>(&answer.body)
    {
        move_times(&mut value, ms);
        answer.body = value.to_string().into_bytes();
        answer.body.push(b'\n');
    }
    answer
}

fn move_times(value: &mut Value, ms: i64) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    _ if FREE.contains(&name.as_str()) => {}
                    Value::String(text) if ENDINGS.iter().any(|ending| name.ends_with(ending)) => {
                        if let Some(moved) = move_text(text, ms) {
                            *text = moved;
                        }
                    }
                    other => move_times(other, ms),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_times(item, ms)),
        _ => {}
    }
}

fn move_text(text: &str, ms: i64) -> Option<String> {
    let at: jiff::Timestamp = text.parse().ok()?;
    let moved = at.checked_add(jiff::SignedDuration::from_millis(ms)).ok()?;
    // Clients read `MicroTime` with exactly six digits only.
    let form = if text.contains('.') { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%S%.fZ" };
    Some(moved.strftime(form).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_moved_and_nothing_else() {
        let object = json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:05Z", "annotations": {"restartedAt": "2026-01-01T00:00:05Z"}},
            "items": [{"eventTime": null, "lastTimestamp": "2026-01-01T00:01:00.250000Z"}],
        });
        let out = moved(Answer::json(200, &object), 86_400_123);
        let out: Value = serde_json::from_slice(&out.body).unwrap();
        assert_eq!(out["metadata"]["creationTimestamp"], "2026-01-02T00:00:05.123Z");
        assert_eq!(out["metadata"]["annotations"], object["metadata"]["annotations"]);
        assert_eq!(out["items"][0], json!({"eventTime": null, "lastTimestamp": "2026-01-02T00:01:00.373000Z"}));
    }

    #[test]
    fn the_present_is_a_whole_second() {
        let now = SimTime(65_900);
        assert_eq!(ahead(now, (EPOCH_UNIX_S + 65) * 1000 + 7), 7);
        assert_eq!(ahead(now, EPOCH_UNIX_S * 1000), -65_000);
    }
}
