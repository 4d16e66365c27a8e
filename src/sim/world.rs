//! Everything that happens in the cluster: a deterministic discrete-event simulation behind one lock.
//!
//! [`World`] is plain, synchronous data; [`Engine`] shares it with the HTTP server and the clock. All reactions
//! (controllers, kubelet, chaos) are events on the [`Agenda`], so the same calls in the same order at the same
//! simulated times give the same cluster, byte for byte. Nothing here reads a real clock.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::arrivals::Arrivals;
use super::clock::Clock;
use super::config::{ClockMode, SimConfig};
use super::resource::{Key, Resource};
use super::shell::{ApiCall, HttpAnswer};
use super::store::Store;
use super::time::SimTime;

/// Something that will happen at a moment. Variants are added as behaviour is; order among equals is order of scheduling.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Controllers look at an object that changed (or that asked to be looked at again).
    Reconcile(Key),
    /// The kubelet of a pod does its next step (start, probe, restart, end).
    Pod(Key),
    /// One second of traffic and resource use is accounted.
    Second,
    /// Dependents of an owner that is gone are deleted.
    Collect {
        /// The owner's uid.
        owner: String,
        /// The owner's namespace; empty for cluster-scoped owners.
        namespace: Arc<str>,
    },
    /// An object that is being deleted waits for its dependents.
    Finalize(Key),
    /// A chaos experiment takes its next step.
    Chaos(Key),
}

/// Future events, earliest first.
#[derive(Debug, Default)]
pub struct Agenda {
    heap: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
}

#[derive(Debug, PartialEq)]
struct Entry {
    at: SimTime,
    sequence: u64,
    event: Event,
}

impl Eq for Entry {}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Agenda {
    /// Schedules an event.
    pub fn at(&mut self, at: SimTime, event: Event) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry { at, sequence: self.sequence, event }));
    }

    /// When the next event is due.
    pub fn next(&self) -> Option<SimTime> {
        self.heap.peek().map(|Reverse(e)| e.at)
    }

    fn pop_due(&mut self, now: SimTime) -> Option<(SimTime, Event)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(e)| (e.at, e.event))
    }
}

/// Everything that recurs (accounting each second, scrapes, controllers' rounds) does so at divisors of this.
const BEAT_MS: u64 = 60_000;

/// The whole state of the cluster.
pub struct World {
    /// Objects.
    pub store: Store,
    /// Simulated time.
    pub now: SimTime,
    /// Source of all randomness.
    pub rng: ChaCha8Rng,
    /// Future events.
    pub agenda: Agenda,
    /// What it was configured with.
    pub config: Arc<SimConfig>,
    /// Signs and reads tokens of service accounts.
    pub tokens: super::tokens::Tokens,
    /// Signs certificates, where TLS is on.
    pub authority: Option<Arc<super::tls::Authority>>,
    /// Every request served.
    pub audit: super::audit::Audit,
    /// Objects as clients last read them.
    pub(super) printed: super::printed::Printed,
    /// What runs in the pods: not visible through the API, but what it reports.
    pub runtime: super::kubelet::Runtime,
    /// What controllers remember beside the store.
    pub controllers: super::controllers::State,
    /// Running chaos experiments.
    pub chaos: super::chaos::State,
    /// Request rates, errors and latencies over time.
    pub traffic: super::traffic::Traffic,
    /// Kinds that clients have defined.
    pub customs: super::custom::Customs,
    /// Policies and webhooks that clients have configured.
    pub admission: Arc<super::registry::admission::Admission>,
    /// Who asks for the writes of now, as policies see it: set by the API for the length of a request.
    pub requester: Option<super::registry::admission::Requester>,
    /// What policies warn the client of.
    pub warnings: RefCell<Vec<String>>,
    /// Who writes now: set by the API for the length of a request.
    pub writer: super::managed::Writer,
    /// The store's revision up to which [`super::controllers::observe`] has seen the changes.
    pub observed: u64,
    /// The store's revision up to which watches have been told that something changed.
    announced: u64,
}

