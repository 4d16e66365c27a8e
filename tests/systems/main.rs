//! The shipped systems: their objects against the facts about the published ones, their call graphs, and whether they start.

mod facts;
mod start;
