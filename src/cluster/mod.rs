//! A Kubernetes cluster with Chaos Mesh, real or embedded, as the executor uses it.
//!
//! Nothing but [`connect`] asks which of the two it is. Input: where the cluster is; output: [`Cluster`].

mod pace;

pub use pace::{Busy, Idle, Pace, RealPace, Working};
