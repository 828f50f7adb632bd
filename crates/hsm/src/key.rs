//! Which keys there are and what each may do.

use std::fmt;
use std::str::FromStr;

use burgrave_types::encoding::Encoder;
use burgrave_types::{ParseError, Secret};

/// What a key is for. A key serves one purpose, and its algorithm and rights follow from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum KeyPurpose {
    /// Wraps and unwraps the domain's other symmetric keys; the same in every HSM of the domain.
    DomainRoot,
    /// Enclave keys, named keys and instance keys are derived from it.
    Derivation,
    /// Record keys of the ledger are derived from it.
    StateKey,
    /// Pair keys of channels are derived from it.
    ChannelKey,
    /// Says that this is the node it claims to be; never leaves its HSM.
    NodeIdentity,
    /// Signs certificates; never leaves its HSM.
    IssuingCa,
    /// Signs heads of the ledger and checkpoints of the log; never leaves its HSM.
    HeadSigning,
}

impl KeyPurpose {
    /// All purposes, in the order of their definition.
    pub const ALL: &'static [Self] = &[
        Self::DomainRoot,
        Self::Derivation,
        Self::StateKey,
        Self::ChannelKey,
        Self::NodeIdentity,
        Self::IssuingCa,
        Self::HeadSigning,
    ];

    /// The word for it in files and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DomainRoot => "domain-root",
            Self::Derivation => "derivation-key",
            Self::StateKey => "state-key",
            Self::ChannelKey => "channel-key",
            Self::NodeIdentity => "node-identity",
            Self::IssuingCa => "issuing-ca",
            Self::HeadSigning => "head-signing",
        }
    }

    /// The algorithm of keys of this purpose, which is also the one thing they can do.
    pub const fn algorithm(self) -> KeyAlgorithm {
        match self {
            Self::DomainRoot => KeyAlgorithm::Aes256Wrap,
            Self::Derivation | Self::StateKey | Self::ChannelKey => KeyAlgorithm::HmacSha256,
            Self::NodeIdentity | Self::HeadSigning => KeyAlgorithm::EcdsaP256,
            Self::IssuingCa => KeyAlgorithm::EcdsaP384,
        }
    }

    /// Whether a key of this purpose may be made with these attributes.
    ///
    /// The root and the signing keys are token objects that never leave. The keys below the root are session objects
    /// (their wrapped form is what lasts), and only these may be extractable, for the moment of their wrapping.
    pub const fn permits(self, attributes: KeyAttributes) -> bool {
        match self.algorithm() {
            KeyAlgorithm::HmacSha256 => !attributes.persistent,
            KeyAlgorithm::Aes256Wrap | KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 => {
                attributes.persistent && !attributes.extractable
            }
        }
    }
}

impl fmt::Display for KeyPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for KeyPurpose {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::ALL.iter().copied().find(|purpose| purpose.as_str() == text).ok_or_else(|| {
            ParseError::new(
                "key purpose",
                text,
                "expected one of domain-root, derivation-key, state-key, channel-key, node-identity, issuing-ca, \
                 head-signing",
            )
        })
    }
}

/// The algorithm of a key, and with it the one operation that it is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyAlgorithm {
    /// AES-256, to wrap and unwrap keys (RFC 3394).
    Aes256Wrap,
    /// A 256-bit key of HMAC-SHA-256.
    HmacSha256,
    /// ECDSA on P-256 over SHA-256 digests.
    EcdsaP256,
    /// ECDSA on P-384 over SHA-384 digests.
    EcdsaP384,
}

/// Names a key inside a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId {
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Which of that purpose, from 1 on.
    pub version: u32,
}

impl KeyId {
    /// Version `version` of the key for `purpose`.
    pub const fn new(purpose: KeyPurpose, version: u32) -> Self {
        Self { purpose, version }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.purpose, self.version)
    }
}

