//! Issuing: what to sign, and the certificate from it and its signature.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use burgrave_types::{DomainClass, Random, SpiffeId, Timestamp, TrustDomain};
use const_oid::AssociatedOid;
use const_oid::db::rfc5912::{ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384};
use der::asn1::{BitString, GeneralizedTime, Ia5String, OctetString, UtcTime, Utf8StringRef};
use der::flagset::FlagSet;
use der::{Any, Decode, Encode, Sequence};
use rustls_pki_types::CertificateDer;
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::certificate::Version;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};

use super::{ProfileKind, oids};
use crate::key::sha256;
use crate::{IdentityError, SignatureAlgorithm, TrustChain, check_spki};

/// What a certificate is for, with what only that use needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The domain's issuing CA, self-signed; carries the chain that makes it trusted.
    IssuingCa {
        /// The chain, whose genesis names this CA's key.
        trust_chain: TrustChain,
    },
    /// A node's TLS certificate, server and client.
    Node {
        /// The node: [`SpiffeId::node`].
        id: SpiffeId,
        /// Host names under which browsers and clients reach it.
        dns_names: Vec<String>,
        /// Addresses under which they reach it.
        ip_addresses: Vec<IpAddr>,
    },
    /// A node's key for attestation results and grants.
    NodeSigning {
        /// The node: [`SpiffeId::node`].
        id: SpiffeId,
    },
    /// An instance of an enclave: X.509-SVID (SPIFFE X509-SVID sections 2 to 4), its one name a URI.
    Enclave {
        /// The enclave: [`burgrave_types::EnclaveName::spiffe_id`].
        id: SpiffeId,
    },
    /// An administrator's client certificate.
    Admin {
        /// The administrator: [`SpiffeId::admin`].
        id: SpiffeId,
    },
}

impl Profile {
    /// The kind alone.
    pub const fn kind(&self) -> ProfileKind {
        match self {
            Self::IssuingCa { .. } => ProfileKind::IssuingCa,
            Self::Node { .. } => ProfileKind::Node,
            Self::NodeSigning { .. } => ProfileKind::NodeSigning,
            Self::Enclave { .. } => ProfileKind::Enclave,
            Self::Admin { .. } => ProfileKind::Admin,
        }
    }

    const fn id(&self) -> Option<&SpiffeId> {
        match self {
            Self::IssuingCa { .. } => None,
            Self::Node { id, .. } | Self::NodeSigning { id } | Self::Enclave { id } | Self::Admin { id } => Some(id),
        }
    }
}

/// A certificate to be issued. All are signed by the issuing CA with ECDSA P-384 and SHA-384.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateTemplate {
    /// What it is for.
    pub profile: Profile,
    /// The domain's class.
    pub class: DomainClass,
    /// The subject's public key: P-256 (for the issuing CA itself P-384), SPKI in DER.
    pub subject_spki: Vec<u8>,
    /// The issuing CA's public key: P-384, SPKI in DER.
    pub issuer_spki: Vec<u8>,
    /// First instant of validity; certificates hold whole seconds, so it is rounded down.
    pub not_before: Timestamp,
    /// Last instant of validity, rounded down.
    pub not_after: Timestamp,
}

impl CertificateTemplate {
    /// The bytes for the CA to sign, under a new random serial number of 16 bytes.
    ///
    /// # Errors
    /// [`IdentityError::Key`] for keys of the wrong kind, [`IdentityError::ProfileBroken`] for a name that the profile
    /// may not bear or a validity that ends before it begins, [`IdentityError::Encoding`] for what DER cannot hold.
    pub fn to_be_signed(&self, random: &dyn Random) -> Result<Tbs, IdentityError> {
        let kind = self.profile.kind();
        let p384 = SignatureAlgorithm::EcdsaP384Sha384;
        check_spki("issuing CA's key", &self.issuer_spki, p384)?;
        if let Profile::IssuingCa { trust_chain } = &self.profile {
            let body = &trust_chain.genesis.body;
            if self.subject_spki != self.issuer_spki || body.issuing_ca != self.subject_spki || body.class != self.class
            {
                return Err(IdentityError::broken("the issuing CA's key and class must be those that genesis names"));
            }
        } else {
            check_spki("subject's key", &self.subject_spki, SignatureAlgorithm::EcdsaP256Sha256)?;
        }
        if let Some(id) = self.profile.id()
            && !kind.may_bear(id)
        {
            return Err(IdentityError::broken(format!("`{id}` is no name for the profile `{kind}`")));
        }
        let encoding = |why: der::Error| IdentityError::encoding("certificate to issue", why);
        let subject = match kind {
            ProfileKind::IssuingCa => ca_name(&self.issuer_spki),
            _ => Name::from_str(&format!("CN=Burgrave {kind}")),
        };
        let fields = TbsFields {
            algorithm: p384,
            issuer: ca_name(&self.issuer_spki).map_err(encoding)?,
            subject: subject.map_err(encoding)?,
            spki: &self.subject_spki,
            not_before: self.not_before,
            not_after: self.not_after,
            extensions: self.extensions().map_err(encoding)?,
        };
        fields.into_tbs(random)
    }

