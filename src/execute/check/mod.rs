//! The kinds of checks, a file each: what is measured, and when it passes.

pub(super) mod exec;
pub(super) mod not_expired;
pub(super) mod object;
pub(super) mod others;
pub(super) mod ping;
pub(super) mod ready;
pub(super) mod requests;
pub(super) mod resources;
pub(super) mod usage;
