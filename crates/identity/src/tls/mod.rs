//! rustls configurations: TLS 1.3 alone, no tickets, no resumption, no early data, one verifier per kind of peer.
//!
//! | connection | server shows | client shows | verifiers |
//! | --- | --- | --- | --- |
//! | agent link | node certificate | self-signed, or SVID | [`NodeVerifier`], [`LinkClientVerifier`] |
//! | REST | node certificate | nothing, or administrator's | [`NodeVerifier`], [`AdminClientVerifier`] |
//! | inner channel | SVID | SVID | [`PinnedPeerVerifier`] on both sides |
//!
//! A verifier lets the handshake pass; who the peer is, the caller asks it afterwards with the connection's
//! `peer_certificates()`. Why a peer was refused, [`refusal`] finds inside the TLS library's error.

mod admin;
mod credential;
mod link;
mod node;
mod pinned;
mod signature;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, ClientConfig, OtherError, ServerConfig};

use crate::IdentityError;

pub use admin::AdminClientVerifier;
pub use credential::CredentialSlot;
pub use link::{LinkClientVerifier, LinkPeer};
pub use node::NodeVerifier;
pub use pinned::PinnedPeerVerifier;

/// ALPN of the agent link.
pub const ALPN_LINK: &[u8] = b"burgrave-link/1";
/// ALPN of the inner session of a channel.
pub const ALPN_CHANNEL: &[u8] = b"burgrave-chan/1";
/// ALPN of HTTP/2 and HTTP/1.1, in this order of preference.
pub const ALPN_HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// aws-lc-rs with X25519MLKEM768 first, and X25519 and P-256 for clients that do not know it: for REST and the web UI.
pub fn provider() -> Arc<CryptoProvider> {
    provider_of(vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1])
}

/// aws-lc-rs with X25519MLKEM768 alone: for agent links and inner channels, where both ends are ours.
pub fn hybrid_only_provider() -> Arc<CryptoProvider> {
    provider_of(vec![kx_group::X25519MLKEM768])
}

fn provider_of(kx_groups: Vec<&'static dyn rustls::crypto::SupportedKxGroup>) -> Arc<CryptoProvider> {
    let cipher_suites = vec![
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(CryptoProvider { cipher_suites, kx_groups, ..aws_lc_rs::default_provider() })
}

/// A server's configuration: shows what stands in `credential` at each handshake, verifies clients with `verifier`.
///
/// # Errors
/// [`IdentityError::Crypto`] where the provider does not serve TLS 1.3.
pub fn server_config(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    credential: Arc<CredentialSlot>,
    alpn: &[&[u8]],
) -> Result<ServerConfig, IdentityError> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| IdentityError::Crypto("configuring TLS 1.3"))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(credential);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

/// A client's configuration: verifies the server with `verifier`, shows what stands in `credential`, if one is given.
///
/// # Errors
/// [`IdentityError::Crypto`] where the provider does not serve TLS 1.3.
pub fn client_config(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    credential: Option<Arc<CredentialSlot>>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, IdentityError> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| IdentityError::Crypto("configuring TLS 1.3"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match credential {
        Some(credential) => builder.with_client_cert_resolver(credential),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// Why one of our verifiers refused the peer, where that is what `error` is about.
///
/// Takes the TLS library's error or an [`std::io::Error`] around it, as asynchronous streams give it.
pub fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a IdentityError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner)))) =
            error.downcast_ref::<rustls::Error>()
        {
            return inner.downcast_ref::<IdentityError>();
        }
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    None
}

/// Carries a refusal through the TLS library.
fn refuse(error: IdentityError) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}