impl World {
    /// A cluster at its start: nodes, the standard namespaces and their default objects.
    pub fn new(config: Arc<SimConfig>) -> Self {
        let start = config.start;
        let mut world = Self {
            store: Store::default(),
            // What happens every so many seconds happens at multiples of them.
            now: SimTime(start.0 - start.0 % BEAT_MS),
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            agenda: Agenda::default(),
            config,
            tokens: super::tokens::Tokens::default(),
            authority: None,
            audit: super::audit::Audit::default(),
            printed: super::printed::Printed::default(),
            runtime: super::kubelet::Runtime::default(),
            controllers: super::controllers::State::default(),
            chaos: super::chaos::State::default(),
            traffic: super::traffic::Traffic::default(),
            customs: super::custom::Customs::default(),
            admission: Arc::default(),
            requester: None,
            warnings: RefCell::default(),
            writer: super::managed::Writer::Cluster,
            observed: 0,
            announced: 0,
        };
        super::controllers::bootstrap(&mut world);
        world.settle();
        world.advance_to(start);
        world
    }

    /// Lets controllers see what changed (they schedule their reactions). Call after every write from outside.
    pub fn settle(&mut self) {
        super::controllers::observe(self);
        while let Some((_, event)) = self.agenda.pop_due(self.now) {
            super::controllers::happen(self, event);
            super::controllers::observe(self);
        }
    }

    /// Moves time forward to `at`, doing everything due on the way. Does nothing when `at` is past.
    pub fn advance_to(&mut self, at: SimTime) {
        while let Some(next) = self.agenda.next().filter(|n| *n <= at) {
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = self.now.max(at);
    }

    /// A random UUID (version 4 layout) from the world's own generator.
    pub fn uid(&mut self) -> String {
        let (a, b) = (self.rng.next_u64(), self.rng.next_u64());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            ((b >> 48) & 0x3fff) | 0x8000,
            b & 0xffff_ffff_ffff
        )
    }

    /// `n` random letters and digits as Kubernetes appends to generated names (no vowels, no 0, 1, 3).
    pub fn suffix(&mut self, n: usize) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..n).map(|_| char::from(LETTERS[usize::try_from(self.rng.next_u32()).unwrap_or(0) % LETTERS.len()])).collect()
    }

    /// A uniform random number in `[0, 1)`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    pub fn uniform(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// What watches of one type of objects wait for.
struct Topic {
    signal: tokio::sync::watch::Sender<u64>,
    latest: Arc<AtomicU64>,
}

/// News of one type of objects.
pub struct Followed {
    /// Woken by every change of such an object.
    pub signal: tokio::sync::watch::Receiver<u64>,
    /// The revision of the latest one since somebody listens; 0 before the first.
    pub latest: Arc<AtomicU64>,
}

/// The world, shared: one lock, a signal for watches, and the clock.
pub struct Engine {
    world: Mutex<World>,
    changed: tokio::sync::watch::Sender<u64>,
    topics: Mutex<BTreeMap<Resource, Topic>>,
    passed: tokio::sync::watch::Sender<SimTime>,
    calendar: AtomicI64,
    programs: OnceLock<tokio::sync::mpsc::UnboundedSender<super::kubelet::programs::Started>>,
    questions: OnceLock<tokio::sync::mpsc::UnboundedSender<Question>>,
    arrivals: Arc<Arrivals>,
    /// How time passes.
    pub clock: Clock,
}

/// What a container asks the API server, and where the answer goes.
pub type Question = (ApiCall, tokio::sync::oneshot::Sender<HttpAnswer>);

impl Engine {
    /// A new cluster; its clock does not run until [`Clock::start`].
    pub fn new(config: SimConfig) -> Arc<Self> {
        let config = Arc::new(config);
        let world = World::new(Arc::clone(&config));
        let (changed, _) = tokio::sync::watch::channel(world.store.revision());
        let (passed, _) = tokio::sync::watch::channel(world.now);
        Arc::new(Self {
            world: Mutex::new(world),
            changed,
            topics: Mutex::default(),
            passed,
            calendar: AtomicI64::new(0),
            programs: OnceLock::new(),
            questions: OnceLock::new(),
            arrivals: Arc::default(),
            clock: Clock::new(config.clock),
        })
    }

    /// What is known of requests that nobody has read yet.
    pub(super) fn arrivals(&self) -> Arc<Arrivals> {
        Arc::clone(&self.arrivals)
    }

    /// Whether a client waits for a request of its to be read: it is at work, though it sleeps.
    pub fn unread(&self) -> bool {
        self.arrivals.unread()
    }

