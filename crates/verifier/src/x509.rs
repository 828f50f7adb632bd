//! Certificates and revocation lists as they came, with what the verifiers ask of them (RFC 5280).
//!
//! AMD's chain is verified here, by hand: it has the fixed shape root → intermediate → key, and writes the RSA-PSS
//! parameters in a way that `webpki` does not take. General chains (a TPM maker's) go through `webpki`.

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use burgrave_types::Timestamp;
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::asn1::{AnyRef, BitStringRef, PrintableStringRef, Utf8StringRef};
use der::{Decode, Encode, Sequence};
use spki::AlgorithmIdentifierRef;
use x509_cert::crl::CertificateList;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::IssuingDistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    BasicConstraints, CrlDistributionPoints, CrlNumber, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
};
use x509_cert::time::Time;

/// `id-RSASSA-PSS` (RFC 8017, appendix C).
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
/// `tcg-at-tpmManufacturer`.
const TPM_MANUFACTURER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.1");
/// `id-ce-issuingDistributionPoint` (RFC 5280, section 5.2.5).
const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
/// `id-ecPublicKey` (RFC 5480, section 2.1.1).
pub(crate) const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `secp384r1` (RFC 5480, section 2.1.1.1).
pub(crate) const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// `secp256r1` (RFC 5480, section 2.1.1.1).
pub(crate) const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// `SIGNED{}` of X.509: what is signed, as it came, and the signature.
#[derive(Sequence)]
struct Signed<'a> {
    content: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

/// A certificate, parsed once; signatures are checked over the bytes that came.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: Vec<u8>,
    parsed: x509_cert::Certificate,
}

