//! TLS for the API: an authority of the cluster's own, a certificate for loopback, and a listener.
//!
//! Output: the authority's certificate for kubeconfigs. Keys live as long as the cluster and are never written down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SigningKey as _,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use super::arrivals::{Arriving, Door};
use super::connections::{Client, Subject};
use super::time::SimTime;

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
    /// Clients' certificates cannot be checked.
    #[error("failed to set up client certificates")]
    Clients(#[from] VerifierBuilderError),
}

/// The user of the client certificate that the authority gives out unasked, named as kubeadm names it.
pub const ADMINISTRATOR: &str = "kubernetes-admin";

/// A client's certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub(super) struct ClientCertificate {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A client's certificate (PEM) for a request (PEM), between two moments.
    pub(super) fn sign(&self, text: &str, (begins, ends): (SimTime, SimTime)) -> Result<String, TlsError> {
        let mut request = CertificateSigningRequestParams::from_pem(text)?;
        let moment = |at: SimTime| {
            let seconds = u64::try_from(at.timestamp().as_second()).unwrap_or_default();
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        let params = &mut request.params;
        (params.not_before, params.not_after) = (moment(begins), moment(ends));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let signed = request.signed_by(&self.0)?;
        Ok(self.in_all_groups(signed.der(), text).unwrap_or_else(|| signed.pem()))
    }

    /// The certificate with the whole subject of a request that names several organisations: of those, the library keeps one.
    fn in_all_groups(&self, signed: &[u8], request: &str) -> Option<String> {
        let (_, request) = x509_parser::pem::parse_x509_pem(request.as_bytes()).ok()?;
        let (_, request) = X509CertificationRequest::from_der(&request.contents).ok()?;
        let wanted = &request.certification_request_info.subject;
        if wanted.iter_organization().count() < 2 {
            return None;
        }
        let (_, certificate) = x509_parser::parse_x509_certificate(signed).ok()?;
        let (body, subject) = (certificate.tbs_certificate.as_ref(), certificate.tbs_certificate.subject.as_raw());
        let head = |element: &[u8]| element.get(1).map_or(0, |length| if length & 0x80 == 0 { 2 } else { 2 + usize::from(length & 0x7f) });
        let at = body.windows(subject.len()).position(|w| w == subject)?;
        let body = element(0x30, &[body.get(head(body)..at)?, wanted.as_raw(), body.get(at + subject.len()..)?]);
        // The algorithm stands between the body and the signature.
        let rest = signed.get(head(signed) + certificate.tbs_certificate.as_ref().len()..)?;
        let signature = element(0x03, &[&[0], &certificate.signature_value.data]);
        let algorithm = rest.get(..rest.len().checked_sub(signature.len())?)?;
        let signature = element(0x03, &[&[0], &self.0.key().sign(&body).ok()?]);
        let text = STANDARD.encode(element(0x30, &[&body, algorithm, &signature]));
        let lines: Vec<&str> = (0..text.len()).step_by(64).filter_map(|at| text.get(at..(at + 64).min(text.len()))).collect();
        Some(format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n")))
    }
}

/// An element of DER: tag, length, contents.
fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length = contents.iter().map(|part| part.len()).sum::<usize>();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(u8::MAX));
            out.extend(bytes);
        }
    }
    out.extend(contents.concat());
    out
}

/// An authority and its certificate for this server.
pub(super) struct Identity {
    /// The authority's certificate, as PEM.
    pub(super) authority: String,
    /// The administrator's certificate.
    pub(super) administrator: ClientCertificate,
    /// The authority itself.
    pub(super) signer: Arc<Authority>,
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
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::OrganizationName, "system:masters");
        client.distinguished_name.push(DnType::CommonName, ADMINISTRATOR);
        client.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client_key = KeyPair::generate()?;
        let administrator =
            ClientCertificate { certificate: client.signed_by(&client_key, &issuer)?.pem(), key: client_key.serialize_pem() };
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).allow_unauthenticated().build()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.der().clone()], private)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { authority: issuer.pem(), administrator, signer: Arc::new(Authority(issuer)), config: Arc::new(config) })
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

impl Client for TlsStream<Arriving> {
    /// The handshake has checked it.
    fn is_certified(&self) -> bool {
        self.get_ref().1.peer_certificates().is_some_and(|c| !c.is_empty())
    }

    fn subject(&self) -> Option<Subject> {
        let certificate = self.get_ref().1.peer_certificates()?.first()?;
        let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let name = read.subject();
        let user = name.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = name.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
        let fingerprint = Sha256::digest(certificate.as_ref()).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        Some(Subject { user, groups, fingerprint })
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
