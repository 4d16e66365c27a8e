//! How simulated time passes.
//!
//! `Skip`: time stands still while anybody computes (holds a [`Hold`], or is a process whose idle probe says no) and
//! jumps to the next event or timer as soon as everybody who is there only waits. What a client computes costs no
//! simulated time but the fixed charge for each request, so results do not depend on the machine or its load.
//! `Scaled`: a ticker moves simulated time along with real time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::config::ClockMode;
use super::time::SimTime;
use super::world::Engine;

/// Says whether a group of outside processes only waits. Called often: must be quick.
pub type IdleProbe = Box<dyn Fn() -> bool + Send + Sync>;

/// How many idle samples in a row count as idle, and the real time between them: outside processes are watched by
/// sampling, and one sample may catch a process between two steps of a computation.
const IDLE_SAMPLES: u32 = 3;
const SAMPLE_EVERY: Duration = Duration::from_millis(3);
/// Step of the ticker in `Scaled` mode, in real time.
const TICK: Duration = Duration::from_millis(10);
/// The longest single jump when nobody set a timer and only watches are open.
const WATCH_JUMP_MAX: Duration = Duration::from_secs(60);

#[derive(Default)]
struct State {
    next_id: u64,
    holds: usize,
    watchers: usize,
    timers: BTreeMap<(SimTime, u64), oneshot::Sender<()>>,
    /// Fire when their time comes and bound every jump, but are no reason for one.
    deadlines: BTreeMap<(SimTime, u64), oneshot::Sender<()>>,
    externals: BTreeMap<u64, IdleProbe>,
}

struct Shared {
    mode: ClockMode,
    state: Mutex<State>,
    kick: Notify,
}

/// The clock of one cluster; clones share it.
#[derive(Clone)]
pub struct Clock(Arc<Shared>);

impl Clock {
    /// A clock that does not run yet.
    pub fn new(mode: ClockMode) -> Self {
        Self(Arc::new(Shared { mode, state: Mutex::default(), kick: Notify::new() }))
    }

    /// How time passes.
    pub fn mode(&self) -> ClockMode {
        self.0.mode
    }

