//! Certificates of endorsement and attestation keys (TCG EK Credential Profile 2.x), by `webpki`.

use std::time::Duration;

use burgrave_types::Timestamp;
use const_oid::{AssociatedOid, ObjectIdentifier};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, Error, ExpirationPolicy, ExtendedKeyUsageValidator,
    KeyPurposeId, KeyPurposeIdIter, RequiredEkuNotFoundContext, RevocationOptionsBuilder, UnknownStatusPolicy,
    anchor_from_trusted_cert,
};
use x509_cert::ext::pkix::{
    BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage, KeyUsages, NameConstraints, SubjectAltName,
};

use super::{Public, bridge};
use crate::check::Stop;
use crate::lists;
use crate::verification::Findings;
use crate::x509::Certificate;
use crate::{Cause, Endorsements, Input, Text};

const PROFILE: &str = "TCG EK Credential Profile, section 3; RFC 5280, section 6.1";
/// `tcg-kp-EKCertificate`: the key is a TPM's endorsement key. Google's AK certificates state it too.
const EK_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");
/// `tcg-kp-AIKCertificate`: the key is a TPM's restricted signing key.
const AK_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.3");
/// [`EK_PURPOSE`] in DER without its header.
const EK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];
/// The same, and [`AK_PURPOSE`].
const TCG_PURPOSES: [KeyPurposeId<'static>; 2] =
    [KeyPurposeId::new(EK_CERTIFICATE), KeyPurposeId::new(&[0x67, 0x81, 0x05, 0x08, 0x03])];

/// What a certified key is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Attestation,
    Endorsement,
}

impl Role {
    /// The check's name, and what it demands.
    fn rule(self) -> (&'static str, &'static str) {
        match self {
            Self::Attestation => {
                ("tpm.ak.certificate", "a certificate for a TPM's signing key, valid now, that chains to a root")
            }
            Self::Endorsement => {
                ("tpm.ek.certificate", "a certificate for a TPM's endorsement key, valid now, that chains to a root")
            }
        }
    }

    /// The purpose alone says that the key is a TPM's and of that kind: a certificate covers the key and not its attributes, and
    /// makers of TPMs certify other keys too (of servers, and of TPMs that sign whatever they are given).
    fn is_stated(self, leaf: &Certificate) -> bool {
        match self {
            Self::Attestation => leaf.is_for(&[AK_PURPOSE, EK_PURPOSE]),
            Self::Endorsement => leaf.is_for(&[EK_PURPOSE]),
        }
    }

    /// Whether the key may be used so. A certificate without key usage restricts none (RFC 5280, section 4.2.1.3): its purpose then
    /// says what the key is for.
    fn fits(self, leaf: &Certificate) -> bool {
        if !leaf.extensions().iter().any(|extension| extension.extn_id == KeyUsage::OID) {
            return true;
        }
        match self {
            Self::Attestation => leaf.allows(KeyUsages::DigitalSignature),
            Self::Endorsement => leaf.allows(KeyUsages::KeyEncipherment) || leaf.allows(KeyUsages::KeyAgreement),
        }
    }
}

/// What the certificate of a key comes to.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// There is none.
    None,
    /// It chains to a root.
    Certified(Certified),
    /// It does not hold: why, and what was found.
    Refused(Cause, Text),
}

/// A key whose certificate chains to a root.
#[derive(Clone, Debug)]
pub(super) struct Certified {
    /// The certificate's subject.
    subject: Text,
    /// The end of the shortest-lived certificate on the path.
    until: Timestamp,
    /// The TPM's maker, where the certificate names it.
    pub(super) manufacturer: Option<Text>,
}

impl Outcome {
    /// Looks for the certificate of `key` among those that are known, and verifies it.
    pub(super) fn of(role: Role, key: &Public, known: &Endorsements, input: &Input<'_>) -> Self {
        let subject_key = key.subject_public_key();
        let mut certificates = known.certificates.iter();
        let Some(leaf) = certificates.find(|certificate| subject_key.as_deref() == Some(certificate.key())) else {
            return Self::None;
        };
        if !role.is_stated(leaf) {
            let found = format!("one that does not say so: `{}`", leaf.subject());
            return Self::Refused(Cause::CertificateKind, found.into());
        }
        if !role.fits(leaf) {
            let found = format!("one with another key usage: `{}`", leaf.subject());
            return Self::Refused(Cause::CertificateKind, found.into());
        }
        match verify_path(leaf, known, input) {
            Ok(until) => Self::Certified(Certified {
                subject: Text::from(leaf.subject()).shared(),
                until,
                manufacturer: leaf.tpm_manufacturer().map(|maker| Text::from(maker).shared()),
            }),
            Err(error) => {
                let found = format!("{}{error:?} (issuer `{}`)", not_understood(&error, leaf), leaf.issuer());
                Self::Refused(cause(&error), found.into())
            }
        }
    }

    /// Records the outcome; returns the key where it is certified. A certificate that does not hold refuses the evidence where
    /// `fatal`.
    pub(super) fn record(&self, role: Role, fatal: bool, findings: &mut Findings) -> Result<Option<&Certified>, Stop> {
        let (name, expected) = role.rule();
        match self {
            Self::None => Ok(None),
            Self::Certified(certified) => {
                let rule = (name, Cause::ChainUntrusted, PROFILE);
                findings.checks.record(rule, true, fatal, expected, &certified.subject);
                findings.ends(certified.until);
                Ok(Some(certified))
            }
            Self::Refused(cause, found) => {
                findings.checks.record((name, *cause, PROFILE), false, fatal, expected, found);
                if fatal { Err(Stop) } else { Ok(None) }
            }
        }
    }
}

