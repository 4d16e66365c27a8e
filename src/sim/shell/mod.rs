//! What `exec` runs: a POSIX shell and the usual programs over a modelled container.
//!
//! Generic over [`Host`], which is one container; nothing here knows pods or the API.

pub mod files;
mod host;

pub use host::{ConnectError, Exit, Host, HttpAnswer, HttpCall, Output, Ping, ProcessInfo, ResolveError};
