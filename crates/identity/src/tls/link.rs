//! Who comes to a node's agent link.

use std::fmt;
use std::sync::Arc;

use burgrave_types::{Clock, Timestamp};
use rustls::DistinguishedName;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::signature::{chain, handshake_signatures};
use crate::certificate::ParsedCertificate;
use crate::{DomainTrust, IdentityError, ProfileKind, VerifiedIdentity, verify_chain, verify_self_signed};

/// What an agent has shown on its link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkPeer {
    /// It holds a key, which may now be attested; nothing else is known of it.
    Unattested {
        /// The key (ECDSA P-256, SPKI in DER).
        spki: Vec<u8>,
    },
    /// It holds a live SVID of this domain. Whether the instance still stands is the registry's to say.
    Svid(VerifiedIdentity),
}

/// Demands a client certificate: a self-signed one of an agent that wants to attest, or an enclave's SVID of the domain.
pub struct LinkClientVerifier {
    trust: DomainTrust,
    clock: Arc<dyn Clock>,
}

impl LinkClientVerifier {
    /// Accepts agents of the domain.
    pub fn new(trust: DomainTrust, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { trust, clock })
    }

    /// Who the peer is: for `peer_certificates()` after the handshake.
    ///
    /// # Errors
    /// [`IdentityError`] for the first check that fails.
    pub fn classify(&self, chain: &[CertificateDer<'_>]) -> Result<LinkPeer, IdentityError> {
        self.classify_at(chain, self.clock.now())
    }

    fn classify_at(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<LinkPeer, IdentityError> {
        if let [leaf] = chain
            && ParsedCertificate::parse(leaf)?.expect_profile(ProfileKind::Unattested).is_ok()
        {
            return Ok(LinkPeer::Unattested { spki: verify_self_signed(leaf, now)? });
        }
        verify_chain(chain, &self.trust, now, ProfileKind::Enclave).map(LinkPeer::Svid)
    }
}

impl fmt::Debug for LinkClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkClientVerifier({})", self.trust.trust_domain())
    }
}

impl ClientCertVerifier for LinkClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.classify(&chain(leaf, others)).map(|_| ClientCertVerified::assertion()).map_err(super::refuse)
    }

    handshake_signatures!();
}