/// The end of the shortest-lived certificate on the path.
fn verify_path(leaf: &Certificate, known: &Endorsements, input: &Input<'_>) -> Result<Timestamp, Error> {
    let roots: Vec<_> = input.roots.tpm_anchors().iter().filter(|root| root.is_valid_at(input.at)).collect();
    let bridges = bridge::from(&roots, known, input);
    let bridged = bridges.iter().map(|bridge| (bridge.authority, bridge.until));
    let trusted: Vec<_> = roots.iter().map(|root| (*root, root.validity().1)).chain(bridged).collect();
    let anchors_der: Vec<_> = trusted.iter().map(|(anchor, _)| CertificateDer::from(anchor.der())).collect();
    let untils = trusted.iter().map(|(_, until)| *until);
    let (anchors, untils): (Vec<_>, Vec<_>) = anchors_der
        .iter()
        .zip(untils)
        .filter_map(|(der, until)| Some((anchor_from_trusted_cert(der).ok()?, until)))
        .unzip();
    let others: Vec<_> = known.certificates.iter().map(|certificate| CertificateDer::from(certificate.der())).collect();
    let leaf_der = CertificateDer::from(leaf.der());
    let end_entity = EndEntityCert::try_from(&leaf_der)?;
    // Of an issuer's lists webpki asks the first.
    let lists = lists::newest_first(&known.crls);
    let lists = lists.iter().map(|crl| BorrowedCertRevocationList::from_der(crl.der()).map(CertRevocationList::from));
    let lists = lists.collect::<Result<Vec<_>, _>>()?;
    let lists: Vec<_> = lists.iter().collect();
    // A list that is at hand counts and must be current; a maker without one is not refused for it.
    let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
        options.with_status_policy(UnknownStatusPolicy::Allow).with_expiration_policy(ExpirationPolicy::Enforce).build()
    });
    let secs = u64::try_from(input.at.unix_secs()).unwrap_or(0);
    let path = end_entity.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &others,
        UnixTime::since_unix_epoch(Duration::from_secs(secs)),
        TcgPurpose,
        revocation,
        None,
    )?;
    let anchor = path.anchor();
    let root = untils.into_iter().zip(&anchors).filter(|(_, candidate)| *candidate == anchor).map(|(until, _)| until);
    let on_path = path.intermediate_certificates().filter_map(|certificate| {
        let der = certificate.der();
        known.certificates.iter().find(|candidate| candidate.der() == der.as_ref()).map(|found| found.validity().1)
    });
    Ok(root.chain(on_path).fold(leaf.validity().1, Timestamp::min))
}

/// Which critical extensions refused the certificate, for people. Those that `webpki` takes are `UNDERSTOOD`; certificate policies,
/// which some makers mark critical, are so right below a root alone ([`bridge`]).
fn not_understood(error: &Error, leaf: &Certificate) -> String {
    const UNDERSTOOD: [ObjectIdentifier; 6] = [
        KeyUsage::OID,
        SubjectAltName::OID,
        BasicConstraints::OID,
        NameConstraints::OID,
        CrlDistributionPoints::OID,
        ExtendedKeyUsage::OID,
    ];
    if !matches!(error, Error::UnsupportedCriticalExtension) {
        return String::new();
    }
    let critical = leaf.extensions().iter().filter(|one| one.critical && !UNDERSTOOD.contains(&one.extn_id));
    let critical: Vec<_> = critical.map(|one| one.extn_id.to_string()).collect();
    let which = if critical.is_empty() { "one above it".to_owned() } else { critical.join(", ") };
    format!("a critical extension that is not understood, {which}: ")
}

fn cause(error: &Error) -> Cause {
    match error {
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } | Error::InvalidCertValidity => {
            Cause::CertificateValidity
        }
        Error::CertRevoked => Cause::CertificateRevoked,
        Error::CrlExpired { .. } => Cause::CrlValidity,
        Error::InvalidCrlSignatureForPublicKey => Cause::CrlSignature,
        Error::InvalidSignatureForPublicKey => Cause::ChainSignature,
        Error::CaUsedAsEndEntity
        | Error::EndEntityUsedAsCa
        | Error::PathLenConstraintViolated
        | Error::NameConstraintViolation
        | Error::IssuerNotCrlSigner => Cause::ChainConstraint,
        Error::RequiredEkuNotFoundContext(_) => Cause::CertificateKind,
        Error::UnsupportedCriticalExtension => Cause::CertificateExtension,
        _ => Cause::ChainUntrusted,
    }
}

/// Takes certificates for TPM keys; an authority above them may state no purpose at all.
struct TcgPurpose;

impl ExtendedKeyUsageValidator for TcgPurpose {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        let purposes = purposes.collect::<Result<Vec<_>, _>>()?;
        if purposes.is_empty() || purposes.iter().any(|purpose| TCG_PURPOSES.contains(purpose)) {
            return Ok(());
        }
        Err(Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext {
            required: webpki::KeyUsage::required(EK_CERTIFICATE),
            present: purposes.iter().map(KeyPurposeId::to_decoded_oid).collect(),
        }))
    }
}
