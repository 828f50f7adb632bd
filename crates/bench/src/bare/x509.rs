//! Signatures of certificates and revocation lists.

use anyhow::{Context, Result, bail};
use der::asn1::{AnyRef, BitStringRef};
use der::oid::ObjectIdentifier;
use der::{Decode, DecodePem, Encode, Sequence};
use spki::AlgorithmIdentifierRef;
use x509_cert::Certificate;

use super::{Algorithm, Signature};

const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// `SIGNED{}` of X.509.
#[derive(Sequence)]
struct Signed<'a> {
    content: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

/// The signature of a certificate or a revocation list (DER), by the key of its issuer.
pub(super) fn signature(der: &[u8], issuer: &[u8]) -> Result<Signature> {
    let signed = Signed::from_der(der)?;
    let algorithm = match signed.algorithm.oid {
        ECDSA_SHA256 => Algorithm::P256Der,
        ECDSA_SHA384 => Algorithm::P384Der,
        RSA_SHA256 => Algorithm::RsaSha256,
        RSA_PSS => Algorithm::RsaPssSha384,
        other => bail!("a certificate is signed with {other}, which is not known here"),
    };
    let signature = signed.signature.as_bytes().context("a signature of a number of bits that is no multiple of 8")?;
    Ok(Signature { algorithm, key: key(issuer)?, message: signed.content.to_der()?, signature: signature.to_vec() })
}

/// The signatures along a chain in which each certificate issued the one before it. The last one's own is not among them.
pub(super) fn chain(certificates: &[Vec<u8>]) -> Result<Vec<Signature>> {
    let pairs = certificates.windows(2).filter_map(|pair| match pair {
        [subject, issuer] => Some(signature(subject, issuer)),
        _ => None,
    });
    pairs.collect()
}

/// The subject's key of a certificate.
pub(super) fn key(certificate: &[u8]) -> Result<Vec<u8>> {
    let certificate = Certificate::from_der(certificate)?;
    Ok(certificate.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes().to_vec())
}

/// The certificates of a PEM file, in DER.
pub(super) fn pem(file: &[u8]) -> Result<Vec<Vec<u8>>> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = std::str::from_utf8(file)?.trim_matches(['\0', '\n', '\r', ' ']);
    let blocks = text.split_inclusive(END).map(str::trim_start).filter(|block| block.ends_with(END));
    blocks.map(|block| Ok(Certificate::from_pem(block)?.to_der()?)).collect()
}
