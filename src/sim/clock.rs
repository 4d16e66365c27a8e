//! How simulated time passes.
//!
//! `Skip`: time stands still while anybody computes (holds a [`Hold`], or is a process whose idle probe says no) and
//! jumps to the next event or timer as soon as everybody who is there only waits. What a client computes costs no
//! simulated time but the fixed charge for each request, so results do not depend on the machine or its load.
//! `Scaled`: a ticker moves simulated time along with real time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::config::ClockMode;
use super::stillness::{HANGING, Next, Patience, SLEEPING, Stillness, WATCHING};
use super::store::Change;
use super::time::SimTime;
use super::world::Engine;
use crate::rest::{Rest, RestProbe, Stance};

/// Step of the ticker in `Scaled` mode, in real time.
const TICK: Duration = Duration::from_millis(10);
/// The longest single jump while watches are open.
const WATCH_JUMP_MAX: Duration = Duration::from_mins(1);

/// Whoever is woken computes from then on: the hold comes with the news, so that time cannot run on in between.
type Timers = BTreeMap<(SimTime, u64), oneshot::Sender<Hold>>;

#[derive(Default)]
struct State {
    next_id: u64,
    holds: usize,
    /// Open watches.
    watchers: BTreeMap<u64, Watch>,
    timers: Timers,
    /// Timers of outside processes: like [`State::timers`], but only while there are such processes. One whose process was
    /// killed is there a little longer, and must not move time.
    outside: Timers,
    /// Limits that outside processes set on each other: the last reason for a jump.
    limits: Timers,
    /// Fire when their time comes and bound every jump, but are no reason for one.
    deadlines: Timers,
    externals: BTreeMap<u64, RestProbe>,
}

/// Says whether a change is one that the client of a watch will hear of.
pub type Interest = Box<dyn Fn(&Change) -> bool + Send + Sync>;

struct Watch {
    /// The revision up to which the client has been told.
    told: Arc<AtomicU64>,
    /// The revision of the latest change of the objects watched.
    latest: Arc<AtomicU64>,
    interest: Interest,
}

