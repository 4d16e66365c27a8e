//! The sandbox of a trial's children: what a language model wrote runs in here.
//!
//! Input: a [`Policy`]; effect: a child that reaches no file but its own and the system's programs, no address but the
//! trial's API server, no process outside, and that is ended with everything it started. Layers ([`Layers`]), by what the
//! machine offers: namespaces, Landlock with seccomp, and limits. `docs/sandbox.md` says what each holds.

/// The name under which this program is the launcher.
pub const LAUNCHER: &str = "microremed-sandbox";

mod access;
mod adopt;
mod calls;
mod family;
mod layers;
mod limits;
mod namespaces;
mod network;
mod packets;
mod policy;
mod privileges;
mod supervise;
mod watch;

pub(crate) use family::kill_descendants;
pub use layers::{Found, LANDLOCK_PORTS, LANDLOCK_SIGNALS, Layers, detect};
pub use limits::Limits;
pub(crate) use packets::{pair, receive, send};
pub use policy::{Confinement, Policy};
pub(crate) use supervise::{ADOPT, ANEW, ORDER_LIMIT};
pub use supervise::{Ended, LaunchError, follow, inner, outer};
pub(crate) use watch::Watch;
