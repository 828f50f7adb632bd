//! From a genesis hash to the keys that a domain stands on.

use std::sync::Arc;

use burgrave_types::encoding::{Decoder, Encoder};
use burgrave_types::{DomainClass, GenesisHash, TrustDomain};
use rustls_pki_types::CertificateDer;

use crate::certificate::ParsedCertificate;
use crate::genesis::expect_format;
use crate::{Genesis, IdentityError, ProfileKind, SignatureAlgorithm};

const FORMAT: &str = "burgrave-trust-chain-v1";

/// The genesis record and the signed changes that follow it; travels inside the issuing CA's certificate.
///
/// The encoding has a list for the changes (joins, evictions, new CA or head keys, signed by the operators). This version
/// knows none, and refuses a chain that has some rather than trust keys that may have been replaced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustChain {
    /// Where the chain begins.
    pub genesis: Genesis,
}

impl TrustChain {
    /// A chain of the genesis record alone.
    pub fn new(genesis: Genesis) -> Self {
        Self { genesis }
    }

    /// The bytes that [`TrustChain::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        let changes: [&[u8]; 0] = [];
        Encoder::new().text(FORMAT).bytes(&self.genesis.encode()).list(changes).finish()
    }

    /// Reads what [`TrustChain::encode`] wrote; verifies no signature.
    ///
    /// # Errors
    /// [`IdentityError::Encoding`] where the bytes are broken or hold changes of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let mut decoder = Decoder::new(bytes);
        expect_format(&mut decoder, FORMAT)?;
        let genesis = Genesis::decode(decoder.bytes()?)?;
        let changes = decoder.list()?;
        decoder.finish()?;
        if !changes.is_empty() {
            let why = "it holds changes after genesis, which this version cannot verify; use a later one";
            return Err(IdentityError::encoding("trust chain", why));
        }
        Ok(Self { genesis })
    }

    /// Verifies the chain against the pinned genesis hash.
    ///
    /// # Errors
    /// [`IdentityError::OtherGenesis`] first of all, then as [`Genesis::verify`].
    pub fn verify(&self, pinned: &GenesisHash) -> Result<(), IdentityError> {
        let found = self.genesis.hash();
        if found != *pinned {
            return Err(IdentityError::OtherGenesis { expected: *pinned, found });
        }
        self.genesis.verify()
    }
}

/// A verified trust domain: what certificates, results and heads are checked against. Cheap to clone.
///
/// A value of this type exists only where the genesis hash matched the pinned one and every signature verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainTrust(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    chain: TrustChain,
    hash: GenesisHash,
    root: CertificateDer<'static>,
    not_before: burgrave_types::Timestamp,
    not_after: burgrave_types::Timestamp,
}

impl DomainTrust {
    /// Trusts the domain whose issuing CA has the certificate `ca`, if the trust chain inside it begins at `pinned`.
    ///
    /// Checked: the chain ([`TrustChain::verify`]), and that the certificate is signed by the CA key that the chain names,
    /// for that key, for the chain's domain and of its class. Its validity is checked at each use, by [`crate::verify_chain`].
    ///
    /// # Errors
    /// [`IdentityError`] for the first check that fails.
    pub fn from_chain(ca: &CertificateDer<'_>, pinned: &GenesisHash) -> Result<Self, IdentityError> {
        let certificate = ParsedCertificate::parse(ca)?;
        certificate.expect_profile(ProfileKind::IssuingCa)?;
        let chain = TrustChain::decode(certificate.trust_chain()?)?;
        chain.verify(pinned)?;
        let body = &chain.genesis.body;
        if certificate.spki != body.issuing_ca {
            return Err(IdentityError::broken("its key is not the issuing CA's key that genesis names"));
        }
        certificate.verify_signature(
            "issuing CA's certificate",
            &body.issuing_ca,
            SignatureAlgorithm::EcdsaP384Sha384,
        )?;
        certificate.expect_class(body.class)?;
        certificate.expect_root_of(&body.trust_domain)?;
        let (not_before, not_after) = (certificate.not_before, certificate.not_after);
        Ok(Self(Arc::new(Inner { hash: *pinned, root: ca.clone().into_owned(), not_before, not_after, chain })))
    }

