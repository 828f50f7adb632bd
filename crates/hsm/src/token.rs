//! The trait that every kind of token implements, and the kinds there are.

use std::future::Future;

use burgrave_types::{DomainClass, Secret};

use crate::{Capabilities, HsmError, KeyAttributes, KeyHandle, KeyId, SoftwareToken, TokenSerial, WrappedKey};

/// A token: makes keys, keeps them, and works with them on request.
///
/// Every call names a key by its handle and fails with [`HsmError::KeyNotFound`] for a handle of another token or of a
/// destroyed key, and with [`HsmError::NotPermitted`] where the key's purpose or attributes forbid it. Dropping a
/// future before it ends leaves the token as before or as after the call.
pub trait Hsm: Send + Sync {
    /// What the token is and can do.
    fn capabilities(&self) -> &Capabilities;

    /// Whether the token works, by an operation with a key; what a session says of itself proves nothing.
    ///
    /// # Errors
    /// [`HsmError::Unavailable`] with the reason.
    fn health(&self) -> impl Future<Output = Result<(), HsmError>> + Send;

    /// Makes a key of the purpose's algorithm from the token's own randomness. A persistent one is on disk when this
    /// returns.
    ///
    /// # Errors
    /// [`HsmError::KeyExists`]; [`HsmError::NotPermitted`] for attributes that the purpose rules out;
    /// [`HsmError::Unavailable`] where it cannot be kept.
    fn generate_key(
        &self,
        id: KeyId,
        attributes: KeyAttributes,
    ) -> impl Future<Output = Result<KeyHandle, HsmError>> + Send;

    /// The key of this id.
    ///
    /// # Errors
    /// [`HsmError::KeyNotFound`].
    fn find_key(&self, id: KeyId) -> impl Future<Output = Result<KeyHandle, HsmError>> + Send;

    /// Ends a key for good, in the token's store too.
    ///
    /// # Errors
    /// [`HsmError::Unavailable`] where the store cannot be written; the key is then still there.
    fn destroy_key(&self, key: &KeyHandle) -> impl Future<Output = Result<(), HsmError>> + Send;

    /// The SubjectPublicKeyInfo in DER (RFC 5280 section 4.1) of a signing key.
    ///
    /// # Errors
    /// As for every call.
    fn public_key(&self, key: &KeyHandle) -> impl Future<Output = Result<Vec<u8>, HsmError>> + Send;

    /// HMAC-SHA-256 of `message`. The result is a secret: derived keys are made of it.
    ///
    /// # Errors
    /// As for every call.
    fn mac(&self, key: &KeyHandle, message: &[u8]) -> impl Future<Output = Result<Secret<[u8; 32]>, HsmError>> + Send;

    /// The ECDSA signature over a digest, in DER (RFC 3279 section 2.2.3): SHA-256 digests with a P-256 key, SHA-384
    /// digests with a P-384 key.
    ///
    /// # Errors
    /// [`HsmError::DigestLength`].
    fn sign(&self, key: &KeyHandle, digest: &[u8]) -> impl Future<Output = Result<Vec<u8>, HsmError>> + Send;

    /// Wraps an extractable HMAC key under a wrapping key (RFC 3394), with its check value.
    ///
    /// # Errors
    /// As for every call.
    fn wrap_key(
        &self,
        wrapping: &KeyHandle,
        key: &KeyHandle,
    ) -> impl Future<Output = Result<WrappedKey, HsmError>> + Send;

    /// Unwraps a key as a session object that cannot leave again, and holds it against its check value.
    ///
    /// # Errors
    /// [`HsmError::InvalidCiphertext`] where it does not open; [`HsmError::CheckValue`] where it is another key than it
    /// is said to be; [`HsmError::KeyExists`]. None of them is a reason to open the token anew.
    fn unwrap_key(
        &self,
        wrapping: &KeyHandle,
        wrapped: &WrappedKey,
    ) -> impl Future<Output = Result<KeyHandle, HsmError>> + Send;

    /// Fills `out` from the token's source of randomness.
    ///
    /// # Errors
    /// [`HsmError::Device`].
    fn random(&self, out: &mut [u8]) -> impl Future<Output = Result<(), HsmError>> + Send;
}

/// The tokens there are. Each arm gives the same answers to the same calls, bit for bit.
#[derive(Debug)]
pub enum Token {
    /// One sealed file.
    Software(SoftwareToken),
}

impl Token {
    /// Its serial.
    pub fn serial(&self) -> TokenSerial {
        match self {
            Self::Software(token) => token.serial(),
        }
    }

    /// The class of domain that it was made for.
    pub fn class(&self) -> DomainClass {
        match self {
            Self::Software(token) => token.class(),
        }
    }
}

impl From<SoftwareToken> for Token {
    fn from(token: SoftwareToken) -> Self {
        Self::Software(token)
    }
}

impl Hsm for Token {
    fn capabilities(&self) -> &Capabilities {
        match self {
            Self::Software(token) => token.capabilities(),
        }
    }

    async fn health(&self) -> Result<(), HsmError> {
        match self {
            Self::Software(token) => token.health().await,
        }
    }

    async fn generate_key(&self, id: KeyId, attributes: KeyAttributes) -> Result<KeyHandle, HsmError> {
        match self {
            Self::Software(token) => token.generate_key(id, attributes).await,
        }
    }

    async fn find_key(&self, id: KeyId) -> Result<KeyHandle, HsmError> {
        match self {
            Self::Software(token) => token.find_key(id).await,
        }
    }

    async fn destroy_key(&self, key: &KeyHandle) -> Result<(), HsmError> {
        match self {
            Self::Software(token) => token.destroy_key(key).await,
        }
    }

    async fn public_key(&self, key: &KeyHandle) -> Result<Vec<u8>, HsmError> {
        match self {
            Self::Software(token) => token.public_key(key).await,
        }
    }

    async fn mac(&self, key: &KeyHandle, message: &[u8]) -> Result<Secret<[u8; 32]>, HsmError> {
        match self {
            Self::Software(token) => token.mac(key, message).await,
        }
    }

    async fn sign(&self, key: &KeyHandle, digest: &[u8]) -> Result<Vec<u8>, HsmError> {
        match self {
            Self::Software(token) => token.sign(key, digest).await,
        }
    }

    async fn wrap_key(&self, wrapping: &KeyHandle, key: &KeyHandle) -> Result<WrappedKey, HsmError> {
        match self {
            Self::Software(token) => token.wrap_key(wrapping, key).await,
        }
    }

    async fn unwrap_key(&self, wrapping: &KeyHandle, wrapped: &WrappedKey) -> Result<KeyHandle, HsmError> {
        match self {
            Self::Software(token) => token.unwrap_key(wrapping, wrapped).await,
        }
    }

    async fn random(&self, out: &mut [u8]) -> Result<(), HsmError> {
        match self {
            Self::Software(token) => token.random(out).await,
        }
    }
}
