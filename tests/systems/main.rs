//! The shipped systems: their objects against the facts about the published ones, their call graphs, and whether they start.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod checks;
mod facts;
mod start;
