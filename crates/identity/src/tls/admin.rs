//! Administrators at the REST door, who may also come with a token and no certificate.

use std::fmt;
use std::sync::Arc;

use burgrave_types::Clock;
use rustls::DistinguishedName;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::signature::{chain, handshake_signatures};
use crate::{DomainTrust, IdentityError, ProfileKind, VerifiedIdentity, verify_chain};

/// Asks for a client certificate without demanding one; what is shown must be an administrator's of the domain.
pub struct AdminClientVerifier {
    trust: DomainTrust,
    clock: Arc<dyn Clock>,
}

impl AdminClientVerifier {
    /// Accepts administrators of the domain, and clients without certificate.
    pub fn new(trust: DomainTrust, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { trust, clock })
    }

    /// The administrator behind a chain: for `peer_certificates()` after the handshake.
    ///
    /// # Errors
    /// [`IdentityError`] for the first check that fails.
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Result<VerifiedIdentity, IdentityError> {
        verify_chain(chain, &self.trust, self.clock.now(), ProfileKind::Admin)
    }
}

impl fmt::Debug for AdminClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminClientVerifier({})", self.trust.trust_domain())
    }
}

impl ClientCertVerifier for AdminClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

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
