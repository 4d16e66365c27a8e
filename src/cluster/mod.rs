//! A Kubernetes cluster with Chaos Mesh, real or embedded, as the executor uses it.
//!
//! Nothing but [`connect`] asks which of the two it is. Input: a [`Target`]; output: a [`Cluster`], which speaks the
//! Kubernetes API as one of three identities (runner, agent, verifier), tells time, and offers what else the cluster
//! knows (traffic, audit log) as options.

mod client;
mod connect;
mod deny;
mod discover;
mod exec;
mod grant;
mod inside;
mod object;
mod observe;
mod pace;

pub use client::{Cluster, ClusterError};
pub use connect::{Embedded, StartUp, Target, confine_agent, connect, hide_injector, server_of};
pub use deny::Denial;
pub use exec::ExecOutcome;
pub use inside::{Inside, Served};
pub use object::ObjectRef;
pub use observe::{AuditRecord, Observations, TrafficSecond};
pub use pace::{Pace, RealPace, Waiting, Working};
