//! Open connections: how many there may be, and which are closed for being slow, silent or gone.
//!
//! Input: a listener. Output: one whose connections are metered. A client that begins a request must end its head in
//! time, one that is told something must read it, and one that asks for nothing may stay for a while, and only as long
//! as there is room for others. All of it is real time.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long the head of a request may take to arrive.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may stay open on which nothing is asked, as a real server has it.
const IDLE: Duration = Duration::from_secs(90);
/// How long a client may take to read anything of what waits for it.
const UNREAD: Duration = Duration::from_secs(30);
/// How often connections are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Most connections, if the process may have as many files.
const MOST: usize = 4096;
/// Files that are not for connections.
const RESERVED: usize = 256;
/// There is always room for so many.
const LEAST: usize = 64;

/// Limits of a cluster's connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Most that are open.
    pub(super) open: usize,
    /// See [`HEAD`].
    pub(super) head: Duration,
    /// See [`IDLE`].
    pub(super) idle: Duration,
    /// See [`UNREAD`].
    pub(super) unread: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let files = files.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        Self { open: files.saturating_sub(RESERVED).clamp(LEAST, MOST), head: HEAD, idle: IDLE, unread: UNREAD }
    }
}

/// All connections of a cluster.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    open: Mutex<BTreeMap<u64, Arc<Meter>>>,
    next: AtomicU64,
}

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing is asked.
    Idle,
    /// A request has begun to arrive.
    Head,
    /// A request is being answered, or the connection serves something other than requests by now.
    Busy,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Whether it has ever asked for anything.
    served: bool,
    /// Since when the client reads nothing.
    unread: Option<Instant>,
    closed: bool,
    wakers: [Option<Waker>; 2],
}

/// One connection, as its listener and its requests see it.
#[derive(Debug)]
struct Meter(Mutex<State>);

