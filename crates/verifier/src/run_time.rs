//! What may be loaded at run time: file digests, and keys whose signatures over a file's digest are taken.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::Digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use burgrave_types::ParseError;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::RSA_ENCRYPTION;
use der::{Decode, DecodePem, Encode};
use serde::{Deserialize, Serialize};
use spki::SubjectPublicKeyInfoOwned;

use crate::tpm::Hash;
use crate::x509::{EC_PUBLIC_KEY, SECP256R1, SECP384R1};

/// The allowed sets. What is in neither is refused, and an empty profile allows nothing.
///
/// In a profile's file: `files`, a list of `<algorithm>:<hexadecimal digest>` (SHA-256 or longer; for TDX the digests of
/// events, SHA-384); `keys`, a list of public keys or certificates in PEM, RSA or ECDSA on P-256 or P-384 (a certificate
/// stands for its key; its dates are not looked at); `allow_violations`, whether files that changed while they were measured
/// are passed over.
///
/// ```
/// use burgrave_verifier::RunTimeProfile;
/// let profile: RunTimeProfile = toml::from_str(&format!("files = [\"sha256:{}\"]", "ab".repeat(32)))?;
/// assert!(!profile.allows_nothing());
/// assert!(toml::from_str::<RunTimeProfile>("files = [\"sha1:00\"]").is_err());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct RunTimeProfile {
    files: BTreeSet<FileDigest>,
    keys: Vec<FileKey>,
    allow_violations: bool,
    id: [u8; 32],
}

impl RunTimeProfile {
    /// A profile of these sets.
    pub fn new(files: impl IntoIterator<Item = FileDigest>, keys: impl IntoIterator<Item = FileKey>) -> Self {
        Self::with(files.into_iter().collect(), keys.into_iter().collect(), false)
    }

    /// The same, but for files that changed while they were measured: those are passed over.
    #[must_use]
    pub fn allowing_violations(self) -> Self {
        Self::with(self.files, self.keys, true)
    }

    /// Whether nothing at all may be loaded.
    pub fn allows_nothing(&self) -> bool {
        self.files.is_empty() && self.keys.is_empty()
    }

    /// A digest of the sets: what was appraised under others must be appraised anew.
    pub(crate) fn id(&self) -> [u8; 32] {
        self.id
    }

    pub(crate) fn allows_violations(&self) -> bool {
        self.allow_violations
    }

    /// Whether a file with this digest may be loaded; `signature` is what the log has as its signature, or nothing.
    pub(crate) fn allows(&self, digest: &FileDigest, signature: &[u8]) -> bool {
        self.files.contains(digest) || self.is_signed(digest, signature)
    }

    fn is_signed(&self, digest: &FileDigest, signature: &[u8]) -> bool {
        let Some(signature) = FileSignature::read(signature) else { return false };
        signature.hash == digest.hash
            && self.keys.iter().any(|key| key.id == signature.key_id && key.verifies(digest, signature.bytes))
    }

    fn with(files: BTreeSet<FileDigest>, keys: Vec<FileKey>, allow_violations: bool) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        context.update(b"burgrave-run-time-profile-v1");
        context.update(&[u8::from(allow_violations)]);
        for file in &files {
            context.update(&file.hash.id().to_be_bytes());
            context.update(&file.bytes);
        }
        for key in &keys {
            context.update(&Hash::Sha256.digest(&key.spki));
        }
        let mut id = [0; 32];
        id.copy_from_slice(context.finish().as_ref());
        Self { files, keys, allow_violations, id }
    }
}

/// As a file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    files: BTreeSet<String>,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    allow_violations: bool,
}

impl TryFrom<Written> for RunTimeProfile {
    type Error = ParseError;

    fn try_from(written: Written) -> Result<Self, ParseError> {
        let files = written.files.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        let keys = written.keys.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(Self::with(files, keys, written.allow_violations))
    }
}

impl From<RunTimeProfile> for Written {
    fn from(profile: RunTimeProfile) -> Self {
        Self {
            files: profile.files.iter().map(ToString::to_string).collect(),
            keys: profile.keys.into_iter().map(|key| key.text).collect(),
            allow_violations: profile.allow_violations,
        }
    }
}

/// A file's digest, with its algorithm: `sha256:…`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FileDigest {
    hash: Hash,
    bytes: Vec<u8>,
}

impl FileDigest {
    /// A digest in the algorithm's width; `None` in another, and for SHA-1.
    pub fn new(hash: Hash, bytes: &[u8]) -> Option<Self> {
        (hash != Hash::Sha1 && bytes.len() == hash.length()).then(|| Self { hash, bytes: bytes.to_vec() })
    }
}

impl fmt::Display for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.hash.as_str(), hex::encode(&self.bytes))
    }
}

