//! Chaos Mesh: its kinds act on the pods that they selected when they were injected.

use super::resource::Key;
use super::world::World;

/// Running experiments.
#[derive(Debug, Default)]
pub struct State {}

/// Looks at an experiment that changed.
pub fn reconcile(_world: &mut World, _key: &Key) {}

/// Does the next step of an experiment.
pub fn step(_world: &mut World, _key: &Key) {}
