//! A running cluster: the engine, its clock and its HTTP listener.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api;
use super::clock::Clock;
use super::config::SimConfig;
use super::connections::{Connections, Limits, serve};
use super::custom;
use super::entrances::Entrances;
use super::exchange;
use super::kubelet;
use super::tls::{self, ClientCertificate, Identity, TlsError};
use super::world::Engine;

/// How long a shutdown waits for open connections.
const GRACE: Duration = Duration::from_secs(2);

/// So many clients may wait to be let in (fewer where the kernel's `somaxconn` is less). What comes beyond that tries again after a
/// whole second: with the usual 128, one of a thousand clients that came at once took three.
const WAITING: u32 = 4096;

/// Small pieces of an answer are sent at once. Otherwise the second event of a watch waits up to 40 ms for the
/// acknowledgement of the first, while everybody seems to be idle and simulated time runs on.
pub(super) fn send_at_once(connection: &tokio::net::TcpStream) {
    if let Err(error) = connection.set_nodelay(true) {
        tracing::debug!(%error, "a connection stays slow");
    }
}

/// Listens on loopback. `port` 0 is any.
fn listen(port: u16) -> Result<TcpListener, SimError> {
    let listen = || {
        let socket = TcpSocket::new_v4()?;
        // A cluster can start on the port of one that has just ended.
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
        socket.listen(WAITING)
    };
    listen().map_err(|source| SimError::Listen { port, source })
}

