//! CPU and memory: who gets how much, second by second; OOM kills; metrics scrapes.

use std::time::Duration;

use super::behaviour::Behaviour;
use super::container::{Container, Life};
use super::metrics::SCRAPE;
use super::model::ContainerModel;
use super::{admission, lifecycle, pace};
use crate::sim::resource::Key;
use crate::sim::time::SimTime;
use crate::sim::world::World;

/// Cores that a container without a limit can use: those of a node.
const NODE_CORES: f64 = 8.0;
/// A limit is a quota of processor time in each 100 ms; no quota is less than 1 ms (kubelet's `minQuotaPeriod`, the kernel's own
/// bound), so that a container with a smaller limit gets this.
const LEAST_QUOTA: f64 = 0.01;
/// Periods in which the kernel hands out a CPU quota, a second.
const PERIODS: f64 = 10.0;
/// Memory of a process that does nothing.
const BARE_MEMORY: u64 = 400 << 10;

/// How the CPU of a container is shared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Cores that the main process could get.
    pub main: f64,
    /// Cores that it uses.
    pub used: f64,
    /// Cores that stressors use.
    pub stress: f64,
    /// Cores that all of them would use without a limit.
    pub wanted: f64,
}

/// The cores that a container's limit leaves it.
fn quota(model: &ContainerModel) -> Option<f64> {
    model.cpu_limit.map(|limit| limit.clamp(LEAST_QUOTA, NODE_CORES))
}

/// Shares a container's CPU between its process and the stressors in its control group: everybody runnable gets the
/// same, and what one leaves the others take. At the limit everybody is throttled.
pub fn share(model: &ContainerModel, c: &Container) -> Share {
    let limit = quota(model).unwrap_or(NODE_CORES);
    let (workers, wanted) = c.stress_demand();
    let main = if workers > 0.0 { (limit - wanted).max(limit / (1.0 + workers)) } else { limit };
    let demand = match (c.run(), model.profile()) {
        (Some(r), Some(p)) if r.listening.is_some() => p.idle_cpu + c.load * p.cpu_per_request_s,
        // Start-up is work on one core, as fast as it may go.
        (Some(_), Some(_)) => 1.0,
        _ => 0.0,
    };
    let used = demand.min(main).min(limit);
    let stress = if c.run().is_some() { wanted } else { 0.0 };
    Share { main, used, stress: stress.min(limit - used), wanted: (demand + stress).min(NODE_CORES) }
}

/// Seconds that `cpu_s` of extra work take the main process now, with what is left beside its idle work.
pub fn work_time(model: &ContainerModel, c: &Container, cpu_s: f64) -> f64 {
    let idle = model.profile().map_or(0.0, |p| p.idle_cpu);
    let s = share(model, c);
    let spare = (s.main - idle).max(s.main * 0.1).clamp(1e-6, 1.0);
    cpu_s / spare
}

/// Memory of the main process.
fn resident(model: &ContainerModel, c: &Container) -> u64 {
    let Some(run) = c.run() else { return 0 };
    match &model.behaviour {
        Behaviour::Serve(p, _) => {
            if run.listening.is_some() || p.startup_cpu_s <= 0.0 {
                return p.memory;
            }
            // Memory grows with the work done.
            let done = 1.0 - (run.work / (p.startup_cpu_s + pace::START_CPU)).clamp(0.0, 1.0);
            scale(p.memory, 0.3 + 0.7 * done)
        }
        _ => BARE_MEMORY,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "bytes are far below 2^53")]