impl Connections {
    /// None yet.
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default(), next: AtomicU64::new(0) })
    }

    /// Closes what has taken too long, until `stop` is cancelled.
    pub(super) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(LOOK) => {} }
            let now = Instant::now();
            for meter in self.open().values() {
                meter.judge(&self.limits, now);
            }
        }
    }

    /// Lets a connection in. Where there is no room, the one goes that has asked for nothing the longest; `None` when all are at work.
    fn admit(&self) -> Option<(u64, Arc<Meter>)> {
        let mut open = self.open();
        if open.len() >= self.limits.open {
            let oldest = open.values().filter_map(|m| m.waits().map(|since| (since, m))).min_by_key(|(since, _)| *since);
            oldest?.1.close();
        }
        let state = State { phase: Phase::Idle, since: Instant::now(), served: false, unread: None, closed: false, wakers: [None, None] };
        let (id, meter) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::new(Meter(Mutex::new(state))));
        open.insert(id, Arc::clone(&meter));
        Some((id, meter))
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Meter>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter {
    /// A request has arrived.
    fn begin(&self) {
        let mut s = self.state();
        (s.phase, s.served) = (Phase::Busy, true);
    }

    /// It has been answered.
    fn end(&self) {
        let mut s = self.state();
        (s.phase, s.since) = (Phase::Idle, Instant::now());
    }

    /// Since when nothing is asked; those that never asked come first.
    fn waits(&self) -> Option<(bool, Instant)> {
        let s = self.state();
        (s.phase != Phase::Busy && !s.closed).then_some((s.served, s.since))
    }

    fn judge(&self, limits: &Limits, now: Instant) {
        let s = self.state();
        let longer = |since: Instant, limit: Duration| now.saturating_duration_since(since) > limit;
        let late = match s.phase {
            Phase::Idle => longer(s.since, limits.idle),
            Phase::Head => longer(s.since, limits.head),
            Phase::Busy => false,
        };
        let stuck = s.unread.is_some_and(|since| longer(since, limits.unread));
        drop(s);
        if late || stuck {
            self.close();
        }
    }

    fn close(&self) {
        let mut s = self.state();
        s.closed = true;
        let wakers = std::mem::take(&mut s.wakers);
        drop(s);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn closed(&self) -> io::Result<()> {
        if self.state().closed { Err(io::Error::new(io::ErrorKind::TimedOut, "the client was too slow")) } else { Ok(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener whose connections are metered.
pub(super) struct Metered<L> {
    pub(super) inner: L,
    pub(super) connections: Arc<Connections>,
}

impl<L: Listener> Listener for Metered<L>
where
    L::Io: Unpin,
{
    type Io = Stream<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (io, address) = self.inner.accept().await;
            if let Some((id, meter)) = self.connections.admit() {
                let connections = Arc::clone(&self.connections);
                return (Stream { io, id, meter, connections }, address);
            }
            tracing::debug!("a connection was refused: all others are at work");
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// A metered connection.
pub(super) struct Stream<T> {
    io: T,
    id: u64,
    meter: Arc<Meter>,
    connections: Arc<Connections>,
}

impl<T> Drop for Stream<T> {
    fn drop(&mut self) {
        self.connections.open().remove(&self.id);
    }
}

/// What a connection tells of its client.
pub(super) trait Client {
    /// Whether the client has shown a certificate of the authority's.
    fn is_certified(&self) -> bool;

    /// Whom that certificate names.
    fn subject(&self) -> Option<Subject> {
        None
    }
}

/// Whom a client's certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    /// Its common name.
    pub(super) user: String,
    /// Its organisations.
    pub(super) groups: Vec<String>,
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub(super) fingerprint: String,
}

/// How a request finds its connection.
#[derive(Clone)]
pub(super) struct Through {
    meter: Arc<Meter>,
    /// Whom the client's certificate names, if it has shown one.
    pub(super) certified: Option<Subject>,
}

impl<L> Connected<IncomingStream<'_, Metered<L>>> for Through
where
    L: Listener,
    L::Io: Unpin + Client,
{
    fn connect_info(stream: IncomingStream<'_, Metered<L>>) -> Self {
        let io = stream.io();
        Self { meter: Arc::clone(&io.meter), certified: if io.io.is_certified() { io.io.subject() } else { None } }
    }
}

/// Serves a listener until `stop` is cancelled.
pub(super) async fn serve<L>(inner: L, connections: Arc<Connections>, app: Router, stop: CancellationToken)
where
    L: Listener,
    L::Io: Unpin + Client,
    L::Addr: std::fmt::Debug,
{
    let app = app.layer(middleware::from_fn(metered)).into_make_service_with_connect_info::<Through>();
    let served = axum::serve(Metered { inner, connections }, app).with_graceful_shutdown(async move { stop.cancelled().await }).await;
    let _said = served.inspect_err(|error| tracing::error!(%error, "a listener of the embedded cluster ended"));
}

/// Tells the connection of a request when it begins and ends.
async fn metered(request: Request, next: Next) -> Response {
    let through = request.extensions().get::<ConnectInfo<Through>>().map(|ConnectInfo(through)| Arc::clone(&through.meter));
    let Some(meter) = through else { return next.run(request).await };
    meter.begin();
    let response = next.run(request).await;
    // What was upgraded never comes back to requests.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    super::guarded::until_sent(response, Answering(meter))
}

/// An answer on its way: when it goes, the connection is free for the next request.
struct Answering(Arc<Meter>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stream<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.meter.closed()?;
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let mut s = self.meter.state();
        if polled.is_pending() {
            s.wakers[0] = Some(cx.waker().clone());
        } else if buf.filled().len() > before && s.phase == Phase::Idle {
            (s.phase, s.since) = (Phase::Head, Instant::now());
        }
        drop(s);
        polled
    }
}

impl<T> Stream<T> {
    /// Notes whether the client takes what it is sent.
    fn wrote<R>(&self, cx: &Context<'_>, polled: Poll<R>) -> Poll<R> {
        let mut s = self.meter.state();
        if polled.is_pending() {
            s.unread.get_or_insert_with(Instant::now);
            s.wakers[1] = Some(cx.waker().clone());
        } else {
            s.unread = None;
        }
        drop(s);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.meter.closed()?;
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(cx, polled)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.meter.closed()?;
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.wrote(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.meter.closed()?;
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.wrote(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.meter.closed()?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
