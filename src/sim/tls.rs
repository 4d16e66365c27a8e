//! TLS for the API: an authority of the cluster's own, a certificate for loopback, and a listener.
//!
//! Output: the authority's certificate for kubeconfigs. Keys live as long as the cluster and are never written down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::arrivals::{Arriving, Door};

/// The names that the certificate is for.
const NAMES: [&str; 6] = ["127.0.0.1", "localhost", "10.96.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many finished handshakes may wait to be served.
const QUEUE: usize = 128;
/// How many handshakes go on at a time; more connections are refused.
const HANDSHAKES: usize = 1024;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate.
    #[error("failed to make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The certificate is not accepted by the TLS library.
    #[error("failed to set up TLS")]
    Setup(#[from] rustls::Error),
}

/// An authority and its certificate for this server.
pub(super) struct Identity {
    /// The authority's certificate, as PEM.
    pub(super) authority: String,
    config: Arc<ServerConfig>,
}

impl Identity {
    /// Makes both.
    pub(super) fn new() -> Result<Self, TlsError> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
        authority.distinguished_name.push(DnType::CommonName, "kubernetes");
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let mut server = CertificateParams::new(NAMES.map(str::to_owned))?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &issuer)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { authority: issuer.pem(), config: Arc::new(config) })
    }
}

/// A listener that hands out connections whose handshake is done: one that is slow holds nobody up.
pub(super) struct Listener {
    ready: mpsc::Receiver<(TlsStream<Arriving>, SocketAddr)>,
    address: SocketAddr,
}

impl Listener {
    /// Accepts on `tcp` until `stop` is cancelled.
    pub(super) fn new(mut tcp: Door, address: SocketAddr, identity: &Identity, stop: CancellationToken) -> Self {
        let (sender, ready) = mpsc::channel(QUEUE);
        let acceptor = TlsAcceptor::from(Arc::clone(&identity.config));
        let places = Arc::new(Semaphore::new(HANDSHAKES));
        tokio::spawn(async move {
            loop {
                let (stream, peer) = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = axum::serve::Listener::accept(&mut tcp) => accepted,
                };
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    let _place = place;
                    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        // The receiver goes with the server.
                        Ok(Ok(stream)) => drop(sender.send((stream, peer)).await),
                        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    }
                });
            }
        });
        Self { ready, address }
    }
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<Arriving>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // The accepting task ended: the server is about to.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.address)
    }
}
