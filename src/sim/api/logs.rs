//! `pods/log`: the text of a container, once or for as long as it runs.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts as _;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::call::{Call, Target};
use crate::sim::clock::Watcher;
use crate::sim::kubelet::{self, LogLine};
use crate::sim::resource::Key;
use crate::sim::status::Status;
use crate::sim::time::{SimTime, parse_rfc3339};
use crate::sim::world::{Engine, World};

/// How lines are written.
#[derive(Debug, Clone, Copy)]
struct Style {
    timestamps: bool,
}

impl Style {
    fn text(self, lines: &[LogLine]) -> Vec<u8> {
        let mut out = Vec::new();
        for l in lines {
            if self.timestamps {
                out.extend_from_slice(l.at.timestamp().strftime("%Y-%m-%dT%H:%M:%S.%9fZ ").to_string().as_bytes());
            }
            out.extend_from_slice(l.text.as_bytes());
            out.extend_from_slice(l.end().as_bytes());
        }
        out
    }
}

/// The containers of a pod, in the order of its specification.
pub(super) fn container_names(pod: &Value, field: &str) -> Vec<String> {
    pod["spec"][field].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).map(str::to_owned).collect()
}

/// The container meant: the one named, or the only one.
pub(super) fn container(pod: &Value, wanted: Option<&str>) -> Result<String, Status> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let own = container_names(pod, "containers");
    let init = container_names(pod, "initContainers");
    let ephemeral = container_names(pod, "ephemeralContainers");
    match (wanted, own.as_slice()) {
        (Some(w), _) if own.iter().chain(&init).chain(&ephemeral).any(|c| c == w) => Ok(w.to_owned()),
        (Some(w), _) => Err(Status::bad_request(format!("container {w} is not valid for pod {name}"))),
        (None, [one]) => Ok(one.clone()),
        (None, many) => {
            let more = if init.is_empty() { String::new() } else { format!(" or one of the init containers: [{}]", init.join(" ")) };
            Err(Status::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]{more}",
                many.join(" ")
            )))
        }
    }
}

/// Identity of a container's run: it changes with every restart.
fn run_of(pod: Option<&Arc<Value>>, container: &str) -> Option<(String, bool)> {
    let status = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"]
        .iter()
        .flat_map(|f| pod.map(|p| &p["status"][*f]).and_then(Value::as_array).into_iter().flatten())
        .find(|c| c["name"] == container)?;
    Some((status["containerID"].to_string(), !status["state"]["terminated"].is_null()))
}

/// The lines that the query asks for, and the answer's beginning.
fn chosen(world: &World, call: &Call, key: &Key, container: &str) -> Result<Vec<LogLine>, Status> {
    let mut lines = kubelet::logs(world, key, container, call.flag("previous"))?;
    let since = call
        .param("sinceSeconds")
        .and_then(|s| s.parse::<u64>().ok())
        .map(|s| SimTime(world.now.0.saturating_sub(s.saturating_mul(1000))))
        .or_else(|| call.param("sinceTime").and_then(parse_rfc3339));
    if let Some(since) = since {
        lines.retain(|l| l.at >= since);
    }
    if let Some(tail) = call.param("tailLines").and_then(|t| t.parse::<usize>().ok()) {
        lines.drain(..lines.len().saturating_sub(tail));
    }
    Ok(lines)
}

struct Follow {
    engine: Arc<Engine>,
    key: Key,
    container: String,
    style: Style,
    run: Option<(String, bool)>,
    /// Time of the last line sent, and how many lines of that moment were sent.
    last: (SimTime, usize),
    ready: Vec<u8>,
    ticks: watch::Receiver<SimTime>,
    stop: CancellationToken,
    ended: bool,
    _watcher: Watcher,
}

