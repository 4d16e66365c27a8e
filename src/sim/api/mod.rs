//! The HTTP side of the cluster.

mod discovery;