    pub(super) fn extensions(&self) -> der::Result<Vec<Extension>> {
        let kind = self.profile.kind();
        let mut list = common_extensions(kind, &self.subject_spki)?;
        list.push(extension(oids::DOMAIN_CLASS, false, &Utf8StringRef::new(self.class.as_str())?)?);
        let issuer_id = AuthorityKeyIdentifier {
            key_identifier: Some(OctetString::new(key_identifier(&self.issuer_spki))?),
            authority_cert_issuer: None,
            authority_cert_serial_number: None,
        };
        list.push(extension(AuthorityKeyIdentifier::OID, false, &issuer_id)?);
        let names = match &self.profile {
            Profile::IssuingCa { trust_chain } => {
                list.push(extension(oids::TRUST_CHAIN, false, &OctetString::new(trust_chain.encode())?)?);
                vec![uri(&root_uri(&trust_chain.genesis.body.trust_domain))?]
            }
            Profile::Node { id, dns_names, ip_addresses } => {
                let mut names = vec![uri(&id.to_string())?];
                for name in dns_names {
                    names.push(GeneralName::DnsName(Ia5String::new(name)?));
                }
                for address in ip_addresses {
                    names.push(GeneralName::IpAddress(OctetString::new(ip_bytes(*address))?));
                }
                names
            }
            Profile::NodeSigning { id } | Profile::Enclave { id } | Profile::Admin { id } => {
                vec![uri(&id.to_string())?]
            }
        };
        list.push(extension(SubjectAltName::OID, false, &SubjectAltName(names))?);
        Ok(list)
    }
}

/// The signed part of a certificate, waiting for its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tbs {
    bytes: Vec<u8>,
    algorithm: SignatureAlgorithm,
}

impl Tbs {
    /// The bytes to sign, with [`Tbs::algorithm`] (which hashes them).
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The algorithm that the certificate states.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The certificate with this signature (DER; see [`crate::signature_der_from_fixed`]). Does not verify it.
    ///
    /// # Errors
    /// [`IdentityError::Encoding`] where the signature is longer than DER can hold.
    pub fn assemble(&self, signature_der: &[u8]) -> Result<CertificateDer<'static>, IdentityError> {
        let assemble = || {
            Certificate {
                tbs: Any::from_der(&self.bytes)?,
                algorithm: algorithm_identifier(self.algorithm),
                signature: BitString::from_bytes(signature_der)?,
            }
            .to_der()
        };
        assemble().map(CertificateDer::from).map_err(|why| IdentityError::encoding("certificate", why))
    }
}

/// `Certificate` (RFC 5280 section 4.1) around a signed part whose bytes are kept as they are.
#[derive(Sequence)]
pub(super) struct Certificate {
    pub(super) tbs: Any,
    pub(super) algorithm: AlgorithmIdentifierOwned,
    pub(super) signature: BitString,
}

/// `TBSCertificate` (RFC 5280 section 4.1), version 3, without the unique ids that nobody uses.
#[derive(Sequence)]
struct TbsCertificate {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: Version,
    serial_number: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: Validity,
    subject: Name,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// What differs between certificates that are signed.
pub(super) struct TbsFields<'a> {
    pub(super) algorithm: SignatureAlgorithm,
    pub(super) issuer: Name,
    pub(super) subject: Name,
    pub(super) spki: &'a [u8],
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) extensions: Vec<Extension>,
}

