//! Why an identity was refused.

use burgrave_types::encoding::DecodeError;
use burgrave_types::{DomainClass, GenesisHash, ParseError, Timestamp};

use crate::ProfileKind;

/// Why a key, record, certificate or token is not taken. Messages are fit for the peer: they hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Bytes are not the encoding they should be.
    #[error("the {what} cannot be read: {why}")]
    Encoding {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A public key is of another kind than asked for.
    #[error(
        "the {what} is not an {expected} public key in its canonical form (SubjectPublicKeyInfo, named curve, uncompressed point)"
    )]
    Key {
        /// Whose key.
        what: &'static str,
        /// The kind asked for, e.g. `ECDSA P-256`.
        expected: &'static str,
    },
    /// The cryptographic library refused a private key or an operation with it.
    #[error("{0} failed in the cryptographic library")]
    Crypto(&'static str),
    /// A signature does not verify.
    #[error("the signature of the {0} does not verify: it was altered, or another key signed it")]
    Signature(&'static str),
    /// The domain has another genesis than the one pinned.
    #[error(
        "this is another trust domain: its genesis hash is `{found}`, pinned is `{expected}`; check the address, and the genesis hash that this peer was started with"
    )]
    OtherGenesis {
        /// The pinned hash.
        expected: GenesisHash,
        /// The hash of the genesis that was shown.
        found: GenesisHash,
    },
    /// Too few operators signed the genesis record.
    #[error("the genesis record has {found} valid operator signatures, its quorum is {needed}")]
    Quorum {
        /// The quorum.
        needed: u32,
        /// Valid signatures by distinct operators.
        found: u32,
    },
    /// A genesis record contradicts itself.
    #[error("the genesis record is not valid: {0}")]
    Genesis(&'static str),
    /// A certificate chain has another shape than leaf, or leaf and issuing CA.
    #[error("the certificate chain has {0} certificates; expected the leaf, or the leaf and its issuing CA")]
    ChainLength(usize),
    /// The leaf's issuer is not the domain's CA.
    #[error("the certificate names another issuer than the domain's issuing CA")]
    Issuer,
    /// A certificate is used outside its validity.
    #[error("the {what} is valid from {not_before} to {not_after}, and it is {now}; {}", if .now < .not_before { "check this machine's clock" } else { "a new one is needed" })]
    Validity {
        /// Which certificate.
        what: &'static str,
        /// First instant it is valid.
        not_before: Timestamp,
        /// Last instant it is valid.
        not_after: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// A certificate is for another use.
    #[error("the certificate's profile is `{found}`, expected `{expected}`")]
    Profile {
        /// The profile asked for.
        expected: ProfileKind,
        /// The profile it has; `none` where it states none.
        found: String,
    },
    /// A certificate does not keep its profile.
    #[error("the certificate does not keep its profile: {0}")]
    ProfileBroken(String),
    /// A certificate is of another class than its domain.
    #[error("the certificate is of class `{found}`, the domain of class `{expected}`")]
    Class {
        /// The domain's class.
        expected: DomainClass,
        /// The certificate's class.
        found: DomainClass,
    },
    /// A name is of another domain.
    #[error("the {what} names the trust domain `{found}`, expected `{expected}`")]
    Domain {
        /// Which document.
        what: &'static str,
        /// The domain it should name.
        expected: String,
        /// The domain it names.
        found: String,
    },
    /// The peer is another than the one agreed on.
    #[error("the peer's {what} is `{found}`, expected `{expected}`")]
    OtherPeer {
        /// What differs: SPIFFE id or key hash.
        what: &'static str,
        /// What was agreed.
        expected: String,
        /// What the peer showed.
        found: String,
    },
    /// No certificate was shown where one is needed.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// A signed token is not acceptable.
    #[error("the signed token is refused: {0}")]
    Token(String),
}

impl IdentityError {
    /// The stable code of the failed check.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Encoding { .. } => "identity.encoding",
            Self::Key { .. } => "identity.key",
            Self::Crypto(_) => "identity.crypto",
            Self::Signature(_) => "identity.signature",
            Self::OtherGenesis { .. } => "identity.genesis.other",
            Self::Quorum { .. } => "identity.genesis.quorum",
            Self::Genesis(_) => "identity.genesis.invalid",
            Self::ChainLength(_) => "identity.chain.length",
            Self::Issuer => "identity.chain.issuer",
            Self::Validity { .. } => "identity.validity",
            Self::Profile { .. } => "identity.profile",
            Self::ProfileBroken(_) => "identity.profile.broken",
            Self::Class { .. } => "identity.class",
            Self::Domain { .. } => "identity.domain",
            Self::OtherPeer { .. } => "identity.peer",
            Self::NoCertificate => "identity.certificate.none",
            Self::Token(_) => "identity.token",
        }
    }

    pub(crate) fn encoding(what: &'static str, why: impl ToString) -> Self {
        Self::Encoding { what, why: why.to_string() }
    }

    pub(crate) fn broken(why: impl Into<String>) -> Self {
        Self::ProfileBroken(why.into())
    }
}

impl From<DecodeError> for IdentityError {
    fn from(error: DecodeError) -> Self {
        Self::encoding("record", error)
    }
}

impl From<ParseError> for IdentityError {
    fn from(error: ParseError) -> Self {
        Self::encoding("name", error)
    }
}