    /// Runs `f` on the world, lets controllers see what it changed, and wakes watches. Never held across an await.
    pub fn with<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.lock();
        let out = f(&mut world);
        world.settle();
        let revision = world.store.revision();
        let started = std::mem::take(&mut world.runtime.started);
        let wake = self.announce(&mut world, revision);
        drop(world);
        if let Some(programs) = self.programs.get().filter(|_| !started.is_empty()) {
            // The cluster goes down: nothing is run any more.
            let _down = programs.send((started, self.clock.hold()));
        }
        self.changed.send_if_modified(|r| std::mem::replace(r, revision) != revision);
        for topic in wake {
            topic.send_if_modified(|r| std::mem::replace(r, revision) != revision);
        }
        out
    }

    /// Looks at the world and changes nothing.
    pub fn read<T>(&self, f: impl FnOnce(&World) -> T) -> T {
        f(&self.lock())
    }

    /// Notes which followed types have changed, while the world is locked: the clock must know of it before anybody else
    /// computes. Gives the signals to send.
    fn announce(&self, world: &mut World, revision: u64) -> Vec<tokio::sync::watch::Sender<u64>> {
        let before = std::mem::replace(&mut world.announced, revision);
        if before == revision {
            return Vec::new();
        }
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.retain(|_, t| t.signal.receiver_count() > 0);
        if topics.is_empty() {
            return Vec::new();
        }
        let changed = world.store.changed_after(before);
        // More happened at once than is remembered: everybody looks.
        let affected = topics.iter().filter(|(r, _)| changed.as_ref().is_none_or(|c| c.contains(r)));
        affected
            .map(|(_, topic)| {
                topic.latest.store(revision, Ordering::Release);
                topic.signal.clone()
            })
            .collect()
    }

    /// News of one type of objects, from now on.
    pub fn follow(&self, resource: &Resource) -> Followed {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let topic =
            topics.entry(resource.clone()).or_insert_with(|| Topic { signal: tokio::sync::watch::channel(0).0, latest: Arc::default() });
        Followed { signal: topic.signal.subscribe(), latest: Arc::clone(&topic.latest) }
    }

    /// Hands the programs that containers start over to whoever runs them. The first call counts.
    pub fn programs(&self) -> tokio::sync::mpsc::UnboundedReceiver<super::kubelet::programs::Started> {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let _first = self.programs.set(sender);
        receiver
    }

    /// Hands what containers ask the API server over to it. The first call counts.
    pub fn questions(&self) -> tokio::sync::mpsc::UnboundedReceiver<Question> {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let _first = self.questions.set(sender);
        receiver
    }

    /// Asks the API server from inside a container; `None`: there is none.
    pub async fn ask(&self, call: ApiCall) -> Option<HttpAnswer> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.questions.get()?.send((call, answer)).ok()?;
        answered.await.ok()
    }

    /// A receiver that is woken whenever the store's revision grows.
    pub fn subscribe(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// A receiver that is woken whenever simulated time has moved on.
    pub fn ticks(&self) -> tokio::sync::watch::Receiver<SimTime> {
        self.passed.subscribe()
    }

    /// Simulated time.
    pub fn now(&self) -> SimTime {
        self.lock().now
    }

    /// How far the calendar of clients that compute ages is ahead of the cluster's, in milliseconds: how far times in answers to them are moved.
    pub fn calendar(&self) -> i64 {
        self.calendar.load(Ordering::Acquire)
    }

    /// Sets [`Engine::calendar`].
    pub fn set_calendar(&self, ahead_ms: i64) {
        self.calendar.store(ahead_ms, Ordering::Release);
    }

    /// Lets as much simulated time pass as a request costs, where requests cost any.
    pub fn charge_request(&self) {
        if self.clock.mode() == ClockMode::Skip {
            let cost = self.with(|w| w.config.request_cost);
            self.charge(cost);
        }
    }

    /// Moves simulated time forward by `d` and fires the timers that this reaches.
    pub fn charge(&self, d: Duration) {
        let at = self.now().after(d);
        self.advance_to(at);
    }

    /// Moves simulated time forward to `at` and fires the timers that this reaches.
    pub fn advance_to(&self, at: SimTime) {
        self.with(|w| w.advance_to(at));
        self.clock.fire(at);
        self.passed.send_if_modified(|t| std::mem::replace(t, at.max(*t)) < at);
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        // A panic while holding the lock is a bug that the caller reports; the data is still the best there is.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
