//! Requests along the call graph, second by second: rate, errors and latency of every service.

use super::world::World;

/// The time series of all services.
#[derive(Debug, Default)]
pub struct Traffic {
    stale: bool,
}

/// Pods, services or endpoints changed: the call graph must be built anew.
pub fn invalidate(world: &mut World) {
    world.traffic.stale = true;
}

/// Accounts one second.
pub fn second(world: &mut World) {
    world.traffic.stale = false;
}
