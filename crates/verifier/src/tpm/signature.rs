//! Signatures of quotes, and keys to verify them with (TPM 2.0 Library, part 2).

use std::sync::OnceLock;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, VerificationAlgorithm,
};

use super::structures::{Curve, ECDSA, Hash, Key, RSAPSS, RSASSA, pad};
use crate::Text;
use crate::reader::Reader;

/// A `TPMT_SIGNATURE` (part 2, section 11.3.4), read where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Signature<'a> {
    scheme: u16,
    /// The hash that was signed, which is also that of a quote's PCR digest.
    pub(crate) hash: Hash,
    /// The number of an RSA signature and nothing; r and s of an elliptic one.
    parts: [&'a [u8]; 2],
}

/// Bytes of the longest elliptic signature: r and s of P-384.
const ELLIPTIC: usize = 96;

impl<'a> Signature<'a> {
    /// Reads a signature, with nothing after it. `None` for anything else and for algorithms that are not known.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let scheme = reader.u16_be()?;
        let hash = Hash::from_id(reader.u16_be()?)?;
        let parts = match scheme {
            RSASSA | RSAPSS => [reader.sized()?, &[]],
            ECDSA => [reader.sized()?, reader.sized()?],
            _ => return None,
        };
        reader.end(Self { scheme, hash, parts })
    }

    /// A signature that comes as the bare number: RSASSA with SHA-256.
    pub(crate) fn bare_rsassa(bytes: &'a [u8]) -> Self {
        Self { scheme: RSASSA, hash: Hash::Sha256, parts: [bytes, &[]] }
    }

    /// The scheme's name, for people.
    pub(crate) fn scheme(&self) -> &'static str {
        match self.scheme {
            RSASSA => "RSASSA",
            RSAPSS => "RSAPSS",
            _ => "ECDSA",
        }
    }

    /// What [`Signature::verifies`] demands, for people.
    pub(crate) fn demand(&self) -> &'static str {
        match self.scheme {
            RSASSA => "a RSASSA signature of the AK over the quote",
            RSAPSS => "a RSAPSS signature of the AK over the quote",
            _ => "a ECDSA signature of the AK over the quote",
        }
    }

    /// Scheme and hash, for people.
    pub(crate) fn algorithm_name(&self) -> Text {
        match (self.scheme, self.hash) {
            (RSASSA, Hash::Sha256) => "RSASSA with sha256".into(),
            (ECDSA, Hash::Sha256) => "ECDSA with sha256".into(),
            (_, hash) => format!("{} with {}", self.scheme(), hash.as_str()).into(),
        }
    }

    /// The algorithm for this signature under that key; `None` where they do not fit or the hash is not taken.
    pub(crate) fn algorithm(&self, key: &Key) -> Option<&'static dyn VerificationAlgorithm> {
        match (key, self.scheme, self.hash) {
            (Key::Rsa { .. }, RSASSA, Hash::Sha256) => Some(&RSA_PKCS1_2048_8192_SHA256),
            (Key::Rsa { .. }, RSASSA, Hash::Sha384) => Some(&RSA_PKCS1_2048_8192_SHA384),
            (Key::Rsa { .. }, RSASSA, Hash::Sha512) => Some(&RSA_PKCS1_2048_8192_SHA512),
            (Key::Rsa { .. }, RSAPSS, Hash::Sha256) => Some(&RSA_PSS_2048_8192_SHA256),
            (Key::Rsa { .. }, RSAPSS, Hash::Sha384) => Some(&RSA_PSS_2048_8192_SHA384),
            (Key::Rsa { .. }, RSAPSS, Hash::Sha512) => Some(&RSA_PSS_2048_8192_SHA512),
            (Key::Ecc { curve: Curve::P256, .. }, ECDSA, Hash::Sha256) => Some(&ECDSA_P256_SHA256_FIXED),
            (Key::Ecc { curve: Curve::P384, .. }, ECDSA, Hash::Sha384) => Some(&ECDSA_P384_SHA384_FIXED),
            _ => None,
        }
    }

    /// Whether `key` signed `message`.
    pub(crate) fn verifies(&self, key: &VerifyingKey, message: &[u8]) -> bool {
        let made = key.made.get_or_init(|| {
            let (algorithm, public) = (self.algorithm(&key.key)?, key.key.subject_public_key()?);
            Some(((self.scheme, self.hash), ParsedPublicKey::new(algorithm, public).ok()?))
        });
        match made {
            Some((of, parsed)) if *of == (self.scheme, self.hash) => self.verifies_parsed(&key.key, parsed, message),
            // A key may sign by several schemes. Only the first is remembered, and none that does not fit.
            _ => {
                let (Some(algorithm), Some(public)) = (self.algorithm(&key.key), key.key.subject_public_key()) else {
                    return false;
                };
                ParsedPublicKey::new(algorithm, public)
                    .is_ok_and(|parsed| self.verifies_parsed(&key.key, &parsed, message))
            }
        }
    }

    fn verifies_parsed(&self, key: &Key, parsed: &ParsedPublicKey, message: &[u8]) -> bool {
        let [first, second] = self.parts;
        match key {
            Key::Rsa { .. } => parsed.verify_sig(message, first).is_ok(),
            Key::Ecc { curve, .. } => {
                let width = curve.length();
                let mut both = [0; ELLIPTIC];
                let Some(signature) = both.get_mut(..2 * width) else { return false };
                let (r, s) = signature.split_at_mut(width);
                pad(first, r).is_some() && pad(second, s).is_some() && parsed.verify_sig(message, signature).is_ok()
            }
        }
    }
}

/// A key, and what was made of it to verify with.
#[derive(Debug)]
pub(crate) struct VerifyingKey {
    pub(crate) key: Key,
    /// For which scheme and hash; nothing where the first signature did not fit the key.
    made: OnceLock<Option<((u16, Hash), ParsedPublicKey)>>,
}

impl From<Key> for VerifyingKey {
    fn from(key: Key) -> Self {
        Self { key, made: OnceLock::new() }
    }
}
