//! What goes wrong with a domain's keys.

use burgrave_hsm::{HsmError, KeyId, KeyPurpose};
use burgrave_types::encoding::DecodeError;

/// Why the keyring could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The token refused or failed.
    #[error(transparent)]
    Hsm(HsmError),
    /// The token has keys of a domain already.
    #[error(
        "the token holds the keys of a domain already; make a new token for a new domain, or open the one it serves"
    )]
    TokenInUse,
    /// A wrapped key does not open under the token's root.
    #[error(
        "the stored key `{key}` does not open under the token's `{root}`: the token is another domain's, or the stored \
         keys are damaged; start the node with the token that this store was made with, or restore the store"
    )]
    WrongRoot {
        /// The stored key.
        key: KeyId,
        /// The root that it should open under.
        root: KeyId,
    },
    /// A wrapped key opens, but is another one than it is said to be.
    #[error("the stored key `{0}` is another key than it is said to be (its check value differs); restore the store")]
    CheckValue(KeyId),
    /// The stored keys lack one.
    #[error("the stored keys lack a `{0}`; restore the store")]
    Missing(KeyPurpose),
    /// The stored keys hold one that this version has no use for.
    #[error("the stored keys hold a second key `{0}`, which this version cannot use; run the version that wrote it")]
    Unexpected(KeyId),
    /// The stored keys cannot be read.
    #[error("the stored keys are not encoded as they should be: {0}; restore the store")]
    Encoding(#[from] DecodeError),
    /// A `signer` identity names no signer.
    #[error("a key cannot be bound to a signer without the signer's digest; register the enclave with one")]
    NoSigner,
}

impl From<HsmError> for KeyringError {
    fn from(error: HsmError) -> Self {
        match error {
            HsmError::InvalidCiphertext { key, wrapping_key } => Self::WrongRoot { key, root: wrapping_key },
            HsmError::CheckValue(key) => Self::CheckValue(key),
            other => Self::Hsm(other),
        }
    }
}