impl FromStr for FileDigest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let read = || {
            let (name, digits) = text.split_once(':')?;
            Self::new(Hash::from_name(name)?, &hex::decode(digits).ok()?)
        };
        read().ok_or_else(|| {
            ParseError::new(
                "file digest",
                text,
                "expected `sha256:`, `sha384:` or `sha512:` and the digest in hexadecimal",
            )
        })
    }
}

/// A key whose signature over a file's digest is taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileKey {
    text: String,
    /// How signatures name it: the last four bytes of its key identifier.
    id: [u8; 4],
    kind: KeyKind,
    spki: Vec<u8>,
    public: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum KeyKind {
    Rsa,
    P256,
    P384,
}

impl FileKey {
    /// Whether it signed the digest. ECDSA on a curve goes with the hash of its width; RSA with any.
    fn verifies(&self, digest: &FileDigest, signature: &[u8]) -> bool {
        use aws_lc_rs::digest::{SHA256, SHA384, SHA512};
        let (algorithm, hash): (&dyn VerificationAlgorithm, _) = match (self.kind, digest.hash) {
            (KeyKind::Rsa, Hash::Sha256) => (&RSA_PKCS1_2048_8192_SHA256, &SHA256),
            (KeyKind::Rsa, Hash::Sha384) => (&RSA_PKCS1_2048_8192_SHA384, &SHA384),
            (KeyKind::Rsa, Hash::Sha512) => (&RSA_PKCS1_2048_8192_SHA512, &SHA512),
            (KeyKind::P256, Hash::Sha256) => (&ECDSA_P256_SHA256_ASN1, &SHA256),
            (KeyKind::P384, Hash::Sha384) => (&ECDSA_P384_SHA384_ASN1, &SHA384),
            _ => return false,
        };
        // What is signed is the digest that the kernel measured, which the replay of the log vouches for.
        Digest::import_less_safe(&digest.bytes, hash).is_ok_and(|digest| {
            UnparsedPublicKey::new(algorithm, &self.public).verify_digest(&digest, signature).is_ok()
        })
    }

    fn read(text: &str) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_pem(text).ok();
        let spki = match &certificate {
            Some(certificate) => certificate.tbs_certificate().subject_public_key_info().clone(),
            None => SubjectPublicKeyInfoOwned::from_pem(text).ok()?,
        };
        let curve = || ObjectIdentifier::from_der(&spki.algorithm.parameters.as_ref()?.to_der().ok()?).ok();
        let kind = match spki.algorithm.oid {
            RSA_ENCRYPTION => KeyKind::Rsa,
            EC_PUBLIC_KEY if curve() == Some(SECP256R1) => KeyKind::P256,
            EC_PUBLIC_KEY if curve() == Some(SECP384R1) => KeyKind::P384,
            _ => return None,
        };
        let public = spki.subject_public_key.as_bytes()?.to_vec();
        let named = certificate.as_ref().and_then(|certificate| {
            let extension = certificate.tbs_certificate().get_extension::<x509_cert::ext::pkix::SubjectKeyIdentifier>();
            extension.ok().flatten().map(|(_, identifier)| identifier.0.as_bytes().to_vec())
        });
        let identifier = named.unwrap_or_else(|| Hash::Sha1.digest(&public));
        Some(Self { text: text.to_owned(), id: *identifier.last_chunk()?, kind, spki: spki.to_der().ok()?, public })
    }
}

impl FromStr for FileKey {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::read(text).ok_or_else(|| {
            ParseError::new(
                "file key",
                text,
                "expected a public key or certificate in PEM, RSA or ECDSA on P-256 or P-384",
            )
        })
    }
}

/// A signature as the extended attribute `security.ima` has it (Linux, `struct signature_v2_hdr`): type 3, version 2.
struct FileSignature<'a> {
    hash: Hash,
    key_id: [u8; 4],
    bytes: &'a [u8],
}

impl<'a> FileSignature<'a> {
    /// Reads a signature, with nothing after it.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = crate::reader::Reader::new(bytes);
        if (reader.u8()?, reader.u8()?) != (3, 2) {
            return None;
        }
        // `enum hash_algo`
        let hash = match reader.u8()? {
            4 => Hash::Sha256,
            5 => Hash::Sha384,
            6 => Hash::Sha512,
            _ => return None,
        };
        let key_id = reader.array()?;
        let bytes = reader.sized()?;
        reader.end(Self { hash, key_id, bytes })
    }
}

/// The body of a fuzz target: reads bytes as a file's signature. Returns how many bytes of a signature they hold.
pub(crate) fn fuzz_signature(bytes: &[u8]) -> usize {
    FileSignature::read(bytes).map_or(0, |signature| signature.bytes.len())
}
