//! The plan: an experiment expanded into trials. Pure: no clock, network or environment.

mod trial_spec;

pub use trial_spec::TrialSpec;
