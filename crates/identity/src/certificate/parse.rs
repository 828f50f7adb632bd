//! Reading certificates: everything that a decision rests on, and nothing that we do not understand.

use burgrave_types::{DomainClass, SpiffeId, Timestamp, TrustDomain};
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::asn1::{OctetString, Utf8StringRef};
use der::flagset::FlagSet;
use der::{Decode, Encode};
use rustls_pki_types::CertificateDer;
use x509_cert::TbsCertificate;
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::time::Time;

use super::issue::{Certificate, algorithm_oid, ca_name, root_uri};
use super::{ProfileKind, oids};
use crate::key::verify_signature_of;
use crate::{IdentityError, SignatureAlgorithm};

/// Bytes of a certificate, at most; the CA's, with 64 operators in its chain, has a tenth of this.
const MAX_BYTES: usize = 256 * 1024;

/// A certificate taken apart; nothing in it is verified yet.
#[derive(Debug)]
pub(crate) struct ParsedCertificate {
    pub(crate) spki: Vec<u8>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    signed: Vec<u8>,
    algorithm: ObjectIdentifier,
    signature: Vec<u8>,
    issuer: Name,
    extensions: Extensions,
}

/// The extensions that we know; others are ignored where they are not critical.
#[derive(Debug, Default)]
struct Extensions {
    profile: Option<String>,
    class: Option<String>,
    trust_chain: Option<Vec<u8>>,
    constraints: Option<BasicConstraints>,
    usage: Option<FlagSet<KeyUsages>>,
    purposes: Vec<ObjectIdentifier>,
    names: Vec<GeneralName>,
}

impl ParsedCertificate {
    /// Reads a certificate (RFC 5280 section 4.1, version 3).
    pub(crate) fn parse(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let error = |why: der::Error| IdentityError::encoding("certificate", why);
        if certificate.len() > MAX_BYTES {
            return Err(IdentityError::encoding("certificate", format!("it has more than {MAX_BYTES} bytes")));
        }
        let outer = Certificate::from_der(certificate).map_err(error)?;
        let signed = outer.tbs.to_der().map_err(error)?;
        let tbs = TbsCertificate::from_der(&signed).map_err(error)?;
        if tbs.version() != Version::V3 || *tbs.signature() != outer.algorithm || outer.algorithm.parameters.is_some() {
            return Err(IdentityError::encoding(
                "certificate",
                "its version or signature algorithm is not as it must be",
            ));
        }
        let signature = outer.signature.as_bytes().unwrap_or_default().to_vec();
        Ok(Self {
            spki: tbs.subject_public_key_info().to_der().map_err(error)?,
            not_before: timestamp(&tbs.validity().not_before),
            not_after: timestamp(&tbs.validity().not_after),
            algorithm: outer.algorithm.oid,
            signature,
            issuer: tbs.issuer().clone(),
            extensions: Extensions::read(&tbs)?,
            signed,
        })
    }

    /// Verifies the signature, which must be of `algorithm` and say so.
    pub(crate) fn verify_signature(
        &self,
        what: &'static str,
        issuer_spki: &[u8],
        algorithm: SignatureAlgorithm,
    ) -> Result<(), IdentityError> {
        if self.algorithm != algorithm_oid(algorithm) {
            return Err(IdentityError::encoding(what, "it states another signature algorithm than its issuer's"));
        }
        verify_signature_of(what, issuer_spki, algorithm, &self.signed, &self.signature)
    }

    /// Checks that the certificate is of this profile and keeps it: constraints, key usage, purposes, names.
    pub(crate) fn expect_profile(&self, expected: ProfileKind) -> Result<(), IdentityError> {
        let found = self.extensions.profile.as_deref().unwrap_or("none");
        if found != expected.as_str() {
            let found = found.chars().take(32).collect();
            return Err(IdentityError::Profile { expected, found });
        }
        let is_ca = expected == ProfileKind::IssuingCa;
        let constraints = BasicConstraints { ca: is_ca, path_len_constraint: is_ca.then_some(0) };
        if self.extensions.constraints.as_ref() != Some(&constraints) {
            return Err(IdentityError::broken(format!("its basic constraints are not those of `{expected}`")));
        }
        let usage: FlagSet<KeyUsages> =
            if is_ca { KeyUsages::KeyCertSign | KeyUsages::CRLSign } else { KeyUsages::DigitalSignature.into() };
        if self.extensions.usage != Some(usage) {
            return Err(IdentityError::broken(format!("its key usage is not that of `{expected}`")));
        }
        if self.extensions.purposes != expected.purposes() {
            return Err(IdentityError::broken(format!("its extended key usage is not that of `{expected}`")));
        }
        let is_uri = |name: &&GeneralName| matches!(name, GeneralName::UniformResourceIdentifier(_));
        let is_host = |name: &GeneralName| matches!(name, GeneralName::DnsName(_) | GeneralName::IpAddress(_));
        let uris = self.extensions.names.iter().filter(is_uri).count();
        let expected_uris = usize::from(expected != ProfileKind::Unattested);
        let others = self.extensions.names.len() - uris;
        let hosts = self.extensions.names.iter().filter(|name| is_host(name)).count();
        if uris != expected_uris || others != if expected == ProfileKind::Node { hosts } else { 0 } {
            return Err(IdentityError::broken(format!(
                "it bears {uris} URIs and {others} other names, which is not how `{expected}` is named"
            )));
        }
        Ok(())
    }