    /// Trusts the domain of a whole certificate chain as a peer shows it: leaf first, issuing CA last.
    ///
    /// # Errors
    /// [`IdentityError::ChainLength`] where the chain is not these two; else as [`DomainTrust::from_chain`].
    pub fn from_peer_chain(chain: &[CertificateDer<'_>], pinned: &GenesisHash) -> Result<Self, IdentityError> {
        match chain {
            [_, ca] => Self::from_chain(ca, pinned),
            _ => Err(IdentityError::ChainLength(chain.len())),
        }
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.genesis().body.trust_domain
    }

    /// The domain's class.
    pub fn class(&self) -> DomainClass {
        self.genesis().body.class
    }

    /// The hash that names the domain.
    pub fn genesis_hash(&self) -> GenesisHash {
        self.0.hash
    }

    /// The genesis record.
    pub fn genesis(&self) -> &Genesis {
        &self.0.chain.genesis
    }

    /// The issuing CA's key (ECDSA P-384, SPKI in DER).
    pub fn ca_spki(&self) -> &[u8] {
        &self.genesis().body.issuing_ca
    }

    /// The key that signs heads (ECDSA P-256, SPKI in DER).
    pub fn head_signing_spki(&self) -> &[u8] {
        &self.genesis().body.head_signing
    }

    /// The issuing CA's certificate.
    pub fn root_certificate(&self) -> &CertificateDer<'static> {
        &self.0.root
    }

    /// Refuses to use the CA outside its certificate's validity.
    pub(crate) fn check_validity(&self, now: burgrave_types::Timestamp) -> Result<(), IdentityError> {
        crate::certificate::check_validity("issuing CA's certificate", self.0.not_before, self.0.not_after, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestDomain, ca_certificate, flip};

    #[test]
    fn a_domain_is_trusted_by_its_genesis_hash_alone() {
        let domain = TestDomain::new(DomainClass::Production);
        let trust = DomainTrust::from_chain(&domain.ca_certificate, &domain.genesis.hash()).unwrap();
        assert_eq!(trust.trust_domain().as_str(), "example.org");
        assert_eq!(trust.class(), DomainClass::Production);
        assert_eq!(trust.ca_spki(), domain.genesis.body.issuing_ca);
    }

    #[test]
    fn another_genesis_is_refused_by_its_hash() {
        let (ours, theirs) = (TestDomain::new(DomainClass::Dev), TestDomain::new(DomainClass::Dev));
        let error = DomainTrust::from_chain(&theirs.ca_certificate, &ours.genesis.hash()).unwrap_err();
        let expected = IdentityError::OtherGenesis { expected: ours.genesis.hash(), found: theirs.genesis.hash() };
        assert_eq!(error, expected);
    }

    #[test]
    fn a_stolen_genesis_in_a_foreign_ca_certificate_is_refused() {
        let (ours, theirs) = (TestDomain::new(DomainClass::Dev), TestDomain::new(DomainClass::Dev));
        let forged = ca_certificate(&TrustChain::new(ours.genesis.clone()), &theirs.ca);
        assert!(matches!(DomainTrust::from_chain(&forged, &ours.genesis.hash()), Err(IdentityError::ProfileBroken(_))));
    }

    #[test]
    fn every_altered_byte_of_the_ca_certificate_is_refused() {
        let domain = TestDomain::shared(DomainClass::Dev);
        for at in 0..domain.ca_certificate.len() {
            let altered = flip(&domain.ca_certificate, at);
            assert!(DomainTrust::from_chain(&altered, &domain.genesis.hash()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_chain_with_changes_of_a_later_version_is_refused() {
        let domain = TestDomain::shared(DomainClass::Dev);
        let bytes = Encoder::new().text(FORMAT).bytes(&domain.genesis.encode()).list([b"change"]).finish();
        assert!(TrustChain::decode(&bytes).unwrap_err().to_string().contains("later"));
    }
}
