//! The keys of a trust domain: what is kept in the HSM, what is wrapped under its root, and what is derived from that.
//!
//! ```text
//! domain-root            in the HSM; wraps and nothing else
//! ├─ derivation-key      → enclave keys, named keys, instance keys
//! ├─ state-key           → record keys, one per epoch
//! └─ channel-key         → pair keys
//! node-identity, issuing-ca, head-signing: of this HSM alone
//! ```
//!
//! The middle row is stored wrapped ([`WrappedKeys`]) and loaded into the token at start. What stands right of it is
//! derived on demand by one HMAC in the token (SP 800-108; contexts and vectors in `docs/key-derivation.md`), the same
//! on every node and at every start.
//!
//! This crate leaves to others whether anybody may have a key: it answers whoever asks. It does not know which versions
//! are active, who is revoked or what policy says; `burgrave-control` asks those questions first, each time, and calls
//! [`Keyring::forget_enclave`] and its like when an answer changes.
//!
//! ```
//! use burgrave_hsm::{SoftwareToken, Token, Unlock};
//! use burgrave_keyring::{EnclaveKeyInput, IdentityInput, Keyring, WrappedKeys};
//! use burgrave_types::{DomainClass, EnclaveUid, GenesisHash, Timestamp};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("token");
//! let token = SoftwareToken::create(&path, DomainClass::Dev, &Unlock::KeyFile)?;
//! let keyring = Keyring::create(Token::from(token)).await?;
//! let stored = keyring.wrapped_keys().encode();
//!
//! let domain = GenesisHash::from_bytes([7; 32]);
//! let input = EnclaveKeyInput {
//!     enclave: EnclaveUid::from_bytes([1; 16]),
//!     identity: IdentityInput::Name,
//!     keyspace: "payments/storage".parse()?,
//!     version: 1,
//! };
//! let key = keyring.enclave_key(&domain, &input, Timestamp::from_unix_secs(0)).await?;
//! drop(keyring);
//!
//! let token = SoftwareToken::open(&path, &Unlock::KeyFile)?;
//! let keyring = Keyring::open(Token::from(token), &WrappedKeys::decode(&stored)?).await?;
//! assert_eq!(keyring.enclave_key(&domain, &input, Timestamp::from_unix_secs(9)).await?, key);
//! # Ok(())
//! # }
//! ```
//!
//! Threat notes. Who reads this process's memory once gets the derived keys in the cache (those used within its time,
//! 300 s unless set otherwise, at most 10 000) and, with a software token, every key; with a hardware token neither the
//! root nor the keys below it. Who runs code in the process can have any key derived while it lasts. Cached keys are
//! wiped when dropped, but their memory is not locked: it can reach swap or a core dump. Each of the three keys below the
//! root serves derivation alone and never makes a MAC over bytes that a caller chose, since that would hand out derived
//! keys.

mod cache;
mod context;
mod error;
mod keyring;
mod wrapped;

pub use context::{DATA_ALGORITHM, EnclaveKeyInput, IdentityInput};
pub use error::KeyringError;
pub use keyring::{Keyring, PublicKeys};
pub use wrapped::WrappedKeys;

/// Decoders of untrusted bytes, as functions that a fuzzer can call.
pub mod fuzz {
    /// Reads `bytes` as wrapped keys.
    pub fn wrapped_keys(bytes: &[u8]) {
        let _ = crate::WrappedKeys::decode(bytes);
    }
}
