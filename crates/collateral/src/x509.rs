//! What the store has to know of a certificate or a revocation list: whose it is, its number, when it ends, and whether an
//! AMD root signed it (RFC 5280).
//!
//! This decides what is kept, never what passes: whatever is kept is judged again, with every rule, by `burgrave-verifier`
//! each time it is used.

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use burgrave_types::Timestamp;
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::asn1::{AnyRef, BitStringRef, Ia5StringRef};
use der::{Decode, Encode, Sequence};
use spki::AlgorithmIdentifierRef;
use x509_cert::crl::CertificateList;
use x509_cert::ext::pkix::CrlNumber;
use x509_cert::time::Time;

use crate::floors::{Mark, Number};

/// `id-RSASSA-PSS` (RFC 8017, appendix C).
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// AMD's arc for the extensions of a VEK certificate (AMD 57230, table "VCEK certificate extensions").
const PRODUCT: &str = "1.3.6.1.4.1.3704.1.2";
const HW_ID: &str = "1.3.6.1.4.1.3704.1.4";
const CSP_ID: &str = "1.3.6.1.4.1.3704.1.5";
/// fmc, bl, tee, snp, ucode: the order of [`VekFacts::svn`].
const SVN: [&str; 5] = [
    "1.3.6.1.4.1.3704.1.3.9",
    "1.3.6.1.4.1.3704.1.3.1",
    "1.3.6.1.4.1.3704.1.3.2",
    "1.3.6.1.4.1.3704.1.3.3",
    "1.3.6.1.4.1.3704.1.3.8",
];

/// A revocation list's.
pub(crate) struct CrlFacts {
    pub(crate) issuer: String,
    pub(crate) mark: Mark,
    /// A list that names no next one has ended when it was made.
    pub(crate) ends: Timestamp,
}

/// A certificate's.
pub(crate) struct CertificateFacts {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) vek: Option<VekFacts>,
}

/// What the extensions of a VEK certificate say.
pub(crate) struct VekFacts {
    /// E.g. `Milan-B0`.
    pub(crate) product: String,
    /// The chip of a VCEK.
    pub(crate) hw_id: Option<Vec<u8>>,
    /// fmc (0 where the family has none), bl, tee, snp, ucode.
    pub(crate) svn: [u8; 5],
}

/// Reads one list in DER.
pub(crate) fn read_crl(der: &[u8]) -> Option<CrlFacts> {
    let list: CertificateList = CertificateList::from_der(der).ok()?;
    let list = list.tbs_cert_list;
    let extensions = list.crl_extensions.as_deref().unwrap_or(&[]);
    let number = extensions.iter().find(|extension| extension.extn_id == CrlNumber::OID);
    let number = number.and_then(|extension| CrlNumber::from_der(extension.extn_value.as_bytes()).ok());
    let number = Number::from_be_bytes(number.as_ref().map_or(&[], |number| number.0.as_bytes()));
    let issued = timestamp(&list.this_update);
    Some(CrlFacts {
        issuer: list.issuer.to_string(),
        mark: Mark { number, issued },
        ends: list.next_update.as_ref().map_or(issued, timestamp),
    })
}

/// Reads one certificate in DER.
pub(crate) fn read_certificate(der: &[u8]) -> Option<CertificateFacts> {
    let certificate = x509_cert::Certificate::from_der(der).ok()?;
    let content = certificate.tbs_certificate();
    Some(CertificateFacts {
        subject: content.subject().to_string(),
        issuer: content.issuer().to_string(),
        from: timestamp(&content.validity().not_before),
        to: timestamp(&content.validity().not_after),
        vek: read_vek(content.extensions().map_or(&[], Vec::as_slice)),
    })
}

fn read_vek(extensions: &[x509_cert::ext::Extension]) -> Option<VekFacts> {
    let value = |oid: &str| {
        let oid = ObjectIdentifier::new(oid).ok()?;
        extensions.iter().find(|extension| extension.extn_id == oid).map(|extension| extension.extn_value.as_bytes())
    };
    let (hw_id, csp_id) = (value(HW_ID), value(CSP_ID));
    if hw_id.is_some() == csp_id.is_some() {
        return None;
    }
    let product = Ia5StringRef::from_der(value(PRODUCT)?).ok()?.as_str().to_owned();
    let mut svn = [0; 5];
    for (component, oid) in svn.iter_mut().zip(SVN) {
        *component = value(oid).map_or(Some(0), |der| u8::from_der(der).ok())?;
    }
    Some(VekFacts { product, hw_id: hw_id.map(<[u8]>::to_vec), svn })
}

/// Whether the key of the certificate `issuer` signed a certificate or a list with RSASSA-PSS and SHA-384, as AMD does.
pub(crate) fn is_pss_signed(der: &[u8], issuer: &[u8]) -> bool {
    let Ok(issuer) = x509_cert::Certificate::from_der(issuer) else { return false };
    let key = issuer.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    let Ok(signed) = Signed::from_der(der) else { return false };
    let (Ok(content), Some(signature)) = (signed.content.to_der(), signed.signature.as_bytes()) else { return false };
    signed.algorithm.oid == RSASSA_PSS
        && UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key).verify(&content, signature).is_ok()
}

/// `SIGNED{}` of X.509.
#[derive(Sequence)]
struct Signed<'a> {
    content: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

fn timestamp(time: &Time) -> Timestamp {
    Timestamp::from_unix_secs(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
}
