//! The certificate of an agent that has not attested yet: it proves nothing but that the peer holds its key.

use std::str::FromStr;
use std::time::Duration;

use burgrave_types::{Random, Timestamp};
use rustls_pki_types::CertificateDer;
use x509_cert::name::Name;

use super::issue::{TbsFields, common_extensions};
use super::{ParsedCertificate, ProfileKind, check_validity};
use crate::{IdentityError, IdentityKey, SignatureAlgorithm, check_spki};

/// 9999-12-31T23:59:59Z: no well-defined end (RFC 5280 section 4.1.2.5).
const NO_END: Timestamp = Timestamp::from_unix_secs(253_402_300_799);
/// How far an agent's clock may be ahead of its node's.
const SKEW: Duration = Duration::from_secs(3600);

/// A certificate for `key`, signed by itself, with profile `unattested`: what an agent shows before its first attestation.
///
/// # Errors
/// [`IdentityError::Crypto`] or [`IdentityError::Encoding`] where the libraries fail.
pub fn self_signed_identity(
    key: &IdentityKey,
    now: Timestamp,
    random: &dyn Random,
) -> Result<CertificateDer<'static>, IdentityError> {
    let encoding = |why: der::Error| IdentityError::encoding("certificate to issue", why);
    let name = Name::from_str("CN=Burgrave unattested").map_err(encoding)?;
    let fields = TbsFields {
        algorithm: SignatureAlgorithm::EcdsaP256Sha256,
        issuer: name.clone(),
        subject: name,
        spki: key.spki(),
        not_before: now - SKEW,
        not_after: NO_END,
        extensions: common_extensions(ProfileKind::Unattested, key.spki()).map_err(encoding)?,
    };
    let tbs = fields.into_tbs(random)?;
    tbs.assemble(&key.sign_der(tbs.bytes())?)
}

/// Verifies a certificate made by [`self_signed_identity`]; the public key (P-256, SPKI in DER) that the peer holds.
///
/// # Errors
/// [`IdentityError`] for the first check that fails.
pub fn verify_self_signed(certificate: &CertificateDer<'_>, now: Timestamp) -> Result<Vec<u8>, IdentityError> {
    let p256 = SignatureAlgorithm::EcdsaP256Sha256;
    let certificate = ParsedCertificate::parse(certificate)?;
    certificate.expect_profile(ProfileKind::Unattested)?;
    check_spki("self-signed certificate's key", &certificate.spki, p256)?;
    certificate.verify_signature("self-signed certificate", &certificate.spki, p256)?;
    check_validity("self-signed certificate", certificate.not_before, certificate.not_after, now)?;
    Ok(certificate.spki)
}
