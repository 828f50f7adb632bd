//! Keys and signatures: ECDSA on P-256 and P-384, the two curves that every HSM has.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey, VerificationAlgorithm,
};
use burgrave_types::{Secret, SpkiHash};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, SECP_256_R_1, SECP_384_R_1};
use der::asn1::UintRef;
use der::{Decode, Encode, Sequence};
use spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};

use crate::IdentityError;

/// A signature algorithm, with its curve and hash. Signatures are in DER (`Ecdsa-Sig-Value`, RFC 3279 section 2.2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum SignatureAlgorithm {
    /// ECDSA on P-256 with SHA-256: identities, operators, heads, attestation results.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384: the issuing CA.
    EcdsaP384Sha384,
}

impl SignatureAlgorithm {
    const fn curve(self) -> ObjectIdentifier {
        match self {
            Self::EcdsaP256Sha256 => SECP_256_R_1,
            Self::EcdsaP384Sha384 => SECP_384_R_1,
        }
    }

    /// Bytes of a coordinate, and of `r` and of `s`.
    const fn scalar_len(self) -> usize {
        match self {
            Self::EcdsaP256Sha256 => 32,
            Self::EcdsaP384Sha384 => 48,
        }
    }

    const fn key_name(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ECDSA P-256",
            Self::EcdsaP384Sha384 => "ECDSA P-384",
        }
    }

    fn verifier(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
            Self::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
        }
    }
}

/// An ECDSA P-256 key pair in memory: an agent's identity, a node's TLS or signing key, an operator's key.
pub struct IdentityKey {
    pair: EcdsaKeyPair,
    spki: Vec<u8>,
}

impl IdentityKey {
    /// A new key pair, from the cryptographic library's own random generator.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`] where the library fails.
    pub fn generate() -> Result<Self, IdentityError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING);
        Self::from_pair(pair.map_err(|_| IdentityError::Crypto("generating an identity key"))?)
    }

    /// The key pair in a PKCS#8 document (RFC 5208).
    ///
    /// # Errors
    /// [`IdentityError::Encoding`] where it holds no P-256 key.
    pub fn from_pkcs8(pkcs8: &Secret<Vec<u8>>) -> Result<Self, IdentityError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.expose());
        Self::from_pair(pair.map_err(|why| IdentityError::encoding("PKCS#8 private key", why))?)
    }

    /// The key pair as a PKCS#8 document.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`] where the library fails.
    pub fn to_pkcs8(&self) -> Result<Secret<Vec<u8>>, IdentityError> {
        let document = self.pair.to_pkcs8v1().map_err(|_| IdentityError::Crypto("encoding an identity key"))?;
        Ok(Secret::new(document.as_ref().to_vec()))
    }

    /// The public key: SubjectPublicKeyInfo in DER (RFC 5480).
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of [`IdentityKey::spki`].
    pub fn spki_hash(&self) -> SpkiHash {
        spki_hash(&self.spki)
    }

    /// Signs `message` (hashed with SHA-256); the signature in DER.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`] where the library fails.
    pub fn sign_der(&self, message: &[u8]) -> Result<Vec<u8>, IdentityError> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| IdentityError::Crypto("signing"))?.as_ref().to_vec())
    }

    /// Signs `message` (hashed with SHA-256); the signature as `r ‖ s`, 64 bytes (the form of JWS and PKCS#11).
    ///
    /// # Errors
    /// As [`IdentityKey::sign_der`].
    pub fn sign_fixed(&self, message: &[u8]) -> Result<Vec<u8>, IdentityError> {
        signature_fixed_from_der(SignatureAlgorithm::EcdsaP256Sha256, &self.sign_der(message)?)
    }

    fn from_pair(pair: EcdsaKeyPair) -> Result<Self, IdentityError> {
        let der: PublicKeyX509Der<'_> =
            pair.public_key().as_der().map_err(|_| IdentityError::Crypto("encoding a public key"))?;
        let spki = der.as_ref().to_vec();
        Ok(Self { pair, spki })
    }
}

impl std::fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdentityKey({})", self.spki_hash().short())
    }
}

/// SHA-256 of a SubjectPublicKeyInfo in DER.
pub fn spki_hash(spki: &[u8]) -> SpkiHash {
    SpkiHash::from_bytes(sha256(spki))
}