impl Certificate {
    /// Reads one certificate in DER, with nothing after it.
    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        let parsed = x509_cert::Certificate::from_der(der).ok()?;
        Some(Self { der: der.to_vec(), parsed })
    }

    /// The certificate in DER, as it came.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The subject's distinguished name, for people.
    pub fn subject(&self) -> String {
        self.parsed.tbs_certificate().subject().to_string()
    }

    /// The issuer's distinguished name, for people.
    pub fn issuer(&self) -> String {
        self.parsed.tbs_certificate().issuer().to_string()
    }

    /// The subject's common name, where there is exactly one text of that kind.
    pub(crate) fn common_name(&self) -> Option<String> {
        self.parsed.tbs_certificate().subject().common_name().ok()?.map(|name| name.value().into_owned())
    }

    /// Whether the issuer that it names is the subject of `issuer`. Names alone prove nothing.
    pub fn is_issued_by_name_of(&self, issuer: &Self) -> bool {
        self.parsed.tbs_certificate().issuer() == issuer.parsed.tbs_certificate().subject()
    }

    pub(crate) fn serial(&self) -> &[u8] {
        self.parsed.tbs_certificate().serial_number().as_bytes()
    }

    /// First and last instant of validity.
    pub fn validity(&self) -> (Timestamp, Timestamp) {
        let validity = self.parsed.tbs_certificate().validity();
        (timestamp(&validity.not_before), timestamp(&validity.not_after))
    }

    pub(crate) fn is_valid_at(&self, at: Timestamp) -> bool {
        let (from, to) = self.validity();
        from <= at && at <= to
    }

    /// The algorithm of the subject's key and, for a named curve, which.
    pub(crate) fn key_algorithm(&self) -> (ObjectIdentifier, Option<ObjectIdentifier>) {
        let algorithm = &self.parsed.tbs_certificate().subject_public_key_info().algorithm;
        let curve = algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        (algorithm.oid, curve)
    }

    /// The subject's key: a point for EC keys, an `RSAPublicKey` for RSA keys.
    pub(crate) fn key(&self) -> &[u8] {
        self.parsed.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes()
    }

    pub(crate) fn extensions(&self) -> &[Extension] {
        self.parsed.tbs_certificate().extensions().map_or(&[], Vec::as_slice)
    }

    /// The value of the extension `oid`; `None` where it is absent or stands twice.
    pub(crate) fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let mut found = self.extensions().iter().filter(|extension| extension.extn_id == oid);
        match (found.next(), found.next()) {
            (Some(extension), None) => Some(extension.extn_value.as_bytes()),
            _ => None,
        }
    }

    /// The addresses at which the list that speaks of this certificate is published, as its issuer wrote them (RFC 5280,
    /// section 4.2.1.13); none where it names none, or one that cannot be read.
    pub fn distribution_points(&self) -> Vec<String> {
        let points = self.parsed.tbs_certificate().get_extension::<CrlDistributionPoints>();
        let Ok(Some((_, points))) = points else { return Vec::new() };
        let names = points.0.into_iter().filter_map(|point| match point.distribution_point {
            Some(DistributionPointName::FullName(names)) => Some(names),
            _ => None,
        });
        let addresses = names.flatten().filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(address) => Some(address.as_str().to_owned()),
            _ => None,
        });
        addresses.collect()
    }

    /// Whether the certificate may sign certificates, with at most `below` further authorities beneath it.
    pub fn is_authority(&self, below: u8) -> bool {
        let constraints = self.parsed.tbs_certificate().get_extension::<BasicConstraints>();
        let usage = self.parsed.tbs_certificate().get_extension::<KeyUsage>();
        let ca = matches!(constraints, Ok(Some((_, found))) if found.ca
            && found.path_len_constraint.is_none_or(|length| length >= below));
        ca && matches!(usage, Ok(Some((_, usage))) if usage.key_cert_sign())
    }

    /// Whether the certificate states this usage of its key. One that states none allows none.
    pub(crate) fn allows(&self, usage: KeyUsages) -> bool {
        let found = self.parsed.tbs_certificate().get_extension::<KeyUsage>();
        matches!(found, Ok(Some((_, KeyUsage(found)))) if found.contains(usage))
    }

    /// Whether the certificate states one of these purposes of its key (RFC 5280, section 4.2.1.12). One that states none is for
    /// none of them.
    pub(crate) fn is_for(&self, purposes: &[ObjectIdentifier]) -> bool {
        let found = self.parsed.tbs_certificate().get_extension::<ExtendedKeyUsage>();
        matches!(found, Ok(Some((_, found))) if found.0.iter().any(|purpose| purposes.contains(purpose)))
    }

    /// The TPM's maker, as an EK certificate's alternative name has it: `id:` and the TCG vendor id in hexadecimal (TCG EK
    /// Credential Profile, section 3.2.9).
    pub(crate) fn tpm_manufacturer(&self) -> Option<String> {
        let (_, names) = self.parsed.tbs_certificate().get_extension::<SubjectAltName>().ok()??;
        let directory = names.0.iter().filter_map(|name| match name {
            GeneralName::DirectoryName(name) => Some(name),
            _ => None,
        });
        let mut attributes = directory.flat_map(|name| name.iter());
        let maker = attributes.find(|attribute| attribute.oid == TPM_MANUFACTURER)?;
        let utf8 = maker.value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.as_str().to_owned());
        // So Nuvoton writes it.
        utf8.or_else(|| maker.value.decode_as::<PrintableStringRef<'_>>().ok().map(|text| text.as_str().to_owned()))
    }

    /// Whether the certificate calls itself an authority.
    pub(crate) fn claims_authority(&self) -> bool {
        let constraints = self.parsed.tbs_certificate().get_extension::<BasicConstraints>();
        !matches!(constraints, Ok(None)) && !matches!(constraints, Ok(Some((_, found))) if !found.ca)
    }

    /// Whether any critical extension but the two that are looked at here stands in it.
    pub(crate) fn has_unknown_critical_extension(&self) -> bool {
        let known = [BasicConstraints::OID, KeyUsage::OID];
        self.extensions().iter().any(|extension| extension.critical && !known.contains(&extension.extn_id))
    }

    /// Whether `issuer`'s RSA key signed this certificate with RSASSA-PSS and SHA-384 (AMD's algorithm).
    pub fn is_pss_signed_by(&self, issuer: &Self) -> bool {
        self.parsed.tbs_certificate().signature() == self.parsed.signature_algorithm()
            && is_pss_signed(&self.der, issuer)
    }

    /// Whether `issuer`'s key signed this certificate, by any algorithm that `webpki` takes: ECDSA, Ed25519, RSA from 2048 bits.
    pub(crate) fn is_signed_by(&self, issuer: &Self) -> bool {
        self.parsed.tbs_certificate().signature() == self.parsed.signature_algorithm() && is_signed(&self.der, issuer)
    }

    /// Whether `issuer`'s key signed this certificate with ECDSA.
    pub fn is_ecdsa_signed_by(&self, issuer: &Self) -> bool {
        self.parsed.tbs_certificate().signature() == self.parsed.signature_algorithm()
            && is_ecdsa_signed(&self.der, issuer)
    }
}

