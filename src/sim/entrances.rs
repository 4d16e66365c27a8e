//! More ways to a cluster's addresses: listeners of other networks, such as that of a sandbox.
//!
//! Input: a listener, and the address outside that it stands for; effect: who connects there talks to what listens here, and the
//! clock knows of what they sent (a relay would hold it for a while, unseen).

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::arrivals::Arrivals;
use super::connections::{Connections, serve};

/// What a cluster serves at which address, without TLS.
#[derive(Clone)]
pub struct Entrances {
    pub(super) apps: Arc<BTreeMap<SocketAddr, Router>>,
    pub(super) connections: Arc<Connections>,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Entrances {
    /// Whether the cluster listens at that address, and can do so elsewhere.
    pub fn has(&self, address: SocketAddr) -> bool {
        self.apps.contains_key(&address)
    }

    /// Serves at the listener what is served at the address, until the guard is dropped. Needs a tokio runtime. `NotFound`: nothing
    /// is served there.
    pub fn open(&self, address: SocketAddr, listener: TcpListener) -> io::Result<DropGuard> {
        let app = self.apps.get(&address).ok_or(io::ErrorKind::NotFound)?;
        listener.set_nonblocking(true)?;
        let door = self.arrivals.door(tokio::net::TcpListener::from_std(listener)?);
        let stop = self.stop.child_token();
        self.tasks.spawn(serve(door, Arc::clone(&self.connections), app.clone(), stop.clone()));
        Ok(stop.drop_guard())
    }
}
