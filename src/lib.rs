//! `microremed` measures how well language models repair broken microservice systems.
//!
//! Data flows one way: manifests are loaded into a catalog, expanded into a plan, executed into events, recorded in
//! a journal and reported from that journal alone. `ARCHITECTURE.md` is the map; a module imports only modules of a
//! lower rank, listed there and checked by `tests/architecture.rs`.

pub mod ansible;
mod beside;
pub mod cli;
pub mod cluster;
pub mod diagnostic;
pub mod event;
pub mod execute;
pub mod ids;
pub mod manifest;
pub mod model;
pub mod plan;
pub mod record;
pub mod report;
pub mod rest;
pub mod sim;
pub mod template;
