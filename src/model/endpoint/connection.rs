//! The HTTP client. Input: the endpoint's address; output: a client with its TLS, time limit and proxy rules.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Url};

use crate::model::ModelError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The TLS back end is configured here and not for the whole process, so that no other part depends on the order in
/// which things are opened; and an endpoint without TLS works on machines that have no certificates at all.
pub(super) fn client(url: &Url) -> Result<Client, ModelError> {
    let failed = |error: &dyn Error| ModelError::BadSpec(format!("the HTTP client cannot be built: {}", chain(error)));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| failed(&e))?;
    let config = if url.scheme() == "https" {
        use rustls_platform_verifier::BuilderVerifierExt as _;
        config.with_platform_verifier().map_err(|e| failed(&e))?
    } else {
        config.with_root_certificates(rustls::RootCertStore::empty())
    };
    let mut builder = Client::builder()
        .tls_backend_preconfigured(config.with_no_client_auth())
        .connect_timeout(CONNECT_TIMEOUT)
        // A redirect would turn the POST into a GET, or carry the key elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("microremed/", env!("CARGO_PKG_VERSION")));
    if matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|e| failed(&e))
}

/// An error with all its causes in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source()).take(8);
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}
