//! The modelled kubelet: what runs in the pods, how it starts, is probed, restarted, measured and ends.

/// State of all containers that the API does not show.
#[derive(Debug, Default)]
pub struct Runtime {}
