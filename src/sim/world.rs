//! Everything that happens in the cluster: a deterministic discrete-event simulation behind one lock.
//!
//! [`World`] is plain, synchronous data; [`Engine`] shares it with the HTTP server and the clock. All reactions
//! (controllers, kubelet, chaos) are events on the [`Agenda`], so the same calls in the same order at the same
//! simulated times give the same cluster, byte for byte. Nothing here reads a real clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::clock::Clock;
use super::config::{ClockMode, SimConfig};
use super::resource::Key;
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

/// One API request, for the audit log.
#[derive(Debug, Clone, serde::Serialize)]
pub struct AuditEntry {
    /// When.
    pub at: SimTime,
    /// Who (`runner`, `agent`, `verifier`, `system:...`).
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `exec`, ...
    pub verb: String,
    /// Path without query.
    pub path: String,
    /// HTTP status.
    pub code: u16,
}

/// So many requests are kept for the audit log, about 100 MB of them; a trial makes thousands.
const AUDIT_MAX: usize = 500_000;

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
    /// Every request served; of a cluster that has served very many, the later ones. See [`World::note`].
    pub audit: Vec<AuditEntry>,
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
    /// Who writes now: set by the API for the length of a request.
    pub writer: super::managed::Writer,
    /// The store's revision up to which [`super::controllers::observe`] has seen the changes.
    pub observed: u64,
}

impl World {
    /// Keeps a request for the audit log. When it is full, the older half goes.
    pub fn note(&mut self, entry: AuditEntry) {
        if self.audit.len() >= AUDIT_MAX {
            self.audit.drain(..AUDIT_MAX / 2);
        }
        self.audit.push(entry);
    }

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
            audit: Vec::new(),
            runtime: super::kubelet::Runtime::default(),
            controllers: super::controllers::State::default(),
            chaos: super::chaos::State::default(),
            traffic: super::traffic::Traffic::default(),
            customs: super::custom::Customs::default(),
            writer: super::managed::Writer::Cluster,
            observed: 0,
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

/// The world, shared: one lock, a signal for watches, and the clock.
pub struct Engine {
    world: Mutex<World>,
    changed: tokio::sync::watch::Sender<u64>,
    passed: tokio::sync::watch::Sender<SimTime>,
    calendar: AtomicI64,
    programs: OnceLock<tokio::sync::mpsc::UnboundedSender<super::kubelet::programs::Started>>,
    /// How time passes.
    pub clock: Clock,
}

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
            passed,
            calendar: AtomicI64::new(0),
            programs: OnceLock::new(),
            clock: Clock::new(config.clock),
        })
    }

    /// Runs `f` on the world, lets controllers see what it changed, and wakes watches. Never held across an await.
    pub fn with<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.lock();
        let out = f(&mut world);
        world.settle();
        let revision = world.store.revision();
        let started = std::mem::take(&mut world.runtime.started);
        drop(world);
        if let Some(programs) = self.programs.get().filter(|_| !started.is_empty()) {
            // The cluster goes down: nothing is run any more.
            let _down = programs.send((started, self.clock.hold()));
        }
        self.changed.send_if_modified(|r| std::mem::replace(r, revision) != revision);
        out
    }

    /// Hands the programs that containers start over to whoever runs them. The first call counts.
    pub fn programs(&self) -> tokio::sync::mpsc::UnboundedReceiver<super::kubelet::programs::Started> {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let _first = self.programs.set(sender);
        receiver
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