pub(crate) fn sha256(input: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, input).as_ref());
    hash
}

/// Checks that `spki` is a public key for `algorithm` in its one canonical form, so that a key has one hash.
///
/// # Errors
/// [`IdentityError::Key`] naming `what` the key belongs to.
pub fn check_spki(what: &'static str, spki: &[u8], algorithm: SignatureAlgorithm) -> Result<(), IdentityError> {
    point(spki, algorithm).map(|_| ()).ok_or(IdentityError::Key { what, expected: algorithm.key_name() })
}

/// Verifies a signature in DER over `message` (not yet hashed) by the key `spki`.
///
/// # Errors
/// [`IdentityError::Key`] where the key is not one for `algorithm`, [`IdentityError::Signature`] where it does not verify.
pub fn verify_signature(
    spki: &[u8],
    algorithm: SignatureAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), IdentityError> {
    verify_signature_of("message", spki, algorithm, message, signature)
}

/// As [`verify_signature`], naming `what` was signed in the error.
pub(crate) fn verify_signature_of(
    what: &'static str,
    spki: &[u8],
    algorithm: SignatureAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), IdentityError> {
    let point = point(spki, algorithm).ok_or(IdentityError::Key { what, expected: algorithm.key_name() })?;
    UnparsedPublicKey::new(algorithm.verifier(), point)
        .verify(message, signature)
        .map_err(|_| IdentityError::Signature(what))
}

/// `Ecdsa-Sig-Value` (RFC 3279 section 2.2.3).
#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// Turns `r ‖ s`, as PKCS#11 tokens and JWS give it, into DER.
///
/// # Errors
/// [`IdentityError::Encoding`] for another length than the algorithm's.
pub fn signature_der_from_fixed(algorithm: SignatureAlgorithm, fixed: &[u8]) -> Result<Vec<u8>, IdentityError> {
    let n = algorithm.scalar_len();
    let error = |why: String| IdentityError::encoding("signature", why);
    let (r, s) = fixed
        .split_at_checked(n)
        .filter(|(_, s)| s.len() == n)
        .ok_or_else(|| error(format!("{} bytes where {} are expected", fixed.len(), 2 * n)))?;
    let encode = || EcdsaSignature { r: UintRef::new(r)?, s: UintRef::new(s)? }.to_der();
    encode().map_err(|why| error(why.to_string()))
}

/// Turns a signature in DER into `r ‖ s`, each as wide as the curve.
///
/// # Errors
/// [`IdentityError::Encoding`] where it is no signature of the algorithm.
pub fn signature_fixed_from_der(algorithm: SignatureAlgorithm, der: &[u8]) -> Result<Vec<u8>, IdentityError> {
    let n = algorithm.scalar_len();
    let signature = EcdsaSignature::from_der(der).map_err(|why| IdentityError::encoding("signature", why))?;
    let mut fixed = Vec::with_capacity(2 * n);
    for scalar in [signature.r.as_bytes(), signature.s.as_bytes()] {
        let padding = n
            .checked_sub(scalar.len())
            .ok_or_else(|| IdentityError::encoding("signature", "a number is wider than the curve"))?;
        fixed.extend(std::iter::repeat_n(0, padding));
        fixed.extend_from_slice(scalar);
    }
    Ok(fixed)
}

/// The uncompressed point (SEC 1 section 2.3.3) of a key on the algorithm's curve.
fn point(spki: &[u8], algorithm: SignatureAlgorithm) -> Option<&[u8]> {
    let info = SubjectPublicKeyInfoRef::from_der(spki).ok()?;
    let (kind, curve) = info.algorithm.oids().ok()?;
    let point = info.subject_public_key.as_bytes()?;
    let canonical = kind == ID_EC_PUBLIC_KEY
        && curve == Some(algorithm.curve())
        && point.len() == 1 + 2 * algorithm.scalar_len()
        && point.first() == Some(&4);
    canonical.then_some(point)
}

/// The uncompressed point of an ECDSA P-256 key, 65 bytes.
pub(crate) fn point_of_p256(spki: &[u8]) -> Result<&[u8], IdentityError> {
    let algorithm = SignatureAlgorithm::EcdsaP256Sha256;
    point(spki, algorithm).ok_or(IdentityError::Key { what: "signing key", expected: algorithm.key_name() })
}

