//! `watch`: changes as lines of JSON, for as long as the client listens.
//!
//! An open watch holds the clock's watcher guard and no hold: time may jump to the next change.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::answer::{Form, partial};
use super::call::{Call, Target};
use super::order::Ordered;
use super::selector::Selector;
use super::veil::Veil;
use super::{read, table, versions};
use crate::sim::clock::{Hold, Interest, Watcher};
use crate::sim::managed;
use crate::sim::resource::Key;
use crate::sim::status::Status;
use crate::sim::store::{Change, ChangeKind, Expired};
use crate::sim::time::SimTime;
use crate::sim::world::{Engine, World};

/// A watch that begins in the past gets so many changes at a time: what waits for its client stays small.
const AT_ONCE: usize = 32;

/// So many bytes are handed to the connection at a time, if there is more than one event.
const PIECE: usize = 64 << 10;

struct Stream {
    engine: Arc<Engine>,
    call: Call,
    target: Target,
    selector: Selector,
    seen: u64,
    ready: VecDeque<Bytes>,
    signal: watch::Receiver<u64>,
    timer: Option<oneshot::Receiver<Hold>>,
    columns: bool,
    ended: bool,
    /// There are more changes already.
    behind: bool,
    stop: CancellationToken,
    watcher: Watcher,
}

/// Opens a watch.
pub(super) fn open(engine: &Arc<Engine>, stop: CancellationToken, call: Call, target: Target) -> Result<Response, Status> {
    let mut selector_fields = call.param("fieldSelector").unwrap_or_default().to_owned();
    if let Some(name) = &target.name {
        let sep = if selector_fields.is_empty() { "" } else { "," };
        selector_fields = format!("{selector_fields}{sep}metadata.name={name}");
    }
    let selector = Selector::parse(&target.kind, call.param("labelSelector"), Some(&selector_fields))?;
    let followed = engine.follow(&target.kind.resource);
    let timer = call
        .param("timeoutSeconds")
        .and_then(|t| t.parse::<u64>().ok())
        .filter(|t| *t > 0)
        .map(|t| engine.clock.deadline(engine.now().after(Duration::from_secs(t))));
    let watcher = engine.clock.watcher(interest(&target, &selector, call.veil.clone()), followed.latest);
    let mut stream = Stream {
        engine: Arc::clone(engine),
        selector,
        seen: 0,
        ready: VecDeque::new(),
        signal: followed.signal,
        timer,
        columns: true,
        ended: false,
        behind: false,
        stop,
        watcher,
        call,
        target,
    };
    engine.with(|w| stream.begin(w))?;
    // Nothing has been told yet: time stands still until the first look for more.
    stream.watcher.told(0);
    let body = Body::from_stream(futures::stream::unfold(stream, |mut s| async move {
        let line = s.next().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(line), s))
    }));
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

/// Which changes a watch will tell of.
fn interest(target: &Target, selector: &Selector, veil: Veil) -> Interest {
    let (resource, namespace, selector) = (target.kind.resource.clone(), target.namespace.clone(), selector.clone());
    Box::new(move |c| {
        c.key.resource == resource
            && (namespace.is_empty() || *c.key.namespace == *namespace)
            && !veil.hides(&c.object)
            && (selector.matches(&c.object) || c.previous.as_ref().is_some_and(|p| selector.matches(p)))
    })
}

/// One line of the answer.
fn line(kind: &str, object: &Value) -> Vec<u8> {
    let mut out = format!("{{\"type\":\"{kind}\",\"object\":").into_bytes();
    // Writing JSON into memory cannot fail.
    let _ = serde_json::to_writer(&mut out, &Ordered(object));
    out.extend_from_slice(b"}\n");
    out
}