/// A revocation list, parsed once.
#[derive(Clone, Debug)]
pub struct Crl {
    der: Vec<u8>,
    parsed: CertificateList,
}

impl Crl {
    /// Reads one list in DER, with nothing after it.
    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        let parsed = CertificateList::from_der(der).ok()?;
        Some(Self { der: der.to_vec(), parsed })
    }

    /// The list in DER, as it came.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// As [`Certificate::is_issued_by_name_of`].
    pub fn is_issued_by_name_of(&self, issuer: &Certificate) -> bool {
        self.parsed.tbs_cert_list.issuer == *issuer.parsed.tbs_certificate().subject()
    }

    /// When it was made and when the next one is due. Verifications take no list that names no next one.
    pub fn validity(&self) -> (Timestamp, Option<Timestamp>) {
        let list = &self.parsed.tbs_cert_list;
        (timestamp(&list.this_update), list.next_update.as_ref().map(timestamp))
    }

    pub(crate) fn revokes(&self, certificate: &Certificate) -> bool {
        let revoked = self.parsed.tbs_cert_list.revoked_certificates.as_deref().unwrap_or(&[]);
        revoked.iter().any(|entry| entry.serial_number.as_bytes() == certificate.serial())
    }

    /// Whether it lists all that its issuer revoked: no delta, not some kinds of certificates or reasons alone, nothing of other
    /// issuers. A list that only says where it is published is whole (RFC 5280, section 5.2.5), though the extension that says
    /// so is critical, which any other must not be.
    pub fn is_whole(&self) -> bool {
        let extensions = self.parsed.tbs_cert_list.crl_extensions.as_deref().unwrap_or(&[]);
        extensions.iter().all(|extension| match extension.extn_id {
            ISSUING_DISTRIBUTION_POINT => IssuingDistributionPoint::from_der(extension.extn_value.as_bytes())
                .is_ok_and(|point| {
                    !point.only_contains_user_certs
                        && !point.only_contains_ca_certs
                        && !point.only_contains_attribute_certs
                        && !point.indirect_crl
                        && point.only_some_reasons.is_none()
                }),
            _ => !extension.critical,
        })
    }

    /// The issuer's distinguished name, for people.
    pub fn issuer(&self) -> String {
        self.parsed.tbs_cert_list.issuer.to_string()
    }

    /// The list's number (RFC 5280, section 5.2.3), big endian without leading zeros; empty where it has none.
    pub fn number(&self) -> Vec<u8> {
        let extensions = self.parsed.tbs_cert_list.crl_extensions.as_deref().unwrap_or(&[]);
        let number = extensions.iter().find(|extension| extension.extn_id == CrlNumber::OID);
        let number = number.and_then(|extension| CrlNumber::from_der(extension.extn_value.as_bytes()).ok());
        number
            .map(|number| number.0.as_bytes().iter().copied().skip_while(|byte| *byte == 0).collect())
            .unwrap_or_default()
    }

    /// As [`Certificate::is_signed_by`].
    pub(crate) fn is_signed_by(&self, issuer: &Certificate) -> bool {
        self.parsed.tbs_cert_list.signature == self.parsed.signature_algorithm && is_signed(&self.der, issuer)
    }

    /// As [`Certificate::is_ecdsa_signed_by`].
    pub fn is_ecdsa_signed_by(&self, issuer: &Certificate) -> bool {
        self.parsed.tbs_cert_list.signature == self.parsed.signature_algorithm && is_ecdsa_signed(&self.der, issuer)
    }

    /// As [`Certificate::is_pss_signed_by`].
    pub fn is_pss_signed_by(&self, issuer: &Certificate) -> bool {
        self.parsed.tbs_cert_list.signature == self.parsed.signature_algorithm && is_pss_signed(&self.der, issuer)
    }
}

