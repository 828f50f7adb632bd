//! The two ends of a channel's inner session, each told by the grant whom to expect.

use std::fmt;
use std::sync::Arc;

use burgrave_types::{Clock, SpiffeId, SpkiHash};
use rustls::DistinguishedName;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::signature::{chain, handshake_signatures};
use crate::{DomainTrust, IdentityError, ProfileKind, VerifiedIdentity, verify_chain};

/// Accepts one peer alone: the enclave with this SPIFFE id under exactly this key, with a live SVID of the domain.
pub struct PinnedPeerVerifier {
    trust: DomainTrust,
    clock: Arc<dyn Clock>,
    peer: SpiffeId,
    key: SpkiHash,
}

impl PinnedPeerVerifier {
    /// Accepts `peer` under the key with the hash `key`.
    pub fn new(trust: DomainTrust, clock: Arc<dyn Clock>, peer: SpiffeId, key: SpkiHash) -> Arc<Self> {
        Arc::new(Self { trust, clock, peer, key })
    }

    /// Verifies the peer's chain: for `peer_certificates()` after the handshake.
    ///
    /// # Errors
    /// [`IdentityError::OtherPeer`] where it is a valid SVID of another enclave or key; else as [`verify_chain`].
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Result<VerifiedIdentity, IdentityError> {
        let found = verify_chain(chain, &self.trust, self.clock.now(), ProfileKind::Enclave)?;
        if found.spiffe_id != self.peer {
            let (expected, found) = (self.peer.to_string(), found.spiffe_id.to_string());
            return Err(IdentityError::OtherPeer { what: "SPIFFE id", expected, found });
        }
        if found.spki_hash != self.key {
            let (expected, found) = (self.key.to_string(), found.spki_hash.to_string());
            return Err(IdentityError::OtherPeer { what: "key hash", expected, found });
        }
        Ok(found)
    }
}

impl fmt::Debug for PinnedPeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedPeerVerifier({}, {})", self.peer, self.key.short())
    }
}

impl ServerCertVerifier for PinnedPeerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.identify(&chain(leaf, others)).map(|_| ServerCertVerified::assertion()).map_err(super::refuse)
    }

    handshake_signatures!();
}

impl ClientCertVerifier for PinnedPeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.identify(&chain(leaf, others)).map(|_| ClientCertVerified::assertion()).map_err(super::refuse)
    }

    handshake_signatures!();
}
