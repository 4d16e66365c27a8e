//! The plan: an experiment expanded into trials. Pure: no clock, network or environment.
//!
//! Inputs: a catalog, the name of an experiment and a [`Selection`]; outputs: a [`Plan`] that yields [`TrialSpec`]s one
//! by one, and [`TrialInputs`] with everything that one trial needs. The same files, seed and selection give the same
//! bytes.

mod bound;
mod digest;
mod draw;
mod expand;
mod inputs;
mod setting;
mod system_objects;
mod trial_spec;

pub use digest::of as digest_of;
pub use expand::{Plan, PlanError, Selection, Shard, expand};
pub use inputs::{Injection, InputsError, TrialInputs, blank_state};
pub use setting::{SettingError, apply_setting};
pub use system_objects::system_manifests;
pub use trial_spec::TrialSpec;
