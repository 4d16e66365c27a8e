//! The cluster's clock over HTTP, for clients whose waiting shall take the cluster's time: not a part of Kubernetes.
//!
//! `GET /.sim/sleep?ms=N` answers when N simulated milliseconds have passed, `?until=UNIX_MS` at a moment of the calendar
//! (`&limit=true`: it is a limit on another process, see [`crate::sim::clock::Clock::limit`]); `GET /.sim/date` tells the time, in Unix seconds;
//! `GET /.sim/calendar?unix_ms=N` tells the cluster what a client's calendar shows ([`super::calendar`]).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio_util::sync::CancellationToken;

use crate::sim::time::SimTime;
use crate::sim::world::Engine;

/// The longest sleep of one request: nobody waits for a day, and a mistyped number must not end the world.
const LONGEST: Duration = Duration::from_hours(24);

pub(super) async fn serve(
    State((engine, stop)): State<(Arc<Engine>, CancellationToken)>,
    Path(what): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    match what.trim_end_matches('/') {
        "date" => {
            let ms = engine.now().timestamp().as_millisecond();
            format!("{}.{:03}", ms / 1000, ms % 1000).into_response()
        }
        "calendar" => {
            let query = query.unwrap_or_default();
            let Some(unix_ms) = query.strip_prefix("unix_ms=").and_then(|n| n.parse::<i64>().ok()) else {
                return (StatusCode::BAD_REQUEST, "calendar?unix_ms=N wants whole milliseconds\n").into_response();
            };
            let ahead = super::calendar::ahead(engine.now(), unix_ms);
            engine.set_calendar(ahead);
            ahead.to_string().into_response()
        }
        "sleep" => {
            let query = query.unwrap_or_default();
            let number = |name: &str| query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok());
            let now = engine.now();
            let wanted = match (number("ms"), number("until")) {
                (Some(ms), _) => now.after(Duration::from_millis(ms)),
                (None, Some(unix_ms)) => SimTime::of_unix_ms(i64::try_from(unix_ms).unwrap_or(i64::MAX)),
                (None, None) => {
                    return (StatusCode::BAD_REQUEST, "sleep?ms=N or sleep?until=UNIX_MS wants whole milliseconds\n").into_response();
                }
            };
            let until = wanted.min(now.after(LONGEST));
            let timer =
                if query.split('&').any(|p| p == "limit=true") { engine.clock.limit(until) } else { engine.clock.outside_timer(until) };
            tokio::select! {
                // The sender lives in the clock, which the engine keeps alive.
                fired = timer => {
                    let response = engine.now().0.to_string().into_response();
                    match fired {
                        Ok(hold) => crate::sim::guarded::until_sent(response, hold),
                        Err(_) => response,
                    }
                }
                () = stop.cancelled() => (StatusCode::SERVICE_UNAVAILABLE, "the cluster is going down\n").into_response(),
            }
        }
        _ => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    }
}