/// What a key is made with, beside what follows from its purpose ([`KeyPurpose::permits`] says what goes together).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyAttributes {
    /// It is kept by the token (PKCS#11: CKA_TOKEN); else it ends with the session.
    pub persistent: bool,
    /// It may be wrapped under a wrapping key (PKCS#11: CKA_EXTRACTABLE).
    pub extractable: bool,
}

impl KeyAttributes {
    /// Kept by the token and never leaving it.
    pub const TOKEN: Self = Self { persistent: true, extractable: false };
    /// Gone with the session, and never leaving it.
    pub const SESSION: Self = Self { persistent: false, extractable: false };
    /// Gone with the session; may be wrapped.
    pub const SESSION_EXTRACTABLE: Self = Self { persistent: false, extractable: true };
}

/// Names a token: 128 random bits drawn when it was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenSerial(pub [u8; 16]);

impl fmt::Display for TokenSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key in an open token. Good only at that token and as long as it stays open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyHandle {
    pub(crate) token: TokenSerial,
    pub(crate) object: u64,
    pub(crate) id: KeyId,
}

impl KeyHandle {
    /// Which key it is.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

/// Tells whether a key is the one that it should be, and in its place: the first 8 bytes of what the key derives under
/// the label `burgrave/check-value/v1` from its purpose and version (`docs/key-derivation.md`). Tokens do not agree on a
/// check value of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyCheckValue(pub [u8; 8]);

impl KeyCheckValue {
    /// What a key of this id makes its HMAC over: the fixed input of the KDF, of one block of 256 bits.
    pub fn input(id: KeyId) -> Vec<u8> {
        let label = Encoder::new().text("burgrave/check-value/v1").finish();
        let context = Encoder::new().text(id.purpose.as_str()).u64(id.version.into()).finish();
        let context = Encoder::new().bytes(&context).finish();
        [&1u32.to_be_bytes(), label.as_slice(), &[0], &context, &256u32.to_be_bytes()].concat()
    }

    /// The check value in such an HMAC.
    pub fn from_mac(mac: &Secret<[u8; 32]>) -> Self {
        let mut value = [0; 8];
        value.iter_mut().zip(mac.expose()).for_each(|(to, from)| *to = *from);
        Self(value)
    }
}

/// A key as it is kept outside of the token: opaque without the wrapping key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrappedKey {
    /// Which key it is.
    pub key: KeyId,
    /// The key that it is wrapped under.
    pub wrapping_key: KeyId,
    /// The RFC 3394 ciphertext: 40 bytes.
    pub blob: [u8; 40],
    /// Tells whether unwrapping gave the right key in the right place.
    pub check: KeyCheckValue,
}

/// What a token can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// HMAC-SHA-256 (FIPS 198-1).
    HmacSha256,
    /// ECDSA on P-256 over a SHA-256 digest (FIPS 186-5).
    EcdsaP256,
    /// ECDSA on P-384 over a SHA-384 digest (FIPS 186-5).
    EcdsaP384,
    /// AES-256 key wrap (RFC 3394, SP 800-38F KW).
    AesKeyWrap,
}

/// How the keys of a domain come to a further HSM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replication {
    /// The root moves by ceremony, the other keys as blobs wrapped under it.
    Wrapped,
}

/// What a token is and can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// What the token can do.
    pub mechanisms: &'static [Mechanism],
    /// How keys come to a further HSM.
    pub replication: Replication,
    /// Whether hardware keeps the keys, or only this process and a file.
    pub hardware: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_reads_back_from_its_word() {
        for purpose in KeyPurpose::ALL {
            assert_eq!(purpose.as_str().parse::<KeyPurpose>().unwrap(), *purpose);
        }
        assert!("domain_root".parse::<KeyPurpose>().is_err());
    }

    #[test]
    fn no_root_and_no_signing_key_is_ever_extractable() {
        let extractable = [true, false].map(|persistent| KeyAttributes { persistent, extractable: true });
        for purpose in KeyPurpose::ALL {
            let leaves = extractable.iter().any(|attributes| purpose.permits(*attributes));
            assert_eq!(leaves, purpose.algorithm() == KeyAlgorithm::HmacSha256, "{purpose}");
        }
    }
}
