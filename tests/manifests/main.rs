//! Data files: what is shipped is right, and what is wrong is said well.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod plan;
mod shipped;
mod wrong;
