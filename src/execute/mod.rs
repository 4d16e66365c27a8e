//! Executing a plan: trials run side by side, each a pipeline of steps; one task orders what they report.
//!
//! Inputs: a [`RunRequest`] (plan, catalog, tools, models, where the cluster is) and a [`crate::event::Sink`]. Output:
//! events, and a [`RunEnd`]. Knows no file format and prints nothing.
//!
//! Parts: [`dispatcher`] (the only caller of the sink), [`run`] (trials side by side, and cancellation), [`leases`] (where they run),
//! [`slots`] (who computes), [`debts`] (what interrupted ones left), [`trial`] (state of a trial),
//! [`step`] (the interpreter of pipelines), [`judge`] and [`check`] (check sets), [`baseline`] and [`strategy`] (what
//! changed in the cluster), [`spending`] (the run's budgets), [`approve`] (a person's word), [`outcome`] (from all that to a result).

mod approve;
mod baseline;
mod check;
mod debts;
mod dispatcher;
pub mod embedded;
mod judge;
mod leases;
mod outcome;
mod run;
mod slots;
mod spending;
mod step;
mod stop;
mod strategy;
mod tally;
mod trial;

pub use approve::{Approver, Question};
pub use debts::Owed;
pub use leases::{Lease, SetAside};
pub use run::{ClusterChoice, RunEnd, RunRequest, run};
pub use spending::Amount;

/// The context of templates as it is when a trial begins, for showing its prompts beforehand.
pub fn initial_context(inputs: &crate::plan::TrialInputs) -> serde_json::Value {
    serde_json::Value::Object(trial::scope(inputs))
}
