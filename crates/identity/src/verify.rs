//! From a certificate chain to who the peer is.

use burgrave_types::{DomainClass, SpiffeId, SpkiHash, Timestamp};
use rustls_pki_types::CertificateDer;

use crate::certificate::{ParsedCertificate, check_validity};
use crate::{DomainTrust, IdentityError, ProfileKind, SignatureAlgorithm, check_spki, spki_hash};

/// A verified holder of a certificate of the domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedIdentity {
    /// Its name.
    pub spiffe_id: SpiffeId,
    /// What the certificate is for.
    pub profile: ProfileKind,
    /// Its public key (ECDSA P-256, SPKI in DER).
    pub spki: Vec<u8>,
    /// SHA-256 of its public key.
    pub spki_hash: SpkiHash,
    /// The domain's class.
    pub class: DomainClass,
    /// First instant of the certificate's validity.
    pub not_before: Timestamp,
    /// Last instant of the certificate's validity.
    pub not_after: Timestamp,
}

/// Verifies a chain, leaf first, against the domain: the leaf's signature by the domain's CA, validity of both at `now`,
/// issuer, constraints, key usage and purposes exactly those of `profile`, one name, the domain's class.
///
/// The chain is the leaf alone, or the leaf and the CA's certificate, which must be for the domain's CA key.
///
/// # Errors
/// [`IdentityError`] for the first check that fails.
pub fn verify_chain(
    chain: &[CertificateDer<'_>],
    trust: &DomainTrust,
    now: Timestamp,
    profile: ProfileKind,
) -> Result<VerifiedIdentity, IdentityError> {
    let leaf = match chain {
        [leaf] => leaf,
        [leaf, ca] if ca == trust.root_certificate() => leaf,
        [leaf, ca] => {
            DomainTrust::from_chain(ca, &trust.genesis_hash())?;
            leaf
        }
        [] => return Err(IdentityError::NoCertificate),
        _ => return Err(IdentityError::ChainLength(chain.len())),
    };
    let leaf = ParsedCertificate::parse(leaf)?;
    leaf.expect_profile(profile)?;
    leaf.expect_issuer(trust.ca_spki())?;
    leaf.verify_signature(
        "certificate by the domain's issuing CA",
        trust.ca_spki(),
        SignatureAlgorithm::EcdsaP384Sha384,
    )?;
    trust.check_validity(now)?;
    check_validity("certificate", leaf.not_before, leaf.not_after, now)?;
    leaf.expect_class(trust.class())?;
    let spiffe_id = leaf.spiffe_id(trust.trust_domain(), profile)?;
    check_spki("certificate's key", &leaf.spki, SignatureAlgorithm::EcdsaP256Sha256)?;
    let (not_before, not_after) = (leaf.not_before, leaf.not_after);
    let (spki_hash, class) = (spki_hash(&leaf.spki), trust.class());
    Ok(VerifiedIdentity { spiffe_id, profile, spki: leaf.spki, spki_hash, class, not_before, not_after })
}
