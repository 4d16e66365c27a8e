//! Manifests: the data files, their types, and loading them with every mistake reported.

pub mod experiment;
pub mod fault;
pub mod pipeline;
pub mod system;

pub use experiment::{Budgets, ExperimentManifest, Matrix, SequenceManifest, TimeSection};
pub use fault::{Check, CheckSet, Confirm, FaultManifest, Inject, Stage, Undo};
pub use pipeline::{PipelineManifest, Step, ToolManifest};
pub use system::SystemManifest;