impl TbsFields<'_> {
    pub(super) fn into_tbs(self, random: &dyn Random) -> Result<Tbs, IdentityError> {
        if self.not_after < self.not_before {
            return Err(IdentityError::broken("its validity ends before it begins"));
        }
        // RFC 5280 section 4.1.2.2: positive, at most 20 bytes. The first bits 01 keep it positive and at full length.
        let mut serial = [0; 16];
        random.fill(&mut serial);
        serial[0] = serial[0] & 0x3f | 0x40;
        let algorithm = self.algorithm;
        let encode = || {
            TbsCertificate {
                version: Version::V3,
                serial_number: SerialNumber::new(&serial)?,
                signature: algorithm_identifier(algorithm),
                issuer: self.issuer,
                validity: Validity::new(time(self.not_before)?, time(self.not_after)?),
                subject: self.subject,
                subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(self.spki)?,
                extensions: self.extensions,
            }
            .to_der()
        };
        let bytes = encode().map_err(|why| IdentityError::encoding("certificate to issue", why))?;
        Ok(Tbs { bytes, algorithm })
    }
}

/// The extensions that every certificate of ours has.
pub(super) fn common_extensions(kind: ProfileKind, spki: &[u8]) -> der::Result<Vec<Extension>> {
    let is_ca = kind == ProfileKind::IssuingCa;
    let constraints = BasicConstraints { ca: is_ca, path_len_constraint: is_ca.then_some(0) };
    let usage: FlagSet<KeyUsages> =
        if is_ca { KeyUsages::KeyCertSign | KeyUsages::CRLSign } else { KeyUsages::DigitalSignature.into() };
    let mut list = vec![
        extension(BasicConstraints::OID, true, &constraints)?,
        extension(KeyUsage::OID, true, &KeyUsage(usage))?,
        extension(SubjectKeyIdentifier::OID, false, &OctetString::new(key_identifier(spki))?)?,
        extension(oids::PROFILE, false, &Utf8StringRef::new(kind.as_str())?)?,
    ];
    if !kind.purposes().is_empty() {
        list.push(extension(ExtendedKeyUsage::OID, false, &ExtendedKeyUsage(kind.purposes().to_vec()))?);
    }
    Ok(list)
}

/// The issuing CA's name: the start of its key's hash tells two CAs apart.
pub(super) fn ca_name(ca_spki: &[u8]) -> der::Result<Name> {
    Name::from_str(&format!("CN=Burgrave issuing CA {}", crate::spki_hash(ca_spki).short()))
}

/// The URI of a trust domain as a signing certificate bears it (SPIFFE X509-SVID section 2).
pub(super) fn root_uri(domain: &TrustDomain) -> String {
    format!("spiffe://{domain}")
}

pub(super) const fn algorithm_oid(algorithm: SignatureAlgorithm) -> const_oid::ObjectIdentifier {
    match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => ECDSA_WITH_SHA_256,
        SignatureAlgorithm::EcdsaP384Sha384 => ECDSA_WITH_SHA_384,
    }
}

fn algorithm_identifier(algorithm: SignatureAlgorithm) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: algorithm_oid(algorithm), parameters: None }
}

pub(super) fn extension(
    oid: const_oid::ObjectIdentifier,
    critical: bool,
    value: &impl Encode,
) -> der::Result<Extension> {
    Ok(Extension { extn_id: oid, critical, extn_value: OctetString::new(value.to_der()?)? })
}

fn uri(text: &str) -> der::Result<GeneralName> {
    Ok(GeneralName::UniformResourceIdentifier(Ia5String::new(text)?))
}

fn ip_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A key identifier: SHA-256 of the SPKI (RFC 7093 section 2, method 4).
fn key_identifier(spki: &[u8]) -> Vec<u8> {
    sha256(spki).to_vec()
}

/// UTCTime before 2050, GeneralizedTime from then on (RFC 5280 section 4.1.2.5).
fn time(at: Timestamp) -> der::Result<Time> {
    const YEAR_2050: i64 = 2_524_608_000;
    let since_epoch = Duration::from_secs(u64::try_from(at.unix_secs()).unwrap_or(0));
    if at.unix_secs() < YEAR_2050 {
        UtcTime::from_unix_duration(since_epoch).map(Time::UtcTime)
    } else {
        GeneralizedTime::from_unix_duration(since_epoch).map(Time::GeneralTime)
    }
}

#[cfg(test)]
impl Tbs {
    /// The same with `from` replaced by `to`, of equal length: what an issuer that keeps no rule could sign.
    pub(crate) fn replace(&self, from: &[u8], to: &[u8]) -> Self {
        assert_eq!(from.len(), to.len());
        let mut bytes = self.bytes.clone();
        let at: Vec<_> = bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(at, _)| at).collect();
        assert!(!at.is_empty(), "nothing to replace");
        at.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
        Self { bytes, algorithm: self.algorithm }
    }
}
