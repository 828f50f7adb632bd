//! What an endpoint shows: its certificate chain and key, replaceable while it runs.

use std::sync::{Arc, RwLock};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{IdentityError, IdentityKey};

/// Holds the certificate chain and key that an endpoint shows; [`CredentialSlot::replace`] changes them for the next
/// handshake, as when a certificate of hours is renewed or an agent gets its SVID.
#[derive(Debug)]
pub struct CredentialSlot(RwLock<Arc<CertifiedKey>>);

impl CredentialSlot {
    /// Shows `chain`, leaf first, whose leaf is for `key`.
    ///
    /// # Errors
    /// [`IdentityError::OtherPeer`] where the leaf is for another key, [`IdentityError::Crypto`] where the library fails.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: &IdentityKey) -> Result<Arc<Self>, IdentityError> {
        Ok(Arc::new(Self(RwLock::new(certified(chain, key)?))))
    }

    /// Shows another chain from the next handshake on.
    ///
    /// # Errors
    /// As [`CredentialSlot::new`]; what stood before stays then.
    pub fn replace(&self, chain: Vec<CertificateDer<'static>>, key: &IdentityKey) -> Result<(), IdentityError> {
        let next = certified(chain, key)?;
        // A panic while the lock is held cannot leave half a credential: the assignment is the last thing done.
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = next;
        Ok(())
    }

    /// The chain that is shown now.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.current().cert.clone()
    }

    fn current(&self) -> Arc<CertifiedKey> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

fn certified(chain: Vec<CertificateDer<'static>>, key: &IdentityKey) -> Result<Arc<CertifiedKey>, IdentityError> {
    let leaf = crate::certificate::ParsedCertificate::parse(chain.first().ok_or(IdentityError::NoCertificate)?)?;
    if leaf.spki != key.spki() {
        let (expected, found) = (key.spki_hash().to_string(), crate::spki_hash(&leaf.spki).to_string());
        return Err(IdentityError::OtherPeer { what: "certificate's key", expected, found });
    }
    let pkcs8 = key.to_pkcs8()?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.expose().as_slice()));
    let signer = any_ecdsa_type(&der).map_err(|_| IdentityError::Crypto("loading a key for TLS"))?;
    Ok(Arc::new(CertifiedKey::new(chain, signer)))
}

impl ResolvesServerCert for CredentialSlot {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for CredentialSlot {
    fn resolve(&self, _root_hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