    /// Checks that it is of the domain's class.
    pub(crate) fn expect_class(&self, expected: DomainClass) -> Result<(), IdentityError> {
        let found =
            self.extensions.class.as_deref().ok_or_else(|| IdentityError::broken("it states no domain class"))?;
        let found: DomainClass = found.parse()?;
        if found == expected { Ok(()) } else { Err(IdentityError::Class { expected, found }) }
    }

    /// Checks that it names the CA with this key as its issuer.
    pub(crate) fn expect_issuer(&self, ca_spki: &[u8]) -> Result<(), IdentityError> {
        let name = ca_name(ca_spki).map_err(|why| IdentityError::encoding("issuer's name", why))?;
        if self.issuer == name { Ok(()) } else { Err(IdentityError::Issuer) }
    }

    /// Checks that it is the signing certificate of `domain`.
    pub(crate) fn expect_root_of(&self, domain: &TrustDomain) -> Result<(), IdentityError> {
        let (found, expected) = (self.uri().unwrap_or_default(), root_uri(domain));
        if found == expected {
            return Ok(());
        }
        Err(IdentityError::Domain { what: "issuing CA's certificate", expected, found: found.to_owned() })
    }

    /// The SPIFFE id, which must be one of `domain` and one that the profile may bear.
    pub(crate) fn spiffe_id(&self, domain: &TrustDomain, kind: ProfileKind) -> Result<SpiffeId, IdentityError> {
        let id: SpiffeId = self.uri().unwrap_or_default().parse()?;
        if id.domain() != domain {
            let (expected, found) = (domain.to_string(), id.domain().to_string());
            return Err(IdentityError::Domain { what: "certificate", expected, found });
        }
        if !kind.may_bear(&id) {
            return Err(IdentityError::broken(format!("`{id}` is no name for the profile `{kind}`")));
        }
        Ok(id)
    }

    /// The trust chain inside.
    pub(crate) fn trust_chain(&self) -> Result<&[u8], IdentityError> {
        self.extensions.trust_chain.as_deref().ok_or_else(|| IdentityError::broken("it carries no trust chain"))
    }

    fn uri(&self) -> Option<&str> {
        self.extensions.names.iter().find_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
            _ => None,
        })
    }
}

impl Extensions {
    fn read(tbs: &TbsCertificate) -> Result<Self, IdentityError> {
        let error = |why: der::Error| IdentityError::encoding("certificate extension", why);
        let mut read = Self::default();
        let mut seen = std::collections::BTreeSet::new();
        for extension in tbs.extensions().map(Vec::as_slice).unwrap_or_default() {
            let (oid, value) = (extension.extn_id, extension.extn_value.as_bytes());
            if !seen.insert(oid) {
                return Err(IdentityError::broken(format!("the extension {oid} stands in it twice")));
            }
            match oid {
                oids::PROFILE => read.profile = Some(text(value).map_err(error)?),
                oids::DOMAIN_CLASS => read.class = Some(text(value).map_err(error)?),
                oids::TRUST_CHAIN => {
                    read.trust_chain = Some(OctetString::from_der(value).map_err(error)?.into_bytes().into_vec());
                }
                BasicConstraints::OID => read.constraints = Some(BasicConstraints::from_der(value).map_err(error)?),
                KeyUsage::OID => read.usage = Some(KeyUsage::from_der(value).map_err(error)?.0),
                ExtendedKeyUsage::OID => read.purposes = ExtendedKeyUsage::from_der(value).map_err(error)?.0,
                SubjectAltName::OID => read.names = SubjectAltName::from_der(value).map_err(error)?.0,
                SubjectKeyIdentifier::OID | AuthorityKeyIdentifier::OID => {}
                _ if extension.critical => {
                    return Err(IdentityError::broken(format!("it has an unknown critical extension, {oid}")));
                }
                _ => {}
            }
        }
        Ok(read)
    }
}

fn text(value: &[u8]) -> der::Result<String> {
    Ok(Utf8StringRef::from_der(value)?.as_str().to_owned())
}

fn timestamp(time: &Time) -> Timestamp {
    Timestamp::from_unix_secs(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
}