/// A SubjectPublicKeyInfo in DER over an uncompressed point on P-256.
pub(crate) fn spki_of_p256(point: &[u8]) -> Result<Vec<u8>, IdentityError> {
    let encode = || {
        let algorithm = spki::AlgorithmIdentifier { oid: ID_EC_PUBLIC_KEY, parameters: Some(SECP_256_R_1) };
        SubjectPublicKeyInfo { algorithm, subject_public_key: der::asn1::BitStringRef::from_bytes(point)? }.to_der()
    };
    encode().map_err(|why: der::Error| IdentityError::encoding("public key", why))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const P256: SignatureAlgorithm = SignatureAlgorithm::EcdsaP256Sha256;

    #[test]
    fn a_key_survives_its_pkcs8_form() {
        let key = IdentityKey::generate().unwrap();
        let again = IdentityKey::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
        assert_eq!(again.spki(), key.spki());
        verify_signature(key.spki(), P256, b"m", &again.sign_der(b"m").unwrap()).unwrap();
    }

    #[test]
    fn a_signature_by_another_key_or_over_other_bytes_is_refused() {
        let (key, other) = (IdentityKey::generate().unwrap(), IdentityKey::generate().unwrap());
        let signature = key.sign_der(b"m").unwrap();
        let refused = Err(IdentityError::Signature("message"));
        assert_eq!(verify_signature(other.spki(), P256, b"m", &signature), refused);
        assert_eq!(verify_signature(key.spki(), P256, b"n", &signature), refused);
        assert_eq!(verify_signature(key.spki(), P256, b"m", b""), refused);
    }

    #[test]
    fn a_p256_key_is_not_taken_for_p384() {
        let key = IdentityKey::generate().unwrap();
        let error = check_spki("CA key", key.spki(), SignatureAlgorithm::EcdsaP384Sha384).unwrap_err();
        assert_eq!(error, IdentityError::Key { what: "CA key", expected: "ECDSA P-384" });
    }

    #[test]
    fn a_key_has_one_form_and_so_one_hash() {
        let key = IdentityKey::generate().unwrap();
        let (head, coordinates) = key.spki().split_at(27);
        let (x, y) = coordinates.split_at(32);
        check_spki("key", key.spki(), P256).unwrap();
        // SEC 1 section 2.3.3 and X9.62: the hybrid form, then the compressed form, each well formed as DER.
        let hybrid = [&head[..26], &[6 | (y[31] & 1)], x, y].concat();
        let mut compressed = [&head[..26], &[2 | (y[31] & 1)], x].concat();
        (compressed[1], compressed[24]) = (57, 34);
        let trailing = [key.spki(), &[0]].concat();
        for other in [hybrid, compressed, trailing] {
            assert!(check_spki("key", &other, P256).is_err(), "{other:02x?}");
        }
    }

    #[test]
    fn a_signature_goes_from_der_to_fixed_and_back() {
        let key = IdentityKey::generate().unwrap();
        for n in 0u8..64 {
            let fixed = key.sign_fixed(&[n]).unwrap();
            assert_eq!(fixed.len(), 64);
            let der = signature_der_from_fixed(P256, &fixed).unwrap();
            verify_signature(key.spki(), P256, &[n], &der).unwrap();
        }
        assert!(signature_der_from_fixed(P256, &[1; 63]).is_err());
        let wide = signature_der_from_fixed(SignatureAlgorithm::EcdsaP384Sha384, &[1; 96]).unwrap();
        assert!(signature_fixed_from_der(P256, &wide).is_err());
    }

    #[test]
    fn a_key_shows_its_hash_only() {
        let key = IdentityKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("IdentityKey({})", key.spki_hash().short()));
    }

    proptest! {
        #[test]
        fn arbitrary_keys_and_signatures_never_panic(bytes: Vec<u8>, fixed in proptest::collection::vec(any::<u8>(), 64)) {
            prop_assert!(check_spki("key", &bytes, P256).is_err());
            let _ = signature_fixed_from_der(P256, &bytes);
            let der = signature_der_from_fixed(P256, &fixed).unwrap();
            prop_assert_eq!(signature_fixed_from_der(P256, &der).unwrap(), fixed);
        }
    }
}
