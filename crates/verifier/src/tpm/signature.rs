//! Signatures of quotes, and keys to verify them with (TPM 2.0 Library, part 2).

use std::sync::OnceLock;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA512_ASN1, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPssSaltLength, VerificationAlgorithm,
};
use der::Encode;
use der::asn1::UintRef;

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

/// RSAPSS with a salt that fills what the key leaves: so TPM 2.0 has it (part 1, annex B.7), while a TPM in FIPS mode and newer
/// revisions take one as long as the digest. Neither structure nor signature says which.
static LONGEST_SALT: [RsaParameters; 3] = [
    RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Max),
    RSA_PSS_2048_8192_SHA384.with_pss_salt_length(RsaPssSaltLength::Max),
    RSA_PSS_2048_8192_SHA512.with_pss_salt_length(RsaPssSaltLength::Max),
];

/// r and s as ASN.1 has them (RFC 3279, section 2.2.3).
#[derive(der::Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

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
            RSAPSS => {
                "a RSAPSS signature of the AK over the quote, its salt as long as the digest or as the key allows"
            }
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
            // The scheme's hash is free (part 2, section 11.2.1.4).
            (Key::Ecc { curve: Curve::P256, .. }, ECDSA, Hash::Sha384) => Some(&ECDSA_P256_SHA384_ASN1),
            (Key::Ecc { curve: Curve::P256, .. }, ECDSA, Hash::Sha512) => Some(&ECDSA_P256_SHA512_ASN1),
            (Key::Ecc { curve: Curve::P384, .. }, ECDSA, Hash::Sha256) => Some(&ECDSA_P384_SHA256_ASN1),
            (Key::Ecc { curve: Curve::P384, .. }, ECDSA, Hash::Sha512) => Some(&ECDSA_P384_SHA512_ASN1),
            _ => None,
        }
    }

    /// A second algorithm that the signature may be of, which nothing in it tells from [`Signature::algorithm`].
    fn other_algorithm(&self) -> Option<&'static dyn VerificationAlgorithm> {
        let [sha256, sha384, sha512] = &LONGEST_SALT;
        match (self.scheme, self.hash) {
            (RSAPSS, Hash::Sha256) => Some(sha256),
            (RSAPSS, Hash::Sha384) => Some(sha384),
            (RSAPSS, Hash::Sha512) => Some(sha512),
            _ => None,
        }
    }

    /// Whether `key` signed `message`.
    pub(crate) fn verifies(&self, key: &VerifyingKey, message: &[u8]) -> bool {
        let made = key.made.get_or_init(|| {
            let (algorithm, public) = (self.algorithm(&key.key)?, key.key.subject_public_key()?);
            Some(((self.scheme, self.hash), ParsedPublicKey::new(algorithm, public).ok()?))
        });
        let by = |algorithm: &'static dyn VerificationAlgorithm| {
            let parsed = key.key.subject_public_key().and_then(|public| ParsedPublicKey::new(algorithm, public).ok());
            parsed.is_some_and(|parsed| self.verifies_parsed(&key.key, &parsed, message))
        };
        let verifies = match made {
            Some((of, parsed)) if *of == (self.scheme, self.hash) => self.verifies_parsed(&key.key, parsed, message),
            // A key may sign by several schemes. Only the first is remembered, and none that does not fit.
            _ => self.algorithm(&key.key).is_some_and(by),
        };
        verifies || self.other_algorithm().is_some_and(by)
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
                if pad(first, r).is_none() || pad(second, s).is_none() {
                    return false;
                }
                if matches!((curve, self.hash), (Curve::P256, Hash::Sha256) | (Curve::P384, Hash::Sha384)) {
                    return parsed.verify_sig(message, signature).is_ok();
                }
                let (Ok(r), Ok(s)) = (UintRef::new(r), UintRef::new(s)) else { return false };
                EcdsaSignature { r, s }.to_der().is_ok_and(|der| parsed.verify_sig(message, &der).is_ok())
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

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        KeyPair as _, RSA_PSS_SHA256, RSA_PSS_SHA384, RsaEncoding, RsaKeyPair, RsaSignatureEncoding,
    };

    use super::*;

    const MESSAGE: &[u8] = b"quoted";

    fn sized(bytes: &[u8]) -> Vec<u8> {
        [u16::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat()
    }

    /// As a `TPMT_SIGNATURE`.
    fn written(scheme: u16, hash: Hash, parts: &[&[u8]]) -> Vec<u8> {
        let parts: Vec<_> = parts.iter().flat_map(|part| sized(part)).collect();
        [&scheme.to_be_bytes()[..], &hash.id().to_be_bytes(), &parts].concat()
    }

    #[test]
    fn a_pss_signature_may_have_the_longest_salt_or_one_as_long_as_the_digest_and_no_other() {
        static LONGEST: RsaSignatureEncoding = RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);
        static NONE: RsaSignatureEncoding = RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Custom(0));
        static SHORTER: RsaSignatureEncoding = RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Custom(221));
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        // Behind two headers, a zero in front; the exponent follows.
        let modulus = pair.public_key().as_ref()[9..9 + 256].to_vec();
        let key = || VerifyingKey::from(Key::Rsa { modulus: modulus.clone(), exponent: 65537 });
        let signed = |encoding: &'static dyn RsaEncoding, hash| {
            let mut number = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &SystemRandom::new(), MESSAGE, &mut number).unwrap();
            written(RSAPSS, hash, &[&number])
        };
        let verifies = |bytes: &[u8], message: &[u8]| Signature::read(bytes).unwrap().verifies(&key(), message);
        for encoding in [&LONGEST, &RSA_PSS_SHA256] {
            let good = signed(encoding, Hash::Sha256);
            assert!(verifies(&good, MESSAGE) && !verifies(&good, b"other"));
            let flipped: Vec<u8> = [&good[..9], &[good[9] ^ 1], &good[10..]].concat();
            assert!(!verifies(&flipped, MESSAGE));
        }
        assert!(verifies(&signed(&RSA_PSS_SHA384, Hash::Sha384), MESSAGE));
        assert!(!verifies(&signed(&RSA_PSS_SHA384, Hash::Sha256), MESSAGE), "another hash");
        for encoding in [&NONE, &SHORTER] {
            assert!(!verifies(&signed(encoding, Hash::Sha256), MESSAGE));
        }
        // The same key by one scheme and the other, whichever it is known for.
        let (one, first) = (key(), signed(&LONGEST, Hash::Sha256));
        let second = written(RSASSA, Hash::Sha256, &[&first[6..]]);
        assert!(Signature::read(&first).unwrap().verifies(&one, MESSAGE));
        assert!(!Signature::read(&second).unwrap().verifies(&one, MESSAGE));
        assert!(Signature::read(&first).unwrap().verifies(&one, MESSAGE));
    }

    /// Signatures over [`MESSAGE`] by keys that were made for this, with hashes of another width than the curve's: the
    /// curve, the hash, x, y, r and s.
    const OTHER_HASHES: [(Curve, Hash, [&str; 4]); 3] = [
        (
            Curve::P384,
            Hash::Sha256,
            [
                "a3552f77f00df884b27cfe330c1d43b36a2436658f8fa3974d480433cbbf2a7f59ee9f63075368b5746da96a90eea2e2",
                "e4d4e7ee16c47604a50fab4eb3e13a316fa1e6c216ec012418aa1542836a3746db736203cb851b8cdba370bee23475d0",
                "cc5460957964c5be1cd201e0bf525c1169d2353a26eb89c351370b5cdf4683943903979741a1913419c1abc08e66d61f",
                "20369e596f6e147049c5c1c0b71febea94d78de611b6d171a429f3cfce27ca5fd83b24e1af3b38ec1eabf795403542d6",
            ],
        ),
        (
            Curve::P256,
            Hash::Sha384,
            [
                "1c745c27e09362ac067342a2f928a479085793026a0d14e8a0f73c7f8e7f7d31",
                "108672a485644bde72aa134fb2717ba70df9a5b917ec51bd8218cd0ab4bee82b",
                "294b0d85bad43e73627ab0974e6bf827be4244b616d0a84ef98da2b5670d1972",
                "f1b15435897afaa9f52a08d900bd85bee8497a8b12599c63ed146a4570b2978d",
            ],
        ),
        (
            Curve::P256,
            Hash::Sha512,
            [
                "5416c9b46391384c749bd324080d1fea6d6f48f1a131e37a1cf4398dd380fdb5",
                "90969849bdcfb4f09c9dc52306923b1dce156e75aa0930676dbee7ef4900ab74",
                "0655f61ea7edf34d9f7ab0e9f73b535a6bd2ef03cd836c04521e3d12f68252c6",
                "d818042915ea692bb82a93542cad68c18c6b346d7279bff4f897e4d4f550c57e",
            ],
        ),
    ];

    #[test]
    fn an_elliptic_key_may_sign_with_a_hash_of_another_width() {
        for (curve, hash, numbers) in OTHER_HASHES {
            let [x, y, r, s] = numbers.map(|number| hex::decode(number).unwrap());
            let key = VerifyingKey::from(Key::Ecc { curve, x, y });
            let verifies = |hash, r: &[u8], s: &[u8], message: &[u8]| {
                let bytes = written(ECDSA, hash, &[r, s]);
                Signature::read(&bytes).unwrap().verifies(&key, message)
            };
            assert!(verifies(hash, &r, &s, MESSAGE), "{curve:?} {hash:?}");
            assert!(verifies(hash, &r, &s, MESSAGE), "once more");
            assert!(!verifies(hash, &r, &s, b"other"));
            assert!(!verifies(hash, &s, &r, MESSAGE));
            assert!(!verifies(hash, &r, &vec![0; s.len()], MESSAGE));
            assert!(!verifies(hash, &r, &[&[1], s.as_slice()].concat(), MESSAGE));
            for other in [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512] {
                assert_eq!(verifies(other, &r, &s, MESSAGE), other == hash, "{curve:?} {other:?}");
            }
        }
    }
}
