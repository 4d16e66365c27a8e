//! `schema`: the JSON Schema of a kind of data file.

use super::failure::Failure;
use super::places::Global;
use super::print;
use crate::manifest::{kind::Kind, schema as schemas};

pub(super) fn schema(global: &Global, kind: &str) -> Result<(), Failure> {
    match Kind::named(kind) {
        Some(k) if global.json => print(&schemas::of_file(k).to_string()),
        Some(k) => print(&schemas::text(k)),
        None => Err(Failure::input(format!("there is no kind of data file called {kind:?}"))
            .help("the kinds are system, fault, pipeline, sequence, experiment, model")),
    }
}