/// Who waits for time to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Somebody computes, or nobody is there.
    Nobody,
    /// Only those in this process: all of them are known to wait.
    Inside,
    /// Outside processes, too: whether they wait must be found out, by looking for so long.
    Outside(Patience),
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

    /// Somebody waits for a watch event: time may jump to the next change of interest. `latest` is kept at the revision of the
    /// latest change of the objects watched.
    #[must_use]
    pub fn watcher(&self, interest: Interest, latest: Arc<AtomicU64>) -> Watcher {
        let told = Arc::new(AtomicU64::new(u64::MAX));
        let mut s = self.state();
        s.next_id += 1;
        let id = s.next_id;
        s.watchers.insert(id, Watch { told: Arc::clone(&told), latest, interest });
        drop(s);
        self.0.kick.notify_one();
        Watcher { clock: self.clone(), id, told }
    }

    /// Outside processes are at work until the guard is dropped; `rest` tells when they only wait.
    #[must_use]
    pub fn external(&self, rest: RestProbe) -> External {
        let mut s = self.state();
        s.next_id += 1;
        let id = s.next_id;
        s.externals.insert(id, rest);
        drop(s);
        self.0.kick.notify_one();
        External(self.clone(), id)
    }

    /// A receiver that resolves when simulated time reaches `at`. The caller must not hold a [`Hold`] while it waits.
    pub fn timer(&self, at: SimTime) -> oneshot::Receiver<Hold> {
        self.timer_in(at, |s| &mut s.timers)
    }

    /// A [`Clock::timer`] for an outside process: it moves time only while there are any ([`Clock::external`]).
    pub fn outside_timer(&self, at: SimTime) -> oneshot::Receiver<Hold> {
        self.timer_in(at, |s| &mut s.outside)
    }

    /// A timer for a limit that one outside process sets on another. It moves time only when nothing else does, and late.
    pub fn limit(&self, at: SimTime) -> oneshot::Receiver<Hold> {
        self.timer_in(at, |s| &mut s.limits)
    }

    fn timer_in(&self, at: SimTime, list: fn(&mut State) -> &mut Timers) -> oneshot::Receiver<Hold> {
        let (tx, rx) = oneshot::channel();
        let mut s = self.state();
        s.next_id += 1;
        let id = s.next_id;
        list(&mut s).insert((at, id), tx);
        drop(s);
        self.0.kick.notify_one();
        rx
    }

    /// A receiver that resolves when simulated time reaches `at`, for a limit on somebody else's waiting: unlike a
    /// [`Clock::timer`] it never makes time jump by itself, so that it cannot overtake an answer on its way.
    pub fn deadline(&self, at: SimTime) -> oneshot::Receiver<Hold> {
        self.timer_in(at, |s| &mut s.deadlines)
    }

    /// Wakes the timers due at `now`, in order. Called by [`Engine::advance_to`].
    pub(super) fn fire(&self, now: SimTime) {
        let mut due = Vec::new();
        let mut s = self.state();
        let State { holds, timers, outside, limits, deadlines, .. } = &mut *s;
        for list in [deadlines, timers, outside, limits] {
            while let Some(entry) = list.first_entry().filter(|e| e.key().0 <= now) {
                due.push(entry.remove());
            }
        }
        *holds += due.len();
        drop(s);
        for waiter in due {
            // A receiver that went away no longer waits: the hold comes back and is let go.
            let _gone = waiter.send(Hold(self.clone()));
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
        let mut stillness = Stillness::default();
        loop {
            let waiting = clock.waiting();
            if waiting == Waiting::Nobody {
                stillness.forget();
                tokio::select! { () = stop.cancelled() => return, () = clock.0.kick.notified() => continue }
            }
            if let Waiting::Outside(patience) = waiting {
                let rest = clock.externals_rest().filter(|_| clock.told());
                if let Next::LookIn(pause) = stillness.look(rest, patience, std::time::Instant::now()) {
                    let asleep = tokio::time::Instant::now();
                    tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(pause) => {} }
                    stillness.slept(pause, asleep.elapsed());
                    continue;
                }
            }
            stillness.forget();
            clock.jump(engine);
            // Those who were woken take their holds before the next look.
            tokio::task::yield_now().await;
        }
    }

    /// Who waits, when nobody computes in here.
    fn waiting(&self) -> Waiting {
        let mut s = self.state();
        let State { timers, outside, limits, deadlines, .. } = &mut *s;
        for list in [timers, outside, limits, deadlines] {
            list.retain(|_, t| !t.is_closed());
        }
        let outside = !s.externals.is_empty();
        let sleeps = !(s.timers.is_empty() && s.outside.is_empty());
        if s.holds > 0 {
            Waiting::Nobody
        } else if outside && sleeps && s.watchers.is_empty() {
            Waiting::Outside(SLEEPING)
        } else if outside && (sleeps || !s.watchers.is_empty()) {
            Waiting::Outside(WATCHING)
        } else if outside && !s.limits.is_empty() {
            Waiting::Outside(HANGING)
        } else if !outside && !s.timers.is_empty() {
            Waiting::Inside
        } else {
            Waiting::Nobody
        }
    }

    /// Whether the client of every watch has been told of everything that it watches.
    fn told(&self) -> bool {
        // One that has been told nothing (0) is behind even when nothing has changed since.
        self.state().watchers.values().all(|w| w.told.load(Ordering::Acquire) >= w.latest.load(Ordering::Acquire).max(1))
    }

    /// Moves to the next moment at which somebody outside may see something: a timer, or a change that is watched.
    fn jump(&self, engine: &Engine) {
        let (timer, watched) = {
            let s = self.state();
            if s.holds > 0 {
                return;
            }
            let outside = s.outside.keys().chain(s.limits.keys()).filter(|_| !s.externals.is_empty());
            let first = s.timers.keys().chain(s.deadlines.keys()).chain(outside).map(|(at, _)| *at).min();
            (first, !s.externals.is_empty() && !s.watchers.is_empty())
        };
        let longest = engine.now().after(WATCH_JUMP_MAX);
        let end = if watched { timer.map_or(longest, |t| t.min(longest)) } else { timer.unwrap_or(longest) };
        if !watched {
            engine.advance_to(end);
            return;
        }
        // Bounded: every round moves time to the next event, and `end` is at most a minute away.
        loop {
            let (next, before) = engine.with(|w| (w.agenda.next(), w.store.revision()));
            let to = next.map_or(end, |n| n.min(end));
            engine.advance_to(to);
            if to >= end || self.interesting(engine, before) {
                return;
            }
        }
    }

    /// Whether the client of any watch will hear of a change after `revision`.
    fn interesting(&self, engine: &Engine, revision: u64) -> bool {
        let changes: Vec<Change> = engine.with(|w| w.store.changes_after(revision, |_| true).map(Iterator::collect).unwrap_or_default());
        let s = self.state();
        s.watchers.values().any(|w| changes.iter().any(|c| (w.interest)(c)))
    }

    /// How all outside processes wait; none: one of them does not.
    fn externals_rest(&self) -> Option<Rest> {
        let nobody = Rest { stance: Some(Stance::default()) };
        self.state().externals.values().try_fold(nobody, |all, rest| Some(all.and(rest()?)))
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
pub struct Watcher {
    clock: Clock,
    id: u64,
    told: Arc<AtomicU64>,
}

impl Watcher {
    /// The client has been told of every change up to `revision`. Until this is first called, it counts as up to date.
    pub fn told(&self, revision: u64) {
        self.told.store(revision, Ordering::Release);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.clock.state().watchers.remove(&self.id);
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
    timer.await.unwrap_or_else(|_| engine.clock.hold())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::sim::config::SimConfig;

    fn running() -> (Arc<Engine>, CancellationToken) {
        let (engine, stop) = (Engine::new(SimConfig::default()), CancellationToken::new());
        tokio::task::spawn(Clock::start(Arc::clone(&engine), stop.clone()));
        (engine, stop)
    }

    fn at(ms: u64) -> SimTime {
        SimTime(ms)
    }

    /// Real time in which the clock would have moved if it were to.
    async fn a_while() {
        tokio::time::sleep(Duration::from_millis(120)).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn waiting_takes_no_real_time_and_computing_no_simulated_time() {
        let (engine, stop) = running();
        let hold = engine.clock.hold();
        let timer = engine.clock.timer(at(3_600_000));
        a_while().await;
        assert_eq!(engine.now(), at(0));
        drop(hold);
        timer.await.unwrap();
        assert_eq!(engine.now(), at(3_600_000));
        stop.cancel();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn deadlines_bound_a_jump_and_cause_none() {
        let (engine, stop) = running();
        let deadline = engine.clock.deadline(at(2_000));
        a_while().await;
        assert_eq!(engine.now(), at(0));
        let timer = engine.clock.timer(at(20_000));
        deadline.await.unwrap();
        timer.await.unwrap();
        assert_eq!(engine.now(), at(20_000));
        stop.cancel();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn outside_processes_are_waited_for_and_their_timers_end_with_them() {
        let (engine, stop) = running();
        let idle = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&idle);
        let external = engine.clock.external(Box::new(move || asked.load(Ordering::SeqCst).then(Rest::default)));
        let timer = engine.clock.outside_timer(at(5_000));
        a_while().await;
        assert_eq!(engine.now(), at(0), "they compute");
        idle.store(true, Ordering::SeqCst);
        timer.await.unwrap();
        assert_eq!(engine.now(), at(5_000));
        let _left_behind = engine.clock.outside_timer(at(900_000));
        drop(external);
        a_while().await;
        assert!(engine.now() < at(900_000), "a timer of a process that is gone moved time");
        engine.clock.timer(at(1_000_000)).await.unwrap();
        stop.cancel();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_watch_holds_time_until_its_client_was_told() {
        let (engine, stop) = running();
        let _external = engine.clock.external(Box::new(|| Some(Rest::default())));
        let watcher = engine.clock.watcher(Box::new(|_| true), Arc::default());
        watcher.told(0);
        let timer = engine.clock.outside_timer(at(1_000));
        a_while().await;
        assert_eq!(engine.now(), at(0));
        watcher.told(u64::MAX);
        timer.await.unwrap();
        stop.cancel();
    }
}
