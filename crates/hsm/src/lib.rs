//! The HSM as the rest of Burgrave sees it: a token that makes keys, keeps them, and works with them on request.
//!
//! [`Hsm`] is the one trait; [`Token`] is what implements it, today by [`SoftwareToken`], one sealed file. Keys are known
//! by [`KeyId`] and used through a [`KeyHandle`]; no call returns the bytes of a key. There is no `encrypt` and no
//! `decrypt`: encrypting data is never an operation of the token, so no key can unwrap and then show what it unwrapped.
//!
//! What a key may do follows from its [`KeyPurpose`] and its [`KeyAttributes`], and callers cannot loosen it: the domain
//! root wraps and does nothing else, a signing key never leaves, what was unwrapped lives as a session object only.
//!
//! This crate leaves to others: which keys a domain has and what is derived from them (`burgrave-keyring`), and what a
//! signature is put on (`burgrave-identity`, `burgrave-ledger`).
//!
//! ```
//! use burgrave_hsm::{Argon2Cost, Hsm, KeyAttributes, KeyId, KeyPurpose, SoftwareToken, Unlock};
//! use burgrave_types::{DomainClass, Secret};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("token");
//! let unlock = Unlock::Passphrase(Secret::new(b"correct horse battery staple".to_vec()));
//! # let token = SoftwareToken::create_with_cost(&path, DomainClass::Dev, &unlock, Argon2Cost::reduced(64, 1))?;
//! # drop(token);
//! let token = SoftwareToken::open(&path, &unlock)?;
//! let key = token.generate_key(KeyId::new(KeyPurpose::HeadSigning, 1), KeyAttributes::TOKEN).await?;
//! let signature = token.sign(&key, &[0x5a; 32]).await?;
//! assert_eq!(signature.first(), Some(&0x30), "a DER sequence of r and s");
//! # Ok(())
//! # }
//! ```
//!
//! Threat notes. Who has the token's file alone must guess the passphrase at 256 MiB and three passes a guess; who has
//! the file and its passphrase has every key in it. A token whose key lies beside it (`dev` only) is worth what the
//! directory's permissions are worth. The keys of an open software token are in the memory of this process: wiped when
//! dropped, but not locked into RAM, and the library leaves the round keys of an AES key wrap on the stack. Someone who
//! can put an older copy of the file back while no process has it open undoes what was made since; nothing in one file
//! can show that.

mod error;
mod file;
mod key;
mod passphrase;
mod software;
mod token;

pub use error::{HsmError, TokenError};
pub use key::{
    Capabilities, KeyAlgorithm, KeyAttributes, KeyCheckValue, KeyHandle, KeyId, KeyPurpose, Mechanism, Replication,
    TokenSerial, WrappedKey,
};
pub use passphrase::{Argon2Cost, PassphraseSource, Unlock};
pub use software::SoftwareToken;
pub use token::{Hsm, Token};

/// Decoders of untrusted bytes, as functions that a fuzzer can call.
pub mod fuzz {
    /// Reads `bytes` as a token file, as far as that goes without a passphrase.
    pub fn token_file(bytes: &[u8]) {
        let _ = crate::file::TokenFile::decode(bytes);
    }
}