fn scale(bytes: u64, factor: f64) -> u64 {
    (bytes as f64 * factor) as u64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most ten")]
fn whole(periods: f64) -> u64 {
    periods as u64
}

/// Accounts one second for all containers.
pub fn second(world: &mut World) {
    let now = world.now;
    let scrape = now.0.is_multiple_of(u64::try_from(SCRAPE.as_millis()).unwrap_or(15_000));
    let mut killed: Vec<Key> = Vec::new();
    for (key, pod) in &mut world.runtime.pods {
        let mut oom = false;
        for (model, c) in pod.model.containers.iter().zip(&mut pod.containers) {
            oom |= account(model, c, now, scrape);
        }
        if oom {
            killed.push(key.clone());
        }
    }
    for key in killed {
        lifecycle::out_of_memory(world, &key);
    }
    admission::evict(world);
}

/// One second of one container; whether it has outgrown its memory limit.
fn account(model: &ContainerModel, c: &mut Container, now: SimTime, scrape: bool) -> bool {
    let Life::Running(run) = &mut c.life else {
        c.cpu = 0.0;
        c.cpu_main = 0.0;
        c.memory = 0;
        c.sample = None;
        c.scraped = None;
        return false;
    };
    lifecycle::advance_work(run, now);
    let since = run.since;
    let s = share(model, c);
    c.cpu = s.used + s.stress;
    c.cpu_main = s.used;
    let lived = now.since(since).as_secs_f64().min(1.0);
    c.cpu_total += c.cpu * lived;
    if let Some(limit) = quota(model)
        && c.cpu > 0.0
    {
        let periods = if lived < 1.0 { (lived * PERIODS).ceil() } else { PERIODS };
        c.throttled.periods += whole(periods);
        if s.wanted > limit {
            c.throttled.times += whole(periods);
            c.throttled.seconds += (s.wanted - limit) * lived;
        }
    }
    c.memory = resident(model, c) + c.stress_memory();
    if model.memory_limit.is_some_and(|l| c.memory > l) {
        return true;
    }
    if scrape {
        let (from, before) = c.scraped.unwrap_or((since, 0.0));
        let window = now.since(from);
        if window >= Duration::from_secs(1) {
            c.sample = Some((now, window, (c.cpu_total - before) / window.as_secs_f64(), c.memory));
        }
        c.scraped = Some((now, c.cpu_total));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::kubelet::container::{Run, Stress};
    use crate::sim::resource::Resource;
    use serde_json::json;

    #[test]
    fn no_quota_is_less_than_a_millisecond() {
        let pod = |limit: &str| {
            json!({"metadata": {}, "spec": {"containers": [
                {"name": "c", "image": "nginx", "resources": {"limits": {"cpu": limit}}}]}})
        };
        let main = |limit: &str| {
            let model = super::super::model::PodModel::read(&pod(limit), &crate::sim::SimConfig::default());
            share(&model.containers[0], &Container::default()).main
        };
        assert!((main("2m") - 0.01).abs() < 1e-12 && (main("11m") - 0.011).abs() < 1e-12, "{} {}", main("2m"), main("11m"));
    }

    #[test]
    fn stress_throttles_the_process_at_the_limit() {
        let pod = json!({"metadata": {}, "spec": {"containers": [
            {"name": "c", "image": "nginx", "resources": {"limits": {"cpu": "500m"}}}]}});
        let model = super::super::model::PodModel::read(&pod, &crate::sim::SimConfig::default());
        let run = Run {
            since: SimTime(0),
            work: 0.0,
            rate: (0.0, SimTime(0)),
            not_before: SimTime(0),
            listening: Some(SimTime(0)),
            ends: None,
            stopping: false,
            starting: None,
            ending: None,
            until: None,
        };
        let mut c = Container { life: Life::Running(run), ..Container::default() };
        assert!(share(&model.containers[0], &c).used < 0.01);
        let key = Key::new(&Resource::new("", "x"), "", "");
        c.stress.push((key, Stress { cpu_workers: 10, cpu_load: 1.0, ..Stress::default() }));
        let s = share(&model.containers[0], &c);
        assert!((s.used + s.stress - 0.5).abs() < 1e-9 && s.main < 0.05, "{s:?}");
        // Ten workers on eight processors want eight cores and get half a one.
        for second in 1..=3 {
            account(&model.containers[0], &mut c, SimTime(second * 1000), false);
        }
        assert_eq!((c.throttled.periods, c.throttled.times), (30, 30), "{:?}", c.throttled);
        assert!((c.throttled.seconds - 22.5).abs() < 1e-6 && (c.cpu_total - 1.5).abs() < 1e-6, "{:?}", c.throttled);
        c.stress.clear();
        account(&model.containers[0], &mut c, SimTime(4000), false);
        assert_eq!((c.throttled.periods, c.throttled.times), (40, 30));
    }
}
