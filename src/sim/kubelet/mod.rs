//! The modelled kubelet: what runs in the pods, how it starts, is probed, restarted, measured and ends.
//!
//! Input: pods bound to a node. Output: their status, events, metrics, logs, and [`ContainerHost`]s for `exec`.

mod admission;
pub mod behaviour;
mod checks;
pub mod container;
mod disk;
mod environment;
mod fields;
mod files;
pub mod hooks;
mod host;
pub mod image;
mod launch;
mod lifecycle;
mod logs;
mod metrics;
pub mod model;
mod mount;
mod names;
mod nap;
pub mod network;
mod node_files;
mod pace;
mod probe;
pub mod programs;
mod qdisc;
pub mod quantity;
mod resolver;
mod resources;
mod runtime;
mod status;
mod stop;
#[cfg(test)]
mod tests;
mod volumes;

pub use files::web_page;
pub use host::{ContainerHost, exec_host};
pub use lifecycle::{kill, pod_changed, step};
pub use logs::{LogLine, logs};
pub use metrics::{NodeMetrics, PodMetrics, Used, metrics, node_metrics, node_used, used};
pub use names::find;
pub use probe::{accepts, status_of};
pub use resources::{second, share, work_time};
pub use runtime::{PodRun, Runtime};
