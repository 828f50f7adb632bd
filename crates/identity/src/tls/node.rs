//! How agents and clients know a node: by the genesis hash, not by a host name.

use std::fmt;
use std::sync::Arc;

use burgrave_types::{Clock, GenesisHash};
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::signature::{chain, handshake_signatures};
use crate::{DomainTrust, IdentityError, ProfileKind, VerifiedIdentity, verify_chain};

/// Accepts a server that shows a node certificate of the domain with the pinned genesis hash; host names and public CAs
/// do not matter.
pub struct NodeVerifier {
    genesis: GenesisHash,
    clock: Arc<dyn Clock>,
}

impl NodeVerifier {
    /// Accepts nodes of the domain that `genesis` names.
    pub fn new(genesis: GenesisHash, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { genesis, clock })
    }

    /// The domain and the node behind a chain: for `peer_certificates()` after the handshake.
    ///
    /// # Errors
    /// [`IdentityError`] for the first check that fails.
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Result<(DomainTrust, VerifiedIdentity), IdentityError> {
        let trust = DomainTrust::from_peer_chain(chain, &self.genesis)?;
        let node = verify_chain(chain, &trust, self.clock.now(), ProfileKind::Node)?;
        Ok((trust, node))
    }
}

impl fmt::Debug for NodeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeVerifier({})", self.genesis.short())
    }
}

impl ServerCertVerifier for NodeVerifier {
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