/// By the algorithm that both the issuer's key and the signature name; what neither `webpki` nor the library knows does not verify.
fn is_signed(der: &[u8], issuer: &Certificate) -> bool {
    let Ok(signed) = Signed::from_der(der) else { return false };
    let (Ok(content), Some(signature)) = (signed.content.to_der(), signed.signature.as_bytes()) else { return false };
    let key = &issuer.parsed.tbs_certificate().subject_public_key_info().algorithm;
    let (Ok(of_key), Ok(of_signature)) = (key.to_der(), signed.algorithm.to_der()) else { return false };
    let named = |whole: &[u8], fields: &[u8]| AnyRef::from_der(whole).is_ok_and(|sequence| sequence.value() == fields);
    webpki::ALL_VERIFICATION_ALGS.iter().any(|algorithm| {
        named(&of_key, &algorithm.public_key_alg_id())
            && named(&of_signature, &algorithm.signature_alg_id())
            && algorithm.verify_signature(issuer.key(), &content, signature).is_ok()
    })
}

/// RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes, whatever the parameters in the structure say: what
/// was signed otherwise does not verify.
fn is_pss_signed(der: &[u8], issuer: &Certificate) -> bool {
    let Ok(signed) = Signed::from_der(der) else { return false };
    let (Ok(content), Some(signature)) = (signed.content.to_der(), signed.signature.as_bytes()) else { return false };
    signed.algorithm.oid == RSASSA_PSS
        && UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, issuer.key()).verify(&content, signature).is_ok()
}

/// As [`is_signed`], by an issuer with a key on a curve alone.
fn is_ecdsa_signed(der: &[u8], issuer: &Certificate) -> bool {
    issuer.key_algorithm().0 == EC_PUBLIC_KEY && is_signed(der, issuer)
}

pub(crate) fn timestamp(time: &Time) -> Timestamp {
    let secs = time.to_unix_duration().as_secs();
    Timestamp::from_unix_secs(i64::try_from(secs).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_by_a_p384_key_with_sha256_is_taken_as_nvidia_signs_its_own() {
        let issuer = Certificate::from_der(include_bytes!("../testdata/lists/p384-issuer.der")).unwrap();
        let der = include_bytes!("../testdata/lists/p384-sha256.crl");
        let list = Crl::from_der(der).unwrap();
        assert!(list.is_issued_by_name_of(&issuer) && list.is_whole() && list.is_ecdsa_signed_by(&issuer));
        assert_eq!(list.number(), [1]);
        let mut altered = der.to_vec();
        *altered.last_mut().unwrap() ^= 1;
        assert!(!Crl::from_der(&altered).is_some_and(|list| list.is_ecdsa_signed_by(&issuer)));
    }

    #[test]
    fn a_certificate_says_where_the_list_that_speaks_of_it_is() {
        let chain = include_bytes!("../testdata/nvidia-gpu/hopper-sample/chain.pem");
        let crate::Endorsement::Certificates(chain) = crate::Endorsement::read(chain) else { panic!("no chain") };
        let found: Vec<_> = chain.iter().map(|one| one.distribution_points().join(" ")).collect();
        let (root, family) =
            ("http://crl.ndis.nvidia.com/crl/l1-root.crl", "http://crl.ndis.nvidia.com/crl/l2-gh100.crl");
        assert_eq!(found, ["", "", family, root, ""]);
    }
}
