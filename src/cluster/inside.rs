//! What an embedded cluster offers to networks that are not this machine's, such as those of sandboxes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

/// Serves while it lives.
pub type Served = Box<dyn Send + Sync>;
type Has = Arc<dyn Fn(SocketAddr) -> bool + Send + Sync>;
type Open = Arc<dyn Fn(SocketAddr, TcpListener) -> io::Result<Served> + Send + Sync>;

/// Ways into an embedded cluster from other networks.
#[derive(Clone)]
pub struct Inside {
    /// The address of the first node, on which the published benchmark runs playbooks.
    pub node_address: Option<Ipv4Addr>,
    pub(super) has: Has,
    pub(super) open: Open,
}

impl Inside {
    /// Whether the cluster serves something at that address, and can do so elsewhere.
    pub fn has(&self, address: SocketAddr) -> bool {
        (self.has)(address)
    }

    /// Serves at the listener what is served at the address. Needs a tokio runtime.
    pub fn open(&self, address: SocketAddr, listener: TcpListener) -> io::Result<Served> {
        (self.open)(address, listener)
    }
}
