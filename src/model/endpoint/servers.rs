//! Which models ask the same server, and so share what it allows.
//!
//! Input: where a model's requests go, its key, and the limits of its file. Output: the gate that all models of that
//! address and key go through. A provider counts by account, not by the name of a file of ours.

use std::sync::{Arc, Mutex, PoisonError};

use super::gate::Gate;
use super::key::Key;
use crate::model::Limits;

/// The servers of all models that were opened together.
#[derive(Debug, Default)]
pub struct Servers(Mutex<Vec<Server>>);

#[derive(Debug)]
struct Server {
    address: String,
    key: Key,
    gate: Arc<Gate>,
}

impl Servers {
    /// The gate of this address and key, tightened to `limits`.
    pub(super) fn gate(&self, address: &str, key: &Key, limits: Limits) -> Arc<Gate> {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = servers.iter().find(|s| s.address == address && s.key.expose() == key.expose()) {
            known.gate.tighten(limits);
            return Arc::clone(&known.gate);
        }
        let gate = Arc::new(Gate::new(limits));
        servers.push(Server { address: address.to_owned(), key: key.clone(), gate: Arc::clone(&gate) });
        gate
    }
}