    /// Somebody computes: time stands still (in `Skip`) until the guard is dropped.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.state().holds += 1;
        Hold(self.clone())
    }

    /// Somebody waits for a watch event: time may jump to the next event.
    #[must_use]
    pub fn watcher(&self) -> Watcher {
        self.state().watchers += 1;
        self.0.kick.notify_one();
        Watcher(self.clone())
    }

    /// Outside processes are at work until the guard is dropped; `idle` tells when they only wait.
    #[must_use]
    pub fn external(&self, idle: IdleProbe) -> External {
        let mut s = self.state();
        s.next_id += 1;
        let id = s.next_id;
        s.externals.insert(id, idle);
        drop(s);
        self.0.kick.notify_one();
        External(self.clone(), id)
    }

    /// A receiver that resolves when simulated time reaches `at`. The caller must not hold a [`Hold`] while it waits.
    pub fn timer(&self, at: SimTime) -> oneshot::Receiver<()> {
        let (tx, rx) = oneshot::channel();
        let mut s = self.state();
        s.next_id += 1;
        let id = s.next_id;
        s.timers.insert((at, id), tx);
        drop(s);
        self.0.kick.notify_one();
        rx
    }

    /// A receiver that resolves when simulated time reaches `at`, for a limit on somebody else's waiting: unlike a
    /// [`Clock::timer`] it never makes time jump by itself, so that it cannot overtake an answer on its way.
    pub fn deadline(&self, at: SimTime) -> oneshot::Receiver<()> {
        let (tx, rx) = oneshot::channel();
        let mut s = self.state();
        s.next_id += 1;
        let id = s.next_id;
        s.deadlines.insert((at, id), tx);
        rx
    }

    /// Wakes the timers due at `now`, in order. Called by [`Engine::advance_to`].
    pub(super) fn fire(&self, now: SimTime) {
        let mut s = self.state();
        // A receiver that went away no longer waits: nothing to wake.
        while let Some(entry) = s.deadlines.first_entry().filter(|e| e.key().0 <= now) {
            let _gone = entry.remove().send(());
        }
        while let Some(entry) = s.timers.first_entry().filter(|e| e.key().0 <= now) {
            let _gone = entry.remove().send(());
        }
    }

    /// Runs the clock of `engine` until `stop` resolves.
    pub async fn start(engine: Arc<Engine>, stop: tokio_util::sync::CancellationToken) {
        match engine.clock.mode() {
            ClockMode::Skip => Self::skip(&engine, &stop).await,
            ClockMode::Scaled(speed) => Self::scaled(&engine, speed, &stop).await,
        }
    }

    async fn scaled(engine: &Engine, speed: f64, stop: &tokio_util::sync::CancellationToken) {
        let (start, from) = (tokio::time::Instant::now(), engine.now());
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! { () = stop.cancelled() => return, _ = tick.tick() => {} }
            engine.advance_to(from.after(start.elapsed().mul_f64(speed)));
        }
    }

    async fn skip(engine: &Engine, stop: &tokio_util::sync::CancellationToken) {
        let clock = &engine.clock;
        let mut idle = 0;
        loop {
            let (waiting, externals) = {
                let mut s = clock.state();
                s.timers.retain(|_, t| !t.is_closed());
                s.deadlines.retain(|_, t| !t.is_closed());
                (s.holds == 0 && (!s.timers.is_empty() || s.watchers > 0), !s.externals.is_empty())
            };
            if !waiting {
                idle = 0;
                tokio::select! { () = stop.cancelled() => return, () = clock.0.kick.notified() => continue }
            }
            if externals {
                idle = if clock.externals_idle() { idle + 1 } else { 0 };
                if idle < IDLE_SAMPLES {
                    tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(SAMPLE_EVERY) => continue }
                }
            } else if !clock.has_timers() {
                // Only watches, and nobody is known to wait for them: leave time alone.
                tokio::select! { () = stop.cancelled() => return, () = clock.0.kick.notified() => continue }
            }
            idle = 0;
            clock.jump(engine);
            // Those who were woken take their holds before the next look.
            tokio::task::yield_now().await;
        }
    }

    /// Moves to the next moment at which somebody outside may see something: a timer, or a change in the store.
    fn jump(&self, engine: &Engine) {
        let (timer, watched) = {
            let s = self.state();
            if s.holds > 0 {
                return;
            }
            let first = s.timers.keys().chain(s.deadlines.keys()).map(|(at, _)| *at).min();
            (first, s.watchers > 0)
        };
        let end = timer.unwrap_or_else(|| engine.now().after(WATCH_JUMP_MAX));
        if !watched {
            engine.advance_to(end);
            return;
        }
        loop {
            let (next, before) = engine.with(|w| (w.agenda.next(), w.store.revision()));
            let to = next.map_or(end, |n| n.min(end));
            engine.advance_to(to);
            if to >= end || engine.with(|w| w.store.revision()) != before {
                return;
            }
        }
    }

    fn externals_idle(&self) -> bool {
        self.state().externals.values().all(|idle| idle())
    }

    fn has_timers(&self) -> bool {
        !self.state().timers.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time stands still while this lives.
pub struct Hold(Clock);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.state().holds -= 1;
        self.0.0.kick.notify_one();
    }
}

/// An open watch.
pub struct Watcher(Clock);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.state().watchers -= 1;
    }
}

/// Outside processes that take part.
pub struct External(Clock, u64);

impl External {
    /// The processes have ended and their parent goes on computing: replaces this guard by a hold in one step.
    #[must_use]
    pub fn into_hold(self) -> Hold {
        let mut s = self.0.state();
        s.externals.remove(&self.1);
        s.holds += 1;
        drop(s);
        Hold(self.0.clone())
    }
}

impl Drop for External {
    fn drop(&mut self) {
        self.0.state().externals.remove(&self.1);
    }
}

/// Waits for `d` of simulated time, giving up `hold` meanwhile and taking a new one at the end.
pub async fn sleep(engine: &Engine, hold: Hold, d: Duration) -> Hold {
    let timer = engine.clock.timer(engine.now().after(d));
    drop(hold);
    // The clock is dropped only with the engine, which we borrow.
    let _fired = timer.await;
    engine.clock.hold()
}
