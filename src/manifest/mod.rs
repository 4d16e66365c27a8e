//! Manifests: the data files, their types, and loading them with every mistake reported.
//!
//! Input: a [`Root`] (a folder over the built-in files); outputs: a [`Catalog`] and [`crate::diagnostic::Diagnostics`].
//! Nothing here knows the name of a fault, a system, a method or a model.

pub mod catalog;
pub mod confinement;
pub mod duration;
pub mod experiment;
mod extends;
pub mod fault;
pub mod kind;
pub mod pipeline;
pub mod quantity;
pub mod schema;
mod semantic;
pub mod source;
pub mod spans;
pub mod system;

pub use catalog::{Catalog, TRIAL_PIPELINE};
pub use confinement::{PolicySection, SandboxSection};
pub use experiment::{Agent, Budgets, ExperimentManifest, Matrix, SequenceManifest, TimeSection};
pub use fault::{Check, CheckSet, Confirm, FaultManifest, Inject, Stage, Undo};
pub use kind::Kind;
pub use pipeline::{PipelineManifest, Step, ToolManifest};
pub use source::{Root, RootError};
pub use system::SystemManifest;
