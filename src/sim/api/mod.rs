//! The HTTP side of the cluster.