impl Stream {
    /// Decides where to start and queues what is there already.
    fn begin(&mut self, world: &World) -> Result<(), Status> {
        let revision = world.store.revision();
        let asked = self.call.param("resourceVersion").unwrap_or_default().to_owned();
        let initial = self.call.param("sendInitialEvents").is_some();
        let wants_initial = if initial { self.call.flag("sendInitialEvents") } else { asked.is_empty() || asked == "0" };
        if initial && self.call.param("resourceVersionMatch") != Some("NotOlderThan") {
            let mut status = Status::new(
                422,
                "Invalid",
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
            status.details = json!({"group": "meta.k8s.io", "kind": "ListOptions"});
            return Err(status);
        }
        let from = asked.parse::<u64>().unwrap_or(0);
        if from > revision {
            return Err(read::too_new(from, revision));
        }
        if wants_initial {
            let namespace = Some(self.target.namespace.as_str()).filter(|n| !n.is_empty());
            let found: Vec<Arc<Value>> = world
                .store
                .list(&self.target.kind.resource, namespace)
                .filter(|(_, v)| self.selector.matches(v) && !self.call.veil.hides(v))
                .map(|(_, v)| Arc::clone(v))
                .collect();
            for o in found {
                let line = self.line("ADDED", &o, world.now);
                self.ready.push_back(line.into());
            }
            self.seen = revision;
            if initial && self.call.flag("allowWatchBookmarks") {
                self.ready.push_back(self.bookmark(true));
            }
        } else {
            self.seen = if asked.is_empty() { revision } else { from };
            let news = self.changes(world);
            self.queue(news);
        }
        Ok(())
    }

    /// The changes since the last look, and the time.
    fn changes(&mut self, world: &World) -> Result<(Vec<Change>, SimTime), Expired> {
        let (resource, namespace) = (&self.target.kind.resource, &self.target.namespace);
        let about = |key: &Key| key.resource == *resource && (namespace.is_empty() || *key.namespace == **namespace);
        let changes: Vec<Change> = world.store.changes_after(self.seen, about)?.take(AT_ONCE).collect();
        self.behind = changes.len() == AT_ONCE;
        self.seen = changes.last().filter(|_| self.behind).map_or(world.store.revision(), |c| c.revision);
        Ok((changes, world.now))
    }

    /// Queues what there is to tell of some changes.
    fn queue(&mut self, news: Result<(Vec<Change>, SimTime), Expired>) {
        let (changes, now) = match news {
            Ok(news) => news,
            Err(expired) => {
                let status = Status::new(410, "Expired", format!("too old resource version: {} ({})", self.seen, expired.oldest));
                self.ready.push_back(line("ERROR", &status.body()).into());
                self.ended = true;
                return;
            }
        };
        for c in &changes {
            if self.call.veil.hides(&c.object) {
                continue;
            }
            let before = c.previous.as_ref().is_some_and(|p| self.selector.matches(p));
            let after = c.kind != ChangeKind::Deleted && self.selector.matches(&c.object);
            let kind = match (before, after) {
                (false, true) => "ADDED",
                (true, true) => "MODIFIED",
                (true, false) => "DELETED",
                (false, false) => continue,
            };
            let text = self.told(kind, c, now);
            self.ready.push_back(text);
        }
    }

    /// What is told of a change: one text for all watches that see it in the same form.
    fn told(&mut self, kind: &str, change: &Change, now: SimTime) -> Bytes {
        if !self.call.veil.hides_nothing() {
            return self.line(kind, &change.object, now).into();
        }
        let mut form = format!("{kind} {} {}", self.target.kind.api_version(), self.target.kind.kind);
        match Form::of(&self.call.accept) {
            Form::Whole => {}
            Form::Partial => form.push_str(" partial"),
            // Ages are written in whole seconds.
            Form::Table(version) => {
                let include = self.call.param("includeObject").unwrap_or_default();
                form = format!("{form} table {version} {include} {} {}", self.columns, now.0 / 1000);
            }
        }
        let text = change.told.text(form, || self.line(kind, &change.object, now));
        self.columns = false;
        Bytes::from_owner(text)
    }

    fn line(&mut self, kind: &str, object: &Value, now: SimTime) -> Vec<u8> {
        let whole = Form::of(&self.call.accept) == Form::Whole;
        if whole && versions::as_stored(&self.target.kind) && self.call.veil.hides_nothing() {
            return line(kind, object);
        }
        let mut shown = versions::to_wire(&self.target.kind, object);
        if !self.call.veil.hides_nothing() {
            self.call.veil.scrub(shown.to_mut());
        }
        let object = match Form::of(&self.call.accept) {
            Form::Whole => shown,
            Form::Partial => Cow::Owned(partial(&shown)),
            Form::Table(v) => {
                let meta = json!({"resourceVersion": shown["metadata"]["resourceVersion"]});
                let first = std::mem::take(&mut self.columns);
                Cow::Owned(table::table(&self.target.kind, v, &meta, &[&shown], &self.call, first, now))
            }
        };
        line(kind, &object)
    }

    fn bookmark(&self, initial: bool) -> Bytes {
        let kind = &self.target.kind;
        let mut meta = json!({"resourceVersion": self.seen.to_string()});
        if initial {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut object = managed::empty(&kind.api_version(), &kind.kind);
        object["kind"] = kind.kind.as_str().into();
        object["apiVersion"] = kind.api_version().into();
        object["metadata"] = meta;
        line("BOOKMARK", &object).into()
    }

    /// Looks for changes. The world is locked while they are found, not while they are told.
    fn look(&mut self) {
        let engine = Arc::clone(&self.engine);
        let news = engine.read(|w| self.changes(w));
        self.queue(news);
    }

    /// The next lines, or `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(first) = self.ready.pop_front() {
                if self.ready.is_empty() {
                    return Some(first);
                }
                // Sent together, and at most so much at a time: a client that reads slowly has no more of it waiting.
                let mut out = first.to_vec();
                while let Some(next) = self.ready.pop_front_if(|n| out.len() + n.len() <= PIECE) {
                    out.extend_from_slice(&next);
                }
                return Some(out.into());
            }
            if self.ended {
                return None;
            }
            if self.behind {
                self.look();
                continue;
            }
            // What was returned before has been handed on by the time that more is asked for.
            self.watcher.told(self.seen);
            let timer = self.timer.as_mut();
            let timeout = async {
                match timer {
                    // The clock lives as long as the engine: the timer fires or this stream goes first.
                    Some(timer) => drop(timer.await),
                    None => std::future::pending().await,
                }
            };
            let timed_out = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                changed = self.signal.changed() => { changed.ok()?; false }
                () = timeout => true,
            };
            self.look();
            if timed_out {
                self.ended = true;
                let seconds = self.call.param("timeoutSeconds").and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
                // The real server sends it two seconds before the end, if there is that much.
                if self.call.flag("allowWatchBookmarks") && seconds > 2 {
                    let last = self.bookmark(false);
                    self.ready.push_back(last);
                }
            }
        }
    }
}