/// Why a cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// No port.
    #[error("failed to listen on 127.0.0.1:{port}")]
    Listen {
        /// The port wanted; 0 for any.
        port: u16,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// No TLS.
    #[error("failed to start TLS on the embedded cluster")]
    Tls(#[from] TlsError),
}

/// One embedded cluster. Dropping it stops it; [`Sim::shutdown`] also waits.
pub struct Sim {
    engine: Arc<Engine>,
    address: SocketAddr,
    authority: Option<String>,
    administrator: Option<ClientCertificate>,
    clock: SocketAddr,
    doors: BTreeMap<String, SocketAddr>,
    entrances: Entrances,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Sim {
    /// Starts a cluster: nodes are ready and the API answers when this returns. Needs a tokio runtime.
    #[expect(clippy::unused_async, reason = "whoever awaits it is in a runtime")]
    pub async fn start(config: SimConfig) -> Result<Self, SimError> {
        Self::start_within(config, Limits::default())
    }

    pub(super) fn start_within(mut config: SimConfig, limits: Limits) -> Result<Self, SimError> {
        config.programs = true;
        let (port, users) = (config.port, config.doors.clone());
        let listener = listen(port)?;
        let address = listener.local_addr().map_err(|source| SimError::Listen { port, source })?;
        let identity = if config.tls { Some(Identity::new()?) } else { None };
        let onlooker = config.onlooker.clone();
        let engine = Engine::new(config);
        engine.with(|w| w.authority = identity.as_ref().map(|i| Arc::clone(&i.signer)));
        engine.with(api::definitions::install);
        engine.with(custom::settle);
        engine.with(api::roles::install);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(kubelet::programs::serve(Arc::clone(&engine), engine.programs(), stop.clone()));
        tasks.spawn(api::inside::serve(Arc::clone(&engine), engine.questions(), stop.clone()));
        tasks.spawn(Clock::start(Arc::clone(&engine), stop.clone()));
        let (connections, arrivals) = (Connections::new(limits), engine.arrivals());
        tasks.spawn(Arc::clone(&connections).watch(stop.clone()));
        let mut app = api::router(Arc::clone(&engine), stop.clone());
        if let Some(onlooker) = onlooker {
            app = app.layer(axum::middleware::from_fn_with_state(onlooker, exchange::seen));
        }
        let mut clock = address;
        let mut apps = BTreeMap::new();
        if identity.is_some() {
            // Programs that only want to sleep in the cluster's time need no keys for it.
            let plain = listen(0)?;
            clock = plain.local_addr().map_err(|source| SimError::Listen { port: 0, source })?;
            let app = api::clock_router(Arc::clone(&engine), stop.clone());
            apps.insert(clock, app.clone());
            tasks.spawn(serve(arrivals.door(plain), Arc::clone(&connections), app, stop.clone()));
        }
        match &identity {
            None => {
                apps.insert(address, app.clone());
                tasks.spawn(serve(arrivals.door(listener), Arc::clone(&connections), app, stop.clone()))
            }
            Some(identity) => {
                let listener = tls::Listener::new(arrivals.door(listener), address, identity, stop.clone());
                tasks.spawn(serve(listener, Arc::clone(&connections), app, stop.clone()))
            }
        };
        let mut doors = BTreeMap::new();
        for user in users {
            let door = listen(0)?;
            let at = door.local_addr().map_err(|source| SimError::Listen { port: 0, source })?;
            let app = api::door(Arc::clone(&engine), stop.clone(), &user);
            apps.insert(at, app.clone());
            doors.insert(user, at);
            tasks.spawn(serve(arrivals.door(door), Arc::clone(&connections), app, stop.clone()));
        }
        tasks.close();
        let entrances = Entrances { apps: Arc::new(apps), connections, arrivals, stop: stop.clone(), tasks: tasks.clone() };
        let (authority, administrator) = identity.map(|i| (i.authority, i.administrator)).unzip();
        Ok(Self { engine, address, authority, administrator, clock, doors, entrances, stop, tasks })
    }

    /// `http://127.0.0.1:PORT`, or `https`.
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Where the cluster's clock is served, without TLS: `http://127.0.0.1:PORT/.sim`.
    pub fn clock_url(&self) -> String {
        format!("http://{}/.sim", self.clock)
    }

    /// The certificate of the cluster's authority as PEM, when it speaks TLS.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// A kubeconfig for this cluster, as YAML; `token` decides who its user is.
    pub fn kubeconfig(&self, token: Option<&str>) -> String {
        self.kubeconfig_with(&token.map_or_else(|| json!({}), |t| json!({"token": t})))
    }

    /// A kubeconfig with the administrator's certificate beside a token; `None` without TLS.
    pub fn administrator_kubeconfig(&self, token: &str) -> Option<String> {
        let own = self.administrator.as_ref()?;
        Some(self.kubeconfig_with(&json!({
            "client-certificate-data": STANDARD.encode(&own.certificate), "client-key-data": STANDARD.encode(&own.key), "token": token,
        })))
    }

    fn kubeconfig_with(&self, user: &serde_json::Value) -> String {
        let mut cluster = json!({"server": self.url()});
        if let Some(pem) = &self.authority {
            cluster["certificate-authority-data"] = STANDARD.encode(pem).into();
        }
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "microremed",
            "clusters": [{"name": "microremed", "cluster": cluster}],
            "users": [{"name": "microremed", "user": user}],
            "contexts": [{"name": "microremed", "context": {"cluster": "microremed", "user": "microremed", "namespace": "default"}}],
        });
        yaml(&config)
    }

    /// The address at which every request is that of `user`; the common one when the user has none.
    pub fn url_of(&self, user: &str) -> String {
        self.doors.get(user).map_or_else(|| self.url(), |door| format!("http://{door}"))
    }

    /// A kubeconfig whose every request is that of `user`, one of [`SimConfig::doors`], with or without a token: an address of
    /// its own tells who it is, since kubectl sends no token over plain HTTP.
    pub fn kubeconfig_of(&self, user: &str) -> String {
        let server = self.url_of(user);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "microremed",
            "clusters": [{"name": "microremed", "cluster": {"server": server}}],
            "users": [{"name": "microremed", "user": {}}],
            "contexts": [{"name": "microremed", "context": {"cluster": "microremed", "user": "microremed", "namespace": "default"}}],
        });
        yaml(&config)
    }

    /// Ways in from other networks.
    pub fn entrances(&self) -> &Entrances {
        &self.entrances
    }

    /// The engine: for harness code that looks behind the API.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Stops the cluster and waits a little for what is still open.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if tokio::time::timeout(GRACE, self.tasks.wait()).await.is_err() {
            tracing::debug!("open connections outlived the embedded cluster");
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A kubeconfig's text. Whatever its length, a value stands on the line of its key: people and programs cut keys and certificates out by lines.
fn yaml(config: &serde_json::Value) -> String {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    // JSON is YAML; nothing here can fail to be written.
    serde_saphyr::to_string_with_options(config, options).unwrap_or_else(|_| config.to_string())
}