/// Answers a request for logs.
pub(super) fn open(engine: &Arc<Engine>, stop: CancellationToken, call: &Call, target: &Target) -> Result<Response, Status> {
    let key = target.key();
    let style = Style { timestamps: call.flag("timestamps") };
    let ticks = engine.ticks();
    let (lines, container, run) = engine.with(|w| {
        let pod = w.store.get(&key).cloned().ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
        let container = container(&pod, call.param("container"))?;
        let lines = chosen(w, call, &key, &container)?;
        let run = run_of(Some(&pod), &container);
        Ok::<_, Status>((lines, container, run))
    })?;
    let mut text = style.text(&lines);
    if let Some(limit) = call.param("limitBytes").and_then(|l| l.parse::<usize>().ok()) {
        text.truncate(limit);
    }
    let body = if call.flag("follow") && !call.flag("previous") {
        let at = lines.last().map_or(SimTime(0), |l| l.at);
        let last = (at, lines.iter().filter(|l| l.at == at).count());
        let follow = Follow {
            engine: Arc::clone(engine),
            key,
            container,
            style,
            ended: run.as_ref().is_some_and(|r| r.1),
            run,
            last: if lines.is_empty() { (engine.now(), 0) } else { last },
            ready: text,
            ticks,
            stop,
            _watcher: engine.clock.watcher(Box::new(|_| true), Arc::default()),
        };
        Body::from_stream(futures::stream::unfold(follow, |mut f| async move {
            let text = f.next().await?;
            Some((Ok::<Bytes, std::convert::Infallible>(text), f))
        }))
    } else {
        Body::from(text)
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// Whether a client wants the log as messages of a WebSocket.
pub(super) fn framed(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The log as messages of a WebSocket: binary, or text that is base64 in the protocol of that name.
pub(super) async fn over_socket(parts: &mut Parts, response: Response, stop: CancellationToken) -> Result<Response, Status> {
    const BASE64: &str = "base64.binary.k8s.io";
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &()).await.map_err(|_| Status::bad_request("Upgrade request required"))?;
    let upgrade = upgrade.protocols(["binary.k8s.io", BASE64]);
    let coded = upgrade.selected_protocol().is_some_and(|p| p.as_bytes() == BASE64.as_bytes());
    Ok(upgrade.on_upgrade(move |mut socket| async move {
        let mut pieces = response.into_body().into_data_stream();
        let pass = async {
            while let Some(Ok(piece)) = pieces.next().await {
                let message = if coded { Message::Text(STANDARD.encode(&piece).into()) } else { Message::Binary(piece) };
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            // Whoever has gone needs no goodbye.
            let _gone = socket.send(Message::Close(None)).await;
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = pass => {}
        }
    }))
}

impl Follow {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.ready.is_empty() {
                return Some(std::mem::take(&mut self.ready).into());
            }
            if self.ended {
                return None;
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                passed = self.ticks.changed() => passed.ok()?,
            }
            let engine = Arc::clone(&self.engine);
            engine.with(|w| self.look(w));
        }
    }

    fn look(&mut self, world: &World) {
        let run = run_of(world.store.get(&self.key), &self.container);
        let Ok(lines) = kubelet::logs(world, &self.key, &self.container, false) else {
            self.ended = true;
            return;
        };
        let mut same = 0;
        let mut fresh = Vec::new();
        for l in lines {
            if l.at == self.last.0 {
                same += 1;
            }
            if l.at > self.last.0 || (l.at == self.last.0 && same > self.last.1) {
                fresh.push(l);
            }
        }
        if let Some(l) = fresh.last() {
            let at = l.at;
            let before = if at == self.last.0 { self.last.1 } else { 0 };
            self.last = (at, before + fresh.iter().filter(|l| l.at == at).count());
        }
        self.ready = self.style.text(&fresh);
        let other = |a: &Option<(String, bool)>| a.as_ref().map(|r| r.0.clone());
        self.ended = run.as_ref().is_none_or(|r| r.1) || other(&run) != other(&self.run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_must_be_clear() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        assert_eq!(container(&pod, Some("b")), Ok("b".into()));
        assert_eq!(container(&pod, None).unwrap_err().message, "a container name must be specified for pod p, choose one of: [a b]");
        assert_eq!(container(&pod, Some("c")).unwrap_err().message, "container c is not valid for pod p");
    }

    #[test]
    fn lines_may_carry_their_time() {
        let lines = [LogLine { at: SimTime(1500), text: "hello".into(), whole: true }];
        assert_eq!(Style { timestamps: true }.text(&lines), b"2026-01-01T00:00:01.500000000Z hello\n");
        assert_eq!(Style { timestamps: false }.text(&lines), b"hello\n");
    }
}
