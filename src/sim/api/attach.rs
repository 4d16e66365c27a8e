//! `pods/attach`: the input and output of a container's own process, over the channels of [`super::exec`].
//!
//! A container whose command waits for its input is run by whoever attaches; of any other, what it writes to its log from
//! now on is shown.

use std::sync::Arc;

use axum::http::request::Parts;
use axum::response::Response;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::call::{Call, Target};
use super::{exec, logs};
use crate::sim::kubelet::{self, programs::Attached};
use crate::sim::resource::Key;
use crate::sim::shell::{Exit, Output};
use crate::sim::status::Status;
use crate::sim::world::{Engine, World};

/// Answers the upgrade.
pub(super) async fn open(
    engine: &Arc<Engine>,
    stop: CancellationToken,
    parts: &mut Parts,
    call: &Call,
    target: &Target,
) -> Result<Response, Status> {
    let key = target.key();
    let (container, program) = engine.with(|w| {
        let pod = w.store.get(&key).cloned().ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
        let container = logs::container(&pod, call.param("container"))?;
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        if matches!(phase, "Succeeded" | "Failed") {
            return Err(Status::bad_request(format!("cannot attach a container in a completed pod; current phase is {phase}")));
        }
        if state(w, &key, &container).is_none() {
            return Err(Status::not_running(&container));
        }
        let program = w.runtime.attach(&key, &container);
        Ok((container, program))
    })?;
    let host = program.as_ref().map(|p| kubelet::exec_host(engine, &key, &p.container)).transpose()?;
    let engine = Arc::clone(engine);
    exec::begin(parts, exec::Wish::of(call)?, stop, move |input, output, terminal| async move {
        match program.zip(host) {
            Some((program, host)) => {
                // It goes on when the client leaves, and sees the end of its input.
                let run = tokio::spawn(kubelet::programs::run(engine, program, host, Some(Attached { input, terminal, output })));
                // How it ended is told by the pod, not here.
                let _ended = run.await;
            }
            None => follow(&engine, &key, &container, &output).await,
        }
        Exit::Code(0)
    })
    .await
}

/// Id of the present run of a container, and how many lines it has written.
fn state(world: &World, key: &Key, container: &str) -> Option<(String, u64)> {
    let pod = world.runtime.pod(key)?;
    let c = pod.containers.get(pod.index(container)?)?;
    c.run().map(|_| (c.id.clone(), c.written))
}

async fn follow(engine: &Arc<Engine>, key: &Key, container: &str, out: &mpsc::Sender<Output>) {
    let Some((run, mut seen)) = engine.with(|w| state(w, key, container)) else { return };
    let mut ticks = engine.ticks();
    let _watcher = engine.clock.watcher(Box::new(|_| true), Arc::default());
    while ticks.changed().await.is_ok() {
        let news = engine.with(|w| {
            let (id, written) = state(w, key, container).filter(|(id, _)| *id == run)?;
            let lines = kubelet::logs(w, key, container, false).unwrap_or_default();
            let fresh = usize::try_from(written.saturating_sub(seen)).unwrap_or(usize::MAX).min(lines.len());
            seen = written;
            let text = lines.iter().skip(lines.len() - fresh).fold(String::new(), |text, l| text + &l.text + l.end());
            Some((id, text))
        });
        let Some((_, text)) = news else { return };
        if !text.is_empty() && out.send(Output::Stdout(text.into_bytes())).await.is_err() {
            return;
        }
    }
}
